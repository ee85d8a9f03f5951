//! The keys of one issuer that may verify its tokens.
//!
//! A key has one algorithm, settled when it is read from the key set and from the
//! configuration. The token has no say in it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};

use super::published_key::PublishedKey;

/// A key that may verify tokens.
pub(super) struct Key {
    pub(super) decoding: DecodingKey,
    pub(super) algorithm: Algorithm,
    pub(super) name: KeyName,
}

/// Which key it was: its id, and what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyName {
    pub(super) id: String,
    pub(super) print: [u8; 32],
}

/// The keys of one fetch.
pub(super) struct KeySet {
    keys: HashMap<String, Arc<Key>>,
    /// When they were fetched, by the monotonic clock.
    pub(super) fetched: Instant,
}

impl KeySet {
    /// Takes the keys that may verify signatures with a configured algorithm.
    pub(super) fn new(
        published: &[PublishedKey],
        configured: &[Algorithm],
        fetched: Instant,
    ) -> KeySet {
        let mut times: HashMap<&str, usize> = HashMap::new();
        for id in published
            .iter()
            .filter_map(|key| key.jwk.common.key_id.as_deref())
        {
            *times.entry(id).or_default() += 1;
        }
        let usable = published.iter().filter_map(|key| {
            let id = key.jwk.common.key_id.as_deref()?;
            // Two keys under one name: which is the issuer's own cannot be told.
            if times.get(id) != Some(&1) {
                return None;
            }
            Some((
                id.to_owned(),
                Arc::new(Key::read(&key.jwk, id, configured)?),
            ))
        });
        KeySet {
            keys: usable.collect(),
            fetched,
        }
    }

    /// The key of that name; the name is looked up and nothing else is done with it.
    pub(super) fn find(&self, id: &str) -> Option<Arc<Key>> {
        self.keys.get(id).map(Arc::clone)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

impl Key {
    fn read(jwk: &Jwk, id: &str, configured: &[Algorithm]) -> Option<Key> {
        let signs = matches!(
            jwk.common.public_key_use,
            None | Some(PublicKeyUse::Signature)
        );
        let operations = jwk.common.key_operations.as_ref();
        let verifies = operations.is_none_or(|all| all.contains(&KeyOperations::Verify));
        if !signs || !verifies {
            return None;
        }
        let possible = algorithms(jwk);
        let algorithm = match jwk.common.key_algorithm {
            Some(named) => Algorithm::try_from(named)
                .ok()
                .filter(|one| possible.contains(one)),
            None => configured
                .iter()
                .copied()
                .find(|one| possible.contains(one)),
        }?;
        if !configured.contains(&algorithm) {
            return None;
        }
        let print = serde_json::to_vec(&jwk.algorithm).ok()?;
        Some(Key {
            decoding: DecodingKey::from_jwk(jwk).ok()?,
            algorithm,
            name: KeyName {
                id: id.to_owned(),
                print: crate::digest::sha256_raw(&print),
            },
        })
    }
}

/// The algorithms that a key of this kind can be used with. None is symmetric.
pub(super) fn algorithms(jwk: &Jwk) -> &'static [Algorithm] {
    match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => &[
            Algorithm::RS256,
            Algorithm::RS384,
            Algorithm::RS512,
            Algorithm::PS256,
            Algorithm::PS384,
            Algorithm::PS512,
        ],
        AlgorithmParameters::EllipticCurve(key) => match key.curve {
            EllipticCurve::P256 => &[Algorithm::ES256],
            EllipticCurve::P384 => &[Algorithm::ES384],
            _ => &[],
        },
        AlgorithmParameters::OctetKeyPair(key) => match key.curve {
            EllipticCurve::Ed25519 => &[Algorithm::EdDSA],
            _ => &[],
        },
        _ => &[],
    }
}
