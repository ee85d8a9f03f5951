//! The identity provider: tokens, grants, keys, discovery.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};
use vaultgate_sim::{PERSONAS, TENANT};

use crate::client::Caller;

fn header_of(token: &str) -> Value {
    let head = token.split('.').next().unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(head).unwrap()).unwrap()
}

/// Discovers the issuer, fetches its keys and verifies, as a resource server does.
async fn verified(caller: &Caller, issuer: &str, token: &str, audience: &str) -> Value {
    let document = caller
        .get(&format!("{issuer}/.well-known/openid-configuration"))
        .await
        .is(200)
        .json();
    assert_eq!(document["issuer"], issuer);
    let keys: JwkSet = serde_json::from_value(
        caller
            .get(document["jwks_uri"].as_str().unwrap())
            .await
            .is(200)
            .json(),
    )
    .unwrap();
    let header = header_of(token);
    let algorithm = if header["alg"] == "ES256" {
        Algorithm::ES256
    } else {
        Algorithm::RS256
    };
    let mut checks = Validation::new(algorithm);
    checks.set_issuer(&[issuer]);
    checks.set_audience(&[audience]);
    let key = DecodingKey::from_jwk(keys.find(header["kid"].as_str().unwrap()).unwrap()).unwrap();
    jsonwebtoken::decode::<Value>(token, &key, &checks)
        .unwrap()
        .claims
}

#[tokio::test]
async fn every_persona_gets_a_token_of_both_issuers() {
    let caller = Caller::start().await;
    for one in PERSONAS {
        for (issuer, endpoint, typ) in [
            (
                &caller.sim.idp_issuer_entra,
                format!("{}/{TENANT}/oauth2/v2.0/token", caller.sim.azure_url),
                "JWT",
            ),
            (
                &caller.sim.idp_issuer_oidc,
                format!("{}/oidc/token", caller.sim.azure_url),
                "at+jwt",
            ),
        ] {
            let form = format!(
                "grant_type=client_credentials&client_id={0}&client_secret={0}-secret&scope=api%3A%2F%2Fvaultgate%2F.default&client_info=1&claims=%7B%7D",
                one.name
            );
            let token = caller.form(&endpoint, &form).await.is(200).json()["access_token"]
                .as_str()
                .unwrap()
                .to_owned();
            assert_eq!(header_of(&token)["typ"], typ);
            let claims = verified(&caller, issuer, &token, "api://vaultgate").await;
            assert_eq!(claims["roles"], json!(one.roles), "{}", one.name);
            if typ == "JWT" {
                assert_eq!(claims["idtyp"], if one.is_human() { "user" } else { "app" });
                assert_eq!(
                    (&claims["oid"], &claims["tid"], &claims["ver"]),
                    (&json!(one.object_id()), &json!(TENANT), &json!("2.0"))
                );
                assert_eq!(claims.get("scp").is_some(), one.is_human());
            } else {
                assert_eq!(
                    (&claims["sub"], &claims["client_id"], &claims["vg_kind"]),
                    (&json!(one.name), &json!(one.name), &json!(one.kind))
                );
            }
        }
    }
}

#[tokio::test]
async fn a_wrong_client_is_refused_with_entras_number() {
    let caller = Caller::start().await;
    let endpoint = format!("{}/{TENANT}/oauth2/v2.0/token", caller.sim.azure_url);
    let ask = async |form: &str| {
        caller
            .form(
                &endpoint,
                &format!("grant_type=client_credentials&scope=x%2F.default&{form}"),
            )
            .await
            .is(401)
            .json()
    };
    assert_eq!(
        ask("client_id=agent&client_secret=wrong").await["error_codes"],
        json!([7_000_215])
    );
    assert_eq!(
        ask("client_id=nobody&client_secret=x").await["error_codes"],
        json!([700_016])
    );
    assert_eq!(
        ask("client_id=agent&client_assertion=x.y.z").await["error_codes"],
        json!([700_027])
    );
    caller
        .control(
            "POST",
            "client",
            json!({"client_id": "agent", "secret": "new"}),
        )
        .await
        .is(200);
    assert_eq!(
        ask("client_id=agent&client_secret=agent-secret").await["error"],
        "invalid_client"
    );
}

#[tokio::test]
async fn a_code_is_exchanged_once_and_only_with_its_verifier() {
    let caller = Caller::start().await;
    let authorize = format!(
        "{}/oidc/authorize?client_id=vaultgate-console&redirect_uri=https%3A%2F%2Flocalhost%2Fcb&response_type=code&state=s&nonce=n&scope=openid%20api%3A%2F%2Fvaultgate-console%2F.default&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256",
        caller.sim.azure_url
    );
    assert!(
        caller
            .get(&authorize)
            .await
            .is(200)
            .text
            .contains("login_hint=approver-a")
    );
    let code = async || {
        let back = caller
            .get(&format!("{authorize}&login_hint=approver-a"))
            .await
            .is(302)
            .header("location")
            .to_owned();
        assert!(
            back.starts_with("https://localhost/cb?") && back.contains("state=s"),
            "{back}"
        );
        back.split("code=")
            .nth(1)
            .unwrap()
            .split('&')
            .next()
            .unwrap()
            .to_owned()
    };
    let exchange = async |code: &str, verifier: &str| {
        let form = format!(
            "grant_type=authorization_code&client_id=vaultgate-console&redirect_uri=https%3A%2F%2Flocalhost%2Fcb&code={code}&code_verifier={verifier}"
        );
        caller
            .form(&format!("{}/oidc/token", caller.sim.azure_url), &form)
            .await
    };
    let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    exchange(&code().await, "wrong").await.is(400);
    let good = code().await;
    let tokens = exchange(&good, verifier).await.is(200).json();
    exchange(&good, verifier).await.is(400);
    let issuer = caller.sim.idp_issuer_oidc.clone();
    let identity = verified(
        &caller,
        &issuer,
        tokens["id_token"].as_str().unwrap(),
        "vaultgate-console",
    )
    .await;
    assert_eq!(
        (&identity["sub"], &identity["nonce"]),
        (&json!("approver-a"), &json!("n"))
    );
    verified(
        &caller,
        &issuer,
        tokens["access_token"].as_str().unwrap(),
        "api://vaultgate-console",
    )
    .await;
}

#[tokio::test]
async fn a_device_waits_until_somebody_approves() {
    let caller = Caller::start().await;
    let start = format!("{}/{TENANT}/oauth2/v2.0/devicecode", caller.sim.azure_url);
    let token = format!("{}/{TENANT}/oauth2/v2.0/token", caller.sim.azure_url);
    let waiting = caller
        .form(
            &start,
            "client_id=cli&scope=api%3A%2F%2Fvaultgate%2F.default",
        )
        .await
        .is(200)
        .json();
    let poll = format!(
        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code&client_id=cli&device_code={}",
        waiting["device_code"].as_str().unwrap()
    );
    assert_eq!(
        caller.form(&token, &poll).await.is(400).json()["error"],
        "authorization_pending"
    );
    caller
        .control(
            "POST",
            "device",
            json!({"user_code": waiting["user_code"], "persona": "operator"}),
        )
        .await
        .is(200);
    let minted = caller.form(&token, &poll).await.is(200).json();
    let issuer = caller.sim.idp_issuer_entra.clone();
    let claims = verified(
        &caller,
        &issuer,
        minted["access_token"].as_str().unwrap(),
        "api://vaultgate",
    )
    .await;
    assert_eq!(
        (&claims["azp"], &claims["idtyp"]),
        (&json!("cli"), &json!("user"))
    );
    caller.form(&token, &poll).await.is(400);
}

#[tokio::test]
async fn tokens_are_bent_and_keys_rotate_on_demand() {
    let caller = Caller::start().await;
    let bent = json!({"persona": "agent", "issuer": "oidc", "audience": "api://other", "lifetime": -10,
        "claims": {"jti": null, "act": {"sub": "x"}}, "header": {"kid": "es-9"}, "sign_with": "attacker-es"});
    let token = caller.control("POST", "token", bent).await.is(200).json()["access_token"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(header_of(&token)["kid"], "es-9");
    let claims: Value = serde_json::from_slice(
        &URL_SAFE_NO_PAD
            .decode(token.split('.').nth(1).unwrap())
            .unwrap(),
    )
    .unwrap();
    assert!(
        claims["exp"].as_i64().unwrap() < jiff::Timestamp::now().as_second()
            && claims.get("jti").is_none()
    );
    assert!(claims["nbf"].as_i64().unwrap() < claims["exp"].as_i64().unwrap());
    caller
        .control("POST", "token", json!({"persona": "nobody"}))
        .await
        .is(400);

    let jwks = format!("{}/oidc/jwks", caller.sim.azure_url);
    let kids = async || {
        let keys = caller.get(&jwks).await.is(200).json();
        keys["keys"]
            .as_array()
            .unwrap()
            .iter()
            .map(|key| key["kid"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(kids().await, ["rs-1", "es-1"]);
    caller
        .control("POST", "rotate", json!({"keep_old": true}))
        .await
        .is(200);
    assert_eq!(kids().await, ["rs-2", "es-2", "rs-1", "es-1"]);
    caller
        .control("POST", "jwks", json!({"issuer": "oidc", "state": "down"}))
        .await
        .is(200);
    caller.get(&jwks).await.is(503);
    caller
        .control(
            "POST",
            "jwks",
            json!({"issuer": "oidc", "state": "duplicate-kid-attacker-first"}),
        )
        .await
        .is(200);
    assert_eq!(kids().await.len(), 8);
    caller
        .control("POST", "jwks", json!({"issuer": "oidc", "state": "normal"}))
        .await
        .is(200);
    caller
        .control(
            "POST",
            "discovery",
            json!({"issuer": "oidc", "state": "issuer-mismatch"}),
        )
        .await
        .is(200);
    let document = caller
        .get(&format!(
            "{}/.well-known/openid-configuration",
            caller.sim.idp_issuer_oidc
        ))
        .await
        .is(200)
        .json();
    assert_eq!(document["issuer"], "https://evil.example");
}

#[tokio::test]
async fn the_azure_cli_finds_its_cloud() {
    let caller = Caller::start().await;
    let cloud = caller
        .get(&format!(
            "{}/metadata/endpoints?api-version=2022-09-01",
            caller.sim.azure_url
        ))
        .await
        .is(200)
        .json();
    assert_eq!(cloud["resourceManager"], caller.sim.azure_url.as_str());
    assert!(cloud["suffixes"].is_object() && cloud["authentication"]["audiences"][0].is_string());
    let other = "55555555-5555-5555-5555-555555555555";
    let document = caller
        .get(&format!(
            "{}/{other}/v2.0/.well-known/openid-configuration",
            caller.sim.azure_url
        ))
        .await
        .is(200)
        .json();
    let form = "grant_type=client_credentials&client_id=operator&client_secret=operator-secret&scope=https%3A%2F%2Fmanagement.azure.com%2F%2F.default";
    let token = caller
        .form(document["token_endpoint"].as_str().unwrap(), form)
        .await
        .is(200)
        .json();
    let issuer = caller.sim.idp_issuer_entra.clone();
    verified(
        &caller,
        &issuer,
        token["access_token"].as_str().unwrap(),
        "https://management.azure.com/",
    )
    .await;
}
