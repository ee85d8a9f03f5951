//! Tests of the store: what it refuses to open, and what it says when it fails.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use jiff::Timestamp;

use super::{Engine, Store, StoreError, sql};

fn writer(store: &Store) -> &sqlx::SqlitePool {
    match store.engine().unwrap() {
        Engine::File(file) => &file.writer,
        Engine::Server(_) => unreachable!("these are tests of the file"),
    }
}

async fn refused(path: &Path) -> StoreError {
    match Store::open(path).await {
        Ok(_) => unreachable!("the store was opened"),
        Err(error) => error,
    }
}

async fn raw(path: &Path, sql: &'static str) {
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true);
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    sqlx::raw_sql(sql).execute(&pool).await.unwrap();
    pool.close().await;
}

#[tokio::test]
async fn a_new_store_is_private_durable_and_says_that_it_is_new() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = Store::open(&path).await.unwrap();
    assert!(store.created() && store.healthy());
    for pragma in ["journal_mode", "synchronous"] {
        let (sql, want): (&'static str, &str) = match pragma {
            "journal_mode" => ("SELECT journal_mode FROM pragma_journal_mode", "wal"),
            _ => (
                "SELECT CAST(synchronous AS TEXT) FROM pragma_synchronous",
                "2",
            ),
        };
        let found: String = sqlx::query_scalar(sql)
            .fetch_one(writer(&store))
            .await
            .unwrap();
        assert_eq!(found, want, "{pragma}");
    }
    for name in ["store.db", "store.db-wal", "store.db-shm", "store.db.lock"] {
        let mode = std::fs::metadata(folder.path().join(name)).unwrap();
        assert_eq!(mode.permissions().mode() & 0o777, 0o600, "{name}");
    }
    store.close().await;
    drop(store);
    assert!(!Store::open(&path).await.unwrap().created());
}

#[tokio::test]
async fn a_first_start_cut_short_is_begun_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let new = folder.path().join("store.db.new");
    for left in [&b""[..], b"SQLite format 3\0 and no more", &[0x5a; 8_192]] {
        std::fs::write(&new, left).unwrap();
        std::fs::write(folder.path().join("store.db.new-journal"), b"half").unwrap();
        let store = Store::open(&path).await.unwrap();
        assert!(store.created());
        store.probe(Timestamp::UNIX_EPOCH).await.unwrap();
        store.close().await;
        drop(store);
        let names = std::fs::read_dir(folder.path()).unwrap();
        let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["store.db", "store.db.lock"]);
        std::fs::remove_file(&path).unwrap();
    }
}

#[tokio::test]
async fn what_a_lost_store_left_is_not_given_to_a_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    for beside in ["store.db-wal", "store.db-journal"] {
        let beside = folder.path().join(beside);
        std::fs::write(&beside, b"changes that are nowhere else").unwrap();
        let error = refused(&path).await;
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
        assert!(!path.exists());
        std::fs::remove_file(&beside).unwrap();
    }
    assert!(Store::open(&path).await.unwrap().created());
}

#[tokio::test]
async fn readers_cannot_write() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("store.db")).await.unwrap();
    let Engine::File(file) = store.engine().unwrap() else {
        unreachable!("these are tests of the file");
    };
    let written = sqlx::query("UPDATE liveness SET touched = 9")
        .execute(&file.readers)
        .await;
    assert!(written.is_err());
    store.probe(Timestamp::UNIX_EPOCH).await.unwrap();
}

#[tokio::test]
async fn a_store_has_one_gateway() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = Store::open(&path).await.unwrap();
    assert!(matches!(refused(&path).await, StoreError::InUse { .. }));
    drop(store);
    Store::open(&path).await.unwrap();
}

#[tokio::test]
async fn a_corrupt_store_is_refused_with_a_hint_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let garbage = folder.path().join("garbage.db");
    std::fs::write(&garbage, vec![0x5a; 8_192]).unwrap();
    let error = refused(&garbage).await;
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    assert!(error.to_string().contains("move it aside"));
    assert_eq!(std::fs::read(&garbage).unwrap(), vec![0x5a; 8_192]);

    let emptied = folder.path().join("emptied.db");
    std::fs::write(&emptied, b"").unwrap();
    assert!(matches!(
        refused(&emptied).await,
        StoreError::Corrupt { .. }
    ));

    let damaged = folder.path().join("damaged.db");
    let store = Store::open(&damaged).await.unwrap();
    store.close().await;
    drop(store);
    let mut bytes = std::fs::read(&damaged).unwrap();
    // The last page only, which nothing but the integrity check reads at open.
    bytes
        .iter_mut()
        .rev()
        .take(4_096)
        .for_each(|byte| *byte = 0xff);
    std::fs::write(&damaged, bytes).unwrap();
    let error = refused(&damaged).await;
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
}

#[tokio::test]
async fn foreign_and_newer_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let foreign = folder.path().join("foreign.db");
    raw(&foreign, "CREATE TABLE accounts (id INTEGER)").await;
    assert!(matches!(
        refused(&foreign).await,
        StoreError::Foreign { .. }
    ));

    let newer = folder.path().join("newer.db");
    let store = Store::open(&newer).await.unwrap();
    store.close().await;
    drop(store);
    raw(
        &newer,
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (99, 'from the future', 1, x'00', 0)",
    )
    .await;
    let error = refused(&newer).await;
    assert!(
        matches!(
            error,
            StoreError::Newer {
                found: 99,
                known: 4,
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn an_edited_migration_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = Store::open(&path).await.unwrap();
    store.close().await;
    drop(store);
    raw(&path, "UPDATE _sqlx_migrations SET checksum = x'00'").await;
    let error = refused(&path).await;
    assert!(matches!(error, StoreError::Migration { .. }), "{error}");
}

#[tokio::test]
async fn paths_that_are_no_plain_file_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let nested = folder.path().join("folder");
    std::fs::create_dir(&nested).unwrap();
    assert!(matches!(
        refused(&nested).await,
        StoreError::NotAFile { .. }
    ));

    let target = folder.path().join("target.db");
    drop(Store::open(&target).await.unwrap());
    let link = folder.path().join("link.db");
    std::os::unix::fs::symlink(&target, &link).unwrap();
    assert!(matches!(refused(&link).await, StoreError::NotAFile { .. }));

    let absent = folder.path().join("absent/store.db");
    assert!(matches!(refused(&absent).await, StoreError::File { .. }));
}

#[tokio::test]
async fn a_file_open_to_others_is_closed_to_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    drop(Store::open(&path).await.unwrap());
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    drop(Store::open(&path).await.unwrap());
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn a_full_disk_passes_and_a_device_error_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("store.db")).await.unwrap();
    // The file may not grow by one page: what a full disk looks like to SQLite.
    sqlx::query("PRAGMA max_page_count = 1")
        .execute(writer(&store))
        .await
        .unwrap();
    let big = vec![7_u8; 200_000];
    let filled = sqlx::query(
        "INSERT INTO snapshots (name, log_index, taken_at, digest, content)
         VALUES ('big', 0, 0, '', $1)",
    )
    .bind(big)
    .execute(writer(&store))
    .await;
    let error = store.remember(StoreError::running(filled.unwrap_err()));
    assert!(matches!(error, StoreError::Full), "{error}");
    assert!(!store.healthy());
    store.probe(Timestamp::UNIX_EPOCH).await.unwrap();
    assert!(store.healthy() && store.trouble().is_none());

    let device = store.remember(StoreError::running(sqlx::Error::WorkerCrashed));
    assert!(matches!(device, StoreError::Device(_)));
    let probed = store.probe(Timestamp::UNIX_EPOCH).await;
    assert!(matches!(probed, Err(StoreError::Lost { .. })));
    assert!(!store.healthy() && store.trouble().is_some());
}

#[tokio::test]
async fn a_change_that_met_a_full_disk_does_not_stop_those_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("store.db")).await.unwrap();
    sqlx::query("PRAGMA max_page_count = 1")
        .execute(writer(&store))
        .await
        .unwrap();
    let mut change = store.begin().await.unwrap();
    let fill = sql(
        "INSERT INTO snapshots (name, log_index, taken_at, digest, content)
         VALUES ('big', 0, 0, '', zeroblob(200000))",
    );
    let error = change.execute(fill).await.unwrap_err();
    assert!(matches!(error, StoreError::Full), "{error}");
    drop(change);
    // SQLite has ended the transaction by itself; the driver must not think otherwise.
    store.probe(Timestamp::UNIX_EPOCH).await.unwrap();
    assert!(store.healthy());
    let change = store.begin().await.unwrap();
    change.commit().await.unwrap();
}

async fn insert(store: &Store, name: u32) {
    let mut change = store.begin().await.unwrap();
    let insert = sql(
        "INSERT INTO snapshots (name, log_index, taken_at, digest, content)
         VALUES ($1, 0, 0, '', zeroblob(2000))",
    );
    change.execute(insert.bind(name.to_string())).await.unwrap();
    change.commit().await.unwrap();
}

#[tokio::test]
async fn changes_find_room_although_no_file_can_grow() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = Store::open(&path).await.unwrap();
    store.keep_room().await.unwrap();
    let lengths = || {
        ["store.db", "store.db-wal", "store.db-shm"]
            .map(|name| std::fs::metadata(folder.path().join(name)).unwrap().len())
    };
    let before = lengths();
    // Several times what the write-ahead log takes before it must begin again.
    for name in 0..800 {
        insert(&store, name).await;
    }
    assert_eq!(lengths(), before);
    // What was used is taken anew when there is space; then there is room as before.
    for name in 800..1_400 {
        insert(&store, name).await;
    }
    store.keep_room().await.unwrap();
    let before = lengths();
    for name in 1_400..1_800 {
        insert(&store, name).await;
    }
    assert_eq!(lengths(), before);
    store.close().await;
    drop(store);
    // A clean end gives up the write-ahead log; the next start takes it again.
    let store = Store::open(&path).await.unwrap();
    store.keep_room().await.unwrap();
    let [_, log, _] = lengths();
    assert!(log >= 4 << 20 && store.healthy());
}

#[tokio::test]
async fn a_store_that_could_not_be_opened_refuses_everything() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    std::fs::write(
        &path,
        b"not a database, but long enough to have a header of its own",
    )
    .unwrap();
    let store = Store::lost(&refused(&path).await);
    assert!(!store.healthy() && !store.created());
    assert!(store.trouble().unwrap().contains("is corrupt"));
    assert!(matches!(store.begin().await, Err(StoreError::Lost { .. })));
    let read = store.first(sql("SELECT touched FROM liveness")).await;
    assert!(matches!(read, Err(StoreError::Lost { .. })));
    let probed = store.probe(Timestamp::UNIX_EPOCH).await;
    assert!(matches!(probed, Err(StoreError::Lost { .. })));
    assert!(!store.healthy());
}
