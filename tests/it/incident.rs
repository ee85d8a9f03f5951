//! Restores while the house is on fire: the fast path, and break-glass.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use http::Method;
use serde_json::{Value, json};
use vaultgate_sim::{Issuer, TokenRequest};

use crate::harness::people::{at_console, console, second_reviewer};
use crate::harness::{Answer, Client, Setup, VERSION, World, item};

const INCIDENT: &str = "/_vaultgate/v1/incident";
const GROUP: &str = "/subscriptions/22222222-2222-2222-2222-222222222222/resourceGroups/rg1";

async fn world() -> World {
    World::with(Setup::default().with_console()).await
}

async fn steer(client: &Client, verb: &str, body: Value) -> Answer {
    let path = format!("{INCIDENT}/{verb}");
    client.send(Method::POST, &path, Some(&body), &[]).await
}

fn why() -> Value {
    json!({"reason": "ransomware on vm2"})
}

/// A restore of vm2's disks: into the landing zone, or into a storage account beside it.
async fn restore(world: &World, client: &Client, account: &str) -> Answer {
    let points = format!("{}/recoveryPoints?{VERSION}", item("vm2"));
    let operator = world.persona("operator");
    let found = operator.send(Method::GET, &points, None, &[]).await.json();
    let point = found["value"][0]["name"].as_str().unwrap().to_owned();
    let body = json!({"properties": {
        "objectType": "IaasVMRestoreRequest", "recoveryPointId": point, "recoveryType": "RestoreDisks",
        "sourceResourceId": format!("{GROUP}/providers/Microsoft.Compute/virtualMachines/vm2"),
        "storageAccountId": format!("{GROUP}/providers/Microsoft.Storage/storageAccounts/{account}"),
        "targetResourceGroupId": GROUP, "region": "westeurope", "createNewCloudService": false,
        "originalStorageAccountOption": false,
    }});
    let target = format!("{}/recoveryPoints/{point}/restore?{VERSION}", item("vm2"));
    client.send(Method::POST, &target, Some(&body), &[]).await
}

fn reader(world: &World) -> Client {
    world.persona("reader")
}

fn person_of(world: &World, name: &str) -> String {
    let token = world.sim.token(&TokenRequest::new(name, Issuer::Oidc));
    let token = token.unwrap();
    let claims = token.split('.').nth(1).unwrap().to_owned();
    let claims = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, claims);
    let claims: Value = serde_json::from_slice(&claims.unwrap()).unwrap();
    claims["person"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fast_path_takes_a_freeze_and_two_people_and_ends_with_it() {
    let world = world().await;
    let (soc, second) = (at_console(&world, "soc"), second_reviewer(&world));
    restore(&world, &reader(&world), "sa1")
        .await
        .expect(403, "deny");
    // Nothing is an incident before it is frozen.
    let early = steer(&soc, "fast-path", why()).await;
    assert_eq!(
        (early.status.as_u16(), early.reason()),
        (409, "incident-none".to_owned())
    );
    assert_eq!(steer(&soc, "freeze", why()).await.status, 200);
    let once = steer(&soc, "fast-path", why()).await.json();
    assert_eq!(
        (&once["open"], &once["missing"]),
        (&json!(false), &json!(1))
    );
    // The same person again is one person.
    let twice = steer(&soc, "fast-path", why()).await.json();
    assert_eq!(twice["open"], false);
    restore(&world, &reader(&world), "sa1")
        .await
        .expect(403, "deny");
    let open = steer(&second, "fast-path", why()).await.json();
    assert_eq!(open["open"], true, "{open}");

    restore(&world, &reader(&world), "sa1")
        .await
        .expect(202, "allow");
    // Into the landing zones, and by people who have something to do here.
    restore(&world, &reader(&world), "elsewhere")
        .await
        .expect(403, "deny");
    restore(&world, &world.persona("stranger"), "sa1")
        .await
        .expect(403, "deny");
    restore(&world, &world.persona("agent"), "sa1")
        .await
        .expect(403, "deny");

    for reviewer in [&soc, &second] {
        assert_eq!(steer(reviewer, "lift", why()).await.status, 200);
    }
    restore(&world, &reader(&world), "sa1")
        .await
        .expect(403, "deny");
    // Another incident begins without the old one's fast path.
    assert_eq!(steer(&soc, "freeze", why()).await.status, 200);
    restore(&world, &reader(&world), "sa1")
        .await
        .expect(403, "deny");
    world.assert_oracle_holds();
}

#[tokio::test(flavor = "multi_thread")]
async fn break_glass_is_for_somebody_else_for_restores_and_for_a_time() {
    let world = world().await;
    let soc = at_console(&world, "soc");
    let named = |person: String| json!({"person": person, "seconds": 600, "reason": "vm2 is gone"});
    let own = steer(&soc, "break-glass", named(person_of(&world, "soc"))).await;
    assert_eq!(
        (own.status.as_u16(), own.reason()),
        (403, "break-glass-own".to_owned())
    );
    for bad in [
        json!({"person": "", "reason": "x"}),
        json!({"person": "p", "reason": ""}),
        json!({"person": "p", "reason": "x", "seconds": 0}),
        json!({"person": "p", "reason": "x", "seconds": 28_801}),
        json!({"person": "p", "reason": "x", "until": "never"}),
    ] {
        assert_eq!(
            steer(&soc, "break-glass", bad.clone()).await.status,
            400,
            "{bad}"
        );
    }
    // Nobody but a reviewer opens it.
    let approver = at_console(&world, "approver-a");
    let refused = steer(&approver, "break-glass", named(person_of(&world, "reader"))).await;
    assert_eq!(refused.reason(), "reviewer-needed".to_owned());

    let glass = steer(&soc, "break-glass", named(person_of(&world, "reader"))).await;
    assert_eq!(glass.status, 200, "{}", glass.text());
    let id = glass.json()["id"].as_str().unwrap().to_owned();
    let restored = restore(&world, &reader(&world), "sa1").await;
    restored.expect(202, "allow");
    let decision = restored.header("x-vaultgate-decision-id").to_owned();
    let record = world.record(|r| r["id"] == decision.as_str()).await;
    assert_eq!(
        record["input"]["incident"]["break_glass"]["id"],
        id.as_str()
    );
    restore(&world, &reader(&world), "elsewhere")
        .await
        .expect(403, "deny");
    restore(&world, &world.persona("stranger"), "sa1")
        .await
        .expect(403, "deny");
    // What is no restore is as it was, and policy is not even told.
    let delete = format!("{}?{VERSION}", item("vm1"));
    let refused = reader(&world)
        .send(Method::DELETE, &delete, None, &[])
        .await;
    refused.expect(403, "deny");
    let decision = refused.header("x-vaultgate-decision-id").to_owned();
    let record = world.record(|r| r["id"] == decision.as_str()).await;
    assert_eq!(record["input"]["incident"]["break_glass"], Value::Null);

    assert_eq!(
        steer(&soc, &format!("break-glass/{id}/end"), why())
            .await
            .json()["ended"],
        true
    );
    restore(&world, &reader(&world), "sa1")
        .await
        .expect(403, "deny");
    let events: Vec<Value> = world
        .records()
        .into_iter()
        .filter(|r| r["kind"] == "incident")
        .collect();
    let events: Vec<&str> = events
        .iter()
        .map(|r| r["event"].as_str().unwrap())
        .collect();
    assert_eq!(events, ["break-glass", "break-glass-ended"]);
    world.assert_oracle_holds();
}

#[tokio::test(flavor = "multi_thread")]
async fn break_glass_lifts_the_rates_of_its_person_and_the_quorum_of_nobody() {
    let mut setup = Setup::default().with_console();
    setup.extra.push_str("\n[limits.principal]\nreads_per_minute = 60\nread_burst = 3\nchanges_per_minute = 60\nchange_burst = 2\n");
    let world = World::with(setup).await;
    let read = format!("{}?{VERSION}", item("vm1"));
    let custodian = world.persona("custodian");
    let reads = async |count: usize| {
        let mut limited = 0;
        for _ in 0..count {
            let answer = custodian.send(Method::GET, &read, None, &[]).await;
            limited += usize::from(answer.status == 429);
        }
        limited
    };
    assert!(reads(20).await > 0);
    let body = json!({"person": person_of(&world, "custodian"), "reason": "vm2 is gone"});
    assert_eq!(
        steer(&at_console(&world, "soc"), "break-glass", body)
            .await
            .status,
        200
    );
    assert_eq!(reads(20).await, 0);
    // The one whom it was opened for still needs two others for what cannot be undone.
    let asked = custodian.send(Method::DELETE, &read, None, &[]).await;
    asked.expect(403, "approval");
    let terms = &asked.json()["error"]["additionalInfo"][0]["info"]["approval"]["approvers"][0];
    assert_eq!(terms["quorum"], 2);
    // And nobody is named by a claim of their own at the data door.
    let nobody = console(
        &world,
        "soc",
        json!({"person": person_of(&world, "custodian")}),
    );
    let own = json!({"person": person_of(&world, "custodian"), "reason": "x"});
    let own = steer(&nobody, "break-glass", own).await;
    assert_eq!(own.reason(), "break-glass-own".to_owned());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_assent_of_a_stopped_reviewer_does_not_count() {
    let world = world().await;
    let (soc, second) = (at_console(&world, "soc"), second_reviewer(&world));
    let third = console(&world, "approver-b", json!({"groups": ["soc"]}));
    assert_eq!(steer(&soc, "freeze", why()).await.status, 200);
    // Whoever holds the second reviewer's session wants it lifted, and opens restores.
    assert_eq!(steer(&second, "lift", why()).await.json()["lifted"], false);
    let body = json!({"person": person_of(&world, "reader"), "reason": "please"});
    assert_eq!(steer(&second, "break-glass", body).await.status, 200);
    restore(&world, &reader(&world), "sa1")
        .await
        .expect(202, "allow");

    let stop = json!({"reason": "the laptop is gone", "target":
        {"kind": "person", "value": person_of(&world, "approver-a")}});
    let path = "/_vaultgate/v1/quarantine";
    let stopped = soc.send(Method::POST, path, Some(&stop), &[]).await;
    assert_eq!(stopped.status, 200, "{}", stopped.text());
    // One more is one, not two.
    let lifted = steer(&soc, "lift", why()).await.json();
    assert_eq!(
        (&lifted["lifted"], &lifted["missing"]),
        (&json!(false), &json!(1))
    );
    restore(&world, &reader(&world), "sa1")
        .await
        .expect(403, "deny");
    assert_eq!(steer(&third, "lift", why()).await.json()["lifted"], true);
}
