//! The key set of one issuer, kept fresh without ever being asked for too often.
//!
//! At most one fetch runs, and at most one begins in a cool-down, whatever tokens
//! strangers send. A fetch runs in a task of its own: a caller who goes away neither
//! ends nor repeats it. Callers whose key is known never wait for one. The last good
//! keys are used up to a ceiling of age, then the issuer is degraded.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use jsonwebtoken::Algorithm;
use moka::future::Cache;
use openidconnect::core::{
    CoreAuthDisplay, CoreClaimName, CoreClaimType, CoreClientAuthMethod, CoreGrantType,
    CoreJweContentEncryptionAlgorithm, CoreJweKeyManagementAlgorithm, CoreResponseMode,
    CoreResponseType, CoreSubjectIdentifierType,
};
use openidconnect::{
    DiscoveryError, EmptyAdditionalProviderMetadata, IssuerUrl, JsonWebKeySet, JsonWebKeySetUrl,
    ProviderMetadata,
};
use url::Url;

use super::fetch::{Egress, FetchFault, KeyClient, Permitted, TOTAL};
use super::keys::{Key, KeyName, KeySet};
use super::published_key::PublishedKey;
use super::refused::Failure;
use crate::clock::Clock;
use crate::config::issuers::{Issuer, JwksLimits, KeyLocation};

type Metadata = ProviderMetadata<
    EmptyAdditionalProviderMetadata,
    CoreAuthDisplay,
    CoreClientAuthMethod,
    CoreClaimName,
    CoreClaimType,
    CoreGrantType,
    CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm,
    PublishedKey,
    CoreResponseMode,
    CoreResponseType,
    CoreSubjectIdentifierType,
>;

/// Why the keys were not fetched.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeyFault {
    #[error("`{0}` is not an address")]
    Address(String),
    #[error("no answer within {TOTAL:?}")]
    Timeout,
    #[error("{0}")]
    Fetch(#[from] FetchFault),
    #[error("{0}")]
    Document(String),
    #[error("the key set holds no key that may verify tokens")]
    NoKeys,
}

/// How an attempt to fetch the keys ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attempt {
    Fetched,
    Failed,
}

/// The attempt that began last.
#[derive(Default)]
struct Began {
    number: u64,
    at: Option<Instant>,
    running: bool,
}

/// The keys of one issuer.
pub(super) struct KeySource {
    name: String,
    url: String,
    location: KeyLocation,
    algorithms: Vec<Algorithm>,
    limits: JwksLimits,
    egress: Egress,
    clock: Clock,
    current: ArcSwapOption<KeySet>,
    began: Mutex<Began>,
    /// Attempts by number: whoever asks for the same one waits for the same fetch.
    attempts: Cache<u64, Attempt>,
}

impl KeySource {
    pub(super) fn new(issuer: &Issuer, egress: Egress, clock: Clock) -> Arc<KeySource> {
        Arc::new(KeySource {
            name: issuer.name.clone(),
            url: issuer.url.clone(),
            location: issuer.keys.clone(),
            algorithms: issuer.algorithms.clone(),
            limits: issuer.jwks,
            egress,
            clock,
            current: ArcSwapOption::empty(),
            began: Mutex::default(),
            attempts: Cache::new(16),
        })
    }

    /// Fetches the keys if there are none yet.
    pub(super) async fn warm(self: &Arc<Self>) {
        if self.current().is_none() {
            self.refresh().await;
        }
    }

    /// The key that a token names.
    pub(super) async fn key(self: &Arc<Self>, id: &str) -> Result<Arc<Key>, Failure> {
        let known = self.current();
        if let Some(keys) = &known {
            if self.age(keys) >= self.limits.refresh {
                let source = Arc::clone(self);
                tokio::spawn(async move { source.refresh().await });
            }
            if let Some(key) = keys.find(id) {
                return Ok(key);
            }
        }
        // The issuer may have changed its keys since; its answer settles it.
        let attempt = self.refresh().await;
        match self.current() {
            None => Err(Failure::IssuerDegraded),
            Some(keys) => keys.find(id).ok_or(match attempt {
                Attempt::Fetched => Failure::KeyUnknown,
                Attempt::Failed => Failure::IssuerDegraded,
            }),
        }
    }

    /// Fetches the keys in the background when they are due: sessions ask for no key by
    /// themselves, and must notice one that was withdrawn.
    pub(super) fn keep_fresh(self: &Arc<Self>) {
        let due = self
            .current()
            .is_none_or(|keys| self.age(&keys) >= self.limits.refresh);
        if due {
            let source = Arc::clone(self);
            tokio::spawn(async move { source.refresh().await });
        }
    }

    /// Whether a key that verified a token earlier is still one of the issuer's.
    pub(super) fn still_publishes(&self, name: &KeyName) -> bool {
        let key = self.current().and_then(|keys| keys.find(&name.id));
        key.is_some_and(|key| key.name == *name)
    }

    /// The last good keys, unless they are too old.
    fn current(&self) -> Option<Arc<KeySet>> {
        self.current
            .load_full()
            .filter(|keys| self.age(keys) < self.limits.ceiling)
    }

    fn age(&self, keys: &KeySet) -> Duration {
        self.clock
            .monotonic()
            .saturating_duration_since(keys.fetched)
    }

    /// Fetches the keys, or waits for the fetch that runs, or learns how the one of
    /// this cool-down ended.
    async fn refresh(self: &Arc<Self>) -> Attempt {
        let number = self.begin();
        if let Some(ended) = self.attempts.get(&number).await {
            return ended;
        }
        let source = Arc::clone(self);
        let fetch = tokio::spawn(async move {
            source
                .attempts
                .get_with(number, source.attempt(number))
                .await
        });
        fetch.await.unwrap_or(Attempt::Failed)
    }

    /// The number of the attempt that a caller now belongs to.
    fn begin(&self) -> u64 {
        let now = self.clock.monotonic();
        let mut began = self.began();
        let due = began
            .at
            .is_none_or(|at| now.saturating_duration_since(at) >= self.limits.cooldown);
        if due && !began.running {
            began.number += 1;
            began.at = Some(now);
            began.running = true;
        }
        began.number
    }

    fn began(&self) -> MutexGuard<'_, Began> {
        self.began.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn attempt(&self, number: u64) -> Attempt {
        let _running = Running(self);
        let fetched = match tokio::time::timeout(TOTAL, self.fetch()).await {
            Ok(fetched) => fetched,
            Err(_) => Err(KeyFault::Timeout),
        };
        // The last few are kept for callers who are still on their way to ask.
        self.attempts.invalidate(&number.saturating_sub(8)).await;
        match fetched {
            Ok(keys) => {
                self.current.store(Some(Arc::new(keys)));
                Attempt::Fetched
            }
            Err(error) => {
                tracing::warn!(issuer = %self.name, %error, "the issuer's keys were not fetched");
                Attempt::Failed
            }
        }
    }

    async fn fetch(&self) -> Result<KeySet, KeyFault> {
        let address = |_| KeyFault::Address(self.url.clone());
        let published = match &self.location {
            KeyLocation::Discovered => {
                let own = Url::parse(&self.url).map_err(address)?;
                let client = KeyClient::new(self.egress.clone(), Permitted::Origin(own));
                let issuer = IssuerUrl::new(self.url.clone()).map_err(address)?;
                let metadata = Metadata::discover_async(issuer, &client).await;
                metadata.map_err(document)?.jwks().keys().clone()
            }
            KeyLocation::Pinned(uri) => {
                let client = KeyClient::new(self.egress.clone(), Permitted::Only(uri.clone()));
                let uri = JsonWebKeySetUrl::from_url(uri.clone());
                let fetched = JsonWebKeySet::<PublishedKey>::fetch_async(&uri, &client).await;
                fetched.map_err(document)?.keys().clone()
            }
        };
        let keys = KeySet::new(&published, &self.algorithms, self.clock.monotonic());
        match keys.is_empty() {
            true => Err(KeyFault::NoKeys),
            false => Ok(keys),
        }
    }
}

/// Ends the attempt however it ends, so that the next one can begin.
struct Running<'s>(&'s KeySource);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.began().running = false;
    }
}

/// The cause in words; the document itself is hostile until proven otherwise.
pub(super) fn document(error: DiscoveryError<FetchFault>) -> KeyFault {
    match error {
        DiscoveryError::Request(fault) => KeyFault::Fetch(fault),
        DiscoveryError::Response(status, _, _) => {
            KeyFault::Document(format!("status {status}, or not JSON"))
        }
        DiscoveryError::Parse(error) => KeyFault::Document(format!(
            "not a document of an issuer, at `{}`",
            error.path()
        )),
        DiscoveryError::Validation(_) => {
            KeyFault::Document("the document is of another issuer".to_owned())
        }
        _ => KeyFault::Document("the address cannot be asked".to_owned()),
    }
}
