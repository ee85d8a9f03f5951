//! Logs of the tests, judged again: the same bundle says the same, another what differs.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::path::Path;

use serde_json::{Value, json};
use vaultgate_decision_log::{DecisionLog, Entry, Kind, LogOptions, Members, Priority, SigningKey};
use vaultgate_pdp::{Bundle, Limits, Policy, replay};

use super::{Blame, Differences, Filter, Source, Suggestion};

const PROD: &str = "22222222-2222-2222-2222-222222222222";

fn shipped() -> Bundle {
    Bundle::load(Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../policies"
    )))
    .unwrap()
}

fn admitted(bundle: &Bundle) -> Policy {
    Policy::admit(
        bundle.clone(),
        &Limits::default().with_time_limit(std::time::Duration::from_secs(5)),
    )
    .unwrap()
}

fn input(role: &str, class: &str) -> Value {
    let vault = format!(
        "/subscriptions/{PROD}/resourceGroups/rg1/providers/Microsoft.RecoveryServices/vaults/v1"
    );
    let windows = json!({"1h": 0, "24h": 0, "30d": 0});
    let mut counts = json!({"vaults": {"1h": 0, "24h": 0}, "denied": {"1h": 0, "24h": 0},
        "first_in_90d": false, "refused": {}, "items_weakened": {"30d": 0}, "retention_days_removed": {"30d": 0}});
    for class in [
        "read", "snapshot", "restore", "delete", "weaken", "guard", "disclose",
    ] {
        counts[class] = windows.clone();
    }
    json!({
        "schema": "vaultgate.input/1", "now": "2026-11-23T03:00:00.000Z",
        "principal": {"issuer": "https://idp", "subject": format!("{role}-1"), "person": null, "kind": "human",
            "tenant": null, "app": null, "roles": [format!("backup.{role}")], "groups": [], "scopes": [],
            "acr": null, "auth_time": null, "actors": [], "bound": "none"},
        "operation": {"name": "Microsoft.RecoveryServices/vaults/x/action", "class": class, "method": "POST",
            "api_version": "2026-08-01", "reversible": false, "body_unknown": []},
        "resource": {"id": vault, "subscription": PROD, "resource_group": "rg1", "vault": vault,
            "type": "Microsoft.RecoveryServices/vaults", "item": null, "workload": null, "region": null, "tags": {}},
        "request": {"body": null, "before": null, "delta": {}, "restore": null},
        "facts": {"vault": {"status": "ok", "soft_delete": "AlwaysON"}, "item": {"status": "unavailable"}, "estate": {"status": "unavailable"}},
        "activity": {"principal": counts, "agent": null, "person": null, "vault": counts,
            "estate": {"delete_24h": 0, "delete_share_24h": null}},
        "flow": null, "approval": null, "incident": null, "preflight": false,
        "claimed": {"flow_run": null, "user_agent": null, "command": null, "justification": null},
        "transport": {"remote": "192.0.2.1", "tls": "1.3", "http": "2"},
    })
}

/// A log with the decisions that the shipped bundle gives, and records of other kinds.
fn log(dir: &Path, inputs: &[Value]) {
    let policy = admitted(&shipped());
    let key = SigningKey::generate(&dir.join("key"), "test/replay").unwrap();
    let options = LogOptions::new(dir.join("log"), "test/replay", jiff::Timestamp::now);
    let (log, _) = DecisionLog::open(options, key).unwrap();
    for (place, input) in inputs.iter().enumerate() {
        let decision = replay(&policy, &input.to_string());
        let record = json!({
            "verdict": "allow", "input": input, "decision": decision,
            "policy": {"bundle": policy.digest(), "revision": "r", "engine": vaultgate_pdp::ENGINE},
        });
        for (kind, id, record) in [
            (
                Kind::Decision,
                format!("{:08x}-0000-7000-8000-000000000000", place),
                record,
            ),
            (
                Kind::Outcome,
                format!("{:08x}-0000-7000-9000-000000000000", place),
                json!({"outcome": "succeeded"}),
            ),
        ] {
            let fields = Members::of(&record).unwrap();
            let (told, durable) = std::sync::mpsc::channel();
            log.append(
                Entry { kind, id, fields },
                Priority::Normal,
                move |result| {
                    told.send(result.map(|_| ())).unwrap();
                },
            )
            .unwrap();
            durable.recv().unwrap().unwrap();
        }
    }
    log.close().unwrap();
}

fn judged(dir: &Path, filter: &Filter, bundle: &Bundle) -> Differences {
    let dir = dir.join("log");
    let source = Source { dir: &dir, filter };
    source
        .judge(&[&admitted(bundle)], || Differences::new(2))
        .unwrap()
}

fn inputs() -> Vec<Value> {
    let mut inputs = Vec::new();
    for _ in 0..200 {
        inputs.push(input("reader", "read"));
        inputs.push(input("reader", "snapshot"));
        inputs.push(input("operator", "snapshot"));
    }
    inputs.push(input("custodian", "delete"));
    inputs
}

#[test]
fn the_same_bundle_says_the_same_to_the_last_word() {
    let folder = tempfile::tempdir().unwrap();
    log(folder.path(), &inputs());
    for _ in 0..2 {
        let same = judged(folder.path(), &Filter::default(), &shipped());
        assert!(same.is_exact(), "{}", same.to_text());
        assert_eq!(same.to_json()["judged"], 601);
    }
}

#[test]
fn what_another_bundle_says_is_told_by_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    log(folder.path(), &inputs());
    // Operators may no longer back up; readers may.
    let roles = shipped();
    let (_, text) = roles
        .files()
        .find(|(path, _)| *path == "vaultgate/roles.rego")
        .unwrap();
    let text = text
        .replace(
            "\"reader\": {\"read\", \"validate\"}",
            "\"reader\": {\"read\", \"validate\", \"snapshot\"}",
        )
        .replace(
            "\"operator\": {\"read\", \"validate\", \"snapshot\", \"restore\"}",
            "\"operator\": {\"read\", \"validate\", \"restore\"}",
        );
    let candidate = roles.replacing("vaultgate/roles.rego", text.into_bytes());
    let found = judged(folder.path(), &Filter::default(), &candidate);
    assert!(!found.is_none() && found.loosens());
    let json = found.to_json();
    let flips = json["flips"].as_array().unwrap();
    assert_eq!(flips.len(), 2, "{json}");
    let of = |from: &str| flips.iter().find(|flip| flip["from"] == from).unwrap();
    assert_eq!(of("allow")["count"], 200);
    assert_eq!(of("allow")["by_rule"], json!({"class-not-granted": 200}));
    assert_eq!(of("allow")["by_principal"], json!({"operator-1": 200}));
    assert_eq!(of("deny")["by_principal"], json!({"reader-1": 200}));
    assert_eq!(of("deny")["examples"].as_array().unwrap().len(), 2);
    let text = found.to_text();
    assert!(
        text.contains("ALLOW -> DENY: 200") && text.contains("DENY -> ALLOW: 200"),
        "{text}"
    );
    // Parts of the log.
    for (filter, judged_now) in [
        (
            Filter {
                class: Some("delete".into()),
                ..Filter::default()
            },
            1,
        ),
        (
            Filter {
                principal: Some("reader-1".into()),
                ..Filter::default()
            },
            400,
        ),
        (
            Filter {
                resource: Some(format!("/SUBSCRIPTIONS/{PROD}")),
                ..Filter::default()
            },
            601,
        ),
        (
            Filter {
                resource: Some("/subscriptions/0".into()),
                ..Filter::default()
            },
            0,
        ),
        (
            Filter {
                since: Some("2999-01-01T00:00:00.000Z".into()),
                ..Filter::default()
            },
            0,
        ),
        (
            Filter {
                until: Some("2000-01-01T00:00:00.000Z".into()),
                ..Filter::default()
            },
            0,
        ),
    ] {
        assert_eq!(
            judged(folder.path(), &filter, &shipped()).to_json()["judged"],
            judged_now,
            "{filter:?}"
        );
    }
}

#[test]
fn what_cannot_be_judged_again_is_counted_and_not_guessed() {
    let folder = tempfile::tempdir().unwrap();
    let mut old = input("reader", "read");
    old["schema"] = json!("vaultgate.input/0");
    let odd = json!({"schema": "vaultgate.input/1"});
    let beside = json!({"blob": "sha256:0000000000000000000000000000000000000000000000000000000000000000", "bytes": 7});
    log(folder.path(), &[input("reader", "read"), old, odd, beside]);
    let found = judged(folder.path(), &Filter::default(), &shipped());
    assert!(found.is_exact());
    let expected =
        json!({"input of another schema": 1, "input of another form": 1, "input not kept": 1});
    assert_eq!(found.to_json()["not_comparable"], expected);
    assert_eq!(found.to_json()["judged"], 1);
}

#[test]
fn a_rule_is_blamed_for_what_it_decides_alone() {
    let folder = tempfile::tempdir().unwrap();
    log(folder.path(), &inputs());
    let dir = folder.path().join("log");
    let bundle = shipped();
    let with = admitted(&bundle);
    let without = admitted(&bundle.without("approval").unwrap());
    let source = Source {
        dir: &dir,
        filter: &Filter::default(),
    };
    let blame = source
        .judge(&[&with, &without], || Blame::new("approval", 1))
        .unwrap();
    let json = blame.to_json();
    assert_eq!(json["spoke"], json!({"approval": 1}));
    assert_eq!(json["by_principal"], json!({"custodian-1": 1}));
    assert_eq!(json["without"]["flips"][0]["from"], "approval");
    assert_eq!(json["without"]["flips"][0]["to"], "allow");
    assert!(
        blame.to_text().contains("`approval` spoke in 1 decisions"),
        "{}",
        blame.to_text()
    );
}

#[test]
fn grants_that_nobody_used_can_go_and_nothing_changes() {
    let folder = tempfile::tempdir().unwrap();
    log(folder.path(), &inputs());
    let dir = folder.path().join("log");
    let bundle = shipped();
    let policy = admitted(&bundle);
    let none = Suggestion::of(&bundle).unwrap();
    let source = Source {
        dir: &dir,
        filter: &Filter::default(),
    };
    let found = source.judge(&[&policy], || none.clone()).unwrap();
    let json = found.to_json();
    let unused: Vec<&str> = json["unused"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["scope"].as_str().unwrap().contains(PROD))
        .map(|one| one["subject"].as_str().unwrap())
        .collect();
    assert_eq!(
        unused,
        ["role:backup.agent", "role:backup.flow", "role:backup.soc"]
    );
    let reduced = found.reduced(&bundle).unwrap();
    assert!(judged(folder.path(), &Filter::default(), &reduced).is_exact());
    // A reader of the SOC would be hit: the suggestion is of what was seen.
    let soc = input("soc", "read").to_string();
    assert!(replay(&policy, &soc).allow && !replay(&admitted(&reduced), &soc).allow);
}
