//! Every token of the gateway's identities that is still good, to be found in answers.
//!
//! A front end that writes back what it was sent, to whomever it answers next, must not
//! hand a token to a caller or to the log. A token is found as it is written; whoever can
//! spell it otherwise has it already.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use jiff::Timestamp;
use memchr::memmem;
use secrecy::ExposeSecret as _;

use super::credential::AzureToken;

/// The tokens of both identities; cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Issued(Arc<Mutex<Vec<Arc<AzureToken>>>>);

impl Issued {
    /// Remembers a token until it expires.
    pub(super) fn add(&self, token: &Arc<AzureToken>, now: Timestamp) {
        let mut tokens = self.lock();
        tokens.retain(|known| known.expires > now);
        tokens.push(Arc::clone(token));
    }

    /// An answer without any of them: headers that hold one are gone, and its place in the
    /// body is filled with stars.
    pub(super) fn taken_out(&self, headers: &mut HeaderMap, body: Bytes) -> Bytes {
        let tokens = self.lock().clone();
        let mut body = body;
        for token in tokens {
            let secret = token.secret.expose_secret().as_bytes();
            // Nothing is found everywhere.
            if secret.is_empty() {
                continue;
            }
            let finder = memmem::Finder::new(secret);
            let echoed: Vec<HeaderName> = headers
                .iter()
                .filter(|(_, value)| finder.find(value.as_bytes()).is_some())
                .map(|(name, _)| name.clone())
                .collect();
            for name in &echoed {
                headers.remove(name);
            }
            let places: Vec<usize> = finder.find_iter(&body).collect();
            if echoed.is_empty() && places.is_empty() {
                continue;
            }
            tracing::error!("an answer of Azure held the gateway's own token; it was taken out");
            let mut filled = Vec::from(body);
            for place in places {
                if let Some(found) = filled.get_mut(place..place + secret.len()) {
                    found.fill(b'*');
                }
            }
            body = Bytes::from(filled);
        }
        body
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<AzureToken>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(secret: &str, expires: i64) -> Arc<AzureToken> {
        Arc::new(AzureToken {
            secret: secret.into(),
            expires: Timestamp::from_second(expires).unwrap_or_default(),
        })
    }

    #[test]
    fn any_token_that_is_still_good_is_taken_out() {
        let issued = Issued::default();
        let at = |second| Timestamp::from_second(second).unwrap_or_default();
        issued.add(&token("expired", 10), at(0));
        issued.add(&token("first", 30), at(0));
        issued.add(&token("second", 40), at(20));
        issued.add(&token("", 40), at(20));
        let mut headers = HeaderMap::new();
        headers.insert("etag", http::HeaderValue::from_static("x-second-x"));
        headers.insert("x-ms-request-id", http::HeaderValue::from_static("1"));
        let body = Bytes::from_static(b"a first, a second, the first again, one expired");
        let body = issued.taken_out(&mut headers, body);
        assert_eq!(
            &body[..],
            b"a *****, a ******, the ***** again, one expired"
        );
        assert_eq!(headers.len(), 1);
    }
}
