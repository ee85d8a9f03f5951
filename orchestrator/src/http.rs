//! The one way the orchestrator opens connections: to the addresses of its configuration, and to
//! no other.
//!
//! TLS verified against the system's roots and one extra CA, no redirects, every answer bounded in
//! time and size. A name that is not on the list is refused before it is looked up.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use vaultgate_https::{Client, ClientError, causes};

/// Longest exchange.
const LONGEST: Duration = Duration::from_secs(60);
/// Largest answer, bytes: a page of a list.
const LARGEST: usize = 8 << 20;
const CONNECT: Duration = Duration::from_secs(5);

/// Why connections cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The CA file holds no certificate, or TLS cannot be configured.
    #[error(transparent)]
    Client(#[from] ClientError),
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
    client: Client,
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
        let addresses = addresses
            .into_iter()
            .map(|address| origin(address).ok_or_else(|| HttpError::Address(address.to_owned())));
        let addresses = addresses.collect::<Result<BTreeSet<String>, HttpError>>()?;
        Ok(Http {
            client: vaultgate_https::client(ca, CONNECT)?,
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
                    true => FetchError::Connect(causes(&error)),
                    false => FetchError::Broken(causes(&error)),
                })?;
        let (parts, body) = answer.into_parts();
        let body = Limited::new(body, LARGEST).collect().await;
        let body = body.map_err(|error| match error.is::<LengthLimitError>() {
            true => FetchError::Broken(format!("the answer is larger than {LARGEST} bytes")),
            false => FetchError::Broken(causes(&*error)),
        })?;
        Ok(Response::from_parts(parts, body.to_bytes()))
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
