//! Signing keys: RS256 `rs-1` and ES256 `es-1`, their successors after a rotation, and
//! keys that no verifier may ever accept.
//!
//! The private keys can be asked for by design: an attack on a verifier is written by a
//! test that holds the real key and misuses it.

use anyhow::{Context, Result};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256};
use serde_json::{Value, json};

use crate::digest::base64url;
use crate::document::merge;

/// One key pair with its name.
pub(crate) struct SigningKey {
    pub kid: String,
    pub algorithm: Algorithm,
    /// PKCS#8 in PEM.
    pub private_pem: String,
    pub public_pem: String,
    /// The public half as a JWK, with `kid`, `use` and `alg`.
    pub jwk: Value,
    key: EncodingKey,
}

impl SigningKey {
    fn rsa(kid: &str) -> Result<SigningKey> {
        let pair = KeyPair::generate_for(&PKCS_RSA_SHA256).context("cannot make an RSA key")?;
        let key = EncodingKey::from_rsa_pem(pair.serialize_pem().as_bytes())?;
        SigningKey::new(kid, Algorithm::RS256, &pair, key)
    }

    fn ec(kid: &str) -> Result<SigningKey> {
        let pair =
            KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).context("cannot make an EC key")?;
        let key = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes())?;
        SigningKey::new(kid, Algorithm::ES256, &pair, key)
    }

    fn new(
        kid: &str,
        algorithm: Algorithm,
        pair: &KeyPair,
        key: EncodingKey,
    ) -> Result<SigningKey> {
        let mut jwk = serde_json::to_value(Jwk::from_encoding_key(&key, algorithm)?)?;
        merge(&mut jwk, &json!({"kid": kid, "use": "sig"}));
        Ok(SigningKey {
            kid: kid.to_owned(),
            algorithm,
            private_pem: pair.serialize_pem(),
            public_pem: pair.public_key_pem(),
            jwk,
            key,
        })
    }

    /// A compact JWS over exactly these two documents.
    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> Result<String> {
        let algorithm = match header.get("alg").and_then(Value::as_str) {
            Some("PS256") if self.algorithm == Algorithm::RS256 => Algorithm::PS256,
            _ => self.algorithm,
        };
        let message = format!(
            "{}.{}",
            base64url(header.to_string()),
            base64url(claims.to_string())
        );
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &self.key, algorithm)?;
        Ok(format!("{message}.{signature}"))
    }
}

/// All keys of the identity provider.
pub(crate) struct KeyRing {
    rsa: SigningKey,
    ec: SigningKey,
    retired: Vec<SigningKey>,
    /// Never in any key set.
    attacker: SigningKey,
    /// Published with `use: enc` when a test asks for it.
    encryption: SigningKey,
    generation: u32,
}

impl KeyRing {
    pub(crate) fn generate() -> Result<KeyRing> {
        Ok(KeyRing {
            rsa: SigningKey::rsa("rs-1")?,
            ec: SigningKey::ec("es-1")?,
            retired: Vec::new(),
            attacker: SigningKey::ec("attacker-es")?,
            encryption: SigningKey::rsa("enc-1")?,
            generation: 1,
        })
    }

    /// The key to sign with; a retired or hostile one by its `kid`.
    pub(crate) fn signer(&self, kid: &str) -> Option<&SigningKey> {
        self.all().find(|key| key.kid == kid)
    }

    pub(crate) fn current(&self, algorithm: Algorithm) -> &SigningKey {
        if algorithm == Algorithm::ES256 {
            &self.ec
        } else {
            &self.rsa
        }
    }

    pub(crate) fn attacker(&self) -> &SigningKey {
        &self.attacker
    }

    pub(crate) fn encryption(&self) -> &SigningKey {
        &self.encryption
    }

    fn all(&self) -> impl Iterator<Item = &SigningKey> {
        [&self.rsa, &self.ec, &self.attacker, &self.encryption]
            .into_iter()
            .chain(&self.retired)
    }

    /// New current keys; the old ones stay published only if `keep_old`.
    pub(crate) fn rotate(&mut self, keep_old: bool) -> Result<()> {
        self.generation += 1;
        let rsa = SigningKey::rsa(&format!("rs-{}", self.generation))?;
        let ec = SigningKey::ec(&format!("es-{}", self.generation))?;
        let old = [
            std::mem::replace(&mut self.rsa, rsa),
            std::mem::replace(&mut self.ec, ec),
        ];
        if keep_old {
            self.retired.extend(old);
        } else {
            self.retired.clear();
        }
        Ok(())
    }

    /// The public keys that an honest key set holds.
    pub(crate) fn published(&self) -> Vec<Value> {
        [&self.rsa, &self.ec]
            .into_iter()
            .chain(&self.retired)
            .map(|key| key.jwk.clone())
            .collect()
    }

    /// Every private key by its `kid`, for tests that attack the verifier.
    pub(crate) fn private(&self) -> Value {
        self.all()
            .map(|key| (key.kid.clone(), json!({"private_pem": key.private_pem, "public_pem": key.public_pem, "jwk": key.jwk})))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use jsonwebtoken::Algorithm;
    use serde_json::json;

    use super::KeyRing;

    fn kids(ring: &KeyRing) -> Vec<String> {
        ring.published()
            .iter()
            .map(|jwk| jwk.get("kid").unwrap().as_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn a_rotation_keeps_or_drops_the_old_keys() {
        let mut ring = KeyRing::generate().unwrap();
        assert_eq!(kids(&ring), ["rs-1", "es-1"]);
        ring.rotate(true).unwrap();
        assert_eq!(kids(&ring), ["rs-2", "es-2", "rs-1", "es-1"]);
        ring.rotate(false).unwrap();
        assert_eq!(kids(&ring), ["rs-3", "es-3"]);
        assert!(!ring.published().iter().any(|jwk| jwk.get("d").is_some()));
    }

    #[test]
    fn what_is_signed_verifies_with_the_published_key() {
        let ring = KeyRing::generate().unwrap();
        for algorithm in [Algorithm::RS256, Algorithm::ES256] {
            let key = ring.current(algorithm);
            let header = json!({"alg": format!("{algorithm:?}"), "kid": key.kid});
            let token = key
                .sign(&header, &json!({"exp": 4_000_000_000_u64}))
                .unwrap();
            let jwk = serde_json::from_value(key.jwk.clone()).unwrap();
            let decoding = jsonwebtoken::DecodingKey::from_jwk(&jwk).unwrap();
            let checks = jsonwebtoken::Validation::new(algorithm);
            assert!(jsonwebtoken::decode::<serde_json::Value>(&token, &decoding, &checks).is_ok());
        }
    }
}
