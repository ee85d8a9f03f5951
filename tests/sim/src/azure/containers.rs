//! Protection containers, protectable items, backup engines and protection intents.

use serde_json::{Value, json};

use super::operations::{Begin, Finish, Style};
use super::reply::{Answer, filtered, list, page};
use super::request::ArmRequest;
use crate::document::{member, merge, set, text};
use crate::world::World;

const TYPE: &str = "Microsoft.RecoveryServices/vaults/backupFabrics/protectionContainers";

const FILTERS: [(&str, &str); 4] = [
    ("backupManagementType", "/properties/backupManagementType"),
    ("friendlyName", "/properties/friendlyName"),
    ("status", "/properties/registrationStatus"),
    ("containerType", "/properties/containerType"),
];

/// What is left inside a vault.
pub(super) fn route(world: &mut World, ask: &ArmRequest, vault: &str, inside: &[&str]) -> Answer {
    match (ask.method.as_str(), inside) {
        ("GET", ["backupprotectioncontainers"]) => {
            let all = world.of_type(vault, TYPE).into_iter().cloned().collect();
            page(world, ask, filtered(ask, all, &FILTERS), 50)
        }
        (
            "GET",
            ["backupdeletedprotectioncontainers" | "backupengines" | "backupprotectionintents"],
        ) => list(
            world
                .of_type(
                    vault,
                    "Microsoft.RecoveryServices/vaults/backupProtectionIntent",
                )
                .into_iter()
                .cloned()
                .collect(),
        ),
        ("GET", ["backupprotectableitems"]) => protectable_items(world, ask, vault),
        ("GET", ["backupfabrics", _, "protectablecontainers"]) => {
            protectable_containers(world, ask, vault)
        }
        ("POST", ["backupfabrics", _, "refreshcontainers"]) => refresh(world, ask, vault),
        ("POST", ["backupfabrics", _, "getrpextendedinfo"]) => extended_info(world, ask, vault),
        (_, ["backupfabrics", _, "protectioncontainers", _, action @ ..]) => {
            container(world, ask, vault, action)
        }
        (_, ["backupfabrics", _, "backupprotectionintent", _]) => intent(world, ask),
        _ => Answer::not_found(&ask.whole_id()),
    }
}

fn operation(world: &mut World, ask: &ArmRequest, base: &str, finish: Finish) -> Answer {
    world.begin(
        ask,
        Begin {
            style: Style::Backup,
            status: Some(format!("{base}/operationsStatus")),
            result: Some(format!("{base}/operationResults")),
            properties: Value::Null,
            finish,
            effect: None,
        },
    )
}

fn refresh(world: &mut World, ask: &ArmRequest, vault: &str) -> Answer {
    let base = format!("{vault}/backupFabrics/{}", ask.name(9));
    operation(world, ask, &base, Finish::Nothing)
}

fn extended_info(world: &mut World, ask: &ArmRequest, vault: &str) -> Answer {
    let base = format!("{vault}/backupFabrics/{}", ask.name(9));
    world.begin(
        ask,
        Begin {
            style: Style::Backup,
            status: None,
            result: Some(format!("{base}/getRPExtendedInfoOperationResult")),
            properties: Value::Null,
            finish: Finish::Body(json!({"recoveryPoints": []})),
            effect: None,
        },
    )
}

/// A container as it is once registered.
pub(super) fn registered(id: &str, name: &str, friendly: &str, source: &str) -> Value {
    let lower = name.to_ascii_lowercase();
    let (management, kind) = if lower.starts_with("storagecontainer") {
        ("AzureStorage", "StorageContainer")
    } else if lower.starts_with("vmappcontainer") {
        ("AzureWorkload", "VMAppContainer")
    } else {
        ("AzureIaasVM", "Microsoft.Compute/virtualMachines")
    };
    let mut container = json!({
        "id": id, "name": name, "type": TYPE,
        "properties": {
            "friendlyName": friendly, "backupManagementType": management, "registrationStatus": "Registered",
            "healthStatus": "Healthy", "containerType": kind, "sourceResourceId": source, "protectedItemCount": 0,
        },
    });
    if management == "AzureIaasVM" {
        set(&mut container, "/properties/virtualMachineId", source);
    }
    container
}

fn container(world: &mut World, ask: &ArmRequest, vault: &str, action: &[&str]) -> Answer {
    let id = ask.id(12);
    let found = world.find(&id).cloned();
    match (ask.method.as_str(), action, found) {
        ("GET", [], Some(container)) => Answer::document(200, &container),
        ("GET", ["items"], Some(container)) => list(workload_items(&container)),
        ("POST", ["inquire"], Some(_)) => operation(world, ask, &id, Finish::Nothing),
        ("PUT", [], _) => register(world, ask, &id),
        ("DELETE", [], Some(_)) => unregister(world, ask, vault, &id),
        ("DELETE", [], None) => Answer::empty(204),
        ("GET" | "POST", _, None) => Answer::not_found(&id),
        (method, _, _) => Answer::method_not_allowed(method),
    }
}

fn workload_items(container: &Value) -> Vec<Value> {
    if text(container, "/properties/backupManagementType") != Some("AzureWorkload") {
        return Vec::new();
    }
    let id = text(container, "/id").unwrap_or_default();
    vec![json!({
        "id": format!("{id}/items/SQLInstance;MSSQLSERVER"), "name": "SQLInstance;MSSQLSERVER", "type": format!("{TYPE}/items"),
        "properties": {
            "parentName": "MSSQLSERVER", "serverName": "sqlvm1", "isAutoProtectable": true, "subinquireditemcount": 0, "subWorkloadItemCount": 1,
            "backupManagementType": "AzureWorkload", "workloadType": "SQL", "workloadItemType": "SQLInstance",
            "friendlyName": "MSSQLSERVER", "protectionState": "NotProtected", "dataDirectoryPaths": [],
        },
    })]
}

fn register(world: &mut World, ask: &ArmRequest, id: &str) -> Answer {
    let Some(source) = text(&ask.body, "/properties/sourceResourceId").map(str::to_owned) else {
        return Answer::error(
            400,
            "BMSUserErrorInvalidInput",
            "The member 'sourceResourceId' is missing.",
        );
    };
    if !world.holds(&source) {
        return Answer::error(
            400,
            "UserErrorResourceNotFound",
            "The resource to register was not found.",
        );
    }
    let friendly = source.rsplit('/').next().unwrap_or_default();
    let mut document = registered(id, ask.last(), friendly, &source);
    merge(
        &mut document,
        &json!({"properties": member(&ask.body, "/properties")}),
    );
    set(
        &mut document,
        "/properties/registrationStatus",
        "Registered",
    );
    world.put(document);
    operation(world, ask, id, Finish::Resource(id.to_owned()))
}

fn unregister(world: &mut World, ask: &ArmRequest, vault: &str, id: &str) -> Answer {
    if !world.children(&format!("{id}/protectedItems")).is_empty() {
        return Answer::error(
            400,
            "BMSUserErrorContainerHasDatasources",
            "The container has protected items and cannot be unregistered.",
        );
    }
    let gone = id.to_owned();
    world.begin(
        ask,
        Begin {
            style: Style::Backup,
            status: Some(format!("{vault}/backupOperations")),
            result: Some(format!("{id}/operationResults")),
            properties: Value::Null,
            finish: Finish::Nothing,
            effect: Some(Box::new(move |world| world.remove(&gone))),
        },
    )
}

/// The resources of the vault's subscription that nobody protects yet.
fn unprotected<'a>(world: &'a World, ask: &ArmRequest, kind: &str) -> Vec<&'a Value> {
    let subscription = ask.id(2);
    let taken: Vec<String> = world
        .of_type(&subscription, super::protected_items::TYPE)
        .iter()
        .filter_map(|item| text(item, "/properties/sourceResourceId").map(str::to_ascii_lowercase))
        .collect();
    let free =
        |one: &&Value| text(one, "/id").is_some_and(|id| !taken.contains(&id.to_ascii_lowercase()));
    world
        .of_type(&subscription, kind)
        .into_iter()
        .filter(free)
        .collect()
}

fn protectable_items(world: &World, ask: &ArmRequest, vault: &str) -> Answer {
    let items = unprotected(world, ask, "Microsoft.Compute/virtualMachines")
        .into_iter()
        .map(|machine| {
            let (id, name) = (text(machine, "/id").unwrap_or_default(), text(machine, "/name").unwrap_or_default());
            let group = id.split('/').nth(4).unwrap_or_default();
            json!({
                "id": format!("{vault}/backupFabrics/Azure/protectionContainers/IaasVMContainer;iaasvmcontainerv2;{group};{name}/protectableItems/VM;iaasvmcontainerv2;{group};{name}"),
                "name": format!("VM;iaasvmcontainerv2;{group};{name}"), "type": format!("{TYPE}/protectableItems"),
                "properties": {
                    "friendlyName": name, "virtualMachineId": id, "protectionState": "NotProtected", "resourceGroup": group,
                    "protectableItemType": "Microsoft.Compute/virtualMachines", "backupManagementType": "AzureIaasVM", "workloadType": "VM",
                },
            })
        })
        .collect();
    page(world, ask, filtered(ask, items, &FILTERS), 50)
}

fn protectable_containers(world: &World, ask: &ArmRequest, vault: &str) -> Answer {
    let containers = unprotected(world, ask, "Microsoft.Storage/storageAccounts")
        .into_iter()
        .map(|account| {
            let (id, name) = (text(account, "/id").unwrap_or_default(), text(account, "/name").unwrap_or_default());
            let group = id.split('/').nth(4).unwrap_or_default();
            json!({
                "id": format!("{vault}/backupFabrics/Azure/protectableContainers/StorageContainer;Storage;{group};{name}"),
                "name": format!("StorageContainer;Storage;{group};{name}"), "type": "Microsoft.RecoveryServices/vaults/backupFabrics/protectableContainers",
                "properties": {
                    "friendlyName": name, "backupManagementType": "AzureStorage", "protectableContainerType": "StorageContainer",
                    "healthStatus": "Healthy", "containerId": id,
                },
            })
        })
        .collect();
    list(filtered(ask, containers, &FILTERS))
}

fn intent(world: &mut World, ask: &ArmRequest) -> Answer {
    let id = ask.id(12);
    match ask.method.as_str() {
        "GET" => world.find(&id).map_or_else(
            || Answer::not_found(&id),
            |intent| Answer::document(200, intent),
        ),
        "DELETE" => Answer::empty(if world.take(&id).is_some() { 200 } else { 204 }),
        "PUT" => {
            let mut document = json!({"id": id, "name": ask.last(), "type": "Microsoft.RecoveryServices/vaults/backupProtectionIntent"});
            set(
                &mut document,
                "/properties",
                member(&ask.body, "/properties"),
            );
            set(&mut document, "/properties/protectionState", "Protected");
            world.put(document.clone());
            Answer::ok(document)
        }
        method => Answer::method_not_allowed(method),
    }
}
