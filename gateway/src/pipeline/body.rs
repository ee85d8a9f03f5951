//! Reading a request's body: bounded in size and in pauses, after authentication.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};

use crate::refusal::{Refusal, Verdict};

/// Reads the whole body, or refuses.
pub(crate) async fn read(mut body: Incoming, max: usize, idle: Duration) -> Result<Bytes, Refusal> {
    let too_large = || {
        let mut refusal = Refusal::new(
            "body-too-large",
            StatusCode::PAYLOAD_TOO_LARGE,
            Verdict::Deny,
            format!("the body is larger than {max} bytes"),
        );
        refusal.close = true;
        refusal
    };
    // A declared length is refused before a byte of it is read.
    if body.size_hint().lower() > max as u64 {
        return Err(too_large());
    }
    let mut read = BytesMut::new();
    loop {
        let frame = match tokio::time::timeout(idle, body.frame()).await {
            Err(_) => return Err(stalled(idle)),
            Ok(None) => return Ok(read.freeze()),
            Ok(Some(Err(_))) => return Err(broken()),
            Ok(Some(Ok(frame))) => frame,
        };
        // Trailers are read past and never forwarded.
        if let Ok(data) = frame.into_data() {
            if read.len() + data.len() > max {
                return Err(too_large());
            }
            read.extend_from_slice(&data);
        }
    }
}

/// The refusal of a body that takes too long.
pub(crate) fn stalled(idle: Duration) -> Refusal {
    let mut refusal = Refusal::new(
        "body-stalled",
        StatusCode::REQUEST_TIMEOUT,
        Verdict::Deny,
        format!("the body paused for more than {idle:?}"),
    );
    refusal.close = true;
    refusal
}

fn broken() -> Refusal {
    let mut refusal = Refusal::new(
        "body-broken",
        StatusCode::BAD_REQUEST,
        Verdict::Deny,
        "the body ended before its declared length",
    );
    refusal.close = true;
    refusal
}
