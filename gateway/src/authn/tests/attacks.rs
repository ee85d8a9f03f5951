//! Every case of the corpus of attacks on signed tokens.
//!
//! Each case patches a good token, breaks its signature or its bytes, or its
//! issuer. Controls stand among them, so that refusing everything fails as well.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use serde::Deserialize;
use serde_json::{Value, json};

use super::minting::{Minted, base64url, key, now};
use super::provider::{Answer, discovery, document, jwks};
use super::{AUDIENCE, ISSUER, World};

const CORPUS: &str = include_str!("../../../../tests/data/corpora/jwt_attacks.json");
const CANARY: &str = "9";

#[derive(Deserialize)]
struct Corpus {
    base: Base,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Base {
    header: Value,
    claims: Value,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    expected: String,
    #[serde(default)]
    header: Value,
    #[serde(default)]
    claims: Value,
    #[serde(default)]
    sign: Value,
    #[serde(default)]
    raw: Value,
    #[serde(default)]
    setup: Value,
    #[serde(default)]
    transport: Value,
}

/// Fills in the corpus's placeholders.
fn filled(value: &Value) -> Value {
    match value {
        Value::String(text) => filled_text(text),
        Value::Array(all) => all.iter().map(filled).collect(),
        Value::Object(all) => all
            .iter()
            .map(|(name, value)| (name.clone(), filled(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

fn filled_text(text: &str) -> Value {
    if let Some(offset) = text.strip_prefix("$NOWMS") {
        return json!(now() * 1_000 + offset.parse::<i64>().unwrap());
    }
    if let Some(offset) = text.strip_prefix("$NOW") {
        return match offset.parse::<i64>() {
            _ if offset.is_empty() => json!(now()),
            Ok(offset) => json!(now() + offset),
            Err(_) => json!(now() as f64 + offset.parse::<f64>().unwrap()),
        };
    }
    if let Some(repeat) = text.strip_prefix("$REPEAT:") {
        let (what, times) = repeat.split_once(':').unwrap();
        return json!(what.repeat(times.parse().unwrap()));
    }
    if let Some(named) = text.strip_prefix("$JWK:") {
        let (name, kid) = named.split_once(":kid=").unwrap();
        let mut jwk = key(name).jwk.clone();
        jwk["kid"] = json!(kid);
        return jwk;
    }
    json!(in_text(text))
}

/// The placeholders within a longer text.
fn in_text(text: &str) -> String {
    let mut text = text
        .replace("$ISSUPPER", &ISSUER.to_uppercase())
        .replace("$ISS", ISSUER)
        .replace("$AUDUPPER", &AUDIENCE.to_uppercase())
        .replace("$AUD", AUDIENCE)
        .replace("$UUID", "8c5b4d1e-0000-4000-8000-000000000001")
        .replace("$CANARY", CANARY);
    for offset in [300, 0] {
        let sum = (now() + offset).to_string();
        text = text.replace(
            &if offset == 0 {
                "$NOW".to_owned()
            } else {
                format!("$NOW+{offset}")
            },
            &sum,
        );
    }
    text
}

fn patched(base: &Value, patch: &Value) -> Value {
    let mut all = base.as_object().unwrap().clone();
    for (name, value) in patch.as_object().into_iter().flatten() {
        match value.as_str() {
            Some("$DEL") => drop(all.remove(name)),
            _ => drop(all.insert(name.clone(), value.clone())),
        }
    }
    filled(&Value::Object(all))
}

/// What is written into the token for a document.
fn written(document: &Value) -> String {
    let text = document.to_string();
    text.replace(
        "\"$NEST:10000\"",
        &format!("{}{}", "[".repeat(10_000), "]".repeat(10_000)),
    )
}

fn token(corpus: &Corpus, case: &Case) -> String {
    let mut header = patched(&corpus.base.header, &case.header);
    if let Some(replaced) = case.raw.get("header") {
        header = filled(replaced);
    }
    let claims = patched(&corpus.base.claims, &case.claims);
    let text = |name: &str| case.raw.get(name).and_then(Value::as_str).map(in_text);
    let header = text("header_json").unwrap_or_else(|| written(&header));
    let payload = text("payload_json").unwrap_or_else(|| written(&claims));
    let mut payload = payload.into_bytes();
    if text("payload_prefix_hex").is_some() {
        payload.splice(..0, [0xef, 0xbb, 0xbf]);
    }
    payload.extend(text("payload_suffix").unwrap_or_default().bytes());
    let message = format!("{}.{}", base64url(&header), base64url(&payload));
    let signature = signature(&case.sign, &message);
    transformed(case, &header, &payload, &message, &signature)
}

fn signature(sign: &Value, message: &str) -> String {
    let of = |name: &str| sign.get(name).and_then(Value::as_str);
    let named = of("key").unwrap_or("es-1");
    let algorithm: Algorithm = of("alg").unwrap_or("ES256").parse().unwrap();
    let made = match named.split_once(':') {
        None => crypto::sign(message.as_bytes(), &key(named).encoding, algorithm),
        Some((how, what)) => {
            let secret = match how {
                "der-of" => key(what).public_der.clone(),
                "pem-of" => key(what).public_pem.clone().into_bytes(),
                "pem-nonl-of" => key(what).public_pem.trim_end().as_bytes().to_vec(),
                "text" => what.as_bytes().to_vec(),
                "hex" => Vec::new(),
                other => panic!("unknown kind of key `{other}`"),
            };
            crypto::sign(
                message.as_bytes(),
                &EncodingKey::from_secret(&secret),
                algorithm,
            )
        }
    }
    .unwrap();
    match of("sig") {
        None => made,
        Some("empty") => String::new(),
        Some("zeros") => base64url([0; 64]),
        Some("der") => base64url(der(&URL_SAFE_NO_PAD.decode(made).unwrap())),
        Some(other) => panic!("unknown signature trick `{other}`"),
    }
}

/// R and S as an ASN.1 sequence.
fn der(raw: &[u8]) -> Vec<u8> {
    let integer = |half: &[u8]| {
        let mut bytes = vec![0];
        bytes.extend_from_slice(half);
        [vec![2, bytes.len() as u8], bytes].concat()
    };
    let body = [integer(&raw[..32]), integer(&raw[32..])].concat();
    [vec![0x30, body.len() as u8], body].concat()
}

fn transformed(
    case: &Case,
    header: &str,
    payload: &[u8],
    message: &str,
    signature: &str,
) -> String {
    let swapped = |text: &str, change: &str| {
        let (name, value) = change.split_once('=').unwrap();
        let mut document: Value = serde_json::from_str(text).unwrap();
        document[name] = json!(value);
        base64url(document.to_string())
    };
    if case.raw.get("parts").is_some() {
        return format!("{}.AAAA.AAAA.AAAA.AAAA", base64url(header));
    }
    let Some(transform) = case.raw.get("transform").and_then(Value::as_str) else {
        return format!("{message}.{signature}");
    };
    match transform.split_once(':') {
        Some(("replace-payload", change)) => {
            let payload = swapped(std::str::from_utf8(payload).unwrap(), change);
            format!("{}.{payload}.{signature}", base64url(header))
        }
        Some(("replace-header", change)) => {
            format!(
                "{}.{}.{signature}",
                swapped(header, change),
                base64url(payload)
            )
        }
        _ if transform == "drop-third-part" => message.to_owned(),
        _ if transform == "pad-parts" => {
            let padded = |text: &str| format!("{text}{}", "=".repeat((4 - text.len() % 4) % 4));
            let parts: Vec<String> = message.split('.').chain([signature]).map(padded).collect();
            let parts = parts.join(".");
            assert!(parts.contains('='));
            parts
        }
        _ => panic!("unknown transformation `{transform}`"),
    }
}

/// Brings the issuer into the state of a case.
fn prepare(world: &World, setup: &Value) {
    let keys =
        |extra: Value| Answer::Json(json!({"keys": [key("es-1").jwk, key("rs-1").jwk, extra]}));
    match (
        setup.get("jwks").and_then(Value::as_str),
        setup.get("idp").and_then(Value::as_str),
    ) {
        (Some("duplicate-kid-attacker-second"), _) => {
            let mut second = key("attacker-es").jwk.clone();
            second["kid"] = json!("es-1");
            world.provider.set(&jwks(ISSUER), keys(second));
        }
        (Some("add-garbage-key"), _) => world.provider.set(&jwks(ISSUER), keys(json!({"kty": 7}))),
        (_, Some("hang")) => world.provider.set(&jwks(ISSUER), Answer::Hang),
        (_, Some("jwks=10MiB")) => world.provider.set(&jwks(ISSUER), Answer::Huge(10 << 20)),
        (_, Some(other)) => {
            let evil = other.strip_prefix("issuer=").unwrap();
            world.provider.set(
                &discovery(ISSUER),
                Answer::Json(document(evil, &jwks(ISSUER))),
            );
        }
        _ => {}
    }
}

/// The headers that a case sends, with its tokens filled in.
fn headers(case: &Case, token: &str) -> Vec<(String, String)> {
    if case.transport.is_null() {
        return vec![("authorization".into(), format!("Bearer {token}"))];
    }
    let bad = Minted::honest().key("attacker-es").sign();
    let sent = case.transport.get("headers").and_then(Value::as_array);
    let pair = |pair: &Value| {
        let value = pair[1]
            .as_str()
            .unwrap()
            .replace("$GOOD", token)
            .replace("$BAD", &bad);
        (pair[0].as_str().unwrap().to_lowercase(), value)
    };
    sent.into_iter().flatten().map(pair).collect()
}

#[tokio::test(start_paused = true)]
async fn every_attack_of_the_corpus_is_refused_and_every_control_passes() {
    let corpus: Corpus = serde_json::from_str(CORPUS).unwrap();
    assert_eq!(corpus.cases.len(), 87);
    for case in &corpus.cases {
        let name = &case.name;
        let world = World::new();
        world
            .provider
            .honest(ISSUER, &["es-1", "rs-1", "enc-1", "ops-1"]);
        if case.expected.contains("keep old keys") {
            assert_eq!(
                world.code(&Minted::honest().sign()).await,
                "accepted",
                "{name}"
            );
            world.clock.advance(Duration::from_secs(11));
        }
        prepare(&world, &case.setup);
        let token = token(&corpus, case);
        let sent = headers(case, &token);
        let sent: Vec<(&str, &str)> = sent.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let began = tokio::time::Instant::now();
        let result = world.headers(&sent).await;
        judge(&world, case, began.elapsed(), result).await;
        let own = [discovery(ISSUER), jwks(ISSUER)];
        for asked in world.provider.asked() {
            assert!(own.contains(&asked), "{name}: asked for `{asked}`");
        }
    }
}

async fn judge(
    world: &World,
    case: &Case,
    took: Duration,
    result: Result<super::Authenticated, super::AuthnError>,
) {
    let name = &case.name;
    match (case.expected.as_str(), result) {
        (expected, Err(error)) if expected.starts_with("401") => {
            assert_eq!(error.status(), 401, "{name}: {error}");
            assert!(
                error.code().starts_with("token-"),
                "{name}: {}",
                error.code()
            );
        }
        ("refuse provider", Err(error)) => assert_eq!(error.code(), "issuer-degraded", "{name}"),
        (expected, Err(error)) if expected.starts_with("<=5 s") => {
            assert_eq!(error.status(), 503, "{name}");
            assert!(took <= Duration::from_secs(5), "{name}: {took:?}");
        }
        ("bounded memory, keep old keys", Ok(_)) => {
            let unknown = Minted::honest().header(json!({"kid": "es-9"})).sign();
            assert_eq!(world.code(&unknown).await, "issuer-degraded", "{name}");
            let other = Minted::honest().claims(json!({"jti": "other"})).sign();
            assert_eq!(world.code(&other).await, "accepted", "{name}");
        }
        ("accept-with-no-role", Ok(caller)) => {
            assert_eq!(caller.principal.roles, Vec::<String>::new(), "{name}");
        }
        ("accept-as-different-principal", Ok(caller)) => {
            let plain = world.bearer(&Minted::honest().sign()).await.unwrap();
            assert_ne!(caller.principal.key(), plain.principal.key(), "{name}");
        }
        ("accept" | "strip-or-403" | "each token is judged by its own full bytes", Ok(_)) => {}
        (expected, Ok(_)) => panic!("{name}: accepted, but expected `{expected}`"),
        (expected, Err(error)) => panic!("{name}: {error}, but expected `{expected}`"),
    }
}
