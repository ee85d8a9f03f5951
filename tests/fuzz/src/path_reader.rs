//! Paths as other servers read them: one that splits before it decodes, one that
//! decodes first, and a list of operations that is not the product's catalogue.

use std::sync::LazyLock;

/// The operations of Azure's published specifications.
const OPERATIONS: &str = include_str!("../../data/operations.csv");

struct Listed {
    method: &'static str,
    template: Vec<&'static str>,
    action: &'static str,
}

static LISTED: LazyLock<Vec<Listed>> = LazyLock::new(|| {
    let row = |line: &'static str| {
        let fields: Vec<&str> = line.splitn(7, ',').collect();
        Listed {
            method: fields[2],
            template: fields[3].trim_matches('/').split('/').collect(),
            action: fields[5],
        }
    };
    OPERATIONS.lines().skip(1).map(row).collect()
});

/// Text with its escapes taken out, once.
pub fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let pair = bytes.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        let pair = pair.and_then(|pair| std::str::from_utf8(pair).ok());
        match pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Text with everything escaped that could be read as something else.
pub fn encoded(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    text.bytes().fold(String::new(), |mut out, byte| {
        if plain(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        out
    })
}

/// What a lenient server makes of a target: decoded before it is split, dots
/// resolved, empty segments dropped.
pub fn lenient(target: &str) -> Vec<String> {
    let path = target.split(['?', '#']).next().unwrap_or_default();
    let mut segments: Vec<String> = Vec::new();
    for segment in decoded(path).replace('\\', "/").split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            other => segments.push(other.to_owned()),
        }
    }
    segments
}

/// What a plain server makes of it: split, then decoded.
pub fn plain(target: &str) -> Vec<String> {
    let path = target.split('?').next().unwrap_or_default();
    path.trim_matches('/').split('/').map(decoded).collect()
}

/// The RBAC action that a path names on the list.
pub fn action(method: &str, path: &[String]) -> Option<&'static str> {
    let fits = |one: &&Listed| {
        let mut pairs = one.template.iter().zip(path);
        one.method == method
            && one.template.len() == path.len()
            && pairs.all(|(own, given)| own.starts_with('{') || own.eq_ignore_ascii_case(given))
    };
    let fixed = |one: &&Listed| {
        one.template
            .iter()
            .filter(|own| !own.starts_with('{'))
            .count()
    };
    LISTED
        .iter()
        .filter(fits)
        .max_by_key(fixed)
        .map(|one| one.action)
}
