//! `Microsoft.RecoveryServices` outside a vault: lists by subscription, `locations/…`,
//! deleted vaults, and the calls to the secondary region.

use serde_json::{Value, json};

use super::operations::{Begin, Finish, Style};
use super::reply::{Answer, list};
use super::request::ArmRequest;
use super::{jobs, restores, vaults};
use crate::document::{set, text};
use crate::world::{World, container_of, last};

/// Under `/subscriptions/{s}/providers/Microsoft.RecoveryServices`.
pub(super) fn recovery_services(world: &mut World, ask: &ArmRequest, rest: &[&str]) -> Answer {
    match (ask.method.as_str(), rest) {
        ("GET", ["vaults"]) => list(
            world
                .of_type(&ask.id(2), vaults::TYPE)
                .into_iter()
                .cloned()
                .collect(),
        ),
        ("GET", ["locations", _, "deletedvaults"]) => list(
            world
                .children(&ask.whole_id())
                .into_iter()
                .cloned()
                .collect(),
        ),
        ("GET", ["locations", _, "deletedvaults", _]) => world.find(&ask.whole_id()).map_or_else(
            || Answer::not_found(&ask.whole_id()),
            |vault| Answer::document(200, vault),
        ),
        ("POST", ["locations", _, "deletedvaults", _, "undelete"]) => undelete(world, ask),
        ("POST", ["locations", _, "capabilities"]) => Answer::ok(json!({
            "type": "Microsoft.RecoveryServices/vaults",
            "properties": {"dnsZones": [{"subResource": "AzureBackup", "requiredZoneNames": ["privatelink.we.backup.windowsazure.com"]}]},
        })),
        ("POST", ["locations", _, "backupstatus"]) => status(world, ask),
        ("POST", ["locations", _, "backupvalidatefeatures"]) => {
            Answer::ok(json!({"supportStatus": "Supported"}))
        }
        ("POST", ["locations", _, "backupprevalidateprotection"]) => prevalidate(world, ask),
        ("POST", ["locations", _, "backupcrossregionrestore"]) => {
            restores::cross_region(world, ask)
        }
        ("POST", ["locations", _, "backupcrrjobs"]) => jobs::secondary(world, ask, false),
        ("POST", ["locations", _, "backupcrrjob"]) => jobs::secondary(world, ask, true),
        ("GET", ["locations", _, "backupaadproperties"]) => aad(ask),
        _ => Answer::not_found(&ask.whole_id()),
    }
}

/// Under a resource group's `Microsoft.RecoveryServices/locations`.
pub(super) fn in_group(world: &World, ask: &ArmRequest, rest: &[&str]) -> Answer {
    match (ask.method.as_str(), rest) {
        ("POST", ["locations", _, "checknameavailability"]) => {
            let name = text(&ask.body, "/name").unwrap_or_default();
            if world.holds(&format!(
                "{}/providers/Microsoft.RecoveryServices/vaults/{name}",
                ask.id(4)
            )) {
                Answer::ok(
                    json!({"nameAvailable": false, "reason": "AlreadyExists", "message": "Resource already exists with the same name."}),
                )
            } else {
                Answer::ok(json!({"nameAvailable": true}))
            }
        }
        _ => Answer::not_found(&ask.whole_id()),
    }
}

fn aad(ask: &ArmRequest) -> Answer {
    Answer::ok(json!({
        "id": ask.whole_id(), "name": "backupAadProperties", "type": "Microsoft.RecoveryServices/locations/backupAadProperties",
        "properties": {
            "servicePrincipalObjectId": "00000000-0000-0000-0000-00000000aad1", "tenantId": crate::state::TENANT,
            "authority": "https://login.windows.net/", "servicePrincipalClientId": "00000000-0000-0000-0000-00000000aad2", "audience": "https://management.azure.com/",
        },
    }))
}

/// The item that protects a resource, anywhere in the subscription.
fn protecting<'a>(world: &'a World, ask: &ArmRequest, resource: &str) -> Option<&'a Value> {
    let items = world.of_type(&ask.id(2), super::protected_items::TYPE);
    items.into_iter().find(|item| {
        text(item, "/properties/sourceResourceId")
            .is_some_and(|own| own.eq_ignore_ascii_case(resource))
    })
}

fn status(world: &World, ask: &ArmRequest) -> Answer {
    let resource = text(&ask.body, "/resourceId").unwrap_or_default();
    let Some(item) = protecting(world, ask, resource) else {
        return Answer::ok(
            json!({"protectionStatus": "NotProtected", "errorCode": "Success", "errorMessage": ""}),
        );
    };
    let id = text(item, "/id").unwrap_or_default();
    Answer::ok(json!({
        "protectionStatus": "Protected", "vaultId": text(item, "/properties/vaultId"), "fabricName": "Azure",
        "containerName": container_of(id), "protectedItemName": last(id),
        "policyName": text(item, "/properties/policyName"), "errorCode": "Success", "errorMessage": "",
    }))
}

fn prevalidate(world: &World, ask: &ArmRequest) -> Answer {
    let resource = text(&ask.body, "/resourceId").unwrap_or_default();
    let mut body = json!({"status": "Succeeded", "errorCode": "Success", "errorMessage": "", "recommendation": ""});
    if let Some(item) = protecting(world, ask, resource) {
        let id = text(item, "/id").unwrap_or_default();
        body = json!({
            "status": "Failed", "errorCode": "VirtualMachineAlreadyProtected", "errorMessage": "The machine is protected already.",
            "recommendation": "Do not enable protection again.", "containerName": container_of(id), "protectedItemName": last(id),
        });
    }
    Answer::ok(body)
}

fn undelete(world: &mut World, ask: &ArmRequest) -> Answer {
    let id = ask.id(8);
    let Some(deleted) = world.find(&id).cloned() else {
        return Answer::not_found(&id);
    };
    let vault = text(&deleted, "/properties/vaultId")
        .unwrap_or_default()
        .to_owned();
    world.begin(
        ask,
        Begin {
            style: Style::Resource,
            status: Some(format!("{id}/operations")),
            result: Some(format!("{id}/operationResults")),
            properties: Value::Null,
            finish: Finish::Resource(vault.clone()),
            effect: Some(Box::new(move |world| {
                if let Some(mut document) = world.take(&format!("/deleted{vault}")) {
                    set(&mut document, "/properties/provisioningState", "Succeeded");
                    world.put(document);
                    for settings in crate::world::settings(&vault, "Enabled") {
                        world.put(settings);
                    }
                }
                world.remove(&id);
            })),
        },
    )
}
