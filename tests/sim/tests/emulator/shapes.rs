//! The emulator's answers have the members that Microsoft's published examples have.
//! `fixtures/members.json` holds the examples' member names only.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use vaultgate_sim::{Identity, PROD};

use crate::client::{Caller, VERSION, backup_vault, machine, vault};

const MEMBERS: &str = include_str!("../../fixtures/members.json");

struct Shapes(BTreeMap<String, Vec<String>>);

impl Shapes {
    fn missing(&mut self, name: &str, answer: &Value) -> Vec<String> {
        let wanted = self
            .0
            .remove(name)
            .unwrap_or_else(|| panic!("no fixture {name}"));
        wanted
            .into_iter()
            .filter(|pointer| answer.pointer(pointer).is_none())
            .map(|pointer| format!("{name}: {pointer}"))
            .collect()
    }
}

async fn accepted(caller: &Caller, method: &str, target: &str, body: Value) -> (Value, Value) {
    let got = caller.call(method, target, Some(body)).await.is(202);
    let status = got
        .headers
        .get("azure-asyncoperation")
        .map(|url| url.to_str().unwrap().to_owned());
    let result = got
        .headers
        .get("location")
        .map(|url| url.to_str().unwrap().to_owned());
    caller.finish();
    let status = match status {
        Some(url) => caller.read(&url).await,
        None => Value::Null,
    };
    let result = match result {
        Some(url) => caller.call("GET", &url, None).await,
        None => return (status, Value::Null),
    };
    let result = if result.status == 200 {
        result.json()
    } else {
        Value::Null
    };
    (status, result)
}

async fn recovery_services(caller: &Caller, answers: &mut Vec<(&'static str, Value)>) {
    let (holder, item) = (vault("v1"), machine(&vault("v1"), "vm1"));
    for (name, target) in [
        ("vault", holder.clone()),
        ("vault_config", format!("{holder}/backupconfig/vaultconfig")),
        (
            "storage_config",
            format!("{holder}/backupstorageconfig/vaultstorageconfig"),
        ),
        (
            "encryption_config",
            format!("{holder}/backupEncryptionConfigs/backupResourceEncryptionConfig"),
        ),
        ("protected_item", item.clone()),
        ("policy", format!("{holder}/backupPolicies/DefaultPolicy")),
        (
            "recovery_point",
            format!("{item}/recoveryPoints/99999999999999"),
        ),
        (
            "guard_proxies",
            format!("{}/backupResourceGuardProxies", vault("vmua")),
        ),
        (
            "containers",
            format!(
                "{holder}/backupProtectionContainers?api-version=1&$filter=backupManagementType%20eq%20'AzureStorage'"
            ),
        ),
        (
            "protectable_items",
            format!("{holder}/backupProtectableItems"),
        ),
        ("usages", format!("{holder}/usages")),
    ] {
        answers.push((name, caller.read(&target).await));
    }
    let backup = json!({"properties": {"objectType": "IaasVMBackupRequest"}});
    let (status, _) = accepted(caller, "POST", &format!("{item}/backup"), backup).await;
    let job = status["properties"]["jobId"].as_str().unwrap();
    answers.push((
        "job",
        caller.read(&format!("{holder}/backupJobs/{job}")).await,
    ));
    answers.push(("operation_status", status));
    answers.push((
        "export_result",
        accepted(
            caller,
            "POST",
            &format!("{holder}/backupJobsExport"),
            json!({}),
        )
        .await
        .1,
    ));
    answers.push((
        "security_pin",
        caller
            .call("POST", &format!("{holder}/backupSecurityPIN"), None)
            .await
            .is(200)
            .json(),
    ));
    let request = json!({"restoreRequest": {"objectType": "IaasVMRestoreRequest", "sourceResourceId": "/none"}});
    answers.push((
        "validate_operation",
        caller
            .call(
                "POST",
                &format!("{holder}/backupValidateOperation"),
                Some(request),
            )
            .await
            .is(200)
            .json(),
    ));
    let unlock = json!({
        "resourceGuardOperationRequests": [format!("/subscriptions/{PROD}/resourceGroups/sec/providers/Microsoft.DataProtection/resourceGuards/guard1/x/default")],
        "resourceToBeDeleted": machine(&vault("vmua"), "vm1"),
    });
    let target = format!(
        "{}/backupResourceGuardProxies/VaultProxy/unlockDelete",
        vault("vmua")
    );
    let token = caller.sim.azure_token(Identity::Guard);
    let target = format!("{target}?{VERSION}");
    let request = caller.request("POST", &target, &token, Some(unlock));
    answers.push(("unlock_delete", caller.send(request).await.is(200).json()));
    let status = json!({"resourceType": "VM", "resourceId": format!("/subscriptions/{PROD}/resourceGroups/rg1/providers/Microsoft.Compute/virtualMachines/vm2")});
    let target = format!(
        "/subscriptions/{PROD}/providers/Microsoft.RecoveryServices/locations/westeurope/backupStatus"
    );
    answers.push((
        "backup_status",
        caller
            .call("POST", &target, Some(status))
            .await
            .is(200)
            .json(),
    ));
    caller
        .call(
            "PUT",
            &vault("empty"),
            Some(json!({"location": "westeurope", "properties": {}})),
        )
        .await
        .is(201);
    answers.push((
        "vault_operation_status",
        accepted(caller, "DELETE", &vault("empty"), json!({}))
            .await
            .0,
    ));
}

async fn data_protection(caller: &Caller, answers: &mut Vec<(&'static str, Value)>) {
    let (holder, instance) = (
        backup_vault(),
        format!("{}/backupInstances/bi1", backup_vault()),
    );
    let points = caller.read(&format!("{instance}/recoveryPoints")).await;
    for (name, target) in [
        ("backup_vault", holder.clone()),
        ("backup_instance", instance.clone()),
        ("dp_policy", format!("{holder}/backupPolicies/BackupWeekly")),
        (
            "dp_recovery_point",
            points["value"][0]["id"].as_str().unwrap().to_owned(),
        ),
        (
            "resource_guard",
            format!(
                "/subscriptions/{PROD}/resourceGroups/sec/providers/Microsoft.DataProtection/resourceGuards/guard1"
            ),
        ),
    ] {
        answers.push((name, caller.read(&target).await));
    }
    let rule = json!({"backupRuleOptions": {"ruleName": "BackupWeekly"}});
    let (status, info) = accepted(caller, "POST", &format!("{instance}/backup"), rule).await;
    answers.push(("dp_job", caller.read(info["jobId"].as_str().unwrap()).await));
    answers.push(("dp_operation_status", status));
    answers.push(("dp_job_info", info));
    accepted(caller, "DELETE", &instance, Value::Null).await;
    answers.push((
        "deleted_instance",
        caller
            .read(&format!("{holder}/deletedBackupInstances/bi1"))
            .await,
    ));
}

#[tokio::test]
async fn answers_have_the_members_of_the_published_examples() {
    let caller = Caller::start().await;
    let mut answers = Vec::new();
    recovery_services(&caller, &mut answers).await;
    data_protection(&caller, &mut answers).await;
    let mut shapes = Shapes(serde_json::from_str(MEMBERS).unwrap());
    let missing: Vec<String> = answers
        .iter()
        .flat_map(|(name, answer)| shapes.missing(name, answer))
        .collect();
    assert_eq!(missing, Vec::<String>::new());
    assert!(
        shapes.0.is_empty(),
        "fixtures that no answer was held against: {:?}",
        shapes.0.keys()
    );
}
