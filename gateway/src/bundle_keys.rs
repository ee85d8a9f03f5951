//! Signatures of bundles, as OPA defines them: `.signatures.json` with one JSON Web Token over
//! the digest of each file.
//!
//! A signature by a key that anybody could have (`none`, a shared secret) or over digests that
//! can be forged (SHA-1, MD5) is none. The algorithm is the key's, never the token's choice.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use aws_lc_rs::digest;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use vaultgate_pdp::Bundle;

/// Algorithms that sign bundles, by their names.
const ALGORITHMS: [(&str, Algorithm); 9] = [
    ("ES256", Algorithm::ES256),
    ("ES384", Algorithm::ES384),
    ("EdDSA", Algorithm::EdDSA),
    ("PS256", Algorithm::PS256),
    ("PS384", Algorithm::PS384),
    ("PS512", Algorithm::PS512),
    ("RS256", Algorithm::RS256),
    ("RS384", Algorithm::RS384),
    ("RS512", Algorithm::RS512),
];

/// Why a bundle's signature does not hold.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignatureError {
    /// Keys are configured, and the bundle is not signed.
    #[error("the bundle is not signed; hint: `vaultgate policy bundle sign`")]
    Unsigned,
    /// The bundle is signed, and no keys are configured to verify it.
    #[error("the bundle is signed, and nothing says by whose key; hint: set `policy.verification`")]
    NoKeys,
    /// `.signatures.json` is not `{"signatures": ["<token>"]}`.
    #[error("`.signatures.json` does not hold one signature: {0}")]
    Form(String),
    /// The signature names another algorithm than the key has.
    #[error("the signature is made with `{0}`, and the key is for another algorithm")]
    Algorithm(String),
    /// No key of this id.
    #[error("the bundle is signed with the key `{0}`, which is not configured")]
    UnknownKey(String),
    /// The signature itself is wrong.
    #[error("the signature does not hold: {0}")]
    Wrong(String),
    /// It is meant for another scope.
    #[error("the signature is for the scope `{0}`")]
    Scope(String),
    /// A file is not what was signed.
    #[error("`{file}`: {what}")]
    File {
        /// Which.
        file: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A key cannot be read.
    #[error("the key cannot be used: {0}")]
    Key(String),
}

/// Keys that bundles may be signed with.
#[derive(Clone, Default)]
pub(crate) struct BundleKeys {
    keys: BTreeMap<String, (Algorithm, DecodingKey)>,
    scope: Option<String>,
}

impl fmt::Debug for BundleKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BundleKeys")
            .field("keys", &self.keys.keys().collect::<Vec<_>>())
            .field("scope", &self.scope)
            .finish()
    }
}

/// The payload of a signature.
#[derive(Serialize, Deserialize)]
struct Signed {
    files: Vec<SignedFile>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keyid: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct SignedFile {
    name: String,
    hash: String,
    algorithm: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signatures {
    signatures: Vec<String>,
}

/// The algorithm of a name.
pub(crate) fn algorithm(name: &str) -> Result<Algorithm, SignatureError> {
    let found = ALGORITHMS.iter().find(|(known, _)| *known == name);
    found.map(|(_, algorithm)| *algorithm).ok_or_else(|| {
        let names: Vec<&str> = ALGORITHMS.iter().map(|(name, _)| *name).collect();
        SignatureError::Key(format!(
            "`{name}` signs no bundle; use one of {}",
            names.join(", ")
        ))
    })
}

impl BundleKeys {
    /// No keys yet, for signatures of this scope.
    pub(crate) fn new(scope: Option<String>) -> BundleKeys {
        BundleKeys {
            keys: BTreeMap::new(),
            scope,
        }
    }

    /// Adds a public key, PEM, for one algorithm.
    pub(crate) fn add(&mut self, id: &str, name: &str, pem: &[u8]) -> Result<(), SignatureError> {
        let algorithm = algorithm(name)?;
        let key = match algorithm {
            Algorithm::ES256 | Algorithm::ES384 => DecodingKey::from_ec_pem(pem),
            Algorithm::EdDSA => DecodingKey::from_ed_pem(pem),
            _ => DecodingKey::from_rsa_pem(pem),
        };
        let key = key.map_err(|error| SignatureError::Key(error.to_string()))?;
        // A point of a curve is two coordinates behind one byte. Another curve's key would be
        // noticed when the first bundle comes, and be told as a wrong signature.
        let point = match algorithm {
            Algorithm::ES256 => Some(65),
            Algorithm::ES384 => Some(97),
            _ => None,
        };
        let bytes = key.try_get_as_bytes().map(<[u8]>::len).ok();
        if point.is_some() && bytes != point {
            let curve = name.replace("ES", "P-");
            return Err(SignatureError::Key(format!(
                "{name} takes a key of the curve {curve}"
            )));
        }
        self.keys.insert(id.to_owned(), (algorithm, key));
        Ok(())
    }

    /// Whether the bundle is what a holder of one of the keys signed. Without keys, only a
    /// bundle that is not signed passes: a signature that nobody looks at is a trap.
    pub(crate) fn verify(&self, bundle: &Bundle) -> Result<(), SignatureError> {
        let signatures = match (bundle.signatures(), self.keys.is_empty()) {
            (None, true) => return Ok(()),
            (None, false) => return Err(SignatureError::Unsigned),
            (Some(_), true) => return Err(SignatureError::NoKeys),
            (Some(signatures), false) => signatures,
        };
        let form = |why: String| SignatureError::Form(why);
        let all: Signatures =
            serde_json::from_str(signatures).map_err(|error| form(error.to_string()))?;
        let [token] = all.signatures.as_slice() else {
            return Err(form(format!("there are {}", all.signatures.len())));
        };
        let header = token.split('.').next().unwrap_or_default();
        let (kid, named) = head(header).map_err(form)?;
        let id = match (kid, self.keys.len()) {
            (Some(kid), _) => kid,
            (None, 1) => self.keys.keys().next().cloned().unwrap_or_default(),
            (None, _) => return Err(form("it names no key".to_owned())),
        };
        let (algorithm, key) = self.keys.get(&id).ok_or(SignatureError::UnknownKey(id))?;
        if ALGORITHMS
            .iter()
            .find(|(_, known)| known == algorithm)
            .map(|(name, _)| *name)
            != Some(named.as_str())
        {
            return Err(SignatureError::Algorithm(named));
        }
        let mut validation = Validation::new(*algorithm);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        let signed = jsonwebtoken::decode::<Signed>(token, key, &validation)
            .map_err(|error| SignatureError::Wrong(error.to_string()))?
            .claims;
        if signed.scope != self.scope {
            return Err(SignatureError::Scope(signed.scope.unwrap_or_default()));
        }
        files(bundle, &signed.files)
    }
}

/// Key id and algorithm of a token's header, read apart: what signs nothing is told by name.
fn head(encoded: &str) -> Result<(Option<String>, String), String> {
    #[derive(Deserialize)]
    struct Head {
        alg: String,
        kid: Option<String>,
    }
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(encoded)
        .map_err(|error| error.to_string())?;
    let head: Head = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    Ok((head.kid, head.alg))
}

/// Whether every file is signed as it is, and nothing else is.
fn files(bundle: &Bundle, signed: &[SignedFile]) -> Result<(), SignatureError> {
    let wrong = |file: &str, what| SignatureError::File {
        file: file.to_owned(),
        what,
    };
    let mut open: BTreeMap<&str, &SignedFile> = BTreeMap::new();
    for file in signed {
        let name = file.name.strip_prefix('/').unwrap_or(&file.name);
        if open.insert(name, file).is_some() {
            return Err(wrong(name, "it is signed twice"));
        }
    }
    let mut there: BTreeSet<String> = BTreeSet::new();
    for (path, bytes) in bundle.signed_files() {
        there.insert(path.to_owned());
        let file = open
            .remove(path)
            .ok_or_else(|| wrong(path, "it is not signed"))?;
        let algorithm = match file.algorithm.as_str() {
            "SHA-256" => &digest::SHA256,
            "SHA-384" => &digest::SHA384,
            "SHA-512" => &digest::SHA512,
            _ => {
                return Err(wrong(
                    path,
                    "its digest is of a kind that can be forged, or unknown",
                ));
            }
        };
        let found = crate::digest::hex(digest::digest(algorithm, &bytes).as_ref());
        if !found.eq_ignore_ascii_case(&file.hash) {
            return Err(wrong(path, "it is not what was signed"));
        }
    }
    match open.keys().next() {
        Some(missing) => Err(wrong(missing, "it is signed and missing")),
        None => Ok(()),
    }
}

/// The text of `.signatures.json` for a bundle.
pub(crate) fn sign(
    bundle: &Bundle,
    key: &Path,
    name: &str,
    id: &str,
    scope: Option<String>,
) -> Result<String, SignatureError> {
    let algorithm = algorithm(name)?;
    let unusable = |error: String| SignatureError::Key(error);
    let pem = std::fs::read(key).map_err(|error| unusable(error.to_string()))?;
    let key = match algorithm {
        Algorithm::ES256 | Algorithm::ES384 => EncodingKey::from_ec_pem(&pem),
        Algorithm::EdDSA => EncodingKey::from_ed_pem(&pem),
        _ => EncodingKey::from_rsa_pem(&pem),
    };
    let key = key.map_err(|error| {
        unusable(format!(
            "{error}; hint: PEM as PKCS#8, `openssl pkcs8 -topk8 -nocrypt -in KEY`"
        ))
    })?;
    let files = bundle.signed_files().map(|(path, bytes)| SignedFile {
        name: path.to_owned(),
        hash: crate::digest::hex(digest::digest(&digest::SHA256, &bytes).as_ref()),
        algorithm: "SHA-256".to_owned(),
    });
    let signed = Signed {
        files: files.collect(),
        scope,
        keyid: Some(id.to_owned()),
    };
    let mut header = Header::new(algorithm);
    header.kid = Some(id.to_owned());
    let token = jsonwebtoken::encode(&header, &signed, &key)
        .map_err(|error| unusable(error.to_string()))?;
    let signatures = Signatures {
        signatures: vec![token],
    };
    serde_json::to_string(&signatures).map_err(|error| unusable(error.to_string()))
}

#[cfg(test)]
mod tests;
