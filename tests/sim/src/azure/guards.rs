//! Resource guards, the proxies that bind a vault to one, and what they hold back.
//!
//! A critical operation passes when its body names a request of the vault's guard, or,
//! for deletions, when the resource was unlocked shortly before.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::protected_items::UNLOCKED_FOR;
use super::reply::{Answer, list};
use super::request::ArmRequest;
use crate::clock::written;
use crate::document::{merge_members, set, text};
use crate::journal::Identity;
use crate::world::World;

/// Critical operations: their name in code, their request collection, the operation.
const CRITICAL: [(&str, &str, &str); 8] = [
    (
        "deleteProtection",
        "deleteProtectedItemRequests",
        "/backupFabrics/protectionContainers/protectedItems/delete",
    ),
    (
        "updateProtection",
        "updateProtectedItemRequests",
        "/backupFabrics/protectionContainers/protectedItems/write",
    ),
    (
        "stopProtection",
        "stopProtectionWithRetainDataRequests",
        "/backupFabrics/protectionContainers/protectedItems/write#stopProtectionWithRetainData",
    ),
    (
        "updatePolicy",
        "updateProtectionPolicyRequests",
        "/backupPolicies/write",
    ),
    (
        "deleteRGMapping",
        "deleteResourceGuardProxyRequests",
        "/backupResourceGuardProxies/delete",
    ),
    (
        "getSecurityPIN",
        "getBackupSecurityPINRequests",
        "/backupSecurityPIN/action",
    ),
    (
        "disableSoftDelete",
        "disableSoftDeleteRequests",
        "/backupconfig/write",
    ),
    (
        "reduceImmutabilityState",
        "reduceImmutabilityStateRequests",
        "/write#reduceImmutabilityState",
    ),
];

/// A resource guard.
pub(crate) fn resource_guard(id: &str, location: &str) -> Value {
    let operations: Vec<Value> = CRITICAL
        .iter()
        .map(|(_, requests, operation)| {
            json!({
                "vaultCriticalOperation": format!("Microsoft.RecoveryServices/vaults{operation}"),
                "requestResourceType": format!("Microsoft.DataProtection/resourceGuards/{requests}"),
            })
        })
        .collect();
    json!({
        "id": id, "name": id.rsplit('/').next(), "type": "Microsoft.DataProtection/resourceGuards", "location": location,
        "tags": {}, "etag": "",
        "properties": {
            "provisioningState": "Succeeded", "allowAutoApprovals": true, "resourceGuardOperations": operations,
            "description": "Ask the security team before any critical operation", "vaultCriticalOperationExclusionList": [],
        },
    })
}

/// The proxy that binds a vault to a guard.
pub(crate) fn guard_proxy(
    vault: &str,
    vault_type: &str,
    name: &str,
    guard: &str,
    now: Timestamp,
) -> Value {
    let details: Vec<Value> = CRITICAL
        .iter()
        .map(|(_, requests, operation)| {
            json!({
                "vaultCriticalOperation": format!("Microsoft.RecoveryServices/vaults{operation}"),
                "defaultResourceRequest": format!("{guard}/{requests}/default"),
            })
        })
        .collect();
    json!({
        "id": format!("{vault}/backupResourceGuardProxies/{name}"), "name": name,
        "type": format!("{vault_type}/backupResourceGuardProxies"),
        "properties": {
            "resourceGuardResourceId": guard, "resourceGuardOperationDetails": details,
            "lastUpdatedTime": written(now), "description": "Ask the security team before any critical operation",
        },
    })
}

/// The guard that a vault is bound to.
fn guard_of(world: &World, vault: &str) -> Option<String> {
    let proxies = world.children(&format!("{vault}/backupResourceGuardProxies"));
    text(proxies.first()?, "/properties/resourceGuardResourceId").map(str::to_owned)
}

fn held(critical: &str) -> Answer {
    Answer::error(
        403,
        "UserErrorResourceGuardOperationNotAuthorized",
        &format!(
            "The operation '{critical}' is protected by a resource guard and needs its permission."
        ),
    )
}

/// Whether a request may do a critical operation on a vault.
pub(super) fn permits(
    world: &World,
    ask: &ArmRequest,
    vault: &str,
    critical: &str,
) -> Result<(), Answer> {
    let Some(guard) = guard_of(world, vault) else {
        return Ok(());
    };
    let named = ask
        .body
        .pointer("/properties/resourceGuardOperationRequests")
        .or_else(|| ask.body.pointer("/resourceGuardOperationRequests"));
    if names_guard(named, &guard) {
        Ok(())
    } else {
        Err(held(critical))
    }
}

fn names_guard(named: Option<&Value>, guard: &str) -> bool {
    let Some(requests) = named.and_then(Value::as_array) else {
        return false;
    };
    let below = format!("{}/", guard.to_ascii_lowercase());
    let of_guard = |one: &Value| {
        one.as_str()
            .is_some_and(|id| id.to_ascii_lowercase().starts_with(&below))
    };
    !requests.is_empty() && requests.iter().all(of_guard)
}

/// Whether a resource of a guarded vault was unlocked for deletion and still is.
pub(super) fn unlocked(world: &World, vault: &str, id: &str) -> Result<(), Answer> {
    if guard_of(world, vault).is_none() {
        return Ok(());
    }
    let until = world.unlocked.get(&id.to_ascii_lowercase());
    if until.is_some_and(|until| world.clock.now() < *until) {
        Ok(())
    } else {
        Err(held("deleteProtection"))
    }
}

/// Everything under a vault's `backupResourceGuardProxies`.
pub(super) fn proxies(
    world: &mut World,
    ask: &ArmRequest,
    vault: &str,
    vault_type: &str,
    rest: &[&str],
) -> Answer {
    let id = ask.id(10);
    match (ask.method.as_str(), rest) {
        ("GET", []) => list(
            world
                .children(&format!("{vault}/backupResourceGuardProxies"))
                .into_iter()
                .cloned()
                .collect(),
        ),
        ("GET", [_]) => world.find(&id).map_or_else(
            || Answer::not_found(&id),
            |proxy| Answer::document(200, proxy),
        ),
        ("PUT", [_]) => bind(world, ask, vault, vault_type),
        ("DELETE", [_]) => unbind(world, vault, &id),
        ("POST", [_, "unlockdelete"]) if world.holds(&id) => unlock(world, ask, vault),
        ("POST", [_, "unlockdelete"]) => Answer::not_found(&id),
        (method, _) => Answer::method_not_allowed(method),
    }
}

fn show_binding(world: &mut World, vault: &str, state: &str) {
    if let Some(document) = world.find_mut(vault) {
        set(
            document,
            "/properties/securitySettings/multiUserAuthorization",
            state,
        );
    }
    world.touch(vault);
}

fn bind(world: &mut World, ask: &ArmRequest, vault: &str, vault_type: &str) -> Answer {
    let Some(guard) =
        text(&ask.body, "/properties/resourceGuardResourceId").filter(|guard| world.holds(guard))
    else {
        return Answer::error(
            400,
            "UserErrorResourceGuardNotFound",
            "The resource guard was not found.",
        );
    };
    let proxy = guard_proxy(vault, vault_type, ask.name(9), guard, world.clock.now());
    world.put(proxy.clone());
    show_binding(world, vault, "Enabled");
    Answer::ok(proxy)
}

fn unbind(world: &mut World, vault: &str, id: &str) -> Answer {
    if !world.holds(id) {
        return Answer::empty(204);
    }
    if let Err(refusal) = unlocked(world, vault, id) {
        return refusal;
    }
    world.remove(id);
    show_binding(world, vault, "Disabled");
    Answer::empty(200)
}

fn unlock(world: &mut World, ask: &ArmRequest, vault: &str) -> Answer {
    // Whoever unlocks needs a role on the guard; here one identity has it.
    if ask.identity != Identity::Guard {
        return held("unlockDelete");
    }
    let guard = guard_of(world, vault).unwrap_or_default();
    if !names_guard(ask.body.pointer("/resourceGuardOperationRequests"), &guard) {
        return held("unlockDelete");
    }
    let Some(resource) = text(&ask.body, "/resourceToBeDeleted").filter(|resource| {
        resource
            .to_ascii_lowercase()
            .starts_with(&format!("{}/", vault.to_ascii_lowercase()))
    }) else {
        return Answer::error(
            400,
            "BMSUserErrorInvalidInput",
            "The member 'resourceToBeDeleted' does not name a resource of this vault.",
        );
    };
    let lasts = world.clock.lasts(UNLOCKED_FOR);
    let until = world.clock.now().saturating_add(lasts).unwrap_or_default();
    world.unlocked.insert(resource.to_ascii_lowercase(), until);
    Answer::ok(json!({"unlockDeleteExpiryTime": written(until)}))
}

/// Resource guards themselves. `rest` begins after `resourceGuards`.
pub(super) fn route(world: &mut World, ask: &ArmRequest, rest: &[&str]) -> Answer {
    let id = ask.id(8);
    match (ask.method.as_str(), rest) {
        ("GET", []) => list(
            world
                .of_type(&ask.id(4), "Microsoft.DataProtection/resourceGuards")
                .into_iter()
                .cloned()
                .collect(),
        ),
        ("GET", [_]) => world.find(&id).map_or_else(
            || Answer::not_found(&id),
            |guard| Answer::document(200, guard),
        ),
        ("GET", [_, requests]) if world.holds(&id) && requests.ends_with("requests") => {
            list(vec![request(&format!("{}/default", ask.whole_id()))])
        }
        ("GET", [_, requests, _]) if world.holds(&id) && requests.ends_with("requests") => {
            Answer::ok(request(&ask.whole_id()))
        }
        ("PUT" | "PATCH" | "DELETE", [_]) if ask.identity != Identity::Guard => Answer::error(
            403,
            "AuthorizationFailed",
            "The client does not have authorization to perform this action on the resource guard.",
        ),
        ("PUT", [_]) => put(world, ask, &id),
        ("PATCH", [_]) if world.holds(&id) => patch(world, ask, &id),
        ("DELETE", [_]) => Answer::empty(if world.take(&id).is_some() { 200 } else { 204 }),
        ("GET" | "PATCH", _) => Answer::not_found(&ask.whole_id()),
        (method, _) => Answer::method_not_allowed(method),
    }
}

fn request(id: &str) -> Value {
    let kind = id.rsplit('/').nth(1).unwrap_or_default();
    json!({"id": id, "name": id.rsplit('/').next(), "type": format!("Microsoft.DataProtection/resourceGuards/{kind}")})
}

fn put(world: &mut World, ask: &ArmRequest, id: &str) -> Answer {
    let status = if world.holds(id) { 200 } else { 201 };
    let mut guard = resource_guard(id, text(&ask.body, "/location").unwrap_or("westeurope"));
    merge_members(&mut guard, &ask.body, &["properties", "tags"]);
    world.put(guard);
    world.find(id).map_or_else(
        || Answer::empty(status),
        |guard| Answer::document(status, guard),
    )
}

fn patch(world: &mut World, ask: &ArmRequest, id: &str) -> Answer {
    if let Some(guard) = world.find_mut(id) {
        merge_members(guard, &ask.body, &["tags"]);
    }
    world.touch(id);
    world.find(id).map_or_else(
        || Answer::not_found(id),
        |guard| Answer::document(200, guard),
    )
}
