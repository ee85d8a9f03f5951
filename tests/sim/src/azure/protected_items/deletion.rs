//! Deleting a protected item's data: what forbids it, and what is left of it.

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::{id_of, soft_deleted};
use crate::azure::jobs::Home;
use crate::azure::operations::{Begin, Finish, Style};
use crate::azure::reply::Answer;
use crate::azure::request::ArmRequest;
use crate::azure::{guards, policies};
use crate::clock::written;
use crate::document::{merge, text};
use crate::world::World;

/// `DELETE …/protectedItems/{name}`.
pub(super) fn delete(world: &mut World, ask: &ArmRequest, vault: &str, item: &Value) -> Answer {
    let id = id_of(item);
    if let Err(refusal) = may_delete(world, vault, item) {
        return refusal;
    }
    let config = world.find(&format!("{vault}/backupconfig/vaultconfig"));
    let soft = config.and_then(|config| text(config, "/properties/softDeleteFeatureState"))
        != Some("Disabled");
    let job = world.start_job(
        ask,
        Home::Vault,
        vault,
        "DeleteBackupData",
        item.clone(),
        None,
    );
    world.unlocked.remove(&id.to_ascii_lowercase());
    let (vault_id, gone) = (vault.to_owned(), id);
    world.begin(
        ask,
        Begin {
            style: Style::Backup,
            status: Some(format!("{vault}/backupOperations")),
            result: Some(format!("{vault}/backupOperationResults")),
            properties: json!({"objectType": "OperationStatusJobExtendedInfo", "jobId": job}),
            finish: Finish::Nothing,
            effect: Some(Box::new(move |world| {
                if soft {
                    schedule_purge(world, &gone);
                } else {
                    world.remove(&gone);
                }
                policies::recount(world, &vault_id);
            })),
        },
    )
}

/// What forbids deleting the item's data.
fn may_delete(world: &World, vault: &str, item: &Value) -> Result<(), Answer> {
    let id = id_of(item);
    let holder = world.find(vault);
    let locked = holder.and_then(|vault| {
        text(
            vault,
            "/properties/securitySettings/immutabilitySettings/state",
        )
    }) == Some("Locked");
    if locked {
        return Err(Answer::error(
            400,
            "UserErrorImmutableVaultDeleteNotAllowed",
            "Stop protection with delete data is not allowed: the vault is immutable and has unexpired recovery points.",
        ));
    }
    if soft_deleted(item) {
        return Err(Answer::error(
            400,
            "UserErrorItemSoftDeleted",
            "The item is already in soft-deleted state.",
        ));
    }
    guards::unlocked(world, vault, &id)?;
    if world.busy(&id) {
        return Err(Answer::error(
            409,
            "UserErrorAnotherOperationInProgress",
            "Another operation is in progress on this item.",
        ));
    }
    Ok(())
}

fn schedule_purge(world: &mut World, id: &str) {
    let purge = world
        .clock
        .now()
        .saturating_add(SignedDuration::from_hours(14 * 24))
        .map(written)
        .unwrap_or_default();
    if let Some(item) = world.find_mut(id) {
        merge(
            item,
            &json!({"properties": {
                "isScheduledForDeferredDelete": true, "protectionState": "ProtectionStopped", "policyId": "", "policyName": null,
                "deferredDeleteTimeInUTC": purge, "deferredDeleteTimeRemaining": "14.00:00:00",
            }}),
        );
    }
}
