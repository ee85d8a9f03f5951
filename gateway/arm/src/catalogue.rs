//! The catalogue: every operation that is understood, one row each.
//!
//! What is not in here is refused. Fixed segments are matched without ASCII case,
//! as ARM does, and never by Unicode folding.

mod arm;
mod data_protection;
mod recovery_services;
mod state;
mod versions;

use std::collections::{BTreeSet, HashMap};
use std::sync::LazyLock;

use serde::Serialize;

use crate::refused::{ReasonCode, Refused};
use crate::schema;

pub(crate) use versions::{is_listed, is_well_formed};

/// An HTTP method that operations have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// DELETE.
    Delete,
    /// GET.
    Get,
    /// PATCH.
    Patch,
    /// POST.
    Post,
    /// PUT.
    Put,
}

impl Method {
    /// The method as HTTP spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Delete => "DELETE",
            Method::Get => "GET",
            Method::Patch => "PATCH",
            Method::Post => "POST",
            Method::Put => "PUT",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Method> {
        match text {
            "DELETE" => Some(Method::Delete),
            "GET" => Some(Method::Get),
            "PATCH" => Some(Method::Patch),
            "POST" => Some(Method::Post),
            "PUT" => Some(Method::Put),
            _ => None,
        }
    }
}

/// How the class of an operation follows: fixed, or from body and prior state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Rule {
    /// Always `read`.
    Read,
    /// Always `validate`.
    Validate,
    /// Always `snapshot`.
    Snapshot,
    /// Always `restore`.
    Restore,
    /// Always `protect`.
    Protect,
    /// Always `weaken`.
    Weaken,
    /// Always `delete`.
    Delete,
    /// Always `undelete`.
    Undelete,
    /// Always `configure`.
    Configure,
    /// Always `guard`.
    Guard,
    /// Always `cancel`.
    Cancel,
    /// Always `disclose`.
    Disclose,
    /// Always `move`.
    Move,
    /// A protected item: protect, change, stop or undelete.
    ProtectedItem,
    /// A backup instance: protect, or another policy.
    BackupInstance,
    /// A backup policy: retention and schedule are compared.
    BackupPolicy,
    /// A vault: immutability, soft delete, redundancy, encryption.
    Vault,
    /// A vault's soft delete.
    VaultConfig,
    /// A vault's redundancy.
    StorageConfig,
    /// The link between a vault and its resource guard.
    GuardProxy,
    /// Malware scan of a source.
    SourceScan,
    /// Understood and never forwarded.
    Blocked,
}

/// One operation, as its table writes it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    id: &'static str,
    name: &'static str,
    method: Method,
    template: &'static str,
    rule: Rule,
    body: Option<&'static str>,
}

const fn row(
    id: &'static str,
    name: &'static str,
    method: Method,
    template: &'static str,
    rule: Rule,
    body: Option<&'static str>,
) -> Row {
    Row {
        id,
        name,
        method,
        template,
        rule,
        body,
    }
}

/// Shorthands of the tables' templates.
const PREFIXES: [(&str, &str); 4] = [
    (
        "{RSV}",
        "/subscriptions/{subscription}/resourceGroups/{resourceGroup}/providers/Microsoft.RecoveryServices/vaults/{vault}",
    ),
    (
        "{DPV}",
        "/subscriptions/{subscription}/resourceGroups/{resourceGroup}/providers/Microsoft.DataProtection/backupVaults/{vault}",
    ),
    (
        "{ITEM}",
        "/backupFabrics/{fabric}/protectionContainers/{container}/protectedItems/{item}",
    ),
    ("{subscriptionId}", "{subscription}"),
];

/// A segment of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    /// Matched without ASCII case; this is its canonical spelling.
    Fixed(String),
    /// A name, with the name of the parameter.
    Name(String),
}

/// An operation of the catalogue.
#[derive(Clone, Debug)]
pub struct OperationSpec {
    /// REST operation id, such as `ProtectedItems_Delete`.
    pub id: &'static str,
    /// RBAC action, such as `Microsoft.RecoveryServices/vaults/backupJobs/read`.
    pub name: &'static str,
    /// HTTP method.
    pub method: Method,
    /// How its class follows.
    pub rule: Rule,
    /// Template of its path.
    pub template: String,
    /// Model of its body, if it takes one.
    pub body: Option<&'static str>,
    /// Names of members that hold secrets in what is written to its path, and so in
    /// what Azure answers there.
    pub secrets: BTreeSet<String>,
    pub(crate) segments: Vec<Segment>,
}

struct Catalogue {
    specs: Vec<OperationSpec>,
    /// By method and number of segments; those with the most fixed segments first.
    shelves: HashMap<(Method, usize), Vec<usize>>,
}

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| {
    let rows = recovery_services::ROWS
        .iter()
        .chain(&data_protection::ROWS)
        .chain(&arm::ROWS);
    let mut specs: Vec<OperationSpec> = rows.map(OperationSpec::of).collect();
    // By path: what is written with one method is read with another.
    let mut written: HashMap<String, BTreeSet<String>> = HashMap::new();
    for spec in &specs {
        let names = spec.body.map(schema::secret_names).unwrap_or_default();
        written
            .entry(spec.template.clone())
            .or_default()
            .extend(names);
    }
    for spec in &mut specs {
        spec.secrets = written.get(&spec.template).cloned().unwrap_or_default();
    }
    let mut shelves: HashMap<(Method, usize), Vec<usize>> = HashMap::new();
    for (place, spec) in specs.iter().enumerate() {
        let key = (spec.method, spec.segments.len());
        shelves.entry(key).or_default().push(place);
    }
    for shelf in shelves.values_mut() {
        shelf.sort_by_key(|place| specs.get(*place).map_or(0, OperationSpec::fixed));
        shelf.reverse();
    }
    Catalogue { specs, shelves }
});

impl OperationSpec {
    fn of(row: &Row) -> OperationSpec {
        let mut template = row.template.to_owned();
        for (short, long) in PREFIXES {
            template = template.replace(short, long);
        }
        let segments = template.trim_start_matches('/').split('/').map(|segment| {
            let name = segment.strip_prefix('{').and_then(|s| s.strip_suffix('}'));
            match name {
                Some(name) => Segment::Name(name.to_owned()),
                None => Segment::Fixed(segment.to_owned()),
            }
        });
        OperationSpec {
            id: row.id,
            name: row.name,
            method: row.method,
            rule: row.rule,
            segments: segments.collect(),
            template,
            body: row.body,
            secrets: BTreeSet::new(),
        }
    }

    /// Whether the path is one of this operation's.
    fn matches(&self, path: &[String]) -> bool {
        self.segments
            .iter()
            .zip(path)
            .all(|(own, given)| match own {
                Segment::Fixed(fixed) => fixed.eq_ignore_ascii_case(given),
                Segment::Name(_) => true,
            })
    }

    /// Fixed segments of the template: the more, the better it fits.
    fn fixed(&self) -> usize {
        let fixed = |segment: &&Segment| matches!(segment, Segment::Fixed(_));
        self.segments.iter().filter(fixed).count()
    }

    /// The path in canonical spelling: names as given, fixed segments as documented.
    pub(crate) fn canonical<'p>(&'p self, path: &'p [String]) -> Vec<&'p str> {
        let pairs = self.segments.iter().zip(path);
        pairs
            .map(|(own, given)| match own {
                Segment::Fixed(fixed) => fixed.as_str(),
                Segment::Name(_) => given.as_str(),
            })
            .collect()
    }

    /// JSON pointers of what the resource's state is made of, as far as a change rests on it.
    /// Times, health and whatever else moves by itself are not in it.
    pub fn state_members(&self) -> &'static [&'static str] {
        let mut fixed = self
            .segments
            .iter()
            .rev()
            .filter_map(|segment| match segment {
                Segment::Fixed(name) => Some(name.as_str()),
                Segment::Name(_) => None,
            });
        state::members(fixed.next().unwrap_or_default())
    }

    /// The name given for a parameter.
    pub(crate) fn capture<'p>(&self, parameter: &str, path: &'p [String]) -> Option<&'p str> {
        let place = self
            .segments
            .iter()
            .position(|segment| matches!(segment, Segment::Name(name) if name == parameter))?;
        path.get(place).map(String::as_str)
    }
}

/// The operation that a method and path name.
pub(crate) fn find(method: Method, path: &[String]) -> Result<&'static OperationSpec, Refused> {
    let shelf = CATALOGUE.shelves.get(&(method, path.len()));
    let found = shelf
        .into_iter()
        .flatten()
        .filter_map(|place| CATALOGUE.specs.get(*place))
        .find(|spec| spec.matches(path));
    match found {
        Some(spec) if spec.rule == Rule::Blocked => Err(Refused::new(
            ReasonCode::OperationBlocked,
            format!(
                "`{}` is never forwarded: it can undo backups from outside",
                spec.name
            ),
        )
        .of(spec.name)),
        Some(spec) => Ok(spec),
        None => Err(unknown(method, path)),
    }
}

fn unknown(method: Method, path: &[String]) -> Refused {
    let fixed = |segment: &String| {
        segment
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.;~ ".contains(&b))
    };
    // Brackets and the like stand in no fixed segment and in few names.
    if !path
        .iter()
        .all(|segment| fixed(segment) || !segment.contains(['(', ')']))
    {
        return Refused::new(
            ReasonCode::TargetAmbiguous,
            "the path holds a segment that some servers read as something else",
        );
    }
    Refused::new(
        ReasonCode::OperationUnknown,
        format!(
            "{} on this path is no operation of the catalogue",
            method.as_str()
        ),
    )
    .hint("only operations that are understood are forwarded")
}

/// Every operation of the catalogue.
pub fn operations() -> impl Iterator<Item = &'static OperationSpec> {
    CATALOGUE.specs.iter()
}

/// An operation by its RBAC action.
pub fn by_name(name: &str) -> Option<&'static OperationSpec> {
    operations().find(|spec| spec.name.eq_ignore_ascii_case(name) && spec.rule != Rule::Blocked)
}

/// RBAC actions that the operator identity needs: everything that can be forwarded.
pub fn operator_actions() -> Vec<&'static str> {
    operations()
        .filter(|spec| spec.rule != Rule::Blocked)
        .map(|spec| spec.name)
        .filter(|name| name.contains('/'))
        .collect()
}

/// RBAC actions that the reader identity needs: the gateway's own reads.
pub fn reader_actions() -> Vec<&'static str> {
    operations()
        .filter(|spec| spec.method == Method::Get && spec.rule == Rule::Read)
        .map(|spec| spec.name)
        .filter(|name| name.ends_with("/read"))
        .collect()
}

/// The catalogue as JSON lines: kept beside the log by its digest, so that a
/// record can be replayed with the catalogue of its day.
pub fn rendered() -> String {
    let mut text = String::new();
    for spec in operations() {
        let line = serde_json::json!({
            "id": spec.id, "name": spec.name, "method": spec.method,
            "template": spec.template, "rule": spec.rule, "body": spec.body,
        });
        text.push_str(&line.to_string());
        text.push('\n');
    }
    text
}
