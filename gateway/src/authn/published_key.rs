//! A key as an issuer publishes it, in the form that `openidconnect` reads.
//!
//! `openidconnect` finds and fetches keys; `jsonwebtoken` verifies with them. This
//! is where the two meet, so that there is one cryptography in the gateway, not two.

use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, PublicKeyUse};
use openidconnect::core::{CoreJsonWebKeyType, CoreJsonWebKeyUse, CoreJwsSigningAlgorithm};
use openidconnect::{JsonWebKey, JsonWebKeyAlgorithm, JsonWebKeyId, SignatureVerificationError};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Members that only private keys have (RFC 7518 §6; `priv` of draft key kinds).
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "priv"];

/// One key of a key set.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(try_from = "Map<String, Value>", into = "Jwk")]
pub(super) struct PublishedKey {
    /// The key as `jsonwebtoken` reads it.
    pub(super) jwk: Jwk,
    id: Option<JsonWebKeyId>,
    kind: CoreJsonWebKeyType,
    purpose: Option<CoreJsonWebKeyUse>,
    algorithm: Option<CoreJwsSigningAlgorithm>,
}

impl TryFrom<Map<String, Value>> for PublishedKey {
    type Error = String;

    fn try_from(members: Map<String, Value>) -> Result<PublishedKey, String> {
        // Whoever reads the document could sign with it.
        if PRIVATE.iter().any(|name| members.contains_key(*name)) {
            return Err("a private key in a public document".to_owned());
        }
        let jwk: Jwk = serde_json::from_value(members.into()).map_err(|error| error.to_string())?;
        let kind = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => CoreJsonWebKeyType::RSA,
            AlgorithmParameters::EllipticCurve(_) => CoreJsonWebKeyType::EllipticCurve,
            AlgorithmParameters::OctetKeyPair(_) => CoreJsonWebKeyType::OctetKeyPair,
            // A shared secret has no place in a public document.
            _ => return Err("not a public key of a known kind".to_owned()),
        };
        Ok(PublishedKey {
            id: jwk.common.key_id.clone().map(JsonWebKeyId::new),
            kind,
            purpose: jwk
                .common
                .public_key_use
                .as_ref()
                .map(|purpose| match purpose {
                    PublicKeyUse::Signature => CoreJsonWebKeyUse::Signature,
                    PublicKeyUse::Encryption => CoreJsonWebKeyUse::Encryption,
                    PublicKeyUse::Other(other) => CoreJsonWebKeyUse::Other(other.clone()),
                }),
            algorithm: jwk.common.key_algorithm.and_then(signing_algorithm),
            jwk,
        })
    }
}

impl From<PublishedKey> for Jwk {
    fn from(key: PublishedKey) -> Jwk {
        key.jwk
    }
}

/// The same algorithm by its registered name, which both crates know.
fn signing_algorithm(
    algorithm: jsonwebtoken::jwk::KeyAlgorithm,
) -> Option<CoreJwsSigningAlgorithm> {
    serde_json::from_value(serde_json::to_value(algorithm).ok()?).ok()
}

impl JsonWebKey for PublishedKey {
    type KeyUse = CoreJsonWebKeyUse;
    type SigningAlgorithm = CoreJwsSigningAlgorithm;

    fn key_id(&self) -> Option<&JsonWebKeyId> {
        self.id.as_ref()
    }

    fn key_type(&self) -> &CoreJsonWebKeyType {
        &self.kind
    }

    fn key_use(&self) -> Option<&CoreJsonWebKeyUse> {
        self.purpose.as_ref()
    }

    fn signing_alg(&self) -> JsonWebKeyAlgorithm<&CoreJwsSigningAlgorithm> {
        match (&self.algorithm, self.jwk.common.key_algorithm) {
            (Some(algorithm), _) => JsonWebKeyAlgorithm::Algorithm(algorithm),
            (None, Some(_)) => JsonWebKeyAlgorithm::Unsupported,
            (None, None) => JsonWebKeyAlgorithm::Unspecified,
        }
    }

    fn new_symmetric(_: Vec<u8>) -> PublishedKey {
        // Without a usable key nothing verifies: a client secret is no signing key.
        PublishedKey {
            jwk: Jwk {
                common: jsonwebtoken::jwk::CommonParameters::default(),
                algorithm: AlgorithmParameters::Other(Default::default()),
            },
            id: None,
            kind: CoreJsonWebKeyType::Symmetric,
            purpose: None,
            algorithm: None,
        }
    }

    fn verify_signature(
        &self,
        algorithm: &CoreJwsSigningAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), SignatureVerificationError> {
        use base64::Engine as _;
        use base64::engine::general_purpose::URL_SAFE_NO_PAD;
        let wrong = |why: &str| SignatureVerificationError::InvalidKey(why.to_owned());
        let key = DecodingKey::from_jwk(&self.jwk).map_err(|_| wrong("not a usable key"))?;
        let named = serde_json::to_value(algorithm).map_err(|_| wrong("unnamed algorithm"))?;
        let algorithm = serde_json::from_value(named).map_err(|_| wrong("unknown algorithm"))?;
        let signature = URL_SAFE_NO_PAD.encode(signature);
        match jsonwebtoken::crypto::verify(&signature, message, &key, algorithm) {
            Ok(true) => Ok(()),
            _ => Err(SignatureVerificationError::CryptoError(
                "bad signature".to_owned(),
            )),
        }
    }

    fn hash_bytes(&self, _: &[u8], _: &CoreJwsSigningAlgorithm) -> Result<Vec<u8>, String> {
        Err("hashes of codes and tokens are not checked here".to_owned())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use serde_json::{Value, json};

    use super::{PRIVATE, PublishedKey};

    #[test]
    fn a_key_with_a_private_member_is_nobodys_key() {
        let public = json!({
            "kty": "EC", "crv": "P-256", "kid": "k", "use": "sig",
            "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
            "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
        });
        let read = |key: &Value| serde_json::from_value::<PublishedKey>(key.clone());
        assert!(read(&public).is_ok());
        for name in PRIVATE {
            let mut key = public.clone();
            let secret = json!("870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE");
            key.as_object_mut().unwrap().insert(name.into(), secret);
            assert!(read(&key).is_err(), "{name}");
        }
    }
}
