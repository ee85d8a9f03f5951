//! The gateway's own addresses on the data door, beside the ARM paths.
//!
//! Exact routes only: a prefix match would let a path nobody thought of in.
//! What needs no token says nothing that a stranger could not guess.

pub(crate) mod approvals;
pub(crate) mod authzen;
pub(crate) mod metadata;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;
use uuid::Uuid;

use crate::listener::Answer;

/// One of the gateway's own addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// `GET /metadata/endpoints`: what `az cloud register` reads.
    CloudMetadata,
    /// `GET /.well-known/oauth-protected-resource` (RFC 9728).
    ResourceMetadata,
    /// `POST /_vaultgate/v1/preflight`.
    Preflight,
    /// `GET /_vaultgate/v1/whoami`.
    WhoAmI,
    /// `GET /_vaultgate/v1/approvals/{id}`: how an approval stands.
    Approval(Uuid),
    /// `POST /_vaultgate/v1/approvals/{id}/execute`: runs the approved request.
    Execute(Uuid),
    /// `POST /_vaultgate/v1/deletions/{id}/undelete`: takes a deletion back.
    Undelete(Uuid),
    /// `GET /_vaultgate/v1/decisions/{id}/why`: why one was refused.
    Why(Uuid),
    /// `PUT /_vaultgate/v1/runs/{id}`: how a run of a flow stands.
    Run(Uuid),
    /// `POST /access/v1/evaluation` (OpenID AuthZEN).
    Evaluation,
    /// `POST /access/v1/evaluations`.
    Evaluations,
    /// `GET /.well-known/authzen-configuration`.
    AuthzenConfiguration,
}

impl Route {
    /// The own address that a request names, if it names one.
    pub(crate) fn of(method: &Method, path: &str) -> Option<Route> {
        match (method.as_str(), path) {
            ("GET", "/metadata/endpoints") => Some(Route::CloudMetadata),
            ("GET", metadata::RESOURCE_METADATA) => Some(Route::ResourceMetadata),
            ("GET", "/.well-known/authzen-configuration") => Some(Route::AuthzenConfiguration),
            ("POST", "/_vaultgate/v1/preflight") => Some(Route::Preflight),
            ("GET", "/_vaultgate/v1/whoami") => Some(Route::WhoAmI),
            ("POST", "/access/v1/evaluation") => Some(Route::Evaluation),
            ("POST", "/access/v1/evaluations") => Some(Route::Evaluations),
            _ => Route::with_id(method, path),
        }
    }

    fn with_id(method: &Method, path: &str) -> Option<Route> {
        if let Some(rest) = path.strip_prefix(DELETIONS) {
            let id = rest.strip_prefix('/')?.strip_suffix("/undelete")?;
            return canonical_uuid(id)
                .filter(|_| *method == Method::POST)
                .map(Route::Undelete);
        }
        if let Some(rest) = path.strip_prefix(DECISIONS) {
            let id = rest.strip_prefix('/')?.strip_suffix("/why")?;
            return canonical_uuid(id)
                .filter(|_| *method == Method::GET)
                .map(Route::Why);
        }
        if let Some(rest) = path.strip_prefix(RUNS) {
            return canonical_uuid(rest.strip_prefix('/')?)
                .filter(|_| *method == Method::PUT)
                .map(Route::Run);
        }
        let rest = path.strip_prefix(APPROVALS)?.strip_prefix('/')?;
        let (id, verb) = rest.split_once('/').unwrap_or((rest, ""));
        let id = canonical_uuid(id)?;
        match (method.as_str(), verb) {
            ("GET", "") if !rest.ends_with('/') => Some(Route::Approval(id)),
            ("POST", "execute") => Some(Route::Execute(id)),
            _ => None,
        }
    }
}

/// Where approvals are found, at either door.
pub(crate) const APPROVALS: &str = "/_vaultgate/v1/approvals";

/// Where runs of flows are found, at either door.
pub(crate) const RUNS: &str = "/_vaultgate/v1/runs";

/// Where decisions are found.
pub(crate) const DECISIONS: &str = "/_vaultgate/v1/decisions";

/// Where deletions are found, at either door.
pub(crate) const DELETIONS: &str = "/_vaultgate/v1/deletions";

/// An id in the one spelling that we write: another one names nothing.
pub(crate) fn canonical_uuid(text: &str) -> Option<Uuid> {
    let id = Uuid::parse_str(text).ok()?;
    (id.to_string() == text).then_some(id)
}

/// A JSON answer.
pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Answer {
    let bytes = serde_json::to_vec(body).unwrap_or_default();
    let mut answer = Response::new(Full::new(Bytes::from(bytes)));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

#[cfg(test)]
mod tests {
    use super::Route;
    use http::Method;

    #[test]
    fn routes_are_exact() {
        let known = Route::of(&Method::GET, "/metadata/endpoints");
        assert_eq!(known, Some(Route::CloudMetadata));
        for path in [
            "/metadata/endpoints/",
            "/metadata",
            "/metadata/endpointsx",
            "//metadata/endpoints",
            "/Metadata/endpoints",
        ] {
            assert_eq!(Route::of(&Method::GET, path), None, "{path}");
        }
        assert_eq!(Route::of(&Method::POST, "/metadata/endpoints"), None);
        let id = "0197b3a8-0000-7000-8000-000000000001";
        let at =
            |method, rest: &str| Route::of(method, &format!("/_vaultgate/v1/approvals/{rest}"));
        assert!(matches!(at(&Method::GET, id), Some(Route::Approval(_))));
        let execute = format!("{id}/execute");
        assert!(matches!(
            at(&Method::POST, &execute),
            Some(Route::Execute(_))
        ));
        let wrong = [
            (Method::GET, execute.clone()),
            (Method::POST, id.to_owned()),
            (Method::GET, format!("{id}/")),
            (Method::POST, format!("{execute}/")),
            (Method::POST, format!("{id}/approve")),
            (Method::GET, id.to_uppercase()),
            (Method::GET, format!("{{{id}}}")),
            (Method::GET, String::new()),
        ];
        for (method, rest) in &wrong {
            assert_eq!(at(method, rest), None, "{rest}");
        }
    }
}
