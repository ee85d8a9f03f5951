//! One request as it arrived: its head, its connection and nothing judged yet.

use http::request::Parts;
use http::{HeaderMap, Method, Version};
use jiff::Timestamp;

use crate::listener::Peer;

/// The head of a request and the connection it came by.
pub(crate) struct Arrival {
    /// HTTP method.
    pub(crate) method: Method,
    /// Request target as received: path and query.
    pub(crate) target: String,
    /// Headers as received.
    pub(crate) headers: HeaderMap,
    /// `1.1` or `2`.
    pub(crate) http: &'static str,
    /// The connection.
    pub(crate) peer: Peer,
    /// When the head was complete.
    pub(crate) at: Timestamp,
}

impl Arrival {
    /// Takes the head of a request.
    pub(crate) fn new(parts: Parts, peer: Peer, at: Timestamp) -> Arrival {
        let target = match parts.uri.path_and_query() {
            Some(target) => target.as_str().to_owned(),
            None => String::new(),
        };
        Arrival {
            method: parts.method,
            target,
            headers: parts.headers,
            http: if parts.version == Version::HTTP_2 {
                "2"
            } else {
                "1.1"
            },
            peer,
            at,
        }
    }

    /// The one value of a header; none when it is absent, repeated or no text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    /// Path of the target, without its query.
    pub(crate) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    match values.next() {
        Some(_) => None,
        None => first.to_str().ok(),
    }
}
