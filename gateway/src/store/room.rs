//! Room on the disk that the store takes before it is needed.
//!
//! When a disk fills up, restores go on for as long as there is emergency space in the
//! decision log; each of them takes a key here. So there must be room for keys too, and
//! nobody else may be able to take it: not a file that is given up when it is needed,
//! but pages inside SQLite's own files, which are then overwritten in place. The
//! write-ahead log never shrinks while a connection is open, and freed pages of the
//! database are used again.
//!
//! Never fills a disk: whether there is enough is tried out before SQLite is asked to
//! write, for a write-ahead log that cannot be worked off would take no change at all.

use std::path::Path;

use sqlx::sqlite::SqlitePool;

use super::file;

/// Room in each of the two files, bytes: some thousand keys with their replies.
const ROOM: u64 = 4 << 20;
/// Pages of the write-ahead log after which it is worked off and begun again: well below
/// [`ROOM`], so that a change of any size and a reader that lingers still find room.
pub(super) const CHECKPOINT_PAGES: &str = "400";
/// What filling both files takes at most, and some for those who write meanwhile.
pub(super) const NEEDED: u64 = 3 * ROOM;

/// Takes the room that is missing, after [`NEEDED`] bytes were found to be free.
pub(super) async fn take(writer: &SqlitePool) -> Result<(), sqlx::Error> {
    // Each statement is a change of its own: pages that are freed by the one that took
    // them would never be written out.
    sqlx::query(
        "INSERT OR REPLACE INTO snapshots (name, log_index, taken_at, digest, content)
         VALUES ('room', 0, 0, '', zeroblob(4194304))",
    )
    .execute(writer)
    .await?;
    let written = sqlx::query("PRAGMA wal_checkpoint(PASSIVE)")
        .execute(writer)
        .await;
    sqlx::query("DELETE FROM snapshots WHERE name = 'room'")
        .execute(writer)
        .await?;
    written.map(drop)
}

/// Whether most of the room is there. Used pages are not missed one by one.
pub(super) async fn is_there(writer: &SqlitePool, path: &Path) -> Result<bool, sqlx::Error> {
    let (free, pages, page): (i64, i64, i64) = sqlx::query_as(
        "SELECT freelist_count, page_count, page_size
         FROM pragma_freelist_count, pragma_page_count, pragma_page_size",
    )
    .fetch_one(writer)
    .await?;
    let bytes = |pages: i64| u64::try_from(pages.saturating_mul(page)).unwrap_or(0);
    // Pages behind the end of the file exist in the write-ahead log only.
    let written = file::length(path)? >= bytes(pages);
    let log = file::length(&file::beside(path, "-wal"))? >= ROOM;
    Ok(written && log && bytes(free) >= ROOM / 2)
}
