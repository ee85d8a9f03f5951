//! Tests of admission: who is let in, who waits, and what they are told.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::time::Duration;

use vaultgate_pdp::PrincipalKind;

use super::{Admission, AdmitRequest, ArmBucket, LimitName};
use crate::clock::Clock;
use crate::config::limits::Limits;
use vaultgate_arm::Class;

const VAULT: &str = "/subscriptions/s/vaults/v1";

fn world() -> (Admission, Clock) {
    let clock = Clock::manual("2026-11-23T03:00:00Z".parse().unwrap());
    (Admission::new(&Limits::defaults(), clock.clone()), clock)
}

fn request(class: Class, method: &'static str) -> AdmitRequest<'static> {
    AdmitRequest {
        principal_key: "https://idp\0alice",
        kind: PrincipalKind::Human,
        vault: Some(VAULT),
        subscription: Some("s"),
        class,
        method,
        for_restore: false,
        unhurried: false,
    }
}

fn passed(admission: &Admission, request: &AdmitRequest<'_>) -> usize {
    let check = || admission.check(request);
    std::iter::repeat_with(check)
        .take(2_000)
        .take_while(Result::is_ok)
        .count()
}

#[test]
fn heavy_classes_use_up_a_vault_sooner_and_the_refusal_says_when() {
    let (admission, clock) = world();
    let delete = request(Class::Delete, "DELETE");
    assert_eq!(passed(&admission, &delete), 6);
    let limited = admission.check(&delete).unwrap_err();
    assert_eq!(limited.limit, LimitName::VaultChanges);
    assert_eq!(limited.limit.name(), "vault-changes");
    assert!(
        limited.detail.contains("2026-11-23T03:00:0"),
        "{}",
        limited.detail
    );
    clock.advance(limited.retry_after);
    admission.check(&delete).unwrap();
    // Snapshots weigh one.
    let snapshots = request(Class::Snapshot, "POST");
    let bob = AdmitRequest {
        principal_key: "https://idp\0bob",
        ..snapshots
    };
    assert_eq!(passed(&admission, &bob), 30);
}

#[test]
fn many_vaults_do_not_get_round_the_principals_own_limit() {
    let (admission, _) = world();
    let mut sent = 0;
    for n in 0..1_000 {
        let vault = format!("{VAULT}-{n}");
        let delete = request(Class::Delete, "DELETE");
        let delete = AdmitRequest {
            vault: Some(&vault),
            ..delete
        };
        match admission.check(&delete) {
            Ok(()) => sent += 1,
            Err(limited) => assert_eq!(limited.limit, LimitName::PrincipalChanges),
        }
    }
    assert_eq!(sent, 12);
    assert!(admission.keys() < 50, "{}", admission.keys());
}

#[test]
fn agents_and_unknown_callers_have_the_smaller_quota() {
    let (admission, _) = world();
    let as_kind = |kind, principal_key| AdmitRequest {
        kind,
        principal_key,
        vault: None,
        ..request(Class::Delete, "DELETE")
    };
    assert_eq!(passed(&admission, &as_kind(PrincipalKind::Agent, "a")), 4);
    assert_eq!(passed(&admission, &as_kind(PrincipalKind::Unknown, "b")), 4);
    assert_eq!(
        passed(&admission, &as_kind(PrincipalKind::Workload, "c")),
        12
    );
}

#[test]
fn while_azure_throttles_restores_and_their_reads_go_on() {
    let (admission, clock) = world();
    let after = Some(Duration::from_secs(17));
    for bucket in [ArmBucket::Reads, ArmBucket::Writes] {
        admission.note_throttled(Some("s"), bucket, after);
    }
    // Each identity of the gateway has buckets of its own.
    admission.gateway_read(Some("s"), false).unwrap();
    admission.note_reader_throttled(Some("s"), after);
    for (class, method) in [(Class::Snapshot, "POST"), (Class::Read, "GET")] {
        let limited = admission.check(&request(class, method)).unwrap_err();
        assert_eq!(limited.limit.name(), "arm-throttled");
        assert_eq!(limited.retry_after, Duration::from_secs(17));
        assert_eq!(limited.retry_at.to_string(), "2026-11-23T03:00:17Z");
        assert!(limited.detail.contains("2026-11-23T03:00:17Z"));
    }
    admission.check(&request(Class::Restore, "POST")).unwrap();
    let read = AdmitRequest {
        for_restore: true,
        ..request(Class::Read, "GET")
    };
    admission.check(&read).unwrap();
    assert!(admission.gateway_read(Some("s"), false).is_err());
    admission.gateway_read(Some("s"), true).unwrap();
    // Deletes have a bucket of their own, and so has another subscription.
    admission.check(&request(Class::Delete, "DELETE")).unwrap();
    let other = AdmitRequest {
        subscription: Some("t"),
        ..request(Class::Snapshot, "POST")
    };
    admission.check(&other).unwrap();
    clock.advance(Duration::from_secs(17));
    admission.check(&request(Class::Snapshot, "POST")).unwrap();
}

#[test]
fn a_request_that_azure_would_throttle_costs_the_caller_nothing() {
    let (admission, clock) = world();
    admission.note_throttled(
        Some("s"),
        ArmBucket::Deletes,
        Some(Duration::from_millis(1)),
    );
    let delete = request(Class::Delete, "DELETE");
    for _ in 0..100 {
        assert!(admission.check(&delete).is_err());
    }
    clock.advance(Duration::from_millis(1));
    assert_eq!(passed(&admission, &delete), 6);
}

#[test]
fn what_azure_says_is_left_is_believed() {
    let (admission, _) = world();
    admission.note_remaining(Some("s"), ArmBucket::Writes, 41);
    let snapshot = request(Class::Snapshot, "POST");
    assert_eq!(passed(&admission, &snapshot), 1);
    let limited = admission.check(&snapshot).unwrap_err();
    assert_eq!(limited.limit.name(), "arm-writes");
    assert_eq!(passed(&admission, &request(Class::Restore, "POST")), 27);
}

#[test]
fn idle_keys_are_forgotten() {
    let (admission, clock) = world();
    passed(&admission, &request(Class::Delete, "DELETE"));
    assert!(admission.keys() > 0);
    clock.advance(Duration::from_secs(600));
    admission.retain_recent();
    assert_eq!(admission.keys(), 0);
}

#[test]
fn the_spelling_of_a_vault_gives_no_second_bucket_but_a_principals_does() {
    let (admission, _) = world();
    let delete = request(Class::Delete, "DELETE");
    assert_eq!(passed(&admission, &delete), 6);
    let shouted = VAULT.to_ascii_uppercase();
    let again = AdmitRequest {
        vault: Some(&shouted),
        ..delete
    };
    let limited = admission.check(&again).unwrap_err();
    assert_eq!(limited.limit, LimitName::VaultChanges);
    let other = AdmitRequest {
        principal_key: "https://idp\0Alice",
        ..delete
    };
    assert_eq!(passed(&admission, &other), 6);
}
