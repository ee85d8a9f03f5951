//! Approvals, quarantine and the freeze, through the real doors.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket};
use vaultgate_sim::{CONSOLE_AUDIENCE, Issuer, TokenRequest};

use crate::harness::people::{
    APPROVALS, approve_by_two, asked, at_console, console, say, second_reviewer,
};
use crate::harness::{
    Answer, Client, PATIENCE, Setup, VERSION, World, copy_folder, item, repository,
};

async fn world() -> World {
    World::with(Setup::default().with_console()).await
}

/// A world whose policy is the shipped one with a few words replaced.
async fn world_with(replace: &[(&str, &str)]) -> (World, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    copy_folder(&repository().join("policies"), folder.path());
    rewrite(folder.path(), replace);
    let setup = Setup {
        policies: Some(folder.path().to_owned()),
        ..Setup::default()
    };
    (World::with(setup.with_console()).await, folder)
}

fn rewrite(policies: &Path, replace: &[(&str, &str)]) {
    let path = policies.join("vaultgate/settings/data.json");
    let mut text = std::fs::read_to_string(&path).unwrap();
    for (from, to) in replace {
        assert!(text.contains(from), "`{from}` is not in the policy");
        text = text.replace(from, to);
    }
    std::fs::write(&path, text).unwrap();
}

fn delete_of(vm: &str) -> String {
    format!("{}?{VERSION}", item(vm))
}

async fn delete(client: &Client, vm: &str, approval: Option<&str>) -> Answer {
    let headers: Vec<(&str, &str)> = approval
        .map(|id| ("vaultgate-approval", id))
        .into_iter()
        .collect();
    client
        .send(Method::DELETE, &delete_of(vm), None, &headers)
        .await
}

fn stopped(vm: &str) -> Value {
    let machine = format!(
        "/subscriptions/22222222-2222-2222-2222-222222222222/resourceGroups/rg1/providers/Microsoft.Compute/virtualMachines/{vm}"
    );
    json!({"properties": {"protectedItemType": "Microsoft.Compute/virtualMachines", "policyId": "",
        "protectionState": "ProtectionStopped", "sourceResourceId": machine}})
}

fn deletes(world: &World) -> usize {
    let journal = world.sim.journal().into_iter();
    journal.filter(|entry| entry.method == "DELETE").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_others_approve_one_request_once() {
    let world = world().await;
    let custodian = world.persona("custodian");
    let (id, digest) = asked(&delete(&custodian, "vm1", None).await);
    // However often it is asked for, it is one approval.
    assert_eq!(asked(&delete(&custodian, "vm1", None).await).0, id);
    assert_eq!(
        delete(&custodian, "vm1", Some(&id)).await.reason(),
        "approval-pending"
    );

    let own = console(&world, "custodian", json!({"groups": ["backup-approvers"]}));
    assert_eq!(
        say(&own, "approve", &id, &digest).await.reason(),
        "approver-is-requester"
    );
    let first = at_console(&world, "approver-a");
    assert_eq!(
        say(&first, "approve", &id, "sha256:00").await.reason(),
        "approval-digest"
    );
    let said = say(&first, "approve", &id, &digest).await;
    assert_eq!(said.json()["state"], "pending", "{}", said.text());
    assert_eq!(
        say(&first, "approve", &id, &digest).await.reason(),
        "approver-voted"
    );
    // The same person under the identity of another issuer is still one person.
    let entra = world.sim.token(&TokenRequest {
        audience: Some(CONSOLE_AUDIENCE.into()),
        ..TokenRequest::new("approver-b", Issuer::Oidc)
    });
    let second = Client::new(world.gateway.console.as_ref().unwrap(), &world.dev.ca);
    let said = say(&second.with_token(&entra.unwrap()), "approve", &id, &digest).await;
    assert_eq!(said.json()["state"], "approved", "{}", said.text());
    assert_eq!(deletes(&world), 0);

    // Others have nothing of it.
    assert_eq!(
        delete(&world.persona("operator"), "vm1", Some(&id))
            .await
            .reason(),
        "approval-unknown"
    );
    let used = delete(&custodian, "vm1", Some(&id)).await;
    used.expect(202, "allow");
    assert_eq!(
        delete(&custodian, "vm1", Some(&id)).await.reason(),
        "approval-used"
    );
    assert_eq!(deletes(&world), 1);

    let decision = used.header("x-vaultgate-decision-id").to_owned();
    let record = world
        .record(|record| record["id"] == decision.as_str())
        .await;
    let approval = &record["approval"];
    assert_eq!(
        (&approval["event"], &approval["id"]),
        (&json!("used"), &json!(id))
    );
    assert_eq!(approval["approvers"].as_array().unwrap().len(), 2);
    assert_eq!(record["input"]["approval"]["digest"], digest.as_str());
    world.assert_oracle_holds();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_approved_request_and_no_other() {
    let world = world().await;
    let custodian = world.persona("custodian");
    let (id, digest) = asked(&delete(&custodian, "vm1", None).await);
    approve_by_two(&world, &id, &digest).await;
    let other = delete(&custodian, "vm2", Some(&id)).await;
    assert_eq!(other.reason(), "approval-mismatch", "{}", other.text());
    let conditional = [("vaultgate-approval", id.as_str()), ("if-match", "\"x\"")];
    let other = custodian
        .send(Method::DELETE, &delete_of("vm1"), None, &conditional)
        .await;
    assert_eq!(other.reason(), "approval-mismatch", "{}", other.text());
    assert_eq!(deletes(&world), 0);
    // It is still good for what it was given for.
    delete(&custodian, "vm1", Some(&id))
        .await
        .expect(202, "allow");
    world.assert_oracle_holds();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_request_runs_for_who_asked_and_a_moved_state_voids() {
    let mut world = world().await;
    let custodian = world.persona("custodian");
    let (removal, digest) = asked(&delete(&custodian, "vm1", None).await);
    approve_by_two(&world, &removal, &digest).await;
    let target = delete_of("vm1");
    let stop = custodian
        .send(Method::PUT, &target, Some(&stopped("vm1")), &[])
        .await;
    let (id, digest) = asked(&stop);
    approve_by_two(&world, &id, &digest).await;
    // What waits for people outlives the process.
    world.restart();
    let custodian = world.persona("custodian");
    let run = format!("{APPROVALS}/{id}/execute");
    let strange = world
        .persona("operator")
        .send(Method::POST, &run, None, &[])
        .await;
    assert_eq!(strange.reason(), "approval-unknown");
    let done = custodian.send(Method::POST, &run, None, &[]).await;
    assert_eq!(
        done.header("x-vaultgate-decision"),
        "allow",
        "{}",
        done.text()
    );
    assert_eq!(
        custodian.send(Method::POST, &run, None, &[]).await.reason(),
        "approval-used"
    );
    let poll = done.header("azure-asyncoperation");
    crate::long_running::end(&custodian, poll).await;
    // Protection has ended since the removal was approved: it was approved of something else.
    let stale = delete(&custodian, "vm1", Some(&removal)).await;
    assert_eq!(stale.reason(), "approval-void", "{}", stale.text());
    // Policy would deny by now as well: an approval of another state is void before that.
    let told = stale.text();
    assert!(told.contains("no longer in the state"), "{told}");
    assert_eq!(deletes(&world), 0);
    world.assert_oracle_holds();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_fifty_uses_at_once_one_is_sent() {
    let world = world().await;
    let custodian = world.persona("custodian");
    let (id, digest) = asked(&delete(&custodian, "vm1", None).await);
    approve_by_two(&world, &id, &digest).await;
    let uses = (0..50).map(|_| {
        let (custodian, id) = (custodian.clone(), id.clone());
        tokio::spawn(async move { delete(&custodian, "vm1", Some(&id)).await })
    });
    let mut allowed = 0;
    for used in uses.collect::<Vec<_>>() {
        let used = used.await.unwrap();
        let verdict = used.header("x-vaultgate-decision");
        allowed += usize::from(verdict == "allow");
        // A crowded machine refuses for reasons of its own; it never lets a second one through.
        let told = [
            "approval-used",
            "approval-state-untold",
            "policy-timeout",
            "log-unavailable",
            "",
        ];
        assert!(
            told.contains(&used.reason().as_str()) || verdict == "limit",
            "{}",
            used.text()
        );
    }
    assert_eq!((allowed, deletes(&world)), (1, 1));
    world.assert_oracle_holds();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_door_of_its_own_and_a_recent_sign_in() {
    let world = world().await;
    let (id, digest) = asked(&delete(&world.persona("custodian"), "vm1", None).await);
    let url = world.gateway.console.clone().unwrap();
    // A token of the data door opens nothing here, and one of the console nothing there.
    let token = world
        .sim
        .token(&TokenRequest::new("approver-a", Issuer::Oidc))
        .unwrap();
    let data = Client::new(&url, &world.dev.ca).with_token(&token);
    let said = say(&data, "approve", &id, &digest).await;
    assert_eq!(
        (said.status.as_u16(), said.reason().as_str()),
        (401, "token-audience")
    );
    let now = jiff::Timestamp::now().as_second();
    for claims in [
        json!({"auth_time": now - 3_600}),
        json!({"auth_time": null}),
        json!({"acr": "pwd"}),
    ] {
        let tired = console(&world, "approver-a", claims.clone());
        let said = say(&tired, "approve", &id, &digest).await;
        assert_eq!(
            (said.status.as_u16(), said.reason().as_str()),
            (401, "step-up-required"),
            "{claims}"
        );
        let challenge = said.header("www-authenticate");
        assert!(
            challenge.contains("insufficient_user_authentication"),
            "{challenge}"
        );
        // Looking needs no more than being there.
        assert_eq!(tired.get(&format!("{APPROVALS}/{id}")).await.status, 200);
    }
    let refused = [
        (
            "agent",
            json!({"groups": ["backup-approvers"]}),
            "approver-not-human",
        ),
        ("approver-a", json!({"person": null}), "approver-no-person"),
        (
            "approver-a",
            json!({"groups": [], "roles": []}),
            "approval-unknown",
        ),
        ("stranger", json!({}), "approval-unknown"),
    ];
    for (name, mut claims, reason) in refused {
        claims["acr"] = json!("urn:example:mfa");
        claims["auth_time"] = json!(now - 10);
        let said = say(&console(&world, name, claims), "approve", &id, &digest).await;
        assert_eq!(said.reason(), reason, "{name}: {}", said.text());
    }
    // Somebody whose issuer names no person could approve under another identity.
    let nameless = world.sim.token(&TokenRequest {
        claims: Some(json!({"person": null})),
        ..TokenRequest::new("custodian", Issuer::Oidc)
    });
    let nameless = world.anybody().with_token(&nameless.unwrap());
    let asked = delete(&nameless, "vm2", None).await;
    assert_eq!(asked.reason(), "requester-no-person", "{}", asked.text());
    let approval = at_console(&world, "soc")
        .get(&format!("{APPROVALS}/{id}"))
        .await
        .json();
    assert_eq!(approval["votes"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn policy_judges_again_at_use() {
    let (world, policies) = world_with(&[("\"quorum\": 2", "\"quorum\": 1")]).await;
    let custodian = world.persona("custodian");
    let (id, digest) = asked(&delete(&custodian, "vm1", None).await);
    say(&at_console(&world, "approver-a"), "approve", &id, &digest).await;
    rewrite(policies.path(), &[("\"quorum\": 1", "\"quorum\": 2")]);
    // The first bundle and the second: both are on record.
    let until = Instant::now() + PATIENCE;
    while world
        .records()
        .iter()
        .filter(|r| r["kind"] == "policy")
        .count()
        < 2
    {
        assert!(Instant::now() < until, "the bundle was not taken over");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let used = delete(&custodian, "vm1", Some(&id)).await;
    assert_eq!(used.reason(), "approval-void", "{}", used.text());
    let decision = used.header("x-vaultgate-decision-id").to_owned();
    let record = world
        .record(|record| record["id"] == decision.as_str())
        .await;
    assert_ne!(
        record["approval"]["asked_under"]["bundle"],
        record["policy"]["bundle"]
    );
    assert_eq!(deletes(&world), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_for_a_veto() {
    let (world, _policies) =
        world_with(&[("\"cooling_off\": \"0s\"", "\"cooling_off\": \"1h\"")]).await;
    let custodian = world.persona("custodian");
    let (id, digest) = asked(&delete(&custodian, "vm1", None).await);
    approve_by_two(&world, &id, &digest).await;
    assert_eq!(
        delete(&custodian, "vm1", Some(&id)).await.reason(),
        "approval-cooling-off"
    );
    let said = say(&at_console(&world, "soc"), "veto", &id, &digest).await;
    assert_eq!(said.json()["state"], "vetoed", "{}", said.text());
    assert_eq!(
        delete(&custodian, "vm1", Some(&id)).await.reason(),
        "approval-vetoed"
    );
    assert_eq!(deletes(&world), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_identity_is_stopped_at_its_next_request() {
    let world = world().await;
    let operator = world.persona("operator");
    let read = format!("{}/backupJobs?{VERSION}", crate::harness::VAULT);
    let backup = json!({"properties": {"objectType": "IaasVMBackupRequest"}});
    let started = operator
        .post(&format!("{}/backup?{VERSION}", item("vm1")), &backup)
        .await;
    started.expect(202, "allow");
    let handle = started.header("azure-asyncoperation").to_owned();
    operator.get(&read).await.expect(200, "allow");
    let issuer = world.sim.idp_issuer_oidc.clone();
    let stop = json!({"target": {"kind": "subject", "issuer": issuer, "value": "operator"}, "reason": "stolen"});
    let path = "/_vaultgate/v1/quarantine";
    // Who is no reviewer stops nobody.
    let said = at_console(&world, "approver-a")
        .send(Method::POST, path, Some(&stop), &[])
        .await;
    assert_eq!(said.reason(), "reviewer-needed");
    let held = at_console(&world, "soc")
        .send(Method::POST, path, Some(&stop), &[])
        .await;
    assert_eq!(held.status, 200, "{}", held.text());
    // Its token was verified before, and its operation is under way.
    assert_eq!(operator.get(&read).await.reason(), "quarantined");
    assert_eq!(operator.get(&handle).await.reason(), "quarantined");
    world
        .persona("reader")
        .get(&read)
        .await
        .expect(200, "allow");
    world
        .record(|record| record["kind"] == "quarantine" && record["event"] == "hold")
        .await;

    let id = held.json()["id"].as_str().unwrap().to_owned();
    let release = format!("{path}/{id}/release");
    let because = json!({"reason": "new credentials"});
    for _ in 0..2 {
        let one = at_console(&world, "soc")
            .send(Method::POST, &release, Some(&because), &[])
            .await;
        assert_eq!(one.json()["released"], false, "{}", one.text());
        assert_eq!(operator.get(&read).await.reason(), "quarantined");
    }
    let two = second_reviewer(&world)
        .send(Method::POST, &release, Some(&because), &[])
        .await;
    assert_eq!(two.json()["released"], true, "{}", two.text());
    operator.get(&read).await.expect(200, "allow");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_freeze_stops_what_was_approved() {
    let mut world = world().await;
    let custodian = world.persona("custodian");
    let (id, digest) = asked(&delete(&custodian, "vm1", None).await);
    approve_by_two(&world, &id, &digest).await;
    let because = json!({"reason": "something is wrong"});
    let soc = at_console(&world, "soc");
    let frozen = soc
        .send(
            Method::POST,
            "/_vaultgate/v1/incident/freeze",
            Some(&because),
            &[],
        )
        .await;
    assert_eq!(frozen.status, 200, "{}", frozen.text());
    world.restart();
    let custodian = world.persona("custodian");
    assert_eq!(
        delete(&custodian, "vm1", Some(&id)).await.reason(),
        "incident-freeze"
    );
    let backup = json!({"properties": {"objectType": "IaasVMBackupRequest"}});
    let made = custodian
        .post(&format!("{}/backup?{VERSION}", item("vm2")), &backup)
        .await;
    made.expect(202, "allow");
    let lift = async |client: Client| {
        let lift = "/_vaultgate/v1/incident/lift";
        client.send(Method::POST, lift, Some(&because), &[]).await
    };
    for _ in 0..2 {
        let told = lift(at_console(&world, "soc")).await.json();
        assert_eq!(told["lifted"], false, "{told}");
    }
    assert_eq!(
        delete(&custodian, "vm1", Some(&id)).await.reason(),
        "incident-freeze"
    );
    let told = lift(second_reviewer(&world)).await.json();
    assert_eq!(told["lifted"], true, "{told}");
    delete(&custodian, "vm1", Some(&id))
        .await
        .expect(202, "allow");
    // Of what cannot be done there are two records: that it was tried, and the refusal.
    let told = lift(at_console(&world, "soc")).await.reason();
    assert_eq!(told, "incident-none");
    world.assert_oracle_holds();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_approves_waits_and_runs() {
    let world = world().await;
    let justification = [("x-vaultgate-justification", "make it \u{202e}quick")];
    let asked_for = world
        .persona("custodian")
        .send(Method::DELETE, &delete_of("vm1"), None, &justification)
        .await;
    let (id, digest) = asked(&asked_for);
    let vaultgate = |persona: &str, words: &[&str]| {
        let token = |audience: Option<&str>| {
            let request = TokenRequest {
                audience: audience.map(str::to_owned),
                ..TokenRequest::new(persona, Issuer::Oidc)
            };
            world.sim.token(&request).unwrap()
        };
        let output = Command::new(env!("CARGO_BIN_EXE_vaultgate"))
            .args(words)
            .env("VAULTGATE_URL", &world.gateway.url)
            .env(
                "VAULTGATE_CONSOLE_URL",
                world.gateway.console.as_ref().unwrap(),
            )
            .env("VAULTGATE_CA", &world.dev.ca)
            .env("VAULTGATE_TOKEN", token(None))
            .env("VAULTGATE_CONSOLE_TOKEN", token(Some(CONSOLE_AUDIENCE)))
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        (
            output.status.code(),
            told + &String::from_utf8_lossy(&output.stderr),
        )
    };
    let (_, listed) = vaultgate("approver-a", &["approvals", "list"]);
    assert!(
        listed.contains(&id) && listed.contains("asks to delete `VM;"),
        "{listed}"
    );
    let (_, shown) = vaultgate("approver-a", &["approvals", "show", &id]);
    assert!(
        shown.contains(&digest) && shown.contains("cannot be taken back"),
        "{shown}"
    );
    // What turns text around is spelled out.
    assert!(!shown.contains('\u{202e}'), "{shown}");
    for persona in ["approver-a", "approver-b"] {
        let words = ["approvals", "approve", &id, "--digest", &digest];
        let (code, told) = vaultgate(persona, &words);
        assert_eq!(code, Some(0), "{told}");
    }
    let (code, told) = vaultgate("custodian", &["approvals", "wait", &id, "--timeout", "5"]);
    assert_eq!(code, Some(0), "{told}");
    let (code, told) = vaultgate("custodian", &["approvals", "execute", &id]);
    assert!(code == Some(0) && told.starts_with("202"), "{told}");
    let (code, told) = vaultgate("custodian", &["approvals", "execute", &id]);
    assert!(code == Some(1) && told.contains("is good once"), "{told}");
    let (code, told) = vaultgate("soc", &["incident", "freeze", "--reason", "a drill"]);
    assert!(code == Some(0) && told.contains("a drill"), "{told}");
    let words = [
        "principals",
        "quarantine",
        "person",
        "p-1",
        "--reason",
        "a drill",
    ];
    let (code, told) = vaultgate("soc", &words);
    assert!(code == Some(0) && told.contains("stopped"), "{told}");
    assert_eq!(deletes(&world), 1);
}

/// One request of a webhook's receiver: its head and its body.
async fn received(listener: &TcpListener) -> (String, Value) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut read = Vec::new();
    loop {
        let count = stream.read_buf(&mut read).await.unwrap();
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n")
            && let Ok(body) = serde_json::from_str(body)
        {
            let answer = b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
            stream.write_all(answer).await.unwrap();
            return (head.to_ascii_lowercase(), body);
        }
        assert_ne!(count, 0, "the request ended early: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn people_are_told_and_nothing_is_lost_while_nobody_listens() {
    let folder = tempfile::tempdir().unwrap();
    // A port that is taken, and where nobody answers yet.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let url = write("url", &format!("http://{address}/hook"));
    let key = write("key", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLjSw");
    let mut setup = Setup::default().with_console();
    setup.extra.push_str(&format!(
        "\n[[notify]]\nname = \"soc\"\nkind = \"webhook\"\nurl = \"file:{url}\"\nsecret = \"file:{key}\"\n"
    ));
    let mut world = World::with(setup).await;
    let (id, _) = asked(&delete(&world.persona("custodian"), "vm1", None).await);
    world.restart();
    let listener = socket.listen(8).unwrap();
    let told = tokio::time::timeout(PATIENCE, received(&listener)).await;
    let (head, body) = told.unwrap();
    assert_eq!(body["type"], "approval.asked", "{body}");
    assert!(body.to_string().contains(&id), "{body}");
    for header in [
        "webhook-id: ",
        "webhook-timestamp: ",
        "webhook-signature: v1,",
    ] {
        assert!(head.contains(header), "{head}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_stays_in_view_and_is_taken_back() {
    let world = world().await;
    let custodian = world.persona("custodian");
    let (id, digest) = asked(&delete(&custodian, "vm1", None).await);
    approve_by_two(&world, &id, &digest).await;
    let deleted = delete(&custodian, "vm1", Some(&id)).await;
    deleted.expect(202, "allow");
    let poll = deleted.header("azure-asyncoperation");
    crate::long_running::end(&custodian, poll).await;
    let soc = at_console(&world, "soc");
    let path = "/_vaultgate/v1/deletions";
    let listed = soc.get(path).await.json();
    let row = &listed["value"][0];
    let decision = deleted.header("x-vaultgate-decision-id");
    assert_eq!(
        (&row["decision"], &row["state"]),
        (&json!(decision), &json!("deleted"))
    );
    let until: jiff::Timestamp = row["until"].as_str().unwrap().parse().unwrap();
    let days = until.duration_since(jiff::Timestamp::now()).as_hours() / 24;
    assert!((12..=180).contains(&days), "kept for {days} days");
    // The way back is judged like any request, and nobody but reviewers sees the list.
    let back = format!("{path}/{decision}/undelete");
    let refused = world
        .persona("reader")
        .send(Method::POST, &back, None, &[])
        .await;
    assert_eq!(refused.reason(), "policy-denied", "{}", refused.text());
    assert_eq!(
        at_console(&world, "approver-a").get(path).await.reason(),
        "reviewer-needed"
    );
    let other = path.to_owned() + "/0197b3a8-0000-7000-8000-000000000001/undelete";
    let unknown = custodian.send(Method::POST, &other, None, &[]).await;
    assert_eq!(unknown.reason(), "deletion-unknown");
    let taken = custodian.send(Method::POST, &back, None, &[]).await;
    taken.expect(202, "allow");
    crate::long_running::end(&custodian, taken.header("azure-asyncoperation")).await;
    assert_eq!(
        soc.get(path).await.json()["value"][0]["state"],
        "taken-back"
    );
    let item = custodian.get(&delete_of("vm1")).await.json();
    assert_ne!(
        item["properties"]["isScheduledForDeferredDelete"], true,
        "{item}"
    );
    world.assert_oracle_holds();
}
