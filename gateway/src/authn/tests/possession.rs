//! Tokens bound to a certificate (RFC 8705) or to a key (RFC 9449).

use std::time::Duration;

use jsonwebtoken::jwk::{Jwk, ThumbprintHash};
use serde_json::{Value, json};
use vaultgate_pdp::Binding;

use super::minting::{base64url, key, merge, now, sign};
use super::{ISSUER, ORIGIN, World, generic, token};
use crate::digest::sha256_raw;

fn world(dpop: &str) -> World {
    World::of(&[generic(ISSUER, &format!("dpop = \"{dpop}\""))])
}

fn jkt(name: &str) -> String {
    let jwk: Jwk = serde_json::from_value(key(name).jwk.clone()).unwrap();
    jwk.thumbprint(ThumbprintHash::SHA256).unwrap()
}

/// A token bound to the proof key.
fn bound() -> String {
    token(json!({"cnf": {"jkt": jkt("proof")}}))
}

/// A proof for that token and the request of the tests, bent by patches.
fn proof(token: &str, header: Value, claims: Value, signer: &str) -> String {
    let jwk = &key("proof").jwk;
    let public = json!({"kty": jwk["kty"], "crv": jwk["crv"], "x": jwk["x"], "y": jwk["y"]});
    let mut all = json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": public});
    merge(&mut all, &header);
    let mut said = json!({
        "jti": "proof-1", "htm": "POST", "iat": now(),
        "htu": format!("{ORIGIN}/subscriptions/s/resourceGroups/rg1"),
        "ath": base64url(sha256_raw(token.as_bytes())),
    });
    merge(&mut said, &claims);
    let signer = key(signer);
    sign(
        &all.to_string(),
        &said.to_string(),
        &signer.encoding,
        signer.algorithm,
    )
}

fn good(token: &str) -> String {
    proof(token, json!({}), json!({}), "proof")
}

async fn code(world: &World, scheme: &str, token: &str, proofs: &[&str]) -> &'static str {
    let authorization = format!("{scheme} {token}");
    let mut headers = vec![("authorization", authorization.as_str())];
    headers.extend(proofs.iter().map(|proof| ("dpop", *proof)));
    world
        .headers(&headers)
        .await
        .map_or_else(|error| error.code(), |_| "accepted")
}

#[tokio::test]
async fn a_bound_token_passes_with_its_proof_once() {
    let world = world("optional");
    let token = bound();
    let headers = format!("DPoP {token}");
    let proof_text = good(&token);
    let caller = world
        .headers(&[("authorization", &headers), ("dpop", &proof_text)])
        .await
        .unwrap();
    assert_eq!(caller.principal.bound, Binding::Dpop);
    assert_eq!(
        code(&world, "DPoP", &token, &[&proof_text]).await,
        "dpop-invalid",
        "a replay"
    );
    let next = proof(&token, json!({}), json!({"jti": "proof-2"}), "proof");
    assert_eq!(code(&world, "dpop", &token, &[&next]).await, "accepted");
}

#[tokio::test]
async fn a_proof_is_for_one_request_one_token_one_moment_one_key() {
    let token = bound();
    let other_token = base64url(sha256_raw(b"other"));
    let query = format!("{ORIGIN}/subscriptions/s/resourceGroups/rg1?api-version=1#f");
    let accepted = [
        ("query and fragment", json!({}), json!({"htu": query})),
        (
            "host in upper case",
            json!({}),
            json!({"htu": "https://GATEWAY.example:443/subscriptions/s/resourceGroups/rg1"}),
        ),
        ("a minute old", json!({}), json!({"iat": now() - 60})),
    ];
    for (what, header, claims) in accepted {
        let proof = proof(&token, header, claims, "proof");
        assert_eq!(
            code(&world("optional"), "DPoP", &token, &[&proof]).await,
            "accepted",
            "{what}"
        );
    }
    let mut private = key("proof").jwk.clone();
    private["d"] = json!("AAAA");
    let refused = [
        ("another method", json!({}), json!({"htm": "GET"})),
        (
            "another path",
            json!({}),
            json!({"htu": format!("{ORIGIN}/other")}),
        ),
        (
            "another server",
            json!({}),
            json!({"htu": "https://other.example/subscriptions/s/resourceGroups/rg1"}),
        ),
        (
            "plain http",
            json!({}),
            json!({"htu": "http://gateway.example/subscriptions/s/resourceGroups/rg1"}),
        ),
        ("no address", json!({}), json!({"htu": null})),
        ("another token", json!({}), json!({"ath": other_token})),
        ("no token", json!({}), json!({"ath": null})),
        ("too old", json!({}), json!({"iat": now() - 91})),
        ("of the future", json!({}), json!({"iat": now() + 31})),
        ("no time", json!({}), json!({"iat": null})),
        ("time as text", json!({}), json!({"iat": now().to_string()})),
        ("no id", json!({}), json!({"jti": ""})),
        ("another type", json!({"typ": "JWT"}), json!({})),
        ("symmetric", json!({"alg": "HS256"}), json!({})),
        ("none", json!({"alg": "none"}), json!({})),
        ("another algorithm", json!({"alg": "RS256"}), json!({})),
        ("no key", json!({"jwk": null}), json!({})),
        ("a private key", json!({"jwk": private}), json!({})),
        (
            "a secret",
            json!({"jwk": {"kty": "oct", "k": "AA"}}),
            json!({}),
        ),
        ("critical", json!({"crit": ["x"], "x": 1}), json!({})),
    ];
    for (what, header, claims) in refused {
        let proof = proof(&token, header, claims, "proof");
        let world = world("optional");
        assert_eq!(
            code(&world, "DPoP", &token, &[&proof]).await,
            "dpop-invalid",
            "{what}"
        );
        assert_eq!(
            code(&world, "DPoP", &token, &[&good(&token)]).await,
            "accepted",
            "{what}"
        );
    }
    let forged = proof(&token, json!({}), json!({}), "attacker-es");
    assert_eq!(
        code(&world("optional"), "DPoP", &token, &[&forged]).await,
        "dpop-invalid"
    );
    let own_key = proof(
        &token,
        json!({"jwk": key("attacker-es").jwk}),
        json!({}),
        "attacker-es",
    );
    assert_eq!(
        code(&world("optional"), "DPoP", &token, &[&own_key]).await,
        "dpop-invalid"
    );
    let twice = [
        good(&token),
        proof(&token, json!({}), json!({"jti": "b"}), "proof"),
    ];
    assert_eq!(
        code(&world("optional"), "DPoP", &token, &[&twice[0], &twice[1]]).await,
        "dpop-invalid"
    );
    assert_eq!(
        code(&world("optional"), "DPoP", &token, &[]).await,
        "dpop-invalid"
    );
}

#[tokio::test]
async fn scheme_and_setting_must_fit_the_token() {
    let (free, tied) = (token(json!({})), bound());
    let proof = good(&tied);
    for (setting, scheme, token, expected) in [
        ("off", "Bearer", &free, "accepted"),
        ("off", "DPoP", &free, "token-binding"),
        ("off", "Bearer", &tied, "token-binding"),
        ("off", "DPoP", &tied, "token-binding"),
        ("optional", "Bearer", &free, "accepted"),
        ("optional", "DPoP", &free, "token-binding"),
        ("optional", "Bearer", &tied, "token-binding"),
        ("optional", "DPoP", &tied, "accepted"),
        ("required", "Bearer", &free, "token-binding"),
        ("required", "DPoP", &free, "token-binding"),
        ("required", "Bearer", &tied, "token-binding"),
        ("required", "DPoP", &tied, "accepted"),
    ] {
        let what = format!("{setting} {scheme}");
        assert_eq!(
            code(&world(setting), scheme, token, &[&proof]).await,
            expected,
            "{what}"
        );
    }
}

#[tokio::test]
async fn used_proofs_are_forgotten_only_when_they_are_too_old() {
    let world = world("optional");
    let token = bound();
    let first = good(&token);
    assert_eq!(code(&world, "DPoP", &token, &[&first]).await, "accepted");
    for seconds in [1, 59, 30] {
        world.clock.advance(Duration::from_secs(seconds));
        assert_eq!(
            code(&world, "DPoP", &token, &[&first]).await,
            "dpop-invalid"
        );
    }
    let fresh = proof(
        &token,
        json!({}),
        json!({"iat": now() + 90, "jti": "late"}),
        "proof",
    );
    assert_eq!(code(&world, "DPoP", &token, &[&fresh]).await, "accepted");
}

#[tokio::test]
async fn a_token_bound_to_a_certificate_needs_that_certificate() {
    let world = World::new();
    let certificate = sha256_raw(b"certificate");
    let tied = token(json!({"cnf": {"x5t#S256": base64url(certificate)}}));
    let authorization = format!("Bearer {tied}");
    let headers = [("authorization", authorization.as_str())];
    let caller = world.shown(&headers, Some(certificate)).await.unwrap();
    assert_eq!(caller.principal.bound, Binding::Mtls);
    for shown in [None, Some(sha256_raw(b"another"))] {
        // The token was verified a moment ago; its binding is still checked.
        let error = world.shown(&headers, shown).await.unwrap_err();
        assert_eq!(error.code(), "token-binding");
        assert!(error.is_signed());
    }
}

#[tokio::test]
async fn a_binding_that_is_not_understood_is_refused() {
    for cnf in [
        json!({"kid": "k"}),
        json!({"jwk": {"kty": "EC"}}),
        json!({"x5t#S256": "AAAA"}),
        json!({"jkt": 5}),
        json!({"x5t#S256": base64url([0; 32]), "osc": {}}),
        json!({}),
        json!("x"),
        json!([]),
    ] {
        let code = World::new().code(&token(json!({"cnf": cnf}))).await;
        assert!(
            ["token-binding", "token-claim-type"].contains(&code),
            "{cnf}: {code}"
        );
    }
}
