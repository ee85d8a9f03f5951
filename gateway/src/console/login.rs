//! Signing in and out with a browser.
//!
//! What the issuer's answer must fit goes with the browser, sealed: a sign-in that nobody
//! here began, or that another browser began, is not taken. The session begins only after it
//! is on record.

use std::time::Duration;

use http::header::{CACHE_CONTROL, LOCATION, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::json;
use url::Url;
use vaultgate_decision_log::Kind;
use vaultgate_pdp::Principal;

use super::session::{cookie, set_cookie};
use super::{Console, Visitor};
use crate::api;
use crate::authn::sign_in::{SignIn, SignInError, Wanted};
use crate::authn::{Authenticated, Presented};
use crate::listener::Answer;
use crate::pipeline::arrival::Arrival;
use crate::pipeline::trail::Trail;
use crate::recorder::TokenNote;
use crate::refusal::Refusal;

/// Where the issuer sends browsers back to.
pub(super) const CALLBACK: &str = "/login/callback";
/// What a session is, and where somebody who signed in goes.
const SESSION: &str = "/_vaultgate/v1/session";
/// The cookie of a sign-in that has begun.
const BEGUN: &str = "__Host-vaultgate-login";
/// How long somebody may take to sign in.
const PATIENCE: Duration = Duration::from_secs(600);
/// Longest address to go on to, bytes.
const MAX_NEXT: usize = 512;

/// A browser's own addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Page {
    /// `GET /login`, with `?next=/…`.
    Login,
    /// `GET /login/callback`.
    Callback,
    /// `GET /_vaultgate/v1/session`.
    Session,
    /// `POST /logout`.
    Logout,
}

impl Page {
    pub(super) fn of(method: &Method, path: &str) -> Option<Page> {
        match (method.as_str(), path) {
            ("GET", "/login") => Some(Page::Login),
            ("GET", CALLBACK) => Some(Page::Callback),
            ("GET", SESSION) => Some(Page::Session),
            ("POST", "/logout") => Some(Page::Logout),
            _ => None,
        }
    }
}

/// What goes with the browser while somebody signs in.
#[derive(Serialize, Deserialize)]
struct Journey {
    state: String,
    nonce: String,
    verifier: String,
    next: String,
    until: Timestamp,
}

/// Beginnings and ends of sessions, for the record.
#[derive(Serialize)]
struct SessionEvent<'r> {
    event: &'static str,
    principal: &'r Principal,
    token: Option<&'r TokenNote>,
}

impl Console {
    /// Sends a browser to the issuer.
    pub(super) async fn begin_sign_in(&self, arrival: &Arrival) -> Result<Answer, Box<Refusal>> {
        let client = self.client()?;
        self.spend(arrival)?;
        let settings = &self.pipeline.config.approvals;
        let wanted = Wanted {
            contexts: &settings.acr,
            // Some time has to be left in which the sign-in is good for something.
            max_age: settings.max_sign_in_age * 3 / 4,
        };
        let begun = client.begin(&wanted).await.map_err(failed)?;
        let next = query(arrival, "next").filter(|next| is_own_path(next));
        let now = self.pipeline.clock.latest();
        let journey = Journey {
            state: begun.state,
            nonce: begun.nonce,
            verifier: begun.verifier.expose_secret().to_owned(),
            next: next.unwrap_or_else(|| SESSION.to_owned()),
            until: now.checked_add(PATIENCE).unwrap_or(Timestamp::MAX),
        };
        let sealed = serde_json::to_vec(&journey).ok();
        let sealed = sealed.and_then(|plain| self.pipeline.custody.seal_sign_in(plain));
        let sealed = sealed.ok_or_else(|| refused("it cannot be begun"))?;
        let set = set_cookie(BEGUN, &sealed, PATIENCE);
        redirect(&begun.url, &[set])
    }

    /// Takes the issuer's answer, and begins a session.
    pub(super) async fn end_sign_in(
        &self,
        arrival: &Arrival,
        trail: &mut Trail,
    ) -> Result<Answer, Box<Refusal>> {
        let client = self.client()?;
        let journey = self.journey(&arrival.headers)?;
        if query(arrival, "state").as_deref() != Some(&*journey.state) {
            return Err(refused("it is not the one that this browser began"));
        }
        // Another issuer's answer must not be taken to this one (RFC 9207).
        if query(arrival, "iss").is_some_and(|issuer| issuer != client.issuer()) {
            return Err(refused("the answer is of another issuer"));
        }
        if let Some(error) = query(arrival, "error") {
            let told: String = error
                .chars()
                .filter(char::is_ascii_graphic)
                .take(64)
                .collect();
            return Err(refused(&format!("the issuer says `{told}`")));
        }
        let code = query(arrival, "code").ok_or_else(|| refused("there is no code"))?;
        // Each code costs the issuer a question under the gateway's name.
        self.spend(arrival)?;
        let verifier = SecretString::from(journey.verifier);
        let ended = client.end(code, &verifier, journey.nonce).await;
        let ended = ended.map_err(failed)?;
        let authenticated = self.believe(arrival, &ended.token, trail).await?;
        let authenticated = authenticated.signed_in(&ended);
        let visitor = self.visitor(Ok(authenticated.clone()), trail)?;
        self.note("signed-in", &visitor, trail).await?;
        // Whoever holds the old cookie must not go on beside the new one.
        self.sessions.end(&arrival.headers).await;
        let session = self.sessions.begin(authenticated).await;
        let over = set_cookie(BEGUN, "", Duration::ZERO);
        redirect(&journey.next, &[session, over])
    }

    /// What a session is: who, until when, and what changes have to repeat.
    pub(super) async fn session(
        &self,
        arrival: &Arrival,
        visitor: &Visitor,
    ) -> Result<Answer, Box<Refusal>> {
        let session = self.sessions.of(&arrival.headers).await;
        let body = json!({
            "principal": &*visitor.principal,
            "reviewer": visitor.reviewer,
            "steppedUp": self.stepped_up(&visitor.principal).is_ok(),
            "csrf": session.as_ref().map(|session| session.csrf.as_str()),
            "expires": session.as_ref().map(|session| session.authenticated.expires),
        });
        let mut answer = api::json(StatusCode::OK, &body);
        let never = HeaderValue::from_static("no-store");
        answer.headers_mut().insert(CACHE_CONTROL, never);
        Ok(answer)
    }

    /// Ends a session.
    pub(super) async fn sign_out(
        &self,
        arrival: &Arrival,
        visitor: &Visitor,
        trail: &Trail,
    ) -> Result<Answer, Box<Refusal>> {
        let over = self.sessions.end(&arrival.headers).await;
        self.note("signed-out", visitor, trail).await?;
        let mut answer = api::json(StatusCode::OK, &json!({"signedOut": true}));
        if let Ok(over) = HeaderValue::try_from(over) {
            answer.headers_mut().insert(SET_COOKIE, over);
        }
        Ok(answer)
    }

    fn spend(&self, arrival: &Arrival) -> Result<(), Box<Refusal>> {
        let spent = self.authn.spend_verification(arrival.peer.source.ip());
        spent.map_err(|error| super::unbelieved(&error, &self.authn, &self.url))
    }

    fn client(&self) -> Result<&SignIn, Box<Refusal>> {
        self.sign_in.as_ref().ok_or_else(|| {
            let refusal = Refusal::deny(
                "sign-in-off",
                StatusCode::NOT_FOUND,
                "nobody signs in here with a browser",
            );
            Box::new(refusal.hint("an operator sets `[console.login]`; tokens are taken without"))
        })
    }

    fn journey(&self, headers: &HeaderMap) -> Result<Journey, Box<Refusal>> {
        let sealed = cookie(headers, BEGUN);
        let opened = sealed.and_then(|sealed| self.pipeline.custody.open_sign_in(sealed));
        let journey: Option<Journey> = opened.and_then(|plain| serde_json::from_slice(&plain).ok());
        let journey = journey.ok_or_else(|| refused("this browser began none"))?;
        if journey.until <= self.pipeline.clock.latest() {
            return Err(refused("it took too long"));
        }
        Ok(journey)
    }

    /// Verifies the token that the issuer handed out, as if it had come with the request.
    async fn believe(
        &self,
        arrival: &Arrival,
        token: &SecretString,
        trail: &mut Trail,
    ) -> Result<Authenticated, Box<Refusal>> {
        let mut headers = HeaderMap::new();
        let bearer = format!("Bearer {}", token.expose_secret());
        let bearer = HeaderValue::try_from(bearer).map_err(|_| refused("it is no token"))?;
        headers.insert(http::header::AUTHORIZATION, bearer);
        let presented = Presented {
            method: &arrival.method,
            origin: &self.url,
            path: arrival.path(),
            headers: &headers,
            client_certificate_sha256: arrival.peer.certificate_sha256,
            source: arrival.peer.source.ip(),
        };
        let verified = self.authn.authenticate(presented).await;
        verified.map_err(|error| {
            let why = super::unbelieved(&error, &self.authn, &self.url);
            let _ = trail.take(Err(error));
            why
        })
    }

    async fn note(
        &self,
        event: &'static str,
        visitor: &Visitor,
        trail: &Trail,
    ) -> Result<(), Box<Refusal>> {
        let record = SessionEvent {
            event,
            principal: &visitor.principal,
            token: trail.token.as_ref(),
        };
        self.record(Kind::Session, &record).await.map(drop)
    }
}

/// A member of the request's query; none when it stands there twice.
fn query(arrival: &Arrival, name: &str) -> Option<String> {
    let (_, query) = arrival.target.split_once('?')?;
    let mut named = url::form_urlencoded::parse(query.as_bytes()).filter(|(own, _)| own == name);
    let (_, first) = named.next()?;
    named.next().is_none().then(|| first.into_owned())
}

/// Whether an address is one of this door: a sign-in must not send people elsewhere.
fn is_own_path(next: &str) -> bool {
    let here = "https://here.invalid";
    let url = Url::parse(here).and_then(|here| here.join(next));
    next.len() <= MAX_NEXT
        && next.starts_with('/')
        && next
            .bytes()
            .all(|byte| matches!(byte, b'!'..=b'~') && byte != b'\\')
        && url.is_ok_and(|url| url.origin().ascii_serialization() == here)
}

fn redirect(to: &str, cookies: &[String]) -> Result<Answer, Box<Refusal>> {
    let mut answer = api::json(StatusCode::SEE_OTHER, &json!({}));
    let headers = answer.headers_mut();
    let to = HeaderValue::try_from(to).map_err(|_| refused("there is nowhere to go"))?;
    headers.insert(LOCATION, to);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("referrer-policy", HeaderValue::from_static("no-referrer"));
    for cookie in cookies {
        if let Ok(cookie) = HeaderValue::try_from(cookie.as_str()) {
            headers.append(SET_COOKIE, cookie);
        }
    }
    Ok(answer)
}

fn refused(why: &str) -> Box<Refusal> {
    let message = format!("this sign-in is not taken: {why}");
    let refusal = Refusal::deny("sign-in-refused", StatusCode::FORBIDDEN, message);
    Box::new(refusal.hint("begin again at `/login`"))
}

fn failed(error: SignInError) -> Box<Refusal> {
    match error {
        SignInError::Issuer(why) => {
            let message = format!("nobody can sign in at the moment: {why}");
            Box::new(Refusal::unavailable("sign-in-unavailable", message))
        }
        SignInError::Refused(why) => refused(&why),
    }
}

#[cfg(test)]
mod tests {
    use super::is_own_path;

    #[test]
    fn nobody_is_sent_elsewhere() {
        for own in ["/", "/_vaultgate/v1/session", "/a?b=c#d"] {
            assert!(is_own_path(own), "{own}");
        }
        for other in [
            "",
            "x",
            "//evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "https://evil.example",
            "/\t/evil.example",
            "/ /evil.example",
            "/\u{e9}",
            "/a\r\nset-cookie: x",
            "javascript:alert(1)",
        ] {
            assert!(!is_own_path(other), "{other:?}");
        }
        assert!(!is_own_path(&format!("/{}", "a".repeat(600))));
    }
}
