//! Who asks: a token, verified against the issuers of the configuration.
//!
//! Owns the way from the `Authorization` header to a [`Principal`]. The token ends
//! here: nothing that leaves this module holds it, no error repeats a part of it,
//! and only its SHA-256 names it afterwards. Whatever cannot be verified is
//! refused; a degraded issuer degrades nobody but its own callers.

mod binding;
mod challenge;
mod claims;
mod compact;
mod credential;
mod dpop;
mod entra;
mod fetch;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod key_source;
mod keys;
mod principal;
mod published_key;
mod refused;
pub(crate) mod sign_in;
mod source_limit;
mod strict_json;
mod verify;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method};
use jiff::Timestamp;
use moka::future::Cache;
use vaultgate_pdp::Principal;

use crate::clock::Clock;
use crate::config::issuers::{Dpop, Issuer};
use crate::outbound::Outbound;

use compact::Compact;
use credential::Credential;
use fetch::Egress;
use key_source::KeySource;
use source_limit::SourceLimit;
use verify::Verified;

pub(crate) use refused::AuthnError;

/// Verified tokens are kept in at most this much memory, bytes.
const CACHE_BYTES: u64 = 32 << 20;
/// A verified token is verified again after this long, whatever its `exp`.
const CACHE_TIME: Duration = Duration::from_secs(900);

/// Takes the cryptography that tokens are verified with. Call it once, at start:
/// without it a second provider somewhere in the build would panic at first use.
pub(crate) fn install_crypto() {
    // An error means that it was installed before, which is what is wanted.
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
}

/// Which door a token is shown at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// Where requests to Azure come in.
    Data,
    /// Where approvals are given: its tokens have an audience of their own, so that a
    /// stolen token of a command line cannot approve.
    Console,
}

/// What a request presents to prove who it is from.
pub(crate) struct Presented<'p> {
    /// Method of the request.
    pub(crate) method: &'p Method,
    /// Origin under which callers know this door, from the configuration. Never the
    /// request's `Host`: a proof made for another server would then be good here.
    pub(crate) origin: &'p str,
    /// Path of the request target, without its query.
    pub(crate) path: &'p str,
    /// Headers as received.
    pub(crate) headers: &'p HeaderMap,
    /// SHA-256 of the verified client certificate, if one was shown.
    pub(crate) client_certificate_sha256: Option<[u8; 32]>,
    /// Address that verifications are counted against.
    pub(crate) source: IpAddr,
}

/// A caller whose token was verified.
#[derive(Clone)]
pub(crate) struct Authenticated {
    /// The caller, as policy sees it.
    pub(crate) principal: Arc<Principal>,
    /// SHA-256 of the token.
    pub(crate) token_digest: [u8; 32],
    /// The issuer's own name of the token (`jti`, `uti`).
    pub(crate) token_id: Option<String>,
    /// When the token ends.
    pub(crate) expires: Timestamp,
    /// Configured name of the issuer.
    pub(crate) verified_by: String,
    verified: Arc<Verified>,
}

impl std::fmt::Debug for Authenticated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authenticated")
            .field("principal", &self.principal)
            .field("verified_by", &self.verified_by)
            .finish_non_exhaustive()
    }
}

impl Authenticated {
    /// Whether the token is still good: for requests that had to wait.
    pub(crate) fn still_good(&self, now: Timestamp) -> Result<(), AuthnError> {
        let checked = self.verified.check_time(now);
        checked.map_err(|failure| self.verified.refused(failure))
    }

    /// The same for a session, which lasts: the key that signed must still be published.
    pub(crate) fn still_trusted(&self, now: Timestamp) -> Result<(), AuthnError> {
        self.still_good(now)?;
        let keys = &self.verified.trusted.keys;
        keys.keep_fresh();
        match keys.still_publishes(&self.verified.key) {
            true => Ok(()),
            false => Err(self.verified.refused(refused::Failure::KeyUnknown)),
        }
    }

    /// Takes when and how somebody signed in from the sign-in itself, where the token does
    /// not say. Only of the same person.
    pub(crate) fn signed_in(mut self, ended: &sign_in::Ended) -> Authenticated {
        let mut principal = Principal::clone(&self.principal);
        if principal.subject == ended.subject {
            let at = ended
                .auth_time
                .and_then(|at| Timestamp::from_second(at).ok());
            principal.auth_time = principal.auth_time.or(at.map(|at| at.to_string()));
            principal.acr = principal.acr.or_else(|| ended.acr.clone());
        }
        self.principal = Arc::new(principal);
        self
    }
}

/// One issuer and its keys.
struct Trusted {
    issuer: Issuer,
    keys: Arc<KeySource>,
}

/// Verifies callers.
pub(crate) struct Authenticator {
    door: Door,
    /// By the exact `iss`: an issuer's keys can only ever verify its own tokens.
    issuers: HashMap<String, Arc<Trusted>>,
    /// By SHA-256 of the whole token; what is found is judged again by time,
    /// key and binding.
    verified: Cache<[u8; 32], Arc<Verified>>,
    limit: SourceLimit,
    proofs: dpop::Replays,
    /// Whether any issuer takes proofs: challenges then offer the scheme.
    takes_proofs: bool,
    clock: Clock,
}

impl Authenticator {
    /// An authenticator for these issuers. Keys are fetched when first needed.
    pub(crate) fn new(issuers: &[Issuer], outbound: Outbound, clock: Clock) -> Authenticator {
        Authenticator::with(issuers, Egress::Outbound(outbound), clock)
    }

    fn with(issuers: &[Issuer], egress: Egress, clock: Clock) -> Authenticator {
        let trusted = issuers.iter().map(|issuer| {
            let keys = KeySource::new(issuer, egress.clone(), clock.clone());
            let issuer = issuer.clone();
            (issuer.url.clone(), Arc::new(Trusted { issuer, keys }))
        });
        Authenticator::at(Door::Data, trusted.collect(), clock)
    }

    /// The same issuers and keys at the console door. Nothing verified at one door is
    /// known at the other.
    pub(crate) fn console(&self) -> Authenticator {
        Authenticator::at(Door::Console, self.issuers.clone(), self.clock.clone())
    }

    fn at(door: Door, issuers: HashMap<String, Arc<Trusted>>, clock: Clock) -> Authenticator {
        let takes_proofs = issuers
            .values()
            .any(|trusted| trusted.issuer.dpop != Dpop::Off);
        Authenticator {
            door,
            issuers,
            verified: Cache::builder()
                .max_capacity(CACHE_BYTES)
                .weigher(|_, verified: &Arc<Verified>| verified.weight())
                .time_to_live(CACHE_TIME)
                .build(),
            limit: SourceLimit::new(clock.clone()),
            proofs: dpop::Replays::default(),
            takes_proofs,
            clock,
        }
    }

    /// Fetches every issuer's keys, so that the first callers need not wait. What
    /// cannot be fetched is tried again when a caller needs it.
    pub(crate) async fn warm(&self) {
        for trusted in self.issuers.values() {
            trusted.keys.warm().await;
        }
    }

    /// Says who a request is from, or which check failed.
    pub(crate) async fn authenticate(
        &self,
        presented: Presented<'_>,
    ) -> Result<Authenticated, AuthnError> {
        let credential = Credential::read(presented.headers)?;
        let digest = crate::digest::sha256_raw(credential.token.as_bytes());
        let verified = match self.known(&digest).await {
            Some(verified) => verified,
            None => self.verify(&credential, digest, presented.source).await?,
        };
        // Time and binding belong to the request, not to the token: never cached.
        let now = self.clock.latest();
        verified
            .check_time(now)
            .and_then(|()| self.bound(&verified, &credential, &presented, now))
            .map_err(|failure| verified.refused(failure))?;
        Ok(Authenticated {
            principal: Arc::clone(&verified.principal),
            token_digest: digest,
            token_id: verified.token_id.clone(),
            expires: verified.times.expires(),
            verified_by: verified.trusted.issuer.name.clone(),
            verified,
        })
    }

    /// Takes one of the verifications that an address has: a sign-in costs as much.
    pub(crate) fn spend_verification(&self, source: IpAddr) -> Result<(), AuthnError> {
        Ok(self.limit.check(source)?)
    }

    /// The token's earlier verification, while the key that signed it is published.
    async fn known(&self, digest: &[u8; 32]) -> Option<Arc<Verified>> {
        let verified = self.verified.get(digest).await?;
        let keys = &verified.trusted.keys;
        keys.still_publishes(&verified.key).then_some(verified)
    }

    async fn verify(
        &self,
        credential: &Credential<'_>,
        digest: [u8; 32],
        source: IpAddr,
    ) -> Result<Arc<Verified>, AuthnError> {
        let token = Compact::parse(credential.token)?;
        let trusted = self.issuers.get(token.issuer()?);
        let trusted = trusted.ok_or(refused::Failure::IssuerUnknown)?;
        // From here on it costs a signature check, perhaps a fetch.
        self.limit.check(source)?;
        let verified = verify::verify(trusted, self.door, &token, self.clock.latest()).await?;
        let verified = Arc::new(verified);
        self.verified.insert(digest, Arc::clone(&verified)).await;
        Ok(verified)
    }
}

#[cfg(test)]
mod tests;
