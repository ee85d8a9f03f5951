//! The exact request that an approval is for, and the digest that binds it.
//!
//! Bound are: who asks and through whom, method, target, the headers that are sent, the
//! body, the state of the resource, and until when. The body itself is kept sealed, since
//! it may hold secrets; only the gateway can run it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;
use vaultgate_pdp::{Actor, Principal};

use super::Headers;
use super::shown::Shown;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Requester {
    /// Issuer of the token.
    pub(crate) issuer: String,
    /// Subject at that issuer.
    pub(crate) subject: String,
    /// The person behind it, where the issuer says so.
    pub(crate) person: Option<String>,
    /// `human`, `workload`, `agent`, `flow` or `unknown`.
    pub(crate) kind: Value,
    /// The client application.
    pub(crate) app: Option<String>,
    /// Who acts for the subject, nearest first.
    pub(crate) actors: Vec<Link>,
}

/// One link of the chain of those who act.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Link {
    /// Issuer that vouches for it.
    pub(crate) issuer: String,
    /// Its subject there.
    pub(crate) subject: String,
}

/// A request that waits for approval.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct BoundRequest {
    /// Who asks.
    pub(crate) requester: Requester,
    /// HTTP method.
    pub(crate) method: String,
    /// Canonical path and query, api-version included.
    pub(crate) target: String,
    /// Headers that decide what the request does.
    pub(crate) headers: Headers,
    /// Hex SHA-256 of the body with its members in order; of nothing without one.
    pub(crate) body_sha256: String,
    /// The body as it will be sent, sealed; none without one.
    pub(crate) sealed_body: Option<String>,
    /// The resource's state, as far as the change rests on it.
    pub(crate) state: Value,
    /// RBAC action.
    pub(crate) operation: String,
    /// Class of the operation.
    pub(crate) class: String,
    /// ARM id of the resource.
    pub(crate) resource: String,
    /// Digest and revision of the bundle that asked for approval.
    pub(crate) asked_under: (String, String),
    /// The decision that asked for it.
    pub(crate) decision: Uuid,
    /// What approvers see.
    pub(crate) shown: Shown,
}

/// What the digest is of, in this order and nothing else.
#[derive(Serialize)]
struct Bound<'b> {
    schema: &'static str,
    issuer: &'b str,
    subject: &'b str,
    actors: &'b [Link],
    method: &'b str,
    target: &'b str,
    headers: &'b Headers,
    body_sha256: &'b str,
    state: Option<&'b Value>,
    expires: Option<String>,
}

impl Requester {
    /// The caller as an approval names it.
    pub(crate) fn of(caller: &Principal) -> Requester {
        let link = |actor: &Actor| Link {
            issuer: actor.issuer.clone(),
            subject: actor.subject.clone(),
        };
        Requester {
            issuer: caller.issuer.clone(),
            subject: caller.subject.clone(),
            person: caller.person.clone(),
            kind: serde_json::to_value(caller.kind).unwrap_or_default(),
            app: caller.app.clone(),
            actors: caller.actors.iter().map(link).collect(),
        }
    }

    /// Whether this is the very principal.
    pub(crate) fn is(&self, caller: &Principal) -> bool {
        self.issuer == caller.issuer && self.subject == caller.subject
    }
}

impl BoundRequest {
    /// The digest that an approval until `expires` is bound by.
    pub(crate) fn digest(&self, expires: Timestamp) -> String {
        self.hash(Some(&self.state), Some(expires.to_string()))
    }

    /// The digest of the request alone: the same whenever it is sent, whatever the state.
    pub(crate) fn request_digest(&self) -> String {
        self.hash(None, None)
    }

    fn hash(&self, state: Option<&Value>, expires: Option<String>) -> String {
        let bound = Bound {
            schema: "vaultgate.approval/1",
            issuer: &self.requester.issuer,
            subject: &self.requester.subject,
            actors: &self.requester.actors,
            method: &self.method,
            target: &self.target,
            headers: &self.headers,
            body_sha256: &self.body_sha256,
            state,
            expires,
        };
        // Text keys only, so it cannot fail. If it did, the digest would match nothing.
        let bytes = serde_json::to_vec(&bound).unwrap_or_else(|_| Uuid::now_v7().into());
        crate::digest::sha256(&bytes)
    }
}
