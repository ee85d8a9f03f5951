//! The Azure SDK's transport: our own client, with its bounds.
//!
//! The metadata service has a constant address; where the configuration names
//! another (an emulator), requests to the constant one are sent there.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use azure_core::error::{Error, ErrorKind};
use azure_core::http::headers::Headers;
use azure_core::http::{AsyncRawResponse, ClientOptions, HttpClient, Request, Transport};
use bytes::Bytes;

use crate::outbound::{FetchLimits, Outbound};

const METADATA: &str = "http://169.254.169.254";

const LIMITS: FetchLimits = FetchLimits {
    total: Duration::from_secs(30),
    max_body: 1 << 20,
};

#[derive(Debug)]
struct SdkClient {
    outbound: Outbound,
    metadata: Option<String>,
}

/// Options that always carry a transport: the SDK panics without one.
pub(super) fn client_options(outbound: Outbound, metadata: Option<String>) -> ClientOptions {
    let client = SdkClient { outbound, metadata };
    ClientOptions {
        transport: Some(Transport::new(Arc::new(client))),
        ..ClientOptions::default()
    }
}

#[async_trait]
impl HttpClient for SdkClient {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let mut url = request.url().to_string();
        if let (Some(endpoint), Some(rest)) = (&self.metadata, url.strip_prefix(METADATA)) {
            url = format!("{endpoint}{rest}");
        }
        let mut builder = http::Request::builder()
            .method(request.method().as_str())
            .uri(url);
        for (name, value) in request.headers().iter() {
            builder = builder.header(name.as_str(), value.as_str());
        }
        let body: Bytes = request.body().into();
        let built = builder
            .body(body)
            .map_err(|error| Error::with_error(ErrorKind::Other, error, "build"))?;
        let answer = self.outbound.fetch(built, LIMITS).await.map_err(|error| {
            let kind = if error.not_sent() {
                ErrorKind::Connection
            } else {
                ErrorKind::Io
            };
            Error::with_error(kind, error, "send")
        })?;
        let (parts, body) = answer.into_parts();
        if let Some(name) = beyond_time(&body) {
            let text = format!("`{name}` is beyond all time");
            return Err(Error::with_message(ErrorKind::DataConversion, text));
        }
        let mut headers = Headers::new();
        for (name, value) in &parts.headers {
            if let Ok(value) = value.to_str() {
                headers.insert(name.as_str().to_owned(), value.to_owned());
            }
        }
        let status = parts.status.as_u16().into();
        Ok(AsyncRawResponse::from_bytes(status, headers, body))
    }
}

/// The member of a token's answer whose number no calendar has: the SDK adds it to the time
/// of day and panics.
fn beyond_time(body: &[u8]) -> Option<&'static str> {
    const NAMES: [&str; 4] = ["expires_in", "ext_expires_in", "expires_on", "refresh_in"];
    const YEARS: f64 = 1e11;
    let answer: serde_json::Value = serde_json::from_slice(body).ok()?;
    NAMES.into_iter().find(|name| {
        let number = match answer.get(name) {
            Some(serde_json::Value::Number(number)) => number.as_f64(),
            Some(serde_json::Value::String(text)) => text.trim().parse().ok(),
            _ => return false,
        };
        number.is_some_and(|number| !(-YEARS..=YEARS).contains(&number))
    })
}

#[cfg(test)]
mod tests {
    use super::beyond_time;

    #[test]
    fn times_that_no_calendar_has_are_found() {
        for (body, found) in [
            (
                r#"{"expires_in":3599,"ext_expires_in":"3599","expires_on":"1800000000"}"#,
                None,
            ),
            (r#"{"expires_in":9223372036854775807}"#, Some("expires_in")),
            (
                r#"{"expires_on":"-9223372036854775808"}"#,
                Some("expires_on"),
            ),
            (r#"{"refresh_in":1e300}"#, Some("refresh_in")),
            ("[]", None),
            ("", None),
        ] {
            assert_eq!(beyond_time(body.as_bytes()), found, "{body}");
        }
    }
}
