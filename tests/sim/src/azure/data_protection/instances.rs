//! Backup instances: back up, restore, stop, resume, delete, undelete.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{INSTANCE, begin, deletion, job_info};
use crate::azure::guards;
use crate::azure::jobs::Home;
use crate::azure::operations::Finish;
use crate::azure::reply::{Answer, page};
use crate::azure::request::ArmRequest;
use crate::clock::written;
use crate::digest::{fresh_uuid, stable_uuid};
use crate::document::{member, set, text, unset};
use crate::world::{Effect, World};

const PAGE: usize = 10;

/// A discrete recovery point of an instance.
pub(crate) fn discrete_point(instance: &str, name: &str, at: Timestamp) -> Value {
    json!({
        "id": format!("{instance}/recoveryPoints/{name}"), "name": name, "type": format!("{INSTANCE}/recoveryPoints"),
        "properties": {
            "objectType": "AzureBackupDiscreteRecoveryPoint", "recoveryPointTime": written(at), "recoveryPointType": "Incremental",
            "friendlyName": name, "recoveryPointState": "Completed", "retentionTagName": "Default", "retentionTagVersion": "1",
            "recoveryPointDataStoresDetails": [{"id": stable_uuid(name), "type": "OperationalStore", "creationTime": written(at), "state": "COMMITTED", "visible": true, "metaData": ""}],
        },
    })
}

/// Everything under `…/backupInstances`.
pub(super) fn route(world: &mut World, ask: &ArmRequest, vault: &str, rest: &[&str]) -> Answer {
    let id = ask.id(10);
    let [_, action @ ..] = rest else {
        if ask.method != "GET" {
            return Answer::method_not_allowed(&ask.method);
        }
        let all = world
            .children(&format!("{vault}/backupInstances"))
            .into_iter()
            .cloned()
            .collect();
        return page(world, ask, all, 50);
    };
    let found = world.find(&id).cloned();
    match (ask.method.as_str(), action, found) {
        ("GET", [], Some(instance)) => Answer::document(200, &instance),
        ("PUT", [], found) => put(world, ask, vault, &id, found),
        ("DELETE", [], Some(instance)) => deletion::delete(world, ask, vault, instance),
        ("DELETE", [], None) => Answer::empty(204),
        ("GET", ["recoverypoints"], Some(_)) => points(world, ask, &id),
        ("GET", ["recoverypoints", _], Some(_)) => {
            let point = ask.id(12);
            world.find(&point).map_or_else(
                || Answer::not_found(&point),
                |point| Answer::document(200, point),
            )
        }
        ("POST", [action], Some(instance)) => act(world, ask, vault, action, instance),
        (_, _, None) => Answer::not_found(&id),
        (method, _, _) => Answer::method_not_allowed(method),
    }
}

fn points(world: &World, ask: &ArmRequest, id: &str) -> Answer {
    let mut points: Vec<Value> = world
        .children(&format!("{id}/recoveryPoints"))
        .into_iter()
        .cloned()
        .collect();
    points.sort_by_key(|point| {
        std::cmp::Reverse(
            text(point, "/properties/recoveryPointTime")
                .unwrap_or_default()
                .to_owned(),
        )
    });
    page(world, ask, points, PAGE)
}

fn put(world: &mut World, ask: &ArmRequest, vault: &str, id: &str, found: Option<Value>) -> Answer {
    if !text(&ask.body, "/properties/policyInfo/policyId").is_some_and(|policy| world.holds(policy))
    {
        return Answer::error(
            400,
            "UserErrorPolicyNotFound",
            "The backup policy was not found.",
        );
    }
    let mut instance = json!({"id": id, "name": ask.last(), "type": INSTANCE, "tags": member(&ask.body, "/tags"), "properties": member(&ask.body, "/properties")});
    unset(&mut instance, "/properties/resourceGuardOperationRequests");
    for (pointer, value) in [
        (
            "/properties/protectionStatus",
            json!({"status": "ProtectionConfigured"}),
        ),
        (
            "/properties/currentProtectionState",
            json!("ProtectionConfigured"),
        ),
        ("/properties/provisioningState", json!("Succeeded")),
    ] {
        set(&mut instance, pointer, value);
    }
    world.put(instance.clone());
    let mut answer = begin(
        world,
        ask,
        vault,
        None,
        Finish::Resource(id.to_owned()),
        None,
    );
    answer.headers.retain(|(name, _)| *name != "location");
    answer.status = if found.is_some() { 200 } else { 201 };
    answer.body = Some(instance);
    answer
}

fn act(world: &mut World, ask: &ArmRequest, vault: &str, action: &str, instance: Value) -> Answer {
    match action {
        "backup" => back_up(world, ask, vault, instance),
        "restore" => restore(world, ask, vault, instance),
        "validaterestore" => validate_restore(world, ask, vault, &instance),
        "validateformodifybackup" | "sync" => plain(world, ask, vault, &instance, None),
        "rehydrate" => with_job(world, ask, vault, "Rehydrate", instance, None),
        "stopprotection" => stop(world, ask, vault, instance, "ProtectionStopped"),
        "suspendbackups" => stop(world, ask, vault, instance, "BackupsSuspended"),
        "resumeprotection" | "resumebackups" => {
            state(world, ask, vault, &instance, "ProtectionConfigured")
        }
        "findrestorabletimeranges" => Answer::ok(json!({
            "id": instance.get("name"), "type": format!("{INSTANCE}/findRestorableTimeRanges"),
            "properties": {"objectType": "AzureBackupFindRestorableTimeRangesResponse", "restorableTimeRanges": [
                {"startTime": "2026-01-01T00:00:00Z", "endTime": written(world.clock.now()), "objectType": "RestorableTimeRange"},
            ]},
        })),
        _ => Answer::not_found(&ask.whole_id()),
    }
}

pub(super) fn id_of(instance: &Value) -> String {
    text(instance, "/id").unwrap_or_default().to_owned()
}

pub(super) fn name_of(instance: &Value) -> String {
    text(instance, "/name").unwrap_or_default().to_owned()
}

pub(super) fn plain(
    world: &mut World,
    ask: &ArmRequest,
    vault: &str,
    instance: &Value,
    effect: Option<Effect>,
) -> Answer {
    begin(
        world,
        ask,
        vault,
        Some(&name_of(instance)),
        Finish::Nothing,
        effect,
    )
}

fn with_job(
    world: &mut World,
    ask: &ArmRequest,
    vault: &str,
    operation: &str,
    instance: Value,
    effect: Option<Effect>,
) -> Answer {
    let name = name_of(&instance);
    let job = world.start_job(ask, Home::BackupVault, vault, operation, instance, effect);
    begin(
        world,
        ask,
        vault,
        Some(&name),
        Finish::Body(job_info(vault, &job)),
        None,
    )
}

fn back_up(world: &mut World, ask: &ArmRequest, vault: &str, instance: Value) -> Answer {
    if text(&ask.body, "/backupRuleOptions/ruleName").is_none() {
        return Answer::error(
            400,
            "UserErrorInvalidRequestContent",
            "The member 'backupRuleOptions.ruleName' is missing.",
        );
    }
    if text(&instance, "/properties/protectionStatus/status") != Some("ProtectionConfigured") {
        return Answer::error(
            400,
            "UserErrorDppDatasourceNotProtected",
            "The backup instance is not protected.",
        );
    }
    let id = id_of(&instance);
    with_job(
        world,
        ask,
        vault,
        "Backup",
        instance,
        Some(Box::new(move |world| {
            let now = world.clock.now();
            world.put(discrete_point(&id, &fresh_uuid(), now));
        })),
    )
}

/// What is wrong with a restore request, if anything.
fn wrong(world: &World, request: &Value, instance: &Value) -> Option<Answer> {
    let refused = |message: &str| {
        Some(Answer::error(
            400,
            "UserErrorInvalidRequestContent",
            message,
        ))
    };
    if !text(request, "/objectType")
        .is_some_and(|kind| kind.starts_with("AzureBackup") && kind.contains("RestoreRequest"))
    {
        return refused("The restore request's 'objectType' is not known.");
    }
    if let Some(point) = text(request, "/recoveryPointId")
        && !world.holds(&format!("{}/recoveryPoints/{point}", id_of(instance)))
    {
        return refused("The recovery point was not found.");
    }
    None
}

fn restore(world: &mut World, ask: &ArmRequest, vault: &str, instance: Value) -> Answer {
    match wrong(world, &ask.body, &instance) {
        Some(refusal) => refusal,
        None => with_job(world, ask, vault, "Restore", instance, None),
    }
}

fn validate_restore(world: &mut World, ask: &ArmRequest, vault: &str, instance: &Value) -> Answer {
    if let Some(refusal) = wrong(world, &member(&ask.body, "/restoreRequestObject"), instance) {
        return refusal;
    }
    let finish = json!({"objectType": "OperationJobExtendedInfo", "jobId": fresh_uuid()});
    begin(
        world,
        ask,
        vault,
        Some(&name_of(instance)),
        Finish::Body(finish),
        None,
    )
}

fn stop(world: &mut World, ask: &ArmRequest, vault: &str, instance: Value, to: &str) -> Answer {
    match guards::permits(world, ask, vault, "stopProtection") {
        Err(refusal) => refusal,
        Ok(()) => state(world, ask, vault, &instance, to),
    }
}

fn state(world: &mut World, ask: &ArmRequest, vault: &str, instance: &Value, to: &str) -> Answer {
    let (id, to) = (id_of(instance), to.to_owned());
    plain(
        world,
        ask,
        vault,
        instance,
        Some(Box::new(move |world| {
            if let Some(document) = world.find_mut(&id) {
                set(document, "/properties/protectionStatus/status", to.clone());
                set(document, "/properties/currentProtectionState", to);
            }
        })),
    )
}

/// A restore in the paired region: the vault and the instance stand in the body only.
pub(super) fn cross_region(world: &mut World, ask: &ArmRequest, operation: &str) -> Answer {
    let source = text(
        &ask.body,
        "/crossRegionRestoreDetails/sourceBackupInstanceId",
    )
    .unwrap_or_default();
    let Some(instance) = world.find(source).cloned() else {
        return Answer::not_found(source);
    };
    if let Some(refusal) = wrong(
        world,
        &member(&ask.body, "/restoreRequestObject"),
        &instance,
    ) {
        return refusal;
    }
    let id = id_of(&instance);
    let vault = id
        .split("/backupInstances/")
        .next()
        .unwrap_or_default()
        .to_owned();
    with_job(world, ask, &vault, operation, instance, None)
}
