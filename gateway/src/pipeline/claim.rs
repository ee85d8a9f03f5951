//! Once means once: a request that was sent before gets its first reply again.

use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode};
use uuid::Uuid;
use vaultgate_arm::Class;
use vaultgate_pdp::{Decision, Principal};

use super::Pipeline;
use super::approval::Standing;
use super::arrival::Arrival;
use super::asked::Asked;
use super::trail::Trail;
use crate::idempotency::{Begin, Request, Scope, StoredReply, Ticket};
use crate::listener::Answer;
use crate::refusal::{DECISION_ID, REPLAYED_OF, Refusal, VERDICT, Verdict};

/// What the idempotency key says of a request.
pub(super) enum Claim {
    /// It has no key, or policy denies it anyway.
    None,
    /// It is the first with its key.
    First(Ticket),
    /// It was done: this is the reply.
    Done(Box<StoredReply>),
    /// It must not be done now.
    Refused(Box<Refusal>),
}

impl Pipeline {
    /// Looks under the request's key. Only what policy allows is looked up: a key
    /// is no way to read a reply that one may not have.
    pub(super) async fn claim(
        &self,
        arrival: &Arrival,
        caller: &Principal,
        asked: &Asked,
        decision: &Decision,
        standing: &Standing,
        trail: &Trail,
    ) -> Result<Claim, Box<Refusal>> {
        if !decision.allow || !standing.goes_on() {
            return Ok(Claim::None);
        }
        let scope = Scope::of(&Request {
            issuer: &caller.issuer,
            subject: &caller.subject,
            method: asked.method.as_str(),
            target: &asked.target,
            vault: asked.resource.vault.as_deref(),
            discloses: asked.class == Class::Disclose,
            idempotency_key: arrival.header("idempotency-key"),
            client_request_id: arrival.header("x-ms-client-request-id"),
        });
        let Some(scope) = scope else {
            return Ok(Claim::None);
        };
        let body = asked.body.as_ref().map(|body| body.canonical_bytes());
        let digest = crate::digest::sha256_raw(&body.unwrap_or_default());
        let begun = self
            .idempotency
            .begin(&scope, digest, trail.id, self.clock.now())
            .await?;
        Ok(match begun {
            Begin::Fresh(ticket) => Claim::First(ticket),
            Begin::Replay(reply) => Claim::Done(Box::new(reply)),
            Begin::InFlight {
                decision,
                retry_after,
            } => Claim::Refused(in_flight(decision, retry_after)),
            Begin::Unknown { decision } => Claim::Refused(conflict(
                "outcome-unknown",
                decision,
                format!("whether decision {decision} was done cannot be known; look at the vault"),
            )),
            Begin::NotKept { decision, status } => Claim::Refused(conflict(
                "reply-not-kept",
                decision,
                format!(
                    "decision {decision} was done (status {status}); its reply was too large to keep"
                ),
            )),
            Begin::DifferentBody { decision } => Claim::Refused(Box::new(Refusal::new(
                "key-reused",
                StatusCode::UNPROCESSABLE_ENTITY,
                Verdict::Deny,
                format!("this key was used with another body, by decision {decision}"),
            ))),
            Begin::TooManyKeys { limit } => {
                let message =
                    format!("{limit} requests of this principal are under way or unresolved");
                let mut refusal = Refusal::new(
                    "keys-exhausted",
                    StatusCode::TOO_MANY_REQUESTS,
                    Verdict::Limit,
                    message,
                );
                refusal.retry_after = Some(Duration::from_secs(60));
                Claim::Refused(Box::new(refusal))
            }
        })
    }
}

fn conflict(reason: &'static str, first: Uuid, message: String) -> Box<Refusal> {
    let mut refusal = Refusal::new(reason, StatusCode::CONFLICT, Verdict::Deny, message);
    refusal.replayed_of = Some(first);
    Box::new(refusal)
}

fn in_flight(decision: Uuid, retry_after: Duration) -> Box<Refusal> {
    let mut refusal = conflict(
        "request-in-flight",
        decision,
        format!("decision {decision} is still under way"),
    );
    refusal.retry_after = Some(retry_after);
    refusal
}

/// A stored reply as it was given, under the new decision.
pub(super) fn replayed(reply: StoredReply, decision: Uuid) -> Answer {
    let body = http_body_util::Full::new(bytes::Bytes::from(reply.body));
    let mut answer = http::Response::new(body);
    *answer.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::BAD_GATEWAY);
    for (name, value) in reply.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            answer.headers_mut().insert(name, value);
        }
    }
    let headers = answer.headers_mut();
    headers.insert(VERDICT, HeaderValue::from_static("allow"));
    for (name, id) in [(DECISION_ID, decision), (REPLAYED_OF, reply.decision)] {
        if let Ok(id) = HeaderValue::try_from(id.to_string()) {
            headers.insert(name, id);
        }
    }
    answer
}
