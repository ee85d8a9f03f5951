//! Managed identity: the instance metadata endpoint and the App Service form of it.

use serde_json::json;

use crate::azure_tokens::identity_of_client;
use crate::journal::Identity;
use crate::server::Asked;
use crate::state::State;
use crate::wire::{self, Reply};

/// What `IDENTITY_HEADER` must be for the App Service form.
pub const IDENTITY_HEADER: &str = "sim-identity-header";

/// Answers on the plain-HTTP listener.
pub(crate) fn answer(state: &State, asked: &Asked) -> Reply {
    let allowed = match asked.path.trim_end_matches('/') {
        "/metadata/identity/oauth2/token" => asked
            .header("metadata")
            .is_some_and(|value| value.eq_ignore_ascii_case("true")),
        "/msi/token" => asked.header("x-identity-header") == Some(IDENTITY_HEADER),
        _ => return refusal(404, "not_found", "nothing is served here"),
    };
    if asked.method != "GET" {
        return refusal(405, "invalid_request", "the method is not allowed");
    }
    if !allowed {
        return refusal(
            400,
            "invalid_request",
            "the required header is missing or wrong",
        );
    }
    let parameter = |wanted: &str| {
        url::form_urlencoded::parse(asked.query.as_bytes())
            .find(|(name, _)| name == wanted)
            .map(|(_, value)| value.into_owned())
    };
    let Some(resource) = parameter("resource") else {
        return refusal(
            400,
            "invalid_request",
            "the parameter `resource` is missing",
        );
    };
    let identity = match parameter("client_id") {
        None => Some(Identity::Operator),
        Some(client) => identity_of_client(&client),
    };
    let Some(identity) = identity else {
        return refusal(400, "invalid_request", "Identity not found");
    };
    token(state, identity, &resource)
}

fn token(state: &State, identity: Identity, resource: &str) -> Reply {
    let mut tokens = state.tokens();
    let lifetime = tokens.lifetime.as_secs();
    let ends = jiff::Timestamp::now()
        .as_second()
        .saturating_add_unsigned(lifetime);
    wire::json(
        200,
        &json!({
            "access_token": tokens.mint(identity),
            "client_id": format!("vaultgate-{}", identity.name()),
            "expires_in": lifetime.to_string(),
            "expires_on": ends.to_string(),
            "ext_expires_in": lifetime.to_string(),
            "not_before": jiff::Timestamp::now().as_second().to_string(),
            "resource": resource,
            "token_type": "Bearer",
        }),
    )
}

fn refusal(status: u16, error: &str, description: &str) -> Reply {
    wire::json(
        status,
        &json!({"error": error, "error_description": description}),
    )
}
