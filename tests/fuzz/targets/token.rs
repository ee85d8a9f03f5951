//! Tokens and proofs: nothing is believed that the key did not sign, and what it did
//! sign is believed only as it stands.
//!
//! The first character chooses who signs what; then comes a header value, or header
//! and claims on a line each, or changes of a good token.
#![no_main]

use std::cell::{Cell, RefCell};
use std::sync::LazyLock;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};
use vaultgate::fuzzing::{Door, object};
use vaultgate_fuzz::edits;
use vaultgate_fuzz::json_reader::oddities;

const NOW: i64 = 1_795_402_800;
const ORIGIN: &str = "https://gateway.example";
const PATH: &str = "/subscriptions/s/resourceGroups/rg1";
const AUDIENCE: &str = "https://gateway.example/";
const CONSOLE: &str = "https://console.example";
const TENANT: &str = "https://login.microsoftonline.com/11111111-1111-1111-1111-111111111111/v2.0";
const ISSUER: &str = "https://issuer.example/realm";
const ISSUERS: &str = r#"
[[issuer]]
name = "generic"
issuer = "https://issuer.example/realm"
jwks_uri = "https://issuer.example/realm/jwks"
audiences = ["https://gateway.example/"]
console_audiences = ["https://console.example"]
algorithms = ["EdDSA", "ES256"]
asserts_actors = true
asserts_flows = true
dpop = "optional"
claims = { person = "person", kind = "vg_kind", flow = "flow" }
[[issuer]]
name = "entra"
preset = "entra-v2"
tenant = "11111111-1111-1111-1111-111111111111"
jwks_uri = "https://login.example.com/keys"
audiences = ["https://gateway.example/"]
console_audiences = ["https://console.example"]
algorithms = ["EdDSA"]
app = [{ id = "agent", kind = "human" }]
"#;

/// A key whose private half is nowhere, and a token that it signed.
const ES_JWK: &str = r#"{"kty":"EC","crv":"P-256","kid":"es-1","use":"sig","alg":"ES256","x":"HhhTL9R1TALzBB2cdc6zO4P_2BrHzk_ogsyxyYvFiW4","y":"pGwxHE4v9A3ZajZT5uRURdMt_khuztdcepDGoYiBwKM"}"#;
const ES_TOKEN: &str = "eyJhbGciOiAiRVMyNTYiLCAidHlwIjogImF0K2p3dCIsICJraWQiOiAiZXMtMSJ9.eyJpc3MiOiAiaHR0cHM6Ly9pc3N1ZXIuZXhhbXBsZS9yZWFsbSIsICJhdWQiOiAiaHR0cHM6Ly9nYXRld2F5LmV4YW1wbGUvIiwgInN1YiI6ICJhZ2VudC0xIiwgImNsaWVudF9pZCI6ICJhZ2VudCIsICJpYXQiOiAxNzk1NDAyODAwLCAibmJmIjogMTc5NTQwMjgwMCwgImV4cCI6IDE3OTU0MDMxMDAsICJqdGkiOiAiaWQtMSIsICJyb2xlcyI6IFsiQmFja3VwQWdlbnQiXX0.H18OvpBeyDQbq-Q5Bi718Docj5ERbXKH1HiE4NYOoC2s1-5beLkjG36y7bt9tAyzb5fLRJZ9SYpfkGv5B0KGzA";
const HEADER: &str = r#"{"alg":"EdDSA","typ":"at+jwt","kid":"ed-1"}"#;

/// Keys of bytes that are all the same.
struct Keys {
    issuer: Ed25519KeyPair,
    stranger: Ed25519KeyPair,
    proof: Ed25519KeyPair,
    jwks: String,
    /// Tokens that are good: free, and bound to the proof key.
    free: String,
    bound: String,
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let pair = |seed: u8| Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
    let (issuer, proof) = (pair(1), pair(3));
    let ed = format!(
        r#"{{"kty":"OKP","crv":"Ed25519","kid":"ed-1","use":"sig","x":"{}"}}"#,
        public(&issuer)
    );
    let claims = |more: &str| {
        format!(
            r#"{{"iss":"{ISSUER}","aud":"{AUDIENCE}","sub":"agent-1","client_id":"agent","iat":{NOW},"exp":{}{more}}}"#,
            NOW + 300
        )
    };
    let print = format!(
        r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#,
        public(&proof)
    );
    let bound = format!(r#","cnf":{{"jkt":"{}"}}"#, sha256(print.as_bytes()));
    Keys {
        free: token(HEADER, &claims(""), &issuer),
        bound: token(HEADER, &claims(&bound), &issuer),
        jwks: format!(r#"{{"keys":[{ed},{ES_JWK}]}}"#),
        issuer,
        stranger: pair(2),
        proof,
    }
});

thread_local! {
    static DOOR: RefCell<Option<Door>> = const { RefCell::new(None) };
    static ASKED: Cell<u32> = const { Cell::new(0) };
}

fuzz_target!(init: the_good_ones_pass(), |data: &[u8]| {
    let Some((mode, rest)) = data.split_first() else {
        return;
    };
    let text = std::str::from_utf8(rest).ok();
    match (mode, text) {
        (b'0', _) => drop(refused_or(rest, None, &[&KEYS.free, ES_TOKEN])),
        (b'1', Some(text)) => signed(text),
        (b'2', Some(text)) => forged(text, |message| KEYS.stranger.sign(message).as_ref().to_vec()),
        (b'3', _) => changed(ES_TOKEN, rest),
        (b'4', _) => changed(&KEYS.free, rest),
        (b'5', Some(text)) => proven(text),
        (b'6', Some(text)) => stolen(text),
        (b'7', Some(text)) => public_key_as_secret(text),
        (b'8', _) => strict(rest),
        (b'9', _) => changed_proof(rest),
        _ => {}
    }
});

fn public(pair: &Ed25519KeyPair) -> String {
    URL_SAFE_NO_PAD.encode(pair.public_key().as_ref())
}

fn sha256(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, bytes))
}

fn message(header: &str, claims: &str) -> String {
    format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(claims)
    )
}

fn token(header: &str, claims: &str, pair: &Ed25519KeyPair) -> String {
    let message = message(header, claims);
    let signature = URL_SAFE_NO_PAD.encode(pair.sign(message.as_bytes()));
    format!("{message}.{signature}")
}

/// Asks the door. A new one from time to time: it counts addresses and used proofs.
fn ask(headers: &[(&'static str, &[u8])]) -> Result<vaultgate_pdp::Principal, &'static str> {
    DOOR.with_borrow_mut(|door| {
        let asked = ASKED.replace(ASKED.get() + 1);
        if asked % 8_000 == 0 {
            *door = Some(Door::new(ISSUERS, ORIGIN, &KEYS.jwks, NOW).unwrap());
        }
        door.as_ref().unwrap().ask(PATH, headers)
    })
}

fn the_good_ones_pass() {
    for token in [&KEYS.free, ES_TOKEN] {
        let asked = ask(&[("authorization", format!("Bearer {token}").as_bytes())]);
        assert_eq!(asked.map(|caller| caller.subject), Ok("agent-1".to_owned()));
    }
    let proof = proof(
        r#"{"alg":"EdDSA","typ":"dpop+jwt","jwk":$JWK}"#,
        PROOF,
        &KEYS.proof,
    );
    let bound = format!("DPoP {}", KEYS.bound);
    let asked = ask(&[
        ("authorization", bound.as_bytes()),
        ("dpop", proof.as_bytes()),
    ]);
    assert!(asked.is_ok(), "{asked:?}");
}

/// A header value of the fuzzer's own, which opens the door with these tokens alone.
fn refused_or(value: &[u8], proof: Option<&[u8]>, good: &[&str]) -> bool {
    let mut headers = vec![("authorization", value)];
    headers.extend(proof.map(|proof| ("dpop", proof)));
    let Ok(caller) = ask(&headers) else {
        return false;
    };
    let told = String::from_utf8_lossy(value);
    let token = told.split(' ').next_back().unwrap_or_default();
    assert!(good.contains(&token), "{told}: {caller:?}");
    true
}

/// Whatever the issuer signs: what is believed is in it, once, and is as it should be.
fn signed(text: &str) {
    let (header, claims) = text.split_once('\n').unwrap_or((text, "{}"));
    let token = token(header, claims, &KEYS.issuer);
    let Ok(caller) = ask(&[("authorization", format!("Bearer {token}").as_bytes())]) else {
        return;
    };
    let told = || format!("{header} {claims}: {caller:?}");
    let read = |text: &str| {
        assert!(
            oddities(text).is_some_and(|found| !found.same),
            "{}",
            told()
        );
        serde_json::from_str::<Map<String, Value>>(text).unwrap()
    };
    let (header, claims) = (read(header), read(claims));
    assert_eq!(
        (header["alg"].as_str(), header["kid"].as_str()),
        (Some("EdDSA"), Some("ed-1"))
    );
    for never in ["crit", "jwk", "jku", "x5u", "x5c", "enc", "zip", "b64"] {
        assert!(!header.contains_key(never), "{}", told());
    }
    let issuer = claims["iss"].as_str().unwrap();
    assert!(
        [ISSUER, TENANT].contains(&issuer) && caller.issuer == issuer,
        "{}",
        told()
    );
    let audiences = match &claims["aud"] {
        Value::Array(all) => all.iter().map(|one| one.as_str().unwrap()).collect(),
        one => vec![one.as_str().unwrap()],
    };
    let names = |audience: &str| {
        let bare = audience.trim_end_matches('/');
        audiences
            .iter()
            .any(|one| one.strip_suffix('/').unwrap_or(one) == bare)
    };
    assert!(names(AUDIENCE) && !names(CONSOLE), "{}", told());
    let seconds = |name: &str| claims.get(name).map(|value| value.as_f64().unwrap());
    let (now, issued, ends) = (NOW as f64, seconds("iat").unwrap(), seconds("exp").unwrap());
    assert!(ends + 30.0 > now && issued <= now + 30.0, "{}", told());
    assert!(
        ends - issued <= 7_200.0 && seconds("nbf").is_none_or(|at| at <= now + 30.0),
        "{}",
        told()
    );
    if issuer == ISSUER {
        assert_eq!(
            claims["sub"].as_str(),
            Some(caller.subject.as_str()),
            "{}",
            told()
        );
        assert!(
            !claims.contains_key("cnf") || claims["cnf"].is_object(),
            "{}",
            told()
        );
    }
    let given: Vec<&str> = match claims.get("roles") {
        Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    assert!(
        caller
            .roles
            .iter()
            .all(|role| given.contains(&role.as_str())),
        "{}",
        told()
    );
    let texts = [&caller.roles, &caller.groups, &caller.scopes]
        .into_iter()
        .flatten();
    let texts = texts
        .chain([&caller.subject])
        .chain(&caller.person)
        .chain(&caller.app);
    for text in texts.chain(&caller.tenant).chain(&caller.flow) {
        assert!(
            text.len() <= 512 && !text.chars().any(char::is_control),
            "{}",
            told()
        );
    }
    assert!(
        !caller.subject.is_empty() && caller.actors.len() <= 8,
        "{}",
        told()
    );
    // A token that is bound is none without its proof.
    assert!(!claims.contains_key("cnf"), "{}", told());
}

/// The same, signed by somebody else: never.
fn forged(text: &str, sign: impl Fn(&[u8]) -> Vec<u8>) {
    let (header, claims) = text.split_once('\n').unwrap_or((text, "{}"));
    let message = message(header, claims);
    let signature = URL_SAFE_NO_PAD.encode(sign(message.as_bytes()));
    let asked = ask(&[(
        "authorization",
        format!("Bearer {message}.{signature}").as_bytes(),
    )]);
    assert!(asked.is_err(), "{text}: {asked:?}");
}

/// What is public is no secret to sign with, in whatever form.
fn public_key_as_secret(text: &str) {
    let x = KEYS.issuer.public_key().as_ref().to_vec();
    for secret in [
        &b""[..],
        &x,
        public(&KEYS.issuer).as_bytes(),
        KEYS.jwks.as_bytes(),
    ] {
        for (name, algorithm) in [("HS256", hmac::HMAC_SHA256), ("HS512", hmac::HMAC_SHA512)] {
            let text = text.replace("EdDSA", name);
            let key = hmac::Key::new(algorithm, secret);
            forged(&text, |message| hmac::sign(&key, message).as_ref().to_vec());
        }
    }
}

/// A good token with other bytes is no token.
fn changed(good: &str, data: &[u8]) {
    let mut bytes = good.as_bytes().to_vec();
    edits::read(data).for_each(|edit| edit.apply(&mut bytes));
    let value = [b"Bearer ", bytes.as_slice()].concat();
    let taken = refused_or(&value, None, &[good]);
    assert!(
        taken || bytes != good.as_bytes(),
        "the good token is refused"
    );
}

const PROOF: &str = r#"{"jti":"p","htm":"POST","htu":"$HTU","ath":"$ATH","iat":1795402800}"#;

/// A proof, `$JWK`, `$HTU` and `$ATH` filled in.
fn proof(header: &str, claims: &str, pair: &Ed25519KeyPair) -> String {
    let jwk = format!(
        r#"{{"kty":"OKP","crv":"Ed25519","x":"{}"}}"#,
        public(&KEYS.proof)
    );
    let header = header.replace("$JWK", &jwk);
    let claims = claims.replace("$HTU", &format!("{ORIGIN}{PATH}"));
    token(
        &header,
        &claims.replace("$ATH", &sha256(KEYS.bound.as_bytes())),
        pair,
    )
}

fn shown(proof: &[u8]) -> bool {
    let bound = format!("DPoP {}", KEYS.bound);
    refused_or(bound.as_bytes(), Some(proof), &[&KEYS.bound])
}

/// Whatever the proof's key signs: what is taken is about this request, now.
fn proven(text: &str) {
    let (header, claims) = text.split_once('\n').unwrap_or((text, PROOF));
    let proof = proof(header, claims, &KEYS.proof);
    if !shown(proof.as_bytes()) {
        return;
    }
    let part = |n: usize| {
        let part = URL_SAFE_NO_PAD
            .decode(proof.split('.').nth(n).unwrap())
            .unwrap();
        let text = String::from_utf8(part).unwrap();
        assert!(oddities(&text).is_some_and(|found| !found.same), "{text}");
        serde_json::from_str::<Map<String, Value>>(&text).unwrap()
    };
    let (header, claims) = (part(0), part(1));
    assert_eq!(
        (header["typ"].as_str(), header["alg"].as_str()),
        (Some("dpop+jwt"), Some("EdDSA"))
    );
    assert_eq!(
        header["jwk"]["x"].as_str(),
        Some(public(&KEYS.proof).as_str())
    );
    assert!(header["jwk"].get("d").is_none(), "{text}");
    assert_eq!(claims["htm"].as_str(), Some("POST"));
    assert_eq!(
        claims["ath"].as_str(),
        Some(sha256(KEYS.bound.as_bytes()).as_str())
    );
    assert!(
        (claims["iat"].as_f64().unwrap() - NOW as f64).abs() <= 90.0,
        "{text}"
    );
    assert!(
        claims["jti"].as_str().is_some_and(|id| !id.is_empty()),
        "{text}"
    );
    assert!(claims["htu"].is_string(), "{text}");
}

/// Without the proof's key: never.
fn stolen(text: &str) {
    let (header, claims) = text.split_once('\n').unwrap_or((text, PROOF));
    let own = format!(
        r#"{{"kty":"OKP","crv":"Ed25519","x":"{}"}}"#,
        public(&KEYS.stranger)
    );
    for header in [header, &header.replace("$JWK", &own)] {
        let proof = proof(header, claims, &KEYS.stranger);
        assert!(!shown(proof.as_bytes()), "{text}");
    }
    assert!(ask(&[("authorization", format!("Bearer {}", KEYS.bound).as_bytes())]).is_err());
}

/// A proof with other bytes is none; the good one was used up at the start.
fn changed_proof(data: &[u8]) {
    let good = proof(
        r#"{"alg":"EdDSA","typ":"dpop+jwt","jwk":$JWK}"#,
        PROOF,
        &KEYS.proof,
    );
    let mut bytes = good.as_bytes().to_vec();
    edits::read(data).for_each(|edit| edit.apply(&mut bytes));
    assert!(
        !shown(&bytes) || bytes == good.as_bytes(),
        "{:?}",
        String::from_utf8_lossy(&bytes)
    );
}

/// Objects are those that `serde_json` reads, but for a name that stands twice.
fn strict(data: &[u8]) {
    let theirs: Option<Map<String, Value>> = serde_json::from_slice(data).ok();
    let found = std::str::from_utf8(data).ok().and_then(oddities);
    let twice = found.is_some_and(|found| found.same);
    match (object(data), theirs) {
        (Some(ours), theirs) => assert!(!twice && Some(ours) == theirs),
        (None, Some(theirs)) => assert!(twice, "refused for nothing: {theirs:?}"),
        (None, None) => {}
    }
}
