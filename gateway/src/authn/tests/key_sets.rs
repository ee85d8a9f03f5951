//! Rotation, storms, stalls and hostile key sets.

use std::time::Duration;

use serde_json::{Value, json};

use super::minting::{Minted, key};
use super::provider::{Answer, discovery, document, jwks};
use super::{ISSUER, SECOND, World, generic, token};

fn unknown(n: usize) -> String {
    Minted::honest()
        .header(json!({"kid": format!("../../{n}")}))
        .sign()
}

fn second() -> String {
    Minted::honest()
        .claims(json!({"iss": SECOND}))
        .key("issuer2-es")
        .sign()
}

#[tokio::test]
async fn callers_at_once_share_one_fetch() {
    let world = World::new();
    let tokens: Vec<String> = (0..50)
        .map(|n| token(json!({"jti": format!("{n}")})))
        .collect();
    let calls = tokens.iter().map(|token| world.code(token));
    let codes = futures_util::future::join_all(calls).await;
    assert!(codes.iter().all(|code| *code == "accepted"), "{codes:?}");
    assert_eq!(world.provider.fetches(ISSUER), 1);
}

#[tokio::test]
async fn a_storm_of_unknown_keys_is_one_fetch_in_a_cool_down() {
    let world = World::new();
    assert_eq!(world.code(&token(json!({}))).await, "accepted");
    for n in 0..300 {
        assert_eq!(world.code(&unknown(n)).await, "token-key-unknown");
    }
    assert_eq!(
        world.provider.fetches(ISSUER),
        1,
        "the cool-down of the first fetch"
    );
    world.clock.advance(Duration::from_secs(10));
    let tokens: Vec<String> = (0..300).map(unknown).collect();
    let calls = tokens.iter().map(|token| world.code(token));
    futures_util::future::join_all(calls).await;
    assert_eq!(world.provider.fetches(ISSUER), 2);
}

#[tokio::test(start_paused = true)]
async fn callers_who_go_away_do_not_repeat_a_fetch() {
    let world = World::new();
    world.provider.set(&jwks(ISSUER), Answer::Hang);
    for n in 0..50 {
        let impatient = tokio::time::timeout(
            Duration::from_millis(1),
            world.bearer(&token(json!({"jti": format!("{n}")}))),
        )
        .await;
        assert!(impatient.is_err(), "the issuer hangs");
    }
    assert_eq!(world.provider.fetches(ISSUER), 1);
}

#[tokio::test(start_paused = true)]
async fn one_fetch_runs_at_a_time_however_short_the_cool_down() {
    let world = World::of(&[generic(ISSUER, "jwks_cooldown = \"1s\"")]);
    world.provider.set(&jwks(ISSUER), Answer::Hang);
    let (one, other) = (token(json!({})), token(json!({"jti": "other"})));
    let late = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        world.clock.advance(Duration::from_secs(2));
        world.code(&other).await
    };
    let codes = tokio::join!(world.code(&one), late);
    assert_eq!(codes, ("issuer-degraded", "issuer-degraded"));
    assert_eq!(world.provider.fetches(ISSUER), 1);
}

#[tokio::test]
async fn a_key_of_an_algorithm_that_is_not_configured_verifies_nothing() {
    let world = World::of(&[generic(ISSUER, "algorithms = [\"RS256\"]")]);
    assert_eq!(world.code(&token(json!({}))).await, "token-key-unknown");
    let rsa = Minted::honest()
        .header(json!({"alg": "RS256", "kid": "rs-1"}))
        .key("rs-1");
    assert_eq!(world.code(&rsa.sign()).await, "accepted");
}

#[tokio::test]
async fn a_new_key_is_found_at_once_and_the_old_one_stays_while_published() {
    let world = World::new();
    assert_eq!(world.code(&token(json!({}))).await, "accepted");
    world.provider.publish(ISSUER, &["es-1", "es-2"]);
    world.clock.advance(Duration::from_secs(10));
    let new = Minted::honest()
        .header(json!({"kid": "es-2"}))
        .key("es-2")
        .sign();
    assert_eq!(world.code(&new).await, "accepted");
    assert_eq!(world.code(&token(json!({"jti": "x"}))).await, "accepted");
}

#[tokio::test]
async fn the_last_good_keys_are_used_up_to_the_ceiling() {
    let world = World::of(&[generic(
        ISSUER,
        "jwks_ceiling = \"1h\"\nmax_lifetime = \"24h\"",
    )]);
    let day = |jti: &str| token(json!({"jti": jti, "exp": super::now() + 80_000}));
    assert_eq!(world.code(&day("1")).await, "accepted");
    world.provider.set(&jwks(ISSUER), Answer::Status(503));
    world.clock.advance(Duration::from_secs(3_599));
    assert_eq!(world.code(&day("2")).await, "accepted");
    assert_eq!(
        world.code(&unknown(1)).await,
        "issuer-degraded",
        "nobody knows better at the moment"
    );
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(world.code(&day("3")).await, "issuer-degraded");
    assert_eq!(
        world.code(&day("1")).await,
        "issuer-degraded",
        "verified earlier, by a key too old"
    );
    world.provider.publish(ISSUER, &["es-1"]);
    world.clock.advance(Duration::from_secs(10));
    assert_eq!(world.code(&day("3")).await, "accepted");
}

#[tokio::test]
async fn old_keys_are_fetched_again_in_the_background() {
    let world = World::of(&[generic(ISSUER, "max_lifetime = \"24h\"")]);
    let day = |jti: &str| token(json!({"jti": jti, "exp": super::now() + 80_000}));
    assert_eq!(world.code(&day("1")).await, "accepted");
    world.provider.publish(ISSUER, &["es-2"]);
    world.clock.advance(Duration::from_secs(3_600));
    assert_eq!(
        world.code(&day("2")).await,
        "accepted",
        "nobody waits for it"
    );
    let mut code = "";
    for n in 3..200 {
        tokio::task::yield_now().await;
        code = world.code(&day(&n.to_string())).await;
    }
    assert_eq!(code, "token-key-unknown", "the withdrawn key is gone");
}

#[tokio::test(start_paused = true)]
async fn a_hanging_issuer_is_given_five_seconds_and_harms_no_other() {
    let world = World::new();
    world.provider.set(&jwks(ISSUER), Answer::Hang);
    let began = tokio::time::Instant::now();
    let stalled = token(json!({}));
    let (hanging, other) = tokio::join!(world.code(&stalled), async {
        let code = world.code(&second()).await;
        (code, began.elapsed())
    });
    assert_eq!(other, ("accepted", Duration::ZERO));
    assert_eq!(hanging, "issuer-degraded");
    assert_eq!(began.elapsed(), Duration::from_secs(5));
    let error = world.bearer(&stalled).await.unwrap_err();
    assert_eq!(error.status(), 503);
    assert!(!error.is_signed());
    assert_eq!(
        began.elapsed(),
        Duration::from_secs(5),
        "in the cool-down nobody waits"
    );
}

#[tokio::test]
async fn hostile_documents_are_refused() {
    let elsewhere = "https://evil.example/jwks";
    let cases: Vec<(&str, String, Answer)> = vec![
        (
            "another issuer",
            discovery(ISSUER),
            Answer::Json(document("https://evil.example", &jwks(ISSUER))),
        ),
        (
            "a trailing slash",
            discovery(ISSUER),
            Answer::Json(document(&format!("{ISSUER}/"), &jwks(ISSUER))),
        ),
        (
            "keys of another origin",
            discovery(ISSUER),
            Answer::Json(document(ISSUER, elsewhere)),
        ),
        (
            "keys over plain http",
            discovery(ISSUER),
            Answer::Json(document(ISSUER, "http://issuer.example/realm/jwks")),
        ),
        (
            "keys at another port",
            discovery(ISSUER),
            Answer::Json(document(ISSUER, "https://issuer.example:8443/realm/jwks")),
        ),
        ("a redirect", discovery(ISSUER), Answer::Status(302)),
        ("no keys", jwks(ISSUER), Answer::Json(json!({"keys": []}))),
        ("no list", jwks(ISSUER), Answer::Json(json!({"keys": 5}))),
        ("too large", jwks(ISSUER), Answer::Huge(10 << 20)),
        ("HTML", jwks(ISSUER), Answer::Html),
        ("a redirect for keys", jwks(ISSUER), Answer::Status(307)),
    ];
    for (what, address, answer) in cases {
        let world = World::new();
        world.provider.honest("https://evil.example", &["es-1"]);
        world.provider.set(&address, answer);
        assert_eq!(
            world.code(&token(json!({}))).await,
            "issuer-degraded",
            "{what}"
        );
        assert_eq!(world.code(&second()).await, "accepted", "{what}");
        let own = |asked: &String| {
            asked.starts_with("https://issuer.example/realm/") || asked.starts_with(SECOND)
        };
        assert!(
            world.provider.asked().iter().all(own),
            "{what}: {:?}",
            world.provider.asked()
        );
    }
}

#[tokio::test]
async fn only_public_keys_for_signatures_verify() {
    let with = |patch: Value| {
        let mut jwk = key("es-1").jwk.clone();
        super::minting::merge(&mut jwk, &patch);
        jwk
    };
    let cases = [
        ("honest", vec![with(json!({}))], "accepted"),
        (
            "no alg: the configured one",
            vec![with(json!({"alg": null}))],
            "accepted",
        ),
        (
            "garbage beside it",
            vec![json!({"kty": "quantum", "kid": 7}), with(json!({}))],
            "accepted",
        ),
        (
            "unknown kind beside it",
            vec![
                json!({"kty": "AKP", "kid": "q", "pub": "x"}),
                with(json!({})),
            ],
            "accepted",
        ),
        (
            "for encryption",
            vec![with(json!({"use": "enc"})), key("es-2").jwk.clone()],
            "token-key-unknown",
        ),
        (
            "another algorithm",
            vec![with(json!({"alg": "ES384"})), key("es-2").jwk.clone()],
            "token-key-unknown",
        ),
        (
            "an algorithm unheard of",
            vec![with(json!({"alg": "XX1"})), key("es-2").jwk.clone()],
            "token-key-unknown",
        ),
        (
            "twice the same name",
            vec![with(json!({})), with(json!({})), key("es-2").jwk.clone()],
            "token-key-unknown",
        ),
        (
            "no name",
            vec![with(json!({"kid": null})), key("es-2").jwk.clone()],
            "token-key-unknown",
        ),
        (
            "no key left",
            vec![with(json!({"use": "enc"}))],
            "issuer-degraded",
        ),
    ];
    for (what, keys, code) in cases {
        let world = World::new();
        world
            .provider
            .set(&jwks(ISSUER), Answer::Json(json!({"keys": keys})));
        assert_eq!(world.code(&token(json!({}))).await, code, "{what}");
    }
}

#[tokio::test]
async fn a_shared_secret_in_a_key_set_signs_nothing() {
    let world = World::new();
    let secret = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0";
    let oct = json!({"kty": "oct", "kid": "oct-1", "k": secret, "alg": "HS256"});
    world.provider.set(
        &jwks(ISSUER),
        Answer::Json(json!({"keys": [oct, key("es-1").jwk]})),
    );
    let minted = Minted::honest().header(json!({"kid": "oct-1", "alg": "HS256"}));
    let hmac = jsonwebtoken::EncodingKey::from_base64_secret(secret).unwrap();
    let (header, claims) = (minted.header.to_string(), minted.claims.to_string());
    let token = super::minting::sign(&header, &claims, &hmac, jsonwebtoken::Algorithm::HS256);
    assert_eq!(world.code(&token).await, "token-key-unknown");
}

#[tokio::test]
async fn a_pinned_key_set_needs_no_discovery_and_may_be_elsewhere() {
    let pinned = "https://keys.example/set";
    let world = World::of(&[generic(ISSUER, &format!("jwks_uri = \"{pinned}\""))]);
    world
        .provider
        .set(pinned, Answer::Json(json!({"keys": [key("es-1").jwk]})));
    assert_eq!(world.code(&token(json!({}))).await, "accepted");
    assert_eq!(world.provider.asked(), [pinned]);
}
