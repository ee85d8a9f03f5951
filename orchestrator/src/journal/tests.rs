//! What is written stays, and what has ended is not written again.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use jiff::{Timestamp, ToSpan as _};
use uuid::Uuid;

use super::{Item, Journal, JournalError, Run};
use crate::occurrence;
use crate::state::{State, Step};

fn now() -> Timestamp {
    "2026-11-23T02:30:00Z".parse().unwrap()
}

fn run() -> Run {
    Run {
        id: occurrence::run_id("nightly", "westeurope", now()),
        flow: "nightly".to_owned(),
        region: "westeurope".to_owned(),
        digest: "sha256:0".to_owned(),
        due: now(),
        state: State::Scheduled,
        reason: String::new(),
        started: None,
        ended: None,
        resolved: false,
        due_at: None,
        attempts: 0,
        cancel: false,
    }
}

fn item(run: Uuid, name: &str) -> Item {
    let id = format!("/subscriptions/1/{name}");
    Item::new(run, "/subscriptions/1/v", id, name.to_owned())
}

#[tokio::test]
async fn an_occurrence_is_one_run_however_often_it_is_planned() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let journal = Journal::open(&path).await.unwrap();
    let cursor = journal
        .cursor("nightly", "westeurope", "30 2 * * *", now())
        .await
        .unwrap();
    assert_eq!(cursor.looked_until, now());
    let later = now() + 24.hours();
    for _ in 0..3 {
        journal
            .plan("nightly", "westeurope", later, &[run()])
            .await
            .unwrap();
    }
    drop(journal);
    let journal = Journal::open(&path).await.unwrap();
    assert_eq!(journal.open_runs().await.unwrap(), [run()]);
    let cursor = journal
        .cursor("nightly", "westeurope", "30 2 * * *", now())
        .await
        .unwrap();
    assert_eq!(cursor.looked_until, later);
    assert_eq!(journal.events(run().id).await.unwrap().len(), 1);
    // Another schedule has no past.
    let much_later = now() + 720.hours();
    let cursor = journal
        .cursor("nightly", "westeurope", "0 3 * * *", much_later)
        .await
        .unwrap();
    assert_eq!(cursor.looked_until, much_later);
}

#[tokio::test]
async fn what_has_ended_stays_as_it_ended() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(&dir.path().join("journal.db")).await.unwrap();
    let mut run = run();
    journal.ask(&run).await.unwrap();
    let mut item = item(run.id, "vm1");
    journal
        .resolve(&run, std::slice::from_ref(&item), now())
        .await
        .unwrap();
    (item.step, item.state) = (Step::Ended, State::Completed);
    journal
        .write_item(&item, Some("done"), now())
        .await
        .unwrap();
    item.state = State::Failed;
    journal.write_item(&item, None, now()).await.unwrap();
    assert_eq!(
        journal.items(run.id).await.unwrap().first().unwrap().state,
        State::Completed
    );
    (run.state, run.ended) = (State::Completed, Some(now()));
    journal.write_run(&run, now()).await.unwrap();
    run.state = State::Failed;
    journal.write_run(&run, now()).await.unwrap();
    assert_eq!(
        journal.find_run(run.id).await.unwrap().unwrap().state,
        State::Completed
    );
    assert!(!journal.cancel(run.id).await.unwrap());
    assert!(journal.open_runs().await.unwrap().is_empty());
    // Resolving again changes nothing of what is frozen.
    item.state = State::Scheduled;
    let again = std::slice::from_ref(&item);
    journal.resolve(&run, again, now()).await.unwrap();
    assert_eq!(
        journal.items(run.id).await.unwrap().first().unwrap().state,
        State::Completed
    );
    assert_eq!(journal.items(run.id).await.unwrap().len(), 1);
}

#[tokio::test]
async fn one_process_runs_the_flows_of_a_journal() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let journal = Journal::open(&path).await.unwrap();
    let claim = journal.claim().unwrap();
    let other = Journal::open(&path).await.unwrap();
    assert!(matches!(other.claim(), Err(JournalError::Taken { .. })));
    drop(claim);
    other.claim().unwrap();
}

#[tokio::test]
async fn a_file_of_somebody_else_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("other.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(&path)
        .create_if_missing(true);
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    sqlx::query("CREATE TABLE theirs (a TEXT)")
        .execute(&pool)
        .await
        .unwrap();
    pool.close().await;
    assert!(matches!(
        Journal::open(&path).await,
        Err(JournalError::Foreign { .. })
    ));
    let garbage = dir.path().join("garbage.db");
    std::fs::write(&garbage, vec![b'x'; 9_000]).unwrap();
    assert!(matches!(
        Journal::open(&garbage).await,
        Err(JournalError::Sqlite { .. })
    ));
}
