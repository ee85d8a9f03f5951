//! Who asks: the caller as policy sees it, built from a verified token.
//!
//! Holds facts that an issuer asserted and the gateway verified. It never holds
//! the token itself, nor anything that a caller merely says of itself.

use serde::Serialize;

/// What stands behind a principal. Unlisted issuers and apps are `Unknown`,
/// which policy treats as an agent: the least trusted kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PrincipalKind {
    /// A person who signed in.
    Human,
    /// A service or script with an identity of its own.
    Workload,
    /// An AI agent.
    Agent,
    /// A scheduled flow of the orchestrator.
    Flow,
    /// Nothing in the configuration says what this is.
    Unknown,
}

/// How the token is bound to its bearer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Binding {
    /// A plain bearer token: whoever holds it may use it.
    None,
    /// Bound to a client certificate (RFC 8705).
    Mtls,
    /// Bound to a proof-of-possession key (RFC 9449).
    Dpop,
}

/// One link of a delegation chain (`act`, RFC 8693), nearest actor first.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Actor {
    /// Issuer that vouches for the actor.
    pub issuer: String,
    /// The actor's subject at that issuer.
    pub subject: String,
}

/// The caller of one request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Principal {
    /// Issuer of the token, as configured.
    pub issuer: String,
    /// Subject at that issuer. Equal subjects of two issuers are two principals.
    pub subject: String,
    /// Stable identity of the human behind the token, if the issuer asserts one.
    pub person: Option<String>,
    /// What stands behind the principal.
    pub kind: PrincipalKind,
    /// Tenant, where the issuer has tenants.
    pub tenant: Option<String>,
    /// The client application that obtained the token.
    pub app: Option<String>,
    /// Roles asserted by the issuer.
    pub roles: Vec<String>,
    /// Groups asserted by the issuer.
    pub groups: Vec<String>,
    /// Scopes the token was granted.
    pub scopes: Vec<String>,
    /// Authentication context class (`acr`), if asserted.
    pub acr: Option<String>,
    /// When the person authenticated (RFC 3339), if asserted.
    pub auth_time: Option<String>,
    /// Who acts for the subject, nearest first.
    pub actors: Vec<Actor>,
    /// How the token is bound to its bearer.
    pub bound: Binding,
    /// The flow that this token names, if its issuer may assert flows.
    #[serde(skip)]
    pub flow: Option<String>,
}

impl Principal {
    /// The key under which limits and counters are kept: issuer and subject,
    /// separated by a character that neither can contain.
    pub fn key(&self) -> String {
        format!("{}\u{0}{}", self.issuer, self.subject)
    }
}
