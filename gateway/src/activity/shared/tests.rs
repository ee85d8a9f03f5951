//! Tests of counters that gateways share. They need a server, so `tests/run postgres` runs
//! them.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::sync::Arc;

use jiff::{Timestamp, ToSpan as _};
use secrecy::SecretString;
use vaultgate_arm::Class;

use super::super::ring::Moment;
use super::super::tests::{event, start};
use super::super::{Activity, ActivityView};
use super::{BEHIND, Entry, How, MOST_WAITING};
use crate::config::limits::Limits;
use crate::store::{Store, scratch, sql};

struct Gateway {
    _own: tempfile::TempDir,
    store: Store,
    activity: Activity,
}

impl Gateway {
    async fn start(url: &SecretString, name: &str, log_size: u64) -> Gateway {
        let own = tempfile::tempdir().unwrap();
        let store = Store::connect(url, name, own.path()).await.unwrap();
        let activity = Activity::of(&store, name, &Limits::defaults());
        activity.load(&store, log_size).await.unwrap();
        Gateway {
            store,
            activity,
            _own: own,
        }
    }

    /// Appends and applies what there is.
    async fn catch_up(&self) {
        let shared = self.activity.shared.as_ref().unwrap();
        shared.exchange(&self.activity.state, None).await.unwrap();
    }

    async fn deletes(&self) -> ActivityView {
        self.catch_up().await;
        self.activity
            .view(&event("anyone", Class::Delete, "v1"), start())
    }
}

async fn server(folder: &tempfile::TempDir) -> SecretString {
    let server = std::env::var("VAULTGATE_TEST_POSTGRES").unwrap();
    scratch::database(&server, folder.path()).await
}

fn day(view: &ActivityView) -> u64 {
    view.vault.classes["delete"].day
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs PostgreSQL"]
async fn one_of_two_hundred_deletes_at_two_gateways_sees_an_unspent_budget() {
    let folder = tempfile::tempdir().unwrap();
    let url = server(&folder).await;
    let gateways = [
        Arc::new(Gateway::start(&url, "a", 0).await),
        Arc::new(Gateway::start(&url, "b", 0).await),
    ];
    let barrier = Arc::new(tokio::sync::Barrier::new(200));
    let tasks: Vec<_> = (0..200_usize)
        .map(|n| {
            let (gateway, barrier) = (Arc::clone(&gateways[n % 2]), Arc::clone(&barrier));
            tokio::spawn(async move {
                let delete = event(&format!("caller-{}", n % 7), Class::Delete, "v1");
                barrier.wait().await;
                let reserved = gateway.activity.reserve(&delete, start()).await;
                let (view, reservation) = reserved.unwrap();
                let allowed = day(&view) == 0;
                match allowed {
                    true => reservation.commit(n as u64 / 2),
                    false => reservation.refuse(n as u64 / 2),
                }
                allowed
            })
        })
        .collect();
    let mut allowed = 0;
    for task in tasks {
        allowed += u32::from(task.await.unwrap());
    }
    assert_eq!(allowed, 1);
    // One after the other: each appends what the other has not seen.
    let [a, b] = &gateways;
    a.catch_up().await;
    assert_eq!(day(&b.deletes().await), 1);
    assert_eq!(a.deletes().await, b.deletes().await);
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn what_a_dead_gateway_had_in_flight_counts_until_its_log_tells() {
    let folder = tempfile::tempdir().unwrap();
    let url = server(&folder).await;
    let delete = event("alice", Class::Delete, "v1");
    let other = Gateway::start(&url, "b", 0).await;
    for (recorded, left) in [(true, 1), (false, 1)] {
        let dying = Gateway::start(&url, "a", 10).await;
        let reserved = dying.activity.reserve(&delete, start()).await;
        let (before, reservation) = reserved.unwrap();
        assert_eq!(day(&before), if recorded { 0 } else { 1 });
        // Killed: nothing of it is said.
        std::mem::forget(reservation);
        dying.store.close().await;
        drop(dying);
        assert_eq!(day(&other.deletes().await), left + u64::from(!recorded));

        let again = Gateway::start(&url, "a", 10).await;
        if recorded {
            let record = super::super::tests::record(3, start(), "allow", "delete");
            again.activity.replay(&record);
            // Counted once, however often the log is read.
            again.activity.replay(&record);
        }
        again.activity.caught_up().await.unwrap();
        assert_eq!(day(&other.deletes().await), left);
        assert_eq!(day(&again.deletes().await), left);
        again.store.close().await;
    }
    // The log goes on behind what was counted.
    let again = Gateway::start(&url, "a", 10).await;
    again
        .activity
        .replay(&super::super::tests::record(3, start(), "allow", "delete"));
    again.activity.caught_up().await.unwrap();
    assert_eq!(day(&other.deletes().await), 1);
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn a_gateway_that_is_far_behind_begins_with_the_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let url = server(&folder).await;
    let (a, b) = (
        Gateway::start(&url, "a", 0).await,
        Gateway::start(&url, "b", 0).await,
    );
    let delete = event("alice", Class::Delete, "v1");
    let (_, held) = b.activity.reserve(&delete, start()).await.unwrap();
    a.activity
        .reserve(&delete, start())
        .await
        .unwrap()
        .1
        .commit(0);
    a.catch_up().await;
    // So many entries that the list is shortened behind a snapshot.
    let mut change = a.store.begin().await.unwrap();
    let fill = sql("INSERT INTO activity (seq, replica, content)
         SELECT (SELECT MAX(seq) FROM activity) + n, 'a', '{\"floor\":0,\"entries\":[]}'
         FROM generate_series(1, $1) AS n");
    change.execute(fill.bind(BEHIND + 10)).await.unwrap();
    change.commit().await.unwrap();
    a.catch_up().await;
    a.activity.save(&a.store, start()).await.unwrap();
    let left = sql("SELECT COUNT(*) AS rows FROM activity");
    let left = a.store.first(left).await.unwrap().unwrap();
    assert_eq!(left.value::<i64>("rows").unwrap(), BEHIND);

    // One that knows nothing, and one that knew the beginning; what is in flight is known too.
    let new = Gateway::start(&url, "c", 0).await;
    assert_eq!(day(&new.deletes().await), 2);
    assert_eq!(day(&b.deletes().await), 2);
    held.release(0);
    b.catch_up().await;
    assert_eq!(day(&new.deletes().await), 1);
    assert_eq!(new.deletes().await, b.deletes().await);
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn what_nobody_settles_counts_as_done_after_a_day() {
    let folder = tempfile::tempdir().unwrap();
    let url = server(&folder).await;
    let (a, b) = (
        Gateway::start(&url, "a", 0).await,
        Gateway::start(&url, "b", 0).await,
    );
    let delete = event("alice", Class::Delete, "v1");
    std::mem::forget(a.activity.reserve(&delete, start()).await.unwrap().1);
    b.catch_up().await;
    let later: Timestamp = start() + 25.hours();
    b.activity.save(&b.store, later).await.unwrap();
    let view = b.activity.view(&delete, later);
    assert_eq!(
        (
            view.vault.classes["delete"].day,
            view.vault.classes["delete"].month
        ),
        (0, 1)
    );
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn a_long_log_that_is_replayed_leaves_no_budget_unspent() {
    let folder = tempfile::tempdir().unwrap();
    let url = server(&folder).await;
    let gateway = Gateway::start(&url, "a", 0).await;
    let shared = gateway.activity.shared.as_ref().unwrap();
    let tell = |class| {
        let event = event("anyone", class, "v1");
        shared.tell(Entry::counted(
            How::Allowed,
            Moment::of(start()),
            event,
            None,
        ));
    };
    for _ in 0..=MOST_WAITING {
        tell(Class::Read);
    }
    assert_eq!(shared.waiting().len(), MOST_WAITING);
    tell(Class::Delete);
    shared.waiting().drain(..MOST_WAITING);
    assert_eq!(day(&gateway.deletes().await), 1);
}
