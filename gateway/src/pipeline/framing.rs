//! What is refused before anybody reads a token: framing that two parsers could
//! read differently, and methods that are not requests at all.

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING, UPGRADE};
use http::{Request, StatusCode, Version};

use crate::refusal::{Refusal, Verdict};

/// Refuses ambiguous framing and ends the connection with it.
pub(crate) fn check<B>(request: &Request<B>, public_host: &str) -> Result<(), Refusal> {
    let headers = request.headers();
    let h1 = request.version() != Version::HTTP_2;
    // hyper drops Content-Length beside Transfer-Encoding, so whoever sends both
    // is seen as chunked: refusing the coding itself leaves nothing to disagree on.
    if headers.contains_key(TRANSFER_ENCODING) {
        return Err(closing(
            "transfer-encoding",
            StatusCode::LENGTH_REQUIRED,
            "a request body needs `Content-Length`; `Transfer-Encoding` is not taken",
        ));
    }
    if request.version() == Version::HTTP_10 || request.version() == Version::HTTP_09 {
        return Err(closing(
            "http-version",
            StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            "use HTTP/1.1 or HTTP/2",
        ));
    }
    if request.method() == http::Method::CONNECT || headers.contains_key(UPGRADE) {
        return Err(closing(
            "upgrade",
            StatusCode::BAD_REQUEST,
            "this gateway tunnels and upgrades nothing",
        ));
    }
    let repeated = |name| headers.get_all(name).iter().count() > 1;
    if repeated(CONTENT_LENGTH) || repeated(HOST) {
        return Err(closing(
            "header-repeated",
            StatusCode::BAD_REQUEST,
            "`Content-Length` or `Host` stands in the request more than once",
        ));
    }
    if h1 && headers.get(HOST).is_none() {
        return Err(closing(
            "host-missing",
            StatusCode::BAD_REQUEST,
            "the request names no `Host`",
        ));
    }
    foreign_authority(request, public_host)
}

/// A target that names another authority is another parser's request.
fn foreign_authority<B>(request: &Request<B>, public_host: &str) -> Result<(), Refusal> {
    let Some(authority) = request.uri().authority() else {
        return Ok(());
    };
    let misdirected = || {
        closing(
            "authority-foreign",
            StatusCode::BAD_REQUEST,
            "the request target names another authority",
        )
    };
    if authority.as_str().contains('@') {
        return Err(misdirected());
    }
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    if host.is_some_and(|host| !host.eq_ignore_ascii_case(authority.as_str())) {
        return Err(misdirected());
    }
    // On HTTP/2 the authority is the host; on HTTP/1 an absolute target must be ours.
    let ours = authority.as_str().eq_ignore_ascii_case(public_host);
    if request.version() != Version::HTTP_2 && !ours {
        return Err(misdirected());
    }
    Ok(())
}

fn closing(reason: &'static str, status: StatusCode, message: &str) -> Refusal {
    let mut refusal = Refusal::new(reason, status, Verdict::Deny, message);
    refusal.close = true;
    refusal
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::check;
    use http::{Request, Version};

    fn reason(request: Request<()>) -> &'static str {
        check(&request, "gw.example").err().map_or("fine", |r| r.reason)
    }

    #[test]
    fn ambiguous_framing_is_refused_and_plain_requests_pass() {
        let get = || Request::get("/subscriptions").header("host", "gw.example");
        assert_eq!(reason(get().body(()).unwrap()), "fine");
        let chunked = get().header("transfer-encoding", "chunked");
        assert_eq!(reason(chunked.body(()).unwrap()), "transfer-encoding");
        let twice = get().header("host", "gw.example");
        assert_eq!(reason(twice.body(()).unwrap()), "header-repeated");
        let upgrade = get().header("upgrade", "h2c");
        assert_eq!(reason(upgrade.body(()).unwrap()), "upgrade");
        let none = Request::get("/x").body(()).unwrap();
        assert_eq!(reason(none), "host-missing");
        let old = get().version(Version::HTTP_10).body(()).unwrap();
        assert_eq!(reason(old), "http-version");
    }

    #[test]
    fn a_foreign_authority_is_refused() {
        let absolute = |target: &str, host: &str| {
            let request = Request::get(target).header("host", host);
            reason(request.body(()).unwrap())
        };
        assert_eq!(absolute("https://gw.example/x", "gw.example"), "fine");
        let other = absolute("https://management.azure.com/x", "management.azure.com");
        assert_eq!(other, "authority-foreign");
        assert_eq!(absolute("https://gw.example/x", "evil"), "authority-foreign");
        assert_eq!(absolute("https://gw.example@evil/x", "gw.example"), "authority-foreign");
    }
}
