//! Faults, the journal and the control endpoints.

use std::time::Duration;

use serde_json::json;
use vaultgate_sim::{Identity, SimOptions};

use crate::client::{Caller, VERSION, machine, vault};

fn backup_now() -> serde_json::Value {
    json!({"properties": {"objectType": "IaasVMBackupRequest"}})
}

#[tokio::test]
async fn a_throttle_answers_once_and_then_lets_through() {
    let caller = Caller::start().await;
    let rule = json!({"match": {"method": "GET", "path_contains": "/vaults/v1", "identity": "operator"},
        "fault": {"kind": "status", "status": 429, "retry_after": 7}, "times": 1});
    caller.control("POST", "faults", rule).await.is(200);
    let held = caller.call("GET", &vault("v1"), None).await.is(429);
    assert_eq!(held.header("retry-after"), "7");
    caller.read(&vault("v1")).await;
    caller
        .control("POST", "faults", json!({"fault": {"kind": "no-such"}}))
        .await
        .is(400);
}

#[tokio::test]
async fn narrow_limits_throttle_writes_only() {
    let caller = Caller::start().await;
    let wide = json!({"size": 100, "per_second": 100});
    let limits =
        json!({"reads": wide, "deletes": wide, "writes": {"size": 1, "per_second": 0.001}});
    caller.control("POST", "throttle", limits).await.is(200);
    let target = format!("{}/backup", machine(&vault("v1"), "vm1"));
    caller
        .call("POST", &target, Some(backup_now()))
        .await
        .is(202);
    let held = caller
        .call("POST", &target, Some(backup_now()))
        .await
        .is(429);
    assert!(held.header("retry-after").parse::<u64>().unwrap() > 1);
    caller.read(&vault("v1")).await;
}

#[tokio::test]
async fn a_lost_answer_and_a_lost_request_look_alike_but_differ_in_effect() {
    let caller = Caller::start().await;
    for (effect, jobs) in [(false, 0), (true, 1)] {
        let rule = json!({"match": {"method": "POST"}, "fault": {"kind": "reset", "effect": effect}, "times": 1});
        caller.control("POST", "faults", rule).await.is(200);
        let target = format!("{}/backup?{VERSION}", machine(&vault("v1"), "vm1"));
        let lost = caller
            .try_send(caller.request("POST", &target, &caller.operator, Some(backup_now())))
            .await;
        assert!(lost.is_err(), "no answer");
        let seen = caller.read(&format!("{}/backupJobs", vault("v1"))).await;
        assert_eq!(seen["value"].as_array().unwrap().len(), jobs);
    }
    let posts = caller
        .sim
        .journal()
        .into_iter()
        .filter(|entry| entry.method == "POST")
        .count();
    assert_eq!(posts, 2, "both reached the emulator");
}

#[tokio::test]
async fn a_frozen_answer_is_journaled_first_and_comes_after_the_thaw() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, marker) = (dir.path().join("journal"), dir.path().join("ran"));
    let caller = Caller::with(SimOptions {
        journal: Some(journal.clone()),
        ..SimOptions::default()
    })
    .await;
    let command = ["touch", marker.to_str().unwrap()];
    let rule = json!({"match": {"method": "POST"}, "fault": {"kind": "freeze", "command": command}, "times": 1});
    caller.control("POST", "faults", rule).await.is(200);
    let target = format!("{}/backup?{VERSION}", machine(&vault("v1"), "vm1"));
    let held = caller.send(caller.request("POST", &target, &caller.operator, Some(backup_now())));
    let thaw = async {
        caller
            .sim
            .journaled(1, |entry| entry.method == "POST")
            .await;
        while caller.control("GET", "frozen", json!({})).await.json()["frozen"] != 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(marker.exists(), "the command ran before the answer");
        assert!(
            std::fs::read_to_string(&journal)
                .unwrap()
                .contains("\"POST\""),
            "durable before the answer"
        );
        caller.control("POST", "thaw", json!({})).await.is(200);
    };
    let (got, ()) = tokio::join!(held, thaw);
    got.is(202);
}

#[tokio::test]
async fn hostile_answers_are_what_they_are_called() {
    let caller = Caller::start().await;
    let set = async |fault| {
        caller
            .control(
                "POST",
                "faults",
                json!({"match": {"surface": "arm"}, "fault": fault, "times": 1}),
            )
            .await
            .is(200)
    };
    set(json!({"kind": "wrong-body"})).await;
    let wrong = caller.call("GET", &vault("v1"), None).await.is(200);
    assert!(wrong.text.contains("<html>") && wrong.header("content-type") == "text/html");
    set(json!({"kind": "redirect"})).await;
    assert!(
        caller
            .call("GET", &vault("v1"), None)
            .await
            .is(307)
            .header("location")
            .starts_with("https://127.0.0.1:1")
    );
    set(json!({"kind": "reflect-headers"})).await;
    let reflected = caller.call("GET", &vault("v1"), None).await.is(200);
    assert_eq!(
        reflected.header("authorization"),
        format!("Bearer {}", caller.operator)
    );
    set(json!({"kind": "huge-body", "bytes": 1_000_000})).await;
    assert!(
        caller
            .call("GET", &vault("v1"), None)
            .await
            .is(200)
            .text
            .len()
            >= 1_000_000
    );
    set(json!({"kind": "raw", "body": "HTTP/1.1 299 Odd\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"})).await;
    assert_eq!(
        caller.call("GET", &vault("v1"), None).await.is(299).text,
        "ok"
    );
    set(json!({"kind": "split-header"})).await;
    let target = format!("{}?{VERSION}", vault("v1"));
    let split = caller
        .try_send(caller.request("GET", &target, &caller.operator, None))
        .await;
    assert!(
        split.is_err() || split.is_ok_and(|got| got.headers.get("x-vaultgate-decision").is_none())
    );
    set(json!({"kind": "stall", "ms": 1})).await;
    assert!(
        caller
            .try_send(caller.request("GET", &target, &caller.operator, None))
            .await
            .is_err()
    );
}

#[tokio::test]
async fn the_journal_is_selected_waited_for_and_reset() {
    let caller = Caller::start().await;
    let waiting = caller.control(
        "GET",
        "wait?path_contains=/vaults/v2&count=1&timeout_ms=20000",
        json!({}),
    );
    let target = vault("v2");
    let asking = caller.read(&target);
    let (seen, _) = tokio::join!(waiting, asking);
    assert_eq!(seen.json()[0]["identity"], "operator");
    caller
        .send(caller.request(
            "GET",
            &format!("{}?{VERSION}", vault("v1")),
            &caller.reader,
            None,
        ))
        .await
        .is(200);
    let readers = caller
        .control("GET", "journal?identity=reader", json!({}))
        .await
        .json();
    assert_eq!(readers.as_array().unwrap().len(), 1);
    assert_eq!(
        readers[0]["body_sha256"],
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    );
    caller
        .call("DELETE", &machine(&vault("v1"), "vm1"), None)
        .await
        .is(202);
    caller.control("POST", "reset", json!({})).await.is(200);
    assert!(caller.sim.journal().is_empty());
    caller.finish();
    let item = caller.read(&machine(&vault("v1"), "vm1")).await;
    assert_eq!(
        item["properties"]["isScheduledForDeferredDelete"], false,
        "a fresh world"
    );
    assert_eq!(
        caller.sim.journal()[0].identity,
        Identity::Operator,
        "tokens outlive a reset"
    );
}

#[tokio::test]
async fn a_wrong_clock_is_seen_in_the_date_header() {
    let caller = Caller::start().await;
    caller
        .control("POST", "time", json!({"date_skew_s": 86_400}))
        .await
        .is(200);
    let skewed = caller.call("GET", &vault("v1"), None).await.is(200);
    let dates: Vec<_> = skewed.headers.get_all("date").iter().collect();
    assert_eq!(dates.len(), 1);
    let now = jiff::Timestamp::now();
    let date = jiff::fmt::rfc2822::parse(dates[0].to_str().unwrap())
        .unwrap()
        .timestamp();
    assert!(date.duration_since(now).as_secs() > 80_000);
}
