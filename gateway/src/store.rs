//! The store: what must survive a restart and is not the decision log.
//!
//! Owns the SQLite file. One connection writes, so that every change is serialised
//! and a compare-and-set cannot race; a few others read. A commit that returned is
//! on disk (WAL with `synchronous = FULL`).
//!
//! Losing state must never widen access: a file that is corrupt, foreign, newer
//! than this build or in use by another gateway is refused at open, and a store
//! that failed while running says so through [`Store::healthy`], upon which changes
//! are refused. It is never repaired, emptied or replaced here.

mod fault;
mod file;
mod room;
mod schema;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Connection as _, Sqlite, Transaction};

pub(crate) use fault::StoreError;

use fault::Severity;
use file::Claimed;

/// How long a statement waits for a lock that another process holds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a caller waits for a connection before the store counts as busy.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
const READERS: u32 = 4;

/// The open store; cheap to clone.
#[derive(Clone)]
pub(crate) struct Store(Arc<Inner>);

struct Inner {
    /// Absent when the file could not be opened at all.
    file: Option<OpenFile>,
    health: Mutex<Health>,
}

struct OpenFile {
    path: PathBuf,
    writer: SqlitePool,
    readers: SqlitePool,
    /// Held for as long as the store is open: one file has one gateway.
    claimed: Claimed,
}

enum Health {
    Good,
    /// Failed in a way that may pass, such as a full disk.
    Failing(String),
    /// Failed in a way after which nothing that it says can be relied on.
    Lost(String),
}

impl Store {
    /// Opens the store, making it when there is no file; checks it whole first.
    pub(crate) async fn open(path: &Path) -> Result<Store, StoreError> {
        let claimed = file::claim(path)?;
        if claimed.absent() {
            make(path).await?;
        }
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .idle_timeout(None)
            .max_lifetime(None)
            .before_acquire(|connection, _| {
                // SQLite ends a transaction by itself when the disk is full; the driver
                // then counts one that is open for ever and begins no other.
                let sound = !connection.is_in_transaction();
                Box::pin(async move { Ok(sound) })
            })
            .connect_with(options(path).pragma("wal_autocheckpoint", room::CHECKPOINT_PAGES))
            .await
            .map_err(|error| StoreError::opening(path, error))?;
        schema::check(&writer, path).await?;
        schema::migrate(&writer, path).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            // While one is open the write-ahead log stays, and with it the room in it.
            .min_connections(1)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_with(options(path).pragma("query_only", "ON"))
            .await
            .map_err(|error| StoreError::opening(path, error))?;
        // The write-ahead log is a new directory entry too.
        file::sync_parent(path)?;
        Ok(Store(Arc::new(Inner {
            file: Some(OpenFile {
                path: path.to_owned(),
                writer,
                readers,
                claimed,
            }),
            health: Mutex::new(Health::Good),
        })))
    }

    /// A store that could not be opened, for a gateway that goes on with reads only:
    /// every use of it fails with the reason.
    pub(crate) fn lost(error: &StoreError) -> Store {
        Store(Arc::new(Inner {
            file: None,
            health: Mutex::new(Health::Lost(error.to_string())),
        }))
    }

    /// Whether [`Store::open`] made the file. A new store beside a decision log that
    /// has records means that state was lost: the caller must say so loudly.
    pub(crate) fn created(&self) -> bool {
        let file = self.0.file.as_ref();
        file.is_some_and(|file| file.claimed.absent())
    }

    /// Whether the store can be relied on; while not, changes are refused.
    pub(crate) fn healthy(&self) -> bool {
        matches!(*self.health(), Health::Good)
    }

    /// Why the store is not healthy, for the readiness report.
    pub(crate) fn trouble(&self) -> Option<String> {
        match &*self.health() {
            Health::Good => None,
            Health::Failing(why) | Health::Lost(why) => Some(why.clone()),
        }
    }

    /// Writes one row, so that a store that failed for a while (a full disk) is found
    /// to work again. One that was lost stays lost until it is opened anew.
    pub(crate) async fn probe(&self, now: jiff::Timestamp) -> Result<(), StoreError> {
        let mut change = self.begin().await?;
        let touched = sqlx::query("UPDATE liveness SET touched = $1 WHERE id = 1")
            .bind(now.as_millisecond())
            .execute(&mut *change)
            .await;
        touched.map_err(|error| self.fault(error))?;
        self.commit(change).await?;
        let mut health = self.health();
        if matches!(*health, Health::Failing(_)) {
            *health = Health::Good;
        }
        Ok(())
    }

    /// Takes room for changes on a full disk, if it is not there and the disk has it.
    /// Failing changes nothing: the store works for as long as there is any room.
    pub(crate) async fn keep_room(&self) -> Result<(), StoreError> {
        let file = self.file()?;
        let there = room::is_there(&file.writer, &file.path).await;
        if there.map_err(|error| self.fault(error))? {
            return Ok(());
        }
        file::try_space(&file.path, room::NEEDED).await?;
        let taken = room::take(&file.writer).await;
        taken.map_err(|error| match StoreError::running(error) {
            full @ StoreError::Full => full,
            other => self.remember(other),
        })
    }

    /// Begins a change. It holds the only writing connection: do nothing slow in it.
    pub(crate) async fn begin(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        let file = self.file()?;
        // IMMEDIATE takes the write lock at once, so that no change fails half-way
        // because another process wrote between its first read and its first write.
        let begun = file.writer.begin_with("BEGIN IMMEDIATE").await;
        begun.map_err(|error| self.fault(error))
    }

    /// Commits a change; once this returns `Ok` it is on disk.
    pub(crate) async fn commit(
        &self,
        change: Transaction<'static, Sqlite>,
    ) -> Result<(), StoreError> {
        change.commit().await.map_err(|error| self.fault(error))
    }

    /// The connections for reading. Map their errors by [`Store::fault`].
    pub(crate) fn readers(&self) -> Result<&SqlitePool, StoreError> {
        Ok(&self.file()?.readers)
    }

    /// Turns an error of the driver into ours, and remembers what it says about the
    /// store's health.
    pub(crate) fn fault(&self, error: sqlx::Error) -> StoreError {
        self.remember(StoreError::running(error))
    }

    fn remember(&self, fault: StoreError) -> StoreError {
        let mut health = self.health();
        match (fault.severity(), &*health) {
            (Severity::Lost, _) => *health = Health::Lost(fault.to_string()),
            (Severity::Failing, Health::Good) => *health = Health::Failing(fault.to_string()),
            (Severity::Failing | Severity::Passing, _) => {}
        }
        fault
    }

    /// Closes the connections in good order; the file may then be opened again.
    pub(crate) async fn close(&self) {
        if let Some(file) = &self.0.file {
            file.readers.close().await;
            file.writer.close().await;
        }
    }

    /// The file, unless nothing it says can be relied on.
    fn file(&self) -> Result<&OpenFile, StoreError> {
        match (&*self.health(), &self.0.file) {
            (Health::Lost(why), _) => Err(StoreError::Lost { why: why.clone() }),
            (_, None) => Err(StoreError::Lost {
                why: "it was never opened".to_owned(),
            }),
            (Health::Good | Health::Failing(_), Some(file)) => Ok(file),
        }
    }

    fn health(&self) -> std::sync::MutexGuard<'_, Health> {
        self.0.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes a new store, under another name until it is whole: a first start that is
/// cut short leaves nothing that the next one would have to take for lost state.
async fn make(path: &Path) -> Result<(), StoreError> {
    let new = file::begin(path)?;
    let pool = SqlitePoolOptions::new()
        .max_connections(1)
        // All of it must be in the one file that is given the store's name.
        .connect_with(options(&new).journal_mode(SqliteJournalMode::Delete))
        .await
        .map_err(|error| StoreError::opening(&new, error))?;
    schema::migrate(&pool, &new).await?;
    pool.close().await;
    file::finish(&new, path)
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        // A doctored file must not run SQL functions of its own through its schema.
        .pragma("trusted_schema", "OFF")
}

#[cfg(test)]
mod tests;
