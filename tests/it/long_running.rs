//! Operations that take a while are polled through the gateway to their end.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::time::Instant;

use serde_json::{Value, json};

use crate::harness::{Answer, Client, PATIENCE, VAULT, VERSION, World, item};

async fn started(operator: &Client) -> Answer {
    let target = format!("{}/backup?{VERSION}", item("vm1"));
    let body = json!({"properties": {"objectType": "IaasVMBackupRequest"}});
    let answer = operator.post(&target, &body).await;
    answer.expect(202, "allow");
    answer
}

pub(crate) async fn end(client: &Client, url: &str) -> Value {
    let until = Instant::now() + PATIENCE;
    loop {
        let answer = client.get(url).await;
        answer.expect(200, "allow");
        let status = answer.json();
        if status["status"] != "InProgress" {
            return status;
        }
        assert!(Instant::now() < until, "the operation did not end");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn polls_stay_at_the_gateway_and_survive_a_restart() {
    let mut world = World::start().await;
    let answer = started(&world.persona("operator")).await;
    let poll = answer.header("azure-asyncoperation").to_owned();
    let location = answer.header("location").to_owned();
    for url in [&poll, &location] {
        assert!(url.starts_with(&world.gateway.url), "a poll leads to {url}");
        assert!(!url.contains(&world.sim.azure_url));
    }
    world.restart();
    let status = end(&world.persona("operator"), &poll).await;
    // The Azure CLI puts the last segment into a status URL of its own.
    let name = poll.rsplit('/').next().unwrap();
    let own = format!("{VAULT}/backupOperations/{name}?{VERSION}");
    assert_eq!(end(&world.persona("operator"), &own).await, status);
    assert_eq!(world.persona("reader").get(&own).await.status.as_u16(), 403);
    assert_eq!(status["status"], "Succeeded");
    assert!(status["properties"]["jobId"].is_string(), "{status}");
    world.assert_oracle_holds();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handle_is_its_starters_own() {
    let world = World::start().await;
    let answer = started(&world.persona("operator")).await;
    let poll = answer.header("azure-asyncoperation").to_owned();
    let other = world.persona("reader").get(&poll).await;
    assert_eq!(other.status.as_u16(), 403, "{}", other.text());
    let cut = poll.get(..poll.len() - 2).unwrap();
    let altered = world.persona("operator").get(cut).await;
    assert_eq!(altered.status.as_u16(), 404, "{}", altered.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_job_is_tied_to_the_decision() {
    let world = World::start().await;
    let answer = started(&world.persona("operator")).await;
    let id = answer.header("x-vaultgate-decision-id").to_owned();
    let poll = answer.header("azure-asyncoperation").to_owned();
    end(&world.persona("operator"), &poll).await;
    let ended = |r: &Value| {
        r["kind"] == "outcome"
            && r["decision"] == id.as_str()
            && r["operation"]["status"] == "Succeeded"
    };
    world.record(ended).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_lead_back_to_the_gateway() {
    let world = World::start().await;
    let reader = world.persona("reader");
    let mut url = format!("{}/recoveryPoints?{VERSION}", item("vm1"));
    let mut seen = 0;
    loop {
        let page = reader.get(&url).await;
        page.expect(200, "allow");
        let page = page.json();
        seen += page["value"].as_array().unwrap().len();
        let Some(next) = page["nextLink"].as_str() else {
            break;
        };
        assert!(
            next.starts_with(&world.gateway.url),
            "a page leads to {next}"
        );
        url = next.to_owned();
    }
    assert!(seen >= 30, "{seen} recovery points");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_is_followed_to_its_end_across_a_crash() {
    let mut world = World::start().await;
    let answer = started(&world.persona("operator")).await;
    let id = answer.header("x-vaultgate-decision-id").to_owned();
    world
        .record(|r| r["outcome"] == "accepted" && r["decision"] == id.as_str())
        .await;
    world.restart();
    world.sim.advance(std::time::Duration::from_secs(7_200));
    let ended = |r: &Value| r["outcome"] == "succeeded" && r["decision"] == id.as_str();
    let end = world.record(ended).await;
    assert!(end["operation"]["job_id"].is_string(), "{end}");
    world.assert_oracle_holds();
}
