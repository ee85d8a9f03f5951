//! The one way the orchestrator opens connections: to the addresses of its configuration, and to
//! no other.
//!
//! TLS verified against the system's roots and one extra CA, no redirects, every answer bounded in
//! time and size. A name that is not on the list is refused before it is looked up.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

/// Longest exchange.
const LONGEST: Duration = Duration::from_secs(60);
/// Largest answer, bytes: a page of a list.
const LARGEST: usize = 8 << 20;
const CONNECT: Duration = Duration::from_secs(5);
const IDLE: Duration = Duration::from_secs(60);

/// Why connections cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// A CA file holds no certificate.
    #[error("the CA file holds no usable certificate: {0}")]
    Ca(String),
    /// TLS cannot be configured.
    #[error("TLS cannot be configured: {0}")]
    Tls(#[from] rustls::Error),
    /// An address is none that may be called.
    #[error(
        "`{0}` may not be called: write `https://`; plain HTTP is for this machine and its metadata service"
    )]
    Address(String),
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The address is none of the configuration's.
    #[error("`{0}` is no address of the configuration")]
    Address(String),
    /// Nothing was sent.
    #[error("no connection: {0}")]
    Connect(String),
    /// What was sent may have arrived.
    #[error("the connection broke: {0}")]
    Broken(String),
}

/// A pooled client; cheap to clone.
#[derive(Clone)]
pub struct Http {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    /// Scheme, host and port.
    addresses: Arc<BTreeSet<String>>,
}

impl std::fmt::Debug for Http {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http")
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

impl Http {
    /// A client for these addresses, which trusts the system's roots and the certificates of a
    /// CA file.
    ///
    /// # Errors
    ///
    /// Where the CA file holds none.
    pub fn new<'a>(
        addresses: impl IntoIterator<Item = &'a str>,
        ca: Option<&[u8]>,
    ) -> Result<Http, HttpError> {
        let mut roots = RootCertStore::empty();
        for certificate in rustls_native_certs::load_native_certs().certs {
            // A machine without roots can still reach what the CA file vouches for.
            let _ = roots.add(certificate);
        }
        if let Some(pem) = ca {
            let mut added = 0;
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|error| HttpError::Ca(error.to_string()))?;
                roots
                    .add(certificate)
                    .map_err(|error| HttpError::Ca(error.to_string()))?;
                added += 1;
            }
            if added == 0 {
                return Err(HttpError::Ca("there is none".to_owned()));
            }
        }
        let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(CONNECT));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector);
        let addresses = addresses
            .into_iter()
            .map(|address| origin(address).ok_or_else(|| HttpError::Address(address.to_owned())));
        let addresses = addresses.collect::<Result<BTreeSet<String>, HttpError>>()?;
        Ok(Http {
            client,
            addresses: Arc::new(addresses),
        })
    }

    /// One exchange.
    ///
    /// # Errors
    ///
    /// Where there is no whole answer; [`FetchError::Broken`] where the request may have arrived.
    pub async fn fetch(&self, request: Request<Bytes>) -> Result<Response<Bytes>, FetchError> {
        let shown = request
            .uri()
            .authority()
            .map_or(String::new(), ToString::to_string);
        let listed =
            origin(&request.uri().to_string()).is_some_and(|own| self.addresses.contains(&own));
        if !listed {
            return Err(FetchError::Address(shown));
        }
        let request = request.map(Full::new);
        match tokio::time::timeout(LONGEST, self.exchange(request)).await {
            Ok(answer) => answer,
            Err(_) => Err(FetchError::Broken(format!("no answer within {LONGEST:?}"))),
        }
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, FetchError> {
        let answer =
            self.client
                .request(request)
                .await
                .map_err(|error| match error.is_connect() {
                    true => FetchError::Connect(chain(&error)),
                    false => FetchError::Broken(chain(&error)),
                })?;
        let (parts, body) = answer.into_parts();
        Ok(Response::from_parts(parts, read(body).await?))
    }
}

/// Scheme, host and port of an address. Plain HTTP is for this machine and its metadata service.
fn origin(address: &str) -> Option<String> {
    let uri: Uri = address.parse().ok()?;
    let host = uri.host()?.to_ascii_lowercase();
    let link_local = host
        .parse::<std::net::Ipv4Addr>()
        .is_ok_and(|address| address.is_link_local() || address.is_loopback());
    let local = link_local || matches!(host.as_str(), "localhost" | "[::1]");
    let (scheme, usual) = match uri.scheme_str()? {
        "https" => ("https", 443),
        "http" if local => ("http", 80),
        _ => return None,
    };
    Some(format!(
        "{scheme}://{host}:{}",
        uri.port_u16().unwrap_or(usual)
    ))
}

async fn read(mut body: Incoming) -> Result<Bytes, FetchError> {
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| FetchError::Broken(error.to_string()))?;
        if let Ok(data) = frame.into_data() {
            if read.len() + data.len() > LARGEST {
                return Err(FetchError::Broken(format!(
                    "the answer is larger than {LARGEST} bytes"
                )));
            }
            read.extend_from_slice(&data);
        }
    }
    Ok(read.freeze())
}

/// An error with its causes: the first alone says "client error".
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use bytes::Bytes;
    use http::Request;

    use super::{FetchError, Http, origin};

    #[tokio::test]
    async fn nothing_leaves_for_an_address_that_is_not_listed() {
        let http = Http::new(["https://gw.internal:8443"], None).unwrap();
        for address in [
            "https://management.azure.com/subscriptions",
            "https://gw.internal/",
            "https://gw.internal:8444/",
            "http://gw.internal:8443/",
            "https://gw.internal.evil.example:8443/",
            "https://user@management.azure.com/",
        ] {
            let request = Request::get(address).body(Bytes::new()).unwrap();
            let refused = http.fetch(request).await.unwrap_err();
            assert!(
                matches!(refused, FetchError::Address(_)),
                "{address}: {refused}"
            );
        }
        assert_eq!(
            origin("https://GW.internal/x"),
            Some("https://gw.internal:443".to_owned())
        );
        assert_eq!(origin("http://gw.internal/"), None);
        assert_eq!(
            origin("http://169.254.169.254/metadata"),
            Some("http://169.254.169.254:80".to_owned())
        );
    }
}
