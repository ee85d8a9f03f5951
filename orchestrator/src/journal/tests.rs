//! What is written stays, and what has ended is not written again.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use jiff::{Timestamp, ToSpan as _};
use uuid::Uuid;

use super::{Item, Journal, JournalError, Place, Run, scratch};
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
    let journal = scratch::open(dir.path()).await;
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
    let journal = scratch::open(dir.path()).await;
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
    let journal = scratch::open(dir.path()).await;
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
    let journal = scratch::open(dir.path()).await;
    let lease = journal.claim().await.unwrap();
    let other = scratch::open(dir.path()).await;
    // The holder of a server's lease shows that it lives; a file's is locked.
    let taken = async {
        assert!(matches!(
            other.claim().await,
            Err(JournalError::Taken { .. })
        ))
    };
    tokio::select! {
        lost = journal.hold() => panic!("{lost:?}"),
        () = taken => {}
    }
    journal.ask(&run()).await.unwrap();
    journal.release(lease).await.unwrap();
    let lease = other.claim().await.unwrap();
    // Whoever had it before changes nothing any more, and what people ask for is taken down.
    let mut late = run();
    late.state = State::Failed;
    let refused = journal.write_run(&late, now()).await;
    assert!(
        matches!(refused, Err(JournalError::Fenced { .. })),
        "{refused:?}"
    );
    assert!(matches!(
        journal.resolve(&late, &[], now()).await,
        Err(JournalError::Fenced { .. })
    ));
    assert!(journal.cancel(late.id).await.unwrap());
    assert_eq!(
        other.find_run(late.id).await.unwrap().unwrap().state,
        State::Scheduled
    );
    other.write_run(&late, now()).await.unwrap();
    drop(lease);
}

#[tokio::test]
async fn a_lease_that_nobody_holds_any_more_goes_over() {
    let dir = tempfile::tempdir().unwrap();
    let journal = scratch::open(dir.path()).await;
    // As after a kill: nobody let it go.
    drop(journal.claim().await.unwrap());
    let other = scratch::open(dir.path()).await;
    other.claim().await.unwrap();
    let fenced = tokio::time::timeout(std::time::Duration::from_secs(1), journal.hold()).await;
    // A file's holder is gone with its lock; there is nobody to be told.
    assert!(!journal.is_shared() || matches!(fenced, Ok(Err(JournalError::Fenced { .. }))));
}

#[tokio::test(flavor = "multi_thread")]
async fn several_that_make_a_journal_at_once_all_have_it() {
    for _ in 0..10 {
        let dir = tempfile::tempdir().unwrap();
        let places = (0..8).map(|_| dir.path().to_owned());
        let opened =
            places.map(|place| tokio::spawn(async move { drop(scratch::open(&place).await) }));
        for one in opened.collect::<Vec<_>>() {
            one.await.unwrap();
        }
    }
}

#[tokio::test]
async fn instants_are_in_order_whatever_their_fractions() {
    let dir = tempfile::tempdir().unwrap();
    let journal = scratch::open(dir.path()).await;
    let ends = [0, 900_000_000, 90_000_000, 1_000_000_000].map(|nanos| now() + nanos.nanoseconds());
    for end in ends {
        let id = occurrence::asked_run_id("nightly", "westeurope", end);
        let run = Run {
            id,
            state: State::Completed,
            ended: Some(end),
            ..run()
        };
        journal.ask(&run).await.unwrap();
    }
    let mut expected = ends.to_vec();
    expected.sort();
    for (skipped, after) in std::iter::once(None)
        .chain(expected.iter().copied().map(Some))
        .enumerate()
    {
        let found = journal
            .ended_since("nightly", "westeurope", after)
            .await
            .unwrap();
        let found: Vec<_> = found.iter().filter_map(|run| run.ended).collect();
        assert_eq!(found, expected.get(skipped..).unwrap());
    }
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
        Journal::open(&Place::File(path)).await,
        Err(JournalError::Foreign { .. })
    ));
    let garbage = dir.path().join("garbage.db");
    std::fs::write(&garbage, vec![b'x'; 9_000]).unwrap();
    assert!(matches!(
        Journal::open(&Place::File(garbage)).await,
        Err(JournalError::Failed { .. })
    ));
}

#[tokio::test]
async fn a_server_elsewhere_is_verified_and_its_password_is_never_told() {
    for (url, told) in [
        (
            "postgres://u:s3cr3t@db.example.net/backups",
            "sslmode=verify-full",
        ),
        (
            "postgres://u:s3cr3t@db.example.net/backups?sslmode=require",
            "sslmode=verify-full",
        ),
        ("mysql://u:s3cr3t@localhost/backups", "cannot be read"),
        ("postgres://u:s3cr3t@local host/backups", "cannot be read"),
        // Nobody listens there.
        (
            "postgres://u:s3cr3t@127.0.0.1:1/backups",
            "postgres://127.0.0.1:1/backups",
        ),
    ] {
        let refused = Journal::open(&Place::Server(url.into()))
            .await
            .err()
            .unwrap();
        let shown = format!("{refused} {refused:?}");
        assert!(shown.contains(told) && !shown.contains("s3cr3t"), "{shown}");
    }
}

#[tokio::test]
async fn what_one_caller_began_is_not_gone_on_with_as_another() {
    let dir = tempfile::tempdir().unwrap();
    let journal = scratch::open(dir.path()).await;
    journal.same_caller("nightly", "issuer one").await.unwrap();
    journal
        .same_caller("nightly", "issuer other")
        .await
        .unwrap();
    let mut run = run();
    journal.ask(&run).await.unwrap();
    journal
        .same_caller("nightly", "issuer other")
        .await
        .unwrap();
    let refused = journal.same_caller("nightly", "issuer one").await;
    assert!(
        matches!(&refused, Err(JournalError::Caller { known, .. }) if known == "issuer other"),
        "{refused:?}"
    );
    // Other flows are others.
    journal.same_caller("weekly", "issuer one").await.unwrap();
    (run.state, run.ended) = (State::Completed, Some(now()));
    journal.write_run(&run, now()).await.unwrap();
    journal.same_caller("nightly", "issuer one").await.unwrap();
}

#[tokio::test]
async fn a_thousand_items_are_frozen_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let journal = scratch::open(dir.path()).await;
    let run = run();
    journal.ask(&run).await.unwrap();
    let items: Vec<Item> = (0..1_050)
        .map(|number| item(run.id, &format!("vm{number:04}")))
        .collect();
    journal.resolve(&run, &items, now()).await.unwrap();
    assert_eq!(journal.items(run.id).await.unwrap(), items);
}
