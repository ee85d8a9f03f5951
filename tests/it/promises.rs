//! The promises, each a test named after it.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use http::Method;
use serde_json::{Value, json};

use crate::harness::{Setup, VAULT, VERSION, World, item, repository};

/// Marks every token that the emulator gives to the gateway's own identities.
const CANARY: &str = "azcanary";

fn backup() -> Value {
    json!({"properties": {"objectType": "IaasVMBackupRequest",
        "recoveryPointExpiryTimeInUTC": "2027-02-01T00:00:00Z"}})
}

async fn allowing_deletes() -> World {
    World::with(Setup {
        policies: Some(repository().join("tests/bundles/allow-deletes")),
        ..Setup::default()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_unrecorded() {
    let world = World::start().await;
    let operator = world.persona("operator");
    operator
        .get(&format!("{VAULT}/backupJobs?{VERSION}"))
        .await
        .expect(200, "allow");
    let target = format!("{}/backup?{VERSION}", item("vm1"));
    let answer = operator.post(&target, &backup()).await;
    answer.expect(202, "allow");
    let id = answer.header("x-vaultgate-decision-id").to_owned();
    let journal = world.sim.journal();
    let sent = journal
        .iter()
        .find(|e| e.client_request_id.as_deref() == Some(&id));
    let sent = sent.unwrap();
    let record = world
        .record(|r| r["kind"] == "decision" && r["id"] == id.as_str())
        .await;
    assert_eq!(record["verdict"], "allow");
    assert_eq!(record["forward"]["path"], sent.path);
    assert_eq!(record["forward"]["body_sha256"], sent.body_sha256);
    world
        .record(|r| r["kind"] == "outcome" && r["decision"] == id.as_str())
        .await;
    world.assert_oracle_holds();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_is_of_the_recorded_line() {
    let world = World::start().await;
    let answer = world
        .persona("reader")
        .get(&format!("{VAULT}?api-version=2026-07-01"))
        .await;
    answer.expect(200, "allow");
    let receipt = answer.header("x-vaultgate-receipt");
    let receipt = vaultgate_decision_log::Receipt::parse(receipt).unwrap();
    let lines = vaultgate_decision_log::read::Records::open(&world.log_dir(), receipt.index);
    let line = lines.unwrap().next().unwrap().unwrap();
    assert!(receipt.is_of(&line.leaf));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_understood_is_refused() {
    let world = World::start().await;
    let operator = world.persona("operator");
    for (method, target) in [
        (Method::PUT, format!("{VAULT}/somethingNew/x?{VERSION}")),
        (Method::POST, "/batch?api-version=2020-06-01".to_owned()),
        (
            Method::DELETE,
            format!("{VAULT}/providers/Microsoft.Authorization/locks/l1?{VERSION}"),
        ),
        (
            Method::GET,
            format!("{VAULT}/backupJobs/../backupconfig/vaultconfig?{VERSION}"),
        ),
        (Method::GET, format!("{VAULT}%2FbackupJobs?{VERSION}")),
    ] {
        let answer = operator.send(method, &target, Some(&json!({})), &[]).await;
        assert!(
            answer.status.is_client_error(),
            "{target}: {}",
            answer.text()
        );
        assert_ne!(answer.reason(), "", "{target} has no reason");
    }
    assert_eq!(world.forwarded(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn once_means_once_under_a_budget_of_one() {
    let world = allowing_deletes().await;
    let operator = world.persona("operator");
    // Of two vaults, since one vault's changes wait for each other anyway.
    let attempts = (0..200).map(|n| {
        let target = match n % 2 {
            0 => item("vm1"),
            _ => item("vm6").replace("/vaults/v1/", "/vaults/v2/"),
        };
        let (operator, target) = (operator.clone(), format!("{target}?{VERSION}"));
        tokio::spawn(async move { operator.send(Method::DELETE, &target, None, &[]).await })
    });
    let mut allowed = 0;
    for attempt in attempts.collect::<Vec<_>>() {
        let answer = attempt.await.unwrap();
        allowed += usize::from(answer.header("x-vaultgate-decision") == "allow");
    }
    let deletes = world
        .sim
        .journal()
        .into_iter()
        .filter(|entry| entry.method == "DELETE");
    assert_eq!((allowed, deletes.count()), (1, 1));
    world.assert_oracle_holds();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_id_and_two_items_are_two_jobs() {
    let world = World::start().await;
    let operator = world.persona("operator");
    let id = [(
        "x-ms-client-request-id",
        "6f1a2b3c-0000-4000-8000-000000000001",
    )];
    for vm in ["vm1", "vm2"] {
        let target = format!("{}/backup?{VERSION}", item(vm));
        let answer = operator
            .send(Method::POST, &target, Some(&backup()), &id)
            .await;
        answer.expect(202, "allow");
    }
    assert_eq!(world.forwarded(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn policy_faults_deny() {
    // A rule that fails only on a request nobody thought of: no trial before use
    // finds it.
    const FAULTY: &str = r#"package vaultgate

import rego.v1

decision := {"allow": allow, "deny": [], "grants": grants, "obligations": []}

default allow := false

allow if {
	count(grants) > 0
	patient
}

grants contains {"role": "operator"} if "backup.operator" in input.principal.roles

patient if not input.claimed.justification

patient if to_number(input.claimed.justification) > 0
"#;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("faulty.rego"), FAULTY).unwrap();
    std::fs::write(
        folder.path().join(".manifest"),
        "{\"revision\": \"faulty-1\", \"roots\": [\"vaultgate\"]}",
    )
    .unwrap();
    let world = World::with(Setup {
        policies: Some(folder.path().to_owned()),
        ..Setup::default()
    })
    .await;
    let operator = world.persona("operator");
    let target = format!("{VAULT}/backupJobs?{VERSION}");
    let ask = |text| [("x-vaultgate-justification", text)];
    operator
        .send(Method::GET, &target, None, &ask("7"))
        .await
        .expect(200, "allow");
    let answer = operator
        .send(Method::GET, &target, None, &ask("seven"))
        .await;
    answer.expect(403, "deny");
    assert_eq!(answer.reason(), "policy-error");
    assert_eq!(world.forwarded(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_stay_put() {
    let world = World::start().await;
    let mut seen = String::new();
    for persona in ["operator", "reader", "agent", "stranger"] {
        let client = world.persona(persona);
        for target in [
            format!("{VAULT}/backupJobs?{VERSION}"),
            format!("{VAULT}?api-version=2026-07-01"),
            format!("{}/recoveryPoints?{VERSION}", item("vm1")),
        ] {
            let answer = client.get(&target).await;
            seen.push_str(&format!("{:?}{}", answer.headers, answer.text()));
        }
    }
    let plain = |path: &str| std::fs::read_to_string(world.folder().join(path)).unwrap();
    seen.push_str(&plain("gateway.err"));
    seen.push_str(&serde_json::to_string(&world.records()).unwrap());
    assert!(!seen.contains(CANARY), "the Azure credential leaked");
    // The search itself finds a leak when there is one.
    seen.push_str("Bearer azcanary.operator.00");
    assert!(seen.contains(CANARY));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_cannot_be_written_forwards_nothing() {
    let mut world = World::start().await;
    let operator = world.persona("operator");
    operator
        .get(&format!("{VAULT}/backupJobs?{VERSION}"))
        .await
        .expect(200, "allow");
    let before = world.forwarded();
    // The next append meets a file that may not grow.
    let limited = std::process::Command::new("prlimit")
        .args(["--pid", &world.gateway.pid().to_string(), "--fsize=1:1"])
        .status();
    if !limited.is_ok_and(|status| status.success()) {
        assert!(std::env::var_os("CI").is_none(), "prlimit is needed");
        return;
    }
    let answer = operator.get(&format!("{VAULT}/backupJobs?{VERSION}")).await;
    answer.expect(503, "error");
    assert_eq!(answer.reason(), "log-unavailable");
    assert_eq!(world.forwarded(), before);
    world.restart();
    operator.with_token(
        &world
            .sim
            .token(&vaultgate_sim::TokenRequest::new(
                "operator",
                vaultgate_sim::Issuer::Oidc,
            ))
            .unwrap(),
    );
    let again = world
        .persona("operator")
        .get(&format!("{VAULT}/backupJobs?{VERSION}"))
        .await;
    again.expect(200, "allow");
    world.assert_oracle_holds();
}

/// A second canary, in a member of a body that the models call a secret.
const BODY_SECRET: &str = "azcanary-in-a-body";

#[tokio::test(flavor = "multi_thread")]
async fn secrets_of_a_body_reach_azure_and_nothing_else() {
    let world = allowing_deletes().await;
    let target = format!("{VAULT}/extendedInformation/vaultExtendedInfo?api-version=2026-07-01");
    let body = json!({"properties": {"integrityKey": BODY_SECRET, "algorithm": "None"}});
    let operator = world.persona("operator");
    let answer = operator.send(Method::PUT, &target, Some(&body), &[]).await;
    let id = answer.header("x-vaultgate-decision-id").to_owned();
    let record = world
        .record(|r| r["kind"] == "decision" && r["id"] == id.as_str())
        .await;
    assert_eq!(record["verdict"], "allow", "{}", answer.text());
    let masked = &record["input"]["request"]["body"]["properties"]["integrityKey"];
    assert!(
        masked.as_str().unwrap().starts_with("hmac-sha256:"),
        "{masked}"
    );
    // Azure got the body as it was sent, and the record names its digest.
    let sent = world
        .sim
        .journal()
        .into_iter()
        .find(|e| e.client_request_id.as_deref() == Some(&id));
    assert_eq!(record["forward"]["body_sha256"], sent.unwrap().body_sha256);
    // What answers show in its place is not taken for the secret when it is written back.
    assert!(!answer.text().contains(BODY_SECRET), "{}", answer.text());
    let back = json!({"properties": {"integrityKey": masked, "algorithm": "None"}});
    let sent_before = world.forwarded();
    let refused = operator.send(Method::PUT, &target, Some(&back), &[]).await;
    refused.expect(400, "deny");
    assert_eq!(world.forwarded(), sent_before);
    let mut seen = serde_json::to_string(&world.records()).unwrap();
    seen.push_str(&std::fs::read_to_string(world.folder().join("gateway.err")).unwrap());
    assert!(!seen.contains(BODY_SECRET), "a secret of a body leaked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_may_change_the_meaning_of_a_change_is_refused() {
    let world = allowing_deletes().await;
    let operator = world.persona("operator");
    let target = format!("{}/backup?{VERSION}", item("vm1"));
    for name in [
        "x-ms-deleted-vault-id",
        "x-ms-something-new",
        "if-unmodified-since",
    ] {
        let header = [(name, "1")];
        let answer = operator
            .send(Method::POST, &target, Some(&backup()), &header)
            .await;
        answer.expect(400, "deny");
        assert!(answer.text().contains(name), "{}", answer.text());
    }
    assert_eq!(world.forwarded(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_an_approval_is_not_let_off() {
    let folder = tempfile::tempdir().unwrap();
    let rules = "package vaultgate\n\nimport rego.v1\n\n\
        decision := {\"allow\": allow, \"deny\": [], \"grants\": grants, \"obligations\": [\n\
        \t{\"type\": \"approval\", \"quorum\": 2, \"from\": [\"group:approvers\"], \"ttl\": \"4h\", \"cooling_off\": \"0s\"},\n]}\n\n\
        default allow := false\n\nallow if count(grants) > 0\n\n\
        grants contains {\"role\": \"operator\"} if \"backup.operator\" in input.principal.roles\n";
    std::fs::write(folder.path().join("rules.rego"), rules).unwrap();
    let manifest = "{\"revision\": \"approvals-1\", \"roots\": [\"vaultgate\"]}";
    std::fs::write(folder.path().join(".manifest"), manifest).unwrap();
    let world = World::with(Setup {
        policies: Some(folder.path().to_owned()),
        ..Setup::default()
    })
    .await;
    let target = format!("{}/backup?{VERSION}", item("vm1"));
    let answer = world.persona("operator").post(&target, &backup()).await;
    // There is no door where it could be given.
    answer.expect(403, "deny");
    assert_eq!(answer.reason(), "approval-impossible");
    assert!(
        answer.text().contains("2 of group:approvers"),
        "{}",
        answer.text()
    );
    assert_eq!(world.forwarded(), 0);
}
