//! Sessions: somebody signed in with a browser, which holds a cookie and no token.
//!
//! A session is as good as the token behind it and ends with it, with the key that signed it,
//! or after half an hour without a request. The cookie is a random number that is good on
//! this door alone; what changes something needs the session's second number as well, in a
//! header that no other site can send.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, StatusCode, header};
use moka::future::Cache;

use crate::authn::Authenticated;
use crate::pipeline::arrival::Arrival;
use crate::refusal::Refusal;

/// The session's cookie. The prefix keeps browsers from taking it from another host, from a
/// path, or without TLS.
const COOKIE: &str = "__Host-vaultgate-session";
/// The header that repeats the session's second number.
pub(super) const CSRF: &str = "x-vaultgate-csrf";
/// Longest time without a request.
const IDLE: Duration = Duration::from_secs(30 * 60);
/// Longest time of all.
const LONGEST: Duration = Duration::from_secs(8 * 3_600);
/// Sessions at once; beyond them the ones least used end.
const MOST: u64 = 10_000;

/// The sessions of this door, by the SHA-256 of their cookie.
pub(super) struct Sessions(Cache<[u8; 32], Arc<Session>>);

/// Somebody signed in.
pub(super) struct Session {
    /// Who, and by which token.
    pub(super) authenticated: Authenticated,
    /// What changes must repeat.
    pub(super) csrf: String,
}

impl Sessions {
    pub(super) fn new() -> Sessions {
        Sessions(
            Cache::builder()
                .max_capacity(MOST)
                .time_to_idle(IDLE)
                .time_to_live(LONGEST)
                .build(),
        )
    }

    /// Begins a session; the cookie to set.
    pub(super) async fn begin(&self, authenticated: Authenticated) -> String {
        let (own, csrf) = (number(), number());
        let session = Session {
            authenticated,
            csrf,
        };
        let key = crate::digest::sha256_raw(own.as_bytes());
        self.0.insert(key, Arc::new(session)).await;
        set_cookie(COOKIE, &own, LONGEST)
    }

    /// The session that a request comes with.
    pub(super) async fn of(&self, headers: &HeaderMap) -> Option<Arc<Session>> {
        self.0.get(&key(headers)?).await
    }

    /// Ends the session that a request comes with; the cookie that takes the browser's away.
    pub(super) async fn end(&self, headers: &HeaderMap) -> String {
        if let Some(key) = key(headers) {
            self.0.invalidate(&key).await;
        }
        set_cookie(COOKIE, "", Duration::ZERO)
    }
}

impl Session {
    /// Whether a request that changes something comes from a page of this door: it repeats
    /// the session's number, and the browser says that it is of the same origin.
    pub(super) fn own_page(&self, arrival: &Arrival, own: &str) -> Result<(), Box<Refusal>> {
        let repeated = arrival.header(CSRF).is_some_and(|given| {
            // By digest: how much of it fits is not told by time.
            crate::digest::sha256_raw(given.as_bytes())
                == crate::digest::sha256_raw(self.csrf.as_bytes())
        });
        let origin = arrival.header(header::ORIGIN.as_str()) == Some(own);
        let site = arrival.headers.get("sec-fetch-site");
        let same = site.is_none_or(|site| site == "same-origin");
        if repeated && origin && same {
            return Ok(());
        }
        let refusal = Refusal::deny(
            "csrf",
            StatusCode::FORBIDDEN,
            "this does not come from a page of the console",
        );
        Err(Box::new(refusal.hint(format!(
            "send `Origin: {own}` and repeat `csrf` of `/_vaultgate/v1/session` in `{CSRF}`"
        ))))
    }
}

/// Whether a request comes with a session's cookie, good or not.
pub(super) fn has_cookie(headers: &HeaderMap) -> bool {
    cookie(headers, COOKIE).is_some()
}

/// The one cookie of this name; none when two stand there, of which the one may be planted.
pub(super) fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let lines = headers.get_all(header::COOKIE).iter();
    let pairs = lines.filter_map(|line| line.to_str().ok());
    let mut named = pairs
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(own, _)| *own == name)
        .map(|(_, value)| value);
    let first = named.next()?;
    named.next().is_none().then_some(first)
}

/// A cookie of this door alone, which scripts cannot read.
pub(super) fn set_cookie(name: &str, value: &str, lasts: Duration) -> String {
    let seconds = lasts.as_secs();
    // Lax: an answer of the issuer leads here from another site, and has to come with it.
    format!("{name}={value}; Max-Age={seconds}; Path=/; Secure; HttpOnly; SameSite=Lax")
}

fn key(headers: &HeaderMap) -> Option<[u8; 32]> {
    let own = cookie(headers, COOKIE)?;
    Some(crate::digest::sha256_raw(own.as_bytes()))
}

/// A number that nobody guesses.
fn number() -> String {
    let mut bytes = [0; 32];
    // The generator aborts rather than return predictable bytes.
    let filled = aws_lc_rs::rand::fill(&mut bytes);
    debug_assert!(filled.is_ok());
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, header};

    use super::cookie;

    fn with(lines: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::COOKIE, HeaderValue::from_static(line));
        }
        headers
    }

    #[test]
    fn a_cookie_is_taken_only_where_it_stands_once() {
        for (lines, found) in [
            (&["a=1; n=2"][..], Some("2")),
            (&["a=1", "n=2"], Some("2")),
            (&["n=2; n=3"], None),
            (&["n=2", "n=3"], None),
            (&["nn=2"], None),
            (&["n"], None),
            (&["n="], Some("")),
            (&["N=2"], None),
            (&[], None),
        ] {
            assert_eq!(cookie(&with(lines), "n"), found, "{lines:?}");
        }
    }
}
