//! Tests of the counters: races, windows, restarts and hostile keys.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::sync::Arc;

use jiff::{Timestamp, ToSpan as _};
use proptest::prelude::{Strategy, prop, proptest};
use proptest::test_runner::Config;
use serde_json::{Value, json};
use vaultgate_pdp::{Binding, Principal, PrincipalKind};

use super::snapshot::ActivityError;
use super::{Activity, ActivityEvent, ActivityView, Place, Reservation};
use crate::config::limits::{ActivityLimits, Limits};
use crate::store::{Store, sql};
use vaultgate_arm::Class;

pub(super) fn start() -> Timestamp {
    "2026-11-23T03:00:00Z".parse().unwrap()
}

fn activity() -> Activity {
    Activity::new(&Limits::defaults())
}

impl Activity {
    /// A place where nobody else counts, which nobody waits for.
    fn reserve_now(&self, event: &ActivityEvent, now: Timestamp) -> (ActivityView, Reservation) {
        self.reserve_here(event, now, Place::Here)
    }
}

fn principal(subject: &str, person: Option<&str>, kind: PrincipalKind) -> Principal {
    Principal {
        issuer: "https://idp".into(),
        subject: subject.into(),
        person: person.map(str::to_owned),
        kind,
        tenant: None,
        app: None,
        roles: Vec::new(),
        groups: Vec::new(),
        scopes: Vec::new(),
        acr: None,
        auth_time: None,
        actors: Vec::new(),
        bound: Binding::None,
        flow: None,
    }
}

pub(super) fn event(subject: &str, class: Class, vault: &str) -> ActivityEvent {
    let principal = principal(subject, None, PrincipalKind::Human);
    let delta = json!({ "retention_days": -10 });
    let delta = if class == Class::Weaken {
        delta
    } else {
        Value::Null
    };
    ActivityEvent::new(&principal, class.as_str(), class, Some(vault), &delta)
}

fn json_of(view: &ActivityView) -> Value {
    serde_json::to_value(view).unwrap()
}

pub(super) fn record(seq: u64, at: Timestamp, verdict: &str, class: &str) -> Value {
    json!({
        "seq": seq, "time": at.to_string(), "kind": "decision", "verdict": verdict,
        "input": {
            "principal": { "issuer": "https://idp", "subject": "alice", "kind": "human" },
            "operation": { "name": class, "class": class },
            "resource": { "vault": "v1" },
            "request": { "delta": { "retention_days": -10 } },
        },
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_hundred_parallel_deletes_and_one_sees_an_unspent_budget() {
    let activity = activity();
    let barrier = Arc::new(tokio::sync::Barrier::new(200));
    let tasks: Vec<_> = (0..200_u64)
        .map(|n| {
            let (activity, barrier) = (activity.clone(), Arc::clone(&barrier));
            tokio::spawn(async move {
                let subject = format!("caller-{}", n % 7);
                barrier.wait().await;
                let delete = event(&subject, Class::Delete, "v1");
                let (view, reservation) = activity.reserve_now(&delete, start());
                // The rule: one delete per vault and day.
                let allowed = view.vault.classes["delete"].day == 0;
                tokio::task::yield_now().await;
                match allowed {
                    true => reservation.commit(n),
                    false => reservation.refuse(n),
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
    let view = activity.view(&event("anyone", Class::Delete, "V1"), start());
    assert_eq!(view.vault.classes["delete"].day, 1);
    let denied: u64 = (0..7)
        .map(|n| event(&format!("caller-{n}"), Class::Read, "v1"))
        .map(|event| activity.view(&event, start()).principal.denied.day)
        .sum();
    assert_eq!(denied, 199);
}

#[test]
fn refused_and_dropped_requests_count_as_denied_and_never_against_a_vault() {
    let activity = activity();
    let weaken = event("alice", Class::Weaken, "v1");
    let (first, refused) = activity.reserve_now(&weaken, start());
    let (second, dropped) = activity.reserve_now(&weaken, start());
    assert_eq!(first.vault.classes["weaken"].hour, 0);
    assert_eq!(second.vault.classes["weaken"].hour, 1);
    assert_eq!(second.vault.retention_days_removed.month, 10);
    assert_eq!(second.principal.items_weakened.month, 1);
    assert_eq!(second.principal.vaults.hour, 1);
    refused.refuse(0);
    drop(dropped);
    let (_, released) = activity.reserve_now(&weaken, start());
    released.release(1);
    let after = json_of(&activity.view(&weaken, start()));
    assert_eq!(after["vault"]["weaken"]["30d"], 0);
    assert_eq!(after["vault"]["retention_days_removed"]["30d"], 0);
    assert_eq!(after["principal"]["weaken"]["24h"], 0);
    assert_eq!(after["principal"]["vaults"]["24h"], 0);
    assert_eq!(after["principal"]["denied"], json!({ "1h": 2, "24h": 2 }));
    assert_eq!(after["principal"]["refused"], json!({ "weaken": 2 }));
    assert_eq!(after["principal"]["first_in_90d"], true);
    // Nothing of the vault is remembered.
    assert_eq!(activity.keys(), 1);
}

#[test]
fn the_view_has_every_class_and_the_documented_shape() {
    let activity = activity();
    let agent = principal("bot", Some("p-1"), PrincipalKind::Agent);
    let delete = ActivityEvent::new(&agent, "delete", Class::Delete, None, &Value::Null);
    let view = json_of(&activity.view(&delete, start()));
    let zeros = json!({ "1h": 0, "24h": 0, "30d": 0 });
    for class in Class::ALL {
        for subject in ["principal", "agent", "person", "vault"] {
            assert_eq!(view[subject][class.as_str()], zeros, "{subject} {class:?}");
        }
    }
    for subject in ["principal", "agent", "person"] {
        assert_eq!(view[subject]["vaults"], json!({ "1h": 0, "24h": 0 }));
        assert_eq!(view[subject]["first_in_90d"], true);
        assert_eq!(view[subject]["refused"], json!({}));
        assert_eq!(view[subject]["items_weakened"], json!({ "30d": 0 }));
    }
    assert_eq!(view["vault"].as_object().unwrap().len(), 15);
    assert_eq!(
        view["estate"],
        json!({ "delete_24h": 0, "delete_share_24h": null })
    );
    let human = activity.view(&event("alice", Class::Read, "v1"), start());
    assert!(human.agent.is_none() && human.person.is_none());
}

#[test]
fn one_person_behind_two_principals_has_one_count() {
    let activity = activity();
    for (n, subject) in ["alice", "alice-admin"].into_iter().enumerate() {
        let caller = principal(subject, Some("p-1"), PrincipalKind::Human);
        let delete = ActivityEvent::new(&caller, "d", Class::Delete, Some("v1"), &Value::Null);
        let (view, reservation) = activity.reserve_now(&delete, start());
        assert_eq!(view.principal.classes["delete"].hour, 0);
        assert_eq!(view.person.unwrap().classes["delete"].hour, n as u64);
        reservation.commit(n as u64);
    }
}

#[test]
fn the_share_of_the_estate_is_known_when_its_size_is() {
    let activity = activity();
    let delete = event("alice", Class::Delete, "v1");
    activity.reserve_now(&delete, start()).1.commit(0);
    for (items, share) in [(None, None), (Some(0), None), (Some(250), Some(0.004))] {
        activity.set_estate_items(items);
        let view = activity.view(&delete, start());
        assert_eq!(view.estate.delete_share_24h, share);
        assert_eq!(view.estate.delete_24h, 1);
    }
}

#[test]
fn a_class_is_first_again_after_ninety_days() {
    let activity = activity();
    let restore = event("alice", Class::Restore, "v1");
    let (view, reservation) = activity.reserve_now(&restore, start());
    assert!(view.principal.first_in_90d);
    // In flight is not done: of many at once, each is still a first.
    let (view, other) = activity.reserve_now(&restore, start());
    assert!(view.principal.first_in_90d);
    other.release(0);
    reservation.commit(1);
    for (days, first) in [(0, false), (90, false), (91, true)] {
        let later = start().checked_add((days * 24).hours()).unwrap();
        let view = activity.view(&restore, later);
        assert_eq!(view.principal.first_in_90d, first, "after {days} days");
    }
    let other = activity.view(&event("alice", Class::Delete, "v1"), start());
    assert!(other.principal.first_in_90d);
}

#[test]
fn reads_are_counted_by_who_made_them_only() {
    let activity = activity();
    let read = event("alice", Class::Read, "v1");
    for index in 0..2 {
        activity.reserve_now(&read, start()).1.commit(index);
    }
    let view = activity.view(&read, start());
    assert_eq!(view.principal.classes["read"].hour, 2);
    assert_eq!(view.principal.vaults.hour, 0);
    assert_eq!(view.vault.classes["read"].hour, 0);
    assert_eq!(activity.keys(), 1);
}

#[test]
fn a_hundred_thousand_strangers_do_not_fill_memory_nor_push_out_what_counts() {
    let activity = Activity::new(&Limits {
        activity: ActivityLimits {
            max_principals: 1_000,
            max_vaults: 1_000,
        },
        ..Limits::defaults()
    });
    let delete = event("alice", Class::Delete, "v1");
    activity.reserve_now(&delete, start()).1.commit(0);
    let (_, held) = activity.reserve_now(&event("bob", Class::Read, "v1"), start());
    let later = start().checked_add(1.hours()).unwrap();
    for n in 0..100_000_u64 {
        let subject = format!("stranger-{n}");
        let read = event(&subject, Class::Delete, &format!("invented-{n}"));
        // Refused: nothing that was invented may stay but the stranger's own count.
        activity.reserve_now(&read, later).1.refuse(n + 1);
    }
    assert!(activity.keys() <= 1_002, "{}", activity.keys());
    let state = activity.lock();
    assert!(state.principals.row("https://idp\0alice").is_some());
    assert!(state.principals.row("https://idp\0bob").is_some());
    assert!(state.progress.counted.len() <= 100_001);
    drop(state);
    assert_eq!(
        activity.view(&delete, start()).vault.classes["delete"].day,
        1
    );
    drop(held);
    let bytes = activity.snapshot().unwrap().bytes;
    assert!(bytes.len() < 2_000_000, "{}", bytes.len());
}

#[test]
fn one_callers_inventions_are_bounded() {
    let activity = activity();
    let caller = principal("alice", None, PrincipalKind::Human);
    for n in 0..10_000_u64 {
        activity.note_refused(&caller, &format!("invented/{n}"), start());
        let vault = format!("v{n}");
        activity
            .reserve_now(&event("alice", Class::Snapshot, &vault), start())
            .1
            .commit(n);
    }
    let view = activity.view(&event("alice", Class::Read, "v1"), start());
    assert_eq!(view.principal.refused.len(), 65);
    assert_eq!(view.principal.denied.hour, 10_000);
    assert_eq!(view.principal.vaults.hour, 2_048);
    assert_eq!(view.principal.classes["snapshot"].hour, 10_000);
}

#[test]
fn a_snapshot_and_the_tail_of_the_log_give_the_same_counts() {
    let activity = activity();
    let delete = event("alice", Class::Delete, "v1");
    let weaken = event("alice", Class::Weaken, "v1");
    activity.reserve_now(&delete, start()).1.commit(4);
    // Durable as record 6 before record 5 was, and still in flight as record 5.
    let (_, slow) = activity.reserve_now(&weaken, start());
    activity.reserve_now(&delete, start()).1.commit(6);
    let snapshot = activity.snapshot().unwrap();
    assert_eq!(snapshot.index, 5);
    slow.commit(5);
    activity.reserve_now(&delete, start()).1.refuse(7);
    let want = json_of(&activity.view(&delete, start()));

    let restarted = self::activity();
    assert_eq!(restarted.restore(&snapshot.bytes).unwrap(), 5);
    for (seq, verdict, class) in [
        (4, "allow", "delete"),
        (5, "allow", "weaken"),
        (6, "allow", "delete"),
        (7, "deny", "delete"),
        (7, "deny", "delete"),
    ] {
        restarted.replay(&record(seq, start(), verdict, class));
    }
    restarted.replay(&json!({ "seq": 8, "kind": "outcome" }));
    let mut again = record(9, start(), "allow", "delete");
    again["replayed_of"] = json!("3f0c");
    restarted.replay(&again);
    let mut found = json_of(&restarted.view(&delete, start()));
    assert_eq!(found["principal"]["delete"]["24h"], 2);
    // The record of this test names all its operations' deltas alike.
    for counters in ["principal", "vault"] {
        assert_eq!(found[counters]["weaken"], want[counters]["weaken"]);
        found[counters]["items_weakened"] = want[counters]["items_weakened"].clone();
        found[counters]["retention_days_removed"] =
            want[counters]["retention_days_removed"].clone();
    }
    assert_eq!(found, want);
    assert_eq!(restarted.snapshot().unwrap().index, 8);
}

#[test]
fn the_records_of_an_idle_gateway_are_not_kept() {
    let activity = activity();
    for n in 0..10_000 {
        activity
            .reserve_now(&event("alice", Class::Snapshot, "v1"), start())
            .1
            .commit(n * 3);
    }
    assert!(activity.lock().progress.counted.is_empty());
    assert_eq!(activity.snapshot().unwrap().index, 29_998);
}

#[tokio::test]
async fn counters_survive_in_the_store_and_damage_is_no_empty_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = Store::open(&path).await.unwrap();
    let activity = activity();
    assert_eq!(activity.load(&store, 0).await.unwrap(), None);
    let delete = event("alice", Class::Delete, "v1");
    for index in 0..2 {
        activity.reserve_now(&delete, start()).1.commit(index);
        activity.save(&store, start()).await.unwrap();
    }
    drop(store);
    let store = Store::open(&path).await.unwrap();
    let restarted = self::activity();
    assert_eq!(restarted.load(&store, 2).await.unwrap(), Some(2));
    let view = restarted.view(&delete, start());
    assert_eq!(view, activity.view(&delete, start()));
    assert_eq!(view.vault.classes["delete"].month, 2);
    // A log that lost records is told.
    let shorter = self::activity().load(&store, 1).await;
    assert!(matches!(
        shorter,
        Err(ActivityError::Ahead {
            index: 2,
            log_size: 1
        })
    ));
    let mut change = store.begin().await.unwrap();
    let damage = sql("UPDATE snapshots SET content = $1").bind(b"{}".to_vec());
    change.execute(damage).await.unwrap();
    change.commit().await.unwrap();
    let damaged = self::activity().load(&store, 2).await;
    assert!(matches!(damaged, Err(ActivityError::Damaged { .. })));
}

#[test]
fn hostile_snapshots_are_refused() {
    for bytes in [
        &b""[..],
        b"null",
        b"{\"schema\":\"vaultgate.activity/2\"}",
        &vec![b'['; 100_000],
    ] {
        assert!(activity().restore(bytes).is_err());
    }
    let good = String::from_utf8(activity().snapshot().unwrap().bytes).unwrap();
    let other = good.replace("vaultgate.activity/1", "vaultgate.activity/9");
    assert!(activity().restore(other.as_bytes()).is_err());
}

/// One step of the model: time that passes, then a request and how it ended.
#[derive(Clone, Debug)]
struct Step {
    minutes: u32,
    class: usize,
    vault: u8,
    end: u8,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Mostly short gaps, with long ones that move whole windows.
    let minutes = proptest::prop_oneof![6 => 0..5_u32, 2 => 20..90_u32, 1 => 600..60_000_u32];
    let step =
        (minutes, 0..13_usize, 0..4_u8, 0..4_u8).prop_map(|(minutes, class, vault, end)| Step {
            minutes,
            class,
            vault,
            end,
        });
    prop::collection::vec(step, 1..120)
}

proptest! {
    #![proptest_config(Config { cases: 200, failure_persistence: None, ..Config::default() })]

    #[test]
    fn counters_equal_a_naive_list_of_everything(steps in steps()) {
        check_against_naive(&steps);
    }
}

fn check_against_naive(steps: &[Step]) {
    let activity = activity();
    let first = start().as_second() / 60;
    let mut minute = u32::try_from(first).unwrap();
    let mut allowed: Vec<(u32, ActivityEvent)> = Vec::new();
    let mut denied: Vec<u32> = Vec::new();
    let mut held = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        minute += step.minutes;
        let now = Timestamp::from_second(i64::from(minute) * 60 + 59).unwrap();
        let class = Class::ALL[step.class];
        let event = event("alice", class, &format!("v{}", step.vault));
        let view = activity.view(&event, now);
        let counted = |windowed: &dyn Fn(u32) -> bool, of_vault: bool| {
            let past = allowed
                .iter()
                .filter(|(at, _)| windowed(*at))
                .map(|(_, event)| event);
            let flying = held.iter().map(|(_, event): &(_, ActivityEvent)| event);
            let same = past.chain(flying).filter(|past| past.class == class);
            same.filter(|past| !of_vault || past.vault == event.vault)
                .count() as u64
        };
        let hour = |at: u32| at + 60 >= minute;
        let day = |at: u32| at / 60 + 24 >= minute / 60;
        let month = |at: u32| at / 1_440 + 30 >= minute / 1_440;
        let row = view.principal.classes[class.as_str()];
        let want = (
            counted(&hour, false),
            counted(&day, false),
            counted(&month, false),
        );
        assert_eq!((row.hour, row.day, row.month), want);
        let row = view.vault.classes[class.as_str()];
        let want = match class.changes() {
            true => (
                counted(&hour, true),
                counted(&day, true),
                counted(&month, true),
            ),
            false => (0, 0, 0),
        };
        assert_eq!((row.hour, row.day, row.month), want);
        let refused = |windowed: &dyn Fn(u32) -> bool| {
            denied.iter().filter(|at| windowed(**at)).count() as u64
        };
        let short = view.principal.denied;
        assert_eq!((short.hour, short.day), (refused(&hour), refused(&day)));

        let (_, reservation) = activity.reserve_now(&event, now);
        let index = index as u64;
        match step.end {
            0 => {
                reservation.refuse(index);
                denied.push(minute);
            }
            1 => held.push((reservation, event)),
            _ => {
                reservation.commit(index);
                allowed.push((minute, event));
            }
        }
        if held.len() > 3 {
            let (oldest, _) = held.remove(0);
            oldest.release(index);
        }
    }
}
