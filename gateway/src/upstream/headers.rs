//! Header lists, both ways. What is not listed does not pass.

use http::header::{
    ACCEPT, ACCEPT_LANGUAGE, CONTENT_TYPE, ETAG, HeaderName, IF_MATCH, IF_NONE_MATCH,
    LAST_MODIFIED, LOCATION, RETRY_AFTER,
};
use http::{HeaderMap, HeaderValue};

/// Headers of a caller that reach Azure.
const UP: [HeaderName; 4] = [ACCEPT, ACCEPT_LANGUAGE, IF_MATCH, IF_NONE_MATCH];

/// Headers of Azure that reach a caller, beside `x-ms-` ones listed below.
const DOWN: [HeaderName; 5] = [CONTENT_TYPE, ETAG, RETRY_AFTER, LOCATION, LAST_MODIFIED];

const DOWN_BY_NAME: [&str; 6] = [
    "azure-asyncoperation",
    "operation-location",
    "x-ms-request-id",
    "x-ms-correlation-request-id",
    "x-ms-routing-request-id",
    "x-ms-failure-cause",
];

const DOWN_BY_PREFIX: &str = "x-ms-ratelimit-remaining-";

/// The caller's headers that are forwarded.
pub(crate) fn to_upstream(caller: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for name in UP {
        let mut values = caller.get_all(&name).iter();
        // A repeated header could be read as its first or its last.
        if let (Some(value), None) = (values.next(), values.next()) {
            headers.insert(name, value.clone());
        }
    }
    headers
}

/// Azure's headers that are passed on.
pub(super) fn to_caller(azure: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in azure {
        let listed = DOWN.contains(name)
            || DOWN_BY_NAME.contains(&name.as_str())
            || is_ratelimit(name.as_str());
        if listed && is_plain(value) && !headers.contains_key(name) {
            headers.insert(name.clone(), value.clone());
        }
    }
    headers
}

/// Which of Azure's limits it tells is a word: an open end could carry anything.
fn is_ratelimit(name: &str) -> bool {
    name.strip_prefix(DOWN_BY_PREFIX).is_some_and(|limit| {
        limit.len() <= 64 && limit.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')
    })
}

/// Text without control characters: nothing that splits an answer.
fn is_plain(value: &HeaderValue) -> bool {
    value.to_str().is_ok() && value.len() <= 8 << 10
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::{to_caller, to_upstream};
    use http::HeaderMap;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn only_listed_headers_pass() {
        let up = to_upstream(&map(&[
            ("authorization", "Bearer x"),
            ("cookie", "a=b"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-ms-authorization-auxiliary", "Bearer y"),
            ("accept", "application/json"),
            ("if-match", "a"),
            ("if-match", "b"),
        ]));
        assert_eq!(up, map(&[("accept", "application/json")]));
        let down = to_caller(&map(&[
            ("set-cookie", "a=b"),
            ("www-authenticate", "Bearer"),
            ("server", "x"),
            ("x-ms-ratelimit-remaining-eyj0.eyjh0", "7"),
            ("x-vaultgate-decision", "allow"),
            ("retry-after", "5"),
            ("x-ms-ratelimit-remaining-subscription-reads", "7"),
        ]));
        assert_eq!(
            down,
            map(&[
                ("retry-after", "5"),
                ("x-ms-ratelimit-remaining-subscription-reads", "7")
            ])
        );
    }
}
