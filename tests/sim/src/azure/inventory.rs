//! The ARM calls around Azure Backup: subscriptions, tenants, groups, providers, and the
//! machines and storage accounts that clients look up.

use serde_json::{Value, json};

use super::reply::{Answer, list, terms};
use super::request::ArmRequest;
use crate::state::TENANT;
use crate::world::World;

const NAMESPACES: [&str; 5] = [
    "Microsoft.RecoveryServices",
    "Microsoft.DataProtection",
    "Microsoft.Compute",
    "Microsoft.Storage",
    "Microsoft.Resources",
];

/// What no backup provider answers.
pub(super) fn route(world: &mut World, ask: &ArmRequest, route: &[&str]) -> Answer {
    let reading = ask.method == "GET";
    match route {
        ["subscriptions"] if reading => list(of_root(world, "subscriptionId")),
        ["tenants"] if reading => list(vec![
            json!({"id": format!("/tenants/{TENANT}"), "tenantId": TENANT, "displayName": "Vaultgate development", "tenantCategory": "Home"}),
        ]),
        ["subscriptions", _] if reading => one(world, ask),
        ["subscriptions", _, ..] if !world.holds(&ask.id(2)) => Answer::error(
            404,
            "SubscriptionNotFound",
            &format!("The subscription '{}' could not be found.", ask.name(1)),
        ),
        ["subscriptions", _, "resourcegroups"] if reading => {
            list(listed(world, ask, "Microsoft.Resources/resourceGroups"))
        }
        ["subscriptions", _, "resourcegroups", _] if reading => group(world, ask),
        ["subscriptions", _, "resources"] if reading => list(tagged(world, ask)),
        ["subscriptions", _, "locations"] if reading => list(vec![
            location(ask, "westeurope", "northeurope"),
            location(ask, "northeurope", "westeurope"),
        ]),
        ["subscriptions", _, "providers"] if reading => {
            list(NAMESPACES.iter().map(|name| provider(ask, name)).collect())
        }
        ["subscriptions", _, "providers", name] if reading => named_provider(ask, name),
        ["subscriptions", _, "providers", name, "register"] if ask.method == "POST" => {
            named_provider(ask, name)
        }
        [.., "microsoft.classicstorage", "storageaccounts", _] if reading => classic(ask),
        [.., "providers", "microsoft.storage", "storageaccounts"] if reading => {
            list(listed(world, ask, "Microsoft.Storage/storageAccounts"))
        }
        [
            ..,
            "providers",
            "microsoft.authorization",
            "roleassignments",
        ] if reading => list(assignments(world, ask)),
        [.., "providers", "microsoft.compute", "virtualmachines"] if reading => {
            list(listed(world, ask, "Microsoft.Compute/virtualMachines"))
        }
        [.., "providers", _, _, _] if reading => one(world, ask),
        [.., "providers", _, _, _] => Answer::method_not_allowed(&ask.method),
        _ => Answer::not_found(&ask.whole_id()),
    }
}

fn of_root(world: &World, marked_by: &str) -> Vec<Value> {
    world
        .children("/subscriptions")
        .into_iter()
        .filter(|one| one.get(marked_by).is_some())
        .cloned()
        .collect()
}

fn one(world: &World, ask: &ArmRequest) -> Answer {
    let id = ask.whole_id();
    world.find(&id).map_or_else(
        || Answer::not_found(&id),
        |found| Answer::document(200, found),
    )
}

fn group(world: &World, ask: &ArmRequest) -> Answer {
    let id = ask.whole_id();
    world.find(&id).map_or_else(
        || {
            Answer::error(
                404,
                "ResourceGroupNotFound",
                &format!("Resource group '{}' could not be found.", ask.last()),
            )
        },
        |found| Answer::document(200, found),
    )
}

/// Resources of a type in the group, or else the subscription, that the path names.
fn listed(world: &World, ask: &ArmRequest, kind: &str) -> Vec<Value> {
    let in_group = ask.route().get(2) == Some(&"resourcegroups") && ask.route().len() > 3;
    let scope = ask.id(if in_group { 4 } else { 2 });
    world.of_type(&scope, kind).into_iter().cloned().collect()
}

/// Machines and accounts, of which the filter may name a tag and its value.
fn tagged(world: &World, ask: &ArmRequest) -> Vec<Value> {
    let terms = terms(&ask.parameter("$filter").unwrap_or_default());
    let wanted = |name: &str| {
        let found = terms.iter().find(|(own, _)| own.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    };
    let holds = |one: &Value| {
        let tags = one.get("tags").and_then(Value::as_object);
        let has = |name: &str, value: Option<&str>| {
            let mut tags = tags.into_iter().flatten();
            tags.any(|(own, own_value)| {
                own.eq_ignore_ascii_case(name)
                    && value.is_none_or(|value| own_value.as_str() == Some(value))
            })
        };
        wanted("tagName").is_none_or(|name| has(name, wanted("tagValue")))
    };
    let kinds = [
        "Microsoft.Compute/virtualMachines",
        "Microsoft.Storage/storageAccounts",
    ];
    let all = kinds.iter().flat_map(|kind| listed(world, ask, kind));
    let short = |one: Value| {
        json!({"id": one.get("id"), "name": one.get("name"), "type": one.get("type"),
            "location": one.get("location"), "tags": one.get("tags")})
    };
    all.filter(holds).map(short).collect()
}

/// Role assignments of the principal that `assignedTo('…')` names.
fn assignments(world: &World, ask: &ArmRequest) -> Vec<Value> {
    let all = listed(world, ask, "Microsoft.Authorization/roleAssignments");
    let asked_for = |one: &Value| {
        let principal = one
            .pointer("/properties/principalId")
            .and_then(Value::as_str);
        principal.is_some_and(|id| ask.raw_query.contains(id))
    };
    all.into_iter().filter(asked_for).collect()
}

fn location(ask: &ArmRequest, name: &str, paired: &str) -> Value {
    json!({
        "id": format!("/subscriptions/{}/locations/{name}", ask.name(1)), "name": name, "type": "Region", "displayName": name, "regionalDisplayName": name,
        "metadata": {"regionType": "Physical", "regionCategory": "Recommended", "pairedRegion": [{"name": paired, "id": format!("/subscriptions/{}/locations/{paired}", ask.name(1))}]},
    })
}

fn provider(ask: &ArmRequest, namespace: &str) -> Value {
    json!({
        "id": format!("/subscriptions/{}/providers/{namespace}", ask.name(1)), "namespace": namespace,
        "registrationState": "Registered", "registrationPolicy": "RegistrationRequired", "resourceTypes": [],
    })
}

fn named_provider(ask: &ArmRequest, wanted: &str) -> Answer {
    let known = NAMESPACES
        .iter()
        .find(|name| name.eq_ignore_ascii_case(wanted));
    known.map_or_else(
        || {
            Answer::error(
                404,
                "InvalidResourceNamespace",
                &format!("The resource namespace '{wanted}' is invalid."),
            )
        },
        |name| Answer::ok(provider(ask, name)),
    )
}

/// Nobody has a classic storage account any more; the Azure CLI still asks first.
fn classic(ask: &ArmRequest) -> Answer {
    let message = format!(
        "The Resource 'Microsoft.ClassicStorage/storageAccounts/{}' under resource group '{}' was not found.",
        ask.last(),
        ask.name(3)
    );
    Answer::error(404, "ResourceNotFound", &message)
}

/// `GET /providers/{namespace}/operations`.
pub(super) fn operations(ask: &ArmRequest, namespace: &str) -> Answer {
    let known = NAMESPACES
        .iter()
        .find(|name| name.eq_ignore_ascii_case(namespace));
    let Some(name) = known.filter(|_| ask.method == "GET") else {
        return Answer::not_found(&ask.whole_id());
    };
    let operation = |what: &str| json!({"name": format!("{name}/{what}"), "origin": "user", "display": {"provider": name, "resource": what, "operation": what, "description": what}});
    list(vec![operation("operations/read")])
}
