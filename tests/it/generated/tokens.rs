//! Tokens: only one that is byte for byte as its issuer signed it, for this gateway and
//! now, opens anything.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};
use vaultgate_sim::{Issuer, TokenRequest};

use super::case::{Ask, Case, Expect, How};
use super::stage::Stage;
use crate::harness::VAULT;

use Expect::{Either, Passes, Refused};

/// Something wrong with what is signed.
#[derive(Clone, Debug)]
enum Bent {
    Header(Value),
    Claims(Value, Expect),
    Key(&'static str),
    Lifetime(i64),
}

/// Something wrong with the text, once it is signed.
#[derive(Clone, Debug)]
enum Text {
    /// Another character in a part.
    Flip(u8, Index, Index),
    /// A character less, or one more.
    Drop(Index),
    Insert(Index, &'static str),
    /// Another last character that stands for the same bytes to a lenient reader.
    Last(u8),
    Padded(u8),
    /// The parts in another number or order.
    Parts(u8),
    /// Another header over the same signature.
    Header(Value),
    /// Another claim under the same signature.
    Claim(Value),
    /// Signed within itself, as another's payload.
    Nested,
    Signature(u8),
}

/// How it is carried: name, text before, text after.
type Carried = (&'static str, &'static str, &'static str, Expect);

#[rustfmt::skip]
const CARRIED: [Carried; 16] = [
    ("authorization", "bearer ", "", Either), ("authorization", "BEARER ", "", Either),
    ("authorization", "Bearer  ", "", Either), ("authorization", "Bearer\t", "", Either),
    ("authorization", "Bearer ", " ", Either), ("authorization", "", "", Refused),
    ("authorization", "Basic ", "", Refused), ("authorization", "DPoP ", "", Refused),
    ("authorization", "Bearer Bearer ", "", Refused), ("authorization", "Bearer ", ",", Refused),
    ("authorization", "Bearer \"", "\"", Refused), ("authorization", "Bearer a, Bearer ", "", Refused),
    ("cookie", "authorization=Bearer ", "", Refused), ("x-authorization", "Bearer ", "", Refused),
    ("proxy-authorization", "Bearer ", "", Refused), ("x-ms-authorization-auxiliary", "Bearer ", "", Refused),
];

fn bent() -> BoxedStrategy<Bent> {
    let headers = vec![
        json!({"alg": "none"}),
        json!({"alg": "None"}),
        json!({"alg": "HS256"}),
        json!({"alg": "ES384"}),
        json!({"alg": "RS512"}),
        json!({"alg": ["ES256"]}),
        json!({"alg": 7}),
        json!({"alg": null}),
        json!({"alg": "es256"}),
        json!({"alg": "EdDSA"}),
        json!({"kid": null}),
        json!({"kid": ""}),
        json!({"kid": "../es-1"}),
        json!({"kid": "nobody"}),
        json!({"kid": ["es-1", "rs-1"]}),
        json!({"kid": 1}),
        json!({"kid": "k".repeat(300)}),
        json!({"typ": "dpop+jwt"}),
        json!({"typ": "logout+jwt"}),
        json!({"typ": 1}),
        json!({"crit": ["exp"]}),
        json!({"crit": []}),
        json!({"b64": false}),
        json!({"zip": "DEF"}),
        json!({"enc": "A256GCM"}),
        json!({"jku": "https://evil.example/jwks"}),
        json!({"x5u": "https://evil.example"}),
        json!({"x5c": ["MIIB"]}),
        json!({"jwk": {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}}),
    ];
    let claims = vec![
        (json!({"iss": "https://evil.example"}), Refused),
        (json!({"iss": null}), Refused),
        (json!({"iss": ["x"]}), Refused),
        (json!({"iss": {"a": 1}}), Refused),
        (json!({"iss": ""}), Refused),
        (json!({"aud": "api://other"}), Refused),
        (json!({"aud": null}), Refused),
        (json!({"aud": []}), Refused),
        (json!({"aud": {}}), Refused),
        (json!({"aud": "api://vaultgate-console"}), Refused),
        (json!({"aud": "API://vaultgate"}), Refused),
        (
            json!({"aud": ["api://vaultgate", "api://vaultgate-console"]}),
            Refused,
        ),
        (json!({"aud": 1}), Refused),
        (json!({"exp": null}), Refused),
        (json!({"exp": "9999999999"}), Refused),
        (json!({"exp": 1}), Refused),
        (json!({"exp": -1}), Refused),
        (json!({"exp": 1e30}), Refused),
        (json!({"exp": 99_999_999_999_u64}), Refused),
        (json!({"exp": [1]}), Refused),
        (json!({"exp": true}), Refused),
        (json!({"nbf": 9_999_999_999_u64}), Refused),
        (json!({"nbf": "0"}), Refused),
        (json!({"iat": 9_999_999_999_u64}), Refused),
        (json!({"iat": "x"}), Refused),
        (json!({"sub": null}), Refused),
        (json!({"sub": ""}), Refused),
        (json!({"sub": 7}), Refused),
        (json!({"sub": ["a"]}), Refused),
        (json!({"sub": "a\u{0}b"}), Refused),
        (json!({"sub": "s".repeat(600)}), Refused),
        (json!({"roles": "backup.operator "}), Refused),
        (json!({"roles": {"a": 1}}), Refused),
        (json!({"roles": null}), Refused),
        (json!({"roles": []}), Refused),
        (json!({"roles": ["Backup.Operator"]}), Refused),
        (json!({"act": {"sub": "x"}}), Refused),
        (json!({"cnf": {"jkt": "x"}}), Refused),
        (json!({"cnf": {"x5t#S256": "x"}}), Refused),
        (json!({"sub": "another"}), Passes),
        (json!({"harmless": {"a": [1]}}), Passes),
        (json!({"jti": "x"}), Passes),
    ];
    prop_oneof![
        3 => select(headers).prop_map(Bent::Header),
        4 => select(claims).prop_map(|(claims, expect)| Bent::Claims(claims, expect)),
        1 => select(vec!["attacker-es", "enc-1", "rs-1", "es-1"]).prop_map(Bent::Key),
        1 => select(vec![-3_600_i64, -600, 100_000, 10_000_000]).prop_map(Bent::Lifetime),
    ]
    .boxed()
}

fn text() -> BoxedStrategy<Text> {
    let place = any::<Index>;
    let pieces = vec![
        ".", "=", "A", "+", "/", "-", " ", "%2e", "\t", "\u{e9}", "\0", ",", "\"", "\\",
    ];
    let headers = vec![
        json!({"alg": "none"}),
        json!({"alg": "HS256"}),
        json!({"kid": "attacker-es"}),
        json!({"a": 1}),
        json!({"typ": null}),
    ];
    let claims = vec![
        json!({"sub": "admin"}),
        json!({"roles": ["backup.operator", "x"]}),
        json!({"exp": 4_102_444_800_u64}),
        json!({"a": 1}),
        json!({"nbf": 0}),
    ];
    prop_oneof![
        4 => (0..3_u8, place(), place()).prop_map(|(a, b, c)| Text::Flip(a, b, c)),
        1 => place().prop_map(Text::Drop),
        2 => (place(), select(pieces)).prop_map(|(a, b)| Text::Insert(a, b)),
        2 => (0..3_u8).prop_map(Text::Last),
        1 => (0..3_u8).prop_map(Text::Padded),
        2 => (0..9_u8).prop_map(Text::Parts),
        1 => select(headers).prop_map(Text::Header),
        1 => select(claims).prop_map(Text::Claim),
        1 => Just(Text::Nested),
        2 => (0..5_u8).prop_map(Text::Signature),
    ]
    .boxed()
}

pub(super) fn cases(stage: &Arc<Stage>) -> BoxedStrategy<Case> {
    let stage = Arc::clone(stage);
    let issuer = select(vec![Issuer::Oidc, Issuer::Oidc, Issuer::Entra]);
    let wrong = prop_oneof![
        1 => Just((None, None, None)),
        2 => bent().prop_map(|bent| (Some(bent), None, None)),
        3 => text().prop_map(|text| (None, Some(text), None)),
        1 => select(CARRIED.to_vec()).prop_map(|carried| (None, None, Some(carried))),
    ];
    (issuer, wrong, any::<bool>())
        .prop_map(move |(issuer, (bent, text, carried), http2)| {
            let mut expect = Passes;
            let mut token = minted(&stage, issuer, bent.as_ref(), &mut expect);
            if let Some(text) = &text {
                let good = token.clone();
                token = altered(&good, text);
                // Only the good token, byte for byte.
                expect = if token == good { Passes } else { Refused };
            }
            let (name, before, after, carried) =
                carried.unwrap_or(("authorization", "Bearer ", "", Passes));
            let target = format!("{VAULT}?api-version=2024-04-01");
            let mut ask = Ask::new(http2, "GET", target);
            ask.credentials = Some(vec![(
                name.to_owned(),
                format!("{before}{token}{after}").into_bytes(),
            )]);
            Case {
                how: How::Ask(ask),
                expect: expect.max(carried),
            }
        })
        .boxed()
}

/// A token as its issuer signs it, with what is wrong in it.
fn minted(stage: &Stage, issuer: Issuer, bent: Option<&Bent>, expect: &mut Expect) -> String {
    let mut request = TokenRequest::new("operator", issuer);
    *expect = if bent.is_some() { Refused } else { Passes };
    match bent {
        None => {}
        Some(Bent::Header(patch)) => request.header = Some(patch.clone()),
        Some(Bent::Claims(patch, expected)) => {
            request.claims = Some(patch.clone());
            *expect = *expected;
        }
        Some(Bent::Key(name)) => {
            request.sign_with = Some((*name).to_owned());
            let own = if issuer == Issuer::Oidc {
                "es-1"
            } else {
                "rs-1"
            };
            *expect = if *name == own { Passes } else { Refused };
        }
        Some(Bent::Lifetime(seconds)) => request.lifetime = Some(*seconds),
    }
    stage
        .world
        .sim
        .token(&request)
        .unwrap_or_else(|_| "no.such.key".to_owned())
}

fn altered(good: &str, text: &Text) -> String {
    let parts: Vec<&str> = good.split('.').collect();
    let [header, claims, signature] = parts.as_slice() else {
        return good.to_owned();
    };
    let patched = |part: &str, patch: &Value| {
        let bytes = URL_SAFE_NO_PAD.decode(part).unwrap_or_default();
        let mut value: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        for (name, new) in patch.as_object().into_iter().flatten() {
            if let Some(own) = value.as_object_mut() {
                own.insert(name.clone(), new.clone());
            }
        }
        URL_SAFE_NO_PAD.encode(value.to_string())
    };
    match text {
        Text::Flip(part, place, other) => {
            let mut parts: Vec<String> = parts.iter().map(|part| (*part).to_owned()).collect();
            let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
            if let Some(part) = parts.get_mut(usize::from(*part)) {
                let at = place.index(part.len());
                let new = alphabet
                    .get(other.index(64))
                    .copied()
                    .map(char::from)
                    .unwrap_or('A');
                part.replace_range(at..=at, &new.to_string());
            }
            parts.join(".")
        }
        Text::Drop(place) => {
            let mut token = good.to_owned();
            token.remove(place.index(good.len()));
            token
        }
        Text::Insert(place, piece) => {
            let mut token = good.to_owned();
            token.insert_str(place.index(good.len() + 1), piece);
            token
        }
        Text::Last(part) => {
            let mut parts: Vec<String> = parts.iter().map(|part| (*part).to_owned()).collect();
            if let Some(part) = parts.get_mut(usize::from(*part)) {
                let last = part.pop().map_or('A', |last| char::from(next(last)));
                part.push(last);
            }
            parts.join(".")
        }
        Text::Padded(count) => format!("{good}{}", "=".repeat(usize::from(*count) + 1)),
        Text::Parts(how) => match how {
            0 => format!("{header}.{claims}"),
            1 => format!("{header}.{claims}."),
            2 => format!("{good}."),
            3 => format!(".{good}"),
            4 => format!("{header}..{signature}"),
            5 => format!("{claims}.{header}.{signature}"),
            6 => format!("{header}.{claims}.{claims}.{signature}"),
            7 => format!("{good}.{signature}.{signature}"),
            _ => String::new(),
        },
        Text::Header(patch) => format!("{}.{claims}.{signature}", patched(header, patch)),
        Text::Claim(patch) => format!("{header}.{}.{signature}", patched(claims, patch)),
        Text::Nested => format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode(good)),
        Text::Signature(how) => {
            let bytes = URL_SAFE_NO_PAD.decode(signature).unwrap_or_default();
            let other = match how {
                0 => vec![0; bytes.len()],
                1 => bytes.iter().rev().copied().collect(),
                2 => [&bytes[..], &[0]].concat(),
                3 => [&[0], &bytes[..]].concat(),
                _ => bytes.iter().map(|byte| !byte).collect(),
            };
            format!("{header}.{claims}.{}", URL_SAFE_NO_PAD.encode(other))
        }
    }
}

/// The character whose last bits differ.
fn next(last: char) -> u8 {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let place = alphabet
        .iter()
        .position(|own| char::from(*own) == last)
        .unwrap_or(0);
    alphabet.get(place ^ 1).copied().unwrap_or(b'A')
}
