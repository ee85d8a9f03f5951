//! Deleting backup instances, what is left of them, and bringing them back.

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::INSTANCE;
use super::instances::{id_of, name_of, plain};
use crate::azure::guards;
use crate::azure::reply::{Answer, page};
use crate::azure::request::ArmRequest;
use crate::clock::written;
use crate::document::{set, text, unset};
use crate::world::World;

/// `DELETE …/backupInstances/{name}`.
pub(super) fn delete(world: &mut World, ask: &ArmRequest, vault: &str, instance: Value) -> Answer {
    let id = id_of(&instance);
    let holder = world.find(vault).cloned().unwrap_or_default();
    if text(
        &holder,
        "/properties/securitySettings/immutabilitySettings/state",
    ) == Some("Locked")
    {
        return Answer::error(
            400,
            "UserErrorImmutableVaultDeleteNotAllowed",
            "The vault is immutable and has unexpired recovery points.",
        );
    }
    if let Err(refusal) = guards::unlocked(world, vault, &id) {
        return refusal;
    }
    let soft = text(
        &holder,
        "/properties/securitySettings/softDeleteSettings/state",
    ) != Some("Off");
    let activity = ask.client_request_id.clone();
    let (vault_id, gone) = (vault.to_owned(), instance.clone());
    plain(
        world,
        ask,
        vault,
        &instance,
        Some(Box::new(move |world| {
            if soft {
                let deleted = deleted_form(world, &vault_id, &gone, &activity);
                world.put(deleted);
                world.take(&id);
            } else {
                world.remove(&id);
            }
        })),
    )
}

fn deleted_form(world: &World, vault: &str, instance: &Value, activity: &str) -> Value {
    let now = world.clock.now();
    let purge = now
        .saturating_add(SignedDuration::from_hours(14 * 24))
        .unwrap_or(now);
    let mut deleted = instance.clone();
    set(
        &mut deleted,
        "/id",
        format!("{vault}/deletedBackupInstances/{}", name_of(instance)),
    );
    set(
        &mut deleted,
        "/type",
        "Microsoft.DataProtection/backupVaults/deletedBackupInstances",
    );
    set(
        &mut deleted,
        "/properties/objectType",
        "DeletedBackupInstance",
    );
    set(
        &mut deleted,
        "/properties/protectionStatus/status",
        "SoftDeleted",
    );
    set(
        &mut deleted,
        "/properties/currentProtectionState",
        "SoftDeleted",
    );
    set(
        &mut deleted,
        "/properties/deletionInfo",
        json!({
            "deletionTime": written(now), "scheduledPurgeTime": written(purge), "billingEndDate": written(purge), "deleteActivityID": activity,
        }),
    );
    deleted
}

/// Everything under `…/deletedBackupInstances`.
pub(super) fn deleted(world: &mut World, ask: &ArmRequest, vault: &str, rest: &[&str]) -> Answer {
    let id = ask.id(10);
    let found = world.find(&id).cloned();
    match (ask.method.as_str(), rest, found) {
        ("GET", [], _) => {
            let all = world
                .children(&format!("{vault}/deletedBackupInstances"))
                .into_iter()
                .cloned()
                .collect();
            page(world, ask, all, 50)
        }
        ("GET", [_], Some(instance)) => Answer::document(200, &instance),
        ("POST", [_, "undelete"], Some(instance)) => undelete(world, ask, vault, instance),
        (_, [_, ..], None) => Answer::not_found(&id),
        (method, _, _) => Answer::method_not_allowed(method),
    }
}

fn undelete(world: &mut World, ask: &ArmRequest, vault: &str, instance: Value) -> Answer {
    let gone = id_of(&instance);
    let mut back = instance.clone();
    set(
        &mut back,
        "/id",
        format!("{vault}/backupInstances/{}", name_of(&instance)),
    );
    set(&mut back, "/type", INSTANCE);
    set(&mut back, "/properties/objectType", "BackupInstance");
    set(
        &mut back,
        "/properties/protectionStatus/status",
        "ProtectionStopped",
    );
    set(
        &mut back,
        "/properties/currentProtectionState",
        "ProtectionStopped",
    );
    unset(&mut back, "/properties/deletionInfo");
    plain(
        world,
        ask,
        vault,
        &instance,
        Some(Box::new(move |world| {
            world.take(&gone);
            world.put(back);
        })),
    )
}
