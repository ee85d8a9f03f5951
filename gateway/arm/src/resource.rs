//! The resource that an operation works on, named from the parsed path.

use serde::Serialize;

use crate::catalogue::{Method, OperationSpec, Segment};

/// A resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Resource {
    /// ARM id: fixed segments in canonical spelling, names as given.
    pub id: String,
    /// Subscription.
    pub subscription: Option<String>,
    /// Resource group.
    pub resource_group: Option<String>,
    /// ARM id of the vault.
    pub vault: Option<String>,
    /// Name of the vault.
    pub vault_name: Option<String>,
    /// Resource type, such as `Microsoft.RecoveryServices/vaults/backupPolicies`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Workload, as the item's name tells.
    pub workload: Option<String>,
    /// ARM id of the protected item or backup instance.
    pub item: Option<String>,
    /// Name of the recovery point.
    pub recovery_point: Option<String>,
    /// Region, where the path names one.
    pub region: Option<String>,
}

impl Resource {
    /// Names the resource of a matched path.
    pub(crate) fn of(spec: &OperationSpec, path: &[String]) -> Resource {
        let segments = spec.canonical(path);
        let own = own_segments(spec, &segments);
        let capture = |name: &str| spec.capture(name, path).map(str::to_owned);
        let item = ["item", "instance", "backupInstanceName"]
            .iter()
            .find_map(|name| up_to(spec, &segments, name));
        Resource {
            id: joined(own),
            subscription: capture("subscription"),
            resource_group: capture("resourceGroup").or_else(|| capture("resourceGroupName")),
            vault: up_to(spec, &segments, "vault"),
            vault_name: capture("vault"),
            kind: kind(spec, own.len()),
            workload: capture("item").and_then(|item| workload(&item)),
            item,
            recovery_point: capture("recoveryPointId"),
            region: ["azureRegion", "location"]
                .iter()
                .find_map(|name| capture(name)),
        }
    }

    /// Names the vault and item of an ARM id that stands only in a body.
    pub(crate) fn of_vault_id(id: &str) -> Option<Resource> {
        let path = crate::target::segments(id.strip_prefix('/')?, false).ok()?;
        let spec = crate::catalogue::find(Method::Get, &path).ok()?;
        let resource = Resource::of(spec, &path);
        resource.vault.is_some().then_some(resource)
    }
}

/// The segments of the resource itself: without the action of a POST.
fn own_segments<'s>(spec: &OperationSpec, segments: &'s [&'s str]) -> &'s [&'s str] {
    let action =
        spec.method == Method::Post && matches!(spec.segments.last(), Some(Segment::Fixed(_)));
    match segments.split_last() {
        Some((_, rest)) if action => rest,
        _ => segments,
    }
}

fn up_to(spec: &OperationSpec, segments: &[&str], parameter: &str) -> Option<String> {
    let named = |segment: &Segment| matches!(segment, Segment::Name(name) if name == parameter);
    let place = spec.segments.iter().position(named)?;
    segments.get(..=place).map(joined)
}

fn joined(segments: &[&str]) -> String {
    segments
        .iter()
        .map(|segment| format!("/{segment}"))
        .collect()
}

/// The type: namespace and fixed segments behind the last `/providers/`.
fn kind(spec: &OperationSpec, length: usize) -> String {
    let own = spec.segments.get(..length).unwrap_or_default();
    let providers = |segment: &Segment| matches!(segment, Segment::Fixed(f) if f == "providers");
    let start = own.iter().rposition(providers).map_or(0, |place| place + 1);
    let fixed = own
        .get(start..)
        .unwrap_or_default()
        .iter()
        .filter_map(|segment| match segment {
            Segment::Fixed(fixed) => Some(fixed.as_str()),
            Segment::Name(_) => None,
        });
    fixed.collect::<Vec<_>>().join("/")
}

/// The workload that an item's name begins with.
fn workload(item: &str) -> Option<String> {
    let (kind, _) = item.split_once(';')?;
    let known = [
        ("vm", "AzureIaasVM"),
        ("azurefileshare", "AzureFileShare"),
        ("sqldatabase", "SQLDataBase"),
        ("saphanadatabase", "SAPHanaDatabase"),
        ("sapasedatabase", "SAPAseDatabase"),
    ];
    let found = known
        .iter()
        .find(|(prefix, _)| kind.eq_ignore_ascii_case(prefix));
    Some(found.map_or(kind, |(_, name)| name).to_owned())
}
