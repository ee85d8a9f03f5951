//! What immutability and a resource guard hold back.

use serde_json::{Value, json};
use vaultgate_sim::{Identity, PROD};

use crate::client::{Caller, VERSION, machine, vault};

fn requests(kind: &str) -> Value {
    json!([format!(
        "/subscriptions/{PROD}/resourceGroups/sec/providers/Microsoft.DataProtection/resourceGuards/guard1/{kind}/default"
    )])
}

#[tokio::test]
async fn a_guarded_item_is_deleted_only_after_it_was_unlocked() {
    let caller = Caller::start().await;
    let (holder, item) = (vault("vmua"), machine(&vault("vmua"), "vm1"));
    let held = caller.call("DELETE", &item, None).await.is(403);
    assert_eq!(held.code(), "UserErrorResourceGuardOperationNotAuthorized");
    let unlock = format!("{holder}/backupResourceGuardProxies/VaultProxy/unlockDelete");
    let body = |requests: Value| {
        Some(json!({"resourceGuardOperationRequests": requests, "resourceToBeDeleted": item}))
    };
    let token = caller.sim.azure_token(Identity::Guard);
    let as_guard = |body| {
        let target = format!("{unlock}?{VERSION}");
        caller.send(caller.request("POST", &target, &token, body))
    };
    as_guard(body(json!([]))).await.is(403);
    as_guard(body(json!([
        "/subscriptions/x/resourceGuards/other/deleteProtectedItemRequests/default"
    ])))
    .await
    .is(403);
    let good = requests("deleteProtectedItemRequests");
    // Whoever has no role on the guard does not pass it.
    caller
        .call("POST", &unlock, body(good.clone()))
        .await
        .is(403);
    let open = as_guard(body(good)).await.is(200).json();
    assert!(open["unlockDeleteExpiryTime"].is_string());
    caller
        .call("DELETE", &machine(&holder, "vm10"), None)
        .await
        .is(403);
    caller.call("DELETE", &item, None).await.is(202);
}

#[tokio::test]
async fn an_unlocked_window_closes() {
    let caller = Caller::with(vaultgate_sim::SimOptions::default()).await;
    let item = machine(&vault("vmua"), "vm1");
    let unlock = format!(
        "{}/backupResourceGuardProxies/VaultProxy/unlockDelete",
        vault("vmua")
    );
    let body = json!({"resourceGuardOperationRequests": requests("deleteProtectedItemRequests"), "resourceToBeDeleted": item});
    let token = caller.sim.azure_token(Identity::Guard);
    let target = format!("{unlock}?{VERSION}");
    let request = caller.request("POST", &target, &token, Some(body));
    caller.send(request).await.is(200);
    caller.sim.advance(std::time::Duration::from_secs(3_601));
    caller.call("DELETE", &item, None).await.is(403);
}

#[tokio::test]
async fn critical_changes_of_a_guarded_vault_need_a_request() {
    let caller = Caller::start().await;
    let holder = vault("vmua");
    let off = json!({"properties": {"softDeleteFeatureState": "Disabled"}});
    let config = format!("{holder}/backupconfig/vaultconfig");
    caller
        .call("PATCH", &config, Some(off.clone()))
        .await
        .is(403);
    caller
        .call("POST", &format!("{holder}/backupSecurityPIN"), None)
        .await
        .is(403);
    let policy = format!("{holder}/backupPolicies/DefaultPolicy");
    let mut shorter = caller.read(&policy).await;
    shorter["properties"]["retentionPolicy"]["dailySchedule"]["retentionDuration"]["count"] =
        json!(7);
    caller
        .call("PUT", &policy, Some(shorter.clone()))
        .await
        .is(403);
    shorter["properties"]["retentionPolicy"]["dailySchedule"]["retentionDuration"]["count"] =
        json!(31);
    caller.call("PUT", &policy, Some(shorter)).await.is(202);
    let mut allowed = off;
    allowed["properties"]["resourceGuardOperationRequests"] = requests("disableSoftDeleteRequests");
    caller.call("PATCH", &config, Some(allowed)).await.is(200);
    let pin = json!({"resourceGuardOperationRequests": requests("getBackupSecurityPINRequests")});
    let pin = caller
        .call("POST", &format!("{holder}/backupSecurityPIN"), Some(pin))
        .await
        .is(200)
        .json();
    assert_eq!(pin["securityPIN"].as_str().unwrap().len(), 6);
    assert_eq!(
        caller
            .call(
                "DELETE",
                &format!("{holder}/backupResourceGuardProxies/VaultProxy"),
                None
            )
            .await
            .is(403)
            .status,
        403
    );
}

#[tokio::test]
async fn a_locked_vault_keeps_its_data_and_its_lock() {
    let caller = Caller::start().await;
    let holder = vault("vlocked");
    let delete = caller
        .call("DELETE", &machine(&holder, "vm9"), None)
        .await
        .is(400);
    assert_eq!(delete.code(), "UserErrorImmutableVaultDeleteNotAllowed");
    let unlock = json!({"properties": {"securitySettings": {"immutabilitySettings": {"state": "Unlocked"}}}});
    assert_eq!(
        caller
            .call("PATCH", &holder, Some(unlock))
            .await
            .is(400)
            .code(),
        "UserErrorImmutabilityStateLocked"
    );
    let off = json!({"properties": {"softDeleteFeatureState": "Disabled"}});
    assert_eq!(
        caller
            .call(
                "PATCH",
                &format!("{holder}/backupconfig/vaultconfig"),
                Some(off)
            )
            .await
            .is(400)
            .code(),
        "UserErrorSoftDeleteAlwaysOn"
    );
}

#[tokio::test]
async fn only_the_guard_identity_changes_a_resource_guard() {
    let caller = Caller::start().await;
    let guard = format!(
        "/subscriptions/{PROD}/resourceGroups/sec/providers/Microsoft.DataProtection/resourceGuards/guard1"
    );
    caller.read(&guard).await;
    caller
        .read(&format!("{guard}/deleteProtectedItemRequests/default"))
        .await;
    caller.call("DELETE", &guard, None).await.is(403);
    let token = caller.sim.azure_token(Identity::Guard);
    let request = caller.request(
        "PATCH",
        &format!("{guard}?{VERSION}"),
        &token,
        Some(json!({"tags": {"owner": "sec"}})),
    );
    assert_eq!(
        caller.send(request).await.is(200).json()["tags"]["owner"],
        "sec"
    );
}
