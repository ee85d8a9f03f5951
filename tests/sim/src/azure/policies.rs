//! Backup policies of Recovery Services vaults.

use serde_json::{Value, json};

use super::operations::{Begin, Finish, Style};
use super::reply::{Answer, filtered, page};
use super::request::ArmRequest;
use super::{guards, protected_items};
use crate::document::{member, set, text};
use crate::world::World;

const FILTERS: [(&str, &str); 2] = [
    ("backupManagementType", "/properties/backupManagementType"),
    ("workloadType", "/properties/workLoadType"),
];

/// Everything under `…/backupPolicies`.
pub(super) fn route(world: &mut World, ask: &ArmRequest, vault: &str, rest: &[&str]) -> Answer {
    recount(world, vault);
    let id = ask.id(10);
    match (ask.method.as_str(), rest) {
        ("GET", []) => {
            let all = world
                .children(&format!("{vault}/backupPolicies"))
                .into_iter()
                .cloned()
                .collect();
            page(world, ask, filtered(ask, all, &FILTERS), 50)
        }
        ("GET", [_]) => world.find(&id).map_or_else(
            || Answer::not_found(&id),
            |policy| Answer::document(200, policy),
        ),
        ("PUT", [_]) => put(world, ask, vault, &id),
        ("DELETE", [_]) => delete(world, vault, &id),
        (method, _) => Answer::method_not_allowed(method),
    }
}

/// Counts again how many items each policy of a vault has.
pub(super) fn recount(world: &mut World, vault: &str) {
    let used: Vec<String> = world
        .of_type(vault, protected_items::TYPE)
        .iter()
        .filter_map(|item| text(item, "/properties/policyId").map(str::to_ascii_lowercase))
        .collect();
    let ids: Vec<String> = world
        .children(&format!("{vault}/backupPolicies"))
        .iter()
        .filter_map(|policy| text(policy, "/id").map(str::to_owned))
        .collect();
    for id in ids {
        let count = used
            .iter()
            .filter(|one| one.eq_ignore_ascii_case(&id))
            .count();
        if let Some(policy) = world.find_mut(&id) {
            set(policy, "/properties/protectedItemsCount", count);
        }
    }
}

fn items(policy: &Value) -> u64 {
    policy
        .pointer("/properties/protectedItemsCount")
        .and_then(Value::as_u64)
        .unwrap_or(0)
}

fn put(world: &mut World, ask: &ArmRequest, vault: &str, id: &str) -> Answer {
    if text(&ask.body, "/properties/backupManagementType").is_none() {
        return Answer::error(
            400,
            "BMSUserErrorInvalidPolicyInput",
            "Input for the policy is invalid: 'backupManagementType' is missing.",
        );
    }
    let before = world.find(id).cloned();
    let mut after = json!({
        "id": id, "name": ask.last(), "type": "Microsoft.RecoveryServices/vaults/backupPolicies",
        "properties": member(&ask.body, "/properties"),
    });
    crate::document::unset(&mut after, "/properties/resourceGuardOperationRequests");
    if let Some(before) = &before
        && let Err(refusal) = may_replace(world, ask, vault, before, &after)
    {
        return refusal;
    }
    let count = before.as_ref().map_or(0, items);
    set(&mut after, "/properties/protectedItemsCount", count);
    if count == 0 {
        world.put(after.clone());
        return Answer::ok(after);
    }
    world.begin(ask, Begin {
        style: Style::Backup,
        status: Some(format!("{id}/operations")),
        result: Some(format!("{id}/operationResults")),
        properties: json!({"objectType": "OperationStatusJobsExtendedInfo", "jobIds": [], "failedJobsError": {}}),
        finish: Finish::Resource(id.to_owned()),
        effect: Some(Box::new(move |world| world.put(after))),
    })
}

fn may_replace(
    world: &World,
    ask: &ArmRequest,
    vault: &str,
    before: &Value,
    after: &Value,
) -> Result<(), Answer> {
    if retention_days(after) >= retention_days(before) {
        return Ok(());
    }
    let state = world.find(vault).and_then(|vault| {
        text(
            vault,
            "/properties/securitySettings/immutabilitySettings/state",
        )
    });
    if matches!(state, Some("Locked" | "Unlocked")) {
        return Err(Answer::error(
            400,
            "UserErrorImmutableVaultRetentionReduction",
            "Retention cannot be reduced: the vault is immutable.",
        ));
    }
    guards::permits(world, ask, vault, "updatePolicy")
}

fn delete(world: &mut World, vault: &str, id: &str) -> Answer {
    match world.find(id) {
        None => Answer::empty(204),
        Some(policy) if items(policy) > 0 => {
            let message = format!(
                "The policy is in use by {} protected items of '{vault}'.",
                items(policy)
            );
            Answer::error(400, "BMSUserErrorPolicyInUse", &message)
        }
        Some(_) => {
            world.remove(id);
            Answer::empty(200)
        }
    }
}

/// Whether going from one policy to another keeps points for a shorter time.
pub(super) fn weaker(world: &World, from: &str, to: &str) -> bool {
    match (world.find(from), world.find(to)) {
        (Some(from), Some(to)) => retention_days(to) < retention_days(from),
        _ => false,
    }
}

/// Days that the policy's longest and shortest chains together keep points: coarse, and
/// good enough to see a reduction.
fn retention_days(policy: &Value) -> u64 {
    fn sum(value: &Value) -> u64 {
        match value {
            Value::Object(members) => {
                let count = members.get("count").and_then(Value::as_u64);
                let unit = match members.get("durationType").and_then(Value::as_str) {
                    Some("Days") => 1,
                    Some("Weeks") => 7,
                    Some("Months") => 30,
                    Some("Years") => 365,
                    _ => 0,
                };
                count.map_or(0, |count| count * unit) + members.values().map(sum).sum::<u64>()
            }
            Value::Array(values) => values.iter().map(sum).sum(),
            _ => 0,
        }
    }
    policy.get("properties").map_or(0, sum)
}
