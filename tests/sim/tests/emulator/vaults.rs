//! Vaults, ETags, who may ask, and the spellings that real clients use.

use http::HeaderValue;
use serde_json::json;
use vaultgate_sim::Identity;

use crate::azure::backup_now;
use crate::client::{Caller, ITEM, VERSION, machine, vault};

#[tokio::test]
async fn an_etag_guards_a_vault_against_a_change_in_between() {
    let caller = Caller::start().await;
    let holder = vault("v1");
    let first = caller.call("GET", &holder, None).await.is(200);
    let etag = first.headers["etag"].clone();
    assert_eq!(first.json()["etag"], etag.to_str().unwrap());
    let patch = |etag: &HeaderValue| {
        let mut request = caller.request(
            "PATCH",
            &format!("{holder}?{VERSION}"),
            &caller.operator,
            Some(json!({"tags": {"a": "b"}})),
        );
        request.headers_mut().insert("if-match", etag.clone());
        caller.send(request)
    };
    let changed = patch(&etag).await.is(200);
    assert_eq!(changed.json()["tags"]["a"], "b");
    assert_ne!(changed.headers["etag"], etag);
    assert_eq!(patch(&etag).await.is(412).code(), "PreconditionFailed");
    assert_eq!(
        caller.call("DELETE", &holder, None).await.is(409).code(),
        "VaultHasDependentResources"
    );
}

#[tokio::test]
async fn an_empty_vault_comes_and_goes() {
    let caller = Caller::start().await;
    let holder = vault("new");
    caller
        .call("PUT", &holder, Some(json!({"properties": {}})))
        .await
        .is(400);
    caller
        .call(
            "PUT",
            &holder,
            Some(json!({"location": "westeurope", "sku": {"name": "RS0"}, "properties": {}})),
        )
        .await
        .is(201);
    caller
        .read(&format!("{holder}/backupconfig/vaultconfig"))
        .await;
    let accepted = caller.call("DELETE", &holder, None).await.is(202);
    let poll = accepted.header("azure-asyncoperation").to_owned();
    caller.finish();
    let done = caller.read(&poll).await;
    assert!(
        done["id"].as_str().unwrap().starts_with("/subscriptions/"),
        "an ARM id: {done}"
    );
    caller.call("GET", &holder, None).await.is(404);
    let deleted = format!(
        "/subscriptions/{}/providers/Microsoft.RecoveryServices/locations/westeurope/deletedVaults",
        vaultgate_sim::PROD
    );
    assert_eq!(caller.read(&deleted).await["value"][0]["name"], "new");
    caller
        .call("POST", &format!("{deleted}/new/undelete"), None)
        .await
        .is(202);
    caller.finish();
    caller.read(&holder).await;
}

#[tokio::test]
async fn identities_differ_in_what_they_may_do() {
    let caller = Caller::start().await;
    let target = format!("{}/backup?{VERSION}", machine(&vault("v1"), "vm1"));
    let as_reader = caller
        .send(caller.request("POST", &target, &caller.reader, Some(backup_now())))
        .await
        .is(403);
    assert_eq!(as_reader.code(), "AuthorizationFailed");
    let stranger = caller
        .send(caller.request(
            "POST",
            &target,
            "azcanary.operator.0123",
            Some(backup_now()),
        ))
        .await
        .is(401);
    assert!(stranger.header("www-authenticate").starts_with("Bearer "));
    caller
        .send(caller.request(
            "GET",
            &format!("{}?{VERSION}", vault("v1")),
            &caller.reader,
            None,
        ))
        .await
        .is(200);
    let journal = caller.sim.journal();
    let seen: Vec<Identity> = journal.iter().map(|entry| entry.identity).collect();
    assert_eq!(seen, [Identity::Reader, Identity::None, Identity::Reader]);
    assert_eq!(
        journal[0].path,
        target.split('?').next().unwrap(),
        "the raw path"
    );
}

#[tokio::test]
async fn the_spellings_of_real_clients_are_understood() {
    let caller = Caller::start().await;
    let escaped = format!("{}/{}", vault("v1"), ITEM.replace(';', "%3B"));
    caller.read(&escaped).await;
    caller
        .read(&format!(
            "{}/recoveryPoints/?{VERSION}",
            escaped.replace("resourceGroups", "RESOURCEGROUPS")
        ))
        .await;
    let accounts = format!(
        "/subscriptions/{}/resourcegroups/rg1/providers",
        vaultgate_sim::PROD
    );
    caller
        .read(&format!(
            "{accounts}/Microsoft.Storage/storageAccounts//sa1?api-version=2016-01-01"
        ))
        .await;
    let classic =
        format!("{accounts}/Microsoft.ClassicStorage/storageAccounts//sa1?api-version=2015-12-01");
    assert_eq!(
        caller.call("GET", &classic, None).await.is(404).code(),
        "ResourceNotFound"
    );
    let missing = caller
        .call("GET", &format!("{}?x=1", vault("v1")), None)
        .await
        .is(400);
    assert_eq!(missing.code(), "MissingApiVersionParameter");
    let odd = caller.call("POST", &vault("v1"), None).await.is(405);
    assert_eq!(odd.code(), "MethodNotAllowed");
    for name in [
        "x-ms-request-id",
        "x-ms-correlation-request-id",
        "x-ms-routing-request-id",
        "x-ms-ratelimit-remaining-subscription-writes",
    ] {
        odd.header(name);
    }
}

#[tokio::test]
async fn every_subscription_and_its_groups_are_listed() {
    let caller = Caller::start().await;
    let all = caller.read("/subscriptions?api-version=2022-12-01").await;
    let names: Vec<&str> = all["value"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["displayName"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["corpus", "prod", "staging"]);
    let groups = caller
        .read(&format!(
            "/subscriptions/{}/resourceGroups",
            vaultgate_sim::PROD
        ))
        .await;
    assert_eq!(groups["value"].as_array().unwrap().len(), 2);
    let corpus = vault("v1").replace(vaultgate_sim::PROD, vaultgate_sim::CORPUS);
    assert_eq!(
        caller.read(&format!("{corpus}/backupProtectedItems")).await["value"]
            .as_array()
            .unwrap()
            .len(),
        7
    );
    caller.read(&format!("/subscriptions/{}/resourceGroups/landing/providers/Microsoft.Storage/storageAccounts/stagingsa", vaultgate_sim::STAGING)).await;
}
