//! URLs in Azure's answers that would lead a caller past the gateway.
//!
//! Operation URLs become handles; `nextLink` becomes the same read at the
//! gateway. A URL of any other host is removed: a client would send its token there.

use std::ops::Range;

use serde::Deserialize;
use serde_json::value::RawValue;

/// The path and query of `url` when it is one of the pinned authority.
pub(crate) fn local_part<'u>(url: &'u str, authority: &str) -> Option<&'u str> {
    let rest = url.strip_prefix("https://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (host, local) = rest.split_at(end);
    let same = host.eq_ignore_ascii_case(authority);
    let plain = local.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
    (same && plain && local.starts_with('/')).then_some(local)
}

/// Replaces the value of the top-level `nextLink` of a page, leaving every other
/// byte as Azure sent it. `rewrite` gives the new link; `None` removes it (`null`).
pub(crate) fn next_link(
    body: &[u8],
    rewrite: impl FnOnce(&str) -> Option<String>,
) -> Option<Vec<u8>> {
    let (span, link) = find(body)?;
    let replacement = match rewrite(&link) {
        Some(link) => serde_json::to_vec(&link).ok()?,
        None => b"null".to_vec(),
    };
    let mut rewritten = Vec::with_capacity(body.len() + replacement.len());
    rewritten.extend_from_slice(body.get(..span.start)?);
    rewritten.extend_from_slice(&replacement);
    rewritten.extend_from_slice(body.get(span.end..)?);
    Some(rewritten)
}

#[derive(Deserialize)]
struct Page<'b> {
    #[serde(rename = "nextLink", borrow)]
    next_link: Option<&'b RawValue>,
}

/// Where the link stands in the body, and what it says.
fn find(body: &[u8]) -> Option<(Range<usize>, String)> {
    let page: Page<'_> = serde_json::from_slice(body).ok()?;
    let raw = page.next_link?.get();
    let link: String = serde_json::from_str(raw).ok()?;
    // The raw value borrows from `body`, so its distance from the start is its place.
    let start = (raw.as_ptr() as usize).checked_sub(body.as_ptr() as usize)?;
    Some((start..start + raw.len(), link))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::{local_part, next_link};

    #[test]
    fn only_the_pinned_authority_is_followed() {
        let arm = "management.azure.com";
        let good = "https://management.azure.com/subscriptions/s?t=1&s=a%2Fb";
        assert_eq!(local_part(good, arm), Some("/subscriptions/s?t=1&s=a%2Fb"));
        let upper = "https://MANAGEMENT.azure.com/x";
        assert_eq!(local_part(upper, arm), Some("/x"));
        for hostile in [
            "http://management.azure.com/x",
            "https://management.azure.com@evil.example/x",
            "https://management.azure.com.evil.example/x",
            "https://management.azure.com:444/x",
            "https://evil.example/x",
            "//management.azure.com/x",
            "https://management.azure.com",
            "https://management.azure.com/x#y",
            "https://management.azure.com/x\r\nSet-Cookie: a",
            "https://management.azure.com\\@evil.example/x",
        ] {
            assert_eq!(local_part(hostile, arm), None, "{hostile}");
        }
    }

    #[test]
    fn the_link_alone_changes() {
        let body = br#"{"value":[{"n":1.10,"nextLink":"https://a/inner"}], "nextLink" : "https:\/\/a\/b" }"#;
        let rewritten = next_link(body, |link| Some(link.replace("https://a", "https://g")));
        let expected =
            br#"{"value":[{"n":1.10,"nextLink":"https://a/inner"}], "nextLink" : "https://g/b" }"#;
        assert_eq!(rewritten.unwrap(), expected);
        let removed = next_link(br#"{"nextLink":"https://evil/"}"#, |_| None);
        assert_eq!(removed.unwrap(), br#"{"nextLink":null}"#);
        for none in [&b"[]"[..], b"{}", br#"{"nextLink":null}"#, b"not json"] {
            assert_eq!(next_link(none, |_| None), None);
        }
    }
}
