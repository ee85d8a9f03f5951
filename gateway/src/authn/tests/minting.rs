//! Keys and tokens: honest ones, and the parts that hostile ones are made of.

use std::collections::HashMap;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, PublicKeyData as _};
use serde_json::{Value, json};

use super::{AUDIENCE, ISSUER};

/// The moment at which the tests run.
pub(super) fn now() -> i64 {
    1_795_402_800
}

/// A key pair.
pub(super) struct Signing {
    pub(super) encoding: EncodingKey,
    pub(super) algorithm: Algorithm,
    /// Public half with `kid`, `use` and `alg`.
    pub(super) jwk: Value,
    pub(super) public_pem: String,
    pub(super) public_der: Vec<u8>,
}

static KEYS: LazyLock<HashMap<&'static str, Signing>> = LazyLock::new(|| {
    crate::authn::install_crypto();
    let names = [
        "es-1",
        "es-2",
        "rs-1",
        "enc-1",
        "ops-1",
        "attacker-es",
        "issuer2-es",
        "proof",
    ];
    names
        .into_iter()
        .map(|name| (name, generate(name)))
        .collect()
});

/// A key by its name; those with `es` in it are EC keys.
pub(super) fn key(name: &str) -> &'static Signing {
    &KEYS[name]
}

fn generate(name: &str) -> Signing {
    let rsa = matches!(name, "rs-1" | "enc-1" | "ops-1");
    let (scheme, algorithm) = match rsa {
        true => (&PKCS_RSA_SHA256, Algorithm::RS256),
        false => (&PKCS_ECDSA_P256_SHA256, Algorithm::ES256),
    };
    let pair = KeyPair::generate_for(scheme).unwrap();
    let pem = pair.serialize_pem();
    let encoding = match rsa {
        true => EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap(),
        false => EncodingKey::from_ec_pem(pem.as_bytes()).unwrap(),
    };
    let jwk = Jwk::from_encoding_key(&encoding, algorithm).unwrap();
    let mut jwk = serde_json::to_value(jwk).unwrap();
    // The second issuer calls its key as the first does.
    let kid = if name == "issuer2-es" { "es-1" } else { name };
    merge(&mut jwk, &json!({"kid": kid, "use": "sig"}));
    match name {
        "enc-1" => merge(&mut jwk, &json!({"use": "enc", "alg": null})),
        "ops-1" => merge(&mut jwk, &json!({"use": null, "key_ops": ["encrypt"]})),
        _ => {}
    }
    Signing {
        encoding,
        algorithm,
        jwk,
        public_pem: pair.public_key_pem(),
        public_der: pair.subject_public_key_info(),
    }
}

/// A merge patch; `null` removes.
pub(super) fn merge(base: &mut Value, patch: &Value) {
    let (Some(base), Some(patch)) = (base.as_object_mut(), patch.as_object()) else {
        return;
    };
    for (name, value) in patch {
        match value {
            Value::Null => drop(base.remove(name)),
            _ => drop(base.insert(name.clone(), value.clone())),
        }
    }
}

pub(super) fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A token to sign.
pub(super) struct Minted {
    pub(super) header: Value,
    pub(super) claims: Value,
    key: &'static str,
}

impl Minted {
    /// A good token of the first issuer.
    pub(super) fn honest() -> Minted {
        Minted {
            header: json!({"alg": "ES256", "typ": "at+jwt", "kid": "es-1"}),
            claims: json!({
                "iss": ISSUER, "aud": AUDIENCE, "sub": "agent-1", "client_id": "agent",
                "iat": now(), "nbf": now(), "exp": now() + 300, "jti": "id-1",
                "roles": ["BackupAgent"], "tid": "t-1", "scope": "backup.read",
            }),
            key: "es-1",
        }
    }

    pub(super) fn claims(mut self, patch: Value) -> Minted {
        merge(&mut self.claims, &patch);
        self
    }

    pub(super) fn header(mut self, patch: Value) -> Minted {
        merge(&mut self.header, &patch);
        self
    }

    pub(super) fn key(mut self, key: &'static str) -> Minted {
        self.key = key;
        self
    }

    pub(super) fn sign(&self) -> String {
        let key = key(self.key);
        let (header, claims) = (self.header.to_string(), self.claims.to_string());
        sign(&header, &claims, &key.encoding, key.algorithm)
    }
}

/// A compact signature over exactly these texts.
pub(super) fn sign(header: &str, claims: &str, key: &EncodingKey, algorithm: Algorithm) -> String {
    let message = format!("{}.{}", base64url(header), base64url(claims));
    let signature = crypto::sign(message.as_bytes(), key, algorithm).unwrap();
    format!("{message}.{signature}")
}
