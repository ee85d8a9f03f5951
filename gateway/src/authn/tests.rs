//! Authentication against issuers of our own, honest and hostile.
//!
//! Nothing here touches a network: the issuers are scripted, so that a test sees
//! every address that was asked for.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests fail by panicking"
)]

mod attacks;
mod cached;
mod key_sets;
mod minting;
mod possession;
mod presented;
mod principals;
pub(super) mod provider;

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method};
use jiff::Timestamp;
use serde_json::json;

use super::fetch::Egress;
use super::{Authenticated, Authenticator, AuthnError, Presented};
use crate::clock::Clock;
use crate::config::Problems;
use crate::config::issuers::{Issuer, IssuerFile};
use minting::{Minted, now};
use provider::Provider;

const ISSUER: &str = "https://issuer.example/realm";
const SECOND: &str = "https://second.example";
const AUDIENCE: &str = "https://gateway.example/";
const ORIGIN: &str = "https://gateway.example";

/// Two generic issuers and what asks them.
struct World {
    provider: Arc<Provider>,
    authenticator: Authenticator,
    clock: Clock,
}

/// Checks one `[[issuer]]` table.
fn issuer(toml: &str) -> Issuer {
    let mut problems = Problems::default();
    let file: IssuerFile = toml::from_str(toml).unwrap();
    let issuer = file.check("issuer[0]", &mut problems);
    assert!(
        problems.is_empty(),
        "{:?}",
        problems.iter().collect::<Vec<_>>()
    );
    issuer.unwrap()
}

/// A generic issuer; further settings may follow.
fn generic(url: &str, more: &str) -> Issuer {
    issuer(&format!(
        "name = \"generic\"\nissuer = \"{url}\"\naudiences = [\"{AUDIENCE}\"]\n{more}"
    ))
}

impl World {
    fn new() -> World {
        World::of(&[generic(ISSUER, ""), generic(SECOND, "")])
    }

    fn of(issuers: &[Issuer]) -> World {
        super::install_crypto();
        let provider = Arc::new(Provider::default());
        provider.honest(ISSUER, &["es-1", "rs-1"]);
        provider.honest(SECOND, &["issuer2-es"]);
        let clock = Clock::manual(Timestamp::from_second(now()).unwrap());
        let egress = Egress::Scripted(Arc::clone(&provider));
        World {
            authenticator: Authenticator::with(issuers, egress, clock.clone()),
            provider,
            clock,
        }
    }

    async fn bearer(&self, token: &str) -> Result<Authenticated, AuthnError> {
        self.headers(&[("authorization", &format!("Bearer {token}"))])
            .await
    }

    async fn headers(&self, headers: &[(&str, &str)]) -> Result<Authenticated, AuthnError> {
        self.shown(headers, None).await
    }

    async fn shown(
        &self,
        headers: &[(&str, &str)],
        certificate: Option<[u8; 32]>,
    ) -> Result<Authenticated, AuthnError> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: http::HeaderName = name.parse().unwrap();
            map.append(name, HeaderValue::from_str(value).unwrap());
        }
        let presented = Presented {
            method: &Method::POST,
            origin: ORIGIN,
            path: "/subscriptions/s/resourceGroups/rg1",
            headers: &map,
            client_certificate_sha256: certificate,
            source: "192.0.2.7".parse().unwrap(),
        };
        self.authenticator.authenticate(presented).await
    }

    /// The code of the refusal that a token meets.
    async fn code(&self, token: &str) -> &'static str {
        self.bearer(token)
            .await
            .map_or_else(|error| error.code(), |_| "accepted")
    }
}

/// An honest token with a merge patch on its claims.
fn token(patch: serde_json::Value) -> String {
    Minted::honest().claims(patch).sign()
}

#[tokio::test]
async fn an_honest_token_becomes_a_principal() {
    let world = World::new();
    let caller = world.bearer(&token(json!({}))).await.unwrap();
    assert_eq!(caller.verified_by, "generic");
    assert_eq!(caller.principal.subject, "agent-1");
    assert_eq!(caller.principal.issuer, ISSUER);
    assert_eq!(caller.principal.app.as_deref(), Some("agent"));
    assert_eq!(caller.principal.roles, ["BackupAgent"]);
    assert_eq!(caller.principal.scopes, ["backup.read"]);
    assert_eq!(caller.token_id.as_deref(), Some("id-1"));
    assert_eq!(caller.expires.as_second(), now() + 300);
    let kind = serde_json::to_value(caller.principal.kind).unwrap();
    assert_eq!(
        kind, "unknown",
        "nothing in the configuration names the app"
    );
}

#[tokio::test]
async fn the_challenge_names_the_check_and_never_the_token() {
    let world = World::new();
    let metadata = "https://gateway.example/.well-known/oauth-protected-resource";
    let missing = world.headers(&[]).await.unwrap_err();
    assert_eq!(
        world.authenticator.challenge(&missing, metadata),
        format!("Bearer resource_metadata=\"{metadata}\"")
    );
    let expired = token(json!({"iat": now() - 400, "nbf": null, "exp": now() - 100}));
    let error = world.bearer(&expired).await.unwrap_err();
    let challenge = world.authenticator.challenge(&error, metadata);
    assert_eq!(
        challenge,
        format!(
            "Bearer error=\"invalid_token\", \
             error_description=\"token-expired: the token has expired\", \
             resource_metadata=\"{metadata}\""
        )
    );
    let bound = World::of(&[generic(ISSUER, "dpop = \"optional\"")]);
    let error = bound.headers(&[]).await.unwrap_err();
    let challenge = bound.authenticator.challenge(&error, metadata);
    assert!(
        challenge.contains(", DPoP algs=\"ES256 ES384 EdDSA RS256 PS256\""),
        "{challenge}"
    );
}

#[tokio::test]
async fn a_signed_but_refused_token_says_whose_it_was() {
    let world = World::new();
    let expired = token(json!({"iat": now() - 400, "nbf": null, "exp": now() - 100}));
    let elsewhere = token(json!({"aud": "https://other.example"}));
    for (token, code) in [(expired, "token-expired"), (elsewhere, "token-audience")] {
        let error = world.bearer(&token).await.unwrap_err();
        assert_eq!(error.code(), code);
        assert!(error.is_signed());
        assert_eq!(error.issuer(), Some("generic"));
        assert_eq!(error.subject(), Some("agent-1"));
    }
    let forged = Minted::honest()
        .claims(json!({"aud": "x"}))
        .key("attacker-es")
        .sign();
    let error = world.bearer(&forged).await.unwrap_err();
    assert_eq!(
        (error.code(), error.is_signed()),
        ("token-signature", false)
    );
    assert_eq!(
        error.subject(),
        None,
        "what a stranger says of itself is not repeated"
    );
}
