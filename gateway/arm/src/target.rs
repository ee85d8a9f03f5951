//! The request target, parsed once: segments and query, nothing ambiguous left.
//!
//! The upstream request is rebuilt from here, so the bytes as received never reach
//! Azure. One rewrite exists: an empty segment inside a GET is left out, since the
//! Azure CLI sends `storageAccounts//sa1` and SDKs end lists with `/`.

use crate::refused::{ReasonCode, Refused};

/// Longest target, bytes.
const MAX_TARGET: usize = 8 << 10;
/// Longest decoded segment, bytes.
const MAX_SEGMENT: usize = 512;

/// Query parameters that operations of the catalogue have, in canonical spelling.
const PARAMETERS: [&str; 16] = [
    "api-version",
    "$filter",
    "$skipToken",
    "$top",
    "$orderby",
    "$expand",
    "$select",
    "$count",
    "operation",
    "detail",
    // Signature of an operation's poll URL.
    "t",
    "c",
    "s",
    "h",
    "hasMoreRecoveryPoints",
    "isAsync",
];

/// A parsed target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    path: String,
    query: String,
}

impl Target {
    /// Canonical path, percent-encoded.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Canonical query, without `?`; empty when there is none.
    pub fn query(&self) -> &str {
        &self.query
    }

    /// Path and query as sent.
    pub fn path_and_query(&self) -> String {
        if self.query.is_empty() {
            self.path.clone()
        } else {
            format!("{}?{}", self.path, self.query)
        }
    }

    pub(crate) fn of(segments: &[&str], query: &[(String, String)]) -> Target {
        let mut path = String::new();
        for segment in segments {
            path.push('/');
            encode(segment, &mut path);
        }
        let mut text = String::new();
        for (name, value) in query {
            if !text.is_empty() {
                text.push('&');
            }
            // `$` is sent as it is by every client.
            text.push_str(name);
            text.push('=');
            encode(value, &mut text);
        }
        Target { path, query: text }
    }
}

/// A target split and decoded, before it is matched.
#[derive(Debug)]
pub(crate) struct Decoded {
    pub(crate) segments: Vec<String>,
    pub(crate) query: Vec<(String, String)>,
}

impl Decoded {
    /// The value of a query parameter.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// Splits and decodes a target; refuses what could be read in two ways.
pub(crate) fn decode(target: &str, is_get: bool) -> Result<Decoded, Refused> {
    let malformed = |what: &str| Refused::new(ReasonCode::TargetMalformed, what);
    if target.len() > MAX_TARGET {
        return Err(malformed("the request target is longer than 8 KiB"));
    }
    if target
        .bytes()
        .any(|b| !b.is_ascii_graphic() || matches!(b, b'#' | b'\\'))
    {
        return Err(malformed(
            "the request target holds a character that no target has",
        ));
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let Some(path) = path.strip_prefix('/') else {
        return Err(malformed("the request target does not begin with `/`"));
    };
    Ok(Decoded {
        segments: segments(path, is_get)?,
        query: parameters(query)?,
    })
}

/// Splits a path that is decoded once, after splitting: an encoded slash is never
/// a separator, and never forwarded either.
pub(crate) fn segments(path: &str, is_get: bool) -> Result<Vec<String>, Refused> {
    let mut segments = Vec::with_capacity(16);
    for (place, raw) in path.split('/').enumerate() {
        if raw.is_empty() {
            if is_get && place > 0 {
                continue;
            }
            return Err(ambiguous("the path has an empty segment"));
        }
        segments.push(segment(raw)?);
    }
    Ok(segments)
}

fn segment(raw: &str) -> Result<String, Refused> {
    let text = percent_decode(raw)
        .ok_or_else(|| ambiguous("the path holds an escape that is not one ASCII character"))?;
    let odd = |c: char| {
        !(' '..='~').contains(&c)
            || matches!(
                c,
                '/' | '\\' | '?' | '#' | '%' | '"' | '<' | '>' | '|' | '^' | '`' | '{' | '}'
            )
    };
    if text.chars().any(odd) {
        return Err(ambiguous(
            "the path holds an encoded separator or control character",
        ));
    }
    let edges = text.starts_with(' ') || text.ends_with([' ', '.']) || text.starts_with("..");
    if edges || text == "." || text.len() > MAX_SEGMENT {
        return Err(ambiguous(&format!("`{text}` is no name of a resource")));
    }
    Ok(text)
}

fn parameters(query: &str) -> Result<Vec<(String, String)>, Refused> {
    let mut parameters: Vec<(String, String)> = Vec::new();
    if query.is_empty() {
        return Ok(parameters);
    }
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        // A raw plus is a space to some readers and a plus to others.
        if pair.contains('+') {
            return Err(ambiguous(
                "the query holds a raw `+`; encode it as %2B or %20",
            ));
        }
        let decoded = percent_decode(name).zip(percent_decode_utf8(value));
        let (name, value) =
            decoded.ok_or_else(|| ambiguous("the query holds an escape that is not valid"))?;
        let known = PARAMETERS
            .iter()
            .find(|known| known.eq_ignore_ascii_case(&name));
        let Some(known) = known else {
            return Err(Refused::new(
                ReasonCode::QueryUnknown,
                format!(
                    "no operation has the query parameter `{}`",
                    name.escape_debug()
                ),
            ));
        };
        if parameters.iter().any(|(n, _)| n == known) {
            return Err(Refused::new(
                ReasonCode::QueryUnknown,
                format!("the query parameter `{known}` occurs twice"),
            ));
        }
        parameters.push(((*known).to_owned(), value));
    }
    Ok(parameters)
}

/// Decodes ASCII escapes; anything else is ambiguous in a path.
fn percent_decode(raw: &str) -> Option<String> {
    percent_decode_utf8(raw).filter(|text| text.is_ascii())
}

fn percent_decode_utf8(raw: &str) -> Option<String> {
    if !raw.contains('%') {
        return Some(raw.to_owned());
    }
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        let digits = std::str::from_utf8(digits).ok()?;
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = after;
    }
    // A zero byte ends a string in some readers.
    String::from_utf8(bytes)
        .ok()
        .filter(|text| !text.contains('\0'))
}

/// Encodes everything but unreserved characters.
fn encode(text: &str, out: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push('%');
            for digit in [byte >> 4, byte & 15] {
                let digit = HEX.get(usize::from(digit)).copied().unwrap_or(b'0');
                out.push(char::from(digit));
            }
        }
    }
}

fn ambiguous(what: &str) -> Refused {
    Refused::new(ReasonCode::TargetAmbiguous, what)
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for target in [
            "",
            "x",
            "//x",
            "/a//b",
            "/a/",
            "/a/./b",
            "/a/../b",
            "/a/%2e%2e/b",
            "/a/..%3b/b",
            "/a/..%20/b",
            "/a%2fb",
            "/a%5cb",
            "/a\\b",
            "/a%255cb",
            "/a%00",
            "/a%0d%0ab",
            "/a#b",
            "/a%c3%a9",
            "/a%u002e",
            "/a%zz",
            "/a%2",
            "/a?b=1",
            "/a?api-version=1&API-VERSION=2",
            "/a?api-version[]=1",
            "/a?$filter=a+b",
            "/p1.",
            "/p1%20",
        ] {
            assert!(decode(target, false).is_err(), "{target}");
        }
    }

    #[test]
    fn names_keep_their_semicolons_dots_and_plus() {
        for target in [
            "/a;b;c",
            "/a%3Bb",
            "/a..b",
            "/a+b",
            "/x?$filter=a%20eq%20'b'",
        ] {
            assert!(decode(target, false).is_ok(), "{target}");
        }
        let get = decode("/a//b/", true).map(|d| d.segments);
        assert_eq!(get.ok(), Some(vec!["a".to_owned(), "b".to_owned()]));
    }
}
