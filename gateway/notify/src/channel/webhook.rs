//! A receiver of signed JSON, as the Standard Webhooks specification says.
//!
//! The id and the body are the same at every attempt, so that a receiver can tell a
//! repetition; the timestamp, and with it the signature, is of the attempt, so that a
//! recorded request cannot be played back later. Never sends anything unsigned.

use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::HeaderName;
use jiff::Timestamp;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::ChannelError;
use crate::http::{Letter, Target};
use crate::notice::Notice;

/// What a secret begins with.
const PREFIX: &str = "whsec_";

/// A receiver of signed JSON.
pub struct Webhook {
    name: String,
    target: Target,
    // Boxed: its state is larger than all the other channels.
    key: Box<hmac::Key>,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook")
            .field("name", &self.name)
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

impl Webhook {
    pub(super) fn new(
        name: &str,
        target: Target,
        secret: &SecretString,
    ) -> Result<Webhook, ChannelError> {
        let key = key(secret).ok_or_else(|| ChannelError::Secret(name.to_owned()))?;
        Ok(Webhook {
            name: name.to_owned(),
            target,
            key: Box::new(key),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    pub(super) fn letter(&self, notice: &Notice, now: Timestamp) -> Letter<'_> {
        let id = notice.id.to_string();
        let timestamp = now.as_second().to_string();
        let body = body(notice).to_string().into_bytes();
        let signature = signature(&self.key, &id, &timestamp, &body);
        Letter {
            target: &self.target,
            headers: vec![
                (HeaderName::from_static("webhook-id"), id),
                (HeaderName::from_static("webhook-timestamp"), timestamp),
                (HeaderName::from_static("webhook-signature"), signature),
            ],
            body,
        }
    }
}

/// The key that a secret stands for. The specification wants 24 to 64 bytes: with fewer
/// a signature could be guessed.
fn key(secret: &SecretString) -> Option<hmac::Key> {
    let encoded = secret.expose_secret().strip_prefix(PREFIX)?;
    let bytes = Zeroizing::new(STANDARD.decode(encoded).ok()?);
    let long_enough = (24..=64).contains(&bytes.len());
    long_enough.then(|| hmac::Key::new(hmac::HMAC_SHA256, &bytes))
}

fn signature(key: &hmac::Key, id: &str, timestamp: &str, body: &[u8]) -> String {
    let mut signed = hmac::Context::with_key(key);
    for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
        signed.update(part);
    }
    format!("v1,{}", STANDARD.encode(signed.sign()))
}

fn body(notice: &Notice) -> Value {
    let facts = notice.facts.iter();
    let facts: Vec<Value> = facts
        .map(|(name, value)| json!({"name": name, "value": value}))
        .collect();
    json!({
        "type": notice.kind,
        "timestamp": notice.at.to_string(),
        "data": {
            "id": notice.id.to_string(),
            "title": notice.title,
            "text": notice.text,
            "facts": facts,
            "link": notice.link,
        },
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    /// The example of the specification's own libraries.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLjSw";

    fn webhook() -> Webhook {
        let target = Target::new(&SecretString::from("https://a.example/hook")).unwrap();
        Webhook::new("w", target, &SecretString::from(SECRET)).unwrap()
    }

    #[test]
    fn signatures_are_those_of_the_published_library() {
        // What `standardwebhooks` 1.0 of PyPI signs it with.
        let signed = signature(
            &webhook().key,
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "1614265330",
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signed, "v1,q6KMVIJHk4Gs770FfR5f591Ftx7uVJSGl5wHV1ri978=");
    }

    #[test]
    fn only_the_timestamp_and_signature_change_between_attempts() {
        let webhook = webhook();
        let mut notice = Notice::new("approval.asked", "a \"title\"\n", Timestamp::UNIX_EPOCH);
        notice.facts.push(("who".into(), "a@b.example".into()));
        let first = webhook.letter(&notice, Timestamp::from_second(100).unwrap());
        let second = webhook.letter(&notice, Timestamp::from_second(200).unwrap());
        assert_eq!(first.body, second.body);
        let id = (HeaderName::from_static("webhook-id"), notice.id.to_string());
        assert!(first.headers.contains(&id) && second.headers.contains(&id));
        let at = |letter: &Letter<'_>| letter.headers.get(1).cloned().unwrap().1;
        assert_eq!(at(&first), "100");
        assert_eq!(at(&second), "200");
        assert_ne!(first.headers.get(2), second.headers.get(2));
        let body: Value = serde_json::from_slice(&first.body).unwrap();
        assert_eq!(body.pointer("/type").unwrap(), "approval.asked");
        assert_eq!(body.pointer("/timestamp").unwrap(), "1970-01-01T00:00:00Z");
        assert_eq!(body.pointer("/data/title").unwrap(), "a \"title\"\n");
        assert_eq!(body.pointer("/data/facts/0/name").unwrap(), "who");
    }

    #[test]
    fn a_short_or_foreign_secret_is_refused() {
        let short = format!("{PREFIX}{}", STANDARD.encode([7_u8; 23]));
        let long = format!("{PREFIX}{}", STANDARD.encode([7_u8; 65]));
        let bare = STANDARD.encode([7_u8; 32]);
        for secret in [short, long, bare, "whsec_%%%".into(), String::new()] {
            assert!(key(&SecretString::from(secret)).is_none());
        }
    }
}
