//! The doors themselves: health, drain, certificates, and answers that Azure should
//! never have given.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Instant;

use http::Method;
use serde_json::json;
use vaultgate_sim::{Fault, FaultKind, FaultRule, Identity, Match};

use crate::harness::{Client, PATIENCE, Setup, VAULT, VERSION, World, item};

/// The answer of the admin door, as text.
pub(crate) fn admin(world: &World, path: &str) -> String {
    let address = world.gateway.admin.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn jobs() -> String {
    format!("{VAULT}/backupJobs?{VERSION}")
}

/// What Azure does to the operator's next requests.
fn misbehave(world: &World, fault: Fault) {
    world.sim.fault(FaultRule {
        matching: Match {
            identity: Some(Identity::Operator),
            ..Match::default()
        },
        fault,
        times: None,
        skip: 0,
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_metrics_have_a_door_of_their_own() {
    let world = World::start().await;
    assert!(admin(&world, "/healthz").starts_with("HTTP/1.1 200"));
    assert!(admin(&world, "/readyz").ends_with("ready\n"));
    world
        .persona("reader")
        .get(&jobs())
        .await
        .expect(200, "allow");
    let page = admin(&world, "/metrics");
    for line in [
        "vaultgate_requests_total{class=\"read\",verdict=\"allow\",reason=\"allowed\"} 1",
        "vaultgate_outcomes_total{outcome=\"succeeded\"} 1",
        "vaultgate_log_poisoned 0",
    ] {
        assert!(page.contains(line), "`{line}` is missing from:\n{page}");
    }
    for path in ["/metrics", "/healthz", "/readyz"] {
        let answer = world.persona("reader").get(path).await;
        assert!(
            answer.status.is_client_error(),
            "{path} on the data door: {}",
            answer.status
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_in_flight_end_before_the_gateway_does() {
    let mut world = World::start().await;
    let operator = world.persona("operator");
    operator.get(&jobs()).await.expect(200, "allow");
    misbehave(
        &world,
        Fault {
            ms: Some(1_500),
            ..Fault::new(FaultKind::Slow)
        },
    );
    let seen = world.forwarded();
    let target = jobs();
    let slow = tokio::spawn(async move { operator.get(&target).await });
    world
        .sim
        .journaled(seen + 1, |entry| entry.identity.name() == "operator")
        .await;
    world.gateway.signal("TERM");
    slow.await.unwrap().expect(200, "allow");
    assert!(world.gateway.wait().success());
    let last = world.records().pop().unwrap();
    assert_eq!(last.pointer("/event").unwrap(), "stopped");
    world.assert_oracle_holds();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_certificate_is_taken_over_without_a_restart() {
    let world = World::start().await;
    let other = vaultgate_sim::dev_ca(&world.folder().join("other")).unwrap();
    for (from, to) in [(&other.key, &world.dev.key), (&other.cert, &world.dev.cert)] {
        std::fs::copy(from, to).unwrap();
    }
    let until = Instant::now() + PATIENCE;
    loop {
        // A client of its own each time: an open connection keeps its certificate.
        let client = Client::new(&world.gateway.url, &other.ca);
        let target = "/metadata/endpoints?api-version=2022-09-01";
        match client.try_send(Method::GET, target, None, &[]).await {
            Ok(answer) => break assert_eq!(answer.status.as_u16(), 200),
            Err(_) => assert!(Instant::now() < until, "the new certificate was not taken"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn azures_own_401_is_never_the_callers() {
    let world = World::start().await;
    misbehave(
        &world,
        Fault {
            status: Some(401),
            ..Fault::new(FaultKind::Status)
        },
    );
    let answer = world.persona("operator").get(&jobs()).await;
    answer.expect(502, "error");
    assert_eq!(answer.reason(), "gateway-credential");
    assert_eq!(answer.header("www-authenticate"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_are_not_followed_and_headers_not_reflected() {
    let world = World::start().await;
    misbehave(
        &world,
        Fault {
            location: Some("https://evil.example/x".into()),
            ..Fault::new(FaultKind::Redirect)
        },
    );
    let answer = world.persona("operator").get(&jobs()).await;
    assert!(!format!("{:?}{}", answer.headers, answer.text()).contains("evil.example"));
    world.sim.reset();
    misbehave(&world, Fault::new(FaultKind::ReflectHeaders));
    let answer = world.persona("operator").get(&jobs()).await;
    let told = format!("{:?}", answer.headers);
    assert!(!told.contains("azcanary"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_gets_no_answer_is_sent_once_and_recorded_as_unknown() {
    let world = World::start().await;
    misbehave(&world, Fault::new(FaultKind::Reset));
    let operator = world.persona("operator");
    let body = json!({"properties": {"objectType": "IaasVMBackupRequest"}});
    let target = format!("{}/backup?{VERSION}", item("vm1"));
    let answer = operator.post(&target, &body).await;
    answer.expect(502, "error");
    assert_eq!(answer.reason(), "outcome-unknown");
    assert_eq!(world.forwarded(), 1, "a change was sent again");
    let outcome = world.record(|record| record["kind"] == "outcome").await;
    assert_eq!(outcome["outcome"], "unknown");
    assert!(admin(&world, "/metrics").contains("vaultgate_unknown_outcomes_total 1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn azures_throttling_is_passed_on_and_kept_to() {
    let world = World::start().await;
    misbehave(
        &world,
        Fault {
            status: Some(429),
            retry_after: Some(json!(17)),
            ..Fault::new(FaultKind::Status)
        },
    );
    let operator = world.persona("operator");
    let answer = operator.get(&jobs()).await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("retry-after")),
        (429, "17")
    );
    let seen = world.forwarded();
    // While Azure throttles, the gateway itself says so and asks no more.
    let answer = operator.get(&jobs()).await;
    answer.expect(429, "limit");
    assert_eq!(answer.reason(), "arm-throttled");
    assert_eq!(world.forwarded(), seen);
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_limit_says_which_one_and_when() {
    let world = World::with(Setup {
        extra: "\n[limits.principal]\nreads_per_minute = 60\nread_burst = 3\n".into(),
        ..Setup::default()
    })
    .await;
    let reader = world.persona("reader");
    for _ in 0..3 {
        reader.get(&jobs()).await.expect(200, "allow");
    }
    let answer = reader.get(&jobs()).await;
    answer.expect(429, "limit");
    assert_eq!(
        (answer.reason().as_str(), answer.header("retry-after")),
        ("principal-reads", "1")
    );
}
