//! One token against its issuer: the order of the checks.
//!
//! First what costs nothing, then the key, then the signature; claims are believed
//! only after it. From there on a refusal names whose token it was.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use jsonwebtoken::crypto;
use serde_json::Value;
use vaultgate_pdp::Principal;

use super::binding::Confirmation;
use super::claims::{Signed, timestamp};
use super::compact::Compact;
use super::keys::KeyName;
use super::refused::{AuthnError, Failure, Signer};
use super::{Door, Trusted, entra, principal};
use crate::config::issuers::{Issuer, media_type, trimmed};

/// A token that was verified, with what is checked again at each use.
pub(super) struct Verified {
    pub(super) trusted: Arc<Trusted>,
    pub(super) principal: Arc<Principal>,
    pub(super) token_id: Option<String>,
    pub(super) times: Times,
    pub(super) confirmation: Confirmation,
    /// The key that signed it.
    pub(super) key: KeyName,
    /// Whether it was once seen to have ended.
    ended: AtomicBool,
}

/// When a token is good, in seconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    not_before: f64,
    expires: f64,
}

impl Verified {
    /// Whether the token is good at this moment. One that has ended stays ended,
    /// even if the clock steps back.
    pub(super) fn check_time(&self, now: Timestamp) -> Result<(), Failure> {
        if self.ended.load(Ordering::Relaxed) {
            return Err(Failure::Expired);
        }
        let checked = self.times.check(now, self.trusted.issuer.leeway);
        if checked == Err(Failure::Expired) {
            self.ended.store(true, Ordering::Relaxed);
        }
        checked
    }

    /// A check that this token failed.
    pub(super) fn refused(&self, failure: Failure) -> AuthnError {
        let signer = Signer {
            issuer: self.trusted.issuer.name.clone(),
            subject: Some(self.principal.subject.clone()),
        };
        AuthnError::signed(failure, signer)
    }

    /// Roughly the memory it takes, bytes.
    pub(super) fn weight(&self) -> u32 {
        let principal = &self.principal;
        let lists = [&principal.roles, &principal.groups, &principal.scopes];
        let texts = lists
            .into_iter()
            .flatten()
            .map(|text| text.len() + 48)
            .sum::<usize>();
        u32::try_from(texts.saturating_add(1_024)).unwrap_or(u32::MAX)
    }
}

impl Times {
    fn check(&self, now: Timestamp, leeway: Duration) -> Result<(), Failure> {
        let now = now.as_duration().as_secs_f64();
        if now >= self.expires + leeway.as_secs_f64() {
            return Err(Failure::Expired);
        }
        if self.not_before > now + leeway.as_secs_f64() {
            return Err(Failure::NotYetValid);
        }
        Ok(())
    }

    /// When the token ends.
    pub(super) fn expires(&self) -> Timestamp {
        timestamp(self.expires)
    }
}

/// Verifies a token that names this issuer.
pub(super) async fn verify(
    trusted: &Arc<Trusted>,
    door: Door,
    token: &Compact<'_>,
    now: Timestamp,
) -> Result<Verified, AuthnError> {
    let issuer = &trusted.issuer;
    token_type(issuer, token)?;
    let key = trusted.keys.key(token.key_id()?).await?;
    // The key's algorithm, never the token's: the token may only agree.
    if token.algorithm()? != format!("{:?}", key.algorithm) {
        return Err(Failure::Algorithm.into());
    }
    let good = crypto::verify(
        token.signature,
        token.signed.as_bytes(),
        &key.decoding,
        key.algorithm,
    );
    if !good.unwrap_or(false) {
        return Err(Failure::Signature.into());
    }
    let judged = judge(issuer, door, token, now);
    let (principal, token_id, times, confirmation) =
        judged.map_err(|failure| AuthnError::signed(failure, Signer::of(&issuer.name, token)))?;
    Ok(Verified {
        trusted: Arc::clone(trusted),
        principal: Arc::new(principal),
        token_id,
        times,
        confirmation,
        key: key.name.clone(),
        ended: AtomicBool::new(false),
    })
}

type Judged = (Principal, Option<String>, Times, Confirmation);

/// The claims of a token whose signature is good.
fn judge(
    issuer: &Issuer,
    door: Door,
    token: &Compact<'_>,
    now: Timestamp,
) -> Result<Judged, Failure> {
    let claims = Signed(&token.claims);
    audience(issuer, door, claims)?;
    // Nobody approves through another, whoever vouches for the chain.
    if door == Door::Console && claims.has("act") {
        return Err(Failure::Actor);
    }
    let times = times(issuer, claims, now)?;
    identity_token(token, claims)?;
    if let Some(tenant) = &issuer.entra {
        entra::check(tenant, claims)?;
    }
    let confirmation = Confirmation::read(claims)?;
    let principal = principal::build(issuer, claims, &confirmation)?;
    let token_id = match claims.named("jti")? {
        Some(id) => Some(id),
        None => claims.named("uti")?,
    };
    Ok((principal, token_id.map(str::to_owned), times, confirmation))
}

fn token_type(issuer: &Issuer, token: &Compact<'_>) -> Result<(), Failure> {
    let typ = token.token_type()?.map(media_type);
    match issuer.token_types.contains(&typ) {
        true => Ok(()),
        false => Err(Failure::Type),
    }
}

/// An ID token tells a client who signed in; it opens nothing. Where access tokens
/// have a type of their own, the type has told them apart already.
fn identity_token(token: &Compact<'_>, claims: Signed<'_>) -> Result<(), Failure> {
    let typed = token
        .token_type()?
        .is_some_and(|typ| media_type(typ) == "at+jwt");
    let marks = ["nonce", "at_hash", "c_hash"];
    match !typed && marks.iter().any(|mark| claims.has(mark)) {
        true => Err(Failure::Type),
        false => Ok(()),
    }
}

fn audience(issuer: &Issuer, door: Door, claims: Signed<'_>) -> Result<(), Failure> {
    let wrong = || Failure::ClaimType("aud".into());
    let named: Vec<&str> = match claims.0.get("aud") {
        None => return Err(Failure::ClaimMissing("aud".into())),
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(all)) => {
            let texts = all.iter().map(|one| one.as_str().ok_or_else(wrong));
            texts.collect::<Result<_, _>>()?
        }
        Some(_) => return Err(wrong()),
    };
    let any = |wanted: &[String]| {
        named
            .iter()
            .any(|one| wanted.iter().any(|own| own == trimmed(one)))
    };
    // A token that could approve does not act as well, even if it names both.
    let (own, other) = match door {
        Door::Data => (&issuer.audiences, &issuer.console_audiences),
        Door::Console => (&issuer.console_audiences, &issuer.audiences),
    };
    match any(own) && !any(other) {
        true => Ok(()),
        false => Err(Failure::Audience),
    }
}

fn times(issuer: &Issuer, claims: Signed<'_>, now: Timestamp) -> Result<Times, Failure> {
    let missing = |name: &str| Failure::ClaimMissing(name.to_owned());
    let expires = claims.seconds("exp")?.ok_or_else(|| missing("exp"))?;
    let issued = claims.seconds("iat")?.ok_or_else(|| missing("iat"))?;
    let not_before = claims.seconds("nbf")?.unwrap_or(issued);
    let times = Times {
        not_before: not_before.max(issued),
        expires,
    };
    times.check(now, issuer.leeway)?;
    if expires - issued > issuer.max_lifetime.as_secs_f64() {
        return Err(Failure::Lifetime);
    }
    Ok(times)
}
