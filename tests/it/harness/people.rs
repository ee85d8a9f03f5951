//! People at the console: who looks, approves and steers.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use http::Method;
use serde_json::{Value, json};
use vaultgate_sim::{CONSOLE_AUDIENCE, Issuer, TokenRequest};

use super::{Answer, Client, World};

/// Where approvals are found.
pub(crate) const APPROVALS: &str = "/_vaultgate/v1/approvals";

/// Somebody at the console, with claims of their own.
pub(crate) fn console(world: &World, name: &str, claims: Value) -> Client {
    let token = world.sim.token(&TokenRequest {
        audience: Some(CONSOLE_AUDIENCE.into()),
        claims: Some(claims),
        ..TokenRequest::new(name, Issuer::Oidc)
    });
    let url = world.gateway.console.as_ref().unwrap();
    Client::new(url, &world.dev.ca).with_token(&token.unwrap())
}

/// A persona at the console.
pub(crate) fn at_console(world: &World, name: &str) -> Client {
    console(world, name, json!({}))
}

/// A second reviewer: the shipped personas have one.
pub(crate) fn second_reviewer(world: &World) -> Client {
    console(world, "approver-a", json!({"groups": ["soc"]}))
}

/// What a refusal says of the approval that it waits for: id and digest.
pub(crate) fn asked(answer: &Answer) -> (String, String) {
    answer.expect(403, "approval");
    let json = answer.json();
    let info = &json["error"]["additionalInfo"][0]["info"]["approval"];
    let text = |name: &str| info[name].as_str().unwrap().to_owned();
    (text("approvalId"), text("digest"))
}

/// Says a word of an approval.
pub(crate) async fn say(client: &Client, word: &str, id: &str, digest: &str) -> Answer {
    let body = json!({"digest": digest, "reason": "seen and understood"});
    let path = format!("{APPROVALS}/{id}/{word}");
    client.send(Method::POST, &path, Some(&body), &[]).await
}

/// Two people consent.
pub(crate) async fn approve_by_two(world: &World, id: &str, digest: &str) {
    for name in ["approver-a", "approver-b"] {
        let said = say(&at_console(world, name), "approve", id, digest).await;
        assert_eq!(said.status, 200, "{}", said.text());
    }
}
