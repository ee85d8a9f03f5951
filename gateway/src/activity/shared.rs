//! Counters that several gateways share.
//!
//! What is counted is a list in the store, and every gateway applies it in the same order
//! to counters of its own. A reservation is appended under the store's lock, after all that
//! stands in the list: of any number of requests at any number of gateways, exactly one sees
//! an unspent budget of one. What a reservation came to is appended a moment later; until
//! then it counts as in flight, so a budget never looks larger than it is.
//!
//! What a gateway that died had in flight stays so until it starts again and says by its own
//! log what came of it, or for a day; then it counts as done.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex as Turn, Notify, watch};
use uuid::Uuid;

use super::ring::Moment;
use super::snapshot::ActivityError;
use super::{Activity, ActivityEvent, ActivityView, Progress, State};
use crate::store::{Change, Row, Store, StoreError, sql};

/// How soon reads and refusals are counted for the others, and theirs here.
const PACE: Duration = Duration::from_millis(500);
/// Entries of the list that are kept behind a snapshot, for gateways that are behind.
const BEHIND: i64 = 10_000;
/// New entries after which a snapshot is worth its writing.
const WORTH: i64 = 500;
/// Entries that are appended at once: a change must not take long.
const AT_ONCE: usize = 1_000;
/// Entries that wait at most: beyond them reads and refusals are not counted for the others.
const MOST_WAITING: usize = 200_000;
/// Minutes after which what is in flight counts as done, a day: whoever had it died.
const ABANDONED: u32 = 1_440;

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum How {
    /// It was allowed.
    Allowed,
    /// It was denied.
    Denied,
    /// It had been done before: nothing is counted.
    Released,
}

/// One thing that is counted.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "kebab-case")]
pub(super) enum Entry {
    /// A place in the budgets is taken.
    Held {
        id: Uuid,
        at: Moment,
        event: ActivityEvent,
    },
    /// What a place came to, and the record of it in the gateway's log.
    Settled {
        id: Uuid,
        how: How,
        index: Option<u64>,
    },
    /// What needed no place.
    Counted {
        how: How,
        at: Moment,
        event: ActivityEvent,
        index: Option<u64>,
    },
}

impl Entry {
    pub(super) fn settled(id: Uuid, how: How, index: Option<u64>) -> Entry {
        Entry::Settled { id, how, index }
    }

    pub(super) fn counted(how: How, at: Moment, event: ActivityEvent, index: Option<u64>) -> Entry {
        Entry::Counted {
            how,
            at,
            event,
            index,
        }
    }
}

/// A row of the list.
#[derive(Serialize, Deserialize)]
struct Batch {
    /// Every record of the gateway's log below this has been counted, here or before.
    floor: u64,
    entries: Vec<Entry>,
}

/// What the list says beside counts.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Replicated {
    /// How far the list has been applied; nothing of it was when absent.
    seq: Option<i64>,
    held: HashMap<Uuid, Place>,
    /// Which records of each gateway's log have been counted.
    logs: BTreeMap<String, Counted>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Place {
    replica: String,
    at: Moment,
    event: ActivityEvent,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Counted {
    floor: u64,
    above: BTreeSet<u64>,
}

/// The way to the list.
pub(super) struct Shared {
    store: Store,
    replica: String,
    /// One exchange with the store at a time.
    turn: Turn<()>,
    /// What has not been appended yet.
    waiting: Mutex<Vec<Entry>>,
    wake: Notify,
}

impl Replicated {
    /// Whether nobody else counts.
    pub(super) fn is_none(&self) -> bool {
        self.seq.is_none()
    }
}

impl Shared {
    pub(super) fn new(store: &Store, replica: &str) -> Shared {
        Shared {
            store: store.clone(),
            replica: replica.to_owned(),
            turn: Turn::default(),
            waiting: Mutex::default(),
            wake: Notify::new(),
        }
    }

    /// Appends an entry in its time. Called with the counters locked where it has an index:
    /// the floor that goes with it must not be ahead of it.
    pub(super) fn tell(&self, entry: Entry) {
        let mut waiting = self.waiting();
        // Reads are not worth the memory; a change that is not told would leave its budget unspent.
        let spared = matches!(&entry, Entry::Counted { event, .. } if !event.class.changes());
        if !spared || waiting.len() < MOST_WAITING {
            waiting.push(entry);
        }
    }

    /// The same, now: others may wait for the place.
    pub(super) fn settle(&self, entry: Entry) {
        self.tell(entry);
        self.wake.notify_one();
    }

    /// Takes a place, and tells what had been counted before it.
    pub(super) async fn reserve(
        &self,
        counters: &Mutex<State>,
        id: Uuid,
        event: &ActivityEvent,
        at: Moment,
    ) -> Result<ActivityView, StoreError> {
        let held = Entry::Held {
            id,
            at,
            event: event.clone(),
        };
        let view = self.exchange(counters, Some((held, event, at))).await?;
        view.ok_or(StoreError::Value { column: "content" })
    }

    /// Appends what waits, so much at a time, and applies what others appended.
    async fn exchange(
        &self,
        counters: &Mutex<State>,
        place: Option<(Entry, &ActivityEvent, Moment)>,
    ) -> Result<Option<ActivityView>, StoreError> {
        let _turn = self.turn.lock().await;
        let (mut batch, count) = {
            let state = lock(counters);
            let mut waiting = self.waiting();
            let count = waiting.len().min(AT_ONCE);
            let entries: Vec<Entry> = waiting.drain(..count).collect();
            // The floor is of all that waits: it goes with the last of it.
            let floor = match waiting.is_empty() {
                true => state.progress.floor,
                false => 0,
            };
            (Batch { floor, entries }, count)
        };
        let mut touched = false;
        let done = self.append(counters, &mut batch, place, &mut touched).await;
        if done.is_err() {
            if touched {
                // What is in the store now is not known: all of it is read again.
                lock(counters).replicated.seq = None;
            }
            batch.entries.truncate(count);
            self.waiting().splice(0..0, batch.entries);
        }
        done
    }

    async fn append(
        &self,
        counters: &Mutex<State>,
        batch: &mut Batch,
        place: Option<(Entry, &ActivityEvent, Moment)>,
        touched: &mut bool,
    ) -> Result<Option<ActivityView>, StoreError> {
        let idle = batch.entries.is_empty() && place.is_none();
        let known = lock(counters).replicated.seq;
        if let (true, Some(known)) = (idle, known) {
            // Nothing to append: others are not kept waiting.
            let rows = self.store.all(after(known)).await?;
            if apply_rows(&mut lock(counters), known, &rows)? {
                return Ok(None);
            }
        }
        let mut change = self.store.begin().await?;
        let seq = self.catch_up(&mut change, counters).await?;
        *touched = true;
        let view = {
            let mut state = lock(counters);
            for entry in &batch.entries {
                state.apply(&self.replica, entry);
            }
            state.raise(&self.replica, batch.floor);
            place.map(|(held, event, at)| {
                let view = state.view(event, at);
                state.apply(&self.replica, &held);
                batch.entries.push(held);
                view
            })
        };
        if batch.entries.is_empty() {
            return Ok(view);
        }
        let seq = seq + 1;
        let content = serde_json::to_string(&batch);
        let content = content.map_err(|_| StoreError::Value { column: "content" })?;
        let insert = sql("INSERT INTO activity (seq, replica, content) VALUES ($1, $2, $3)")
            .bind(seq)
            .bind(&self.replica)
            .bind(content);
        change.execute(insert).await?;
        change.commit().await?;
        lock(counters).replicated.seq = Some(seq);
        Ok(view)
    }

    /// Applies all that stands in the list; how far that is. Everything is read before
    /// anything is applied: counters that were half read would be lower than they are.
    async fn catch_up(
        &self,
        change: &mut Change,
        counters: &Mutex<State>,
    ) -> Result<i64, StoreError> {
        let known = lock(counters).replicated.seq;
        if let Some(known) = known {
            let rows = change.all(after(known)).await?;
            let mut state = lock(counters);
            if apply_rows(&mut state, known, &rows)? {
                return Ok(state.replicated.seq.unwrap_or(known));
            }
        }
        // Never applied, or entries that were not applied are gone: from the snapshot on.
        let wrong = || StoreError::Value { column: "content" };
        let select =
            sql("SELECT log_index, digest, content FROM snapshots WHERE name = 'activity'");
        let saved = change.first(select).await?;
        let (begun, bytes) = match &saved {
            Some(row) => {
                let bytes = super::snapshot::verified(row).map_err(|_| wrong())?;
                (row.value::<i64>("log_index")?, Some(bytes))
            }
            None => (0, None),
        };
        let rows = change.all(after(begun)).await?;
        let mut state = lock(counters);
        match bytes {
            Some(bytes) => state.restore(&bytes).map_err(|_| wrong())?,
            None => state.empty(),
        }
        if !apply_rows(&mut state, begun, &rows)? {
            // Never a part of it.
            state.replicated.seq = None;
            return Err(StoreError::Value { column: "seq" });
        }
        Ok(state.replicated.seq.unwrap_or(begun))
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lock(counters: &Mutex<State>) -> MutexGuard<'_, State> {
    counters.lock().unwrap_or_else(PoisonError::into_inner)
}

fn after(seq: i64) -> crate::store::Statement {
    sql("SELECT seq, replica, content FROM activity WHERE seq > $1 ORDER BY seq").bind(seq)
}

/// Applies rows that follow on what was applied; false, and nothing applied, when there is a
/// gap between.
fn apply_rows(state: &mut State, known: i64, rows: &[Row]) -> Result<bool, StoreError> {
    let mut expected = known;
    let mut batches = Vec::new();
    for row in rows {
        expected += 1;
        if row.value::<i64>("seq")? != expected {
            return Ok(false);
        }
        let batch: Batch = serde_json::from_str(&row.value::<String>("content")?)
            .map_err(|_| StoreError::Value { column: "content" })?;
        batches.push((row.value::<String>("replica")?, batch));
    }
    for (replica, batch) in &batches {
        for entry in &batch.entries {
            state.apply(replica, entry);
        }
        state.raise(replica, batch.floor);
    }
    state.replicated.seq = Some(expected);
    Ok(true)
}

impl State {
    fn apply(&mut self, replica: &str, entry: &Entry) {
        let index = match entry {
            Entry::Held { id, at, event } => {
                let place = Place {
                    replica: replica.to_owned(),
                    at: *at,
                    event: event.clone(),
                };
                if self.replicated.held.insert(*id, place).is_none() {
                    self.hold(event, *at);
                }
                None
            }
            Entry::Settled { id, how, index } => {
                if let Some(place) = self.replicated.held.remove(id) {
                    self.unhold(&place.event);
                    if self.is_new(replica, *index) {
                        self.count(*how, &place.event, place.at);
                    }
                }
                *index
            }
            Entry::Counted {
                how,
                at,
                event,
                index,
            } => {
                if self.is_new(replica, *index) {
                    self.count(*how, event, *at);
                }
                *index
            }
        };
        if let Some(index) = index {
            let log = self.replicated.logs.entry(replica.to_owned()).or_default();
            log.above.insert(index);
        }
    }

    /// Whether a record of a gateway's log has not been counted yet.
    fn is_new(&self, replica: &str, index: Option<u64>) -> bool {
        let Some((log, index)) = self.replicated.logs.get(replica).zip(index) else {
            return true;
        };
        index >= log.floor && !log.above.contains(&index)
    }

    fn raise(&mut self, replica: &str, floor: u64) {
        let log = self.replicated.logs.entry(replica.to_owned()).or_default();
        log.floor = log.floor.max(floor);
        log.above = log.above.split_off(&log.floor);
    }

    /// Holds again what a snapshot says is in flight.
    pub(super) fn hold_again(&mut self) {
        let held: Vec<Place> = self.replicated.held.values().cloned().collect();
        for place in held {
            self.hold(&place.event, place.at);
        }
    }
}

impl Activity {
    /// Reads the shared counters at start; the index of the first record of this gateway's
    /// log to apply again.
    pub(super) async fn load_shared(&self, shared: &Shared) -> Result<u64, ActivityError> {
        let _turn = shared.turn.lock().await;
        let mut change = shared.store.begin().await?;
        shared.catch_up(&mut change, &self.state).await?;
        drop(change);
        let mut state = self.lock();
        let own = state.replicated.logs.get(&shared.replica).cloned();
        let own = own.unwrap_or_default();
        state.progress = Progress {
            floor: own.floor,
            counted: own.above,
            ..Progress::default()
        };
        Ok(own.floor)
    }

    /// The log was applied: what this gateway had in flight before is not any more. Changes
    /// nothing where nobody else counts.
    pub(crate) async fn caught_up(&self) -> Result<(), StoreError> {
        let Some(shared) = &self.shared else {
            return Ok(());
        };
        {
            let state = self.lock();
            let held = state.replicated.held.iter();
            let own = held.filter(|(_, place)| place.replica == shared.replica);
            for (id, _) in own {
                shared.tell(Entry::settled(*id, How::Released, None));
            }
        }
        loop {
            shared.exchange(&self.state, None).await?;
            if shared.waiting().is_empty() {
                return Ok(());
            }
        }
    }

    /// Appends and applies until `stop` turns true. Ends at once where nobody else counts.
    pub(crate) async fn follow(self, mut stop: watch::Receiver<bool>) {
        let Some(shared) = self.shared.clone() else {
            return;
        };
        loop {
            tokio::select! {
                () = shared.wake.notified() => {}
                () = tokio::time::sleep(PACE) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            if let Err(error) = shared.exchange(&self.state, None).await {
                tracing::debug!(%error, "the shared counters were not followed");
                tokio::time::sleep(PACE).await;
            }
        }
    }

    /// Saves the shared counters, when enough has come since, and shortens the list.
    pub(super) async fn save_shared(
        &self,
        shared: &Shared,
        now: Timestamp,
    ) -> Result<(), ActivityError> {
        self.give_up_abandoned(shared, now);
        shared.exchange(&self.state, None).await?;
        let newest = || sql("SELECT log_index FROM snapshots WHERE name = 'activity'");
        let index = |row: Option<Row>| row.map_or(Ok(0), |row| row.value::<i64>("log_index"));
        let saved = index(shared.store.first(newest()).await?)?;
        let (seq, bytes) = {
            // Between exchanges: what is applied then is what the list says, no more.
            let _turn = shared.turn.lock().await;
            let seq = self.lock().replicated.seq;
            let Some(seq) = seq.filter(|seq| *seq > saved + WORTH) else {
                return Ok(());
            };
            (seq, self.snapshot()?.bytes)
        };
        let mut change = shared.store.begin().await?;
        // Another gateway may have saved more meanwhile.
        if index(change.first(newest()).await?)? < seq {
            let write = super::snapshot::write(seq, now, bytes);
            change.execute(write).await?;
            let shorten = sql("DELETE FROM activity WHERE seq <= $1");
            change.execute(shorten.bind(seq - BEHIND)).await?;
            change.commit().await?;
        }
        Ok(())
    }

    fn give_up_abandoned(&self, shared: &Shared, now: Timestamp) {
        let state = self.lock();
        let now = Moment::of(now).minute;
        for (id, place) in &state.replicated.held {
            if now.saturating_sub(place.at.minute) > ABANDONED {
                shared.tell(Entry::settled(*id, How::Allowed, None));
            }
        }
    }
}

#[cfg(test)]
mod tests;
