//! The development identity provider: an Entra-like issuer and a generic one, on the
//! emulator's own origin, with keys that rotate and faults that can be switched on.
//!
//! It hands a token to anyone who knows a persona's name. It must never be reachable
//! from anywhere that trusts it with something real.

mod authorize;
mod device;
mod discovery;
mod grants;
mod keys;
mod personas;
mod tokens;

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use discovery::{DiscoveryState, JwksState};
pub use personas::{PERSONAS, Persona, persona};
pub use tokens::{CONSOLE_AUDIENCE, DATA_AUDIENCE, TokenRequest};

use crate::server::Asked;
use crate::state::{State, TENANT};
use crate::wire::{self, Reply};
use authorize::Codes;
use device::Devices;
use keys::KeyRing;

/// Which of the two issuers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Issuer {
    /// `https://localhost:<port>/<tenant>/v2.0`, RS256, claims as Entra writes them.
    #[default]
    Entra,
    /// `https://localhost:<port>/oidc`, ES256, RFC 9068.
    Oidc,
}

/// Keys, codes and switched-on faults of the identity provider.
pub(crate) struct Idp {
    origin: String,
    pub keys: KeyRing,
    codes: Codes,
    pub devices: Devices,
    /// Client secrets by client id.
    pub clients: HashMap<String, String>,
    jwks: HashMap<Issuer, JwksState>,
    discovery: HashMap<Issuer, DiscoveryState>,
}

impl Idp {
    pub(crate) fn new(origin: &str) -> Result<Idp> {
        let own = ["vaultgate-reader", "vaultgate-operator", "vaultgate-guard"];
        let names = PERSONAS.iter().map(|one| one.name).chain(own);
        Ok(Idp {
            origin: origin.to_owned(),
            keys: KeyRing::generate()?,
            codes: Codes::default(),
            devices: Devices::default(),
            clients: names
                .map(|name| (name.to_owned(), format!("{name}-secret")))
                .collect(),
            jwks: HashMap::new(),
            discovery: HashMap::new(),
        })
    }

    /// The `iss` of an issuer.
    pub(crate) fn issuer(&self, issuer: Issuer) -> String {
        match issuer {
            Issuer::Entra => format!("{}/{TENANT}/v2.0", self.origin),
            Issuer::Oidc => format!("{}/oidc", self.origin),
        }
    }

    pub(crate) fn set_jwks(&mut self, issuer: Issuer, state: JwksState) {
        self.jwks.insert(issuer, state);
    }

    pub(crate) fn set_discovery(&mut self, issuer: Issuer, state: DiscoveryState) {
        self.discovery.insert(issuer, state);
    }

    /// Switches every fault off.
    pub(crate) fn heal(&mut self) {
        self.jwks.clear();
        self.discovery.clear();
    }
}

/// Whether a path is the identity provider's.
pub(crate) fn owns(path: &str) -> bool {
    path.starts_with("/oidc/")
        || path.contains("/oauth2/")
        || path.contains("/discovery/")
        || path.contains("/.well-known/")
}

/// What a path asks of the identity provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Endpoint {
    Discovery(Issuer),
    Jwks(Issuer),
    Token(Issuer),
    Device(Issuer),
    Authorize(Issuer),
    Instance,
}

fn endpoint(path: &str) -> Option<Endpoint> {
    let segments: Vec<&str> = path.split('/').filter(|one| !one.is_empty()).collect();
    Some(match segments.as_slice() {
        [
            "oidc",
            ".well-known",
            "openid-configuration" | "oauth-authorization-server",
        ]
        | [".well-known", "oauth-authorization-server", "oidc"] => {
            Endpoint::Discovery(Issuer::Oidc)
        }
        ["oidc", "jwks"] => Endpoint::Jwks(Issuer::Oidc),
        ["oidc", "token"] => Endpoint::Token(Issuer::Oidc),
        ["oidc", "device_authorization"] => Endpoint::Device(Issuer::Oidc),
        ["oidc", "authorize"] => Endpoint::Authorize(Issuer::Oidc),
        ["common", "discovery", "instance"] => Endpoint::Instance,
        [_, "v2.0", ".well-known", "openid-configuration"]
        | [_, ".well-known", "openid-configuration"] => Endpoint::Discovery(Issuer::Entra),
        [_, "discovery", "v2.0", "keys"] | [_, "discovery", "keys"] => {
            Endpoint::Jwks(Issuer::Entra)
        }
        [_, "oauth2", "v2.0", "token"] | [_, "oauth2", "token"] => Endpoint::Token(Issuer::Entra),
        [_, "oauth2", "v2.0", "devicecode"] => Endpoint::Device(Issuer::Entra),
        [_, "oauth2", "v2.0", "authorize"] => Endpoint::Authorize(Issuer::Entra),
        _ => return None,
    })
}

/// Answers a request to the identity provider.
pub(crate) async fn answer(state: &Arc<State>, asked: &Asked) -> Reply {
    let Some(endpoint) = endpoint(&asked.path) else {
        return failure(
            404,
            "not_found",
            "the identity provider has no such endpoint",
        );
    };
    let method = match endpoint {
        Endpoint::Token(_) | Endpoint::Device(_) => "POST",
        _ => "GET",
    };
    if asked.method != method {
        return failure(405, "invalid_request", "the method is not allowed here");
    }
    match endpoint {
        Endpoint::Discovery(issuer) => discovery::document(state, issuer, &asked.path).await,
        Endpoint::Jwks(issuer) => discovery::jwks(state, issuer).await,
        Endpoint::Token(issuer) => grants::token(state, issuer, asked),
        Endpoint::Device(issuer) => device::start(state, issuer, asked),
        Endpoint::Authorize(issuer) => authorize::authorize(state, issuer, asked),
        Endpoint::Instance => discovery::instance(state),
    }
}

/// An OAuth error, with Entra's number where there is one in the description.
fn failure(status: u16, error: &str, description: &str) -> Reply {
    let numbers: Vec<u64> = description
        .strip_prefix("AADSTS")
        .and_then(|rest| rest.split(':').next())
        .and_then(|number| number.parse().ok())
        .into_iter()
        .collect();
    let mut body = json!({"error": error, "error_description": description});
    if !numbers.is_empty() {
        crate::document::merge(
            &mut body,
            &json!({"error_codes": numbers, "timestamp": jiff::Timestamp::now().to_string()}),
        );
    }
    wire::json(status, &body)
}

/// The parameters of a form or a query.
struct Form(Vec<(String, String)>);

impl Form {
    fn parse(text: &[u8]) -> Form {
        Form(url::form_urlencoded::parse(text).into_owned().collect())
    }

    /// The value of a parameter that stands exactly once.
    fn one(&self, name: &str) -> Option<&str> {
        let mut values = self
            .0
            .iter()
            .filter(|(key, _)| key == name)
            .map(|(_, value)| value.as_str());
        let value = values.next()?;
        if values.next().is_some() {
            None
        } else {
            Some(value)
        }
    }
}

/// The answer of a token endpoint.
fn token_answer(access_token: &str, lifetime: i64, more: &Value) -> Reply {
    let mut body = json!({
        "token_type": "Bearer", "expires_in": lifetime, "ext_expires_in": lifetime,
        "access_token": access_token,
    });
    crate::document::merge(&mut body, more);
    let mut reply = wire::json(200, &body);
    crate::server::add(&mut reply, "cache-control", "no-store");
    reply
}
