//! Who gets in, and what those who do not are told.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use http::Method;
use vaultgate_sim::{Fault, FaultKind, FaultRule, Identity, Issuer, Match, TokenRequest};

use crate::harness::{Setup, VAULT, VERSION, World, item};

#[tokio::test(flavor = "multi_thread")]
async fn both_issuers_vouch_and_no_other_door_opens() {
    let world = World::start().await;
    let target = format!("{VAULT}/backupJobs?{VERSION}");
    for issuer in [Issuer::Oidc, Issuer::Entra] {
        let token = world
            .sim
            .token(&TokenRequest::new("reader", issuer))
            .unwrap();
        let answer = world.anybody().with_token(&token).get(&target).await;
        answer.expect(200, "allow");
    }
    let cases = [
        (
            "token-audience",
            TokenRequest {
                audience: Some("api://other".into()),
                ..reader()
            },
        ),
        (
            "token-audience",
            TokenRequest {
                audience: Some("api://vaultgate-console".into()),
                ..reader()
            },
        ),
        (
            "token-expired",
            TokenRequest {
                lifetime: Some(-600),
                ..reader()
            },
        ),
        (
            "token-signature",
            TokenRequest {
                sign_with: Some("attacker-es".into()),
                ..reader()
            },
        ),
    ];
    for (reason, request) in cases {
        let token = world.sim.token(&request).unwrap();
        let answer = world.anybody().with_token(&token).get(&target).await;
        assert_eq!(answer.status.as_u16(), 401, "{reason}: {}", answer.text());
        assert_eq!(answer.reason(), reason);
        let challenge = answer.header("www-authenticate");
        assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
        assert!(
            challenge.contains("/.well-known/oauth-protected-resource"),
            "{challenge}"
        );
        assert!(!answer.text().contains(&token));
    }
    assert_eq!(world.forwarded(), 2);
}

fn reader() -> TokenRequest {
    TokenRequest::new("reader", Issuer::Oidc)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_but_expired_token_is_always_a_full_record() {
    let world = World::start().await;
    let request = TokenRequest {
        lifetime: Some(-600),
        ..reader()
    };
    let token = world.sim.token(&request).unwrap();
    let client = world.anybody().with_token(&token);
    for _ in 0..25 {
        client.get(&format!("{VAULT}?{VERSION}")).await;
    }
    let records = world.records();
    let expired = records
        .iter()
        .filter(|r| r["refusal"]["reason"] == "token-expired");
    assert_eq!(expired.count(), 25);
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_cannot_fill_the_disk() {
    let world = World::start().await;
    for _ in 0..60 {
        world.anybody().get(&format!("{VAULT}?{VERSION}")).await;
    }
    let records = world.records();
    let full = records
        .iter()
        .filter(|r| r["refusal"]["reason"] == "token-missing")
        .count();
    assert!((1..=40).contains(&full), "{full} full records");
}

#[tokio::test(flavor = "multi_thread")]
async fn public_documents_need_no_token() {
    let world = World::start().await;
    let anybody = world.anybody();
    let cloud = anybody
        .get("/metadata/endpoints?api-version=2022-09-01")
        .await;
    assert_eq!(cloud.status.as_u16(), 200, "{}", cloud.text());
    let cloud = cloud.json();
    assert_eq!(cloud["authentication"]["audiences"][0], "api://vaultgate");
    assert_eq!(
        cloud["authentication"]["loginEndpoint"],
        world.sim.azure_url.as_str()
    );
    assert_eq!(cloud["resourceManager"], world.gateway.url.as_str());
    let resource = anybody
        .get("/.well-known/oauth-protected-resource")
        .await
        .json();
    assert_eq!(resource["resource"], world.gateway.url.as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_ends_while_its_request_waits_opens_nothing() {
    let cooldown = "jwks_cooldown = \"5s\"";
    let world = World::with(Setup {
        replace: vec![(cooldown.into(), format!("{cooldown}\nleeway = \"0s\""))],
        ..Setup::default()
    })
    .await;
    // Azure answers the gateway's own reads slowly: the change waits for its facts.
    world.sim.fault(FaultRule {
        matching: Match {
            identity: Some(Identity::Reader),
            ..Match::default()
        },
        fault: Fault {
            ms: Some(4_000),
            ..Fault::new(FaultKind::Slow)
        },
        times: None,
        skip: 0,
    });
    let short = TokenRequest {
        lifetime: Some(3),
        ..TokenRequest::new("operator", Issuer::Oidc)
    };
    let operator = world
        .anybody()
        .with_token(&world.sim.token(&short).unwrap());
    let target = format!("{}?{VERSION}", item("vm1"));
    let answer = operator.send(Method::DELETE, &target, None, &[]).await;
    answer.expect(401, "deny");
    assert_eq!(answer.reason(), "token-expired");
    assert!(answer.header("www-authenticate").contains("invalid_token"));
}

/// Whoever tried a lock is remembered by what they tried, though it was never forwarded.
#[tokio::test(flavor = "multi_thread")]
async fn who_tried_a_lock_deletes_nothing_that_day() {
    let world = World::start().await;
    let custodian = world.persona("custodian");
    let item = format!("{}?{VERSION}", item("vm1"));
    let waits = custodian.send(Method::DELETE, &item, None, &[]).await;
    assert!(
        waits.text().contains("only when approved by 2"),
        "{}",
        waits.text()
    );
    let lock = format!("{VAULT}/providers/Microsoft.Authorization/locks/keep");
    let lock = format!("{lock}?api-version=2020-05-01");
    let refused = custodian.send(Method::DELETE, &lock, None, &[]).await;
    assert_eq!(refused.reason(), "operation-blocked", "{}", refused.text());
    let denied = custodian.send(Method::DELETE, &item, None, &[]).await;
    assert_eq!(denied.status.as_u16(), 403, "{}", denied.text());
    assert!(
        denied.text().contains("foothold-then-deleted"),
        "{}",
        denied.text()
    );
}

/// A refusal says what would change it, and its caller can have the whole of it; nobody else.
#[tokio::test(flavor = "multi_thread")]
async fn who_was_refused_is_told_why_and_what_would_change_it() {
    let world = World::start().await;
    let operator = world.persona("operator");
    let target = format!("{}?{VERSION}", item("vm1"));
    let refused = operator.send(Method::DELETE, &target, None, &[]).await;
    let hint = "it would be allowed to role:backup.custodian, with approval";
    assert!(refused.text().contains(hint), "{}", refused.text());
    let id = refused.header("x-vaultgate-decision-id").to_owned();
    let why = format!("/_vaultgate/v1/decisions/{id}/why");
    let told = operator.get(&why).await;
    assert_eq!(told.status.as_u16(), 200, "{}", told.text());
    let told: serde_json::Value = serde_json::from_str(&told.text()).unwrap();
    let explanation = &told["explanation"];
    assert_eq!(explanation["fired"][0]["code"], "class-not-granted");
    let place = explanation["fired"][0]["place"].as_str().unwrap();
    assert!(place.starts_with("vaultgate/standing.rego:"), "{place}");
    assert_eq!(
        explanation["would_allow"][0]["subject"],
        "role:backup.custodian"
    );
    for (who, path) in [
        ("reader", why.clone()),
        ("operator", why.replace(&id[..8], "00000000")),
    ] {
        let other = world.persona(who).get(&path).await;
        assert_eq!(
            other.reason(),
            "decision-unknown",
            "{who}: {}",
            other.text()
        );
    }
}
