//! Backup vaults: back up, restore, stop, delete, bring back.

use serde_json::{Value, json};

use crate::client::{Caller, VERSION, backup_vault};

async fn accepted(caller: &Caller, method: &str, target: &str, body: Value) -> Value {
    let got = caller.call(method, target, Some(body)).await.is(202);
    let poll = got.header("azure-asyncoperation").to_owned();
    assert!(
        poll.contains("/backupVaults/bv1/operationStatus/") && poll.contains("==?"),
        "{poll}"
    );
    let result = got.header("location").to_owned();
    caller.call("GET", &result, None).await.is(202);
    caller.finish();
    let status = caller.read(&poll).await;
    assert_eq!(status["status"], "Succeeded");
    let last = caller.call("GET", &result, None).await;
    if last.status == 204 {
        Value::Null
    } else {
        last.json()
    }
}

#[tokio::test]
async fn an_instance_is_backed_up_and_restored() {
    let caller = Caller::start().await;
    let instance = format!("{}/backupInstances/bi1", backup_vault());
    let rule = json!({"backupRuleOptions": {"ruleName": "BackupWeekly", "triggerOption": {"retentionTagOverride": "Default"}}});
    let info = accepted(&caller, "POST", &format!("{instance}/backup"), rule).await;
    assert_eq!(info["objectType"], "OperationJobExtendedInfo");
    let job = caller.read(info["jobId"].as_str().unwrap()).await;
    assert_eq!(job["properties"]["status"], "Completed");
    let points = caller.read(&format!("{instance}/recoveryPoints")).await;
    assert_eq!(points["value"].as_array().unwrap().len(), 10);
    let newest = points["value"][0]["name"].clone();
    let restore = |point: &Value| json!({"objectType": "AzureBackupRecoveryPointBasedRestoreRequest", "recoveryPointId": point, "sourceDataStoreType": "OperationalStore", "restoreTargetInfo": {}});
    caller
        .call(
            "POST",
            &format!("{instance}/restore"),
            Some(restore(&json!("none"))),
        )
        .await
        .is(400);
    let validate = json!({"restoreRequestObject": restore(&newest)});
    accepted(
        &caller,
        "POST",
        &format!("{instance}/validateRestore"),
        validate,
    )
    .await;
    accepted(
        &caller,
        "POST",
        &format!("{instance}/restore"),
        restore(&newest),
    )
    .await;
    let jobs = caller.read(&format!("{}/backupJobs", backup_vault())).await;
    assert_eq!(jobs["value"][0]["properties"]["operation"], "Restore");
}

#[tokio::test]
async fn an_instance_is_stopped_resumed_deleted_and_brought_back() {
    let caller = Caller::start().await;
    let (vault, instance) = (
        backup_vault(),
        format!("{}/backupInstances/bi2", backup_vault()),
    );
    accepted(
        &caller,
        "POST",
        &format!("{instance}/stopProtection"),
        json!({}),
    )
    .await;
    let state =
        async || caller.read(&instance).await["properties"]["protectionStatus"]["status"].clone();
    assert_eq!(state().await, "ProtectionStopped");
    let rule = json!({"backupRuleOptions": {"ruleName": "BackupWeekly"}});
    caller
        .call("POST", &format!("{instance}/backup"), Some(rule))
        .await
        .is(400);
    accepted(
        &caller,
        "POST",
        &format!("{instance}/resumeProtection"),
        json!({}),
    )
    .await;
    assert_eq!(state().await, "ProtectionConfigured");
    accepted(&caller, "DELETE", &instance, Value::Null).await;
    caller.call("GET", &instance, None).await.is(404);
    let deleted = caller
        .read(&format!("{vault}/deletedBackupInstances/bi2"))
        .await;
    assert_eq!(
        deleted["properties"]["protectionStatus"]["status"],
        "SoftDeleted"
    );
    accepted(
        &caller,
        "POST",
        &format!("{vault}/deletedBackupInstances/bi2/undelete"),
        json!({}),
    )
    .await;
    assert_eq!(state().await, "ProtectionStopped");
    assert!(
        !caller.read(&format!("{instance}/recoveryPoints")).await["value"]
            .as_array()
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn a_resource_knows_the_instances_that_protect_it() {
    let caller = Caller::start().await;
    let instance = caller
        .read(&format!("{}/backupInstances/bi1", backup_vault()))
        .await;
    let source = instance["properties"]["dataSourceInfo"]["resourceID"]
        .as_str()
        .unwrap();
    let found = caller
        .read(&format!(
            "{source}/providers/Microsoft.DataProtection/backupInstances"
        ))
        .await;
    assert_eq!(found["value"][0]["id"], instance["id"]);
    assert_eq!(
        caller
            .call("DELETE", &backup_vault(), None)
            .await
            .is(409)
            .code(),
        "UserErrorVaultNotEmpty"
    );
    let policy = format!("{}/backupPolicies/BackupWeekly", backup_vault());
    caller.call("DELETE", &policy, None).await.is(400);
}

#[tokio::test]
async fn one_header_turns_a_creation_into_an_undelete() {
    let caller = Caller::start().await;
    let vault = backup_vault().replace("bv1", "bv9");
    let body = json!({"location": "westeurope", "tags": {"kept": "yes"}, "properties": {"storageSettings": []}});
    caller.call("PUT", &vault, Some(body.clone())).await.is(201);
    caller.call("DELETE", &vault, None).await.is(202);
    caller.finish();
    caller.call("GET", &vault, None).await.is(404);
    let deleted = format!(
        "/subscriptions/{}/providers/Microsoft.DataProtection/locations/westeurope/deletedVaults",
        vaultgate_sim::PROD
    );
    let deleted = caller.read(&deleted).await["value"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let back = async |id: &str| {
        let body = json!({"location": "westeurope", "properties": {}});
        let mut request = caller.request(
            "PUT",
            &format!("{vault}?{VERSION}"),
            &caller.operator,
            Some(body),
        );
        request
            .headers_mut()
            .insert("x-ms-deleted-vault-id", id.parse().unwrap());
        caller.send(request).await
    };
    back("/no/such").await.is(400);
    assert_eq!(back(&deleted).await.is(201).json()["tags"]["kept"], "yes");
}
