//! Who did how much: the counters that policy budgets are written against.
//!
//! A request that may change something *reserves* before it is judged. The view it
//! gets counts what was done before and what others have in flight, taken under one
//! lock with the reservation itself: of any number of requests at once, exactly one
//! sees an unspent budget of one. A reservation ends as committed (the decision to
//! allow is on record), refused (counted as `denied` only, never against a vault) or
//! released (counted as nothing).
//!
//! A window never ends early: budgets hold at least as long as they say, and up to
//! one bucket longer. Losing counters would widen access, so they are saved with the
//! log index they stand for, and the tail of the log is applied again at start.
//! Memory is bounded; what is in flight is never dropped for it.
//!
//! Gateways on one store share their counters ([`shared`]): a reservation is then made in
//! the store, after all that any of them has counted or has in flight.

mod counters;
mod event;
mod ring;
mod shared;
mod snapshot;
mod table;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use vaultgate_arm::Class;
use vaultgate_pdp::Principal;

use crate::config::limits::Limits;
use crate::store::{Store, StoreError};

pub(crate) use event::ActivityEvent;
pub(crate) use view::ActivityView;

use counters::Counters;
use ring::Moment;
use shared::{Entry, How, Replicated, Shared};
use table::Table;
use uuid::Uuid;

/// The counters; cheap to clone.
#[derive(Clone)]
pub(crate) struct Activity {
    state: Arc<Mutex<State>>,
    /// Present where other gateways count too.
    shared: Option<Arc<Shared>>,
}

struct State {
    principals: Table,
    agents: Table,
    persons: Table,
    vaults: Table,
    estate: Counters,
    /// Protected items of the estate, as last counted by the inventory.
    estate_items: Option<u64>,
    progress: Progress,
    replicated: Replicated,
}

/// Which records of the decision log the counters stand for.
#[derive(Default)]
struct Progress {
    /// Every record below this index has been counted.
    floor: u64,
    /// Records at or above it that have been counted too.
    counted: BTreeSet<u64>,
    /// The reservations in flight, by the least index that their record can have: it
    /// is written after they were made, so behind all that was counted by then.
    pending: BTreeMap<u64, usize>,
}

impl Activity {
    /// Nothing counted yet.
    pub(crate) fn new(limits: &Limits) -> Activity {
        let limits = limits.activity;
        Activity {
            state: Arc::new(Mutex::new(State {
                principals: Table::new(limits.max_principals),
                agents: Table::new(limits.max_principals),
                persons: Table::new(limits.max_principals),
                vaults: Table::new(limits.max_vaults),
                estate: Counters::default(),
                estate_items: None,
                progress: Progress::default(),
                replicated: Replicated::default(),
            })),
            shared: None,
        }
    }

    /// Nothing counted yet; what the gateways on this store count is one count, if they can
    /// be several. `replica` is the name of this one.
    pub(crate) fn of(store: &Store, replica: &str, limits: &Limits) -> Activity {
        let shared = store
            .shared()
            .then(|| Arc::new(Shared::new(store, replica)));
        Activity {
            shared,
            ..Activity::new(limits)
        }
    }

    /// Counts of before this request with what others have in flight, and the
    /// reservation of this request. Its record must be written after this.
    pub(crate) async fn reserve(
        &self,
        event: &ActivityEvent,
        now: Timestamp,
    ) -> Result<(ActivityView, Reservation), StoreError> {
        let Some(shared) = &self.shared else {
            return Ok(self.reserve_here(event, now, Place::Here));
        };
        if !event.class.changes() {
            // Reads have no budget that one too many would break: they are counted after.
            return Ok(self.reserve_here(event, now, Place::Nowhere));
        }
        let (id, at) = (Uuid::now_v7(), Moment::of(now));
        let least_index = self.lock().progress.expect_one();
        match shared.reserve(&self.state, id, event, at).await {
            Ok(view) => {
                let place = Place::InStore(id);
                Ok((view, self.reservation(event, at, place, least_index)))
            }
            Err(error) => {
                self.lock().progress.settle(least_index);
                // It may have been taken nevertheless.
                shared.tell(Entry::settled(id, How::Released, None));
                Err(error)
            }
        }
    }

    /// The same where nobody else counts: in memory, at once.
    pub(crate) fn reserve_alone(
        &self,
        event: &ActivityEvent,
        now: Timestamp,
    ) -> (ActivityView, Reservation) {
        self.reserve_here(event, now, Place::Here)
    }

    fn reserve_here(
        &self,
        event: &ActivityEvent,
        now: Timestamp,
        place: Place,
    ) -> (ActivityView, Reservation) {
        let at = Moment::of(now);
        let mut state = self.lock();
        let view = state.view(event, at);
        if matches!(place, Place::Here) {
            state.hold(event, at);
        }
        let least_index = state.progress.expect_one();
        drop(state);
        (view, self.reservation(event, at, place, least_index))
    }

    fn reservation(
        &self,
        event: &ActivityEvent,
        at: Moment,
        place: Place,
        least_index: u64,
    ) -> Reservation {
        Reservation {
            activity: self.clone(),
            event: event.clone(),
            at,
            place,
            least_index,
            open: true,
        }
    }

    /// The same counts without a reservation: for reads and for preflights.
    pub(crate) fn view(&self, event: &ActivityEvent, now: Timestamp) -> ActivityView {
        self.lock().view(event, Moment::of(now))
    }

    /// Counts a refusal that came before there was anything to reserve. Not applied
    /// again after a restart, because its record has no policy input.
    pub(crate) fn note_refused(&self, principal: &Principal, operation: &str, now: Timestamp) {
        let nothing = serde_json::Value::Null;
        let event = ActivityEvent::new(principal, operation, Class::Read, None, &nothing);
        let at = Moment::of(now);
        match &self.shared {
            None => self.lock().deny(&event, at),
            Some(shared) => shared.tell(Entry::counted(How::Denied, at, event, None)),
        }
    }

    /// Tells how many protected items the estate has; none when that is not known.
    pub(crate) fn set_estate_items(&self, items: Option<u64>) {
        self.lock().estate_items = items;
    }

    /// Applies one record of the decision log, as it was written, at start. Records
    /// that are counted already, and those of other kinds, change nothing.
    pub(crate) fn replay(&self, record: &serde_json::Value) {
        let Some(replayed) = event::Replayed::of(record) else {
            return;
        };
        let mut state = self.lock();
        if state.progress.has_counted(replayed.index) {
            return;
        }
        let how = match replayed.allowed {
            true => How::Allowed,
            false => How::Denied,
        };
        match &self.shared {
            None => state.count(how, &replayed.event, replayed.at),
            Some(shared) => {
                let index = Some(replayed.index);
                shared.tell(Entry::counted(how, replayed.at, replayed.event, index));
            }
        }
        state.progress.count(replayed.index);
    }

    /// Keys held.
    #[cfg(test)]
    pub(crate) fn keys(&self) -> usize {
        let state = self.lock();
        let tables = [
            &state.principals,
            &state.agents,
            &state.persons,
            &state.vaults,
        ];
        tables.iter().map(|table| table.len()).sum()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere must not reset or stop the counting.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the budgets, held while a request is judged. Dropped without a word,
/// it is given back and counts as denied.
pub(crate) struct Reservation {
    activity: Activity,
    event: ActivityEvent,
    at: Moment,
    place: Place,
    least_index: u64,
    open: bool,
}

/// Where a place in the budgets is held.
#[derive(Clone, Copy)]
enum Place {
    /// In this process: nobody else counts.
    Here,
    /// In the store, for every gateway on it.
    InStore(Uuid),
    /// Nowhere: it is counted when it is settled.
    Nowhere,
}

impl Reservation {
    /// The decision to allow is on record under this index.
    pub(crate) fn commit(mut self, index: u64) {
        self.end(Some(index), How::Allowed);
    }

    /// The decision to deny is on record under this index.
    pub(crate) fn refuse(mut self, index: u64) {
        self.end(Some(index), How::Denied);
    }

    /// Gives the place back and counts nothing: what was asked for has been done
    /// before, and the caller got the stored reply. `index` is that of its record.
    pub(crate) fn release(mut self, index: u64) {
        self.end(Some(index), How::Released);
    }

    /// Gives the place back and counts what replaces it, under one lock: in between,
    /// others would see a budget that is not there.
    fn end(&mut self, index: Option<u64>, how: How) {
        self.open = false;
        let mut state = self.activity.lock();
        match (&self.activity.shared, self.place) {
            (Some(shared), Place::InStore(id)) => shared.settle(Entry::settled(id, how, index)),
            (Some(shared), _) => {
                shared.tell(Entry::counted(how, self.at, self.event.clone(), index));
            }
            (None, _) => {
                state.unhold(&self.event);
                state.count(how, &self.event, self.at);
            }
        }
        state.progress.settle(self.least_index);
        if let Some(index) = index {
            state.progress.count(index);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.open {
            self.end(None, How::Denied);
        }
    }
}

impl State {
    fn view(&self, event: &ActivityEvent, at: Moment) -> ActivityView {
        let subject = |table: &Table, key: &str| view::subject(table.row(key), event.class, at);
        ActivityView {
            principal: subject(&self.principals, &event.principal),
            agent: event.agent.as_deref().map(|key| subject(&self.agents, key)),
            person: event
                .person
                .as_deref()
                .map(|key| subject(&self.persons, key)),
            vault: view::vault(
                event.vault.as_deref().and_then(|key| self.vaults.row(key)),
                at,
            ),
            estate: view::estate(&self.estate, self.estate_items, at),
        }
    }

    /// Every counter that the event stands in, those of changes included.
    fn rows(&mut self, event: &ActivityEvent, mut each: impl FnMut(&mut Counters)) {
        self.subjects(event, &mut each);
        // Reads are counted by who made them only: a vault's budget is about changes.
        if !event.class.changes() {
            return;
        }
        if let Some(vault) = &event.vault {
            each(self.vaults.row_mut(vault));
        }
        each(&mut self.estate);
    }

    fn subjects(&mut self, event: &ActivityEvent, each: &mut impl FnMut(&mut Counters)) {
        each(self.principals.row_mut(&event.principal));
        if let Some(agent) = &event.agent {
            each(self.agents.row_mut(agent));
        }
        if let Some(person) = &event.person {
            each(self.persons.row_mut(person));
        }
    }

    fn hold(&mut self, event: &ActivityEvent, at: Moment) {
        self.rows(event, |row| row.hold(event, at));
    }

    fn unhold(&mut self, event: &ActivityEvent) {
        self.rows(event, |row| row.unhold(event));
        if let Some(vault) = &event.vault {
            // A vault that nobody ever changed is not remembered: its name may be
            // an invention of the caller.
            self.vaults.forget_if_blank(vault);
        }
    }

    fn count(&mut self, how: How, event: &ActivityEvent, at: Moment) {
        match how {
            How::Allowed => self.allow(event, at),
            How::Denied => self.deny(event, at),
            How::Released => {}
        }
    }

    fn allow(&mut self, event: &ActivityEvent, at: Moment) {
        self.rows(event, |row| row.allow(event, at));
    }

    fn deny(&mut self, event: &ActivityEvent, at: Moment) {
        self.subjects(event, &mut |row| row.deny(&event.operation, at));
    }
}

impl Progress {
    fn has_counted(&self, index: u64) -> bool {
        index < self.floor || self.counted.contains(&index)
    }

    fn count(&mut self, index: u64) {
        if !self.has_counted(index) {
            self.counted.insert(index);
        }
        self.raise();
    }

    /// Notes one more reservation; gives the least index its record can have.
    fn expect_one(&mut self) -> u64 {
        let least = self.ahead();
        *self.pending.entry(least).or_insert(0) += 1;
        least
    }

    fn settle(&mut self, least: u64) {
        if let Some(count) = self.pending.get_mut(&least) {
            *count -= 1;
            if *count == 0 {
                self.pending.remove(&least);
            }
        }
    }

    /// Moves the floor up to the first record that may still come to be counted: one
    /// of a reservation in flight, or else one that is not written yet.
    fn raise(&mut self) {
        let ahead = self.ahead();
        let first = self.pending.keys().next().copied().unwrap_or(ahead);
        self.floor = self.floor.max(first.min(ahead));
        self.counted = self.counted.split_off(&self.floor);
    }

    /// The index behind the last record that was counted.
    fn ahead(&self) -> u64 {
        self.counted.last().map_or(self.floor, |last| last + 1)
    }
}

#[cfg(test)]
mod tests;
