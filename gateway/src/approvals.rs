//! Approvals: one exact request, other people's consent, one use.
//!
//! An approval is bound to the digest of who asks for what on a resource in which state,
//! until when. It is kept in the store, changes only by compare-and-set, and is used up in
//! the moment before its request is sent. Nothing here decides what needs approval, or
//! whether it still may be done: policy does, at asking and again at use.

mod people;
mod request;
mod rows;
pub(crate) mod shown;
mod stage;
mod summary;
#[cfg(test)]
mod tests;
pub(crate) mod words;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;
use vaultgate_pdp::Approval as Terms;

use crate::clock::Clock;
use crate::config;
use crate::store::{Change, Store, StoreError};

pub(crate) use people::{Ineligible, Vote, from, named, person};
pub(crate) use request::{BoundRequest, Requester};
pub(crate) use rows::Which;
pub(crate) use stage::{Approval, Approved, Stage, State, Step};
pub(crate) use summary::Summary;

/// Why an approval cannot be asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// The principal has too many that nobody has answered.
    #[error("this principal has {limit} open approvals already")]
    TooMany {
        /// How many it may have.
        limit: u32,
    },
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The proof that an approval was used up for a decision, and for no other.
pub(crate) struct Consumed {
    id: Uuid,
    decision: Uuid,
}

impl Consumed {
    /// The approval.
    pub(crate) fn id(&self) -> Uuid {
        self.id
    }

    /// The decision that it was used for.
    pub(crate) fn decision(&self) -> Uuid {
        self.decision
    }
}

/// The approvals in the store; cheap to clone.
#[derive(Clone)]
pub(crate) struct Approvals {
    store: Store,
    clock: Clock,
    per_principal: u32,
}

impl Approvals {
    /// Approvals kept in `store`.
    pub(crate) fn new(store: Store, settings: &config::Approvals, clock: Clock) -> Approvals {
        Approvals {
            store,
            clock,
            per_principal: settings.pending_per_principal,
        }
    }

    /// Asks for an approval under these terms. The same request of the same principal has
    /// one open approval, however often it is sent: tells whether it is new.
    pub(crate) async fn ask(
        &self,
        request: BoundRequest,
        terms: Vec<Terms>,
    ) -> Result<(Approval, bool), AskError> {
        let now = self.clock.latest();
        let approval = Approval::asked(request, terms, now);
        rows::insert(&self.store, approval, now, self.per_principal).await
    }

    /// One approval; none when there is none of this id.
    pub(crate) async fn find(&self, id: Uuid) -> Result<Option<Approval>, StoreError> {
        rows::find(&self.store, id).await
    }

    /// Approvals, newest first; how many at most.
    pub(crate) async fn list(&self, which: Which, most: u32) -> Result<Vec<Approval>, StoreError> {
        rows::list(&self.store, which, self.clock.latest(), most).await
    }

    /// Takes a step if nobody took another one since it was read: false is a lost race.
    pub(crate) async fn take(&self, step: &Step) -> Result<bool, StoreError> {
        rows::advance(&self.store, step, self.clock.latest()).await
    }

    /// Uses an approval up for a decision, if nobody used or ended it since it was read.
    pub(crate) async fn use_up(
        &self,
        approved: Approved,
        decision: Uuid,
    ) -> Result<Option<Consumed>, StoreError> {
        let id = approved.approval().id;
        let step = approved.used(decision, self.now());
        let taken = self.take(&step).await?;
        Ok(taken.then_some(Consumed { id, decision }))
    }

    /// Uses up an approval for a decision that a crash cut off; one that has ended, or was
    /// used up for it, stays as it is.
    pub(crate) async fn spend(&self, id: Uuid, decision: Uuid) -> Result<(), StoreError> {
        let now = self.clock.latest();
        let found = rows::find(&self.store, id).await?;
        if let Some(Stage::Approved(approved)) = found.map(|approval| approval.stage(now)) {
            rows::advance(&self.store, &approved.used(decision, now), now).await?;
        }
        Ok(())
    }

    /// Ends what has run out, and forgets what ended long ago. Returns what ran out.
    pub(crate) async fn sweep(&self) -> Result<Vec<Approval>, StoreError> {
        rows::sweep(&self.store, self.clock.latest()).await
    }

    /// Makes all that is open void, in a change of the store; how many that were.
    pub(crate) async fn void_all(
        &self,
        change: &mut Change,
        why: &str,
    ) -> Result<usize, StoreError> {
        let void = rows::void_all(change, why, self.clock.latest()).await?;
        Ok(void.len())
    }

    /// The time by which approvals are judged: no step back of a clock revives one.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.latest()
    }
}

/// Until when something asked for now holds.
fn until(now: Timestamp, terms: &[Terms]) -> Timestamp {
    let ttl = terms.iter().map(|terms| terms.ttl.seconds()).min();
    after(now, ttl.unwrap_or(0))
}

/// So many seconds later.
fn after(now: Timestamp, seconds: u64) -> Timestamp {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    let later = now.checked_add(SignedDuration::from_secs(seconds));
    later.unwrap_or(Timestamp::MAX)
}

/// Headers that belong to a request as it is sent.
pub(crate) type Headers = BTreeMap<String, String>;
