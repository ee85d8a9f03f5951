//! What resources look like when they are new. Member names follow Microsoft's published
//! examples; values are invented.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::clock::written;
use crate::digest::{sha256_hex, stable_uuid};
use crate::document::set;

/// How a new vault is guarded.
#[derive(Clone, Copy)]
pub(crate) struct Guarded {
    pub immutability: &'static str,
    pub soft_delete: &'static str,
    pub multi_user: bool,
}

/// A Recovery Services vault.
pub(crate) fn vault(id: &str, location: &str, guarded: Guarded) -> Value {
    json!({
        "id": id, "name": last(id), "type": "Microsoft.RecoveryServices/vaults",
        "location": location, "etag": "", "tags": {},
        "identity": {"type": "SystemAssigned", "tenantId": crate::state::TENANT, "principalId": stable_uuid(id)},
        "sku": {"name": "RS0", "tier": "Standard"},
        "properties": {
            "provisioningState": "Succeeded",
            "publicNetworkAccess": "Enabled",
            "privateEndpointStateForBackup": "None",
            "privateEndpointStateForSiteRecovery": "None",
            "monitoringSettings": {
                "azureMonitorAlertSettings": {"alertsForAllJobFailures": "Enabled", "alertsForAllReplicationIssues": "Enabled", "alertsForAllFailoverIssues": "Disabled"},
                "classicAlertSettings": {"alertsForCriticalOperations": "Disabled", "emailNotificationsForSiteRecovery": "Disabled"},
            },
            "securitySettings": {
                "immutabilitySettings": {"state": guarded.immutability},
                "softDeleteSettings": {
                    "softDeleteRetentionPeriodInDays": 14,
                    "softDeleteState": guarded.soft_delete,
                    "enhancedSecurityState": "Enabled",
                },
                "multiUserAuthorization": if guarded.multi_user { "Enabled" } else { "Disabled" },
            },
            "redundancySettings": {"standardTierStorageRedundancy": "GeoRedundant", "crossRegionRestore": "Enabled"},
            "secureScore": "Adequate", "bcdrSecurityLevel": "Good",
        },
    })
}

/// The documents that every vault has from its first moment: its settings.
pub(crate) fn settings(vault: &str, soft_delete: &str) -> [Value; 4] {
    let of = |kind: &str, name: &str, properties: Value| {
        json!({
            "id": format!("{vault}/{kind}/{name}"), "name": name,
            "type": format!("Microsoft.RecoveryServices/vaults/{kind}"), "properties": properties,
        })
    };
    let mut config = of(
        "backupconfig",
        "vaultconfig",
        json!({
            "enhancedSecurityState": "Enabled", "softDeleteFeatureState": soft_delete,
            "softDeleteRetentionPeriodInDays": 14, "isSoftDeleteFeatureStateEditable": soft_delete != "AlwaysON",
            "storageModelType": "GeoRedundant", "storageType": "GeoRedundant", "storageTypeState": "Locked",
            "resourceGuardOperationRequests": [],
        }),
    );
    set(&mut config, "/etag", "");
    let mut extended = of(
        "extendedInformation",
        "vaultExtendedInfo",
        json!({"integrityKey": "c2ltLWludGVncml0eS1rZXk=", "algorithm": "None"}),
    );
    set(&mut extended, "/etag", "");
    [
        config,
        of(
            "backupstorageconfig",
            "vaultstorageconfig",
            json!({
                "storageModelType": "GeoRedundant", "storageType": "GeoRedundant", "storageTypeState": "Locked",
                "crossRegionRestoreFlag": true, "dedupState": "Disabled", "xcoolState": "Disabled",
            }),
        ),
        of(
            "backupEncryptionConfigs",
            "backupResourceEncryptionConfig",
            json!({"encryptionAtRestType": "MicrosoftManaged", "lastUpdateStatus": "NotInitialized", "infrastructureEncryptionState": "Disabled"}),
        ),
        extended,
    ]
}

/// A protected item, whatever its workload.
pub(crate) fn item(id: &str, friendly: &str, source: &str, policy: &str, now: Timestamp) -> Value {
    let name = last(id);
    let container = container_of(id);
    let (kind, management, workload) = workload_of(name);
    let mut item = json!({
        "id": id, "name": name,
        "type": "Microsoft.RecoveryServices/vaults/backupFabrics/protectionContainers/protectedItems",
        "properties": {
            "protectedItemType": kind, "backupManagementType": management, "workloadType": workload,
            "friendlyName": friendly, "containerName": container,
            "sourceResourceId": source, "policyId": policy, "policyName": last(policy),
            "protectionStatus": "Healthy", "protectionState": "Protected", "healthStatus": "Passed",
            "lastBackupStatus": "Completed", "lastBackupTime": written(now), "lastRecoveryPoint": written(now),
            "protectedItemDataId": numbers(id, 18), "isScheduledForDeferredDelete": false, "isRehydrate": false,
            "softDeleteRetentionPeriodInDays": 14, "resourceGuardOperationRequests": [], "vaultId": vault_of(id),
        },
    });
    match management {
        "AzureIaasVM" => {
            set(&mut item, "/properties/virtualMachineId", source);
            set(
                &mut item,
                "/properties/containerName",
                container.trim_start_matches("IaasVMContainer;"),
            );
        }
        "AzureWorkload" => {
            for (member, value) in [
                ("parentName", "MSSQLSERVER"),
                ("serverName", "sqlvm1"),
                ("parentType", "AzureVmWorkloadSQLInstance"),
            ] {
                set(&mut item, &format!("/properties/{member}"), value);
            }
        }
        _ => {}
    }
    item
}

/// Item type, management type and workload type, read off an item's name.
pub(crate) fn workload_of(name: &str) -> (&'static str, &'static str, &'static str) {
    let lower = name.to_ascii_lowercase();
    if lower.starts_with("vm;") {
        ("Microsoft.Compute/virtualMachines", "AzureIaasVM", "VM")
    } else if lower.starts_with("sqldatabase;") {
        ("AzureVmWorkloadSQLDatabase", "AzureWorkload", "SQLDataBase")
    } else if lower.starts_with("saphanadatabase;") {
        (
            "AzureVmWorkloadSAPHanaDatabase",
            "AzureWorkload",
            "SAPHanaDatabase",
        )
    } else if lower.starts_with("azurefileshare;") {
        (
            "AzureFileShareProtectedItem",
            "AzureStorage",
            "AzureFileShare",
        )
    } else {
        ("GenericProtectedItem", "DefaultBackup", "Invalid")
    }
}

/// A recovery point of a Recovery Services item.
pub(crate) fn recovery_point(item: &str, name: &str, at: Timestamp) -> Value {
    let properties = match workload_of(last(item)).1 {
        "AzureWorkload" => json!({
            "objectType": "AzureWorkloadSQLRecoveryPoint", "type": "Full", "recoveryPointTimeInUTC": written(at),
            "recoveryPointTierDetails": [{"type": "HardenedRP", "status": "Valid"}],
            "recoveryPointMoveReadinessInfo": {"ArchivedRP": {"isReadyForMove": false}},
        }),
        "AzureStorage" => json!({
            "objectType": "AzureFileShareRecoveryPoint", "recoveryPointType": "FileSystemConsistent",
            "recoveryPointTime": written(at), "fileShareSnapshotUri": format!("https://sa1.file.core.windows.net/share1?snapshot={}", written(at)),
            "recoveryPointSizeInGB": 1,
        }),
        _ => json!({
            "objectType": "IaasVMRecoveryPoint", "recoveryPointType": "AppConsistent", "recoveryPointTime": written(at),
            "recoveryPointAdditionalInfo": "", "sourceVMStorageType": "PremiumVMOnPartialPremiumStorage",
            "isSourceVMEncrypted": false, "isInstantIlrSessionActive": false,
            "recoveryPointTierDetails": [{"type": "InstantRP", "status": "Valid"}, {"type": "HardenedRP", "status": "Valid"}],
            "recoveryPointMoveReadinessInfo": {"ArchivedRP": {"isReadyForMove": false}},
            "isManagedVirtualMachine": true, "virtualMachineSize": "Standard_D2s_v5", "originalStorageAccountOption": false,
            "osType": "Linux", "zones": ["1"], "isPrivateAccessEnabledOnAnyDisk": false,
        }),
    };
    json!({
        "id": format!("{item}/recoveryPoints/{name}"), "name": name,
        "type": "Microsoft.RecoveryServices/vaults/backupFabrics/protectionContainers/protectedItems/recoveryPoints",
        "properties": properties,
    })
}

/// A backup instance of a Backup vault.
pub(crate) fn dp_instance(id: &str, source: &str, policy: &str, location: &str) -> Value {
    let kind = if source.contains("/disks/") {
        "Microsoft.Compute/disks"
    } else {
        "Microsoft.Storage/storageAccounts/blobServices"
    };
    let data_source = |object: &str| {
        json!({
            "resourceID": source, "resourceUri": source, "datasourceType": kind, "resourceName": last(source),
            "resourceType": kind, "resourceLocation": location, "objectType": object,
        })
    };
    json!({
        "id": id, "name": last(id), "type": "Microsoft.DataProtection/backupVaults/backupInstances", "tags": {},
        "properties": {
            "friendlyName": last(source), "dataSourceInfo": data_source("Datasource"), "dataSourceSetInfo": data_source("DatasourceSet"),
            "policyInfo": {"policyId": policy, "policyVersion": ""},
            "protectionStatus": {"status": "ProtectionConfigured"}, "currentProtectionState": "ProtectionConfigured",
            "provisioningState": "Succeeded", "objectType": "BackupInstance",
        },
    })
}

/// A managed disk's id.
pub(crate) fn managed_disk(group: &str, name: &str) -> String {
    format!("{group}/providers/Microsoft.Compute/disks/{name}")
}

/// The last name of an id.
pub(crate) fn last(id: &str) -> &str {
    id.rsplit('/').next().unwrap_or(id)
}

/// The name of the container that an item's id goes through.
pub(crate) fn container_of(id: &str) -> &str {
    after(id, "protectionContainers").unwrap_or_default()
}

fn after<'a>(id: &'a str, segment: &str) -> Option<&'a str> {
    let mut segments = id
        .split('/')
        .skip_while(|one| !one.eq_ignore_ascii_case(segment));
    segments.nth(1)
}

fn vault_of(id: &str) -> &str {
    id.split("/backupFabrics").next().unwrap_or(id)
}

/// Decimal digits that are always the same for the same name.
pub(crate) fn numbers(name: &str, length: usize) -> String {
    let digits: String = sha256_hex(name.as_bytes())
        .chars()
        .filter(char::is_ascii_digit)
        .collect();
    format!(
        "6{}",
        digits.chars().cycle().take(length - 1).collect::<String>()
    )
}
