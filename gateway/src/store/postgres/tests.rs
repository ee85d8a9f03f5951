//! Tests of the shared store: what it refuses, and how it knows that it went back. They need
//! a server, so `tests/run postgres` runs them.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::{Connection as _, PgConnection};

use crate::store::{Store, StoreError, scratch, sql};

async fn address(folder: &tempfile::TempDir) -> SecretString {
    let server = std::env::var("VAULTGATE_TEST_POSTGRES").unwrap();
    scratch::database(&server, folder.path()).await
}

async fn raw(url: &SecretString, text: &'static str) {
    let mut connection = PgConnection::connect(url.expose_secret()).await.unwrap();
    sqlx::raw_sql(text).execute(&mut connection).await.unwrap();
}

/// Connects as a gateway whose log is in a folder of its own.
async fn connect(
    folder: &tempfile::TempDir,
    url: &SecretString,
    replica: &str,
) -> Result<Store, StoreError> {
    let own = folder.path().join(replica.replace('/', "-"));
    std::fs::create_dir_all(&own).unwrap();
    Store::connect(url, replica, &own).await
}

async fn refused(folder: &tempfile::TempDir, url: &SecretString, replica: &str) -> StoreError {
    match connect(folder, url, replica).await {
        Ok(_) => unreachable!("the store was opened"),
        Err(error) => error,
    }
}

async fn read(store: &Store) -> i64 {
    let row = store.first(sql("SELECT touched FROM liveness")).await;
    row.unwrap().unwrap().value("touched").unwrap()
}

#[tokio::test]
async fn another_machine_needs_a_verified_certificate() {
    let folder = tempfile::tempdir().unwrap();
    for url in [
        "postgres://u:p@db.example/vaultgate",
        "postgres://u:p@db.example/vaultgate?sslmode=require",
        "postgres://u:p@10.0.0.4/vaultgate?sslmode=verify-ca",
    ] {
        let error = refused(&folder, &SecretString::from(url), "a").await;
        assert!(error.to_string().contains("verify-full"), "{error}");
    }
    let error = refused(&folder, &SecretString::from("db.example u hunter2"), "a").await;
    assert!(!error.to_string().contains("hunter2"), "{error}");
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn several_gateways_share_it_and_each_has_a_name_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let url = address(&folder).await;
    let first = connect(&folder, &url, "gateway/a").await.unwrap();
    assert!(first.created() && first.shared() && !first.moved());
    let second = connect(&folder, &url, "gateway/b").await.unwrap();
    assert!(!second.created());
    let at = Timestamp::from_second(1_700_000_000).unwrap();
    first.probe(at).await.unwrap();
    assert_eq!(read(&second).await, at.as_millisecond());
    second.check().await.unwrap();

    // A change that is not committed was none, and keeps nobody waiting once it is gone.
    let mut change = first.begin().await.unwrap();
    let touch = sql("UPDATE liveness SET touched = 1");
    change.execute(touch).await.unwrap();
    drop(change);
    second.probe(at).await.unwrap();
    assert_eq!(read(&first).await, at.as_millisecond());

    // One that is alive says something all the time, as a gateway does that follows others.
    let alive = async {
        loop {
            first.check().await.unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        }
    };
    let error = tokio::select! {
        error = refused(&folder, &url, "gateway/a") => error,
        () = alive => unreachable!("it follows for ever"),
    };
    assert!(matches!(error, StoreError::NameInUse { .. }), "{error}");
    first.close().await;
    drop(first);
    connect(&folder, &url, "gateway/a").await.unwrap();
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn a_change_that_waits_too_long_is_told_to_come_again() {
    let folder = tempfile::tempdir().unwrap();
    let url = address(&folder).await;
    let first = connect(&folder, &url, "a").await.unwrap();
    let second = connect(&folder, &url, "b").await.unwrap();
    let held = first.begin().await.unwrap();
    let Err(error) = second.begin().await else {
        unreachable!("two changes at once");
    };
    assert!(matches!(error, StoreError::Busy), "{error}");
    drop(held);
    assert!(second.healthy());
    second.probe(Timestamp::UNIX_EPOCH).await.unwrap();
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn a_store_that_went_back_takes_no_change() {
    let folder = tempfile::tempdir().unwrap();
    let url = address(&folder).await;
    let store = connect(&folder, &url, "a").await.unwrap();
    let other = connect(&folder, &url, "b").await.unwrap();
    for _ in 0..5 {
        store.probe(Timestamp::UNIX_EPOCH).await.unwrap();
    }
    // What a copy of the files from before the last changes would say.
    raw(&url, "UPDATE history SET changes = changes - 1").await;
    let seen = store.check().await.unwrap_err();
    assert!(matches!(seen, StoreError::GoneBack { .. }), "{seen}");
    assert!(!store.healthy());
    assert!(matches!(store.begin().await, Err(StoreError::Lost { .. })));
    let read = store.all(sql("SELECT content FROM incident")).await;
    assert!(matches!(read, Err(StoreError::Lost { .. })));
    // Those who did not see what is missing are told, and so are those who start.
    let told = other.begin().await.err();
    assert!(
        matches!(told, Some(StoreError::GoneBack { .. })),
        "{told:?}"
    );
    let late = connect(&folder, &url, "c").await.unwrap();
    assert!(late.moved());
    // A restart does not forget it, although what the server says fits itself, and others have
    // gone on with it since.
    raw(&url, "UPDATE history SET changes = changes + 100").await;
    store.close().await;
    drop(store);
    let again = connect(&folder, &url, "a").await.unwrap();
    assert!(again.moved());
    again.take_over().await.unwrap().commit().await.unwrap();
    again.probe(Timestamp::UNIX_EPOCH).await.unwrap();
    again.close().await;
    drop(again);
    // It was seen to, for those as well who saw it go back and start later.
    assert!(!connect(&folder, &url, "a").await.unwrap().moved());
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn a_disk_that_takes_no_note_of_the_server_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let url = address(&folder).await;
    let store = connect(&folder, &url, "a").await.unwrap();
    // Where the note is written aside first.
    std::fs::create_dir(folder.path().join("a/store.new")).unwrap();
    store.probe(Timestamp::UNIX_EPOCH).await.unwrap();
    store.check().await.unwrap();
    assert!(store.healthy());
    // What is known in memory still guards.
    raw(&url, "UPDATE history SET changes = changes - 1").await;
    assert!(store.check().await.is_err());
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn who_is_stopped_is_known_however_many_ask() {
    let folder = tempfile::tempdir().unwrap();
    let url = address(&folder).await;
    let store = connect(&folder, &url, "a").await.unwrap();
    // As many as there are connections for readers, and as long as a look may take.
    let slow = || store.all(sql("SELECT pg_sleep(4) IS NULL AS slept"));
    let asked = async { tokio::join!(slow(), slow(), slow(), slow(), slow()) };
    let looked = async {
        for _ in 0..10 {
            store.check().await.unwrap();
            store
                .heed(sql("SELECT content FROM incident"))
                .await
                .unwrap();
        }
    };
    tokio::select! {
        biased;
        _ = asked => unreachable!("those who follow waited behind those who ask"),
        () = looked => {}
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn a_store_of_another_server_is_taken_over_before_it_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let url = address(&folder).await;
    let before = connect(&folder, &url, "a").await.unwrap();
    // A standby that was promoted has another timeline.
    raw(&url, "UPDATE history SET origin = '7/00000009'").await;
    let Err(error) = before.begin().await else {
        unreachable!("a change on a store of another server");
    };
    assert!(matches!(error, StoreError::GoneBack { .. }), "{error}");

    let store = connect(&folder, &url, "b").await.unwrap();
    assert!(store.moved());
    assert!(matches!(
        store.begin().await,
        Err(StoreError::GoneBack { .. })
    ));
    let store = connect(&folder, &url, "c").await.unwrap();
    store.take_over().await.unwrap().commit().await.unwrap();
    assert!(!store.moved());
    store.probe(Timestamp::UNIX_EPOCH).await.unwrap();
    assert!(!connect(&folder, &url, "d").await.unwrap().moved());
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn tables_of_a_newer_gateway_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let url = address(&folder).await;
    drop(connect(&folder, &url, "a").await.unwrap());
    raw(
        &url,
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (99, 'from the future', true, '', 0)",
    )
    .await;
    let error = refused(&folder, &url, "b").await;
    assert!(
        matches!(error, StoreError::NewerServer { found: 99, .. }),
        "{error}"
    );
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn a_lock_that_was_not_given_spoils_no_connection() {
    let folder = tempfile::tempdir().unwrap();
    let url = address(&folder).await;
    let first = connect(&folder, &url, "a").await.unwrap();
    let second = connect(&folder, &url, "b").await.unwrap();
    let held = first.begin().await.unwrap();
    // As many as there are connections.
    let waiting = (0..4).map(|_| second.probe(Timestamp::UNIX_EPOCH));
    for waited in futures_util::future::join_all(waiting).await {
        assert!(matches!(waited, Err(StoreError::Busy)), "{waited:?}");
    }
    drop(held);
    for _ in 0..12 {
        second.probe(Timestamp::UNIX_EPOCH).await.unwrap();
    }
}
