//! The fixed names that tests, demo and documentation use.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::World;
use super::policies::{machine_policy, share_policy, weekly_policy, workload_policy};
use super::shapes::{self, Guarded};
use crate::state::TENANT;

/// The production subscription.
pub const PROD: &str = "22222222-2222-2222-2222-222222222222";
/// The subscription of the test corpora.
pub const CORPUS: &str = "00000000-0000-0000-0000-000000000001";
/// A subscription that only receives restores.
pub const STAGING: &str = "33333333-3333-3333-3333-333333333333";

const REGION: &str = "westeurope";
const POINTS: i64 = 32;

/// Puts everything into an empty world.
pub(super) fn fill(world: &mut World) {
    for (subscription, name) in [(PROD, "prod"), (CORPUS, "corpus"), (STAGING, "staging")] {
        world.put(subscription_document(subscription, name));
    }
    for (subscription, group) in [
        (PROD, "rg1"),
        (PROD, "sec"),
        (CORPUS, "rg1"),
        (STAGING, "landing"),
    ] {
        world.put(group_document(subscription, group));
    }
    storage_account(world, STAGING, "landing", "stagingsa");
    for subscription in [PROD, CORPUS] {
        machines(world, subscription);
        storage_account(world, subscription, "rg1", "sa1");
        first_vault(world, subscription);
    }
    prod_vaults(world);
    wide_role(world, PROD);
    guard(world);
    backup_vault(world);
}

/// A role that is too wide in one place and too narrow in others, and whose it is.
fn wide_role(world: &mut World, subscription: &str) {
    let scope = format!("/subscriptions/{subscription}/providers/Microsoft.Authorization");
    let role = format!("{scope}/roleDefinitions/77777777-0000-4000-8000-000000000001");
    world.put(json!({
        "id": role, "name": "77777777-0000-4000-8000-000000000001", "type": "Microsoft.Authorization/roleDefinitions",
        "properties": {"roleName": "wide", "type": "CustomRole", "assignableScopes": [format!("/subscriptions/{subscription}")],
            "permissions": [{"actions": ["Microsoft.RecoveryServices/*", "Microsoft.Authorization/*"], "notActions": [], "dataActions": [], "notDataActions": []}]},
    }));
    world.put(json!({
        "id": format!("{scope}/roleAssignments/77777777-0000-4000-8000-000000000002"), "name": "77777777-0000-4000-8000-000000000002",
        "type": "Microsoft.Authorization/roleAssignments",
        "properties": {"roleDefinitionId": role, "principalId": "77777777-0000-4000-8000-00000000000a", "principalType": "ServicePrincipal", "scope": format!("/subscriptions/{subscription}")},
    }));
}

fn group(subscription: &str, name: &str) -> String {
    format!("/subscriptions/{subscription}/resourceGroups/{name}")
}

fn subscription_document(id: &str, name: &str) -> Value {
    json!({
        "id": format!("/subscriptions/{id}"), "subscriptionId": id, "displayName": name, "state": "Enabled",
        "tenantId": TENANT, "authorizationSource": "RoleBased", "managedByTenants": [],
        "subscriptionPolicies": {"locationPlacementId": "Public_2014-09-01", "quotaId": "EnterpriseAgreement_2014-09-01", "spendingLimit": "Off"},
    })
}

fn group_document(subscription: &str, name: &str) -> Value {
    json!({
        "id": group(subscription, name), "name": name, "type": "Microsoft.Resources/resourceGroups",
        "location": REGION, "tags": {}, "properties": {"provisioningState": "Succeeded"},
    })
}

fn storage_account(world: &mut World, subscription: &str, group_name: &str, name: &str) {
    world.put(json!({
        "id": format!("{}/providers/Microsoft.Storage/storageAccounts/{name}", group(subscription, group_name)),
        "name": name, "type": "Microsoft.Storage/storageAccounts", "location": REGION, "kind": "StorageV2", "tags": {},
        "sku": {"name": "Standard_GRS", "tier": "Standard"},
        "properties": {
            "provisioningState": "Succeeded", "primaryLocation": REGION, "secondaryLocation": "northeurope",
            "statusOfPrimary": "available", "supportsHttpsTrafficOnly": true, "allowBlobPublicAccess": false,
            "publicNetworkAccess": "Enabled", "networkAcls": {"defaultAction": "Deny", "bypass": "AzureServices", "ipRules": [], "virtualNetworkRules": []},
            "primaryEndpoints": {"blob": format!("https://{name}.blob.core.windows.net/"), "file": format!("https://{name}.file.core.windows.net/")},
        },
    }));
}

fn machine_id(subscription: &str, name: &str) -> String {
    format!(
        "{}/providers/Microsoft.Compute/virtualMachines/{name}",
        group(subscription, "rg1")
    )
}

fn machines(world: &mut World, subscription: &str) {
    for name in (1..=12)
        .map(|number| format!("vm{number}"))
        .chain(["sqlvm1".to_owned()])
    {
        world.put(json!({
            "id": machine_id(subscription, &name), "name": name, "type": "Microsoft.Compute/virtualMachines",
            "location": REGION, "tags": tags(&name),
            "properties": {
                "vmId": crate::digest::stable_uuid(&machine_id(subscription, &name)), "provisioningState": "Succeeded",
                "hardwareProfile": {"vmSize": "Standard_D2s_v5"}, "storageProfile": {"osDisk": {"osType": "Linux", "name": format!("{name}-os")}, "dataDisks": []},
            },
        }));
    }
}

/// Two machines are of those that are backed up each night.
fn tags(machine: &str) -> Value {
    match machine {
        "vm1" | "vm2" => json!({"environment": "production", "backup": "nightly"}),
        _ => json!({"environment": "production"}),
    }
}

fn vault_id(subscription: &str, name: &str) -> String {
    format!(
        "{}/providers/Microsoft.RecoveryServices/vaults/{name}",
        group(subscription, "rg1")
    )
}

const OPEN: Guarded = Guarded {
    immutability: "Disabled",
    soft_delete: "Enabled",
    multi_user: false,
};

fn vault(world: &mut World, subscription: &str, name: &str, guarded: Guarded) -> String {
    let id = vault_id(subscription, name);
    world.put(shapes::vault(&id, REGION, guarded));
    for settings in shapes::settings(&id, guarded.soft_delete) {
        world.put(settings);
    }
    world.put(machine_policy(&id, "DefaultPolicy", 30, 0));
    id
}

fn first_vault(world: &mut World, subscription: &str) {
    let id = vault(world, subscription, "v1", OPEN);
    world.put(machine_policy(&id, "GoldPolicy", 90, 52));
    world.put(workload_policy(&id));
    world.put(share_policy(&id));
    for number in 1..=5 {
        machine_item(world, subscription, &id, &format!("vm{number}"));
    }
    let sql =
        format!("{id}/backupFabrics/Azure/protectionContainers/VMAppContainer;Compute;rg1;sqlvm1");
    world.put(workload_container(
        &sql,
        &machine_id(subscription, "sqlvm1"),
    ));
    protect(
        world,
        &format!("{sql}/protectedItems/SQLDataBase;mssqlserver;db1"),
        "db1",
        &machine_id(subscription, "sqlvm1"),
        &format!("{id}/backupPolicies/HourlyLogBackup"),
    );
    let account = format!(
        "{}/providers/Microsoft.Storage/storageAccounts/sa1",
        group(subscription, "rg1")
    );
    let shares =
        format!("{id}/backupFabrics/Azure/protectionContainers/StorageContainer;Storage;rg1;sa1");
    world.put(container(
        &shares,
        "sa1",
        &account,
        "AzureStorage",
        "StorageContainer",
    ));
    let share = crate::digest::sha256_hex(b"sa1/share1").to_ascii_uppercase();
    protect(
        world,
        &format!("{shares}/protectedItems/AzureFileShare;{share}"),
        "share1",
        &account,
        &format!("{id}/backupPolicies/AfsPolicy"),
    );
}

fn prod_vaults(world: &mut World) {
    let second = vault(world, PROD, "v2", OPEN);
    for number in 6..=8 {
        machine_item(world, PROD, &second, &format!("vm{number}"));
    }
    let locked = vault(
        world,
        PROD,
        "vlocked",
        Guarded {
            immutability: "Locked",
            soft_delete: "AlwaysON",
            multi_user: false,
        },
    );
    machine_item(world, PROD, &locked, "vm9");
    let guarded = vault(
        world,
        PROD,
        "vmua",
        Guarded {
            multi_user: true,
            ..OPEN
        },
    );
    machine_item(world, PROD, &guarded, "vm1");
    machine_item(world, PROD, &guarded, "vm10");
}

/// Puts a machine's container and item.
fn machine_item(world: &mut World, subscription: &str, vault: &str, machine: &str) {
    let source = machine_id(subscription, machine);
    let holder = format!(
        "{vault}/backupFabrics/Azure/protectionContainers/IaasVMContainer;iaasvmcontainerv2;rg1;{machine}"
    );
    world.put(machine_container(&holder, machine, &source));
    protect(
        world,
        &format!("{holder}/protectedItems/VM;iaasvmcontainerv2;rg1;{machine}"),
        machine,
        &source,
        &format!("{vault}/backupPolicies/DefaultPolicy"),
    );
}

fn protect(world: &mut World, id: &str, friendly: &str, source: &str, policy: &str) {
    let now = world.clock.now();
    world.put(shapes::item(id, friendly, source, policy, now));
    for (name, at) in points(id, now) {
        world.put(shapes::recovery_point(id, &name, at));
    }
}

/// One point a day, newest first; the machine `vm1` also has the point that recorded
/// client traces name.
fn points(id: &str, now: Timestamp) -> Vec<(String, Timestamp)> {
    let day = |days: i64| {
        now.saturating_sub(SignedDuration::from_hours(24 * days))
            .unwrap_or(now)
    };
    let mut points: Vec<_> = (1..=POINTS)
        .map(|days| {
            (
                shapes::numbers(&format!("{}{days}", id.to_ascii_lowercase()), 15),
                day(days),
            )
        })
        .collect();
    if id.ends_with(";vm1") {
        points.push(("99999999999999".to_owned(), day(POINTS + 1)));
    }
    points
}

/// The container of a virtual machine.
fn machine_container(id: &str, machine: &str, source: &str) -> Value {
    let mut document = container(
        id,
        machine,
        source,
        "AzureIaasVM",
        "Microsoft.Compute/virtualMachines",
    );
    crate::document::set(&mut document, "/properties/virtualMachineId", source);
    crate::document::set(
        &mut document,
        "/properties/virtualMachineVersion",
        "Compute",
    );
    crate::document::set(&mut document, "/properties/resourceGroup", "rg1");
    document
}

fn workload_container(id: &str, source: &str) -> Value {
    let mut document = container(id, "sqlvm1", source, "AzureWorkload", "VMAppContainer");
    crate::document::set(
        &mut document,
        "/properties/extendedInfo",
        json!({"hostServerName": "sqlvm1", "nodesList": [], "inquiryInfo": {"status": "Success", "inquiryDetails": [{"type": "SQL", "itemCount": 1}]}}),
    );
    document
}

fn container(id: &str, friendly: &str, source: &str, management: &str, kind: &str) -> Value {
    json!({
        "id": id, "name": shapes::last(id), "type": "Microsoft.RecoveryServices/vaults/backupFabrics/protectionContainers",
        "properties": {
            "friendlyName": friendly, "backupManagementType": management, "registrationStatus": "Registered",
            "healthStatus": "Healthy", "containerType": kind, "protectableObjectType": kind,
            "sourceResourceId": source, "protectedItemCount": 1,
        },
    })
}

/// The guard in its own group, and the proxy that binds `vmua` to it.
fn guard(world: &mut World) {
    let id = format!(
        "{}/providers/Microsoft.DataProtection/resourceGuards/guard1",
        group(PROD, "sec")
    );
    world.put(crate::azure::resource_guard(&id, REGION));
    world.put(crate::azure::guard_proxy(
        &vault_id(PROD, "vmua"),
        "Microsoft.RecoveryServices/vaults",
        "VaultProxy",
        &id,
        world.clock.now(),
    ));
}

fn backup_vault(world: &mut World) {
    let id = format!(
        "{}/providers/Microsoft.DataProtection/backupVaults/bv1",
        group(PROD, "rg1")
    );
    world.put(json!({
        "id": id, "name": "bv1", "type": "Microsoft.DataProtection/backupVaults", "location": REGION, "tags": {}, "etag": "",
        "identity": {"type": "SystemAssigned", "tenantId": TENANT, "principalId": crate::digest::stable_uuid(&id)},
        "properties": {
            "provisioningState": "Succeeded", "monitoringSettings": {"azureMonitorAlertSettings": {"alertsForAllJobFailures": "Enabled"}},
            "storageSettings": [{"datastoreType": "VaultStore", "type": "GeoRedundant"}],
            "featureSettings": {"crossRegionRestoreSettings": {"state": "Enabled"}},
            "securitySettings": {"softDeleteSettings": {"state": "On", "retentionDurationInDays": 14}, "immutabilitySettings": {"state": "Disabled"}},
            "isVaultProtectedByResourceGuard": false, "secureScore": "Adequate", "bcdrSecurityLevel": "Good",
        },
    }));
    let policy = format!("{id}/backupPolicies/BackupWeekly");
    world.put(weekly_policy(&policy));
    let rg1 = group(PROD, "rg1");
    let sources = [
        ("bi1", shapes::managed_disk(&rg1, "disk1")),
        (
            "bi2",
            format!("{rg1}/providers/Microsoft.Storage/storageAccounts/sa1"),
        ),
    ];
    for (name, source) in sources {
        let instance = format!("{id}/backupInstances/{name}");
        world.put(shapes::dp_instance(&instance, &source, &policy, REGION));
        for (index, at) in points(&instance, world.clock.now())
            .into_iter()
            .map(|(_, at)| at)
            .enumerate()
        {
            world.put(crate::azure::discrete_point(
                &instance,
                &crate::digest::stable_uuid(&format!("{instance}{index}")),
                at,
            ));
        }
    }
}
