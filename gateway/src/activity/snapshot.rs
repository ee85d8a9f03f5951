//! Counters that survive a restart: saved to the store, with the place in the
//! decision log from which records must be applied again.
//!
//! A snapshot that is damaged is an error, never an empty start: the caller then
//! applies the log from ninety days back, or refuses changes.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::counters::Counters;
use super::ring::Moment;
use super::shared::Replicated;
use super::{Activity, Progress, State};
use crate::store::{Row, Statement, Store, StoreError, sql};

const SCHEMA: &str = "vaultgate.activity/1";

/// Why counters could not be saved or read back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ActivityError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The saved counters are damaged.
    #[error(
        "the saved activity counters cannot be read: {detail}; hint: apply the decision log \
         of the last 90 days again"
    )]
    Damaged {
        /// What is wrong.
        detail: String,
    },
    /// The saved counters stand for records that the log does not have.
    #[error(
        "the saved activity counters stand for `{index}` records and the decision log has \
         `{log_size}`; hint: the log is shorter than it was, verify it before anything else"
    )]
    Ahead {
        /// Records that the counters stand for.
        index: u64,
        /// Records in the log.
        log_size: u64,
    },
}

/// Counters as bytes, and the records they stand for.
pub(crate) struct Snapshot {
    /// Index of the first record to apply again.
    pub(crate) index: u64,
    /// The counters.
    pub(crate) bytes: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct Saved {
    schema: String,
    floor: u64,
    /// Records from `floor` on that the counters already hold.
    counted: BTreeSet<u64>,
    principals: HashMap<String, Arc<Counters>>,
    agents: HashMap<String, Arc<Counters>>,
    persons: HashMap<String, Arc<Counters>>,
    vaults: HashMap<String, Arc<Counters>>,
    estate: Counters,
    /// Where several gateways count.
    #[serde(default)]
    replicated: Replicated,
}

impl Activity {
    /// The counters as they are now; what is in flight is not in it. The lock is held
    /// only to share the rows, not while they are written out.
    pub(crate) fn snapshot(&self) -> Result<Snapshot, ActivityError> {
        let saved = {
            let state = self.lock();
            Saved {
                schema: SCHEMA.to_owned(),
                floor: state.progress.floor,
                counted: state.progress.counted.clone(),
                principals: state.principals.share(),
                agents: state.agents.share(),
                persons: state.persons.share(),
                vaults: state.vaults.share(),
                estate: state.estate.clone(),
                replicated: state.replicated.clone(),
            }
        };
        let bytes = serde_json::to_vec(&saved).map_err(damaged)?;
        Ok(Snapshot {
            index: saved.floor,
            bytes,
        })
    }

    /// Takes the counters from a snapshot, and gives the index of the first record to
    /// [`Activity::replay`]. Meant for the start, before any reservation.
    pub(crate) fn restore(&self, bytes: &[u8]) -> Result<u64, ActivityError> {
        let mut state = self.lock();
        state.restore(bytes)?;
        Ok(state.progress.floor)
    }

    /// Saves the counters; run it every few minutes and at shutdown.
    pub(crate) async fn save(&self, store: &Store, now: Timestamp) -> Result<(), ActivityError> {
        self.tidy(now);
        if let Some(shared) = &self.shared {
            return self.save_shared(shared, now).await;
        }
        let Snapshot { index, bytes } = self.snapshot()?;
        let write = write(i64::try_from(index).map_err(damaged)?, now, bytes);
        let mut change = store.begin().await?;
        change.execute(write).await?;
        Ok(change.commit().await?)
    }

    /// Reads the saved counters back, and gives the index of the first record to
    /// apply again; none when nothing was ever saved, and all records are to be.
    pub(crate) async fn load(
        &self,
        store: &Store,
        log_size: u64,
    ) -> Result<Option<u64>, ActivityError> {
        let index = match &self.shared {
            Some(shared) => self.load_shared(shared).await?,
            None => {
                let select = sql("SELECT digest, content FROM snapshots WHERE name = 'activity'");
                let Some(row) = store.first(select).await? else {
                    return Ok(None);
                };
                self.restore(&verified(&row)?)?
            }
        };
        if index > log_size {
            return Err(ActivityError::Ahead { index, log_size });
        }
        Ok(Some(index))
    }

    /// Drops names of refused operations whose day is over.
    fn tidy(&self, now: Timestamp) {
        let at = Moment::of(now);
        let mut state = self.lock();
        state.principals.each(|row| row.tidy(at));
        state.agents.each(|row| row.tidy(at));
        state.persons.each(|row| row.tidy(at));
    }
}

impl State {
    /// Takes the counters from a snapshot.
    pub(super) fn restore(&mut self, bytes: &[u8]) -> Result<(), ActivityError> {
        let saved: Saved = serde_json::from_slice(bytes).map_err(damaged)?;
        if saved.schema != SCHEMA {
            let detail = format!("`{}` is not `{SCHEMA}`", saved.schema);
            return Err(ActivityError::Damaged { detail });
        }
        self.principals.replace(saved.principals);
        self.agents.replace(saved.agents);
        self.persons.replace(saved.persons);
        self.vaults.replace(saved.vaults);
        self.estate = saved.estate;
        if saved.replicated.is_none() {
            self.progress = Progress {
                floor: saved.floor,
                counted: saved.counted,
                ..Progress::default()
            };
        }
        self.replicated = saved.replicated;
        self.hold_again();
        Ok(())
    }

    /// Forgets all counts, and what is in flight.
    pub(super) fn empty(&mut self) {
        for table in [
            &mut self.principals,
            &mut self.agents,
            &mut self.persons,
            &mut self.vaults,
        ] {
            table.replace(HashMap::new());
        }
        self.estate = Counters::default();
        self.replicated = Replicated::default();
    }
}

/// The saved counters of a row, if they are what was saved.
pub(super) fn verified(row: &Row) -> Result<Vec<u8>, ActivityError> {
    let bytes: Vec<u8> = row.value("content")?;
    if crate::digest::sha256(&bytes) != row.value::<String>("digest")? {
        let detail = "its digest does not match".to_owned();
        return Err(ActivityError::Damaged { detail });
    }
    Ok(bytes)
}

/// Saves counters.
pub(super) fn write(index: i64, now: Timestamp, bytes: Vec<u8>) -> Statement {
    sql(
        "INSERT INTO snapshots (name, log_index, taken_at, digest, content)
         VALUES ('activity', $1, $2, $3, $4)
         ON CONFLICT (name) DO UPDATE SET
             log_index = excluded.log_index, taken_at = excluded.taken_at,
             digest = excluded.digest, content = excluded.content",
    )
    .bind(index)
    .bind(now.as_millisecond())
    .bind(crate::digest::sha256(&bytes))
    .bind(bytes)
}

fn damaged(error: impl std::fmt::Display) -> ActivityError {
    ActivityError::Damaged {
        detail: error.to_string(),
    }
}
