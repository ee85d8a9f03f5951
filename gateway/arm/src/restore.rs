//! What a restore would write, and where: parsed from its body.

use serde::Serialize;

use crate::json::Value;
use crate::resource::Resource;

/// A restore as policy sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Restore {
    /// `original`, `alternate`, `disks`, `files`, `cross-region` or `unknown`.
    pub kind: &'static str,
    /// Where the data goes.
    pub target: RestoreTarget,
    /// What the target differs in from the vault: `subscription`, `resource_group`, `region`.
    pub crosses: Vec<&'static str>,
}

/// Where restored data goes; what the body does not say is null.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RestoreTarget {
    /// ARM id of the resource that is written.
    pub resource: Option<String>,
    /// Subscription.
    pub subscription: Option<String>,
    /// Resource group, as an ARM id.
    pub resource_group: Option<String>,
    /// Storage account, as an ARM id.
    pub storage_account: Option<String>,
    /// Virtual network, as an ARM id.
    pub virtual_network: Option<String>,
    /// Region.
    pub region: Option<String>,
}

impl Restore {
    /// Reads the restore that a body asks for, whatever envelope it stands in.
    pub(crate) fn of(body: &Value, source: &Resource, cross_region: bool) -> Option<Restore> {
        let request = [
            body.member("restoreRequest"),
            body.member("restoreRequestObject"),
            body.at(&["properties", "restoreRequest"]),
            body.member("properties"),
        ];
        let request = request.into_iter().flatten().next().unwrap_or(body);
        let mut restore = match request.member("restoreTargetInfo") {
            Some(info) => data_protection(info),
            None => recovery_services(request),
        };
        if cross_region {
            restore.kind = "cross-region";
        }
        restore.crosses = crosses(&restore.target, source, cross_region);
        Some(restore)
    }
}

fn recovery_services(request: &Value) -> Restore {
    let text = |path: &[&str]| request.at(path).and_then(Value::as_str).map(canonical_id);
    let resource = text(&["targetVirtualMachineId"])
        .or_else(|| text(&["targetDetails", "targetResourceId"]))
        .or_else(|| text(&["targetInfo", "containerId"]));
    let group = text(&["targetResourceGroupId"]);
    let account = text(&["storageAccountId"]);
    let network = text(&["virtualNetworkId"]);
    let kind = match request.member("recoveryType").and_then(Value::as_str) {
        Some("OriginalLocation") => "original",
        Some("AlternateLocation") => "alternate",
        Some("RestoreDisks") => "disks",
        Some("Offline") => "files",
        _ => "unknown",
    };
    // File-level recovery is told by the members, not by the recovery type.
    let files = request.member("restoreRequestType").and_then(Value::as_str);
    let kind = match files {
        Some("ItemLevelRestore") if kind == "alternate" => "files",
        _ => kind,
    };
    let named = [&resource, &group, &account, &network];
    let subscription = named.into_iter().flatten().find_map(|id| subscription(id));
    Restore {
        kind,
        target: RestoreTarget {
            subscription,
            region: text(&["region"]),
            resource,
            resource_group: group,
            storage_account: account,
            virtual_network: network,
        },
        crosses: Vec::new(),
    }
}

fn data_protection(info: &Value) -> Restore {
    let text = |path: &[&str]| info.at(path).and_then(Value::as_str).map(str::to_owned);
    let resource = text(&["datasourceInfo", "resourceID"])
        .or_else(|| text(&["targetDetails", "targetResourceArmId"]));
    let kind = match info.member("objectType").and_then(Value::as_str) {
        Some("RestoreFilesTargetInfo") => "files",
        Some("ItemLevelRestoreTargetInfo") => "files",
        Some("RestoreTargetInfo") => "alternate",
        _ => "unknown",
    };
    Restore {
        kind,
        target: RestoreTarget {
            subscription: resource.as_deref().and_then(subscription),
            region: text(&["restoreLocation"]),
            storage_account: resource.clone().filter(|id| {
                id.to_ascii_lowercase()
                    .contains("/microsoft.storage/storageaccounts/")
            }),
            resource,
            ..RestoreTarget::default()
        },
        crosses: Vec::new(),
    }
}

fn crosses(target: &RestoreTarget, source: &Resource, cross_region: bool) -> Vec<&'static str> {
    let mut crosses = Vec::new();
    let differs = |a: &Option<String>, b: &Option<String>| match (a, b) {
        (Some(a), Some(b)) => !a.eq_ignore_ascii_case(b),
        _ => false,
    };
    if differs(&target.subscription, &source.subscription) {
        crosses.push("subscription");
    }
    let group = [
        &target.resource_group,
        &target.resource,
        &target.storage_account,
    ]
    .into_iter()
    .flatten()
    .find_map(|id| part(id, "resourcegroups"));
    if differs(&group, &source.resource_group) {
        crosses.push("resource_group");
    }
    if cross_region {
        crosses.push("region");
    }
    crosses
}

/// The id with the one empty segment left out that the Azure CLI writes.
pub(crate) fn canonical_id(id: &str) -> String {
    id.replace("/storageAccounts//", "/storageAccounts/")
}

fn subscription(id: &str) -> Option<String> {
    part(id, "subscriptions")
}

fn part(id: &str, name: &str) -> Option<String> {
    let mut segments = id.split('/');
    segments.find(|segment| segment.eq_ignore_ascii_case(name))?;
    segments.next().map(str::to_owned)
}
