//! A vault's settings: soft delete, storage, encryption, security PIN, certificates.

use serde_json::{Value, json};

use super::operations::{Begin, Finish, Style};
use super::reply::Answer;
use super::request::ArmRequest;
use super::{guards, precondition};
use crate::digest::fresh_uuid;
use crate::document::{member, merge, set, text, unset};
use crate::world::World;

/// Everything about settings inside a vault.
pub(super) fn route(world: &mut World, ask: &ArmRequest, vault: &str, inside: &[&str]) -> Answer {
    match (ask.method.as_str(), inside) {
        ("GET", ["backupconfig", "vaultconfig"])
        | ("GET", ["backupstorageconfig", "vaultstorageconfig"])
        | ("GET", ["backupencryptionconfigs", "backupresourceencryptionconfig"])
        | ("GET", ["extendedinformation", "vaultextendedinfo"])
        | ("GET", ["privateendpointconnections", _]) => read(world, ask),
        ("PUT" | "PATCH", ["backupconfig", "vaultconfig"]) => config(world, ask, vault),
        ("PUT" | "PATCH", ["backupstorageconfig", "vaultstorageconfig"]) => {
            storage(world, ask, vault)
        }
        ("PUT", ["backupencryptionconfigs", "backupresourceencryptionconfig"]) => {
            encryption(world, ask)
        }
        ("PUT" | "PATCH", ["extendedinformation", "vaultextendedinfo"]) => changed(world, ask),
        (
            "POST",
            [
                "backupstorageconfig",
                "vaultstorageconfig",
                "preparedatamove" | "triggerdatamove",
            ],
        ) => move_data(world, ask, vault),
        ("POST", ["backupsecuritypin"]) => security_pin(world, ask, vault),
        ("PUT", ["certificates", _]) => certificate(ask),
        ("DELETE", ["registeredidentities", _]) => Answer::empty(204),
        ("PUT" | "DELETE", ["privateendpointconnections", _]) => {
            private_endpoint(world, ask, vault)
        }
        (method, _) => Answer::method_not_allowed(method),
    }
}

fn read(world: &World, ask: &ArmRequest) -> Answer {
    let id = ask.whole_id();
    world.find(&id).map_or_else(
        || Answer::not_found(&id),
        |found| Answer::document(200, found),
    )
}

/// Merges the body's properties into the document and shows the result.
fn changed(world: &mut World, ask: &ArmRequest) -> Answer {
    let id = ask.whole_id();
    let Some(document) = world.find_mut(&id) else {
        return Answer::not_found(&id);
    };
    let mut properties = member(document, "/properties");
    merge(&mut properties, &member(&ask.body, "/properties"));
    if !properties.is_object() {
        return Answer::error(
            400,
            "InvalidRequestContent",
            "The member 'properties' is missing.",
        );
    }
    set(document, "/properties", properties);
    unset(document, "/properties/resourceGuardOperationRequests");
    world.touch(&id);
    read(world, ask)
}

fn config(world: &mut World, ask: &ArmRequest, vault: &str) -> Answer {
    let id = ask.whole_id();
    if let Err(refusal) = precondition(world, ask, &id) {
        return refusal;
    }
    let is = world
        .find(&id)
        .and_then(|config| text(config, "/properties/softDeleteFeatureState"))
        .unwrap_or("Enabled")
        .to_owned();
    let wanted = text(&ask.body, "/properties/softDeleteFeatureState").map(str::to_owned);
    if let Some(wanted) = &wanted {
        if !["Enabled", "Disabled", "AlwaysON", "Invalid"].contains(&wanted.as_str()) {
            return Answer::error(
                400,
                "BMSUserErrorInvalidInput",
                "Input provided for the call is invalid.",
            );
        }
        if is == "AlwaysON" && wanted != "AlwaysON" {
            return Answer::error(
                400,
                "UserErrorSoftDeleteAlwaysOn",
                "Soft delete is always on for this vault and cannot be disabled.",
            );
        }
        if wanted == "Disabled"
            && is != "Disabled"
            && let Err(refusal) = guards::permits(world, ask, vault, "disableSoftDelete")
        {
            return refusal;
        }
    }
    let answer = changed(world, ask);
    if answer.status == 200
        && let Some(wanted) = wanted
        && let Some(vault) = world.find_mut(vault)
    {
        set(
            vault,
            "/properties/securitySettings/softDeleteSettings/softDeleteState",
            wanted,
        );
    }
    answer
}

fn storage(world: &mut World, ask: &ArmRequest, vault: &str) -> Answer {
    let locked = world
        .find(&ask.whole_id())
        .is_some_and(|config| text(config, "/properties/storageTypeState") == Some("Locked"));
    let wanted = text(&ask.body, "/properties/storageModelType")
        .or_else(|| text(&ask.body, "/properties/storageType"));
    if locked && wanted.is_some_and(|wanted| wanted != "GeoRedundant") {
        return Answer::error(
            400,
            "UserErrorStorageTypeLocked",
            "The storage type cannot be changed once items are protected.",
        );
    }
    let answer = changed(world, ask);
    world.touch(vault);
    if ask.method == "PATCH" {
        Answer::empty(204)
    } else {
        answer
    }
}

/// Answers without a body, as the published example does.
fn encryption(world: &mut World, ask: &ArmRequest) -> Answer {
    let answer = changed(world, ask);
    if answer.status == 200 {
        Answer::empty(200)
    } else {
        answer
    }
}

fn move_data(world: &mut World, ask: &ArmRequest, vault: &str) -> Answer {
    let base = format!("{vault}/backupstorageconfig/vaultstorageconfig");
    let token = json!({"objectType": "PrepareDataMoveResponse", "correlationId": ask.client_request_id, "sourceVaultProperties": {}});
    world.begin(
        ask,
        Begin {
            style: Style::Backup,
            status: Some(format!("{base}/operationStatus")),
            result: Some(format!("{base}/operationResults")),
            properties: Value::Null,
            finish: Finish::Body(token),
            effect: None,
        },
    )
}

/// 100-nanosecond ticks between year 1 and 1970.
const TICKS_TO_1970: i64 = 621_355_968_000_000_000;

fn security_pin(world: &World, ask: &ArmRequest, vault: &str) -> Answer {
    if let Err(refusal) = guards::permits(world, ask, vault, "getSecurityPIN") {
        return refusal;
    }
    let pin: String = fresh_uuid()
        .bytes()
        .filter(u8::is_ascii_digit)
        .map(char::from)
        .chain("246802".chars())
        .take(6)
        .collect();
    let ends = world.clock.now().as_second() + 600;
    Answer::ok(
        json!({"token": pin, "securityPIN": pin, "expiryTimeInUtcTicks": TICKS_TO_1970 + ends * 10_000_000}),
    )
}

/// The vault's registration certificate: whoever holds it can register a server.
fn certificate(ask: &ArmRequest) -> Answer {
    Answer::ok(json!({
        "id": ask.whole_id(), "name": ask.last(), "type": "Microsoft.RecoveryServices/vaults/certificates",
        "properties": {
            "authType": "AzureActiveDirectory", "certificate": "c2ltLXZhdWx0LWNlcnRpZmljYXRl", "resourceId": 8_726_350_008_099_341_i64,
            "aadAuthority": "https://login.windows.net", "aadTenantId": crate::state::TENANT,
            "servicePrincipalClientId": fresh_uuid(), "servicePrincipalObjectId": fresh_uuid(),
            "azureManagementEndpointAudience": "https://management.example.com/", "subject": "CN=Vaultgate simulation",
            "validFrom": "2026-01-01T00:00:00Z", "validTo": "2027-01-01T00:00:00Z", "thumbprint": "00", "friendlyName": "", "issuer": "CN=Vaultgate simulation",
        },
    }))
}

fn private_endpoint(world: &mut World, ask: &ArmRequest, vault: &str) -> Answer {
    let id = ask.whole_id();
    if ask.method == "DELETE" {
        if !world.holds(&id) {
            return Answer::empty(204);
        }
        world.remove(&id);
    } else {
        let mut document = json!({"id": id, "name": ask.last(), "type": "Microsoft.RecoveryServices/vaults/privateEndpointConnections"});
        set(
            &mut document,
            "/properties",
            member(&ask.body, "/properties"),
        );
        set(&mut document, "/properties/provisioningState", "Succeeded");
        world.put(document);
    }
    world.begin(
        ask,
        Begin {
            style: Style::Backup,
            status: Some(format!(
                "{vault}/privateEndpointConnections/{}/operationsStatus",
                ask.last()
            )),
            result: None,
            properties: Value::Null,
            finish: Finish::Resource(id),
            effect: None,
        },
    )
}
