//! What people do at the console: on record first, then in the store.
//!
//! A record that cannot be written stops the act; a store that cannot be written after it
//! leaves a record of something that did not happen, and says so to whoever tried.

use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;
use vaultgate_decision_log::{Kind, Priority};

use super::routes::{Route, Word};
use super::{Console, Visitor};
use crate::api;
use crate::approvals::{Approval, Ineligible, Stage, State, Step, Which, named, person, shown};
use crate::assent::Assent;
use crate::listener::Answer;
use crate::notices;
use crate::pipeline::approval::note;
use crate::pipeline::trail::Trail;
use crate::recorder::ApprovalEvent;
use crate::refusal::{RECEIPT, Refusal};

/// Most approvals of one list.
const LISTED: u32 = 500;
/// Longest reason, bytes.
const MAX_REASON: usize = 2 << 10;

/// What somebody says of an approval: of this digest, which is what they were shown.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Judgement {
    digest: String,
    #[serde(default)]
    reason: String,
}

impl Console {
    /// The approvals that a visitor may see.
    pub(super) async fn approvals(
        &self,
        which: Which,
        visitor: &Visitor,
    ) -> Result<Value, Box<Refusal>> {
        let approvals = &self.pipeline.approvals;
        let found = approvals.list(which, LISTED).await?;
        let now = approvals.now();
        let seen = found
            .into_iter()
            .filter(|approval| sees(visitor, approval))
            .map(|approval| api::approvals::whole(approval, now));
        Ok(json!({"value": seen.collect::<Vec<_>>()}))
    }

    /// One approval, if this visitor may see it.
    pub(super) async fn visible_approval(
        &self,
        id: Uuid,
        visitor: &Visitor,
    ) -> Result<Approval, Box<Refusal>> {
        let found = self.pipeline.approvals.find(id).await?;
        found
            .filter(|approval| sees(visitor, approval))
            .ok_or_else(|| {
                let message = format!("there is no approval `{id}` that you may see");
                Refusal::deny("approval-unknown", StatusCode::NOT_FOUND, message)
            })
    }

    /// Does what the route says.
    pub(super) async fn act(
        &self,
        route: Route,
        visitor: &Visitor,
        body: &[u8],
        trail: &mut Trail,
    ) -> Result<Answer, Box<Refusal>> {
        match route {
            Route::Judge(id, word) => self.judge(id, word, visitor, read(body)?, trail).await,
            Route::Hold => self.hold(visitor, read(body)?, trail).await,
            Route::Release(id) => self.release(id, visitor, read(body)?, trail).await,
            Route::Freeze => self.freeze(visitor, read(body)?, trail).await,
            Route::FastPath => self.fast_path(visitor, read(body)?, trail).await,
            Route::CloseFastPath => self.close_fast_path(visitor, read(body)?, trail).await,
            Route::BreakGlass => self.break_glass(visitor, read(body)?, trail).await,
            Route::EndBreakGlass(id) => self.end_break_glass(id, visitor, read(body)?, trail).await,
            _ => self.lift(visitor, read(body)?, trail).await,
        }
    }

    async fn judge(
        &self,
        id: Uuid,
        word: Word,
        visitor: &Visitor,
        said: Judgement,
        trail: &mut Trail,
    ) -> Result<Answer, Box<Refusal>> {
        let approval = self.visible_approval(id, visitor).await?;
        if approval.digest() != said.digest {
            let message = "this is not the digest of that approval: look at it again";
            return Err(Refusal::deny(
                "approval-digest",
                StatusCode::CONFLICT,
                message,
            ));
        }
        let why = reason(&said.reason, word != Word::Approve)?;
        let (step, event) = self.step(approval, word, visitor, &why)?;
        let record = ApprovalEvent {
            event,
            approval: note(&step.approval, step.approval.state.as_str()),
            principal: Some(&visitor.principal),
            token: trail.token.as_ref(),
            why: &why,
        };
        let receipt = self.record(Kind::Approval, &record).await?;
        let taken = self.pipeline.approvals.take(&step).await;
        if !taken? {
            let message = "somebody else was quicker: look at it again";
            return Err(Refusal::deny(
                "approval-raced",
                StatusCode::CONFLICT,
                message,
            ));
        }
        let kind = match step.approval.state {
            State::Approved { .. } => "approval.given",
            State::Rejected(_) => "approval.rejected",
            State::Vetoed(_) => "approval.vetoed",
            _ => "approval.vote",
        };
        let notice = notices::approval(kind, &step.approval, &self.pipeline.clock);
        self.pipeline.notices.tell(notice).await;
        let now = self.pipeline.approvals.now();
        Ok(with(receipt, &api::approvals::whole(step.approval, now)))
    }

    /// The step that a word takes, if this visitor may say it.
    fn step(
        &self,
        approval: Approval,
        word: Word,
        visitor: &Visitor,
        why: &str,
    ) -> Result<(Step, &'static str), Box<Refusal>> {
        let now = self.pipeline.approvals.now();
        let principal = &visitor.principal;
        match (word, approval.stage(now)) {
            (Word::Approve, Stage::Pending(pending)) => {
                let step = pending.vote(principal, now).map_err(ineligible)?;
                Ok((step, "approve"))
            }
            (Word::Reject, Stage::Pending(pending)) => {
                let step = pending.reject(principal, why.to_owned(), now);
                Ok((step.map_err(ineligible)?, "reject"))
            }
            (Word::Veto, stage @ (Stage::Pending(_) | Stage::Approved(_))) => {
                let by = person(principal).map_err(ineligible)?.to_owned();
                let step = match stage {
                    Stage::Pending(pending) => pending.veto(by, why.to_owned(), now),
                    Stage::Approved(approved) => approved.veto(by, why.to_owned(), now),
                    Stage::Over(approval) => return Err(over(&approval)),
                };
                Ok((step, "veto"))
            }
            (_, Stage::Approved(approved)) => Err(over(approved.approval())),
            (_, Stage::Over(approval)) => Err(over(&approval)),
        }
    }

    /// Writes an act down; durable before it takes effect.
    ///
    /// Under an id of its own: what is refused after this is a record of its own too.
    pub(super) async fn record(
        &self,
        kind: Kind,
        record: &impl Serialize,
    ) -> Result<String, Box<Refusal>> {
        let recorder = &self.pipeline.recorder;
        let written = recorder.write(kind, Uuid::now_v7(), record, Priority::Restore);
        let receipt = written.await.map_err(|error| {
            let message = format!("this could not be recorded, so it was not done: {error}");
            Box::new(Refusal::unavailable("log-unavailable", message))
        })?;
        Ok(receipt.to_string())
    }
}

/// Whether a visitor is one of those whom an approval concerns.
fn sees(visitor: &Visitor, approval: &Approval) -> bool {
    let asked = approval
        .terms
        .iter()
        .any(|terms| named(&visitor.principal, &terms.from));
    visitor.reviewer || asked
}

/// A visitor's assent, under their own name.
pub(super) fn assent(visitor: &Visitor) -> Result<Assent, Box<Refusal>> {
    Ok(Assent {
        person: own(visitor)?,
        issuer: visitor.principal.issuer.clone(),
        subject: visitor.principal.subject.clone(),
    })
}

pub(super) fn own(visitor: &Visitor) -> Result<String, Box<Refusal>> {
    person(&visitor.principal)
        .map(str::to_owned)
        .map_err(ineligible)
}

pub(super) fn read<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T, Box<Refusal>> {
    let malformed = |what: String| {
        let message = format!("the body cannot be read: {what}");
        Refusal::deny("console-malformed", StatusCode::BAD_REQUEST, message)
    };
    let document =
        vaultgate_arm::json::Document::parse(body).map_err(|e| malformed(e.to_string()))?;
    serde_json::from_value(document.to_value()).map_err(|error| malformed(error.to_string()))
}

/// Somebody's words, fit to be shown to others.
pub(super) fn reason(said: &str, needed: bool) -> Result<String, Box<Refusal>> {
    let said = said.trim();
    if said.len() > MAX_REASON || needed && said.is_empty() {
        let message = "say why in `reason`, in at most 2 KiB";
        return Err(Refusal::deny(
            "reason-needed",
            StatusCode::BAD_REQUEST,
            message,
        ));
    }
    Ok(shown::visible(said))
}

fn ineligible(why: Box<Ineligible>) -> Box<Refusal> {
    Refusal::deny(why.code(), StatusCode::FORBIDDEN, why.to_string())
}

fn over(approval: &Approval) -> Box<Refusal> {
    let (reason, told) = match approval.state {
        State::Approved { .. } => ("approval-given", "is given already"),
        _ => ("approval-over", "has ended"),
    };
    let message = format!(
        "approval {} {told}: {}",
        approval.id,
        approval.state.as_str()
    );
    Refusal::deny(reason, StatusCode::CONFLICT, message)
}

pub(super) fn with(receipt: String, body: &Value) -> Answer {
    let mut answer = api::json(StatusCode::OK, body);
    if let Ok(value) = http::HeaderValue::try_from(receipt) {
        answer.headers_mut().insert(RECEIPT, value);
    }
    answer
}
