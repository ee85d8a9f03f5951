//! Once means once: a repeated change gets the reply of the first, never a second job.
//!
//! A key is written to the store before a change may be sent, in one transaction
//! that also looks whether it is there already; of any number of equal requests at
//! once, one gets a [`Ticket`]. The caller has been authenticated and judged as
//! always before it asks here.
//!
//! What may have reached Azure is never forgotten: a key whose ticket was neither
//! completed nor abandoned (a crash, a lost connection, a panic) stays in flight
//! until [`Idempotency::resolve`] says what reconciliation found. Such keys are not
//! evicted and do not expire. Without the store there is no key, so the caller of
//! this module refuses the change.

mod rows;
mod scope;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::clock::Clock;
use crate::config::limits::{IdempotencyLimits, Limits};
use crate::store::{Store, StoreError};

pub(crate) use scope::{Request, Scope};

/// How long a caller is asked to wait while the first request is under way.
const RETRY_YOUNG: Duration = Duration::from_secs(2);
/// The same once the first request has been under way for longer than [`YOUNG`].
const RETRY_OLD: Duration = Duration::from_secs(30);
const YOUNG: Duration = Duration::from_secs(60);

/// Keys whose settling is kept while the store is away.
const MOST_UNSETTLED: usize = 1_000;

/// The keys and their replies.
#[derive(Clone)]
pub(crate) struct Idempotency(Arc<Inner>);

struct Inner {
    store: Store,
    /// This gateway among those that share the store: it settles what it left itself.
    replica: String,
    limits: IdempotencyLimits,
    clock: Clock,
    /// Decisions whose ticket is alive in this process: under way, not orphaned.
    live: Mutex<HashSet<Uuid>>,
    /// What the store did not take when it was away, to be told again.
    unsettled: Mutex<Vec<(Uuid, Resolution)>>,
}

/// What there is under a key.
pub(crate) enum Begin {
    /// Nothing: this request is the first, and may be sent.
    Fresh(Ticket),
    /// The reply of the first request, to be given again as it was.
    Replay(StoredReply),
    /// The first request is still under way: 409 with `Retry-After`.
    InFlight {
        /// Decision of the first request.
        decision: Uuid,
        /// When to ask again.
        retry_after: Duration,
    },
    /// Whether the first request was done cannot be known: 409 that names it.
    Unknown {
        /// Decision of the first request.
        decision: Uuid,
    },
    /// The first request was done, but its reply was too large to keep: 409
    /// `reply-not-kept`. Never sent again, and no reply is made up.
    NotKept {
        /// Decision of the first request.
        decision: Uuid,
        /// Status of the reply that was not kept.
        status: u16,
    },
    /// The key was used with another body: 422.
    DifferentBody {
        /// Decision of the first request.
        decision: Uuid,
    },
    /// The principal has too many requests under way or unresolved.
    TooManyKeys {
        /// Keys that a principal may have.
        limit: u32,
    },
}

/// A reply as it was given to the first request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredReply {
    /// Status code.
    pub(crate) status: u16,
    /// The headers worth giving again, chosen by the caller; never a credential.
    pub(crate) headers: Vec<(String, String)>,
    /// Body.
    pub(crate) body: Vec<u8>,
    /// Decision of the first request: what a record names as `replayed_of`.
    pub(crate) decision: Uuid,
}

/// A change that may or may not have reached Azure before a crash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InFlight {
    /// Its decision, which Azure knows as `activityId`.
    pub(crate) decision: Uuid,
    /// Method of the request.
    pub(crate) method: String,
    /// Canonical path and query of the request.
    pub(crate) target: String,
    /// Vault whose jobs tell whether it was done.
    pub(crate) vault: Option<String>,
    /// When the key was taken.
    pub(crate) started: Timestamp,
}

/// What reconciliation found out about a change.
#[derive(Clone)]
pub(crate) enum Resolution {
    /// It was done; this is what a repeated request is told.
    Reply(StoredReply),
    /// It never reached Azure: the key may be used again.
    NotSent,
    /// It cannot be known: the key stays blocked for the retention time.
    Unknown,
}

impl Idempotency {
    /// Keeps keys in `store` for the gateway of this name.
    pub(crate) fn new(store: Store, replica: &str, limits: &Limits, clock: Clock) -> Idempotency {
        Idempotency(Arc::new(Inner {
            store,
            replica: replica.to_owned(),
            limits: limits.idempotency,
            clock,
            live: Mutex::default(),
            unsettled: Mutex::default(),
        }))
    }

    /// Takes the key of `scope` for `decision`, or says what is there already.
    pub(crate) async fn begin(
        &self,
        scope: &Scope,
        body_digest: [u8; 32],
        decision: Uuid,
        now: Timestamp,
    ) -> Result<Begin, StoreError> {
        let key = rows::Key {
            scope: scope.clone(),
            body_digest: crate::digest::hex(&body_digest),
            decision,
            now,
            replica: self.0.replica.clone(),
        };
        let this = self.clone();
        // On a task of its own: a caller that hangs up must not leave a key half taken.
        let begun = detached(tokio::spawn(async move { this.take(key).await })).await?;
        Ok(match begun {
            Begin::Fresh(mut ticket) => {
                ticket.handed_over = true;
                Begin::Fresh(ticket)
            }
            other => other,
        })
    }

    async fn take(&self, key: rows::Key) -> Result<Begin, StoreError> {
        let decision = key.decision;
        // Before the row exists, so that it is never seen without its ticket.
        let ticket = Ticket::new(self.clone(), decision);
        let found = rows::take(&self.0.store, &self.0.limits, &key).await;
        match found {
            Ok(rows::Taken::Fresh) => Ok(Begin::Fresh(ticket)),
            Ok(rows::Taken::Full) => {
                ticket.forget();
                let limit = self.0.limits.keys_per_principal;
                Ok(Begin::TooManyKeys { limit })
            }
            Ok(rows::Taken::Held(row)) => {
                ticket.forget();
                row.meaning(&key)
            }
            // A commit that failed may still have taken the key; the ticket's drop
            // gives it back, since nothing was sent.
            Err(error) => Err(error),
        }
    }

    /// The changes of which it is not known whether they were done, oldest first:
    /// at start, all that a crash left behind; later, those whose ticket was lost.
    pub(crate) async fn in_flight(&self) -> Result<Vec<InFlight>, StoreError> {
        // Both before and after: a ticket may be settled or taken in between, and one
        // that is under way must never be reconciled.
        let before = self.live().clone();
        let mut found = rows::in_flight(&self.0.store, &self.0.replica).await?;
        let after = self.live();
        found.retain(|change| {
            !before.contains(&change.decision) && !after.contains(&change.decision)
        });
        Ok(found)
    }

    /// Says what became of a change. Returns false, and changes nothing, when it is
    /// under way in this process or was settled before.
    pub(crate) async fn resolve(
        &self,
        decision: Uuid,
        resolution: Resolution,
    ) -> Result<bool, StoreError> {
        if self.live().contains(&decision) {
            return Ok(false);
        }
        self.settle(decision, resolution).await
    }

    /// Deletes what has been kept long enough; returns how many keys.
    pub(crate) async fn sweep(&self, now: Timestamp) -> Result<u64, StoreError> {
        rows::sweep(&self.0.store, now).await
    }

    async fn settle(&self, decision: Uuid, resolution: Resolution) -> Result<bool, StoreError> {
        let this = self.clone();
        detached(tokio::spawn(async move {
            let Inner {
                store,
                limits,
                clock,
                ..
            } = &*this.0;
            let again = resolution.clone();
            let settled = rows::settle(store, limits, decision, resolution, clock.now()).await;
            if settled.is_err() && store.shared() {
                let mut unsettled = this.unsettled();
                if unsettled.len() < MOST_UNSETTLED {
                    unsettled.push((decision, again));
                }
            }
            settled
        }))
        .await
    }

    /// Tells the store again what it did not take while it was away. What is not kept, or not
    /// taken, is settled at the next start.
    pub(crate) async fn settle_again(&self) {
        let waiting = std::mem::take(&mut *self.unsettled());
        for (decision, resolution) in waiting {
            if let Err(error) = self.settle(decision, resolution).await {
                tracing::debug!(%error, "an idempotency key stays in flight");
            }
        }
    }

    fn unsettled(&self) -> MutexGuard<'_, Vec<(Uuid, Resolution)>> {
        self.0
            .unsettled
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn live(&self) -> MutexGuard<'_, HashSet<Uuid>> {
        self.0.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to send one change once. Dropped without a word, the change counts as
/// one that may have reached Azure.
pub(crate) struct Ticket {
    keys: Idempotency,
    decision: Uuid,
    /// False until the caller of [`Idempotency::begin`] has it in hand.
    handed_over: bool,
    settled: bool,
}

impl Ticket {
    fn new(keys: Idempotency, decision: Uuid) -> Ticket {
        keys.live().insert(decision);
        Ticket {
            keys,
            decision,
            handed_over: false,
            settled: false,
        }
    }

    /// Keeps the reply for those who repeat the request. When this fails, the change
    /// stays in flight until it is reconciled.
    pub(crate) async fn complete(mut self, reply: StoredReply) -> Result<(), StoreError> {
        self.settled = true;
        let resolution = Resolution::Reply(reply);
        self.keys.settle(self.decision, resolution).await.map(drop)
    }

    /// Gives the key back: the request was certainly never sent.
    pub(crate) async fn abandon(mut self) -> Result<(), StoreError> {
        self.settled = true;
        let resolution = Resolution::NotSent;
        self.keys.settle(self.decision, resolution).await.map(drop)
    }

    /// The request was sent and no answer came: blocks the key until reconciliation.
    pub(crate) async fn unknown(mut self) -> Result<(), StoreError> {
        self.settled = true;
        let resolution = Resolution::Unknown;
        self.keys.settle(self.decision, resolution).await.map(drop)
    }

    /// There is no row of this ticket's own.
    fn forget(mut self) {
        self.settled = true;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.keys.live().remove(&self.decision);
        if self.settled || self.handed_over {
            return;
        }
        // The caller went away before it had the ticket, so nothing was sent.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (keys, decision) = (self.keys.clone(), self.decision);
            runtime.spawn(async move { keys.settle(decision, Resolution::NotSent).await });
        }
    }
}

/// Awaits a task that goes on when its caller does not.
async fn detached<T>(task: JoinHandle<Result<T, StoreError>>) -> Result<T, StoreError> {
    match task.await {
        Ok(result) => result,
        Err(error) => Err(StoreError::Statement(error.to_string())),
    }
}

fn retry_after(started: Timestamp, now: Timestamp) -> Duration {
    let age = Duration::try_from(now.duration_since(started)).unwrap_or_default();
    if age < YOUNG { RETRY_YOUNG } else { RETRY_OLD }
}

#[cfg(test)]
mod tests;
