//! The one way the gateway opens connections outward.
//!
//! TLS verified against the system's roots and one extra CA, no redirects, no
//! content codings, every answer bounded in time and size. Whether a request may
//! have left is told apart from one that surely did not: an outcome depends on it.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use vaultgate_https::{Client, ClientError, causes};

/// Time for a TCP connection.
const CONNECT: Duration = Duration::from_secs(5);

/// Bounds of one exchange.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FetchLimits {
    /// Longest time from sending to the end of the answer.
    pub(crate) total: Duration,
    /// Largest answer, bytes.
    pub(crate) max_body: usize,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// The address is none that may be called.
    #[error("`{0}` is not an address that may be called")]
    Address(String),
    /// No connection: nothing was sent.
    #[error("no connection: {0}")]
    Connect(String),
    /// The connection broke: what was sent may have arrived.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// No answer in time: what was sent may have arrived.
    #[error("no answer within {0:?}")]
    Late(Duration),
    /// The answer is larger than is read.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    /// The answer has a content coding that was not asked for.
    #[error("the answer has a content coding")]
    Encoded,
    /// The answer has a status that ends no exchange, or one that nobody defined.
    #[error("the answer has the status {0}")]
    Status(u16),
}

impl FetchError {
    /// Whether the request surely did not leave.
    pub(crate) fn not_sent(&self) -> bool {
        matches!(self, FetchError::Address(_) | FetchError::Connect(_))
    }
}

/// Which addresses may be called without TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plain {
    Never,
    /// This machine and the link-local metadata service.
    Local,
}

/// A pooled client; cheap to clone.
#[derive(Clone)]
pub(crate) struct Outbound {
    client: Client,
    plain: Plain,
}

impl std::fmt::Debug for Outbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbound").finish_non_exhaustive()
    }
}

impl Outbound {
    /// A client that trusts the system's roots and the certificates of `extra_ca`.
    pub(crate) fn new(extra_ca: Option<&[u8]>) -> Result<Outbound, ClientError> {
        Ok(Outbound {
            client: vaultgate_https::client(extra_ca, CONNECT)?,
            plain: Plain::Never,
        })
    }

    /// The same client, which may also call this machine without TLS: for the
    /// metadata service of a managed identity and for development issuers.
    pub(crate) fn with_local_http(&self) -> Outbound {
        Outbound {
            client: self.client.clone(),
            plain: Plain::Local,
        }
    }

    /// One exchange, buffered and bounded.
    pub(crate) async fn fetch(
        &self,
        request: Request<Bytes>,
        limits: FetchLimits,
    ) -> Result<Response<Bytes>, FetchError> {
        self.check(&request)?;
        let (mut parts, body) = request.into_parts();
        parts.headers.insert(
            header::ACCEPT_ENCODING,
            header::HeaderValue::from_static("identity"),
        );
        let request = Request::from_parts(parts, Full::new(body));
        match tokio::time::timeout(limits.total, self.exchange(request, limits.max_body)).await {
            Ok(answered) => answered,
            Err(_) => Err(FetchError::Late(limits.total)),
        }
    }

    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
        max_body: usize,
    ) -> Result<Response<Bytes>, FetchError> {
        let answer = self.client.request(request).await.map_err(|error| {
            if error.is_connect() {
                FetchError::Connect(causes(&error))
            } else {
                FetchError::Broken(causes(&error))
            }
        })?;
        let (parts, body) = answer.into_parts();
        // 101 would turn the connection into something else.
        if !(200..=599).contains(&parts.status.as_u16()) {
            return Err(FetchError::Status(parts.status.as_u16()));
        }
        let mut codings = parts.headers.get_all(header::CONTENT_ENCODING).iter();
        if codings.any(|coding| coding != "identity") {
            return Err(FetchError::Encoded);
        }
        Ok(Response::from_parts(parts, read(body, max_body).await?))
    }

    fn check(&self, request: &Request<Bytes>) -> Result<(), FetchError> {
        let uri = request.uri();
        let host = uri.host().unwrap_or_default();
        let local = matches!(
            host,
            "127.0.0.1" | "localhost" | "[::1]" | "169.254.169.254"
        );
        let allowed = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => self.plain == Plain::Local && local,
            _ => false,
        };
        if allowed {
            Ok(())
        } else {
            let authority = uri.authority().map_or("", |authority| authority.as_str());
            Err(FetchError::Address(authority.to_owned()))
        }
    }
}

async fn read(mut body: Incoming, max: usize) -> Result<Bytes, FetchError> {
    if body.size_hint().lower() > max as u64 {
        return Err(FetchError::TooLarge(max));
    }
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| FetchError::Broken(error.to_string()))?;
        if let Ok(data) = frame.into_data() {
            if read.len() + data.len() > max {
                return Err(FetchError::TooLarge(max));
            }
            read.extend_from_slice(&data);
        }
    }
    Ok(read.freeze())
}
