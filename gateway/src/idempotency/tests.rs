//! Tests of idempotency: repeats, crashes, expiry and bounds, on a real store.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::future::Future as _;
use std::path::Path;
use std::task::{Context, Waker};
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use super::{Begin, Idempotency, Request, Resolution, Scope, StoredReply, Ticket};
use crate::clock::Clock;
use crate::config::limits::Limits;
use crate::digest::sha256_raw;
use crate::store::Store;

const HOUR: Duration = Duration::from_secs(3_600);

struct World {
    folder: tempfile::TempDir,
    clock: Clock,
    limits: Limits,
    keys: Idempotency,
    store: Store,
}

impl World {
    async fn new() -> World {
        World::with(Limits::defaults()).await
    }

    async fn with(limits: Limits) -> World {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::manual("2026-11-23T03:00:00Z".parse().unwrap());
        let store = open(folder.path()).await;
        let keys = Idempotency::new(store.clone(), "test", &limits, clock.clone());
        World {
            folder,
            clock,
            limits,
            keys,
            store,
        }
    }

    /// What a new process finds after this one died.
    async fn restarted(self) -> World {
        let World {
            folder,
            clock,
            limits,
            keys,
            store,
        } = self;
        drop((keys, store));
        let store = open(folder.path()).await;
        let keys = Idempotency::new(store.clone(), "test", &limits, clock.clone());
        World {
            folder,
            clock,
            limits,
            keys,
            store,
        }
    }

    async fn begin(&self, scope: &Scope, body: &str) -> Begin {
        let digest = sha256_raw(body.as_bytes());
        let now = self.clock.now();
        self.keys
            .begin(scope, digest, Uuid::new_v4(), now)
            .await
            .unwrap()
    }

    async fn fresh(&self, scope: &Scope, body: &str) -> Ticket {
        match self.begin(scope, body).await {
            Begin::Fresh(ticket) => ticket,
            other => unreachable!("expected a fresh key, found {}", name(&other)),
        }
    }
}

async fn open(folder: &Path) -> Store {
    crate::store::scratch::open(folder).await
}

fn scope(subject: &str, item: &str, key: &str) -> Scope {
    Scope::of(&Request {
        issuer: "https://idp",
        subject,
        method: "POST",
        target: &format!("/subscriptions/s/{item}/backup?api-version=2026-08-01"),
        vault: Some("/subscriptions/s/vaults/v1"),
        discloses: false,
        idempotency_key: None,
        client_request_id: Some(key),
    })
    .unwrap()
}

fn reply(decision: Uuid) -> StoredReply {
    StoredReply {
        status: 202,
        headers: vec![("location".into(), "/_vaultgate/op/x".into())],
        body: b"{}\xff".to_vec(),
        decision,
    }
}

fn name(begin: &Begin) -> &'static str {
    match begin {
        Begin::Fresh(_) => "fresh",
        Begin::Replay(_) => "replay",
        Begin::InFlight { .. } => "in-flight",
        Begin::Unknown { .. } => "unknown",
        Begin::NotKept { .. } => "not-kept",
        Begin::DifferentBody { .. } => "different-body",
        Begin::TooManyKeys { .. } => "too-many-keys",
    }
}

#[tokio::test]
async fn a_repeated_request_gets_the_first_reply() {
    let world = World::new().await;
    let scope = scope("alice", "vm1", "k");
    let ticket = world.fresh(&scope, "body").await;
    let decision = ticket.decision;
    assert_eq!(name(&world.begin(&scope, "body").await), "in-flight");
    assert_eq!(name(&world.begin(&scope, "other").await), "different-body");
    ticket.complete(reply(decision)).await.unwrap();
    match world.begin(&scope, "body").await {
        Begin::Replay(found) => assert_eq!(found, reply(decision)),
        other => unreachable!("{}", name(&other)),
    }
    assert_eq!(name(&world.begin(&scope, "other").await), "different-body");
}

#[tokio::test]
async fn one_client_request_id_with_two_items_is_two_jobs_and_no_one_elses_reply() {
    let world = World::new().await;
    let first = world.fresh(&scope("alice", "vm1", "k"), "body").await;
    let decision = first.decision;
    first.complete(reply(decision)).await.unwrap();
    for other in [scope("alice", "vm2", "k"), scope("bob", "vm1", "k")] {
        assert_eq!(name(&world.begin(&other, "body").await), "fresh");
    }
}

#[tokio::test]
async fn of_many_equal_requests_at_once_one_is_sent() {
    let world = World::new().await;
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let (keys, now) = (world.keys.clone(), world.clock.now());
            tokio::spawn(async move {
                let scope = scope("alice", "vm1", "k");
                keys.begin(&scope, [7; 32], Uuid::new_v4(), now)
                    .await
                    .unwrap()
            })
        })
        .collect();
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.await.unwrap());
    }
    let fresh = results
        .iter()
        .filter(|begin| name(begin) == "fresh")
        .count();
    let waiting = results
        .iter()
        .filter(|begin| name(begin) == "in-flight")
        .count();
    assert_eq!((fresh, waiting), (1, 49));
}

#[tokio::test]
async fn an_abandoned_key_may_be_used_again() {
    let world = World::new().await;
    let scope = scope("alice", "vm1", "k");
    world.fresh(&scope, "body").await.abandon().await.unwrap();
    assert_eq!(name(&world.begin(&scope, "changed").await), "fresh");
}

#[tokio::test]
async fn a_crash_leaves_the_change_in_flight_until_it_is_reconciled() {
    let world = World::new().await;
    let key = scope("alice", "vm1", "k");
    let ticket = world.fresh(&key, "body").await;
    let decision = ticket.decision;
    assert_eq!(world.keys.in_flight().await.unwrap(), []);
    assert!(
        !world
            .keys
            .resolve(decision, Resolution::NotSent)
            .await
            .unwrap()
    );
    drop(ticket);
    let world = world.restarted().await;
    // Long after: what may have reached Azure does not expire.
    world.clock.advance(100 * HOUR);
    assert_eq!(world.keys.sweep(world.clock.now()).await.unwrap(), 0);
    let found = world.keys.in_flight().await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found.first().unwrap().decision, decision);
    assert_eq!(
        found.first().unwrap().vault.as_deref(),
        Some("/subscriptions/s/vaults/v1")
    );
    match world.begin(&key, "body").await {
        Begin::InFlight {
            decision: named,
            retry_after,
        } => {
            assert_eq!(named, decision);
            assert_eq!(retry_after, Duration::from_secs(30));
        }
        other => unreachable!("{}", name(&other)),
    }
    let resolved = Resolution::Reply(reply(decision));
    assert!(world.keys.resolve(decision, resolved).await.unwrap());
    assert_eq!(name(&world.begin(&key, "body").await), "replay");
    assert!(
        !world
            .keys
            .resolve(decision, Resolution::NotSent)
            .await
            .unwrap()
    );
    assert_eq!(world.keys.in_flight().await.unwrap(), []);
}

#[tokio::test]
async fn a_completed_reply_survives_a_crash() {
    let world = World::new().await;
    let key = scope("alice", "vm1", "k");
    let ticket = world.fresh(&key, "body").await;
    let decision = ticket.decision;
    ticket.complete(reply(decision)).await.unwrap();
    let world = world.restarted().await;
    assert_eq!(name(&world.begin(&key, "body").await), "replay");
}

#[tokio::test]
async fn what_cannot_be_known_stays_blocked_and_may_still_become_known() {
    let world = World::new().await;
    let key = scope("alice", "vm1", "k");
    let ticket = world.fresh(&key, "body").await;
    let decision = ticket.decision;
    ticket.unknown().await.unwrap();
    match world.begin(&key, "body").await {
        Begin::Unknown { decision: named } => assert_eq!(named, decision),
        other => unreachable!("{}", name(&other)),
    }
    let resolved = Resolution::Reply(reply(decision));
    assert!(world.keys.resolve(decision, resolved).await.unwrap());
    assert_eq!(name(&world.begin(&key, "body").await), "replay");
}

#[tokio::test]
async fn replies_are_kept_for_a_day() {
    let world = World::new().await;
    let key = scope("alice", "vm1", "k");
    let ticket = world.fresh(&key, "body").await;
    let decision = ticket.decision;
    ticket.complete(reply(decision)).await.unwrap();
    world.clock.advance(24 * HOUR - Duration::from_millis(1));
    assert_eq!(world.keys.sweep(world.clock.now()).await.unwrap(), 0);
    assert_eq!(name(&world.begin(&key, "body").await), "replay");
    world.clock.advance(Duration::from_millis(1));
    // Expired even when nobody has swept yet.
    world.fresh(&key, "body").await.unknown().await.unwrap();
    world.clock.advance(24 * HOUR);
    assert_eq!(world.keys.sweep(world.clock.now()).await.unwrap(), 1);
    assert_eq!(world.keys.sweep(world.clock.now()).await.unwrap(), 0);
}

#[tokio::test]
async fn a_reply_too_large_to_keep_is_neither_repeated_nor_sent_again() {
    let world = World::new().await;
    let key = scope("alice", "vm1", "k");
    let ticket = world.fresh(&key, "body").await;
    let decision = ticket.decision;
    let mut large = reply(decision);
    large.body = vec![0; world.limits.idempotency.max_reply_bytes + 1];
    ticket.complete(large).await.unwrap();
    match world.begin(&key, "body").await {
        Begin::NotKept {
            decision: named,
            status,
        } => assert_eq!((named, status), (decision, 202)),
        other => unreachable!("{}", name(&other)),
    }
}

#[tokio::test]
async fn a_full_principal_loses_its_oldest_reply_and_never_what_is_in_flight() {
    let mut limits = Limits::defaults();
    limits.idempotency.keys_per_principal = 3;
    let world = World::with(limits).await;
    let item = |n: u32| scope("alice", &format!("vm{n}"), "k");
    let mut tickets = Vec::new();
    for n in 0..3 {
        tickets.push(world.fresh(&item(n), "body").await);
        world.clock.advance(Duration::from_secs(1));
    }
    assert_eq!(name(&world.begin(&item(3), "body").await), "too-many-keys");
    // Another principal is not affected.
    assert_eq!(
        name(&world.begin(&scope("bob", "vm1", "k"), "body").await),
        "fresh"
    );
    let second = tickets.remove(1);
    let decision = second.decision;
    second.complete(reply(decision)).await.unwrap();
    let fourth = world.fresh(&item(3), "body").await;
    assert_eq!(name(&world.begin(&item(1), "body").await), "too-many-keys");
    assert_eq!(name(&world.begin(&item(0), "body").await), "in-flight");
    drop((tickets, fourth));
    assert_eq!(world.keys.in_flight().await.unwrap().len(), 4);
}

#[tokio::test]
async fn a_caller_that_hangs_up_before_it_has_its_ticket_leaves_no_key() {
    let world = World::new().await;
    let key = scope("alice", "vm1", "k");
    let now: Timestamp = world.clock.now();
    // Holds the writer, so that the key cannot be taken before the caller is gone.
    let held = world.store.begin().await.unwrap();
    {
        let begin = world.keys.begin(&key, [1; 32], Uuid::new_v4(), now);
        let mut begin = std::pin::pin!(begin);
        let mut context = Context::from_waker(Waker::noop());
        assert!(begin.as_mut().poll(&mut context).is_pending());
        until(async || !world.keys.live().is_empty()).await;
    }
    drop(held);
    until(async || {
        let rows = super::rows::in_flight(&world.store, "test").await.unwrap();
        rows.is_empty() && world.keys.live().is_empty()
    })
    .await;
    assert_eq!(name(&world.begin(&key, "body").await), "fresh");
}

/// Waits for a state, and fails rather than hang when it never comes.
async fn until(reached: impl AsyncFn() -> bool) {
    let waiting = async {
        while !reached().await {
            tokio::task::yield_now().await;
        }
    };
    let limit = Duration::from_secs(20);
    tokio::time::timeout(limit, waiting).await.unwrap();
}
