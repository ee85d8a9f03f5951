//! The caller's token as a managed identity: an endpoint on loopback, in the way of Azure App
//! Service, which the Azure CLI and every SDK know.
//!
//! It hands out nothing but what the caller holds anyway, to whoever knows a number that only
//! the command's environment has.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::commands::client::Connection;

/// How long a token without an end of its own is said to last.
const UNTOLD: i64 = 300;
/// Longest time for a request's head.
const HEAD: Duration = Duration::from_secs(5);

/// The endpoint; it ends with this value.
pub(super) struct Identity {
    pub(super) endpoint: String,
    pub(super) header: String,
    serving: JoinHandle<()>,
}

impl Drop for Identity {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Identity {
    /// Serves the caller's token to whoever asks for one of these audiences.
    pub(super) async fn serve(
        connection: Connection,
        mut audiences: Vec<String>,
    ) -> anyhow::Result<Identity> {
        audiences.push(connection.data_origin()?.to_owned());
        let audiences = Arc::new(audiences);
        // Told now rather than by the command in words of its own.
        connection.data_token()?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await;
        let listener = listener.context("cannot listen on loopback")?;
        let endpoint = format!("http://{}/token", listener.local_addr()?);
        let header = uuid::Uuid::new_v4().simple().to_string();
        let wanted = header.clone();
        let serving = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    continue;
                };
                let (connection, wanted) = (connection.clone(), wanted.clone());
                let audiences = Arc::clone(&audiences);
                tokio::spawn(async move {
                    let answer = service_fn(|request: Request<Incoming>| {
                        let answer = answer(&request, &wanted, &audiences, &connection);
                        async move { Ok::<_, Infallible>(answer) }
                    });
                    let mut http = hyper::server::conn::http1::Builder::new();
                    http.timer(TokioTimer::new()).header_read_timeout(HEAD);
                    let _ = http.serve_connection(TokioIo::new(stream), answer).await;
                });
            }
        });
        Ok(Identity {
            endpoint,
            header,
            serving,
        })
    }
}

fn answer(
    request: &Request<Incoming>,
    wanted: &str,
    audiences: &[String],
    connection: &Connection,
) -> Response<Full<Bytes>> {
    let shown = request.headers().get("x-identity-header");
    let ours = shown.is_some_and(|shown| shown.as_bytes() == wanted.as_bytes());
    let place = request.method() == Method::GET && request.uri().path() == "/token";
    if !ours || !place {
        return told(StatusCode::FORBIDDEN, &json!({"error": "forbidden"}));
    }
    // A program that asks for somebody else's token would send them the gateway's.
    let query = request.uri().query().unwrap_or_default();
    let mut asked = url::form_urlencoded::parse(query.as_bytes());
    let asked = asked.find(|(name, _)| name == "resource");
    let bare = |text: &str| text.trim_end_matches('/').to_owned();
    let ours = asked.is_some_and(|(_, resource)| {
        let resource = bare(resource.trim_end_matches("/.default"));
        audiences.iter().any(|own| bare(own) == resource)
    });
    if !ours {
        let why = json!({"error": "invalid_resource", "error_description": "only the gateway's tokens are here"});
        return told(StatusCode::BAD_REQUEST, &why);
    }
    match connection.data_token() {
        Ok(token) => {
            let token = token.expose_secret();
            let expires = expires(token);
            let body = json!({
                "access_token": token, "expires_on": expires.to_string(), "token_type": "Bearer",
                "resource": "vaultgate",
            });
            told(StatusCode::OK, &body)
        }
        Err(error) => told(
            StatusCode::INTERNAL_SERVER_ERROR,
            &json!({"error": error.to_string()}),
        ),
    }
}

/// When a token ends, by its own word: the gateway judges it, not this.
fn expires(token: &str) -> i64 {
    let claims = token.split('.').nth(1);
    let claims = claims.and_then(|claims| URL_SAFE_NO_PAD.decode(claims).ok());
    let claims = claims.and_then(|claims| serde_json::from_slice::<Value>(&claims).ok());
    let at = claims.and_then(|claims| claims.get("exp").and_then(Value::as_i64));
    at.unwrap_or_else(|| jiff::Timestamp::now().as_second().saturating_add(UNTOLD))
}

fn told(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::from(body.to_string())));
    *answer.status_mut() = status;
    let json = header::HeaderValue::from_static("application/json");
    answer.headers_mut().insert(header::CONTENT_TYPE, json);
    answer
}
