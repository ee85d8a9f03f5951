//! The parts of a signed token (RFC 7515, compact form), read but not believed.
//!
//! Everything here is what somebody sent. The header only helps to find a key; the
//! claims are judged after the signature, in `verify`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::refused::Failure;
use super::strict_json;

/// Longest key id, bytes.
const MAX_KID: usize = 256;

/// Header members that name keys or change what is signed. None is ever followed:
/// a token does not choose its verifier.
const NEVER: [&str; 8] = ["crit", "jwk", "jku", "x5u", "x5c", "enc", "zip", "b64"];

/// A token in its parts.
pub(super) struct Compact<'t> {
    /// What the signature is over.
    pub(super) signed: &'t str,
    /// The signature, in base64url.
    pub(super) signature: &'t str,
    pub(super) header: Map<String, Value>,
    pub(super) claims: Map<String, Value>,
}

impl<'t> Compact<'t> {
    /// Reads an access token.
    pub(super) fn parse(token: &'t str) -> Result<Compact<'t>, Failure> {
        let compact = Compact::split(token)?;
        match NEVER
            .into_iter()
            .find(|name| compact.header.contains_key(*name))
        {
            Some(name) => Err(Failure::Header(name)),
            None => Ok(compact),
        }
    }

    /// Reads a proof, whose header carries the key that it proves possession of.
    pub(super) fn parse_proof(token: &'t str) -> Result<Compact<'t>, Failure> {
        let compact = Compact::split(token)?;
        let refused = NEVER.into_iter().filter(|name| *name != "jwk");
        match refused
            .into_iter()
            .find(|name| compact.header.contains_key(*name))
        {
            Some(name) => Err(Failure::Header(name)),
            None => Ok(compact),
        }
    }

    fn split(token: &'t str) -> Result<Compact<'t>, Failure> {
        let three = Failure::Malformed("it has not exactly three parts");
        let (signed, signature) = token.rsplit_once('.').ok_or(three.clone())?;
        let (header, payload) = signed.split_once('.').ok_or(three.clone())?;
        if payload.contains('.') {
            return Err(three);
        }
        let part = |text: &str, wrong| {
            let bytes = URL_SAFE_NO_PAD
                .decode(text)
                .map_err(|_| Failure::Malformed(wrong))?;
            strict_json::object(&bytes).ok_or(Failure::Malformed(wrong))
        };
        if URL_SAFE_NO_PAD
            .decode(signature)
            .map_or(true, |bytes| bytes.is_empty())
        {
            return Err(Failure::Malformed("its signature is not base64url"));
        }
        Ok(Compact {
            signed,
            signature,
            header: part(header, "its header is not an object in base64url")?,
            claims: part(payload, "its claims are not an object in base64url")?,
        })
    }

    /// The issuer that the token claims to be from.
    pub(super) fn issuer(&self) -> Result<&str, Failure> {
        match self.claims.get("iss") {
            Some(Value::String(issuer)) => Ok(issuer),
            Some(_) => Err(Failure::ClaimType("iss".into())),
            None => Err(Failure::ClaimMissing("iss".into())),
        }
    }

    /// The algorithm that the token claims to be signed with.
    pub(super) fn algorithm(&self) -> Result<&str, Failure> {
        let algorithm = self.header.get("alg").and_then(Value::as_str);
        algorithm.ok_or(Failure::Malformed("its algorithm is not a name"))
    }

    /// The key that the token claims to be signed with. A token without one is
    /// refused: trying every key would let an attacker pick the weakest.
    pub(super) fn key_id(&self) -> Result<&str, Failure> {
        match self.header.get("kid") {
            None => Err(Failure::KeyUnknown),
            Some(Value::String(id)) if !id.is_empty() && id.len() <= MAX_KID => Ok(id),
            Some(_) => Err(Failure::Malformed("its key id is not a short name")),
        }
    }

    /// The `typ`, if there is one.
    pub(super) fn token_type(&self) -> Result<Option<&str>, Failure> {
        match self.header.get("typ") {
            None => Ok(None),
            Some(Value::String(typ)) => Ok(Some(typ)),
            Some(_) => Err(Failure::Malformed("its type is not a name")),
        }
    }
}
