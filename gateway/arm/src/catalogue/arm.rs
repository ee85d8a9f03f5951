//! ARM calls that clients make around backups, polls that no document lists, and
//! what is blocked by name. One row per operation.

use super::Method::{Delete, Get, Post, Put};
use super::Rule::{Blocked, Read};
use super::{Row, row};

#[rustfmt::skip]
pub(super) const ROWS: [Row; 40] = [
    row("Subscriptions_List", "Microsoft.Resources/subscriptions/read", Get, "/subscriptions", Read, None),
    row("Subscriptions_Get", "Microsoft.Resources/subscriptions/read", Get, "/subscriptions/{subscription}", Read, None),
    row("Subscriptions_ListLocations", "Microsoft.Resources/subscriptions/locations/read", Get, "/subscriptions/{subscription}/locations", Read, None),
    row("Tenants_List", "Microsoft.Resources/tenants/read", Get, "/tenants", Read, None),
    row("ResourceGroups_List", "Microsoft.Resources/subscriptions/resourceGroups/read", Get, "/subscriptions/{subscription}/resourceGroups", Read, None),
    row("ResourceGroups_Get", "Microsoft.Resources/subscriptions/resourceGroups/read", Get, "/subscriptions/{subscription}/resourceGroups/{resourceGroup}", Read, None),
    row("Providers_List", "Microsoft.Resources/subscriptions/providers/read", Get, "/subscriptions/{subscription}/providers", Read, None),
    row("Providers_Get", "Microsoft.Resources/subscriptions/providers/read", Get, "/subscriptions/{subscription}/providers/{namespace}", Read, None),
    row("Resources_List", "Microsoft.Resources/subscriptions/resources/read", Get, "/subscriptions/{subscription}/resources", Read, None),
    row("Resources_ListByResourceGroup", "Microsoft.Resources/subscriptions/resourceGroups/resources/read", Get, "/subscriptions/{subscription}/resourceGroups/{resourceGroup}/resources", Read, None),
    row("StorageAccounts_GetProperties", "Microsoft.Storage/storageAccounts/read", Get, "/subscriptions/{subscription}/resourceGroups/{resourceGroup}/providers/Microsoft.Storage/storageAccounts/{account}", Read, None),
    row("StorageAccounts_ListByResourceGroup", "Microsoft.Storage/storageAccounts/read", Get, "/subscriptions/{subscription}/resourceGroups/{resourceGroup}/providers/Microsoft.Storage/storageAccounts", Read, None),
    row("StorageAccounts_List", "Microsoft.Storage/storageAccounts/read", Get, "/subscriptions/{subscription}/providers/Microsoft.Storage/storageAccounts", Read, None),
    row("ClassicStorageAccounts_Get", "Microsoft.ClassicStorage/storageAccounts/read", Get, "/subscriptions/{subscription}/resourceGroups/{resourceGroup}/providers/Microsoft.ClassicStorage/storageAccounts/{account}", Read, None),
    row("ClassicStorageAccounts_List", "Microsoft.ClassicStorage/storageAccounts/read", Get, "/subscriptions/{subscription}/providers/Microsoft.ClassicStorage/storageAccounts", Read, None),
    row("VirtualMachines_Get", "Microsoft.Compute/virtualMachines/read", Get, "/subscriptions/{subscription}/resourceGroups/{resourceGroup}/providers/Microsoft.Compute/virtualMachines/{virtualMachine}", Read, None),
    row("VirtualMachines_List", "Microsoft.Compute/virtualMachines/read", Get, "/subscriptions/{subscription}/resourceGroups/{resourceGroup}/providers/Microsoft.Compute/virtualMachines", Read, None),
    row("VirtualMachines_ListAll", "Microsoft.Compute/virtualMachines/read", Get, "/subscriptions/{subscription}/providers/Microsoft.Compute/virtualMachines", Read, None),
    // Polls of Azure Backup that clients build themselves or that answers name.
    row("VaultOperationStatuses_Get", "Microsoft.RecoveryServices/vaults/operationStatus/read", Get, "{RSV}/operationStatus/{operation}", Read, None),
    row("ItemLevelOperationStatuses_Get", "Microsoft.RecoveryServices/vaults/backupFabrics/operationsStatus/read", Get, "{RSV}/backupFabrics/{fabric}/operationsStatus/{operation}", Read, None),
    row("ResourceGroupOperationStatus_Get", "Microsoft.DataProtection/operationStatus/read", Get, "/subscriptions/{subscription}/resourceGroups/{resourceGroup}/providers/Microsoft.DataProtection/operationStatus/{operation}", Read, None),
    row("ResourceGroupOperationResult_Get", "Microsoft.DataProtection/operationResults/read", Get, "/subscriptions/{subscription}/resourceGroups/{resourceGroup}/providers/Microsoft.DataProtection/operationResults/{operation}", Read, None),
    row("BackupInstanceOperationResult_Get", "Microsoft.DataProtection/backupVaults/backupInstances/operationResults/read", Get, "/subscriptions/{subscription}/resourceGroups/{resourceGroup}/providers/Microsoft.DataProtection/backupInstances/{instance}/operationResults/{operation}", Read, None),
    row("LocationOperationStatus_Get", "Microsoft.RecoveryServices/locations/operationStatus/read", Get, "/subscriptions/{subscription}/providers/Microsoft.RecoveryServices/locations/{location}/operationStatus/{operation}", Read, None),
    // Ways round the catalogue: named, so that a refusal says what it refused.
    row("Batch_Execute", "Microsoft.Resources/batch/action", Post, "/batch", Blocked, None),
    row("Deployments_CreateAtGroup", "Microsoft.Resources/deployments/write", Put, "/subscriptions/{subscription}/resourceGroups/{resourceGroup}/providers/Microsoft.Resources/deployments/{deployment}", Blocked, None),
    row("Deployments_CreateAtSubscription", "Microsoft.Resources/deployments/write", Put, "/subscriptions/{subscription}/providers/Microsoft.Resources/deployments/{deployment}", Blocked, None),
    row("Resources_Move", "Microsoft.Resources/subscriptions/resourceGroups/moveResources/action", Post, "/subscriptions/{subscription}/resourceGroups/{resourceGroup}/moveResources", Blocked, None),
    row("ResourceGroups_Delete", "Microsoft.Resources/subscriptions/resourceGroups/delete", Delete, "/subscriptions/{subscription}/resourceGroups/{resourceGroup}", Blocked, None),
    row("Locks_DeleteAtGroup", "Microsoft.Authorization/locks/delete", Delete, "/subscriptions/{subscription}/resourceGroups/{resourceGroup}/providers/Microsoft.Authorization/locks/{lock}", Blocked, None),
    row("Locks_DeleteAtSubscription", "Microsoft.Authorization/locks/delete", Delete, "/subscriptions/{subscription}/providers/Microsoft.Authorization/locks/{lock}", Blocked, None),
    row("Locks_DeleteAtVault", "Microsoft.Authorization/locks/delete", Delete, "{RSV}/providers/Microsoft.Authorization/locks/{lock}", Blocked, None),
    row("Locks_DeleteAtBackupVault", "Microsoft.Authorization/locks/delete", Delete, "{DPV}/providers/Microsoft.Authorization/locks/{lock}", Blocked, None),
    row("RoleAssignments_CreateAtVault", "Microsoft.Authorization/roleAssignments/write", Put, "{RSV}/providers/Microsoft.Authorization/roleAssignments/{assignment}", Blocked, None),
    row("RoleAssignments_CreateAtBackupVault", "Microsoft.Authorization/roleAssignments/write", Put, "{DPV}/providers/Microsoft.Authorization/roleAssignments/{assignment}", Blocked, None),
    row("RoleAssignments_CreateAtGroup", "Microsoft.Authorization/roleAssignments/write", Put, "/subscriptions/{subscription}/resourceGroups/{resourceGroup}/providers/Microsoft.Authorization/roleAssignments/{assignment}", Blocked, None),
    row("RoleAssignments_CreateAtSubscription", "Microsoft.Authorization/roleAssignments/write", Put, "/subscriptions/{subscription}/providers/Microsoft.Authorization/roleAssignments/{assignment}", Blocked, None),
    row("RoleAssignments_DeleteAtVault", "Microsoft.Authorization/roleAssignments/delete", Delete, "{RSV}/providers/Microsoft.Authorization/roleAssignments/{assignment}", Blocked, None),
    row("DiagnosticSettings_DeleteAtVault", "Microsoft.Insights/diagnosticSettings/delete", Delete, "{RSV}/providers/Microsoft.Insights/diagnosticSettings/{setting}", Blocked, None),
    row("DiagnosticSettings_DeleteAtBackupVault", "Microsoft.Insights/diagnosticSettings/delete", Delete, "{DPV}/providers/Microsoft.Insights/diagnosticSettings/{setting}", Blocked, None),
];
