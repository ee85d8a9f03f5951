//! What is remembered of a verified token, and what never is.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use super::minting::{Minted, now};
use super::{ISSUER, World, token};
use crate::clock::Clock;

#[tokio::test]
async fn expiry_is_checked_again_on_every_hit() {
    let mut world = World::new();
    let good = token(json!({}));
    assert_eq!(world.code(&good).await, "accepted");
    world.clock.advance(Duration::from_secs(329));
    assert_eq!(world.code(&good).await, "accepted", "within the leeway");
    world.clock.advance(Duration::from_secs(1));
    let error = world.bearer(&good).await.unwrap_err();
    assert_eq!(error.code(), "token-expired");
    assert_eq!(error.subject(), Some("agent-1"));
    world.authenticator.clock = Clock::manual(Timestamp::from_second(now()).unwrap());
    assert_eq!(
        world.code(&good).await,
        "token-expired",
        "a step back revives nothing"
    );
}

#[tokio::test]
async fn a_verified_token_costs_no_second_fetch_and_no_second_verification() {
    let world = World::new();
    let good = token(json!({}));
    for _ in 0..2_000 {
        assert_eq!(world.code(&good).await, "accepted");
    }
    assert_eq!(world.provider.fetches(ISSUER), 1);
}

#[tokio::test]
async fn each_token_is_judged_by_its_own_bytes() {
    let world = World::new();
    let one = token(json!({"sub": "one"}));
    let other = token(json!({"sub": "other"}));
    let both = futures_util::future::join(world.bearer(&one), world.bearer(&other)).await;
    assert_eq!(both.0.unwrap().principal.subject, "one");
    assert_eq!(both.1.unwrap().principal.subject, "other");
    // The same signature under another payload is another token.
    let (_, signature) = one.rsplit_once('.').unwrap();
    let (signed, _) = other.rsplit_once('.').unwrap();
    assert_eq!(
        world.code(&format!("{signed}.{signature}")).await,
        "token-signature"
    );
}

#[tokio::test]
async fn a_withdrawn_key_takes_its_verified_tokens_with_it() {
    let world = World::new();
    let old = token(json!({}));
    assert_eq!(world.code(&old).await, "accepted");
    world.provider.publish(ISSUER, &["es-2"]);
    world.clock.advance(Duration::from_secs(11));
    let new = Minted::honest()
        .header(json!({"kid": "es-2"}))
        .key("es-2")
        .sign();
    assert_eq!(world.code(&new).await, "accepted");
    assert_eq!(world.code(&old).await, "token-key-unknown");
}
