//! Discovery documents and key sets, honest and hostile.

use std::sync::Arc;
use std::time::Duration;

use http::Response;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Idp, Issuer};
use crate::document::merge;
use crate::server::add;
use crate::state::{State, TENANT};
use crate::wire::{self, Reply, full};

/// How the key set behaves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum JwksState {
    /// As it should.
    #[default]
    Normal,
    /// 503.
    Down,
    /// Late by `ms`.
    Slow {
        /// Milliseconds.
        ms: u64,
    },
    /// Never answers (an hour).
    Hang,
    /// 10 MiB of keys.
    Huge,
    /// No key at all.
    Empty,
    /// HTML.
    NotJson,
    /// A redirect to another host.
    Redirect,
    /// A key of a kind that nobody knows stands first.
    GarbageKey,
    /// The attacker's key under the honest `kid`, after the honest one.
    DuplicateKidAttackerSecond,
    /// The attacker's key under the honest `kid`, before the honest one.
    DuplicateKidAttackerFirst,
    /// A symmetric key `oct-1` and an encryption key `enc-1` stand beside the honest ones.
    ForeignUse,
    /// Every key says `use: enc`.
    AllEnc,
    /// No key has a `kid`.
    NoKid,
    /// No key has an `alg`.
    NoAlg,
    /// Every key names the other algorithm.
    WrongAlg,
}

/// How the discovery document behaves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum DiscoveryState {
    /// As it should.
    #[default]
    Normal,
    /// 503.
    Down,
    /// Never answers (an hour).
    Hang,
    /// Names another issuer.
    IssuerMismatch {
        /// The wrong issuer.
        #[serde(default = "other_issuer")]
        issuer: String,
    },
    /// Sends clients elsewhere for the keys.
    JwksElsewhere {
        /// The wrong address.
        jwks_uri: String,
    },
}

fn other_issuer() -> String {
    "https://evil.example".to_owned()
}

const AN_HOUR: Duration = Duration::from_secs(3_600);

/// The discovery document. Any tenant is served at its own path; the issuer is ours.
pub(super) async fn document(state: &Arc<State>, issuer: Issuer, path: &str) -> Reply {
    let fault = state
        .idp()
        .discovery
        .get(&issuer)
        .cloned()
        .unwrap_or_default();
    let mut document = {
        let idp = state.idp();
        match issuer {
            Issuer::Entra => entra(&idp, path),
            Issuer::Oidc => oidc(&idp),
        }
    };
    match fault {
        DiscoveryState::Normal => {}
        DiscoveryState::Down => {
            return super::failure(503, "temporarily_unavailable", "switched off");
        }
        DiscoveryState::Hang => tokio::time::sleep(AN_HOUR).await,
        DiscoveryState::IssuerMismatch { issuer } => {
            merge(&mut document, &json!({"issuer": issuer}))
        }
        DiscoveryState::JwksElsewhere { jwks_uri } => {
            merge(&mut document, &json!({"jwks_uri": jwks_uri}))
        }
    }
    wire::json(200, &document)
}

fn entra(idp: &Idp, path: &str) -> Value {
    let tenant = path.split('/').nth(1).unwrap_or(TENANT);
    let tenant = if ["common", "organizations", "consumers"].contains(&tenant) {
        TENANT
    } else {
        tenant
    };
    let (origin, issuer) = (&idp.origin, format!("{}/{tenant}/v2.0", idp.origin));
    let mut document = json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{origin}/{tenant}/oauth2/v2.0/authorize"),
        "token_endpoint": format!("{origin}/{tenant}/oauth2/v2.0/token"),
        "device_authorization_endpoint": format!("{origin}/{tenant}/oauth2/v2.0/devicecode"),
        "end_session_endpoint": format!("{origin}/{tenant}/oauth2/v2.0/logout"),
        "jwks_uri": format!("{origin}/{tenant}/discovery/v2.0/keys"),
        "subject_types_supported": ["pairwise"],
        "tenant_region_scope": "EU",
        "cloud_instance_name": "localhost",
    });
    merge(&mut document, &supported());
    document
}

fn oidc(idp: &Idp) -> Value {
    let issuer = idp.issuer(Issuer::Oidc);
    let mut document = json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "device_authorization_endpoint": format!("{issuer}/device_authorization"),
        "jwks_uri": format!("{issuer}/jwks"),
        "subject_types_supported": ["public"],
    });
    merge(&mut document, &supported());
    document
}

fn supported() -> Value {
    json!({
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "client_credentials", "urn:ietf:params:oauth:grant-type:device_code"],
        "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic", "private_key_jwt"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "code_challenge_methods_supported": ["S256"],
        "scopes_supported": ["openid", "profile", "offline_access"],
        "claims_supported": ["sub", "iss", "aud", "exp", "iat", "nonce", "name", "roles", "groups"],
    })
}

/// The key set, as the switched-on state wants it.
pub(super) async fn jwks(state: &Arc<State>, issuer: Issuer) -> Reply {
    let fault = state.idp().jwks.get(&issuer).cloned().unwrap_or_default();
    match &fault {
        JwksState::Down => return super::failure(503, "temporarily_unavailable", "switched off"),
        JwksState::Slow { ms } => tokio::time::sleep(Duration::from_millis(*ms)).await,
        JwksState::Hang => tokio::time::sleep(AN_HOUR).await,
        JwksState::NotJson => return Response::new(full("<html>keys are out</html>")),
        JwksState::Redirect => {
            let mut reply = wire::json(302, &json!({}));
            add(&mut reply, "location", "https://127.0.0.1:1/jwks");
            return reply;
        }
        _ => {}
    }
    let keys = key_set(&state.idp(), &fault);
    wire::json(200, &json!({"keys": keys}))
}

fn key_set(idp: &Idp, fault: &JwksState) -> Vec<Value> {
    let honest = idp.keys.published();
    let mut keys = honest.clone();
    match fault {
        JwksState::Empty => keys.clear(),
        JwksState::GarbageKey => keys.insert(
            0,
            json!({"kty": "quantum", "kid": "q-1", "crv": 7, "x": null}),
        ),
        JwksState::Huge => {
            let filler =
                json!({"kty": "RSA", "kid": "filler", "n": "A".repeat(1 << 20), "e": "AQAB"});
            keys.extend(std::iter::repeat_n(filler, 10));
        }
        JwksState::DuplicateKidAttackerSecond => keys.extend(impostors(idp, &honest)),
        JwksState::DuplicateKidAttackerFirst => {
            keys = impostors(idp, &honest).collect();
            keys.extend(honest);
        }
        JwksState::ForeignUse => {
            let mut encryption = idp.keys.encryption().jwk.clone();
            merge(&mut encryption, &json!({"use": "enc", "alg": "RSA-OAEP"}));
            keys.push(encryption);
            keys.push(json!({"kty": "oct", "kid": "oct-1", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0", "alg": "HS256"}));
        }
        JwksState::AllEnc => patch(&mut keys, &json!({"use": "enc"})),
        JwksState::NoKid => patch(&mut keys, &json!({"kid": null})),
        JwksState::NoAlg => patch(&mut keys, &json!({"alg": null})),
        JwksState::WrongAlg => {
            for key in &mut keys {
                let rsa = key.get("kty").and_then(Value::as_str) == Some("RSA");
                merge(key, &json!({"alg": if rsa { "ES256" } else { "RS256" }}));
            }
        }
        _ => {}
    }
    keys
}

fn patch(keys: &mut [Value], change: &Value) {
    for key in keys {
        merge(key, change);
    }
}

/// The attacker's key, once under the name of every honest key.
fn impostors<'a>(idp: &'a Idp, honest: &'a [Value]) -> impl Iterator<Item = Value> + 'a {
    honest.iter().map(|key| {
        let mut impostor = idp.keys.attacker().jwk.clone();
        merge(&mut impostor, &json!({"kid": key.get("kid")}));
        impostor
    })
}

/// What MSAL asks before it trusts an authority.
pub(super) fn instance(state: &State) -> Reply {
    let origin = &state.origin;
    let host = origin.trim_start_matches("https://");
    wire::json(
        200,
        &json!({
            "tenant_discovery_endpoint": format!("{origin}/{TENANT}/v2.0/.well-known/openid-configuration"),
            "api-version": "1.1",
            "metadata": [{"preferred_network": host, "preferred_cache": host, "aliases": [host]}],
        }),
    )
}
