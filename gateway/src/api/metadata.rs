//! What clients read before they have a token: where to sign in, and for whom.

use serde_json::{Value, json};

use crate::config::Config;

/// Path of the protected-resource metadata (RFC 9728).
pub(crate) const RESOURCE_METADATA: &str = "/.well-known/oauth-protected-resource";

/// The document of `az cloud register`: one object. `loginEndpoint` is the
/// authority that callers sign in to, and the audience is the gateway's own
/// App ID URI, so that the tokens that clients send are meant for the gateway.
pub(crate) fn cloud(config: &Config) -> Value {
    let public = &config.gateway.public_url;
    let login = config.gateway.login_endpoint.as_deref().unwrap_or(public);
    let suffixes = config.upstream.suffixes();
    json!({
        "name": "Vaultgate",
        "portal": public,
        "gallery": public,
        "graph": login,
        "graphAudience": login,
        "resourceManager": public,
        "media": public,
        "authentication": {
            "loginEndpoint": login,
            "audiences": [config.gateway.app_id_uri],
            "tenant": "common",
            "identityProvider": "AAD",
        },
        "microsoftGraphResourceId": login,
        "suffixes": suffixes,
    })
}

/// Protected-resource metadata (RFC 9728): which issuers vouch for callers.
pub(crate) fn resource(config: &Config) -> Value {
    let issuers: Vec<&str> = config
        .issuers
        .iter()
        .map(|issuer| issuer.url.as_str())
        .collect();
    json!({
        "resource": config.gateway.public_url,
        "resource_name": "Vaultgate",
        "authorization_servers": issuers,
        "bearer_methods_supported": ["header"],
    })
}

/// AuthZEN's own discovery document.
pub(crate) fn authzen(config: &Config) -> Value {
    let public = &config.gateway.public_url;
    json!({
        "policy_decision_point": public,
        "access_evaluation_endpoint": format!("{public}/access/v1/evaluation"),
        "access_evaluations_endpoint": format!("{public}/access/v1/evaluations"),
    })
}

/// Where a 401 sends a client to learn who may vouch for it.
pub(crate) fn resource_metadata_url(public_url: &str) -> String {
    format!("{public_url}{RESOURCE_METADATA}")
}
