//! Recovery points of Recovery Services items: list, show, move, mount, hand over to the
//! other region.

use serde_json::{Value, json};

use super::operations::{Begin, Finish, Style};
use super::reply::{Answer, page};
use super::request::ArmRequest;
use super::restores;
use crate::digest::fresh_hex;
use crate::document::{set, text};
use crate::world::World;

/// Points on one page.
const PAGE: usize = 10;

/// Everything under an item's `recoveryPoints`.
pub(super) fn route(world: &mut World, ask: &ArmRequest, vault: &str, rest: &[&str]) -> Answer {
    let Some(item) = world.find(&ask.id(14)).cloned() else {
        return Answer::not_found(&ask.id(14));
    };
    let [name, action @ ..] = rest else {
        return all(world, ask, &item);
    };
    let id = ask.id(16);
    let Some(point) = world.find(&id).cloned() else {
        return Answer::error(
            404,
            "RecoveryPointNotFound",
            &format!("The recovery point '{name}' was not found."),
        );
    };
    match (ask.method.as_str(), action) {
        ("GET", []) => Answer::document(200, &point),
        ("POST", ["restore"]) => restores::restore(world, ask, vault, &item),
        ("POST", ["accesstoken"]) => access_token(ask, vault, &item),
        ("POST", ["provisioninstantitemrecovery"]) => mount(world, ask, &item, &point),
        ("POST", ["revokeinstantitemrecovery"]) => operation(world, ask, &item, Value::Null),
        ("POST", ["listinstantitemrecoveryoperationresult"]) => Answer::ok(scripts()),
        ("POST", ["move"]) => archive(world, ask, &item, point),
        (method, _) => Answer::method_not_allowed(method),
    }
}

fn all(world: &World, ask: &ArmRequest, item: &Value) -> Answer {
    if ask.method != "GET" {
        return Answer::method_not_allowed(&ask.method);
    }
    let id = text(item, "/id").unwrap_or_default();
    let mut points: Vec<Value> = world
        .children(&format!("{id}/recoveryPoints"))
        .into_iter()
        .cloned()
        .collect();
    points.sort_by_key(|point| std::cmp::Reverse(time(point).to_owned()));
    page(world, ask, points, PAGE)
}

fn time(point: &Value) -> &str {
    text(point, "/properties/recoveryPointTime")
        .or_else(|| text(point, "/properties/recoveryPointTimeInUTC"))
        .unwrap_or_default()
}

fn operation(world: &mut World, ask: &ArmRequest, item: &Value, properties: Value) -> Answer {
    let id = text(item, "/id").unwrap_or_default();
    world.begin(
        ask,
        Begin {
            style: Style::Backup,
            status: Some(format!("{id}/operationsStatus")),
            result: Some(format!("{id}/operationResults")),
            properties,
            finish: Finish::Nothing,
            effect: None,
        },
    )
}

/// The script, with its password, that mounts a point's disks: the answer works without
/// any further permission.
fn scripts() -> Value {
    json!({"recoveryTarget": {"clientScripts": [{
        "scriptContent": "c2ltLWl0ZW0tcmVjb3Zlcnktc2NyaXB0", "scriptExtension": "py", "osType": "Linux",
        "url": "https://download.example.com/sim", "scriptNameSuffix": format!("sim_{}", fresh_hex()),
    }]}})
}

fn mount(world: &mut World, ask: &ArmRequest, item: &Value, point: &Value) -> Answer {
    let mut properties = scripts();
    set(
        &mut properties,
        "/objectType",
        "OperationStatusProvisionILRExtendedInfo",
    );
    let mut point = point.clone();
    set(&mut point, "/properties/isInstantIlrSessionActive", true);
    world.put(point);
    operation(world, ask, item, properties)
}

fn archive(world: &mut World, ask: &ArmRequest, item: &Value, mut point: Value) -> Answer {
    let target = text(&ask.body, "/targetTierType");
    if target != Some("ArchivedRP") {
        return Answer::error(
            400,
            "UserErrorInvalidTier",
            "The member 'targetTierType' must be 'ArchivedRP'.",
        );
    }
    set(
        &mut point,
        "/properties/recoveryPointTierDetails",
        json!([{"type": "ArchivedRP", "status": "Valid"}]),
    );
    world.put(point);
    operation(world, ask, item, Value::Null)
}

/// What the secondary region needs to restore this point without the primary's leave.
fn access_token(ask: &ArmRequest, vault: &str, item: &Value) -> Answer {
    Answer::ok(json!({
        "protectableObjectUniqueName": text(item, "/name"), "protectableObjectFriendlyName": text(item, "/properties/friendlyName"),
        "protectableObjectWorkloadType": text(item, "/properties/workloadType"), "protectableObjectProtectionState": "Protected",
        "protectionContainerId": ask.name(11), "vaultId": vault, "recoveryPointId": ask.name(15),
        "accessTokenString": format!("sim-crr-{}", fresh_hex()), "objectType": "CrrAccessToken",
    }))
}

/// `POST …/fetchTieringCost`.
pub(super) fn tiering_cost(world: &mut World, ask: &ArmRequest, vault: &str) -> Answer {
    if ask.method != "POST" {
        return Answer::method_not_allowed(&ask.method);
    }
    let saving = json!({
        "objectType": "TieringCostSavingInfo", "sourceTierSizeReductionInBytes": 1_204_000, "targetTierSizeIncreaseInBytes": 1_892,
        "retailSourceTierCostPerGBPerMonth": 0.02, "retailTargetTierCostPerGBPerMonth": 0.003,
    });
    world.begin(
        ask,
        Begin {
            style: Style::Backup,
            status: Some(format!(
                "{vault}/backupTieringCost/default/operationsStatus"
            )),
            result: Some(format!(
                "{vault}/backupTieringCost/default/operationResults"
            )),
            properties: Value::Null,
            finish: Finish::Body(saving),
            effect: None,
        },
    )
}
