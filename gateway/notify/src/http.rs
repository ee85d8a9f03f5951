//! How a message leaves over HTTP: to which addresses, verified by what, for how long.
//!
//! Posts and nothing else: no redirect is followed, since one would carry the message
//! and its signature to whomever the receiver names; of an answer only the status, one
//! header and at most 64 KiB are read. Never puts more of an address than its host
//! into an error: who knows the rest can post in the gateway's name.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use http::{Method, Request, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::{Instant, timeout_at};
use url::{Host, Url};
use vaultgate_https::{ClientError, causes};

/// Largest answer that is read, bytes. What is read serves the next use of the
/// connection only; the status alone decides.
const MOST_READ: usize = 64 << 10;

/// How connections are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connections {
    /// PEM of certificates that are trusted beside the system's.
    pub extra_ca: Option<Vec<u8>>,
    /// Longest time for a TCP connection.
    pub connect: Duration,
    /// Longest time from sending to the end of the answer.
    pub exchange: Duration,
    /// Longest time for one mail, with all that its server asks.
    pub mail: Duration,
}

impl Default for Connections {
    fn default() -> Connections {
        Connections {
            extra_ca: None,
            connect: Duration::from_secs(5),
            exchange: Duration::from_secs(10),
            mail: Duration::from_secs(30),
        }
    }
}

/// Why an address may not be posted to. Names the host at most.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It cannot be read.
    #[error("is no URL")]
    NotAUrl,
    /// It would send without TLS to another machine.
    #[error("leads to `{0}` without TLS; hint: http is for a literal such as `127.0.0.1` only")]
    NotHttps(String),
    /// It holds credentials that would be sent with every request.
    #[error("leads to `{0}` with a user name or password in it")]
    Login(String),
}

/// An address that may be posted to. All of it but the host is a secret.
pub(crate) struct Target {
    url: SecretString,
    host: String,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({})", self.host)
    }
}

impl Target {
    /// The address, when it is https, or http to a loopback literal. A name such as
    /// `localhost` is none: a resolver could lead it to another machine.
    pub(crate) fn new(url: &SecretString) -> Result<Target, AddressError> {
        let url = Url::parse(url.expose_secret()).map_err(|_| AddressError::NotAUrl)?;
        let host = url.host_str().ok_or(AddressError::NotAUrl)?.to_owned();
        let loopback = match url.host() {
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            _ => false,
        };
        match url.scheme() {
            "https" => {}
            "http" if loopback => {}
            _ => return Err(AddressError::NotHttps(host)),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(AddressError::Login(host));
        }
        if Uri::try_from(url.as_str()).is_err() {
            return Err(AddressError::NotAUrl);
        }
        let url = SecretString::from(String::from(url));
        Ok(Target { url, host })
    }

    /// Whom it leads to.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    fn uri(&self) -> Result<Uri, PostError> {
        Uri::try_from(self.url.expose_secret()).map_err(|_| self.unsendable())
    }

    fn failed(&self, error: &legacy::Error) -> PostError {
        let host = self.host.clone();
        let cause = causes(error);
        if error.is_connect() {
            PostError::Unreachable { host, cause }
        } else {
            PostError::Broken { host, cause }
        }
    }

    fn unsendable(&self) -> PostError {
        PostError::Unsendable {
            host: self.host.clone(),
        }
    }
}

/// What is posted, and where.
pub(crate) struct Letter<'a> {
    pub(crate) target: &'a Target,
    pub(crate) headers: Vec<(HeaderName, String)>,
    pub(crate) body: Vec<u8>,
}

/// Why a letter was not taken. Names the host only.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PostError {
    /// There was no connection.
    #[error("`{host}` cannot be reached: {cause}")]
    Unreachable { host: String, cause: String },
    /// The connection broke: the letter may have arrived.
    #[error("the connection to `{host}` broke: {cause}")]
    Broken { host: String, cause: String },
    /// There was no answer in time: the letter may have arrived.
    #[error("`{host}` did not answer within {limit:?}")]
    Late { host: String, limit: Duration },
    /// The receiver did not take it.
    #[error("`{host}` answered with the status {status}")]
    Status {
        host: String,
        status: u16,
        retry_after: Option<Duration>,
    },
    /// It cannot be put into a request.
    #[error("the message to `{host}` cannot be put into a request")]
    Unsendable { host: String },
}

/// A pooled client; cheap to clone.
#[derive(Clone)]
pub(crate) struct Client {
    client: vaultgate_https::Client,
    limit: Duration,
}

impl Client {
    /// A client that trusts the system's roots and the certificates of `ca`.
    pub(crate) fn new(connections: &Connections, ca: Option<&[u8]>) -> Result<Client, ClientError> {
        // Which addresses may do without TLS is `Target`'s to say, once for all.
        Ok(Client {
            client: vaultgate_https::client(ca, connections.connect)?,
            limit: connections.exchange,
        })
    }

    /// Posts one letter. Taken is what is answered with a 2xx, and nothing else.
    pub(crate) async fn post(&self, letter: Letter<'_>, now: Timestamp) -> Result<(), PostError> {
        let target = letter.target;
        let request = request(letter)?;
        let end = Instant::now() + self.limit;
        let answer = match timeout_at(end, self.client.request(request)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(target.failed(&error)),
            Err(_) => {
                return Err(PostError::Late {
                    host: target.host.clone(),
                    limit: self.limit,
                });
            }
        };
        let (parts, body) = answer.into_parts();
        // A receiver that never ends its answer has given its status nevertheless.
        let _ = timeout_at(end, drain(body)).await;
        if parts.status.is_success() {
            return Ok(());
        }
        Err(PostError::Status {
            host: target.host.clone(),
            status: parts.status.as_u16(),
            retry_after: retry_after(&parts.headers, now),
        })
    }
}

fn request(letter: Letter<'_>) -> Result<Request<Full<Bytes>>, PostError> {
    let mut request = Request::new(Full::new(Bytes::from(letter.body)));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = letter.target.uri()?;
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(USER_AGENT, HeaderValue::from_static("vaultgate-notify"));
    for (name, value) in letter.headers {
        let value = HeaderValue::try_from(value).map_err(|_| letter.target.unsendable())?;
        headers.insert(name, value);
    }
    Ok(request)
}

async fn drain(mut body: Incoming) {
    let mut read = 0;
    while let Some(Ok(frame)) = body.frame().await {
        read += frame.data_ref().map_or(0, Bytes::len);
        if read > MOST_READ {
            return;
        }
    }
}

/// How long the receiver asks to be left alone: seconds or a date.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = DateTimeParser::new().parse_timestamp(value).ok()?;
    // A date that has passed asks for nothing.
    Duration::try_from(at.duration_since(now)).ok()
}

#[cfg(test)]
mod tests;
