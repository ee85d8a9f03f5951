//! Where a token may stand, and in which spelling.

use serde_json::json;

use super::minting::{Minted, key};
use super::{World, token};

#[tokio::test]
async fn a_token_stands_in_one_authorization_header_and_nowhere_else() {
    let world = World::new();
    let good = token(json!({}));
    let bearer = format!("Bearer {good}");
    let code = async |headers: &[(&str, &str)]| match world.headers(headers).await {
        Ok(_) => "accepted",
        Err(error) => error.code(),
    };
    assert_eq!(code(&[("authorization", &bearer)]).await, "accepted");
    assert_eq!(
        code(&[("authorization", &bearer), ("authorization", &bearer)]).await,
        "token-malformed"
    );
    assert_eq!(
        code(&[("cookie", &format!("token={good}"))]).await,
        "token-missing"
    );
    assert_eq!(code(&[("authorization", &good)]).await, "token-scheme");
    assert_eq!(
        code(&[("authorization", "Basic dTpw")]).await,
        "token-scheme"
    );
    for text in [
        format!("Bearer {good} "),
        format!("Bearer {good}="),
        format!("Bearer {good}, Bearer {good}"),
        format!("Bearer \t{good}"),
        "Bearer ".to_owned(),
        "Bearer a.b.c.d.e".to_owned(),
        "Bearer ...".to_owned(),
        format!("Bearer {}", token(json!({"x": "a".repeat(16_000)}))),
    ] {
        assert_eq!(
            code(&[("authorization", &text)]).await,
            "token-malformed",
            "{text:.60}"
        );
    }
}

#[tokio::test]
async fn a_strangers_flood_does_not_lock_out_a_verified_neighbour() {
    let world = World::new();
    let good = token(json!({}));
    assert_eq!(world.code(&good).await, "accepted");
    let mut last = "";
    for i in 0..1_001 {
        last = world
            .code(&token(json!({"aud": "x", "jti": format!("{i}")})))
            .await;
    }
    assert_eq!(last, "verification-limit");
    assert_eq!(world.code(&good).await, "accepted");
    world.clock.advance(std::time::Duration::from_secs(1));
    assert_eq!(
        world.code(&token(json!({"aud": "x"}))).await,
        "token-audience"
    );
}

#[tokio::test]
async fn a_token_does_not_choose_its_verifier_even_when_it_is_good() {
    let world = World::new();
    for (name, value) in [
        ("crit", json!(["exp"])),
        ("jwk", key("es-1").jwk.clone()),
        ("jku", json!("https://issuer.example/realm/jwks")),
        ("x5u", json!("https://issuer.example/realm/chain")),
        ("x5c", json!(["AAAA"])),
        ("enc", json!("A128GCM")),
        ("zip", json!("DEF")),
        ("b64", json!(false)),
    ] {
        let token = Minted::honest().header(json!({name: value})).sign();
        assert_eq!(world.code(&token).await, "token-header", "{name}");
    }
}
