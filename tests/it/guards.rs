//! Vaults behind a resource guard: what two people approved here is unlocked there, for this
//! deletion alone.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use http::Method;
use serde_json::{Value, json};

use crate::harness::people::{approve_by_two, asked};
use crate::harness::{Answer, Client, Setup, VERSION, World, repository};

const ITEM: &str = "/subscriptions/22222222-2222-2222-2222-222222222222/resourceGroups/rg1/providers/Microsoft.RecoveryServices/vaults/vmua/backupFabrics/Azure/protectionContainers/IaasVMContainer%3Biaasvmcontainerv2%3Brg1%3Bvm1/protectedItems/VM%3Biaasvmcontainerv2%3Brg1%3Bvm1";

const GUARD: &str = r#"
[azure.guard]
credential = "client-secret"
tenant = "@TENANT@"
client_id = "vaultgate-guard"
secret = "file:guard.secret"
"#;

fn guarded() -> Setup {
    let mut setup = Setup::default().with_console();
    setup
        .extra
        .push_str(&GUARD.replace("@TENANT@", vaultgate_sim::TENANT));
    setup
}

async fn delete(client: &Client, approval: Option<&str>) -> Answer {
    let headers: Vec<(&str, &str)> = approval
        .map(|id| ("vaultgate-approval", id))
        .into_iter()
        .collect();
    let target = format!("{ITEM}?{VERSION}");
    client.send(Method::DELETE, &target, None, &headers).await
}

async fn approved(world: &World) -> String {
    let (id, digest) = asked(&delete(&world.persona("custodian"), None).await);
    approve_by_two(world, &id, &digest).await;
    id
}

/// What changed anything at Azure: identity, method and the path's last segment.
fn changes(world: &World) -> Vec<(String, String, String)> {
    let journal = world.sim.journal().into_iter();
    let changes = journal.filter(|entry| entry.surface == "arm" && entry.method != "GET");
    changes
        .map(|entry| {
            let last = entry.path.rsplit('/').next().unwrap().to_owned();
            (entry.identity.name().to_owned(), entry.method, last)
        })
        .collect()
}

fn change(identity: &str, method: &str, last: &str) -> (String, String, String) {
    (identity.to_owned(), method.to_owned(), last.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_approved_is_unlocked_for_that_deletion_alone() {
    let world = World::with(guarded()).await;
    let id = approved(&world).await;
    assert_eq!(changes(&world), []);
    let done = delete(&world.persona("custodian"), Some(&id)).await;
    done.expect(202, "allow");
    let name = "VM%3Biaasvmcontainerv2%3Brg1%3Bvm1";
    let sent = [
        change("guard", "POST", "unlockDelete"),
        change("operator", "DELETE", name),
    ];
    assert_eq!(changes(&world), sent);
    // The unlocking is a decision of its own, a step of the deletion's.
    let main = done.header("x-vaultgate-decision-id").to_owned();
    let step = world.record(|r| r["part_of"] == main.as_str()).await;
    assert_eq!(step["kind"], "decision");
    let path = step["forward"]["path"].as_str().unwrap();
    assert!(
        path.ends_with("/backupResourceGuardProxies/VaultProxy/unlockDelete"),
        "{path}"
    );
    world
        .record(|r| {
            r["kind"] == "outcome" && r["decision"] == step["id"] && r["outcome"] == "succeeded"
        })
        .await;
    // Used once, unlocked once.
    let again = delete(&world.persona("custodian"), Some(&id)).await;
    assert_eq!(again.reason(), "approval-used");
    assert_eq!(changes(&world).len(), 2);
    world.assert_oracle_holds();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_consent_nothing_is_unlocked() {
    // A policy that lets operators delete without anybody else.
    let setup = Setup {
        policies: Some(repository().join("tests/bundles/allow-deletes")),
        ..guarded()
    };
    let world = World::with(setup).await;
    let refused = delete(&world.persona("operator"), None).await;
    // Azure's own refusal: the guard holds.
    assert_eq!(refused.status, 403, "{}", refused.text());
    assert!(
        refused.text().contains("ResourceGuard"),
        "{}",
        refused.text()
    );
    let unlocks = changes(&world)
        .into_iter()
        .filter(|(identity, ..)| identity == "guard");
    assert_eq!(unlocks.count(), 0);
    world.assert_oracle_holds();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_identity_for_it_azure_refuses() {
    let world = World::with(Setup::default().with_console()).await;
    let id = approved(&world).await;
    let refused = delete(&world.persona("custodian"), Some(&id)).await;
    assert_eq!(refused.status, 403, "{}", refused.text());
    assert!(
        refused.text().contains("ResourceGuard"),
        "{}",
        refused.text()
    );
    assert_eq!(changes(&world).len(), 1);
    world.assert_oracle_holds();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_unlocked_is_not_sent() {
    let mut setup = guarded();
    // An identity that exists and has no role on the guard: nobody may unlock with it.
    setup.extra = setup.extra.replace("vaultgate-guard\"", "nobody-at-all\"");
    let world = World::with(setup).await;
    let id = approved(&world).await;
    let refused = delete(&world.persona("custodian"), Some(&id)).await;
    refused.expect(502, "error");
    assert_eq!(refused.reason(), "guard-refused");
    assert_eq!(changes(&world), []);
    let outcome = world
        .record(|r| r["kind"] == "outcome" && r["outcome"] == "not-sent")
        .await;
    assert!(outcome["problem"].is_string(), "{outcome}");
    // The consent is spent: whoever tries again has to ask again.
    let again = delete(&world.persona("custodian"), Some(&id)).await;
    assert_eq!(again.reason(), "approval-used");
    world.assert_oracle_holds();
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_bring_no_second_credential() {
    let world = World::with(guarded()).await;
    let target = format!("{ITEM}?{VERSION}");
    let custodian = world.persona("custodian");
    let headers = [("x-ms-authorization-auxiliary", "Bearer somebody-elses")];
    let refused = custodian
        .send(Method::DELETE, &target, None, &headers)
        .await;
    assert_eq!(
        (refused.status.as_u16(), refused.reason()),
        (400, "header-unknown".to_owned())
    );
    // Their own `unlockDelete` changes who must agree: others have to approve it.
    let proxy = format!(
        "{}/backupResourceGuardProxies/VaultProxy/unlockDelete?{VERSION}",
        ITEM.split("/backupFabrics").next().unwrap()
    );
    let body: Value = json!({"resourceGuardOperationRequests": ["/subscriptions/s/resourceGroups/r/providers/Microsoft.DataProtection/resourceGuards/g/deleteProtectedItemRequests/default"],
        "resourceToBeDeleted": ITEM.replace("%3B", ";")});
    let asked = custodian.send(Method::POST, &proxy, Some(&body), &[]).await;
    asked.expect(403, "approval");
    assert_eq!(changes(&world), []);
}
