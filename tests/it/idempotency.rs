//! The same request twice is one effect; the caller gets the first reply again.

#![expect(clippy::indexing_slicing, reason = "tests fail by panicking")]

use http::Method;
use serde_json::{Value, json};

use crate::harness::{VERSION, World, item};

fn backup(until: &str) -> Value {
    json!({"properties": {"objectType": "IaasVMBackupRequest", "recoveryPointExpiryTimeInUTC": until}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_key_gets_the_stored_reply() {
    let world = World::start().await;
    let operator = world.persona("operator");
    let target = format!("{}/backup?{VERSION}", item("vm1"));
    let key = [("idempotency-key", "nightly-2026-11-23")];
    let body = backup("2027-02-01T00:00:00Z");
    let first = operator
        .send(Method::POST, &target, Some(&body), &key)
        .await;
    first.expect(202, "allow");
    let second = operator
        .send(Method::POST, &target, Some(&body), &key)
        .await;
    second.expect(202, "allow");
    assert_eq!(world.forwarded(), 1);
    let original = first.header("x-vaultgate-decision-id");
    let id = second.header("x-vaultgate-decision-id");
    assert_ne!(original, id);
    let record = world
        .record(|r| r["kind"] == "decision" && r["id"] == id)
        .await;
    assert_eq!(record["replayed_of"], original);
    // Azure knows the first of the two.
    assert_eq!(second.header("x-vaultgate-replayed-of"), original);
    assert!(record["forward"].is_null());
    let other = backup("2027-03-01T00:00:00Z");
    let different = operator
        .send(Method::POST, &target, Some(&other), &key)
        .await;
    assert_eq!(different.status.as_u16(), 422, "{}", different.text());
    assert_eq!(world.forwarded(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_belongs_to_its_caller_and_target() {
    let world = World::start().await;
    let key = [("idempotency-key", "same")];
    let body = backup("2027-02-01T00:00:00Z");
    for (persona, vm) in [("operator", "vm1"), ("operator", "vm2"), ("agent", "vm1")] {
        let target = format!("{}/backup?{VERSION}", item(vm));
        let client = world.persona(persona);
        let answer = client.send(Method::POST, &target, Some(&body), &key).await;
        answer.expect(202, "allow");
    }
    assert_eq!(world.forwarded(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_reply_survives_a_crash() {
    let mut world = World::start().await;
    let target = format!("{}/backup?{VERSION}", item("vm1"));
    let key = [("idempotency-key", "k")];
    let body = backup("2027-02-01T00:00:00Z");
    let first = world
        .persona("operator")
        .send(Method::POST, &target, Some(&body), &key)
        .await;
    first.expect(202, "allow");
    let id = first.header("x-vaultgate-decision-id").to_owned();
    world
        .record(|r| r["kind"] == "outcome" && r["decision"] == id.as_str())
        .await;
    world.restart();
    let again = world
        .persona("operator")
        .send(Method::POST, &target, Some(&body), &key)
        .await;
    assert_eq!(again.status.as_u16(), 202, "{}", again.text());
    assert_eq!(world.forwarded(), 1);
    world.assert_oracle_holds();
}
