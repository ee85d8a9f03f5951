//! The checks of one issuer's settings, each with what to write instead.

use std::time::Duration;

use jsonwebtoken::Algorithm;
use url::{Host, Url};

use super::{Claims, JwksLimits, media_type, trimmed};
use crate::config::Problems;
use crate::config::duration::Written;

/// How a token without `typ` is written in `token_types`.
const ABSENT: &str = "absent";

pub(super) fn name(name: &str, key: &str, problems: &mut Problems) {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > 64 || !name.chars().all(fits) {
        problems.add(
            key,
            format!("`{name}` cannot name an issuer"),
            "use up to 64 letters, digits, `-`, `_` or `.`: it becomes a metric label",
        );
    }
}

/// An https address; plain http only to this machine, and only when that is allowed.
pub(super) fn address(
    text: &str,
    key: &str,
    insecure: bool,
    problems: &mut Problems,
) -> Option<Url> {
    let hint = "write it like `https://login.example.com/tenant`";
    let Ok(url) = Url::parse(text) else {
        problems.add(key, format!("`{text}` is not a URL"), hint);
        return None;
    };
    // Issuers are compared as they are written: a spelling that a parser mends matches none.
    if !text.starts_with(&format!("{}://", url.scheme())) {
        problems.add(key, format!("`{text}` is not written as a URL"), hint);
        return None;
    }
    let bare = url.query().is_none() && url.fragment().is_none();
    if !bare || url.username() != "" || url.password().is_some() {
        problems.add(key, format!("`{text}` has a query, fragment or user"), hint);
        return None;
    }
    match url.scheme() {
        "https" => Some(url),
        "http" if insecure && is_loopback(&url) => Some(url),
        "http" if is_loopback(&url) => {
            problems.add(
                key,
                format!("`{text}` is plain http"),
                "for development set `allow_insecure_loopback = true`",
            );
            None
        }
        _ => {
            problems.add(key, format!("`{text}` is not an https address"), hint);
            None
        }
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

pub(super) fn algorithms(names: &[String], key: &str, problems: &mut Problems) -> Vec<Algorithm> {
    let mut algorithms = Vec::new();
    for name in names {
        match name.parse::<Algorithm>() {
            // Whoever can verify with a shared secret can sign with it: every reader
            // of the key set, or of a client's secret, would be an issuer.
            Ok(Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512) | Err(_) => problems.add(
                key,
                format!("`{name}` is not an algorithm that callers' tokens may be signed with"),
                "use some of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA",
            ),
            Ok(algorithm) => algorithms.push(algorithm),
        }
    }
    if names.is_empty() {
        problems.add(
            key,
            "no algorithm is listed",
            "leave the setting out to get the preset's",
        );
    }
    algorithms
}

pub(super) fn token_types(
    names: &[String],
    key: &str,
    problems: &mut Problems,
) -> Vec<Option<String>> {
    if names.is_empty() {
        problems.add(
            key,
            "no token type is listed",
            "leave the setting out to get the preset's",
        );
    }
    let types = names
        .iter()
        .map(|name| (name != ABSENT).then(|| media_type(name)));
    types.collect()
}

pub(super) fn audiences(data: &[String], console: &[String], key: &str, problems: &mut Problems) {
    if data.is_empty() {
        problems.add(
            key,
            "no audience is listed, so every token would be refused",
            "list the App ID URI or client id that tokens for this gateway carry in `aud`",
        );
    }
    for audience in data.iter().chain(console) {
        let graphic = audience.chars().all(|c| c.is_ascii_graphic());
        if trimmed(audience).is_empty() || !graphic || audience.contains('*') {
            problems.add(
                key,
                format!("`{audience}` is not an audience"),
                "an audience is one exact value of `aud`, such as `api://vaultgate`; there are no patterns",
            );
        }
    }
    for audience in console {
        if data.iter().any(|other| trimmed(other) == trimmed(audience)) {
            problems.add(
                key,
                format!("`{audience}` opens both the data door and the console"),
                "approvals need an audience of their own, so that a stolen CLI token cannot approve",
            );
        }
    }
}

pub(super) fn between(
    value: Duration,
    (low, high): (u64, u64),
    key: &str,
    problems: &mut Problems,
) {
    if value < Duration::from_secs(low) || value > Duration::from_secs(high) {
        problems.add(
            key,
            format!("`{value:?}` is out of bounds"),
            format!("use a duration from {low}s to {high}s"),
        );
    }
}

pub(super) fn jwks(
    cooldown: Option<Written>,
    ceiling: Option<Written>,
    key: &str,
    problems: &mut Problems,
) -> JwksLimits {
    let cooldown = cooldown.map_or(Duration::from_secs(10), |written| written.0);
    between(
        cooldown,
        (1, 3_600),
        &format!("{key}.jwks_cooldown"),
        problems,
    );
    let ceiling = ceiling.map_or(Duration::from_secs(86_400), |written| written.0);
    between(
        ceiling,
        (60, 7 * 86_400),
        &format!("{key}.jwks_ceiling"),
        problems,
    );
    JwksLimits {
        cooldown,
        // Several tries fit before the ceiling, and a withdrawn key is gone in an hour.
        refresh: (ceiling / 4).min(Duration::from_secs(3_600)),
        ceiling,
    }
}

pub(super) fn asserted(asserts_flows: bool, claims: &Claims, key: &str, problems: &mut Problems) {
    match (asserts_flows, &claims.flow) {
        (true, None) => problems.add(
            format!("{key}.asserts_flows"),
            "the issuer may assert flows, but no claim names them",
            "set `claims.flow` to the name of the claim",
        ),
        (false, Some(claim)) => problems.add(
            format!("{key}.claims.flow"),
            format!("`{claim}` would name flows, but the issuer may not assert any"),
            "set `asserts_flows = true` if whoever can obtain such a token may run the flow",
        ),
        _ => {}
    }
}
