//! What an ARM request asks, read by a parser of the emulator's own.
//!
//! Written apart from the product's parser on purpose. It reads a path the way ARM is
//! known to: percent-decoded once, empty segments ignored, names without case.

use http::HeaderMap;
use serde_json::Value;

use super::reply::Answer;
use crate::journal::Identity;
use crate::server::Asked;

/// A request to ARM with its path taken apart.
#[derive(Debug)]
pub(crate) struct ArmRequest {
    pub method: String,
    /// The path as received.
    pub raw_path: String,
    /// The query as received, without the question mark.
    pub raw_query: String,
    /// Decoded segments in the caller's spelling.
    segments: Vec<String>,
    lower: Vec<String>,
    pub body: Value,
    pub identity: Identity,
    /// `x-ms-client-request-id`, or a fresh one.
    pub client_request_id: String,
    headers: HeaderMap,
}

impl ArmRequest {
    /// Takes a request apart; what cannot be read is ARM's own 400.
    pub(crate) fn read(asked: &Asked) -> Result<ArmRequest, Answer> {
        let mut segments = Vec::new();
        for raw in asked.path.split('/').filter(|segment| !segment.is_empty()) {
            let decoded =
                decode(raw).filter(|text| !text.contains('/') && text != "." && text != "..");
            let Some(decoded) = decoded else {
                return Err(Answer::error(
                    400,
                    "InvalidRequestUri",
                    "The request URI is not valid.",
                ));
            };
            segments.push(decoded);
        }
        let body = if asked.body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&asked.body).map_err(|_| {
                Answer::error(
                    400,
                    "InvalidRequestContent",
                    "The request content was invalid and could not be deserialized.",
                )
            })?
        };
        let client_request_id = asked
            .header("x-ms-client-request-id")
            .map_or_else(crate::digest::fresh_uuid, str::to_owned);
        Ok(ArmRequest {
            method: asked.method.clone(),
            raw_path: asked.path.clone(),
            raw_query: asked.query.clone(),
            lower: segments
                .iter()
                .map(|segment| segment.to_ascii_lowercase())
                .collect(),
            segments,
            body,
            identity: asked.identity,
            client_request_id,
            headers: asked.headers.clone(),
        })
    }

    /// The segments in lower case, to match on.
    pub(crate) fn route(&self) -> Vec<&str> {
        self.lower.iter().map(String::as_str).collect()
    }

    /// A segment in the caller's spelling; empty when there are not so many.
    pub(crate) fn name(&self, index: usize) -> &str {
        self.segments.get(index).map_or("", String::as_str)
    }

    /// The last segment in the caller's spelling.
    pub(crate) fn last(&self) -> &str {
        self.segments.last().map_or("", String::as_str)
    }

    /// The id made of the first `count` segments, in the caller's spelling.
    pub(crate) fn id(&self, count: usize) -> String {
        self.segments
            .iter()
            .take(count)
            .fold(String::new(), |id, segment| id + "/" + segment)
    }

    /// The id made of all segments.
    pub(crate) fn whole_id(&self) -> String {
        self.id(self.segments.len())
    }

    /// The first value of a query parameter, whatever its case.
    pub(crate) fn parameter(&self, wanted: &str) -> Option<String> {
        url::form_urlencoded::parse(self.raw_query.as_bytes())
            .find(|(name, _)| name.eq_ignore_ascii_case(wanted))
            .map(|(_, value)| value.into_owned())
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The subscription, if the path has one.
    pub(crate) fn subscription(&self) -> &str {
        match self.lower.first().map(String::as_str) {
            Some("subscriptions") => self.name(1),
            _ => "",
        }
    }
}

/// Percent-decodes once. Nothing when an escape is broken or the text is not UTF-8.
pub(crate) fn decode(raw: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        let (high, low) = (digit(rest.next())?, digit(rest.next())?);
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
pub(crate) mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use bytes::Bytes;
    use http::HeaderMap;

    use super::{ArmRequest, decode};
    use crate::journal::Identity;
    use crate::server::Asked;

    /// A request of the reader identity.
    pub(crate) fn asked(method: &str, target: &str, body: &str) -> Asked {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Asked {
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            headers: HeaderMap::new(),
            body: Bytes::from(body.to_owned()),
            identity: Identity::Reader,
        }
    }

    #[test]
    fn a_path_is_decoded_once_and_keeps_the_callers_spelling() {
        let target = "/Subscriptions/S//x/VM%3Ba%253B/?a=1&%24skipToken=t%2Bt";
        let read = ArmRequest::read(&asked("GET", target, "")).unwrap();
        assert_eq!(read.route(), ["subscriptions", "s", "x", "vm;a%3b"]);
        assert_eq!(read.whole_id(), "/Subscriptions/S/x/VM;a%3B");
        assert_eq!(read.parameter("$skiptoken").unwrap(), "t+t");
    }

    #[test]
    fn what_two_parsers_could_read_differently_is_refused() {
        for path in ["/a%2Fb", "/%2e%2e/x", "/a/%zz", "/a/%ff", "/a/%2"] {
            assert!(ArmRequest::read(&asked("GET", path, "")).is_err(), "{path}");
        }
        assert_eq!(decode("%25").unwrap(), "%");
    }
}
