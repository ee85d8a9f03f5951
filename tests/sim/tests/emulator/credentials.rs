//! The gateway's own credentials: client secrets, managed identity, Key Vault.

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::json;
use vaultgate_sim::{Issuer, TENANT, TokenRequest};

use crate::client::{Caller, VERSION, vault};

#[tokio::test]
async fn the_gateways_own_clients_get_tokens_that_arm_knows() {
    let caller = Caller::start().await;
    let endpoint = format!("{}/{TENANT}/oauth2/v2.0/token", caller.sim.azure_url);
    let form = "grant_type=client_credentials&client_id=vaultgate-operator&client_secret=vaultgate-operator-secret&scope=https%3A%2F%2Fmanagement.azure.com%2F.default";
    let token = caller.form(&endpoint, form).await.is(200).json()["access_token"]
        .as_str()
        .unwrap()
        .to_owned();
    let parts: Vec<&str> = token.split('.').collect();
    assert_eq!(
        (parts[0], parts[1], parts[2].len()),
        ("azcanary", "operator", 32)
    );
    let target = format!("{}?{VERSION}", vault("v1"));
    caller
        .send(caller.request("GET", &target, &token, None))
        .await
        .is(200);
    caller
        .control("POST", "azure-token", json!({"revoke": "operator"}))
        .await
        .is(200);
    caller
        .send(caller.request("GET", &target, &token, None))
        .await
        .is(401);
    let persona = caller
        .sim
        .token(&TokenRequest::new("operator", Issuer::Entra))
        .unwrap();
    caller
        .send(caller.request("GET", &target, &persona, None))
        .await
        .is(401);
}

#[tokio::test]
async fn managed_identity_answers_in_both_forms() {
    let caller = Caller::start().await;
    let get = async |path: &str, header: (&str, &str)| {
        let url = format!("{}{path}", caller.sim.imds_url);
        caller
            .send(
                Request::builder()
                    .uri(url)
                    .header(header.0, header.1)
                    .body(Full::<Bytes>::default())
                    .unwrap(),
            )
            .await
    };
    let resource = "api-version=2019-08-01&resource=https%3A%2F%2Fmanagement.azure.com";
    let imds = format!("/metadata/identity/oauth2/token?{resource}");
    get(&imds, ("x-none", "1")).await.is(400);
    let reader = get(
        &format!("{imds}&client_id=vaultgate-reader"),
        ("metadata", "true"),
    )
    .await
    .is(200)
    .json();
    assert!(
        reader["access_token"]
            .as_str()
            .unwrap()
            .starts_with("azcanary.reader.")
    );
    assert!(
        reader["expires_on"]
            .as_str()
            .unwrap()
            .parse::<i64>()
            .unwrap()
            > jiff::Timestamp::now().as_second()
    );
    get(&format!("{imds}&client_id=nobody"), ("metadata", "true"))
        .await
        .is(400);
    let service = get(
        &format!("/msi/token?{resource}"),
        ("x-identity-header", vaultgate_sim::IDENTITY_HEADER),
    )
    .await
    .is(200)
    .json();
    assert!(
        service["access_token"]
            .as_str()
            .unwrap()
            .starts_with("azcanary.operator.")
    );
}

#[tokio::test]
async fn a_secret_needs_a_token_and_has_versions() {
    let caller = Caller::start().await;
    let url = format!("{}/secrets/idp?{VERSION}", caller.sim.keyvault_url);
    let challenge = caller.get(&url).await.is(401);
    assert!(
        challenge
            .header("www-authenticate")
            .contains("resource=\"https://vault.azure.net\"")
    );
    let read = async |url: &str| {
        caller
            .send(caller.request("GET", url, &caller.reader, None))
            .await
    };
    read(&url).await.is(404);
    caller
        .control("POST", "secret", json!({"name": "idp", "value": "one"}))
        .await
        .is(200);
    let first = read(&url).await.is(200).json();
    caller
        .control("POST", "secret", json!({"name": "idp", "value": "two"}))
        .await
        .is(200);
    assert_eq!(read(&url).await.json()["value"], "two");
    let old = format!("{}?{VERSION}", first["id"].as_str().unwrap());
    assert_eq!(read(&old).await.json()["value"], "one");
}
