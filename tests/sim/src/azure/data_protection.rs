//! `Microsoft.DataProtection`: Backup vaults and what is in them.

mod deletion;
mod instances;
mod vaults;

use serde_json::{Value, json};

pub(crate) use instances::discrete_point;

use super::guards;
use super::jobs::{self, Home};
use super::operations::{Begin, Finish, Style};
use super::reply::{Answer, list, page};
use super::request::ArmRequest;
use crate::digest::fresh_uuid;
use crate::document::{member, set, text};
use crate::world::World;

pub(super) const VAULT: &str = "Microsoft.DataProtection/backupVaults";
pub(super) const INSTANCE: &str = "Microsoft.DataProtection/backupVaults/backupInstances";
pub(super) const POLICY: &str = "Microsoft.DataProtection/backupVaults/backupPolicies";

/// Under a resource group's `Microsoft.DataProtection`.
pub(super) fn in_group(world: &mut World, ask: &ArmRequest, rest: &[&str]) -> Answer {
    match rest {
        ["backupvaults"] if ask.method == "GET" => list(
            world
                .of_type(&ask.id(4), VAULT)
                .into_iter()
                .cloned()
                .collect(),
        ),
        ["backupvaults", _] => vaults::route(world, ask),
        ["backupvaults", _, inside @ ..] => {
            let vault = ask.id(8);
            match world
                .find(&vault)
                .and_then(|found| text(found, "/id"))
                .map(str::to_owned)
            {
                None => Answer::not_found(&vault),
                Some(vault) => in_vault(world, ask, &vault, inside),
            }
        }
        ["resourceguards", guard @ ..] => guards::route(world, ask, guard),
        ["locations", _, action] if ask.method == "POST" => in_location(world, ask, action),
        _ => Answer::not_found(&ask.whole_id()),
    }
}

fn in_vault(world: &mut World, ask: &ArmRequest, vault: &str, inside: &[&str]) -> Answer {
    match inside {
        ["backupinstances", rest @ ..] => instances::route(world, ask, vault, rest),
        ["deletedbackupinstances", rest @ ..] => deletion::deleted(world, ask, vault, rest),
        ["backupjobs", rest @ ..] => jobs::route(world, ask, Home::BackupVault, vault, rest),
        ["backuppolicies", rest @ ..] => policies(world, ask, vault, rest),
        ["backupresourceguardproxies", rest @ ..] => {
            guards::proxies(world, ask, vault, VAULT, rest)
        }
        ["exportbackupjobs"] if ask.method == "POST" => export(world, ask, vault),
        ["validateforbackup"] if ask.method == "POST" => validate_for_backup(world, ask, vault),
        _ => Answer::not_found(&ask.whole_id()),
    }
}

/// Under a subscription's `Microsoft.DataProtection`.
pub(super) fn in_subscription(world: &World, ask: &ArmRequest, rest: &[&str]) -> Answer {
    let all = |kind: &str| {
        list(
            world
                .of_type(&ask.id(2), kind)
                .into_iter()
                .cloned()
                .collect(),
        )
    };
    match (ask.method.as_str(), rest) {
        ("GET", ["backupvaults"]) => all(VAULT),
        ("GET", ["resourceguards"]) => all("Microsoft.DataProtection/resourceGuards"),
        ("GET", ["locations", _, "deletedvaults"]) => list(
            world
                .children(&ask.whole_id())
                .into_iter()
                .cloned()
                .collect(),
        ),
        ("POST", ["locations", _, "checkfeaturesupport"]) => Answer::ok(json!({
            "featureType": "DataSourceType", "objectType": "FeatureValidationResponse",
            "features": [{"featureName": member(&ask.body, "/featureName"), "supportStatus": "GenerallyAvailable", "exposureControlledFeatures": []}],
        })),
        _ => Answer::not_found(&ask.whole_id()),
    }
}

fn in_location(world: &mut World, ask: &ArmRequest, action: &str) -> Answer {
    match action {
        "checknameavailability" => {
            let name = text(&ask.body, "/name").unwrap_or_default();
            let taken = world.holds(&format!("{}/providers/{VAULT}/{name}", ask.id(4)));
            Answer::ok(if taken {
                json!({"nameAvailable": false, "reason": "AlreadyExists", "message": "The name is taken."})
            } else {
                json!({"nameAvailable": true})
            })
        }
        "crossregionrestore" => instances::cross_region(world, ask, "CrossRegionRestore"),
        "validatecrossregionrestore" => {
            instances::cross_region(world, ask, "ValidateCrossRegionRestore")
        }
        "fetchsecondaryrecoverypoints" => {
            let instance = text(&ask.body, "/sourceBackupInstanceId").unwrap_or_default();
            list(
                world
                    .children(&format!("{instance}/recoveryPoints"))
                    .into_iter()
                    .cloned()
                    .collect(),
            )
        }
        "fetchcrossregionrestorejobs" => list(secondary_jobs(world, ask)),
        "fetchcrossregionrestorejob" => {
            let wanted = text(&ask.body, "/jobId")
                .unwrap_or_default()
                .rsplit('/')
                .next()
                .unwrap_or_default();
            let found = secondary_jobs(world, ask)
                .into_iter()
                .find(|job| text(job, "/name") == Some(wanted));
            found.map_or_else(|| Answer::not_found(wanted), Answer::ok)
        }
        _ => Answer::not_found(&ask.whole_id()),
    }
}

fn secondary_jobs(world: &World, ask: &ArmRequest) -> Vec<Value> {
    let vault = text(&ask.body, "/sourceBackupVaultId").unwrap_or_default();
    jobs::of_vault(world, Home::BackupVault, vault)
        .into_iter()
        .filter(|job| text(job, "/properties/operation") == Some("CrossRegionRestore"))
        .collect()
}

/// `GET /{resource}/providers/Microsoft.DataProtection/backupInstances`: the instances
/// that protect a resource, wherever their vault is.
pub(super) fn of_resource(world: &World, ask: &ArmRequest) -> Answer {
    if ask.method != "GET" {
        return Answer::method_not_allowed(&ask.method);
    }
    let resource = ask.id(ask.route().len().saturating_sub(3));
    let protects = |instance: &&Value| {
        text(instance, "/properties/dataSourceInfo/resourceID")
            .is_some_and(|own| own.eq_ignore_ascii_case(&resource))
    };
    list(
        world
            .of_type(&ask.id(2), INSTANCE)
            .into_iter()
            .filter(protects)
            .cloned()
            .collect(),
    )
}

/// An operation with `DataProtection`'s addresses: the result address leaves the vault
/// out when the operation is an instance's, as the published examples show it.
pub(super) fn begin(
    world: &mut World,
    ask: &ArmRequest,
    vault: &str,
    instance: Option<&str>,
    finish: Finish,
    effect: Option<crate::world::Effect>,
) -> Answer {
    let group = vault.split("/backupVaults/").next().unwrap_or(vault);
    let result = match instance {
        Some(name) => format!("{group}/backupInstances/{name}/operationResults"),
        None => format!("{vault}/operationResults"),
    };
    let properties = match &finish {
        Finish::Body(body) => body.clone(),
        Finish::Resource(_) | Finish::Nothing => Value::Null,
    };
    world.begin(
        ask,
        Begin {
            style: Style::Resource,
            status: Some(format!("{vault}/operationStatus")),
            result: Some(result),
            properties,
            finish,
            effect,
        },
    )
}

/// The final body of an operation that started a job.
pub(super) fn job_info(vault: &str, job: &str) -> Value {
    json!({"objectType": "OperationJobExtendedInfo", "jobId": format!("{vault}/backupJobs/{job}")})
}

fn policies(world: &mut World, ask: &ArmRequest, vault: &str, rest: &[&str]) -> Answer {
    let id = ask.id(10);
    match (ask.method.as_str(), rest) {
        ("GET", []) => {
            let all = world
                .children(&format!("{vault}/backupPolicies"))
                .into_iter()
                .cloned()
                .collect();
            page(world, ask, all, 50)
        }
        ("GET", [_]) => world.find(&id).map_or_else(
            || Answer::not_found(&id),
            |policy| Answer::document(200, policy),
        ),
        ("PUT", [_]) => {
            let mut policy = json!({"id": id, "name": ask.last(), "type": POLICY});
            set(&mut policy, "/properties", member(&ask.body, "/properties"));
            world.put(policy.clone());
            Answer::ok(policy)
        }
        ("DELETE", [_]) => delete_policy(world, vault, &id),
        (method, _) => Answer::method_not_allowed(method),
    }
}

fn delete_policy(world: &mut World, vault: &str, id: &str) -> Answer {
    let uses = |instance: &&Value| {
        text(instance, "/properties/policyInfo/policyId")
            .is_some_and(|own| own.eq_ignore_ascii_case(id))
    };
    if world
        .children(&format!("{vault}/backupInstances"))
        .iter()
        .any(uses)
    {
        return Answer::error(
            400,
            "UserErrorBackupPolicyInUse",
            "The policy is in use by backup instances.",
        );
    }
    Answer::empty(if world.take(id).is_some() { 200 } else { 204 })
}

fn export(world: &mut World, ask: &ArmRequest, vault: &str) -> Answer {
    let report = format!(
        "https://simreports.blob.core.windows.net/reportcontainer/exportjobsreport{}",
        fresh_uuid()
    );
    let key = "?sv=2026-01-01&sr=b&sig=c2ltLXNhcy1zaWduYXR1cmU%3D&sp=r";
    let finish = json!({"blobUrl": report, "blobSasKey": key, "excelFileBlobUrl": format!("{report}_ExcelFile.xlsx"), "excelFileBlobSasKey": key});
    world.begin(
        ask,
        Begin {
            style: Style::Backup,
            status: None,
            result: Some(format!("{vault}/backupJobs/operations")),
            properties: Value::Null,
            finish: Finish::Body(finish),
            effect: None,
        },
    )
}

fn validate_for_backup(world: &mut World, ask: &ArmRequest, vault: &str) -> Answer {
    if ask.body.pointer("/backupInstance").is_none() {
        return Answer::error(
            400,
            "UserErrorInvalidRequestContent",
            "The member 'backupInstance' is missing.",
        );
    }
    begin(
        world,
        ask,
        vault,
        None,
        Finish::Body(json!({"objectType": "OperationJobExtendedInfo", "jobId": fresh_uuid()})),
        None,
    )
}
