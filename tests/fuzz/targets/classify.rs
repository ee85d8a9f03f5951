//! Whole requests: what was decided is what is sent, whoever reads it.
//!
//! The first byte chooses method and headers, the first line is the target, then
//! comes the body, and after a blank line the resource before the change.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vaultgate_arm::json::Document;
use vaultgate_arm::{Before, Class, Classified, Route, route};
use vaultgate_fuzz::json_reader::folded;
use vaultgate_fuzz::path_reader::{action, lenient, plain};

const METHODS: [&str; 8] = ["GET", "PUT", "POST", "PATCH", "DELETE", "HEAD", "get", ""];
/// Longest target that is read: what is sent may be longer, escapes and all.
const MAX_TARGET: usize = 8 << 10;

fuzz_target!(|data: &[u8]| {
    let Some((flags, rest)) = data.split_first() else {
        return;
    };
    let method = METHODS[usize::from(flags & 7)];
    let line = rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
    let (target, rest) = rest.split_at(line);
    let rest = rest.strip_prefix(b"\n").unwrap_or(rest);
    let Ok(target) = std::str::from_utf8(target) else {
        return;
    };
    let Ok(routed) = route(method, target) else {
        return;
    };
    let sent = routed.target.path_and_query();
    one_operation(method, target, &routed, &sent);
    let gap = rest.windows(2).position(|two| two == b"\n\n");
    let (body, before) = rest.split_at(gap.unwrap_or(rest.len()));
    classified(method, &sent, routed, &headers(*flags), body, before);
});

fn headers(flags: u8) -> Vec<(&'static str, &'static str)> {
    let mut headers = vec![("content-type", "application/json; charset=utf-8")];
    for (bit, header) in [
        (8, ("x-ms-deleted-vault-id", "1")),
        (16, ("if-match", "*")),
        (32, ("x-ms-authorization-auxiliary", "Bearer x")),
        (64, ("content-encoding", "gzip")),
        (128, ("x-ms-client-request-id", "1")),
    ] {
        headers.extend((flags & bit != 0).then_some(header));
    }
    headers
}

/// What is sent is a fixed point, and no other reader finds another operation in it
/// or in what the caller wrote.
fn one_operation(method: &str, target: &str, routed: &Route, sent: &str) {
    let told = || format!("{method} {target:?} as {sent:?}");
    let own = routed.operation;
    assert!(
        sent.bytes()
            .all(|b| b.is_ascii_graphic() && b != b'\\' && b != b'#'),
        "{}",
        told()
    );
    let path = routed.target.path();
    let lower = path.to_ascii_lowercase();
    for never in ["//", "/../", "/./", "%2f", "%5c", "%00", "%25", "%2e"] {
        assert!(!lower.contains(never), "{never}: {}", told());
    }
    assert!(
        !path.ends_with("/.") && !path.ends_with("/.."),
        "{}",
        told()
    );
    assert_eq!(own.method.as_str(), method, "{}", told());
    if sent.len() <= MAX_TARGET {
        let again = route(method, sent).unwrap_or_else(|error| panic!("{error}: {}", told()));
        assert_eq!(again.operation.id, own.id, "{}", told());
        assert_eq!(again.target, routed.target, "{}", told());
        assert_eq!(again.resource, routed.resource, "{}", told());
        assert_eq!(again.api_version, routed.api_version, "{}", told());
    }
    for (reader, path) in [("plain", plain(sent)), ("lenient", lenient(target))] {
        if let Some(found) = action(method, &path) {
            assert_eq!(found, own.name, "a {reader} reader: {}", told());
        }
    }
    // Names as the caller wrote them; only what is fixed may be spelt another way.
    let (sent, asked) = (plain(sent), lenient(target));
    assert_eq!(sent.len(), asked.len(), "{}", told());
    for ((own, sent), asked) in own.template.split('/').skip(1).zip(&sent).zip(&asked) {
        match own.starts_with('{') {
            true => assert_eq!(sent, asked, "{}", told()),
            false => assert!(sent == own && asked.eq_ignore_ascii_case(own), "{}", told()),
        }
    }
}

fn classified(
    method: &str,
    sent: &str,
    routed: Route,
    headers: &[(&str, &str)],
    body: &[u8],
    before: &[u8],
) {
    let extra = ["2024-04-01".to_owned()];
    let Ok(first) = routed.classify(headers, body, &extra) else {
        return;
    };
    let told = || format!("{method} {sent:?} {:?}", String::from_utf8_lossy(body));
    let bytes = first.body.as_ref().map(Document::canonical_bytes);
    let bytes = bytes.unwrap_or_default();
    if !bytes.is_empty() {
        let ours: serde_json::Value =
            serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{error}: {}", told()));
        // The last of two members wins there, as with many servers.
        let theirs: serde_json::Value =
            serde_json::from_slice(body).unwrap_or_else(|error| panic!("{error}: {}", told()));
        assert_eq!(slashed(&ours), slashed(&theirs), "{}", told());
        for pointer in first.secrets.iter().chain(&first.body_unknown) {
            assert!(ours.pointer(pointer).is_some(), "{pointer:?}: {}", told());
        }
    }
    // The rewrite of one id takes one slash, and only of what is an id is it the last.
    if sent.len() <= MAX_TARGET && !contains(&bytes, b"/storageAccounts//") {
        let again = route(method, sent).and_then(|route| route.classify(headers, &bytes, &extra));
        let again = again.unwrap_or_else(|error| panic!("{error}: {}", told()));
        assert_eq!(again.class, first.class, "{}", told());
        assert_eq!(again.resource, first.resource, "{}", told());
        assert_eq!(again.restore, first.restore, "{}", told());
        assert_eq!(again.body_unknown, first.body_unknown, "{}", told());
        assert_eq!(again.secrets, first.secrets, "{}", told());
        assert_eq!(again.body, first.body, "{}", told());
    }
    settled(&first, before);
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// A body's text without ASCII case, and with one slash behind `storageAccounts`.
fn slashed(value: &serde_json::Value) -> String {
    let mut text = folded(value).to_string();
    while text.contains("/storageaccounts//") {
        text = text.replace("/storageaccounts//", "/storageaccounts/");
    }
    text
}

/// What the state before tells may only lower what is feared, and nobody's word for
/// the state may not.
fn settled(first: &Classified, before: &[u8]) {
    assert_eq!(first.settle(&Before::Unavailable).class, first.class);
    let before = match Document::parse(before) {
        Ok(document) => Before::Present(document),
        Err(_) => Before::Absent,
    };
    let settled = first.settle(&before);
    if first.class != Class::Weaken || !first.body_unknown.is_empty() {
        assert_eq!(settled.class, first.class);
    }
    assert!(
        settled.class <= first.class,
        "{:?} is worse than {:?}",
        settled.class,
        first.class
    );
}
