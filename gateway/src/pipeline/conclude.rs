//! After Azure's answer: outcome, custody, the caller's reply.
//!
//! The effect has taken place: nothing here may fail the caller any more.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use jiff::SignedDuration;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;
use vaultgate_arm::{Class, Settled};
use vaultgate_decision_log::Kind;
use vaultgate_pdp::Principal;

use super::Pipeline;
use super::asked::Asked;
use super::trail::Trail;
use crate::address::{is_of, local_part};
use crate::admit::ArmBucket;
use crate::custody::rewrite::{Malformed, next_link};
use crate::custody::{Handle, PREFIX};
use crate::idempotency::{StoredReply, Ticket};
use crate::listener::Answer;
use crate::recorder::Recorder;
use crate::refusal::{DECISION_ID, RECEIPT, Refusal, VERDICT, Verdict};
use crate::upstream::{self, ForwardResult, UpstreamAnswer};

/// What every answer with a body is.
const JSON: &str = "application/json; charset=utf-8";
/// Headers of Azure that name where an operation is polled.
const POLLS: [&str; 3] = ["azure-asyncoperation", "location", "operation-location"];

#[derive(Serialize)]
pub(super) struct OutcomeRecord<'o> {
    pub(super) decision: Uuid,
    pub(super) outcome: &'static str,
    pub(super) status: Option<u16>,
    pub(super) upstream_request_id: Option<&'o str>,
    pub(super) duration_ms: u64,
    pub(super) operation: Option<Value>,
    pub(super) problem: Option<&'o str>,
}

impl Pipeline {
    /// Records the outcome and answers.
    pub(super) async fn conclude(
        &self,
        caller: &Principal,
        asked: &Asked,
        settled: &Settled,
        result: ForwardResult,
        ticket: Option<Ticket>,
        trail: &Trail,
    ) -> Result<Answer, Box<Refusal>> {
        let (outcome, answer, problem) = match &result {
            ForwardResult::Answered(answer) => (outcome_of(answer.status), Some(answer), None),
            // A 401 answers the gateway's credential, not the caller's.
            ForwardResult::Unauthorized(answer) => (
                "not-sent",
                Some(answer),
                Some("Azure refused the gateway's credential"),
            ),
            ForwardResult::NotSent(why) => ("not-sent", None, Some(why.as_str())),
            ForwardResult::Unknown(_) if asked.method == Method::GET => {
                ("failed", None, Some("no answer"))
            }
            ForwardResult::Unknown(why) => ("unknown", None, Some(why.as_str())),
        };
        let took = self
            .clock
            .monotonic()
            .saturating_duration_since(trail.began);
        self.note_outcome(asked, trail, outcome, answer, problem, took.as_millis());
        self.metrics.outcome(outcome);
        self.metrics.request(
            settled.class.as_str(),
            "allow",
            "allowed",
            took.as_secs_f64(),
        );
        if outcome == "unknown" {
            tracing::error!(decision = %trail.id, operation = asked.operation,
                "a change may or may not have reached Azure: look at the vault");
        }
        let reply = match result {
            ForwardResult::Answered(answer) => {
                self.note_budget(asked, &answer);
                self.answer_of(caller, asked, settled, answer, trail)
            }
            other => Err(bad_gateway(&other)),
        };
        if let Some(ticket) = ticket {
            settle(ticket, outcome, reply.as_ref().ok(), trail.id).await;
        }
        reply
    }

    /// A decision that is on record comes to nothing: its key is free again.
    pub(super) async fn give_up(
        &self,
        asked: &Asked,
        ticket: Option<Ticket>,
        refusal: Box<Refusal>,
        trail: &Trail,
    ) -> Box<Refusal> {
        self.not_sent(asked, trail, &refusal.message);
        if let Some(ticket) = ticket {
            let _ = ticket.abandon().await;
        }
        refusal
    }

    /// The outcome of a decision that could have been carried out and was not.
    pub(super) fn not_sent(&self, asked: &Asked, trail: &Trail, why: &str) {
        self.note_outcome(asked, trail, "not-sent", None, Some(why), 0);
        self.metrics.outcome("not-sent");
    }

    fn note_outcome(
        &self,
        asked: &Asked,
        trail: &Trail,
        outcome: &'static str,
        answer: Option<&UpstreamAnswer>,
        problem: Option<&str>,
        took_ms: u128,
    ) {
        let id = answer.and_then(|answer| answer.headers.get("x-ms-request-id"));
        let target = answer
            .filter(|answer| answer.status == StatusCode::ACCEPTED)
            .and_then(|answer| {
                POLLS.iter().find_map(|name| {
                    let url = answer.headers.get(*name)?.to_str().ok()?;
                    self.poll_target(asked, url).map(str::to_owned)
                })
            });
        let record = OutcomeRecord {
            decision: trail.id,
            outcome,
            status: answer.map(|answer| answer.status.as_u16()),
            upstream_request_id: id.and_then(|id| id.to_str().ok()),
            duration_ms: u64::try_from(took_ms).unwrap_or(u64::MAX),
            operation: target.as_ref().map(|target| {
                serde_json::json!({"status": "InProgress", "poll": target.split('?').next()})
            }),
            problem,
        };
        let note = if asked.changes() {
            Recorder::note
        } else {
            Recorder::note_soon
        };
        note(&self.recorder, Kind::Outcome, Uuid::now_v7(), &record);
        if let (Some(target), true) = (target, asked.changes()) {
            self.watcher.add(trail.id, target);
        }
        if let (Some(handle), Some(answer)) = (&asked.poll, answer) {
            self.watcher.saw(handle.decision, &answer.body);
        }
    }

    /// Takes note of what Azure says of its own limits.
    fn note_budget(&self, asked: &Asked, answer: &UpstreamAnswer) {
        let Some(subscription) = asked.resource.subscription.as_deref() else {
            return;
        };
        let bucket = ArmBucket::of(asked.method.as_str());
        let number =
            |name: &str| -> Option<u32> { answer.headers.get(name)?.to_str().ok()?.parse().ok() };
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            let after = upstream::retry_after(&answer.headers);
            self.admission
                .note_throttled(Some(subscription), bucket, after);
        }
        let kind = match bucket {
            ArmBucket::Reads => "reads",
            ArmBucket::Writes => "writes",
            ArmBucket::Deletes => "deletes",
        };
        let name = format!("x-ms-ratelimit-remaining-subscription-{kind}");
        if let Some(remaining) = number(&name) {
            self.admission
                .note_remaining(Some(subscription), bucket, remaining);
        }
    }

    /// Azure's answer as the caller gets it: nothing in it leads past the gateway.
    fn answer_of(
        &self,
        caller: &Principal,
        asked: &Asked,
        settled: &Settled,
        answer: UpstreamAnswer,
        trail: &Trail,
    ) -> Result<Answer, Box<Refusal>> {
        let mut headers = answer.headers;
        self.rewrite_polls(caller, asked, settled, &mut headers, trail);
        let host = self.upstream.host();
        let public = &self.config.gateway.public_url;
        let rewritten = next_link(&answer.body, |link| {
            let local = local_part(link, host)?;
            // A page that would not be understood as a read leads nowhere.
            vaultgate_arm::route("GET", local).ok()?;
            Some(format!("{public}{local}"))
        });
        let body = match rewritten {
            Ok(rewritten) => rewritten.map_or(answer.body, Bytes::from),
            Err(Malformed) if asked.method == Method::GET && answer.status.is_success() => {
                return Err(malformed());
            }
            // A change has taken place, an error is one without its text.
            Err(Malformed) => {
                tracing::warn!(decision = %trail.id, status = %answer.status, "an answer that is not JSON was left out");
                Bytes::new()
            }
        };
        let body = self.without_secrets(asked, settled, body);
        headers.remove(CONTENT_TYPE);
        if !body.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
        }
        let mut reply = http::Response::new(http_body_util::Full::new(body));
        *reply.status_mut() = answer.status;
        headers.insert(VERDICT, HeaderValue::from_static(Verdict::Allow.as_str()));
        let id = Some(trail.id.to_string());
        for (name, value) in [(DECISION_ID, id), (RECEIPT, trail.receipt.clone())] {
            if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
                headers.insert(name, value);
            }
        }
        *reply.headers_mut() = headers;
        Ok(reply)
    }

    /// An answer in which secrets are replaced by keyed digests: whoever may only read
    /// is not to get what works without the gateway. That is what `disclose` is for.
    fn without_secrets(&self, asked: &Asked, settled: &Settled, body: Bytes) -> Bytes {
        let names = asked.answer_secrets();
        if settled.class == Class::Disclose || names.is_empty() {
            return body;
        }
        // Not reached: what is not JSON was left out before.
        let Ok(mut value) = serde_json::from_slice::<Value>(&body) else {
            return Bytes::new();
        };
        if !self.hide_named(&mut value, names) {
            return body;
        }
        serde_json::to_vec(&value).map_or(Bytes::new(), Bytes::from)
    }

    /// Poll URLs become sealed handles; a URL of any other host is taken out, since
    /// clients send their token wherever it leads.
    fn rewrite_polls(
        &self,
        caller: &Principal,
        asked: &Asked,
        settled: &Settled,
        headers: &mut HeaderMap,
        trail: &Trail,
    ) {
        for name in POLLS {
            let name = HeaderName::from_static(name);
            let Some(url) = headers.remove(&name) else {
                continue;
            };
            let local = url.to_str().ok();
            let Some(local) = local.and_then(|url| self.poll_target(asked, url)) else {
                tracing::warn!(header = %name, decision = %trail.id, "a URL that leads elsewhere was taken out of an answer");
                continue;
            };
            let handle = match &asked.poll {
                // A poll's own URLs belong to the operation that was started.
                Some(handle) => Handle {
                    target: local.to_owned(),
                    ..handle.clone()
                },
                None => self.handle_for(caller, asked, settled, local, trail),
            };
            let sealed = self.custody.seal(&handle);
            let url =
                sealed.map(|sealed| format!("{}{PREFIX}{sealed}", self.config.gateway.public_url));
            if let Some(value) = url.and_then(|url| HeaderValue::try_from(url).ok()) {
                headers.insert(name, value);
            }
        }
    }

    /// What a poll URL names here: the gateway will read it for its caller, so it is of the
    /// subscription that the caller was judged for.
    fn poll_target<'u>(&self, asked: &Asked, url: &'u str) -> Option<&'u str> {
        let local = local_part(url, self.upstream.host())?;
        is_of(local, asked.resource.subscription.as_deref()).then_some(local)
    }

    fn handle_for(
        &self,
        caller: &Principal,
        asked: &Asked,
        settled: &Settled,
        target: &str,
        trail: &Trail,
    ) -> Handle {
        let ttl = SignedDuration::try_from(self.config.custody.ttl).unwrap_or(SignedDuration::ZERO);
        let now = self.clock.now();
        Handle {
            target: target.to_owned(),
            decision: trail.id,
            principal: crate::digest::sha256_hex(caller.key().as_bytes()),
            operation: asked.operation.clone(),
            resource: asked.resource.id.clone(),
            vault: asked.resource.vault.clone(),
            discloses: settled.class == Class::Disclose,
            expires: now.checked_add(ttl).unwrap_or(now),
        }
    }
}

pub(super) fn outcome_of(status: StatusCode) -> &'static str {
    match status.as_u16() {
        202 => "accepted",
        200..=299 => "succeeded",
        _ => "failed",
    }
}

fn bad_gateway(result: &ForwardResult) -> Box<Refusal> {
    let (reason, message) = match result {
        ForwardResult::Unauthorized(_) => (
            "gateway-credential",
            "Azure did not accept the gateway's own credential".to_owned(),
        ),
        ForwardResult::Unknown(_) => (
            "outcome-unknown",
            "Azure gave no answer in time: whether the request was done cannot be known".to_owned(),
        ),
        _ => (
            "upstream-unreachable",
            "Azure could not be reached; nothing was sent".to_owned(),
        ),
    };
    let mut refusal = Refusal::new(reason, StatusCode::BAD_GATEWAY, Verdict::Error, message);
    refusal.hint = Some("do not repeat a change before you have looked at the vault".into());
    Box::new(refusal)
}

/// What Azure read cannot be said: nothing of it is passed on.
fn malformed() -> Box<Refusal> {
    Box::new(Refusal::new(
        "upstream-malformed",
        StatusCode::BAD_GATEWAY,
        Verdict::Error,
        "Azure's answer is not one JSON text in UTF-8, so it is not known where it leads",
    ))
}

/// Closes the idempotency key. A failure here leaves it in flight, which refuses
/// a repeated request: never the other way round.
async fn settle(ticket: Ticket, outcome: &str, reply: Option<&Answer>, decision: Uuid) {
    let settled = match (outcome, reply) {
        ("not-sent", _) => ticket.abandon().await,
        ("unknown", _) | (_, None) => ticket.unknown().await,
        // Azure was busy or the state had moved on: nothing was done, try again.
        (_, Some(reply)) if retriable(reply.status()) => ticket.abandon().await,
        (_, Some(reply)) => {
            let (parts, body) = reply.clone().into_parts();
            let headers = parts
                .headers
                .iter()
                .filter(|(name, _)| !name.as_str().starts_with("x-vaultgate-"));
            let headers = headers.filter_map(|(name, value)| {
                Some((name.to_string(), value.to_str().ok()?.to_owned()))
            });
            let stored = StoredReply {
                status: parts.status.as_u16(),
                headers: headers.collect(),
                body: buffered(body).await,
                decision,
            };
            ticket.complete(stored).await
        }
    };
    if let Err(error) = settled {
        tracing::warn!(%error, %decision, "an idempotency key stays in flight");
    }
}

fn retriable(status: StatusCode) -> bool {
    matches!(status.as_u16(), 412 | 429 | 503)
}

async fn buffered(body: http_body_util::Full<Bytes>) -> Vec<u8> {
    use http_body_util::BodyExt as _;
    match body.collect().await {
        Ok(collected) => collected.to_bytes().to_vec(),
        Err(never) => match never {},
    }
}
