//! Why a request was refused, for the one who was refused: a hint in the answer, and the whole
//! of it for a while afterwards.
//!
//! What would allow a request is found by judging it again and again. That is bounded: whoever
//! is refused often must not take the processors from those who are not.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use moka::future::Cache;
use serde_json::json;
use tokio::sync::Semaphore;
use uuid::Uuid;
use vaultgate_pdp::{Decision, Principal, explain, what_would_allow};

use super::Pipeline;
use super::arrival::Arrival;
use super::judge::Judged;
use super::trail::Trail;
use crate::api;
use crate::listener::Answer;
use crate::policy_source::Active;
use crate::refusal::Refusal;

/// What is kept of refused requests, bytes.
const KEPT_BYTES: u64 = 1 << 20;
/// How long.
const KEPT_FOR: Duration = Duration::from_secs(24 * 3600);
/// Evaluations that a hint may take.
const HINT_EVALUATIONS: usize = 40;

/// Requests that were refused lately.
pub(crate) struct Refused {
    kept: Cache<Uuid, Arc<Kept>>,
    /// One hint or explanation at a time.
    turn: Arc<Semaphore>,
}

struct Kept {
    /// `Principal::key` of the one who asked.
    caller: String,
    input: Box<str>,
}

impl Default for Refused {
    fn default() -> Refused {
        let size = |_: &Uuid, kept: &Arc<Kept>| u32::try_from(kept.input.len()).unwrap_or(u32::MAX);
        Refused {
            kept: Cache::builder()
                .max_capacity(KEPT_BYTES)
                .time_to_live(KEPT_FOR)
                .weigher(size)
                .build(),
            turn: Arc::new(Semaphore::new(1)),
        }
    }
}

impl Pipeline {
    /// What a denial is answered with: what policy said, and what would change it. The request
    /// is kept, so that its caller can have the whole of it.
    pub(super) async fn denied(&self, judged: &Judged<'_>, trail: &Trail) -> Box<Refusal> {
        let mut refusal = Refusal::denied(judged.decision);
        let Some(caller) = &trail.caller else {
            return Box::new(refusal);
        };
        let input: Box<str> = judged.input.text().get().into();
        if judged.decision.fault.is_none() {
            refusal.hint = self.hint(judged, &input).await;
        }
        let kept = Kept {
            caller: caller.key(),
            input,
        };
        self.refused.kept.insert(trail.id, Arc::new(kept)).await;
        Box::new(refusal)
    }

    /// What would allow it; else what the rule says of itself.
    async fn hint(&self, judged: &Judged<'_>, input: &str) -> Option<String> {
        let found = match Arc::clone(&self.refused.turn).try_acquire_owned() {
            Err(_) => None,
            Ok(turn) => {
                let (policy, input) = (Arc::clone(&judged.policy.policy), input.to_owned());
                let tried = tokio::task::spawn_blocking(move || {
                    let _turn = turn;
                    what_would_allow(&policy, &input, HINT_EVALUATIONS)
                });
                tried.await.ok()
            }
        };
        let words = found.into_iter().flatten().next();
        words
            .map(|change| format!("it would be allowed {}", change.in_words()))
            .or_else(|| remediation(judged.policy, judged.decision))
    }

    /// The whole explanation, for who was refused.
    pub(super) async fn why(
        &self,
        id: Uuid,
        arrival: &Arrival,
        trail: &mut Trail,
    ) -> Result<Answer, Box<Refusal>> {
        let caller = self.authenticate(arrival, trail).await?;
        self.admit_question(&caller)?;
        let kept = self.refused.kept.get(&id).await;
        let Some(kept) = kept.filter(|kept| is_own(kept, &caller)) else {
            // Whether somebody else was refused is nobody's to learn.
            let message = format!("no refusal of yours with the id `{id}` is kept here");
            let mut refusal = Refusal::deny("decision-unknown", StatusCode::NOT_FOUND, message);
            refusal.hint = Some(
                "the last refusals are kept for a day; reviewers find every decision in the log"
                    .to_owned(),
            );
            return Err(refusal);
        };
        let policy = self.policies.current();
        let reference = Arc::clone(&policy.reference);
        let turn = Arc::clone(&self.refused.turn).acquire_owned().await;
        let explained = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            explain(&policy.policy, &policy.rules, &kept.input)
        });
        let explained = explained.await.map_err(|_| {
            let why = "the explanation ended without a result";
            Box::new(Refusal::unavailable("internal-error", why))
        })?;
        let body = json!({"id": id, "policy": *reference, "explanation": explained});
        Ok(api::json(StatusCode::OK, &body))
    }
}

fn is_own(kept: &Kept, caller: &Principal) -> bool {
    kept.caller == caller.key()
}

/// What the first rule that denied says to do.
fn remediation(policy: &Active, decision: &Decision) -> Option<String> {
    let code = &decision.deny.first()?.code;
    let mut rules = policy.rules.iter();
    let rule = rules.find(|rule| rule.code.as_ref() == Some(code))?;
    rule.remediation.clone()
}
