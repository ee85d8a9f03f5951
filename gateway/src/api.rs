//! The gateway's own addresses on the data door, beside the ARM paths.
//!
//! Exact routes only: a prefix match would let a path nobody thought of in.
//! What needs no token says nothing that a stranger could not guess.

pub(crate) mod authzen;
pub(crate) mod metadata;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

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
            _ => None,
        }
    }
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
    }
}
