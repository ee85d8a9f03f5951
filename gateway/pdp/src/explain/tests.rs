//! What the shipped library tells of its decisions, and that what it says would allow does.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use serde_json::{Value, json};

use super::{Change, Explanation, explain};
use crate::admission::stranger;
use crate::bundle::Bundle;
use crate::fixture::{self, patient};
use crate::policy::Policy;

const PROD: &str = "22222222-2222-2222-2222-222222222222";

/// A request of somebody with a role in the subscription that the shipped data binds.
fn request(role: &str, class: &str, members: &[(&str, Value)]) -> Value {
    let text = stranger(class, "human").to_string();
    let text = text.replace("99999999-9999-9999-9999-999999999999", PROD);
    let mut input: Value = serde_json::from_str(&text).unwrap();
    *input.pointer_mut("/principal/roles").unwrap() = json!([format!("backup.{role}")]);
    *input.pointer_mut("/facts/vault").unwrap() =
        json!({"status": "ok", "soft_delete": "AlwaysON"});
    for (pointer, value) in members {
        *input.pointer_mut(pointer).unwrap() = value.clone();
    }
    input
}

fn explained(input: &Value, settings: &[(&str, Value)]) -> Explanation {
    let bundle = Bundle::load(&fixture::shipped("policies")).unwrap();
    let file = "vaultgate/settings/data.json";
    let (_, text) = bundle.files().find(|(path, _)| *path == file).unwrap();
    let mut values: Value = serde_json::from_str(text).unwrap();
    for (pointer, value) in settings {
        *values.pointer_mut(pointer).unwrap() = value.clone();
    }
    let bundle = bundle.replacing(file, values.to_string().into_bytes());
    let (rules, _) = bundle.annotations();
    let policy = Policy::admit(bundle, &patient()).unwrap();
    explain(&policy, &rules, &input.to_string())
}

#[test]
fn rules_that_denied_are_told_with_their_place() {
    let told = explained(&request("operator", "delete", &[]), &[]);
    let fired: Vec<&str> = told.fired.iter().map(|one| one.code.as_str()).collect();
    assert_eq!(fired, ["class-not-granted"]);
    let place = told.fired.first().unwrap().place.clone().unwrap();
    assert!(place.starts_with("vaultgate/standing.rego:"), "{place}");
    let text = told.to_text();
    assert!(
        text.starts_with("denied\n  class-not-granted (vaultgate/standing.rego:"),
        "{text}"
    );
    assert!(
        text.contains("would be allowed to role:backup.custodian, with approval"),
        "{text}"
    );
    assert!(!text.contains("role:backup.reader"), "{text}");
}

#[test]
fn grants_that_did_not_come_are_told_with_the_condition_that_stopped_them() {
    let elsewhere = json!("/subscriptions/11111111-1111-1111-1111-111111111111/x");
    let told = explained(
        &request("reader", "read", &[("/resource/id", elsewhere)]),
        &[],
    );
    let stopped = told
        .stopped
        .iter()
        .find(|one| one.title.contains("role in its scope"))
        .unwrap();
    assert_eq!(stopped.condition, "startswith(path, stem)");
    assert!(
        stopped.place.starts_with("vaultgate/roles.rego:"),
        "{stopped:?}"
    );
    assert!(
        explained(&request("reader", "read", &[]), &[])
            .stopped
            .is_empty()
    );
}

#[test]
fn what_would_allow_was_tried() {
    let spent = json!({"1h": 0, "24h": 30, "30d": 30});
    let in_place = json!({"kind": "original", "target": {}, "crosses": []});
    let cut = json!({"retention_days": -60});
    let foreign = "/subscriptions/66666666-6666-6666-6666-666666666666/resourceGroups/x/providers/Microsoft.Storage/storageAccounts/y";
    let restore = json!({"kind": "disks", "target": {"storage_account": foreign}, "crosses": []});
    let body = json!({"properties": {"storageAccountId": foreign}});
    let sundays =
        json!({"delete": [{"days": ["Sunday"], "from": "02:00", "until": "05:00", "zone": "UTC"}]});
    let approvers = vec![
        "group:backup-approvers".to_owned(),
        "role:backup.approver".to_owned(),
    ];
    for (input, settings, expected) in [
        (request("custodian", "delete", &[]), vec![], Change::Approval { quorum: 2, from: approvers }),
        (
            request(
                "operator",
                "restore",
                &[("/activity/principal/restore", spent), ("/request/restore", in_place)],
            ),
            vec![],
            Change::Wait { window: "24h".into(), approval: false },
        ),
        (
            request("custodian", "weaken", &[("/request/delta", cut)]),
            vec![],
            Change::SmallerCut { days: 30, approval: true },
        ),
        (
            request("operator", "restore", &[("/request/restore", restore), ("/request/body", body)]),
            vec![],
            Change::Landing {
                target: "/subscriptions/33333333-3333-3333-3333-333333333333/resourceGroups/landing/providers/Microsoft.Storage/storageAccounts/stagingsa".into(),
                approval: false,
            },
        ),
        (
            request("custodian", "delete", &[("/principal/kind", json!("agent"))]),
            vec![],
            Change::Person { approval: true },
        ),
        (
            // A Thursday.
            request("custodian", "delete", &[]),
            vec![("/windows", sundays)],
            Change::Time { at: "2026-01-04T02:00:00Z".into(), approval: true },
        ),
        (
            request("custodian", "delete", &[("/facts/vault/status", json!("unavailable"))]),
            vec![],
            Change::Facts { approval: true },
        ),
    ] {
        let told = explained(&input, &settings);
        assert!(told.would_allow.contains(&expected), "{expected:?}\n{}", told.to_text());
    }
}

#[test]
fn what_nothing_would_allow_is_told_so_and_hostile_input_is_survived() {
    for input in [
        "",
        "null",
        "[]",
        "{",
        "{\"a\": 1, \"a\": 2}",
        "{\"principal\": 7}",
    ] {
        let bundle = Bundle::load(&fixture::shipped("policies")).unwrap();
        let (rules, _) = bundle.annotations();
        let policy = Policy::admit(bundle, &patient()).unwrap();
        let told = explain(&policy, &rules, input);
        assert!(
            !told.decision.allow && told.would_allow.is_empty(),
            "{input}"
        );
    }
}
