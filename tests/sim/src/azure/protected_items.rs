//! Protected items: protect, change policy, stop, undelete, delete, back up now.
//!
//! What an item's vault forbids (immutability, guard, soft delete) is decided here and
//! nowhere else.

mod deletion;

use std::time::Duration;

use serde_json::{Value, json};

use super::jobs::Home;
use super::operations::{Begin, Finish, Style};
use super::reply::{Answer, filtered, page};
use super::request::ArmRequest;
use super::{guards, policies};
use crate::clock::written;
use crate::document::{merge, set, text, unset};
use crate::world::{Effect, World};

pub(super) const TYPE: &str =
    "Microsoft.RecoveryServices/vaults/backupFabrics/protectionContainers/protectedItems";

const FILTERS: [(&str, &str); 8] = [
    ("backupManagementType", "/properties/backupManagementType"),
    ("itemType", "/properties/workloadType"),
    ("policyName", "/properties/policyName"),
    ("containerName", "/properties/containerName"),
    ("friendlyName", "/properties/friendlyName"),
    ("parentName", "/properties/parentName"),
    ("protectionState", "/properties/protectionState"),
    ("healthStatus", "/properties/healthStatus"),
];

/// How many items a page holds.
const PAGE: usize = 50;

/// `GET …/backupProtectedItems`.
pub(super) fn of_vault(world: &World, ask: &ArmRequest, vault: &str) -> Answer {
    if ask.method != "GET" {
        return Answer::method_not_allowed(&ask.method);
    }
    let items = world.of_type(vault, TYPE).into_iter().cloned().collect();
    page(world, ask, filtered(ask, items, &FILTERS), PAGE)
}

/// One item and what can be asked of it, but its recovery points.
pub(super) fn route(world: &mut World, ask: &ArmRequest, vault: &str, rest: &[&str]) -> Answer {
    let id = ask.id(14);
    let item = world.find(&id).cloned();
    match (ask.method.as_str(), rest, item) {
        ("GET", [], Some(item)) => Answer::document(200, &item),
        ("PUT", [], Some(item)) => change(world, ask, vault, &item),
        ("PUT", [], None) => protect(world, ask, vault, &id),
        ("DELETE", [], Some(item)) => deletion::delete(world, ask, vault, &item),
        ("DELETE", [], None) => Answer::empty(204),
        ("POST", ["backup"], Some(item)) => back_up(world, ask, vault, &item),
        ("POST", ["recoverypointsrecommendedformove"], Some(_)) => page(
            world,
            ask,
            world
                .children(&format!("{id}/recoveryPoints"))
                .into_iter()
                .cloned()
                .collect(),
            10,
        ),
        ("POST", ["configuresourcescan"], Some(item)) => simple(world, ask, &item),
        ("GET" | "POST", _, None) => Answer::not_found(&id),
        (method, _, _) => Answer::method_not_allowed(method),
    }
}

fn id_of(item: &Value) -> String {
    text(item, "/id").unwrap_or_default().to_owned()
}

fn soft_deleted(item: &Value) -> bool {
    item.pointer("/properties/isScheduledForDeferredDelete")
        .and_then(Value::as_bool)
        == Some(true)
}

/// An operation on an item, with a job of its own.
fn with_job(
    world: &mut World,
    ask: &ArmRequest,
    vault: &str,
    operation: &str,
    item: &Value,
    finish: Finish,
    effect: Effect,
) -> Answer {
    let id = id_of(item);
    let job = world.start_job(ask, Home::Vault, vault, operation, item.clone(), None);
    world.begin(
        ask,
        Begin {
            style: Style::Backup,
            status: Some(format!("{id}/operationsStatus")),
            result: Some(format!("{id}/operationResults")),
            properties: json!({"objectType": "OperationStatusJobExtendedInfo", "jobId": job}),
            finish,
            effect: Some(effect),
        },
    )
}

fn simple(world: &mut World, ask: &ArmRequest, item: &Value) -> Answer {
    let id = id_of(item);
    world.begin(
        ask,
        Begin {
            style: Style::Backup,
            status: Some(format!("{id}/operationsStatus")),
            result: Some(format!("{id}/operationResults")),
            properties: Value::Null,
            finish: Finish::Resource(id),
            effect: None,
        },
    )
}

fn protect(world: &mut World, ask: &ArmRequest, vault: &str, id: &str) -> Answer {
    let Some(policy) = text(&ask.body, "/properties/policyId")
        .filter(|policy| !policy.is_empty())
        .map(str::to_owned)
    else {
        return Answer::error(
            400,
            "BMSUserErrorInvalidPolicyInput",
            "The policy of the item is missing.",
        );
    };
    if !world.holds(&policy) {
        return Answer::error(
            400,
            "BMSUserErrorPolicyNotFound",
            "The backup policy was not found in this vault.",
        );
    }
    let Some(source) = text(&ask.body, "/properties/sourceResourceId").map(str::to_owned) else {
        return Answer::error(
            400,
            "BMSUserErrorInvalidInput",
            "The member 'sourceResourceId' is missing.",
        );
    };
    if !world.holds(&source) {
        return Answer::error(
            400,
            "UserErrorResourceNotFound",
            "The resource to protect was not found.",
        );
    }
    let friendly = source.rsplit('/').next().unwrap_or_default().to_owned();
    let now = world.clock.now();
    let mut item = crate::world::item(id, &friendly, &source, &policy, now);
    merge(
        &mut item,
        &json!({"properties": {"protectionState": "IRPending", "lastRecoveryPoint": null, "lastBackupStatus": "IRPending"}}),
    );
    let container = ask.id(12);
    let name = ask.name(11).to_owned();
    let shown = item.clone();
    let vault_id = vault.to_owned();
    with_job(
        world,
        ask,
        vault,
        "ConfigureBackup",
        &shown,
        Finish::Resource(id.to_owned()),
        Box::new(move |world| {
            if !world.holds(&container) {
                world.put(super::containers::registered(
                    &container, &name, &friendly, &source,
                ));
            }
            world.put(item);
            policies::recount(world, &vault_id);
        }),
    )
}

fn change(world: &mut World, ask: &ArmRequest, vault: &str, item: &Value) -> Answer {
    let id = id_of(item);
    let rehydrate = ask
        .body
        .pointer("/properties/isRehydrate")
        .and_then(Value::as_bool)
        == Some(true);
    let wanted = text(&ask.body, "/properties/protectionState");
    let policy = text(&ask.body, "/properties/policyId")
        .unwrap_or_default()
        .to_owned();
    if rehydrate {
        return undelete(world, ask, vault, item);
    }
    if soft_deleted(item) {
        return Answer::error(
            400,
            "UserErrorItemSoftDeleted",
            "The item is in soft-deleted state; undelete it first.",
        );
    }
    let (operation, state) = match wanted {
        Some("ProtectionStopped") => ("DisableBackup", "ProtectionStopped"),
        Some("BackupsSuspended") => ("DisableBackup", "BackupsSuspended"),
        _ if policy.is_empty() => {
            return Answer::error(
                400,
                "BMSUserErrorInvalidPolicyInput",
                "The policy of the item is missing.",
            );
        }
        _ if !world.holds(&policy) => {
            return Answer::error(
                400,
                "BMSUserErrorPolicyNotFound",
                "The backup policy was not found in this vault.",
            );
        }
        _ => ("ConfigureBackup", "Protected"),
    };
    let (critical, weakens) = match state {
        "Protected" => (
            "updateProtection",
            policies::weaker(
                world,
                text(item, "/properties/policyId").unwrap_or_default(),
                &policy,
            ),
        ),
        _ => ("stopProtection", true),
    };
    if weakens && let Err(refusal) = guards::permits(world, ask, vault, critical) {
        return refusal;
    }
    let mut after = item.clone();
    set(&mut after, "/properties/protectionState", state);
    if state == "Protected" {
        set(
            &mut after,
            "/properties/policyName",
            policy.rsplit('/').next().unwrap_or_default(),
        );
        set(&mut after, "/properties/policyId", policy);
    } else if state == "ProtectionStopped" {
        set(&mut after, "/properties/policyId", "");
        unset(&mut after, "/properties/policyName");
    }
    put_after(world, ask, vault, operation, item, &id, after)
}

fn put_after(
    world: &mut World,
    ask: &ArmRequest,
    vault: &str,
    operation: &str,
    item: &Value,
    id: &str,
    after: Value,
) -> Answer {
    let vault_id = vault.to_owned();
    with_job(
        world,
        ask,
        vault,
        operation,
        item,
        Finish::Resource(id.to_owned()),
        Box::new(move |world| {
            world.put(after);
            policies::recount(world, &vault_id);
        }),
    )
}

fn undelete(world: &mut World, ask: &ArmRequest, vault: &str, item: &Value) -> Answer {
    if !soft_deleted(item) {
        return Answer::error(
            400,
            "UserErrorItemNotSoftDeleted",
            "The item is not in soft-deleted state.",
        );
    }
    let mut after = item.clone();
    merge(
        &mut after,
        &json!({"properties": {
            "isScheduledForDeferredDelete": false, "protectionState": "ProtectionStopped", "protectionStatus": "Healthy",
            "deferredDeleteTimeInUTC": null, "deferredDeleteTimeRemaining": null, "isRehydrate": false,
        }}),
    );
    let id = id_of(item);
    put_after(world, ask, vault, "Undelete", item, &id, after)
}

fn back_up(world: &mut World, ask: &ArmRequest, vault: &str, item: &Value) -> Answer {
    let kind = text(&ask.body, "/properties/objectType").unwrap_or_default();
    let expected = match text(item, "/properties/backupManagementType") {
        Some("AzureWorkload") => "AzureWorkloadBackupRequest",
        Some("AzureStorage") => "AzureFileShareBackupRequest",
        _ => "IaasVMBackupRequest",
    };
    if kind != expected {
        return Answer::error(
            400,
            "BMSUserErrorInvalidInput",
            "Input provided for the call is invalid: 'objectType' does not fit the item.",
        );
    }
    let state = text(item, "/properties/protectionState");
    if soft_deleted(item) || !matches!(state, Some("Protected" | "IRPending")) {
        return Answer::error(
            400,
            "UserErrorItemNotProtected",
            "The item is not protected; a backup cannot be started.",
        );
    }
    let id = id_of(item);
    if world.job_plan.exclusive && world.busy(&id) {
        return Answer::error(
            409,
            "UserErrorBackupOperationInProgress",
            "Unable to initiate backup as another backup operation is currently in progress.",
        );
    }
    let backed_up = id.clone();
    let job = world.start_job(
        ask,
        Home::Vault,
        vault,
        "Backup",
        item.clone(),
        Some(Box::new(move |world| add_point(world, &backed_up))),
    );
    world.begin(
        ask,
        Begin {
            style: Style::Backup,
            status: Some(format!("{id}/operationsStatus")),
            result: Some(format!("{id}/operationResults")),
            properties: json!({"objectType": "OperationStatusJobExtendedInfo", "jobId": job}),
            finish: Finish::Nothing,
            effect: None,
        },
    )
}

/// A backup has ended well: there is one more point.
fn add_point(world: &mut World, item: &str) {
    let now = world.clock.now();
    let name = crate::world::numbers(&format!("{item}{now}"), 15);
    world.put(crate::world::recovery_point(item, &name, now));
    if let Some(document) = world.find_mut(item) {
        merge(
            document,
            &json!({"properties": {
                "lastBackupTime": written(now), "lastRecoveryPoint": written(now), "lastBackupStatus": "Completed", "protectionState": "Protected",
            }}),
        );
    }
}

/// How long a resource stays unlocked for deletion.
pub(super) const UNLOCKED_FOR: Duration = Duration::from_secs(3_600);
