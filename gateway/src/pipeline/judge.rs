//! Decide, record, permit: in this order, each taking the proof of the one before.

use std::sync::Arc;

use tokio::sync::oneshot;
use vaultgate_arm::Class;
use vaultgate_decision_log::{Kind, Priority, Receipt};
use vaultgate_pdp::{Decision, Document, FaultCode};

use super::Pipeline;
use super::approval::Standing;
use super::asked::Asked;
use super::claim::{Claim, replayed};
use super::trail::Trail;
use crate::activity::Reservation;
use crate::approvals::Consumed;
use crate::idempotency::Ticket;
use crate::listener::Answer;
use crate::notices;
use crate::permit::{Permit, UpstreamRequest};
use crate::policy_source::Active;
use crate::recorder::{
    ApprovalNote, DecisionRecord, Forward, Read, RecordError, RefusalNote, ShadowNote,
};
use crate::refusal::{RECEIPT, Refusal};

/// A judgement and what it rests on.
pub(super) struct Judged<'j> {
    pub(super) policy: &'j Active,
    pub(super) input: &'j Document,
    pub(super) decision: &'j Decision,
    pub(super) reads: &'j [Read],
    pub(super) shadow: Option<ShadowNote>,
}

/// What a recorded decision leads to.
pub(super) enum Recorded {
    /// The caller is answered without a request to Azure.
    Reply(Answer),
    /// The request may be sent, once; with the approval that was used up for it.
    Permitted(Permit, Option<Ticket>, Option<Consumed>),
}

impl Pipeline {
    /// Judges. Whatever goes wrong is a denial.
    pub(super) async fn judge(&self, policy: &Active, input: &Document) -> Decision {
        let decision = self.asked(policy, input).await;
        if policy.policy.machine_alarm() {
            tracing::error!(
                bundle = policy.reference.bundle,
                "the bytecode machine and the interpreter did not agree: the interpreter decides \
                 everything now; please report the bundle"
            );
        }
        decision
    }

    async fn asked(&self, policy: &Active, input: &Document) -> Decision {
        if let Some(decision) = self.evaluator.in_place(&policy.policy, input) {
            return decision;
        }
        let (told, judged) = oneshot::channel();
        let policy = Arc::clone(&policy.policy);
        self.evaluator.submit(policy, input, move |decision| {
            // Nobody waits any more when the request's task is gone.
            let _ = told.send(decision);
        });
        judged.await.unwrap_or_else(|_| {
            Decision::fault(
                FaultCode::PolicyPanic,
                "the evaluation ended without a decision",
            )
        })
    }

    /// Writes the decision and waits until it is durable; then, and only then,
    /// issues the permit. A denial, a replay and a conflict leave here. An approval is
    /// used up between the two.
    #[expect(
        clippy::too_many_arguments,
        reason = "each is the proof of the step that made it"
    )]
    pub(super) async fn record(
        &self,
        asked: &Asked,
        judged: &Judged<'_>,
        standing: Standing,
        claim: Claim,
        request: UpstreamRequest,
        reservation: Reservation,
        trail: &mut Trail,
    ) -> Result<Recorded, Box<Refusal>> {
        let noted = standing.note();
        let (approved, refusal, asked_for) = match standing {
            Standing::Clear => (None, None, None),
            Standing::Given(approved) => (Some(approved), None, None),
            Standing::Owing(refusal, _) => (None, Some(refusal), None),
            Standing::Asked(refusal, approval) => (None, Some(refusal), Some(approval)),
        };
        let (refusal, ticket, reply) = match claim {
            // What became of an approval says more than the denial that ended it.
            _ if refusal.is_some() => (refusal, None, None),
            _ if !judged.decision.allow => (Some(self.denied(judged, trail).await), None, None),
            Claim::Refused(refusal) => (Some(refusal), None, None),
            Claim::Done(reply) => (None, None, Some(reply)),
            Claim::First(ticket) => (None, Some(ticket), None),
            Claim::None => (None, None, None),
        };
        let sends = refusal.is_none() && reply.is_none();
        let noted = noted.map(|note| note.of(sends));
        let forward = sends.then(|| forward(&request, trail.id));
        let note = refusal.as_deref().map(RefusalNote::of);
        let replayed_of = reply.as_ref().map(|reply| reply.decision);
        let written = self
            .write(
                asked,
                judged,
                forward.as_ref(),
                note,
                replayed_of,
                noted,
                trail,
            )
            .await;
        let receipt = match written {
            Ok(receipt) => receipt,
            Err(error) => {
                if let Some(ticket) = ticket {
                    // Nothing was sent: the key may be used again.
                    let _ = ticket.abandon().await;
                }
                return Err(log_unavailable(&error));
            }
        };
        trail.receipt = Some(receipt.to_string());
        if let Some(approval) = asked_for {
            let notice = notices::approval("approval.asked", &approval, &self.clock);
            self.notices.tell(notice).await;
        }
        if let Some(refusal) = refusal {
            reservation.refuse(receipt.index);
            return Err(refusal);
        }
        if let Some(reply) = reply {
            reservation.release(receipt.index);
            return Ok(Recorded::Reply(with_receipt(
                replayed(*reply, trail.id),
                &receipt,
            )));
        }
        reservation.commit(receipt.index);
        let consumed = match approved {
            None => None,
            Some(approved) => match self.use_up(*approved, trail).await {
                Ok(consumed) => Some(consumed),
                Err(refusal) => return Err(self.give_up(asked, ticket, refusal, trail).await),
            },
        };
        Ok(Recorded::Permitted(
            Permit::issue(receipt, trail.id, request),
            ticket,
            consumed,
        ))
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one argument for each part of the record"
    )]
    async fn write(
        &self,
        asked: &Asked,
        judged: &Judged<'_>,
        forward: Option<&Forward>,
        refusal: Option<RefusalNote>,
        replayed_of: Option<uuid::Uuid>,
        approval: Option<ApprovalNote>,
        trail: &Trail,
    ) -> Result<Receipt, RecordError> {
        let allowed = forward.is_some() || replayed_of.is_some();
        let record = DecisionRecord {
            verdict: if allowed { "allow" } else { "deny" },
            token: trail.token.as_ref(),
            input: self.recorder.inline(judged.input.text()).await?,
            decision: judged.decision,
            policy: &judged.policy.reference,
            config: &self.config.digest,
            catalogue: &self.catalogue,
            reads: judged.reads,
            forward,
            refusal,
            replayed_of,
            part_of: None,
            approval,
            shadow: judged.shadow.clone(),
        };
        let priority = match asked.class {
            // What people have approved is not to wait for a disk to be freed.
            _ if record.approval.as_ref().is_some_and(|a| a.event == "used") => Priority::Restore,
            Class::Restore | Class::Undelete => Priority::Restore,
            _ => Priority::Normal,
        };
        self.recorder
            .write(Kind::Decision, trail.id, &record, priority)
            .await
    }
}

pub(super) fn forward(request: &UpstreamRequest, id: uuid::Uuid) -> Forward {
    let (path, query) = request
        .path_and_query
        .split_once('?')
        .unwrap_or((&request.path_and_query, ""));
    Forward {
        method: request.method.as_str().to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        body_sha256: crate::digest::sha256_hex(request.body.as_deref().unwrap_or_default()),
        client_request_id: id,
    }
}

/// Puts the receipt into an answer: each caller is a witness of the log.
pub(super) fn with_receipt(mut answer: Answer, receipt: &Receipt) -> Answer {
    if let Ok(value) = http::HeaderValue::try_from(receipt.to_string()) {
        answer.headers_mut().insert(RECEIPT, value);
    }
    answer
}

/// The refusal of a request whose record did not become durable.
pub(super) fn log_unavailable(error: &RecordError) -> Box<Refusal> {
    let refusal = Refusal::unavailable(
        "log-unavailable",
        format!("the decision could not be recorded, so nothing was forwarded: {error}"),
    );
    Box::new(refusal)
}
