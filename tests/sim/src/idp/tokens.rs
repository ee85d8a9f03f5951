//! What stands in a token, for each issuer, and how a test bends it.

use anyhow::{Context, Result};
use jsonwebtoken::Algorithm;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::personas::{Persona, persona};
use super::{Idp, Issuer};
use crate::digest::{base64url, fresh_uuid, sha256_base64url, stable_uuid};
use crate::document::merge;
use crate::state::TENANT;

/// The audience of the data door.
pub const DATA_AUDIENCE: &str = "api://vaultgate";
/// The audience of approvals.
pub const CONSOLE_AUDIENCE: &str = "api://vaultgate-console";

/// A token to mint: an honest one, then bent as asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// Who.
    pub persona: String,
    /// At which issuer.
    #[serde(default)]
    pub issuer: Issuer,
    /// For whom; by default the data door.
    #[serde(default)]
    pub audience: Option<String>,
    /// Seconds until it ends; negative for one that has ended.
    #[serde(default)]
    pub lifetime: Option<i64>,
    /// The client application; by default the persona's own.
    #[serde(default)]
    pub client_id: Option<String>,
    /// A merge patch on the claims; `null` removes one.
    #[serde(default)]
    pub claims: Option<Value>,
    /// A merge patch on the header.
    #[serde(default)]
    pub header: Option<Value>,
    /// The `kid` of the key to sign with, when it is not the issuer's own:
    /// `rs-N`, `es-N`, `attacker-es`, `enc-1`. The header keeps what it says.
    #[serde(default)]
    pub sign_with: Option<String>,
}

impl TokenRequest {
    /// An honest token of a persona.
    #[must_use]
    pub fn new(persona: &str, issuer: Issuer) -> TokenRequest {
        TokenRequest {
            persona: persona.to_owned(),
            issuer,
            audience: None,
            lifetime: None,
            client_id: None,
            claims: None,
            header: None,
            sign_with: None,
        }
    }
}

/// Seconds that an access token lives when nobody says otherwise.
pub(crate) const LIFETIME: i64 = 3_600;

impl Idp {
    /// Mints the token.
    pub(crate) fn mint(&self, request: &TokenRequest) -> Result<String> {
        let who = persona(&request.persona)
            .with_context(|| format!("there is no persona `{}`", request.persona))?;
        let audience = request.audience.as_deref().unwrap_or(DATA_AUDIENCE);
        let client = request.client_id.as_deref().unwrap_or(who.name);
        let mut claims = match request.issuer {
            Issuer::Entra => self.entra_claims(who, client, audience),
            Issuer::Oidc => self.oidc_claims(who, client, audience),
        };
        let lifetime = request.lifetime.unwrap_or(LIFETIME);
        merge(&mut claims, &times(lifetime));
        if let Some(patch) = &request.claims {
            merge(&mut claims, patch);
        }
        let (algorithm, typ) = match request.issuer {
            Issuer::Entra => (Algorithm::RS256, "JWT"),
            Issuer::Oidc => (Algorithm::ES256, "at+jwt"),
        };
        let own = self.keys.current(algorithm);
        let mut header = json!({"typ": typ, "alg": format!("{algorithm:?}"), "kid": own.kid});
        if let Some(patch) = &request.header {
            merge(&mut header, patch);
        }
        let key = match &request.sign_with {
            None => own,
            Some(kid) => self
                .keys
                .signer(kid)
                .with_context(|| format!("there is no key `{kid}`"))?,
        };
        key.sign(&header, &claims)
    }

    fn entra_claims(&self, who: &Persona, client: &str, audience: &str) -> Value {
        let object = who.object_id();
        let subject = if who.is_human() {
            // Pairwise: another application sees another subject for the same person.
            sha256_base64url(format!("{object} {audience}").as_bytes())
        } else {
            object.clone()
        };
        let mut claims = json!({
            "iss": self.issuer(Issuer::Entra), "aud": audience, "sub": subject, "oid": object,
            "tid": TENANT, "azp": client, "azpacr": "1", "ver": "2.0",
            "idtyp": if who.is_human() { "user" } else { "app" },
            "roles": who.roles, "groups": who.groups,
            "uti": base64url(fresh_uuid().get(..16).unwrap_or_default()),
            "rh": "0.sim", "aio": "sim",
        });
        if who.is_human() {
            merge(
                &mut claims,
                &json!({"scp": "user_impersonation", "acrs": ["c1"]}),
            );
        }
        merge(&mut claims, &who.personal(now()));
        named_flow(&mut claims, who);
        claims
    }

    fn oidc_claims(&self, who: &Persona, client: &str, audience: &str) -> Value {
        let mut claims = json!({
            "iss": self.issuer(Issuer::Oidc), "aud": audience, "sub": who.name,
            "client_id": client, "jti": fresh_uuid(), "scope": "backup",
            "roles": who.roles, "groups": who.groups, "vg_kind": who.kind,
        });
        if who.is_human() {
            merge(
                &mut claims,
                &json!({"person": who.object_id(), "acr": "urn:example:mfa"}),
            );
        }
        merge(&mut claims, &who.personal(now()));
        named_flow(&mut claims, who);
        claims
    }

    /// An ID token for a sign-in at a client.
    pub(crate) fn id_token(
        &self,
        issuer: Issuer,
        who: &Persona,
        client: &str,
        nonce: Option<&str>,
    ) -> Result<String> {
        let mut claims = json!({
            "iss": self.issuer(issuer), "aud": client, "roles": who.roles, "groups": who.groups,
        });
        match issuer {
            Issuer::Entra => merge(
                &mut claims,
                &json!({"sub": stable_uuid(&format!("{} {client}", who.name)), "oid": who.object_id(), "tid": TENANT, "ver": "2.0"}),
            ),
            Issuer::Oidc => merge(
                &mut claims,
                &json!({"sub": who.name, "person": who.object_id(), "vg_kind": who.kind, "acr": "urn:example:mfa"}),
            ),
        }
        merge(&mut claims, &who.personal(now()));
        merge(&mut claims, &times(LIFETIME));
        if let Some(nonce) = nonce {
            merge(&mut claims, &json!({"nonce": nonce}));
        }
        // Console clients verify with RS256, the one algorithm every OpenID provider has.
        let key = self.keys.current(Algorithm::RS256);
        key.sign(
            &json!({"typ": "JWT", "alg": "RS256", "kid": key.kid}),
            &claims,
        )
    }
}

/// A token of a flow's persona names the flow it runs.
fn named_flow(claims: &mut Value, who: &Persona) {
    if who.kind == "flow" {
        let flow = match who.name {
            "drill" => "monthly-drill",
            _ => "nightly-weu",
        };
        merge(claims, &json!({"vg_flow": flow}));
    }
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

fn times(lifetime: i64) -> Value {
    let now = now();
    // A token that has ended was issued, and became good, before it ended.
    let issued = now.min(now + lifetime - 1);
    json!({"iat": issued, "nbf": issued, "exp": now + lifetime})
}
