//! Proofs of possession (RFC 9449): this request, made now, by the key's holder.
//!
//! A proof is used once. The memory of used proofs is bounded; when it is full,
//! new proofs are refused, since forgetting one would let it be used again.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use jiff::Timestamp;
use jsonwebtoken::jwk::{Jwk, ThumbprintHash};
use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use serde_json::Value;
use url::Url;

use super::claims::Signed;
use super::compact::Compact;
use super::keys::algorithms;
use super::refused::Failure;
use crate::digest::sha256_raw;

/// Algorithms that proofs may be signed with, as challenges name them.
pub(super) const ALGORITHM_NAMES: [&str; 5] = ["ES256", "ES384", "EdDSA", "RS256", "PS256"];

/// How long after `iat` a proof is taken.
const WINDOW: Duration = Duration::from_secs(60);
/// Longest proof, bytes.
const MAX_PROOF: usize = 8 << 10;
/// Used proofs that are remembered, and of them those of one key: nobody fills the
/// memory alone.
const MAX_USED: usize = 100_000;
const MAX_USED_BY_KEY: u32 = 10_000;
/// Members of a JWK that only its holder may know.
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// What a proof must be about.
pub(super) struct Expected<'e> {
    pub(super) method: &'e str,
    pub(super) origin: &'e str,
    pub(super) path: &'e str,
    pub(super) token: &'e str,
    /// SHA-256 thumbprint of the key that the token is bound to.
    pub(super) key: [u8; 32],
    pub(super) leeway: Duration,
}

/// Checks the request's proof, and uses it up.
pub(super) fn check(
    headers: &HeaderMap,
    expected: &Expected<'_>,
    now: Timestamp,
    used: &Replays,
) -> Result<(), Failure> {
    let proof = one_proof(headers)?;
    let proof = Compact::parse_proof(proof).map_err(|_| Failure::Dpop("it cannot be read"))?;
    if proof.token_type().ok().flatten() != Some("dpop+jwt") {
        return Err(Failure::Dpop("its type is not `dpop+jwt`"));
    }
    signed_by(&proof, &expected.key)?;
    let claims = Signed(&proof.claims);
    let text = |name: &str| proof.claims.get(name).and_then(Value::as_str);
    if text("htm") != Some(expected.method) {
        return Err(Failure::Dpop("it is for another method"));
    }
    if !text("htu").is_some_and(|htu| same_address(htu, expected.origin, expected.path)) {
        return Err(Failure::Dpop("it is for another address"));
    }
    let digest = URL_SAFE_NO_PAD.encode(sha256_raw(expected.token.as_bytes()));
    if text("ath") != Some(&digest) {
        return Err(Failure::Dpop("it is for another token"));
    }
    let now = now.as_duration().as_secs_f64();
    let issued = claims
        .seconds("iat")
        .ok()
        .flatten()
        .ok_or(Failure::Dpop("it has no time"))?;
    let leeway = expected.leeway.as_secs_f64();
    if issued > now + leeway || now > issued + WINDOW.as_secs_f64() + leeway {
        return Err(Failure::Dpop("it is not of this moment"));
    }
    let id = text("jti")
        .filter(|id| !id.is_empty())
        .ok_or(Failure::Dpop("it has no id"))?;
    let forget = issued + WINDOW.as_secs_f64() + leeway;
    used.use_up(&expected.key, id, forget, now)
}

fn one_proof(headers: &HeaderMap) -> Result<&str, Failure> {
    let mut values = headers.get_all("dpop").iter();
    match (values.next().map(|value| value.to_str()), values.next()) {
        (Some(Ok(proof)), None) if proof.len() <= MAX_PROOF => Ok(proof),
        (None, _) => Err(Failure::Dpop("it is missing")),
        _ => Err(Failure::Dpop("there must be exactly one, as text")),
    }
}

/// The proof's own key must be the one that the token is bound to.
fn signed_by(proof: &Compact<'_>, bound: &[u8; 32]) -> Result<(), Failure> {
    let wrong = Failure::Dpop("its key is not a public key for signatures");
    let Some(Value::Object(members)) = proof.header.get("jwk") else {
        return Err(wrong);
    };
    if PRIVATE.iter().any(|name| members.contains_key(*name)) {
        return Err(Failure::Dpop("its header gives a private key away"));
    }
    let named = proof.algorithm().map_err(|_| wrong.clone())?;
    let known = ALGORITHM_NAMES.contains(&named);
    let algorithm = named
        .parse::<Algorithm>()
        .ok()
        .filter(|_| known)
        .ok_or(wrong.clone())?;
    let jwk: Jwk =
        serde_json::from_value(Value::Object(members.clone())).map_err(|_| wrong.clone())?;
    let fits = algorithms(&jwk).contains(&algorithm);
    // The decoding key is made first: it holds the members to base64url, so that
    // the thumbprint's text cannot be forged by what stands in them.
    let key = DecodingKey::from_jwk(&jwk)
        .ok()
        .filter(|_| fits)
        .ok_or(wrong.clone())?;
    let thumbprint = jwk.thumbprint(ThumbprintHash::SHA256).map_err(|_| wrong)?;
    if thumbprint != URL_SAFE_NO_PAD.encode(bound) {
        return Err(Failure::Dpop("its key is not the one of the token"));
    }
    let good = crypto::verify(proof.signature, proof.signed.as_bytes(), &key, algorithm);
    match good {
        Ok(true) => Ok(()),
        _ => Err(Failure::Dpop("its signature is not valid")),
    }
}

/// Whether two addresses are the same but for query and fragment.
fn same_address(claimed: &str, origin: &str, path: &str) -> bool {
    let bare = |text: &str| {
        let mut url = Url::parse(text).ok()?;
        url.set_query(None);
        url.set_fragment(None);
        Some(url)
    };
    let expected = bare(&format!("{origin}{path}"));
    expected.is_some() && bare(claimed) == expected
}

/// The proofs that were used, until they would be too old anyway.
#[derive(Default)]
pub(super) struct Replays(Mutex<Used>);

#[derive(Default)]
struct Used {
    ids: HashSet<[u8; 32]>,
    by_key: HashMap<[u8; 32], u32>,
    /// In the order of use.
    order: VecDeque<UsedProof>,
}

struct UsedProof {
    /// When it may be forgotten, in seconds since 1970.
    forget: f64,
    id: [u8; 32],
    key: [u8; 32],
}

impl Replays {
    fn use_up(&self, key: &[u8; 32], id: &str, forget: f64, now: f64) -> Result<(), Failure> {
        let id = sha256_raw(&[key.as_slice(), id.as_bytes()].concat());
        let mut used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        used.forget_before(now);
        if used.ids.contains(&id) {
            return Err(Failure::Dpop("it was used before"));
        }
        let mine = used.by_key.get(key).copied().unwrap_or_default();
        if used.ids.len() >= MAX_USED || mine >= MAX_USED_BY_KEY {
            return Err(Failure::VerificationLimit);
        }
        used.ids.insert(id);
        used.by_key.insert(*key, mine + 1);
        let key = *key;
        used.order.push_back(UsedProof { forget, id, key });
        Ok(())
    }
}

impl Used {
    fn forget_before(&mut self, now: f64) {
        while self.order.front().is_some_and(|oldest| oldest.forget < now) {
            let Some(oldest) = self.order.pop_front() else {
                return;
            };
            self.ids.remove(&oldest.id);
            if let Some(count) = self.by_key.get_mut(&oldest.key) {
                *count -= 1;
                if *count == 0 {
                    self.by_key.remove(&oldest.key);
                }
            }
        }
    }
}
