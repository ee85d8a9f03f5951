//! A small HTTPS client for the tour: one request, the whole answer.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Pooled;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::Value;

/// Longest time for the emulator to end an operation.
const OPERATION_TIME: Duration = Duration::from_secs(60);

/// Talks to the gateway as one persona.
#[derive(Clone)]
pub(crate) struct Client {
    http: Pooled<HttpsConnector<HttpConnector>, Full<Bytes>>,
    base: String,
    token: Option<String>,
}

/// An answer with its body read.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// The body as JSON; `null` when it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// A header's text.
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default()
    }

    /// The stable reason of a refusal.
    pub(crate) fn reason(&self) -> String {
        let json = self.json();
        let info = json.pointer("/error/additionalInfo/0/info/reason");
        info.and_then(Value::as_str).unwrap_or_default().to_owned()
    }
}

impl Client {
    /// A client of `base` that trusts the development CA.
    pub(crate) fn new(base: &str, ca: &Path) -> anyhow::Result<Client> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(ca)? {
            roots.add(certificate?)?;
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_only()
            .enable_http1()
            .build();
        Ok(Client {
            http: Pooled::builder(TokioExecutor::new()).build(connector),
            base: base.to_owned(),
            token: None,
        })
    }

    /// The same client with a token.
    pub(crate) fn with_token(&self, token: &str) -> Client {
        Client {
            token: Some(token.to_owned()),
            ..self.clone()
        }
    }

    /// Sends one request to a path of the gateway, or to a whole URL.
    pub(crate) async fn send(
        &self,
        method: Method,
        target: &str,
        body: Option<&Value>,
        headers: &[(&str, &str)],
    ) -> anyhow::Result<Answer> {
        let url = if target.starts_with("https://") {
            target.to_owned()
        } else {
            format!("{}{target}", self.base)
        };
        let mut request = Request::builder().method(method).uri(&url);
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let bytes = match body {
            Some(body) => {
                request = request.header("content-type", "application/json");
                Bytes::from(serde_json::to_vec(body)?)
            }
            None => Bytes::new(),
        };
        let answer = self.http.request(request.body(Full::new(bytes))?).await;
        let (parts, body) = answer
            .with_context(|| format!("no answer from {url}"))?
            .into_parts();
        Ok(Answer {
            status: parts.status,
            headers: parts.headers,
            body: body.collect().await?.to_bytes(),
        })
    }

    /// A GET.
    pub(crate) async fn get(&self, target: &str) -> anyhow::Result<Answer> {
        self.send(Method::GET, target, None, &[]).await
    }

    /// Polls an operation that was started here to its end, through the gateway.
    pub(crate) async fn poll(&self, started: &Answer) -> anyhow::Result<Value> {
        let url = started.header("azure-asyncoperation").to_owned();
        ensure!(url.starts_with(&self.base), "the poll leads to `{url}`");
        let until = Instant::now() + OPERATION_TIME;
        loop {
            let answer = self.get(&url).await?;
            let status = answer.json();
            ensure!(
                answer.status == StatusCode::OK,
                "{}: {status}",
                answer.status
            );
            match status.get("status").and_then(Value::as_str) {
                Some("Succeeded") => return Ok(status),
                Some("Failed" | "Canceled") => anyhow::bail!("the operation ended: {status}"),
                _ => {}
            }
            ensure!(Instant::now() < until, "the operation did not end");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
