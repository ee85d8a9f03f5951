//! The console door: where people consent, stop and freeze.
//!
//! Its tokens have an audience of their own, so that nothing that a command line or an
//! agent holds opens it. Whatever changes something needs a recent sign-in as well. Every
//! act is on record before it takes effect.

mod act;
mod routes;
mod steer;

use std::sync::Arc;

use http::{Request, StatusCode};
use hyper::body::Incoming;
use jiff::Timestamp;
use vaultgate_pdp::Principal;

use crate::api;
use crate::approvals::{named, person};
use crate::authn::{Authenticator, Presented};
use crate::listener::{Answer, Peer};
use crate::pipeline::admission::unauthenticated;
use crate::pipeline::arrival::Arrival;
use crate::pipeline::trail::Trail;
use crate::pipeline::{Pipeline, body, framing};
use crate::refusal::{Refusal, Verdict};

use routes::Route;

/// Largest body that the console takes, bytes: a reason in somebody's words.
const MAX_BODY: usize = 16 << 10;
/// How far ahead of this clock a sign-in may be, seconds.
const AHEAD: i64 = 60;

/// The console door.
pub(crate) struct Console {
    pipeline: Arc<Pipeline>,
    authn: Authenticator,
    /// Origin under which it is reached.
    url: String,
}

/// Somebody at the console.
struct Visitor {
    principal: Arc<Principal>,
    /// Whether the configuration lists them as a reviewer.
    reviewer: bool,
}

impl Console {
    /// The console of a gateway, reached at `url`.
    pub(crate) fn new(pipeline: Arc<Pipeline>, url: String) -> Console {
        let authn = pipeline.authn.console();
        Console {
            pipeline,
            authn,
            url,
        }
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
        let visitor = self.authenticate(arrival, trail).await?;
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
        let body = body::read(body, MAX_BODY, idle).await?;
        self.act(route, &visitor, &body, trail).await
    }

    /// Who it is, and that nobody has stopped them.
    async fn authenticate(
        &self,
        arrival: &Arrival,
        trail: &mut Trail,
    ) -> Result<Visitor, Box<Refusal>> {
        let presented = Presented {
            method: &arrival.method,
            origin: &self.url,
            path: arrival.path(),
            headers: &arrival.headers,
            client_certificate_sha256: arrival.peer.certificate_sha256,
            source: arrival.peer.source.ip(),
        };
        let principal = trail
            .take(self.authn.authenticate(presented).await)
            .map_err(|error| {
                let challenge = |metadata: &str| self.authn.challenge(&error, metadata);
                unauthenticated(&error, &self.url, challenge)
            })?;
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
            Route::Quarantine => {
                self.reviews(visitor)?;
                serde_json::json!({"value": self.pipeline.quarantine.all()})
            }
            _ => {
                self.reviews(visitor)?;
                serde_json::json!({"freeze": self.pipeline.incident.freeze()})
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
