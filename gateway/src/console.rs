//! The console door: where people consent, stop and freeze.
//!
//! Its tokens have an audience of their own, so that nothing that a command line or an
//! agent holds opens it; people with a browser have a session instead. Whatever changes
//! something needs a recent sign-in as well. Every act is on record before it takes effect.

mod act;
mod faster;
mod login;
mod routes;
mod session;
mod steer;

use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode};
use hyper::body::Incoming;
use jiff::Timestamp;
use vaultgate_pdp::Principal;

use crate::api;
use crate::approvals::{named, person};
use crate::authn::sign_in::SignIn;
use crate::authn::{Authenticated, Authenticator, AuthnError, Presented};
use crate::config::{self, login::Login};
use crate::listener::{Answer, Peer};
use crate::outbound::Outbound;
use crate::pipeline::admission::unauthenticated;
use crate::pipeline::arrival::Arrival;
use crate::pipeline::trail::Trail;
use crate::pipeline::{Pipeline, body, framing};
use crate::refusal::{Refusal, Verdict};

use login::Page;
use routes::Route;
use session::Sessions;

/// Largest body that the console takes, bytes: a reason in somebody's words.
const MAX_BODY: usize = 16 << 10;
/// Longest time for a body: what is small is sent at once.
const LONGEST_BODY: Duration = Duration::from_secs(30);
/// How far ahead of this clock a sign-in may be, seconds.
const AHEAD: i64 = 60;

/// The console door.
pub(crate) struct Console {
    pipeline: Arc<Pipeline>,
    authn: Authenticator,
    /// Origin under which it is reached.
    url: String,
    /// How people sign in with a browser, where they do.
    sign_in: Option<SignIn>,
    sessions: Sessions,
}

/// Somebody at the console.
struct Visitor {
    principal: Arc<Principal>,
    /// Whether the configuration lists them as a reviewer.
    reviewer: bool,
}

impl Console {
    /// The console of a gateway. A secret that cannot be read is an error.
    pub(crate) fn new(
        pipeline: Arc<Pipeline>,
        door: &config::Console,
        outbound: Outbound,
    ) -> Result<Console, String> {
        let authn = pipeline.authn.console();
        let url = door.url.clone();
        let sign_in = match &door.login {
            Some(login) => Some(client(login, &url, outbound)?),
            None => None,
        };
        Ok(Console {
            pipeline,
            authn,
            url,
            sign_in,
            sessions: Sessions::new(),
        })
    }

    /// Answers one request; as the data door does, as a task of its own.
    pub(crate) async fn handle(self: Arc<Self>, peer: Peer, request: Request<Incoming>) -> Answer {
        match tokio::spawn(self.answer(peer, request)).await {
            Ok(answer) => answer,
            Err(_) => Refusal::unavailable("internal-error", "the request could not be handled")
                .render(None, None),
        }
    }

    async fn answer(self: Arc<Self>, peer: Peer, request: Request<Incoming>) -> Answer {
        let framing = framing::check(&request, &self.pipeline.config.gateway.hosts);
        let (parts, body) = request.into_parts();
        let arrival = Arrival::new(parts, peer, self.pipeline.clock.now());
        let mut trail = Trail::new(self.pipeline.clock.monotonic());
        let answered = match framing {
            Err(refusal) => Err(refusal),
            Ok(()) => self.serve(&arrival, body, &mut trail).await,
        };
        match answered {
            Ok(answer) => answer,
            Err(refusal) => self.pipeline.refuse(&arrival, trail, *refusal).await,
        }
    }

    async fn serve(
        &self,
        arrival: &Arrival,
        body: Incoming,
        trail: &mut Trail,
    ) -> Result<Answer, Box<Refusal>> {
        let page = Page::of(&arrival.method, arrival.path());
        match page {
            Some(Page::Login) => return self.begin_sign_in(arrival).await,
            Some(Page::Callback) => return self.end_sign_in(arrival, trail).await,
            Some(Page::Session | Page::Logout) | None => {}
        }
        let visitor = self.authenticate(arrival, trail).await?;
        match page {
            Some(Page::Logout) => return self.sign_out(arrival, &visitor, trail).await,
            Some(_) => return self.session(arrival, &visitor).await,
            None => {}
        }
        let Some(route) = Route::of(&arrival.method, &arrival.target) else {
            let message = "there is nothing here for this method";
            return Err(Refusal::deny(
                "console-unknown",
                StatusCode::NOT_FOUND,
                message,
            ));
        };
        if !route.changes() {
            return self.look(route, &visitor).await;
        }
        self.stepped_up(&visitor.principal)?;
        let idle = self.pipeline.config.listener.body_idle_timeout;
        let body = body::read(body, MAX_BODY, idle.min(LONGEST_BODY));
        let body = match tokio::time::timeout(LONGEST_BODY, body).await {
            Ok(body) => body?,
            Err(_) => return Err(Box::new(body::stalled(LONGEST_BODY))),
        };
        // What was good when the head came may have ended before the last byte did: a request
        // that was begun in time must not be kept for later.
        self.still_welcome(arrival, trail).await?;
        self.stepped_up(&visitor.principal)?;
        self.act(route, &visitor, &body, trail).await
    }

    /// Who it is, by a token or by a session, and that nobody has stopped them.
    async fn authenticate(
        &self,
        arrival: &Arrival,
        trail: &mut Trail,
    ) -> Result<Visitor, Box<Refusal>> {
        let token = arrival.headers.contains_key(http::header::AUTHORIZATION);
        if !token && session::has_cookie(&arrival.headers) {
            let authenticated = self.by_session(arrival).await?;
            return self.visitor(Ok(authenticated), trail);
        }
        let presented = Presented {
            method: &arrival.method,
            origin: &self.url,
            path: arrival.path(),
            headers: &arrival.headers,
            client_certificate_sha256: arrival.peer.certificate_sha256,
            source: arrival.peer.source.ip(),
        };
        let verified = self.authn.authenticate(presented).await;
        self.visitor(verified, trail)
    }

    /// Whose session it is, if it is still good, and for a change if it comes from a page of
    /// this door.
    async fn by_session(&self, arrival: &Arrival) -> Result<Authenticated, Box<Refusal>> {
        let ended = || {
            let refusal = Refusal::deny(
                "session-ended",
                StatusCode::UNAUTHORIZED,
                "this session has ended",
            );
            Box::new(refusal.hint("sign in again at `/login`"))
        };
        let session = self.sessions.of(&arrival.headers).await.ok_or_else(ended)?;
        let now = self.pipeline.clock.latest();
        if session.authenticated.still_trusted(now).is_err() {
            self.sessions.end(&arrival.headers).await;
            return Err(ended());
        }
        if arrival.method != http::Method::GET {
            session.own_page(arrival, &self.url)?;
        }
        Ok(session.authenticated.clone())
    }

    /// Whether who came is still signed in and nobody has stopped them.
    async fn still_welcome(&self, arrival: &Arrival, trail: &Trail) -> Result<(), Box<Refusal>> {
        if session::has_cookie(&arrival.headers)
            && !arrival.headers.contains_key(http::header::AUTHORIZATION)
        {
            self.by_session(arrival).await?;
        }
        self.pipeline.still_welcome(trail)
    }

    fn visitor(
        &self,
        verified: Result<Authenticated, AuthnError>,
        trail: &mut Trail,
    ) -> Result<Visitor, Box<Refusal>> {
        let taken = trail.take(verified);
        let principal = taken.map_err(|error| unbelieved(&error, &self.authn, &self.url))?;
        self.pipeline.not_held(trail)?;
        let reviewers = &self.pipeline.config.approvals.reviewers;
        let reviewer = person(&principal).is_ok() && named(&principal, reviewers);
        Ok(Visitor {
            principal,
            reviewer,
        })
    }

    /// Whether somebody has signed in lately and strongly enough to change something.
    fn stepped_up(&self, principal: &Principal) -> Result<(), Box<Refusal>> {
        let settings = &self.pipeline.config.approvals;
        let now = self.pipeline.clock.latest();
        let at = principal.auth_time.as_deref();
        let at = at.and_then(|at| at.parse::<Timestamp>().ok());
        let age = at.map(|at| now.duration_since(at).as_secs());
        let longest = i64::try_from(settings.max_sign_in_age.as_secs()).unwrap_or(0);
        let fresh = age.is_some_and(|age| (-AHEAD..=longest).contains(&age));
        let contexts = principal.acr.as_deref().unwrap_or_default();
        let met = |acr: &String| contexts.split(' ').any(|context| context == acr);
        let strong = settings.acr.is_empty() || settings.acr.iter().any(met);
        if fresh && strong {
            return Ok(());
        }
        let what = if fresh {
            "a stronger sign-in is needed for this"
        } else {
            "a fresh sign-in is needed for this"
        };
        let mut refusal = Refusal::new(
            "step-up-required",
            StatusCode::UNAUTHORIZED,
            Verdict::Deny,
            what,
        )
        .hint(format!(
            "sign in again{}, at most {longest} s before",
            match settings.acr.as_slice() {
                [] => String::new(),
                contexts => format!(" with {}", contexts.join(" or ")),
            }
        ));
        refusal.challenge = Some(challenge(&settings.acr, longest));
        Err(Box::new(refusal))
    }

    /// Answers a request that only looks.
    async fn look(&self, route: Route, visitor: &Visitor) -> Result<Answer, Box<Refusal>> {
        let body = match route {
            Route::Approvals(which) => self.approvals(which, visitor).await?,
            Route::Approval(id) => {
                let approval = self.visible_approval(id, visitor).await?;
                api::approvals::whole(approval, self.pipeline.approvals.now())
            }
            Route::Deletions => {
                self.reviews(visitor)?;
                let found = self
                    .pipeline
                    .deletions
                    .list(self.pipeline.clock.now())
                    .await;
                serde_json::json!({"value": found?})
            }
            Route::Runs => {
                self.reviews(visitor)?;
                serde_json::json!({"value": self.pipeline.runs.list().await?})
            }
            Route::Quarantine => {
                self.reviews(visitor)?;
                serde_json::json!({"value": self.pipeline.quarantine.all()})
            }
            _ => {
                self.reviews(visitor)?;
                let now = self.pipeline.clock.latest();
                serde_json::json!(self.pipeline.incident.standing(now))
            }
        };
        Ok(api::json(StatusCode::OK, &body))
    }

    /// Refuses whoever is no reviewer.
    fn reviews(&self, visitor: &Visitor) -> Result<(), Box<Refusal>> {
        if visitor.reviewer {
            return Ok(());
        }
        let refusal = Refusal::new(
            "reviewer-needed",
            StatusCode::FORBIDDEN,
            Verdict::Deny,
            "only the reviewers of this gateway may do this",
        );
        Err(Box::new(refusal.hint(
            "they are listed in `approvals.reviewers` of the configuration",
        )))
    }
}

/// The refusal of a token at this door.
fn unbelieved(error: &AuthnError, authn: &Authenticator, url: &str) -> Box<Refusal> {
    let challenge = |metadata: &str| authn.challenge(error, metadata);
    unauthenticated(error, url, challenge)
}

/// The client that people sign in with.
fn client(login: &Login, url: &str, outbound: Outbound) -> Result<SignIn, String> {
    let secret = login.client_secret.as_ref();
    let secret = secret
        .map(config::upstream::SecretRef::at_hand)
        .transpose()?;
    Ok(SignIn::new(
        &login.issuer,
        &login.client_id,
        secret,
        &login.scopes,
        format!("{url}{}", login::CALLBACK),
        outbound,
    ))
}

/// The challenge of RFC 9470, and the claims that Entra's clients look for.
fn challenge(contexts: &[String], longest: i64) -> String {
    use base64::Engine as _;
    let mut text = "Bearer error=\"insufficient_user_authentication\", \
                    error_description=\"a recent sign-in is needed\""
        .to_owned();
    let quotable = |c: &&String| {
        c.chars()
            .all(|c| matches!(c, '!'..='~') && c != '"' && c != '\\')
    };
    let contexts: Vec<&str> = contexts
        .iter()
        .filter(quotable)
        .map(String::as_str)
        .collect();
    if let Some(first) = contexts.first() {
        text.push_str(&format!(", acr_values=\"{}\"", contexts.join(" ")));
        let claims =
            serde_json::json!({"access_token": {"acrs": {"essential": true, "value": first}}});
        let claims = base64::engine::general_purpose::STANDARD.encode(claims.to_string());
        text.push_str(&format!(", claims=\"{claims}\""));
    }
    text.push_str(&format!(", max_age=\"{longest}\""));
    text
}
