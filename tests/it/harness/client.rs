//! A small HTTPS client: one request, the whole answer.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::path::Path;
use std::sync::Arc;

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

/// Talks to the gateway as one persona.
#[derive(Clone)]
pub(crate) struct Client {
    http: Pooled<HttpsConnector<HttpConnector>, Full<Bytes>>,
    base: String,
    token: Option<String>,
}

/// An answer with its body read.
#[derive(Debug)]
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

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
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

    /// Fails the test unless the answer has this status and verdict.
    #[track_caller]
    pub(crate) fn expect(&self, status: u16, verdict: &str) {
        let seen = (self.status.as_u16(), self.header("x-vaultgate-decision"));
        assert_eq!(seen, (status, verdict), "{}", self.text());
    }
}

impl Client {
    /// A client of `base` that trusts the development CA.
    pub(crate) fn new(base: &str, ca: &Path) -> Client {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(ca).unwrap() {
            roots.add(certificate.unwrap()).unwrap();
        }
        let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_only()
            .enable_http1()
            .build();
        Client {
            http: Pooled::builder(TokioExecutor::new()).build(connector),
            base: base.to_owned(),
            token: None,
        }
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
    ) -> Answer {
        self.try_send(method, target, body, headers).await.unwrap()
    }

    /// The same, for requests that may get no answer.
    pub(crate) async fn try_send(
        &self,
        method: Method,
        target: &str,
        body: Option<&Value>,
        headers: &[(&str, &str)],
    ) -> Result<Answer, String> {
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
                Bytes::from(serde_json::to_vec(body).unwrap())
            }
            None => Bytes::new(),
        };
        let request = request.body(Full::new(bytes)).unwrap();
        let answer = self
            .http
            .request(request)
            .await
            .map_err(|error| error.to_string())?;
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.map_err(|error| error.to_string())?;
        Ok(Answer {
            status: parts.status,
            headers: parts.headers,
            body: body.to_bytes(),
        })
    }

    /// A GET.
    pub(crate) async fn get(&self, target: &str) -> Answer {
        self.send(Method::GET, target, None, &[]).await
    }

    /// A POST with a JSON body.
    pub(crate) async fn post(&self, target: &str, body: &Value) -> Answer {
        self.send(Method::POST, target, Some(body), &[]).await
    }
}
