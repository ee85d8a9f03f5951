//! What is asked: an operation of the catalogue, or the poll of one in custody.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use hyper::body::Incoming;
use vaultgate_arm::json::Document;
use vaultgate_arm::{Class, Classified, ReasonCode, Refused, Resource, Restore, Settled};
use vaultgate_pdp::Principal;

use super::Pipeline;
use super::arrival::Arrival;
use super::trail::{AskedNote, Trail};
use crate::custody::{self, Handle, HandleError};
use crate::facts::{Before, Wanted};
use crate::permit::UpstreamRequest;
use crate::refusal::{Refusal, Verdict};
use crate::upstream;

/// A request that is understood.
pub(super) struct Asked {
    /// RBAC action.
    pub(super) name: String,
    /// REST operation id.
    pub(super) operation: String,
    /// Worst class that it may turn out to have.
    pub(super) class: Class,
    /// HTTP method.
    pub(super) method: Method,
    /// Api-version; empty for polls.
    pub(super) api_version: String,
    /// The resource.
    pub(super) resource: Resource,
    /// Path and query as they are sent.
    pub(super) target: String,
    /// The body as it is judged and sent.
    pub(super) body: Option<Document>,
    /// Members of the body that are not known.
    pub(super) body_unknown: Vec<String>,
    /// Members of the body that hold secrets.
    pub(super) secrets: Vec<String>,
    /// The restore that is asked for.
    pub(super) restore: Option<Restore>,
    /// The operation in custody whose poll this is.
    pub(super) poll: Option<Handle>,
    classified: Option<Classified>,
}

impl Asked {
    pub(super) fn of(classified: Classified) -> Asked {
        let method = match classified.operation.method {
            vaultgate_arm::Method::Delete => Method::DELETE,
            vaultgate_arm::Method::Get => Method::GET,
            vaultgate_arm::Method::Patch => Method::PATCH,
            vaultgate_arm::Method::Post => Method::POST,
            vaultgate_arm::Method::Put => Method::PUT,
        };
        Asked {
            name: classified.operation.name.to_owned(),
            operation: classified.operation.id.to_owned(),
            class: classified.class,
            method,
            api_version: classified.api_version.clone(),
            resource: classified.resource.clone(),
            target: classified.target.path_and_query(),
            body: classified.body.clone(),
            body_unknown: classified.body_unknown.clone(),
            secrets: classified.secrets.clone(),
            restore: classified.restore.clone(),
            poll: None,
            classified: Some(classified),
        }
    }

    /// A poll: its URL is signed by Azure and sent as it was given.
    fn poll(handle: Handle) -> Asked {
        let resource = Resource {
            id: handle.resource.clone(),
            vault: handle.vault.clone(),
            subscription: segment(&handle.resource, "subscriptions"),
            resource_group: segment(&handle.resource, "resourcegroups"),
            vault_name: handle
                .vault
                .as_deref()
                .and_then(|id| id.rsplit('/').next())
                .map(str::to_owned),
            kind: "operations".into(),
            ..Resource::default()
        };
        Asked {
            name: format!("Vaultgate/operations/{}/read", handle.operation),
            operation: handle.operation.clone(),
            class: if handle.discloses {
                Class::Disclose
            } else {
                Class::Read
            },
            method: Method::GET,
            api_version: String::new(),
            resource,
            target: handle.target.clone(),
            body: None,
            body_unknown: Vec::new(),
            secrets: Vec::new(),
            restore: None,
            poll: Some(handle),
            classified: None,
        }
    }

    /// Whether it may change anything at Azure.
    pub(super) fn changes(&self) -> bool {
        self.method != Method::GET && !matches!(self.class, Class::Read | Class::Validate)
    }

    /// Class and delta, once the state before is known.
    pub(super) fn settle(&self, before: &Before) -> Settled {
        let unsettled = || Settled {
            class: self.class,
            delta: serde_json::json!({}),
        };
        let Some(classified) = &self.classified else {
            return unsettled();
        };
        let before = match before {
            Before::Absent => vaultgate_arm::Before::Absent,
            Before::Present(document) => vaultgate_arm::Before::Present(document.clone()),
            Before::Unavailable => vaultgate_arm::Before::Unavailable,
            Before::NotAsked => return unsettled(),
        };
        classified.settle(&before)
    }

    /// What must be known of Azure before it is judged.
    pub(super) fn wanted(&self) -> Wanted<'_> {
        let fresh = self.class.needs_facts() && self.poll.is_none();
        let target = self.target.split('?').next().unwrap_or_default();
        let needs_before = self
            .classified
            .as_ref()
            .is_some_and(Classified::needs_before);
        let points = matches!(self.class, Class::Restore | Class::Delete | Class::Weaken);
        Wanted {
            vault: self.resource.vault.as_deref(),
            before: needs_before.then_some((target, self.api_version.as_str())),
            item: self.resource.item.as_deref().filter(|_| points),
            staging: self
                .restore
                .as_ref()
                .and_then(|restore| restore.target.storage_account.as_deref()),
            fresh,
            for_restore: self.class == Class::Restore,
        }
    }

    /// What the resource's state is made of, as JSON pointers into it.
    pub(super) fn state_members(&self) -> &'static [&'static str] {
        self.classified
            .as_ref()
            .map_or(&[], |classified| classified.operation.state_members())
    }

    /// Names of members that hold secrets in what Azure answers here.
    pub(super) fn answer_secrets(&self) -> &std::collections::BTreeSet<String> {
        static NONE: std::collections::BTreeSet<String> = std::collections::BTreeSet::new();
        self.classified
            .as_ref()
            .map_or(&NONE, |classified| &classified.operation.secrets)
    }

    /// The request as Azure will see it.
    pub(super) fn upstream_request(
        &self,
        arrival: &Arrival,
        etag: Option<&str>,
    ) -> UpstreamRequest {
        let mut headers: HeaderMap = upstream::to_upstream(&arrival.headers);
        let conditional = matches!(self.method, Method::PUT | Method::PATCH | Method::DELETE);
        // What was judged is what is changed: a state that moved on is a 412.
        if let Some(etag) = etag.filter(|_| conditional && !headers.contains_key("if-match"))
            && let Ok(value) = HeaderValue::from_str(etag)
        {
            headers.insert("if-match", value);
        }
        // The one header that turns a create into an undelete, and is judged as one.
        if self.class == Class::Undelete
            && let Some(value) = arrival.headers.get("x-ms-deleted-vault-id")
        {
            headers.insert("x-ms-deleted-vault-id", value.clone());
        }
        UpstreamRequest {
            method: self.method.clone(),
            path_and_query: self.target.clone(),
            body: self
                .body
                .as_ref()
                .map(|body| Bytes::from(body.canonical_bytes())),
            headers,
        }
    }

    pub(super) fn note(&self) -> AskedNote {
        AskedNote {
            name: self.name.clone(),
            class: self.class.as_str(),
            resource: self.resource.id.clone(),
        }
    }
}

fn segment(id: &str, name: &str) -> Option<String> {
    let mut segments = id.split('/');
    segments.find(|segment| segment.eq_ignore_ascii_case(name))?;
    segments.next().map(str::to_owned)
}

impl From<Refused> for Box<Refusal> {
    fn from(refused: Refused) -> Box<Refusal> {
        let status = http::StatusCode::from_u16(refused.reason.status());
        let mut refusal = Refusal::new(
            refused.reason.code(),
            status.unwrap_or(http::StatusCode::BAD_REQUEST),
            Verdict::Deny,
            refused.message,
        );
        refusal.hint = refused.hint;
        // Whatever was announced as a body is not to be read as the next request.
        refusal.close = refused.reason == ReasonCode::BodyUnexpected;
        Box::new(refusal)
    }
}

impl Pipeline {
    /// Understands head and body. The body is read only once the head is known.
    pub(super) async fn understand(
        &self,
        arrival: &Arrival,
        caller: &Arc<Principal>,
        body: Incoming,
        trail: &mut Trail,
    ) -> Result<Asked, Box<Refusal>> {
        let asked = match custody::polled(arrival.path()) {
            Some(sealed) => self.poll(arrival, caller, sealed)?,
            None => {
                let route = vaultgate_arm::route(arrival.method.as_str(), &arrival.target)
                    .inspect_err(|refused| trail.blocked = refused.operation)?;
                let listener = &self.config.listener;
                let body =
                    super::body::read(body, listener.max_body, listener.body_idle_timeout).await?;
                Asked::of(self.classify(route, arrival, &body)?)
            }
        };
        trail.asked = Some(asked.note());
        Ok(asked)
    }

    pub(super) fn classify(
        &self,
        route: vaultgate_arm::Route,
        arrival: &Arrival,
        body: &[u8],
    ) -> Result<Classified, Refused> {
        let headers: Vec<(&str, &str)> = arrival
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap_or("\u{fffd}")))
            .collect();
        route.classify(&headers, body, &self.config.gateway.extra_api_versions)
    }

    /// Opens a handle: only who started the operation may poll it.
    fn poll(
        &self,
        arrival: &Arrival,
        caller: &Principal,
        sealed: &str,
    ) -> Result<Asked, Box<Refusal>> {
        let refuse = |reason, status, message: String| {
            Box::new(Refusal::new(reason, status, Verdict::Deny, message))
        };
        if arrival.method != Method::GET {
            let message = "an operation handle is polled with GET".to_owned();
            let status = http::StatusCode::METHOD_NOT_ALLOWED;
            return Err(refuse("method-unknown", status, message));
        }
        let handle = self
            .custody
            .unseal(sealed, self.clock.latest())
            .map_err(|error| {
                let (reason, status) = match error {
                    HandleError::Unknown => ("handle-unknown", http::StatusCode::NOT_FOUND),
                    HandleError::Expired(_) => ("handle-expired", http::StatusCode::GONE),
                };
                refuse(reason, status, error.to_string())
            })?;
        if handle.principal != crate::digest::sha256_hex(caller.key().as_bytes()) {
            let message = "this operation was started by somebody else".to_owned();
            let status = http::StatusCode::FORBIDDEN;
            return Err(refuse("handle-foreign", status, message));
        }
        Ok(Asked::poll(handle))
    }
}
