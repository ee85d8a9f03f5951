//! Tokens for the gateway: where they come from, and how long they are kept.
//!
//! Never for Azure: what is asked for is the gateway's audience. A token is fetched for the next
//! call, kept in memory until four fifths of its life are over, and written nowhere.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, StatusCode};
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::http::Http;

/// How long an assertion of ours is good for.
const ASSERTED: Duration = Duration::from_secs(300);

/// Where tokens come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// The identity of the machine or service, without a secret.
    ManagedIdentity {
        /// The metadata service, or `IDENTITY_ENDPOINT`.
        endpoint: String,
        /// What `IDENTITY_HEADER` said, if there is one.
        header: Option<SecretString>,
        /// The identity, where the machine has several.
        client_id: Option<String>,
        /// The gateway's audience.
        resource: String,
    },
    /// A client of a token service.
    Client {
        /// The token service.
        token_url: String,
        /// The client.
        client_id: String,
        /// What is asked for: the gateway's.
        scope: String,
        /// How the client proves who it is.
        proof: Proof,
    },
}

/// How a client proves who it is. Files are read for each token, so that what was rotated counts.
#[derive(Clone, Debug)]
pub enum Proof {
    /// A secret in a file, as a Key Vault mount writes it.
    SecretFile(PathBuf),
    /// A token in a file, as workload identity writes it.
    TokenFile(PathBuf),
    /// A key in a file, with which an assertion is signed.
    KeyFile {
        /// The key, PEM.
        file: PathBuf,
        /// Its id.
        key_id: String,
    },
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// A file cannot be read.
    #[error("`{file}` cannot be read: {error}")]
    File {
        /// The file.
        file: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A key signs nothing.
    #[error("the key in `{file}` cannot be used: {why}")]
    Key {
        /// The file.
        file: PathBuf,
        /// Why.
        why: String,
    },
    /// The service cannot be reached.
    #[error("the token service: {0}")]
    Unreachable(#[from] crate::http::FetchError),
    /// The service says no.
    #[error("the token service answers {status}: {error}")]
    Refused {
        /// Its status.
        status: u16,
        /// Its short code; never its text, which may repeat what was sent.
        error: String,
    },
    /// The service says something else.
    #[error("the answer of the token service is no token")]
    Malformed,
}

/// Tokens of one identity.
#[derive(Debug)]
pub struct Tokens {
    source: Source,
    http: Http,
    kept: Mutex<Option<(Arc<SecretString>, Timestamp)>>,
}

#[derive(Deserialize)]
struct Answer {
    access_token: SecretString,
    #[serde(default)]
    expires_in: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Error {
    error: Option<serde_json::Value>,
}

#[derive(Serialize)]
struct Assertion<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    jti: String,
    iat: i64,
    nbf: i64,
    exp: i64,
}

impl Tokens {
    /// Tokens of a source.
    pub fn new(source: Source, http: Http) -> Tokens {
        Tokens {
            source,
            http,
            kept: Mutex::new(None),
        }
    }

    /// A token that is good for a while.
    ///
    /// # Errors
    ///
    /// Where there is none.
    pub async fn token(&self, now: Timestamp) -> Result<Arc<SecretString>, TokenError> {
        let mut kept = self.kept.lock().await;
        if let Some((token, until)) = kept.as_ref()
            && now < *until
        {
            return Ok(Arc::clone(token));
        }
        let (token, life) = self.fetch(now).await?;
        let token = Arc::new(token);
        // A clock that goes back would make an old token young.
        let until = now.checked_add(life / 5 * 4).unwrap_or(now);
        *kept = Some((Arc::clone(&token), until));
        Ok(token)
    }

    /// Forgets a token that was not taken.
    pub async fn forget(&self) {
        *self.kept.lock().await = None;
    }

    async fn fetch(&self, now: Timestamp) -> Result<(SecretString, Duration), TokenError> {
        let request = match &self.source {
            Source::ManagedIdentity {
                endpoint,
                header,
                client_id,
                resource,
            } => metadata(endpoint, header.as_ref(), client_id.as_deref(), resource),
            Source::Client {
                token_url,
                client_id,
                scope,
                proof,
            } => {
                let mut form = url::form_urlencoded::Serializer::new(String::new());
                form.append_pair("grant_type", "client_credentials");
                form.append_pair("client_id", client_id);
                form.append_pair("scope", scope);
                let proof = prove(proof, client_id, token_url, now)?;
                let name = match &proof {
                    Proved::Secret(_) => "client_secret",
                    Proved::Assertion(_) => {
                        let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
                        form.append_pair("client_assertion_type", kind);
                        "client_assertion"
                    }
                };
                let (Proved::Secret(value) | Proved::Assertion(value)) = &proof;
                form.append_pair(name, value.expose_secret());
                let request = Request::post(token_url.as_str());
                let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
                request
                    .header(CONTENT_TYPE, kind)
                    .body(Bytes::from(form.finish()))
            }
        };
        let request = request.map_err(|_| TokenError::Malformed)?;
        let answer = self.http.fetch(request).await?;
        if answer.status() != StatusCode::OK {
            let error: Option<Error> = serde_json::from_slice(answer.body()).ok();
            let error = error.and_then(|error| error.error);
            let error = error
                .as_ref()
                .and_then(serde_json::Value::as_str)
                .unwrap_or("no code");
            return Err(TokenError::Refused {
                status: answer.status().as_u16(),
                error: error.chars().take(64).collect(),
            });
        }
        let answer: Answer =
            serde_json::from_slice(answer.body()).map_err(|_| TokenError::Malformed)?;
        // The metadata service writes it as text.
        let life = answer.expires_in.as_ref().and_then(|life| {
            life.as_u64()
                .or_else(|| life.as_str().and_then(|text| text.parse().ok()))
        });
        Ok((
            answer.access_token,
            Duration::from_secs(life.unwrap_or(60).min(86_400)),
        ))
    }
}

enum Proved {
    Secret(SecretString),
    Assertion(SecretString),
}

/// The plain question to the metadata service, as Azure's own clients ask it.
fn metadata(
    endpoint: &str,
    header: Option<&SecretString>,
    client_id: Option<&str>,
    resource: &str,
) -> http::Result<Request<Bytes>> {
    let version = if header.is_some() {
        "2019-08-01"
    } else {
        "2018-02-01"
    };
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.append_pair("api-version", version);
    query.append_pair("resource", resource);
    if let Some(id) = client_id {
        query.append_pair("client_id", id);
    }
    let request = Request::get(format!("{endpoint}?{}", query.finish()));
    match header {
        Some(header) => request.header("x-identity-header", header.expose_secret()),
        None => request.header("metadata", "true"),
    }
    .body(Bytes::new())
}

fn prove(
    proof: &Proof,
    client_id: &str,
    token_url: &str,
    now: Timestamp,
) -> Result<Proved, TokenError> {
    let read = |file: &PathBuf| {
        let read = std::fs::read_to_string(file);
        let text = read.map_err(|error| TokenError::File {
            file: file.clone(),
            error,
        })?;
        Ok::<_, TokenError>(SecretString::from(text.trim()))
    };
    match proof {
        Proof::SecretFile(file) => Ok(Proved::Secret(read(file)?)),
        Proof::TokenFile(file) => Ok(Proved::Assertion(read(file)?)),
        Proof::KeyFile { file, key_id } => {
            let pem = read(file)?;
            let wrong = |why: jsonwebtoken::errors::Error| TokenError::Key {
                file: file.clone(),
                why: why.to_string(),
            };
            let pem = pem.expose_secret().as_bytes();
            let (key, algorithm) = match jsonwebtoken::EncodingKey::from_rsa_pem(pem) {
                Ok(key) => (key, jsonwebtoken::Algorithm::RS256),
                Err(_) => {
                    let key = jsonwebtoken::EncodingKey::from_ec_pem(pem).map_err(wrong)?;
                    (key, jsonwebtoken::Algorithm::ES256)
                }
            };
            let mut header = jsonwebtoken::Header::new(algorithm);
            header.kid = Some(key_id.clone());
            let seconds = now.as_second();
            let claims = Assertion {
                iss: client_id,
                sub: client_id,
                aud: token_url,
                jti: uuid::Uuid::new_v4().to_string(),
                iat: seconds,
                nbf: seconds,
                exp: seconds + i64::try_from(ASSERTED.as_secs()).unwrap_or(0),
            };
            let token = jsonwebtoken::encode(&header, &claims, &key).map_err(wrong)?;
            Ok(Proved::Assertion(SecretString::from(token)))
        }
    }
}
