//! Who asks: a JWT that is verified once and then known by its digest, as every
//! caching gateway does it. Time is judged on every request.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use http::HeaderMap;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use moka::future::Cache;
use serde_json::{Value, json};

/// Tokens that are known at a time.
const KNOWN: u64 = 10_000;

/// What a verified token says.
pub(crate) struct Caller {
    expires: i64,
    /// `principal` of the policy input.
    pub(crate) principal: regorus::Value,
    /// The subject, for the record.
    pub(crate) subject: String,
}

/// The keys of one issuer, and the tokens that they verified.
pub(crate) struct Tokens {
    keys: HashMap<String, (DecodingKey, Validation)>,
    known: Cache<[u8; 32], Arc<Caller>>,
}

impl Tokens {
    /// Tokens of this issuer for this audience.
    pub(crate) fn new(jwks: &Path, issuer: &str, audience: &str) -> anyhow::Result<Tokens> {
        let set: JwkSet = serde_json::from_slice(&std::fs::read(jwks)?).context("the JWKS")?;
        let mut keys = HashMap::new();
        for key in &set.keys {
            let id = key.common.key_id.clone().context("a key without `kid`")?;
            let named = key.common.key_algorithm.context("a key without `alg`")?;
            let Ok(algorithm) = named.to_string().parse::<Algorithm>() else {
                continue; // a key for encryption
            };
            let mut validation = Validation::new(algorithm);
            validation.set_issuer(&[issuer]);
            validation.set_audience(&[audience]);
            validation.validate_nbf = true;
            keys.insert(id, (DecodingKey::from_jwk(key)?, validation));
        }
        Ok(Tokens {
            keys,
            known: Cache::new(KNOWN),
        })
    }

    /// The caller, if the token is good.
    pub(crate) async fn caller(&self, headers: &HeaderMap) -> Option<Arc<Caller>> {
        let header = headers.get(http::header::AUTHORIZATION)?.to_str().ok()?;
        let token = header.strip_prefix("Bearer ")?;
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
        let digest: [u8; 32] = digest.as_ref().try_into().ok()?;
        let caller = match self.known.get(&digest).await {
            Some(caller) => caller,
            None => {
                let caller = Arc::new(self.verify(token)?);
                self.known.insert(digest, Arc::clone(&caller)).await;
                caller
            }
        };
        (caller.expires > jiff::Timestamp::now().as_second()).then_some(caller)
    }

    fn verify(&self, token: &str) -> Option<Caller> {
        let (key, validation) = self.keys.get(&decode_header(token).ok()?.kid?)?;
        let claims = decode::<Value>(token, key, validation).ok()?.claims;
        let list = |name: &str| claims.get(name).cloned().unwrap_or_else(|| json!([]));
        let subject = claims.get("oid").or_else(|| claims.get("sub"))?.as_str()?;
        let principal = json!({
            "issuer": claims.get("iss"), "subject": subject, "kind": "human",
            "roles": list("roles"), "groups": list("groups"), "actors": [],
        });
        Some(Caller {
            expires: claims.get("exp")?.as_i64()?,
            principal: regorus::Value::from(principal),
            subject: subject.to_owned(),
        })
    }
}
