//! Azure's multi-user authorization: what a resource guard holds back is unlocked for one
//! deletion that people approved here.
//!
//! The unlocking is a write of the gateway's own, so it is a decision of its own, on record
//! before it is sent, and a step of the deletion's. The identity that does it can do nothing
//! else, and is reached only with an approval that was used up for this very deletion. When it
//! fails the deletion is not sent.

use std::time::Instant;

use http::{Method, StatusCode};
use serde_json::Value;
use uuid::Uuid;
use vaultgate_decision_log::{Kind, Priority};

use super::Pipeline;
use super::asked::Asked;
use super::conclude::{OutcomeRecord, outcome_of};
use super::judge::{Judged, forward, log_unavailable};
use super::trail::Trail;
use crate::approvals::Consumed;
use crate::facts::Gathered;
use crate::idempotency::Ticket;
use crate::permit::{Unlock, UnlockPermit};
use crate::recorder::DecisionRecord;
use crate::refusal::{Refusal, Verdict};
use crate::upstream::ForwardResult;

impl Pipeline {
    /// Unlocks what is about to be deleted, where a guard stands before it. Gives the ticket
    /// back, or gives it up with the deletion.
    pub(super) async fn unlock(
        &self,
        asked: &Asked,
        gathered: &Gathered,
        judged: &Judged<'_>,
        (ticket, consumed): (Option<Ticket>, Option<Consumed>),
        trail: &Trail,
    ) -> Result<Option<Ticket>, Box<Refusal>> {
        let unlock = match consumed.filter(|_| self.upstream.unlocks()) {
            Some(consumed) => unlock_of(asked, gathered).map(|unlock| (consumed, unlock)),
            None => None,
        };
        let Some((consumed, unlock)) = unlock else {
            return Ok(ticket);
        };
        match self.unlocked(unlock, &consumed, judged, trail).await {
            Ok(()) => Ok(ticket),
            Err(refusal) => Err(self.give_up(asked, ticket, refusal, trail).await),
        }
    }

    async fn unlocked(
        &self,
        unlock: Unlock,
        consumed: &Consumed,
        judged: &Judged<'_>,
        trail: &Trail,
    ) -> Result<(), Box<Refusal>> {
        let id = Uuid::now_v7();
        let sent = forward(&unlock.request(), id);
        let input = self.recorder.inline(judged.input.text()).await;
        let record = DecisionRecord {
            verdict: "allow",
            token: trail.token.as_ref(),
            input: input.map_err(|error| log_unavailable(&error))?,
            decision: judged.decision,
            policy: &judged.policy.reference,
            config: &self.config.digest,
            catalogue: &self.catalogue,
            reads: judged.reads,
            forward: Some(&sent),
            refusal: None,
            replayed_of: None,
            part_of: Some(consumed.decision()),
            approval: None,
            shadow: None,
        };
        let written = self
            .recorder
            .write(Kind::Decision, id, &record, Priority::Restore);
        let receipt = written.await.map_err(|error| log_unavailable(&error))?;
        let began = Instant::now();
        let permit = UnlockPermit::issue(receipt, consumed, id, unlock);
        let result = self.upstream.unlock(permit).await;
        let (outcome, status, problem) = match &result {
            ForwardResult::Answered(answer) => {
                (outcome_of(answer.status), Some(answer.status), None)
            }
            ForwardResult::Unauthorized(answer) => (
                "not-sent",
                Some(answer.status),
                Some("Azure refused the guard's identity"),
            ),
            ForwardResult::NotSent(why) => ("not-sent", None, Some(why.as_str())),
            ForwardResult::Unknown(why) => ("unknown", None, Some(why.as_str())),
        };
        let outcome = OutcomeRecord {
            decision: id,
            outcome,
            status: status.map(|status| status.as_u16()),
            upstream_request_id: None,
            duration_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            operation: None,
            problem,
        };
        self.recorder.note(Kind::Outcome, Uuid::now_v7(), &outcome);
        match status {
            Some(status) if status.is_success() => Ok(()),
            _ => {
                let why = problem.map(str::to_owned).unwrap_or_else(|| {
                    format!(
                        "Azure answered {}",
                        status.map_or(0, |status| status.as_u16())
                    )
                });
                Err(refused(consumed.id(), &why))
            }
        }
    }
}

fn refused(approval: Uuid, why: &str) -> Box<Refusal> {
    let message = format!(
        "the resource guard did not unlock this, so it was not sent: {why}; approval {approval} is used up"
    );
    let refusal = Refusal::new(
        "guard-refused",
        StatusCode::BAD_GATEWAY,
        Verdict::Error,
        message,
    );
    Box::new(refusal.hint(
        "give the identity of `azure.guard` the role Backup MUA Operator on the guard, and ask anew",
    ))
}

/// What unlocks this, by the proxy that Azure lists for the vault; nothing where no guard
/// holds this operation back.
fn unlock_of(asked: &Asked, gathered: &Gathered) -> Option<Unlock> {
    if asked.method != Method::DELETE {
        return None;
    }
    let vault = asked.resource.vault.as_deref()?;
    let proxies = gathered.guards.as_ref()?.get("value")?.as_array()?;
    proxies.iter().find_map(|proxy| {
        let name = proxy.get("name")?.as_str()?;
        // Azure's answer is not trusted with a path: it could lead elsewhere.
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if name.is_empty() || name.len() > 90 || !name.chars().all(plain) {
            return None;
        }
        let details = proxy.pointer("/properties/resourceGuardOperationDetails")?;
        let held = details.as_array()?.iter().find(|detail| {
            let operation = detail.get("vaultCriticalOperation").and_then(Value::as_str);
            operation.is_some_and(|operation| operation.eq_ignore_ascii_case(&asked.name))
        })?;
        let request = held.get("defaultResourceRequest")?.as_str()?;
        Some(Unlock {
            proxy: format!("{vault}/backupResourceGuardProxies/{name}"),
            requests: vec![request.to_owned()],
            resource: asked.resource.id.clone(),
            api_version: asked.api_version.clone(),
        })
    })
}
