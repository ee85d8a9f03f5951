//! SQLite: a file of this gateway's own.
//!
//! One connection writes, so that every change is serialised and a compare-and-set
//! cannot race; a few others read. A commit that returned is on disk (WAL with
//! `synchronous = FULL`).

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{
    Sqlite, SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{Connection as _, Transaction};

use super::file::Claimed;
use super::{StoreError, file, room, schema};

/// How long a statement waits for a lock that another process holds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a caller waits for a connection before the store counts as busy.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
const READERS: u32 = 4;

pub(super) struct OpenFile {
    path: PathBuf,
    pub(super) writer: SqlitePool,
    pub(super) readers: SqlitePool,
    /// Held for as long as the store is open: one file has one gateway.
    claimed: Claimed,
}

impl OpenFile {
    /// Opens the file, making it when there is none; checks it whole first.
    pub(super) async fn open(path: &Path) -> Result<OpenFile, StoreError> {
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
        Ok(OpenFile {
            path: path.to_owned(),
            writer,
            readers,
            claimed,
        })
    }

    /// Whether [`OpenFile::open`] made the file.
    pub(super) fn created(&self) -> bool {
        self.claimed.absent()
    }

    pub(super) async fn begin(&self) -> Result<Transaction<'static, Sqlite>, sqlx::Error> {
        // IMMEDIATE takes the write lock at once, so that no change fails half-way
        // because another process wrote between its first read and its first write.
        self.writer.begin_with("BEGIN IMMEDIATE").await
    }

    /// Takes room for changes on a full disk, if it is not there and the disk has it.
    pub(super) async fn keep_room(&self) -> Result<(), StoreError> {
        let there = room::is_there(&self.writer, &self.path).await;
        if there.map_err(StoreError::running)? {
            return Ok(());
        }
        file::try_space(&self.path, room::NEEDED).await?;
        room::take(&self.writer).await.map_err(StoreError::running)
    }

    pub(super) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
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
