//! A scripted issuer: what it publishes, and what it was asked for.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use http::{Request, Response};
use serde_json::{Value, json};

use super::minting::key;
use crate::authn::fetch::FetchFault;

/// How one address answers.
#[derive(Clone)]
pub(in crate::authn) enum Answer {
    Json(Value),
    Status(u16),
    /// Never.
    Hang,
    /// This many bytes of JSON.
    Huge(usize),
    Html,
}

/// Every address that the scripted world has.
#[derive(Default)]
pub(in crate::authn) struct Provider {
    answers: Mutex<HashMap<String, Answer>>,
    asked: Mutex<Vec<String>>,
}

impl Provider {
    /// What the gateway's egress calls.
    pub(in crate::authn) async fn answer(
        &self,
        request: Request<Bytes>,
    ) -> Result<Response<Bytes>, FetchFault> {
        let address = request.uri().to_string();
        self.asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(address.clone());
        let answer = self.scripted(&address);
        // Concurrent callers get the chance to ask as well.
        tokio::task::yield_now().await;
        let json = |body: Vec<u8>| {
            Response::builder()
                .header("content-type", "application/json")
                .body(Bytes::from(body))
                .unwrap()
        };
        Ok(match answer {
            Answer::Json(value) => json(value.to_string().into_bytes()),
            Answer::Status(status) => {
                let moved = Response::builder()
                    .status(status)
                    .header("location", "https://elsewhere.example/");
                moved.body(Bytes::new()).unwrap()
            }
            Answer::Hang => std::future::pending().await,
            Answer::Huge(size) => {
                let filler =
                    json!({"kty": "RSA", "kid": "filler", "n": "A".repeat(size), "e": "AQAB"});
                json(json!({"keys": [filler]}).to_string().into_bytes())
            }
            Answer::Html => Response::builder()
                .header("content-type", "text/html")
                .body(Bytes::from_static(b"<html>"))
                .unwrap(),
        })
    }

    fn scripted(&self, address: &str) -> Answer {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.get(address).cloned().unwrap_or(Answer::Status(404))
    }

    pub(super) fn set(&self, address: &str, answer: Answer) {
        self.answers
            .lock()
            .unwrap()
            .insert(address.to_owned(), answer);
    }

    /// An honest discovery document, and these keys.
    pub(super) fn honest(&self, issuer: &str, keys: &[&str]) {
        self.set(
            &discovery(issuer),
            Answer::Json(document(issuer, &jwks(issuer))),
        );
        self.publish(issuer, keys);
    }

    pub(super) fn publish(&self, issuer: &str, keys: &[&str]) {
        let keys: Vec<&Value> = keys.iter().map(|name| &key(name).jwk).collect();
        self.set(&jwks(issuer), Answer::Json(json!({"keys": keys})));
    }

    /// How often the key set was asked for.
    pub(super) fn fetches(&self, issuer: &str) -> usize {
        self.asked()
            .iter()
            .filter(|address| **address == jwks(issuer))
            .count()
    }

    pub(super) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

pub(super) fn discovery(issuer: &str) -> String {
    format!("{issuer}/.well-known/openid-configuration")
}

pub(super) fn jwks(issuer: &str) -> String {
    format!("{issuer}/jwks")
}

pub(super) fn document(issuer: &str, jwks: &str) -> Value {
    json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "jwks_uri": jwks,
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
    })
}
