//! Protected items: protect, stop, delete, bring back, restore.

use serde_json::{Value, json};

use crate::azure::backup_now;
use crate::client::{Caller, machine, vault};

#[tokio::test]
async fn a_deleted_item_is_soft_deleted_and_can_be_brought_back() {
    let caller = Caller::start().await;
    let item = machine(&vault("v1"), "vm1");
    let accepted = caller.call("DELETE", &item, None).await.is(202);
    assert!(
        accepted
            .header("azure-asyncoperation")
            .contains("/backupOperations/")
    );
    assert!(
        accepted
            .header("location")
            .contains("/backupOperationResults/")
    );
    assert_eq!(
        caller.call("DELETE", &item, None).await.is(409).code(),
        "UserErrorAnotherOperationInProgress"
    );
    assert_eq!(
        caller.read(&item).await["properties"]["protectionState"],
        "Protected",
        "not before its time"
    );
    caller.finish();
    let gone = caller.read(&item).await;
    assert_eq!(gone["properties"]["isScheduledForDeferredDelete"], true);
    assert_eq!(
        caller.call("DELETE", &item, None).await.is(400).code(),
        "UserErrorItemSoftDeleted"
    );
    caller
        .call("POST", &format!("{item}/backup"), Some(backup_now()))
        .await
        .is(400);

    let source = gone["properties"]["sourceResourceId"].clone();
    let stopped = json!({"protectedItemType": "Microsoft.Compute/virtualMachines", "protectionState": "ProtectionStopped", "sourceResourceId": source, "policyId": ""});
    let mut back = stopped.clone();
    back["isRehydrate"] = json!(true);
    caller
        .call("PUT", &item, Some(json!({"properties": stopped})))
        .await
        .is(400);
    caller
        .call("PUT", &item, Some(json!({"properties": back})))
        .await
        .is(202);
    caller.finish();
    let again = caller.read(&item).await;
    assert_eq!(again["properties"]["isScheduledForDeferredDelete"], false);
    assert_eq!(again["properties"]["protectionState"], "ProtectionStopped");
}

#[tokio::test]
async fn without_soft_delete_the_data_is_gone() {
    let caller = Caller::start().await;
    let (holder, item) = (vault("v2"), machine(&vault("v2"), "vm6"));
    let off = json!({"properties": {"softDeleteFeatureState": "Disabled", "enhancedSecurityState": "Enabled"}});
    let config = caller
        .call(
            "PATCH",
            &format!("{holder}/backupconfig/vaultconfig"),
            Some(off),
        )
        .await
        .is(200)
        .json();
    assert_eq!(config["properties"]["softDeleteFeatureState"], "Disabled");
    assert_eq!(
        caller.read(&holder).await["properties"]["securitySettings"]["softDeleteSettings"]["softDeleteState"],
        "Disabled"
    );
    caller.call("DELETE", &item, None).await.is(202);
    caller.finish();
    assert_eq!(
        caller.call("GET", &item, None).await.is(404).code(),
        "ResourceNotFound"
    );
    caller
        .call("GET", &format!("{item}/recoveryPoints"), None)
        .await
        .is(404);
    caller.call("DELETE", &item, None).await.is(204);
}

#[tokio::test]
async fn protecting_stopping_and_resuming_change_the_item() {
    let caller = Caller::start().await;
    let (holder, item) = (vault("v2"), machine(&vault("v2"), "vm12"));
    let source = format!(
        "/subscriptions/{}/resourceGroups/rg1/providers/Microsoft.Compute/virtualMachines/vm12",
        vaultgate_sim::PROD
    );
    let policy = format!("{holder}/backupPolicies/DefaultPolicy");
    let body = |state: Option<&str>, policy: &str| {
        let mut properties = json!({"protectedItemType": "Microsoft.Compute/virtualMachines", "sourceResourceId": source, "policyId": policy});
        if let Some(state) = state {
            properties["protectionState"] = json!(state);
        }
        Some(json!({"properties": properties}))
    };
    caller.call("GET", &item, None).await.is(404);
    assert_eq!(
        caller
            .call("PUT", &item, body(None, "/no/policy"))
            .await
            .is(400)
            .code(),
        "BMSUserErrorPolicyNotFound"
    );
    caller.call("PUT", &item, body(None, &policy)).await.is(202);
    caller.finish();
    assert_eq!(
        caller.read(&item).await["properties"]["protectionState"],
        "IRPending"
    );
    caller
        .call("PUT", &item, body(Some("ProtectionStopped"), ""))
        .await
        .is(202);
    caller.finish();
    let stopped = caller.read(&item).await;
    assert_eq!(
        (
            &stopped["properties"]["protectionState"],
            &stopped["properties"]["policyId"]
        ),
        (&json!("ProtectionStopped"), &json!(""))
    );
    caller.call("PUT", &item, body(None, &policy)).await.is(202);
    caller.finish();
    assert_eq!(
        caller.read(&item).await["properties"]["protectionState"],
        "Protected"
    );
    assert_eq!(
        caller.call("DELETE", &policy, None).await.is(400).code(),
        "BMSUserErrorPolicyInUse"
    );
    assert_eq!(
        caller.read(&policy).await["properties"]["protectedItemsCount"],
        4
    );
}

#[tokio::test]
async fn a_restore_starts_a_job_and_checks_its_target() {
    let caller = Caller::start().await;
    let item = machine(&vault("v1"), "vm1");
    let restore = |account: &str| {
        json!({"properties": {
            "objectType": "IaasVMRestoreRequest", "recoveryPointId": "99999999999999", "recoveryType": "RestoreDisks", "region": "westeurope",
            "storageAccountId": format!("/subscriptions/{}/resourcegroups/rg1/providers/Microsoft.Storage/storageAccounts//{account}", vaultgate_sim::PROD),
        }})
    };
    let target = format!("{item}/recoveryPoints/99999999999999/restore");
    caller
        .call("POST", &target, Some(restore("no-such")))
        .await
        .is(400);
    caller
        .call(
            "POST",
            &target.replace("9999/", "9998/"),
            Some(restore("sa1")),
        )
        .await
        .is(404);
    let accepted = caller
        .call("POST", &target, Some(restore("sa1")))
        .await
        .is(202);
    let poll = accepted.header("azure-asyncoperation").to_owned();
    caller.finish();
    let job = caller.read(&poll).await["properties"]["jobId"]
        .as_str()
        .unwrap()
        .to_owned();
    let job = caller
        .read(&format!("{}/backupJobs/{job}", vault("v1")))
        .await;
    assert_eq!(
        (
            &job["properties"]["operation"],
            &job["properties"]["status"]
        ),
        (&json!("Restore"), &json!("Completed"))
    );
}

#[tokio::test]
async fn a_cross_region_restore_names_its_vault_in_the_body_only() {
    let caller = Caller::start().await;
    let item = machine(&vault("v1"), "vm1");
    let details = caller
        .call(
            "POST",
            &format!("{item}/recoveryPoints/99999999999999/accessToken"),
            Some(json!({"properties": {"resourceId": vault("v1")}})),
        )
        .await
        .is(200)
        .json();
    let regional = format!(
        "/subscriptions/{}/providers/Microsoft.RecoveryServices/locations/northeurope",
        vaultgate_sim::PROD
    );
    let request = json!({"objectType": "IaasVMRestoreRequest", "recoveryType": "RestoreDisks", "recoveryPointId": "99999999999999"});
    let body = |details: &Value| {
        Some(json!({"crossRegionRestoreAccessDetails": details, "restoreRequest": request}))
    };
    caller
        .call(
            "POST",
            &format!("{regional}/backupCrossRegionRestore"),
            body(&json!({})),
        )
        .await
        .is(400);
    let accepted = caller
        .call(
            "POST",
            &format!("{regional}/backupCrossRegionRestore"),
            body(&details),
        )
        .await
        .is(202);
    assert!(
        accepted
            .header("azure-asyncoperation")
            .contains("/locations/northeurope/backupCrrOperationsStatus/")
    );
    caller.finish();
    let jobs = caller
        .call(
            "POST",
            &format!("{regional}/backupCrrJobs"),
            Some(json!({"resourceId": vault("v1")})),
        )
        .await
        .is(200)
        .json();
    assert_eq!(jobs["value"][0]["properties"]["status"], "Completed");
    assert!(
        caller.read(&format!("{}/backupJobs", vault("v1"))).await["value"]
            .as_array()
            .unwrap()
            .is_empty()
    );
}
