//! Recovery Services vaults: the resource itself and what can only be read of it.

use serde_json::{Value, json};

use super::operations::{Begin, Finish, Style};
use super::reply::{Answer, list};
use super::request::ArmRequest;
use super::{guards, jobs, precondition};
use crate::clock::written;
use crate::document::{merge_members, set, text};
use crate::world::{Guarded, World};

pub(super) const TYPE: &str = "Microsoft.RecoveryServices/vaults";

/// `GET …/vaults` of a resource group.
pub(super) fn of_group(world: &World, ask: &ArmRequest) -> Answer {
    if ask.method != "GET" {
        return Answer::method_not_allowed(&ask.method);
    }
    list(
        world
            .of_type(&ask.id(4), TYPE)
            .into_iter()
            .cloned()
            .collect(),
    )
}

/// One vault.
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
    match ask.method.as_str() {
        "PUT" => put(world, ask, &id),
        "PATCH" => patch(world, ask, &id),
        "DELETE" => delete(world, ask, &id),
        method => Answer::method_not_allowed(method),
    }
}

fn put(world: &mut World, ask: &ArmRequest, id: &str) -> Answer {
    if world.holds(id) {
        return patch(world, ask, id);
    }
    let Some(location) = text(&ask.body, "/location") else {
        return Answer::error(
            400,
            "LocationRequired",
            "The location property is required for this definition.",
        );
    };
    if !world.holds(&ask.id(4)) {
        return Answer::error(
            404,
            "ResourceGroupNotFound",
            "The resource group could not be found.",
        );
    }
    let mut vault = crate::world::vault(
        id,
        location,
        Guarded {
            immutability: "Disabled",
            soft_delete: "Enabled",
            multi_user: false,
        },
    );
    merge_members(&mut vault, &ask.body, &["tags", "sku", "properties"]);
    world.put(vault);
    for settings in crate::world::settings(id, "Enabled") {
        world.put(settings);
    }
    world
        .find(id)
        .map_or_else(|| Answer::empty(201), |vault| Answer::document(201, vault))
}

const IMMUTABILITY: &str = "/properties/securitySettings/immutabilitySettings/state";
const SOFT_DELETE: &str = "/properties/securitySettings/softDeleteSettings/softDeleteState";

fn patch(world: &mut World, ask: &ArmRequest, id: &str) -> Answer {
    let Some(vault) = world.find(id).cloned() else {
        return Answer::not_found(id);
    };
    if let Err(refusal) = may_change(world, ask, id, &vault) {
        return refusal;
    }
    let mut after = vault;
    merge_members(
        &mut after,
        &ask.body,
        &["tags", "sku", "identity", "properties"],
    );
    set(&mut after, "/properties/provisioningState", "Succeeded");
    crate::document::unset(&mut after, "/properties/resourceGuardOperationRequests");
    if let Some(state) = text(&after, SOFT_DELETE) {
        // The vault and its vaultconfig show one and the same setting.
        let state = state.to_owned();
        if let Some(config) = world.find_mut(&format!("{id}/backupconfig/vaultconfig")) {
            set(config, "/properties/softDeleteFeatureState", state);
        }
    }
    world.put(after);
    world
        .find(id)
        .map_or_else(|| Answer::empty(200), |vault| Answer::document(200, vault))
}

/// What a vault's own settings, or its guard, forbid.
fn may_change(world: &World, ask: &ArmRequest, id: &str, vault: &Value) -> Result<(), Answer> {
    let wanted = text(&ask.body, IMMUTABILITY);
    let is = text(vault, IMMUTABILITY).unwrap_or("Disabled");
    if is == "Locked" && wanted.is_some_and(|wanted| wanted != "Locked") {
        return Err(Answer::error(
            400,
            "UserErrorImmutabilityStateLocked",
            "The immutability of this vault is locked and cannot be changed.",
        ));
    }
    if is == "Unlocked" && wanted == Some("Disabled") {
        guards::permits(world, ask, id, "reduceImmutabilityState")?;
    }
    let soft_delete = text(&ask.body, SOFT_DELETE);
    let config = world.find(&format!("{id}/backupconfig/vaultconfig"));
    let always = config.and_then(|config| text(config, "/properties/softDeleteFeatureState"))
        == Some("AlwaysON");
    if always && soft_delete.is_some_and(|state| state != "AlwaysON") {
        return Err(Answer::error(
            400,
            "UserErrorSoftDeleteAlwaysOn",
            "Soft delete is always on for this vault and cannot be disabled.",
        ));
    }
    if soft_delete == Some("Disabled") {
        guards::permits(world, ask, id, "disableSoftDelete")?;
    }
    Ok(())
}

fn delete(world: &mut World, ask: &ArmRequest, id: &str) -> Answer {
    let Some(vault) = world.find(id).cloned() else {
        return Answer::empty(204);
    };
    let items = world.of_type(id, super::protected_items::TYPE).len();
    if items > 0
        || !world
            .children(&format!("{id}/backupResourceGuardProxies"))
            .is_empty()
    {
        return Answer::error(
            409,
            "VaultHasDependentResources",
            &format!(
                "Vault cannot be deleted as there are existing resources within the vault: {items} protected items."
            ),
        );
    }
    let deleted = format!(
        "/subscriptions/{}/providers/Microsoft.RecoveryServices/locations/{}/deletedVaults/{}",
        ask.name(1),
        text(&vault, "/location").unwrap_or("westeurope"),
        ask.name(7)
    );
    let purge = written(
        world
            .clock
            .now()
            .saturating_add(jiff::SignedDuration::from_hours(14 * 24))
            .unwrap_or_default(),
    );
    let gone = id.to_owned();
    world.begin(ask, Begin {
        style: Style::Resource,
        status: Some(format!("{id}/operationStatus")),
        result: Some(format!("{id}/operationResults")),
        properties: Value::Null,
        finish: Finish::Nothing,
        effect: Some(Box::new(move |world| {
            let deletion = written(world.clock.now());
            let name = deleted.rsplit('/').next().unwrap_or_default().to_owned();
            world.put(json!({
                "id": deleted, "name": name, "type": "Microsoft.RecoveryServices/locations/deletedVaults",
                "properties": {"vaultId": gone, "vaultDeletionTime": deletion, "purgeAt": purge},
            }));
            world.put_at(&format!("/deleted{gone}"), vault);
            world.remove(&gone);
        })),
    })
}

/// What can only be read.
pub(super) fn read_only(world: &World, ask: &ArmRequest, vault: &str, inside: &[&str]) -> Answer {
    if ask.method != "GET" {
        return Answer::method_not_allowed(&ask.method);
    }
    let items = world.of_type(vault, super::protected_items::TYPE).len();
    let usage = |value: &str, localized: &str, count: usize| json!({"unit": "Count", "currentValue": count, "limit": -1, "name": {"value": value, "localizedValue": localized}});
    match inside {
        ["backupusagesummaries"] => {
            list(vec![usage("AzureIaasVM", "Azure Virtual Machine", items)])
        }
        ["usages"] => list(vec![usage("ProtectedItemsCount", "Backup items", items)]),
        ["replicationusages"] => list(vec![json!({
            "monitoringSummary": {"unHealthyVmCount": 0, "unHealthyProviderCount": 0, "eventsCount": 0, "deprecatedProviderCount": 0, "supportedProviderCount": 0, "unsupportedProviderCount": 0},
            "jobsSummary": {"failedJobs": 0, "suspendedJobs": 0, "inProgressJobs": jobs::of_vault(world, jobs::Home::Vault, vault).len()},
            "protectedItemCount": 0, "registeredServersCount": 0, "recoveryPlanCount": 0,
        })]),
        ["privatelinkresources"] => list(vec![private_link(vault)]),
        ["privatelinkresources", "backupresource"] => Answer::ok(private_link(vault)),
        _ => Answer::not_found(&ask.whole_id()),
    }
}

fn private_link(vault: &str) -> Value {
    json!({
        "id": format!("{vault}/privateLinkResources/backupResource"), "name": "backupResource",
        "type": "Microsoft.RecoveryServices/vaults/privateLinkResources",
        "properties": {"groupId": "AzureBackup", "requiredMembers": ["backup-fab1"], "requiredZoneNames": ["privatelink.we.backup.windowsazure.com"]},
    })
}
