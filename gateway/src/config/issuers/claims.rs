//! Which claim of a token means what.
//!
//! A claim is named by its member, or by a JSON pointer (`/realm_access/roles`)
//! where it lies deeper. An empty name switches a preset's claim off.

use std::fmt;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::config::Problems;

/// `claims` of an issuer as written; what is left out is the preset's.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ClaimsFile {
    /// Who the caller is at this issuer.
    subject: Option<String>,
    /// The human behind the token, the same at every issuer that asserts it.
    person: Option<String>,
    /// What stands behind the caller; for development, where no rows are kept.
    kind: Option<String>,
    /// Roles, a list of strings.
    roles: Option<String>,
    /// Groups, a list of strings.
    groups: Option<String>,
    /// Scopes: a list, or one string with spaces between.
    scopes: Option<String>,
    /// Tenant.
    tenant: Option<String>,
    /// The client application.
    app: Option<String>,
    /// The flow that the token is for; needs `asserts_flows`.
    flow: Option<String>,
}

/// Which claim means what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claims {
    /// Who the caller is at this issuer.
    pub(crate) subject: ClaimPath,
    /// The human behind the token.
    pub(crate) person: Option<ClaimPath>,
    /// What stands behind the caller.
    pub(crate) kind: Option<ClaimPath>,
    /// Roles.
    pub(crate) roles: Option<ClaimPath>,
    /// Groups.
    pub(crate) groups: Option<ClaimPath>,
    /// Scopes.
    pub(crate) scopes: Option<ClaimPath>,
    /// Tenant.
    pub(crate) tenant: Option<ClaimPath>,
    /// The client application.
    pub(crate) app: Option<ClaimPath>,
    /// The flow that the token is for.
    pub(crate) flow: Option<ClaimPath>,
}

/// Where a claim lies: a member's name, or a JSON pointer that begins with `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClaimPath(String);

impl ClaimPath {
    /// A claim by its name or pointer.
    pub(crate) fn new(path: &str) -> ClaimPath {
        ClaimPath(path.to_owned())
    }

    /// The claim's value, if the token has it.
    pub(crate) fn find<'c>(&self, claims: &'c Map<String, Value>) -> Option<&'c Value> {
        let Some(pointer) = self.0.strip_prefix('/') else {
            return claims.get(&self.0);
        };
        let mut members = pointer
            .split('/')
            .map(|name| name.replace("~1", "/").replace("~0", "~"));
        let first = claims.get(&members.next()?)?;
        members.try_fold(first, |value, name| value.as_object()?.get(&name))
    }

    /// The name as configured.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClaimPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ClaimsFile {
    /// Lays what was written over the preset's claims.
    pub(super) fn check(self, preset: Claims, key: &str, problems: &mut Problems) -> Claims {
        let mut over = |written: Option<String>, preset: Option<ClaimPath>, name: &str| {
            let Some(written) = written else {
                return preset;
            };
            if written.len() > 128 || written.chars().any(char::is_control) {
                problems.add(
                    format!("{key}.{name}"),
                    format!("`{}` is not the name of a claim", written.escape_debug()),
                    "name a member of the token, or write a pointer such as `/realm_access/roles`",
                );
            }
            (!written.is_empty()).then_some(ClaimPath(written))
        };
        Claims {
            subject: over(self.subject, None, "subject").unwrap_or(preset.subject),
            person: over(self.person, preset.person, "person"),
            kind: over(self.kind, preset.kind, "kind"),
            roles: over(self.roles, preset.roles, "roles"),
            groups: over(self.groups, preset.groups, "groups"),
            scopes: over(self.scopes, preset.scopes, "scopes"),
            tenant: over(self.tenant, preset.tenant, "tenant"),
            app: over(self.app, preset.app, "app"),
            flow: over(self.flow, preset.flow, "flow"),
        }
    }
}
