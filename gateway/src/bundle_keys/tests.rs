//! Signatures that hold, and all that do not.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};
use tempfile::TempDir;
use vaultgate_pdp::Bundle;

use super::{Algorithm, BundleKeys, SignatureError, sign};

fn bundle() -> Bundle {
    let path = Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/bundles/allow-deletes"
    ));
    Bundle::load(path).unwrap()
}

/// A key pair for ES256: the private key's file, and the public key.
fn pair(dir: &TempDir) -> (PathBuf, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let path = dir.path().join("key.pem");
    std::fs::write(&path, key.serialize_pem()).unwrap();
    (path, key.public_key_pem())
}

fn keys(public: &str, scope: Option<&str>) -> BundleKeys {
    let mut keys = BundleKeys::new(scope.map(str::to_owned));
    keys.add("k1", "ES256", public.as_bytes()).unwrap();
    keys
}

fn signed(key: &Path, id: &str, scope: Option<&str>) -> Bundle {
    let bundle = bundle();
    let text = sign(&bundle, key, "ES256", id, scope.map(str::to_owned)).unwrap();
    bundle.with_signatures(text)
}

/// The payload of a bundle's signature.
fn payload(bundle: &Bundle) -> Value {
    let text: Value = serde_json::from_str(bundle.signatures().unwrap()).unwrap();
    let token = text.pointer("/signatures/0").unwrap().as_str().unwrap();
    let part = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

fn resigned(key: &Path, payload: &Value) -> Bundle {
    let key = EncodingKey::from_ec_pem(&std::fs::read(key).unwrap()).unwrap();
    let mut header = Header::new(Algorithm::ES256);
    header.kid = Some("k1".to_owned());
    let token = jsonwebtoken::encode(&header, payload, &key).unwrap();
    bundle().with_signatures(json!({"signatures": [token]}).to_string())
}

#[test]
fn what_a_holder_of_the_key_signed_holds() {
    let dir = TempDir::new().unwrap();
    let (key, public) = pair(&dir);
    keys(&public, None)
        .verify(&signed(&key, "k1", None))
        .unwrap();
    keys(&public, Some("prod"))
        .verify(&signed(&key, "k1", Some("prod")))
        .unwrap();
    // And packed, and read again.
    let packed = signed(&key, "k1", None).to_tarball().unwrap();
    keys(&public, None)
        .verify(&Bundle::from_tarball(&packed).unwrap())
        .unwrap();
    BundleKeys::default().verify(&bundle()).unwrap();
}

#[test]
fn unsigned_unknown_and_out_of_scope_are_told_apart() {
    let dir = TempDir::new().unwrap();
    let (key, public) = pair(&dir);
    let told = |keys: &BundleKeys, bundle: &Bundle| keys.verify(bundle).unwrap_err();
    let good = signed(&key, "k1", None);
    assert!(matches!(
        told(&keys(&public, None), &bundle()),
        SignatureError::Unsigned
    ));
    assert!(matches!(
        told(&BundleKeys::default(), &good),
        SignatureError::NoKeys
    ));
    let other = signed(&key, "k2", None);
    assert!(matches!(
        told(&keys(&public, None), &other),
        SignatureError::UnknownKey(_)
    ));
    assert!(matches!(
        told(&keys(&public, Some("prod")), &good),
        SignatureError::Scope(_)
    ));
    let scoped = signed(&key, "k1", Some("test"));
    assert!(matches!(
        told(&keys(&public, Some("prod")), &scoped),
        SignatureError::Scope(_)
    ));
    assert!(matches!(
        told(&keys(&public, None), &scoped),
        SignatureError::Scope(_)
    ));
    let (_, foreign) = pair(&dir);
    assert!(matches!(
        told(&keys(&foreign, None), &good),
        SignatureError::Wrong(_)
    ));
}

#[test]
fn every_file_is_signed_as_it_is_and_nothing_else_is() {
    let dir = TempDir::new().unwrap();
    let (key, public) = pair(&dir);
    let good = payload(&signed(&key, "k1", None));
    keys(&public, None).verify(&resigned(&key, &good)).unwrap();
    type Change = fn(&mut Vec<Value>);
    let changes: [(&str, Change); 6] = [
        ("is not signed", |files| drop(files.pop())),
        ("signed and missing", |files| {
            files.push(json!({"name": "more.rego", "hash": "00", "algorithm": "SHA-256"}));
        }),
        ("signed twice", |files| {
            files.push(files.first().unwrap().clone())
        }),
        ("not what was signed", |files| {
            *files.first_mut().unwrap().get_mut("hash").unwrap() = json!("00");
        }),
        ("can be forged", |files| {
            *files.first_mut().unwrap().get_mut("algorithm").unwrap() = json!("SHA-1");
        }),
        ("can be forged", |files| {
            *files.first_mut().unwrap().get_mut("algorithm").unwrap() = json!("MD5");
        }),
    ];
    for (expected, change) in changes {
        let mut payload = good.clone();
        change(payload.get_mut("files").unwrap().as_array_mut().unwrap());
        let told = keys(&public, None)
            .verify(&resigned(&key, &payload))
            .unwrap_err();
        assert!(told.to_string().contains(expected), "{expected}: {told}");
    }
}

/// The token does not choose how it is verified.
#[test]
fn algorithms_that_anybody_could_use_are_none() {
    let dir = TempDir::new().unwrap();
    let (key, public) = pair(&dir);
    let good = payload(&signed(&key, "k1", None)).to_string();
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let unsigned = format!("{}.{}.", part(r#"{"alg":"none","kid":"k1"}"#), part(&good));
    let shared = EncodingKey::from_secret(public.as_bytes());
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some("k1".to_owned());
    let shared =
        jsonwebtoken::encode(&header, &payload(&signed(&key, "k1", None)), &shared).unwrap();
    for token in [unsigned, shared] {
        let bundle = bundle().with_signatures(json!({"signatures": [token]}).to_string());
        let told = keys(&public, None).verify(&bundle).unwrap_err();
        assert!(matches!(told, SignatureError::Algorithm(_)), "{told}");
    }
    for name in ["none", "HS256", "ES512", ""] {
        let added = BundleKeys::new(None).add("k", name, public.as_bytes());
        assert!(matches!(added, Err(SignatureError::Key(_))), "{name}");
    }
}

#[test]
fn what_is_no_signature_is_refused_and_not_stumbled_over() {
    let dir = TempDir::new().unwrap();
    let (_, public) = pair(&dir);
    for text in [
        "",
        "{",
        "[]",
        "{}",
        r#"{"signatures": []}"#,
        r#"{"signatures": ["a", "b"]}"#,
        r#"{"signatures": [7]}"#,
        r#"{"signatures": ["x"], "more": 1}"#,
        r#"{"signatures": ["..."]}"#,
        r#"{"signatures": ["e30.e30.e30"]}"#,
    ] {
        let told = keys(&public, None)
            .verify(&bundle().with_signatures(text.to_owned()))
            .unwrap_err();
        assert!(matches!(told, SignatureError::Form(_)), "{text}: {told}");
    }
}
