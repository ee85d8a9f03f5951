//! Backup vaults themselves.

use serde_json::{Value, json};

use super::{INSTANCE, VAULT, begin};
use crate::azure::operations::Finish;
use crate::azure::reply::Answer;
use crate::azure::request::ArmRequest;
use crate::azure::{guards, precondition};
use crate::clock::written;
use crate::digest::stable_uuid;
use crate::document::{member, merge_members, set, text};
use crate::world::{Effect, World};

/// One Backup vault.
pub(super) fn route(world: &mut World, ask: &ArmRequest) -> Answer {
    let id = ask.id(8);
    if ask.method == "GET" {
        return world.find(&id).map_or_else(
            || Answer::not_found(&id),
            |vault| Answer::document(200, vault),
        );
    }
    if let Err(refusal) = precondition(world, ask, &id) {
        return refusal;
    }
    match (ask.method.as_str(), world.find(&id).cloned()) {
        ("PUT", None) => create(world, ask, &id),
        ("PUT" | "PATCH", Some(vault)) => change(world, ask, &id, vault),
        ("PATCH", None) => Answer::not_found(&id),
        ("DELETE", None) => Answer::empty(204),
        ("DELETE", Some(_)) => delete(world, ask, &id),
        (method, _) => Answer::method_not_allowed(method),
    }
}

fn create(world: &mut World, ask: &ArmRequest, id: &str) -> Answer {
    // The same request with this header is no creation but an undelete.
    if let Some(deleted) = ask.header("x-ms-deleted-vault-id") {
        return undelete(world, id, deleted);
    }
    let Some(location) = text(&ask.body, "/location") else {
        return Answer::error(
            400,
            "LocationRequired",
            "The location property is required for this definition.",
        );
    };
    let mut vault = json!({
        "id": id, "name": ask.last(), "type": VAULT, "location": location, "tags": {}, "etag": "",
        "identity": {"type": "None"}, "properties": {},
    });
    merge_members(&mut vault, &ask.body, &["tags", "identity", "properties"]);
    for (pointer, value) in [
        ("/properties/provisioningState", json!("Succeeded")),
        ("/properties/isVaultProtectedByResourceGuard", json!(false)),
        ("/properties/secureScore", json!("Minimum")),
    ] {
        set(&mut vault, pointer, value);
    }
    if vault.pointer("/properties/securitySettings").is_none() {
        set(
            &mut vault,
            "/properties/securitySettings",
            json!({"softDeleteSettings": {"state": "On", "retentionDurationInDays": 14}, "immutabilitySettings": {"state": "Disabled"}}),
        );
    }
    world.put(vault);
    world
        .find(id)
        .map_or_else(|| Answer::empty(201), |vault| Answer::document(201, vault))
}

const IMMUTABILITY: &str = "/properties/securitySettings/immutabilitySettings/state";
const SOFT_DELETE: &str = "/properties/securitySettings/softDeleteSettings/state";

fn change(world: &mut World, ask: &ArmRequest, id: &str, mut vault: Value) -> Answer {
    let (is, wanted) = (member(&vault, IMMUTABILITY), text(&ask.body, IMMUTABILITY));
    if is == "Locked" && wanted.is_some_and(|wanted| wanted != "Locked") {
        return Answer::error(
            400,
            "UserErrorImmutabilityStateLocked",
            "The immutability of this vault is locked and cannot be changed.",
        );
    }
    if is == "Unlocked"
        && wanted == Some("Disabled")
        && let Err(refusal) = guards::permits(world, ask, id, "reduceImmutabilityState")
    {
        return refusal;
    }
    let (soft, wanted) = (member(&vault, SOFT_DELETE), text(&ask.body, SOFT_DELETE));
    if soft == "AlwaysOn" && wanted.is_some_and(|wanted| wanted != "AlwaysOn") {
        return Answer::error(
            400,
            "UserErrorSoftDeleteAlwaysOn",
            "Soft delete is always on for this vault and cannot be disabled.",
        );
    }
    if wanted == Some("Off")
        && let Err(refusal) = guards::permits(world, ask, id, "disableSoftDelete")
    {
        return refusal;
    }
    merge_members(&mut vault, &ask.body, &["tags", "identity", "properties"]);
    crate::document::unset(&mut vault, "/properties/resourceGuardOperationRequests");
    world.put(vault);
    world
        .find(id)
        .map_or_else(|| Answer::empty(200), |vault| Answer::document(200, vault))
}

fn delete(world: &mut World, ask: &ArmRequest, id: &str) -> Answer {
    if !world.of_type(id, INSTANCE).is_empty() {
        return Answer::error(
            409,
            "UserErrorVaultNotEmpty",
            "The vault has backup instances and cannot be deleted.",
        );
    }
    let gone = id.to_owned();
    let effect: Effect = Box::new(move |world| {
        if let Some(vault) = world.take(&gone) {
            remember(world, &gone, vault);
        }
        world.remove(&gone);
    });
    begin(world, ask, id, None, Finish::Nothing, Some(effect))
}

/// Where a deleted vault is remembered, apart from what is served.
fn remembered(deleted: &str) -> String {
    format!("/deleted{deleted}")
}

fn remember(world: &mut World, id: &str, vault: Value) {
    let name = stable_uuid(id);
    let subscription = id.split('/').nth(2).unwrap_or_default();
    let location = text(&vault, "/location").unwrap_or("westeurope");
    let deleted = format!(
        "/subscriptions/{subscription}/providers/Microsoft.DataProtection/locations/{location}/deletedVaults/{name}"
    );
    let at = written(world.clock.now());
    world.put_at(&remembered(&deleted), vault);
    world.put(json!({
        "id": deleted, "name": name, "type": "Microsoft.DataProtection/locations/deletedVaults",
        "properties": {"originalBackupVaultId": id, "originalBackupVaultName": id.rsplit('/').next(), "resourceDeletionInfo": {"deletionTime": at}},
    }));
}

fn undelete(world: &mut World, id: &str, deleted: &str) -> Answer {
    let ours = world
        .find(deleted)
        .and_then(|found| text(found, "/properties/originalBackupVaultId"));
    if !ours.is_some_and(|own| own.eq_ignore_ascii_case(id)) {
        return Answer::error(
            400,
            "UserErrorDeletedVaultNotFound",
            "The deleted vault was not found.",
        );
    }
    world.remove(deleted);
    if let Some(vault) = world.take(&remembered(deleted)) {
        world.put(vault);
    }
    world
        .find(id)
        .map_or_else(|| Answer::empty(201), |vault| Answer::document(201, vault))
}
