//! What is refused before anybody reads a token: framing that two parsers could
//! read differently, and methods that are not requests at all.

use http::header::{CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING, UPGRADE};
use http::{Request, StatusCode, Version};

use crate::listener::MAX_HEADER_BYTES;
use crate::refusal::{Refusal, Verdict};

/// Refuses ambiguous framing and ends the connection with it.
pub(crate) fn check<B>(request: &Request<B>, hosts: &[String]) -> Result<(), Box<Refusal>> {
    let headers = request.headers();
    let lines = headers.iter();
    let size = lines.map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len());
    // hyper's own limit is of what it reads at once: the last piece may go beyond it.
    if size.sum::<usize>() > MAX_HEADER_BYTES {
        return Err(closing(
            "headers-too-large",
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "the headers are larger than 32 KiB",
        ));
    }
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
    let expectation = headers.get(EXPECT);
    if expectation.is_some_and(|value| !value.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        return Err(closing(
            "expectation",
            StatusCode::EXPECTATION_FAILED,
            "the only expectation that is met is `100-continue`",
        ));
    }
    addressed_to_us(request, hosts)
}

/// A request that names another host was meant for another parser, or led here by
/// somebody else's DNS. The name decides nothing upstream either way.
fn addressed_to_us<B>(request: &Request<B>, hosts: &[String]) -> Result<(), Box<Refusal>> {
    let host = request.headers().get(HOST);
    let http2 = request.version() == Version::HTTP_2;
    if host.is_none() && (!http2 || request.uri().authority().is_none()) {
        return Err(closing(
            "host-missing",
            StatusCode::BAD_REQUEST,
            "the request names no `Host`",
        ));
    }
    let authority = request
        .uri()
        .authority()
        .map(|authority| authority.as_str().as_bytes());
    let named = [host.map(|host| host.as_bytes()), authority];
    if let [Some(host), Some(authority)] = named
        && !host.eq_ignore_ascii_case(authority)
    {
        return Err(closing(
            "authority-foreign",
            StatusCode::BAD_REQUEST,
            "the request target and `Host` name different authorities",
        ));
    }
    for name in named.into_iter().flatten() {
        let Some(name) = host_name(name) else {
            return Err(closing(
                "host-malformed",
                StatusCode::BAD_REQUEST,
                "the request names no host that could be one",
            ));
        };
        if !hosts.iter().any(|own| own.eq_ignore_ascii_case(name)) {
            let message = "the request is addressed to a host that this gateway is not";
            return Err(closing(
                "authority-foreign",
                StatusCode::MISDIRECTED_REQUEST,
                message,
            ));
        }
    }
    Ok(())
}

/// The name in `name[:port]`; none when another reader could see another name.
fn host_name(authority: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(authority).ok()?;
    let (name, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) => (
            address,
            port.strip_prefix(':').or(port.is_empty().then_some("0")),
        ),
        None => match text.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (text, Some("0")),
        },
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':');
    let good = !name.is_empty() && name.bytes().all(plain);
    let numbered = port.is_some_and(|port| port.parse::<u16>().is_ok());
    (good && numbered).then_some(name)
}

fn closing(reason: &'static str, status: StatusCode, message: &str) -> Box<Refusal> {
    let mut refusal = Refusal::new(reason, status, Verdict::Deny, message);
    refusal.close = true;
    Box::new(refusal)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::check;
    use http::{Request, Version};

    fn reason(request: Request<()>) -> &'static str {
        check(&request, &["gw.example".to_owned()])
            .err()
            .map_or("fine", |r| r.reason)
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
        assert_eq!(
            absolute("https://gw.example/x", "evil"),
            "authority-foreign"
        );
        assert_eq!(
            absolute("https://gw.example@evil/x", "gw.example"),
            "authority-foreign"
        );
        assert_eq!(absolute("/x", "management.azure.com"), "authority-foreign");
        assert_eq!(absolute("/x", "GW.example:8443"), "fine");
        for host in [
            "gw.example, evil",
            "gw.example/evil",
            "a@gw.example",
            "gw.example:x",
            "",
        ] {
            assert_eq!(absolute("/x", host), "host-malformed", "{host}");
        }
    }

    #[test]
    fn a_request_over_http_2_names_a_host_too() {
        let over = |target: &str| {
            let request = Request::get(target).version(Version::HTTP_2);
            reason(request.body(()).unwrap())
        };
        assert_eq!(over("https://gw.example/x"), "fine");
        assert_eq!(over("https://evil.example/x"), "authority-foreign");
        assert_eq!(over("/x"), "host-missing");
    }

    #[test]
    fn headers_have_a_limit_that_does_not_depend_on_how_they_come() {
        let with = |size| {
            Request::get("/")
                .header("host", "gw.example")
                .header("x", "y".repeat(size))
        };
        assert!(check(&with(32_000).body(()).unwrap(), &["gw.example".to_owned()]).is_ok());
        assert_eq!(reason(with(33_000).body(()).unwrap()), "headers-too-large");
    }

    #[test]
    fn an_expectation_that_is_not_met_is_refused() {
        let expecting = |what: &str| {
            let request = Request::post("/x")
                .header("host", "gw.example")
                .header("expect", what);
            reason(request.body(()).unwrap())
        };
        assert_eq!(expecting("100-Continue"), "fine");
        assert_eq!(expecting("200-ok"), "expectation");
    }
}
