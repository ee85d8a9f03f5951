//! From a raw request to what it asks: one parse, then headers and body.

use crate::catalogue::{self, Method, OperationSpec, Rule};
use crate::class::Class;
use crate::json::{Document, Value};
use crate::refused::{ReasonCode, Refused};
use crate::resource::Resource;
use crate::restore::{Restore, canonical_id};
use crate::schema;
use crate::target::{Decoded, Target, decode};

/// A matched request head.
#[derive(Debug)]
pub struct Route {
    /// The operation.
    pub operation: &'static OperationSpec,
    /// The canonical target.
    pub target: Target,
    /// Api-version of the query; none only for tenant-wide polls.
    pub api_version: String,
    /// The resource, named from the path.
    pub resource: Resource,
}

/// Headers that bear on the meaning of a request: names in lower case.
pub type Headers<'h> = [(&'h str, &'h str)];

/// A request that is understood.
#[derive(Clone, Debug)]
pub struct Classified {
    /// The operation.
    pub operation: &'static OperationSpec,
    /// The worst class that it can have before the state is known.
    pub class: Class,
    /// The canonical target.
    pub target: Target,
    /// Api-version.
    pub api_version: String,
    /// The resource; from the body where only the body names it.
    pub resource: Resource,
    /// The body as it is judged and sent.
    pub body: Option<Document>,
    /// JSON pointers of members that the catalogue does not know.
    pub body_unknown: Vec<String>,
    /// JSON pointers of members that hold secrets.
    pub secrets: Vec<String>,
    /// The restore that is asked for.
    pub restore: Option<Restore>,
}

/// Matches a raw request target against the catalogue.
pub fn route(method: &str, target: &str) -> Result<Route, Refused> {
    let known = Method::parse(method).ok_or_else(|| {
        Refused::new(
            ReasonCode::MethodUnknown,
            "ARM operations have no such method",
        )
        .hint("use GET, PUT, POST, PATCH or DELETE")
    })?;
    let decoded = decode(target, known == Method::Get)?;
    let operation = catalogue::find(known, &decoded.segments)?;
    let api_version = api_version(&decoded)?;
    Ok(Route {
        operation,
        target: Target::of(&operation.canonical(&decoded.segments), &decoded.query),
        api_version,
        resource: Resource::of(operation, &decoded.segments),
    })
}

fn api_version(decoded: &Decoded) -> Result<String, Refused> {
    let given = decoded.parameter("api-version").unwrap_or_default();
    if catalogue::is_well_formed(given) {
        return Ok(given.to_owned());
    }
    let given = given.escape_debug();
    let message = format!("`{given}` is not an api-version");
    Err(Refused::new(ReasonCode::ApiVersionMalformed, message)
        .hint("add `api-version=2026-08-01` or another date to the query"))
}

impl Route {
    /// Whether the operation has a body to be read.
    pub fn takes_body(&self) -> bool {
        matches!(
            self.operation.method,
            Method::Put | Method::Post | Method::Patch
        )
    }

    /// Understands headers and body. `extra_versions` are api-versions that the
    /// configuration lists for changes.
    pub fn classify(
        self,
        headers: &Headers<'_>,
        body: &[u8],
        extra_versions: &[String],
    ) -> Result<Classified, Refused> {
        let changes = self.operation.method != Method::Get;
        if changes
            && !catalogue::is_listed(&self.api_version)
            && !extra_versions.contains(&self.api_version)
        {
            let message = format!(
                "api-version `{}` is not listed for changes",
                self.api_version
            );
            return Err(Refused::new(ReasonCode::ApiVersionUnlisted, message)
                .hint("use a listed version, or add it to `gateway.extra_api_versions`"));
        }
        if changes {
            check_headers(headers, self.operation)?;
        }
        let mut document = self.read_body(headers, body)?;
        let mut findings = schema::Findings::default();
        if let Some(document) = &mut document {
            if let Some(model) = self.operation.body {
                findings = schema::check(document.root(), model)?;
            } else if document.root() != &Value::Object(Vec::new()) {
                findings.unknown.push(String::new());
            }
            canonicalise(document.root_mut());
            contradictions(document.root(), &self)?;
        }
        let class = first_class(
            self.operation.rule,
            document.as_ref(),
            headers,
            &findings.unknown,
        );
        let cross_region = self.operation.id.contains("CrossRegion");
        let resource = match (&document, cross_region) {
            (Some(document), true) => vault_in(document.root()).unwrap_or(self.resource),
            _ => self.resource,
        };
        let restore = match (&document, class) {
            (Some(document), Class::Restore) => {
                Restore::of(document.root(), &resource, cross_region)
            }
            _ => None,
        };
        Ok(Classified {
            operation: self.operation,
            class,
            target: self.target,
            api_version: self.api_version,
            resource,
            body: document,
            body_unknown: findings.unknown,
            secrets: findings.secrets,
            restore,
        })
    }

    fn read_body(&self, headers: &Headers<'_>, body: &[u8]) -> Result<Option<Document>, Refused> {
        if body.is_empty() {
            let needs = self.operation.body.is_some()
                && matches!(self.operation.method, Method::Put | Method::Patch);
            if needs {
                return Err(Refused::new(
                    ReasonCode::BodyMissing,
                    "this operation needs a body",
                ));
            }
            return Ok(None);
        }
        if !self.takes_body() {
            let message = format!("{} has no body", self.operation.method.as_str());
            return Err(Refused::new(ReasonCode::BodyUnexpected, message));
        }
        media_type(headers)?;
        let document = Document::parse(body).map_err(|error| {
            Refused::new(
                ReasonCode::BodyMalformed,
                format!("the body is not strict JSON: {error}"),
            )
        })?;
        if !matches!(document.root(), Value::Object(_)) {
            return Err(Refused::new(
                ReasonCode::BodyMalformed,
                "the body is not an object",
            ));
        }
        Ok(Some(document))
    }
}

fn media_type(headers: &Headers<'_>) -> Result<(), Refused> {
    let wrong = |what: &str| Refused::new(ReasonCode::BodyMediaType, what);
    let all = |name: &str| {
        headers
            .iter()
            .filter(|(n, _)| *n == name)
            .map(|(_, v)| *v)
            .collect::<Vec<_>>()
    };
    if all("content-encoding")
        .iter()
        .any(|coding| !coding.eq_ignore_ascii_case("identity"))
    {
        return Err(wrong("a body is taken without a content coding only"));
    }
    let types = all("content-type");
    let [only] = types.as_slice() else {
        return Err(wrong("a body needs one `Content-Type: application/json`"));
    };
    let (media, parameter) = only.split_once(';').unwrap_or((only, ""));
    let parameter = parameter
        .trim()
        .replace(['"', ' '], "")
        .to_ascii_lowercase();
    let json = media.trim().eq_ignore_ascii_case("application/json");
    match parameter.as_str() {
        _ if !json => Err(wrong("a body is taken as `application/json` only")),
        "" | "charset=utf-8" => Ok(()),
        _ => Err(Refused::new(
            ReasonCode::BodyMalformed,
            "a body is taken in UTF-8 only",
        )),
    }
}

/// Headers that ARM or a provider may read. What is not listed is refused on a
/// change, never silently dropped: `x-ms-deleted-vault-id` turns a create into an
/// undelete, so any header may turn anything into something.
const HARMLESS: [&str; 10] = [
    "x-ms-client-request-id",
    "x-ms-correlation-request-id",
    "x-ms-return-client-request-id",
    "x-ms-date",
    "x-ms-useragent",
    "x-ms-version",
    "x-ms-original-request-ids",
    "x-ms-arm-service-request-id",
    "if-match",
    "if-none-match",
];

fn check_headers(headers: &Headers<'_>, operation: &OperationSpec) -> Result<(), Refused> {
    for (name, _) in headers {
        let bears = name.starts_with("x-ms-") || name.starts_with("if-");
        if !bears || HARMLESS.contains(name) {
            continue;
        }
        if *name == "x-ms-deleted-vault-id" && operation.rule == Rule::Vault {
            continue;
        }
        let hint = match *name {
            "x-ms-authorization-auxiliary" => {
                "multi-user authorization tokens of callers are not forwarded in this release"
            }
            _ => "send the request without it",
        };
        let message = format!("the header `{name}` may change what this request means");
        return Err(Refused::new(ReasonCode::HeaderUnknown, message).hint(hint));
    }
    Ok(())
}

/// Rewrites the one id that clients write with an empty segment.
fn canonicalise(value: &mut Value) {
    match value {
        Value::Object(members) => members.iter_mut().for_each(|(name, value)| match value {
            Value::String(text) if name == "storageAccountId" => *text = canonical_id(text),
            _ => canonicalise(value),
        }),
        Value::Array(elements) => elements.iter_mut().for_each(canonicalise),
        _ => {}
    }
}

/// Ids in the body that contradict the target, or that could be read in two ways.
fn contradictions(body: &Value, route: &Route) -> Result<(), Refused> {
    let contradiction = |member: &str, given: &str| {
        let given = given.escape_debug();
        let message = format!("the body's `{member}` `{given}` contradicts the request target");
        Refused::new(ReasonCode::BodyContradiction, message)
    };
    ids(body)?;
    let vault = route.resource.vault.as_deref();
    if let Some(id) = body.member("id").and_then(Value::as_str)
        && !id.eq_ignore_ascii_case(&route.resource.id)
    {
        return Err(contradiction("id", id));
    }
    for path in [
        &["properties", "policyId"][..],
        &["properties", "vaultId"],
        &["resourceToBeDeleted"],
    ] {
        let given = body.at(path).and_then(Value::as_str).unwrap_or_default();
        let own = Resource::of_vault_id(given).and_then(|resource| resource.vault);
        if let (Some(own), Some(vault)) = (own, vault)
            && !own.eq_ignore_ascii_case(vault)
        {
            return Err(contradiction(path.last().unwrap_or(&"id"), given));
        }
    }
    let point = body
        .at(&["properties", "recoveryPointId"])
        .and_then(Value::as_str);
    if let (Some(given), Some(own)) = (point, &route.resource.recovery_point) {
        let last = given.rsplit('/').next().unwrap_or(given);
        if !last.eq_ignore_ascii_case(own) {
            return Err(contradiction("recoveryPointId", given));
        }
    }
    Ok(())
}

/// Every ARM id in a body is read as strictly as a path.
fn ids(value: &Value) -> Result<(), Refused> {
    match value {
        Value::String(text) if text.to_ascii_lowercase().starts_with("/subscriptions/") => {
            let odd = |segment: &str| {
                matches!(segment, "." | "..")
                    || segment.contains(['%', '\\', '?', '#'])
                    || segment.chars().any(char::is_control)
            };
            let segments = text.strip_prefix('/').unwrap_or(text);
            if segments
                .trim_end_matches('/')
                .split('/')
                .any(|s| odd(s) || s.is_empty())
            {
                let message = format!(
                    "the body's id `{}` could be read in two ways",
                    text.escape_debug()
                );
                return Err(Refused::new(ReasonCode::BodyContradiction, message));
            }
            Ok(())
        }
        Value::Array(elements) => elements.iter().try_for_each(ids),
        Value::Object(members) => members.iter().try_for_each(|(_, value)| ids(value)),
        _ => Ok(()),
    }
}

/// The vault that only the body names.
fn vault_in(body: &Value) -> Option<Resource> {
    let details = body.member("crossRegionRestoreAccessDetails");
    let crr = details
        .and_then(|d| d.member("resourceId"))
        .and_then(Value::as_str);
    let container = details
        .and_then(|d| d.member("protectionContainerId"))
        .and_then(Value::as_str);
    let dp = body
        .at(&["crossRegionRestoreDetails", "sourceBackupInstanceId"])
        .and_then(Value::as_str);
    [container, dp, crr]
        .into_iter()
        .flatten()
        .find_map(Resource::of_vault_id)
}

/// The class before the state is known: the worst that it may turn out to have.
fn first_class(
    rule: Rule,
    body: Option<&Document>,
    headers: &Headers<'_>,
    unknown: &[String],
) -> Class {
    let properties = body.and_then(|body| body.root().member("properties"));
    let undeletes = headers
        .iter()
        .any(|(name, _)| *name == "x-ms-deleted-vault-id");
    match rule {
        Rule::Read | Rule::Blocked => Class::Read,
        Rule::Validate => Class::Validate,
        Rule::Snapshot => Class::Snapshot,
        Rule::Restore => Class::Restore,
        Rule::Protect => Class::Protect,
        Rule::Delete => Class::Delete,
        Rule::Undelete => Class::Undelete,
        Rule::Configure => Class::Configure,
        Rule::Guard => Class::Guard,
        Rule::Cancel => Class::Cancel,
        Rule::Disclose => Class::Disclose,
        Rule::Move => Class::Move,
        Rule::Vault if undeletes => Class::Undelete,
        Rule::ProtectedItem if unknown.is_empty() => {
            let flag = properties.and_then(|p| p.member("isRehydrate"));
            match flag.and_then(Value::as_bool) {
                Some(true) => Class::Undelete,
                _ => Class::Weaken,
            }
        }
        Rule::SourceScan if unknown.is_empty() => {
            let body = body.map(Document::canonical_bytes).unwrap_or_default();
            let text = String::from_utf8_lossy(&body).into_owned();
            if text.contains("Enabled") {
                Class::Configure
            } else {
                Class::Weaken
            }
        }
        Rule::Weaken
        | Rule::ProtectedItem
        | Rule::BackupInstance
        | Rule::BackupPolicy
        | Rule::Vault
        | Rule::VaultConfig
        | Rule::StorageConfig
        | Rule::GuardProxy
        | Rule::SourceScan => Class::Weaken,
    }
}
