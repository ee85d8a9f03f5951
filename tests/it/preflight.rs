//! "May I?": the same judgement, without an effect.

#![expect(clippy::indexing_slicing, reason = "tests fail by panicking")]

use http::Method;
use serde_json::json;

use crate::harness::{VAULT, VERSION, World, item};

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_is_judged_recorded_and_not_sent() {
    let world = World::start().await;
    let operator = world.persona("operator");
    let dry = [("vaultgate-dry-run", "true")];
    let target = format!("{}?{VERSION}", item("vm1"));
    let denied = operator.send(Method::DELETE, &target, None, &dry).await;
    assert_eq!(denied.status.as_u16(), 200, "{}", denied.text());
    assert_eq!(denied.json()["allow"], false);
    assert_ne!(denied.json()["reasons"], json!([]));
    let body = json!({"properties": {"objectType": "IaasVMBackupRequest"}});
    let target = format!("{}/backup?{VERSION}", item("vm1"));
    let allowed = operator
        .send(Method::POST, &target, Some(&body), &dry)
        .await;
    assert_eq!(allowed.json()["allow"], true, "{}", allowed.text());
    assert_eq!(world.forwarded(), 0);
    world
        .record(|r| r["kind"] == "preflight" && r["input"]["preflight"] == true)
        .await;
    world.assert_oracle_holds();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_preflight_address_judges_a_described_request() {
    let world = World::start().await;
    let question = json!({"method": "DELETE", "target": format!("{}?{VERSION}", item("vm1"))});
    let answer = world
        .persona("operator")
        .post("/_vaultgate/v1/preflight", &question)
        .await;
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.text());
    assert_eq!(answer.json()["allow"], false);
    let blockers = &answer.json()["azure_blockers"];
    assert!(blockers.is_array(), "{}", answer.text());
    assert_eq!(world.forwarded(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn authzen_answers_for_the_caller() {
    let world = World::start().await;
    let ask = |action: &str, resource: String| {
        json!({"subject": {"type": "user", "id": "reader"},
            "action": {"name": action}, "resource": {"type": "vault", "id": resource}})
    };
    let reader = world.persona("reader");
    let read = ask("Microsoft.RecoveryServices/vaults/read", VAULT.to_owned());
    let may = reader.post("/access/v1/evaluation", &read).await;
    assert_eq!(may.json()["decision"], true, "{}", may.text());
    let delete = ask("Microsoft.RecoveryServices/vaults/delete", VAULT.to_owned());
    let may_not = reader.post("/access/v1/evaluation", &delete).await;
    assert_eq!(may_not.json()["decision"], false, "{}", may_not.text());
    let both = json!({"evaluations": [read, delete]});
    let both = reader.post("/access/v1/evaluations", &both).await;
    assert_eq!(
        both.json()["evaluations"][0]["decision"],
        true,
        "{}",
        both.text()
    );
    assert_eq!(both.json()["evaluations"][1]["decision"], false);
    let mut foreign = ask("Microsoft.RecoveryServices/vaults/read", VAULT.to_owned());
    foreign["subject"]["id"] = json!("operator");
    let foreign = reader.post("/access/v1/evaluation", &foreign).await;
    assert_eq!(foreign.status.as_u16(), 403, "{}", foreign.text());
    assert_eq!(world.forwarded(), 0);
}
