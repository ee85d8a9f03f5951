//! Approvals on the data door: asked for, presented, used up.
//!
//! The order is fixed: the approval that is presented is looked at, policy judges again
//! under the bundle of now, the decision is durable, the approval is used up by
//! compare-and-set, and only then is anything sent. A lost race sends nothing.

mod bound;
mod refusals;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;
use vaultgate_arm::Settled;
use vaultgate_decision_log::Kind;
use vaultgate_pdp::{Approval as Terms, Decision, Obligation, Principal, PrincipalKind};

use super::Pipeline;
use super::arrival::Arrival;
use super::asked::Asked;
use super::preflight;
use super::trail::Trail;
use crate::api;
use crate::approvals::{Approval, Approved, AskError, BoundRequest, Consumed, Stage, State, Vote};
use crate::facts::{Before, Gathered};
use crate::listener::Answer;
use crate::notices;
use crate::policy_source::Active;
use crate::recorder::{ApprovalEvent, ApprovalNote, Consent};
use crate::refusal::{PolicyReason, Refusal, Verdict};

use bound::replayed;
use refusals::{differs, given, no_person, nobody, over, required, untold, waiting};

/// Header that presents an approval.
const HEADER: &str = "vaultgate-approval";

/// What stands between an allowed decision and its request.
pub(super) enum Standing {
    /// Nothing: policy asked for no approval.
    Clear,
    /// This approval, to be used up.
    Given(Box<Approved>),
    /// The request waits, or has what it shows refused.
    Owing(Box<Refusal>, Option<ApprovalNote>),
    /// It was asked for just now: people are told once that is on record.
    Asked(Box<Refusal>, Box<Approval>),
}

impl Standing {
    /// Whether the request may go on.
    pub(super) fn goes_on(&self) -> bool {
        matches!(self, Standing::Clear | Standing::Given(_))
    }

    /// What the decision's record says of it.
    pub(super) fn note(&self) -> Option<ApprovalNote> {
        match self {
            Standing::Clear => None,
            Standing::Given(approved) => Some(note(approved.approval(), "used")),
            Standing::Owing(_, note) => note.clone(),
            Standing::Asked(_, approval) => Some(note(approval, "asked")),
        }
    }
}

impl Pipeline {
    /// The approval that a request presents, if it presents one: its own, given, and not
    /// in the time for a veto any more.
    pub(super) async fn presented(
        &self,
        arrival: &Arrival,
        caller: &Principal,
    ) -> Result<Option<Approved>, Box<Refusal>> {
        if !arrival.headers.contains_key(HEADER) {
            return Ok(None);
        }
        let id = arrival.header(HEADER).and_then(api::canonical_uuid);
        let Some(id) = id else {
            let message = "`Vaultgate-Approval` is the id of one approval";
            return Err(Refusal::deny(
                "approval-malformed",
                StatusCode::BAD_REQUEST,
                message,
            ));
        };
        let approval = self.own_approval(id, caller).await?;
        let now = self.approvals.now();
        match approval.stage(now) {
            Stage::Approved(approved) => match approved.usable(now) {
                Ok(()) => Ok(Some(approved)),
                Err(from) => Err(Refusal::deny(
                    "approval-cooling-off",
                    StatusCode::FORBIDDEN,
                    format!(
                        "approval {id} can be used from {from:.0}, until then it can be vetoed"
                    ),
                )),
            },
            Stage::Pending(pending) => Err(waiting(pending.approval())),
            Stage::Over(approval) => Err(over(&approval)),
        }
    }

    /// An approval that this caller asked for. Whose it is besides is nobody's to learn.
    async fn own_approval(&self, id: Uuid, caller: &Principal) -> Result<Approval, Box<Refusal>> {
        self.admit_question(caller)?;
        let found = self.approvals.find(id).await?;
        let own = found.filter(|approval| approval.request.requester.is(caller));
        own.ok_or_else(|| {
            let message = format!("you have asked for no approval `{id}`");
            Refusal::deny("approval-unknown", StatusCode::NOT_FOUND, message)
        })
    }

    /// What policy's obligations mean for this request: nothing, an approval to be used
    /// up, or a refusal that says what to wait for.
    #[expect(
        clippy::too_many_arguments,
        reason = "an approval is bound to all that a request is"
    )]
    pub(super) async fn standing(
        &self,
        arrival: &Arrival,
        caller: &Arc<Principal>,
        asked: &Asked,
        gathered: &Gathered,
        settled: &Settled,
        decision: &Decision,
        policy: &Active,
        presented: Option<Approved>,
        trail: &Trail,
    ) -> Result<Standing, Box<Refusal>> {
        let terms = terms(decision);
        // A policy that could not decide has said nothing of what was approved.
        let owes = decision.allow && !terms.is_empty();
        if decision.fault.is_some() || presented.is_none() && !owes {
            return Ok(Standing::Clear);
        }
        // The poll of an operation that was approved belongs to it: its handle is sealed to
        // that decision and to who started it.
        if asked.poll.is_some() {
            return Ok(Standing::Clear);
        }
        if self.config.console.is_none() {
            return Ok(Standing::Owing(Box::new(nobody(&terms)), None));
        }
        // Nothing is approved, or void, of a resource whose state nobody told.
        if asked.class.needs_facts() && !state_is_known(gathered) {
            return Ok(Standing::Owing(untold(), None));
        }
        if let Some(approved) = presented {
            let request = self.bound(arrival, caller, asked, gathered, settled, policy, trail);
            return self.use_of(approved, request, &terms, decision).await;
        }
        if !is_somebody(caller) {
            return Ok(Standing::Owing(no_person(), None));
        }
        let request = self.bound(arrival, caller, asked, gathered, settled, policy, trail);
        match self.approvals.ask(request, terms).await {
            Ok((approval, new)) => {
                let refusal = match approval.state {
                    State::Approved { .. } => given(&approval),
                    _ => required(
                        &approval,
                        self.config.console.as_ref().map(|door| door.url.as_str()),
                    ),
                };
                if new {
                    return Ok(Standing::Asked(refusal, Box::new(approval)));
                }
                let note = note(&approval, "asked");
                Ok(Standing::Owing(refusal, Some(note)))
            }
            Err(error @ AskError::TooMany { .. }) => {
                let refusal = Refusal::new(
                    "approvals-exhausted",
                    StatusCode::TOO_MANY_REQUESTS,
                    Verdict::Limit,
                    error.to_string(),
                );
                Ok(Standing::Owing(
                    Box::new(refusal.hint("wait until some are answered, or let them expire")),
                    None,
                ))
            }
            Err(AskError::Store(error)) => Err(error.into()),
        }
    }

    /// Whether an approval that was given covers what would be done now.
    async fn use_of(
        &self,
        approved: Approved,
        request: BoundRequest,
        terms: &[Terms],
        decision: &Decision,
    ) -> Result<Standing, Box<Refusal>> {
        let given = approved.approval();
        let (id, expires, told) = (given.id, given.expires, note(given, "refused"));
        if request.request_digest() != given.request.request_digest() {
            let refusal = Refusal::deny(
                "approval-mismatch",
                StatusCode::FORBIDDEN,
                format!(
                    "approval {id} was given for another request: {}",
                    differs(&request, &given.request)
                ),
            );
            return Ok(Standing::Owing(refusal, Some(told)));
        }
        let now = self.approvals.now();
        let counts = |vote: &Vote| {
            !self
                .quarantine
                .holds_voter(&vote.person, &vote.issuer, &vote.subject)
        };
        // Where nothing is owed any more, what was given must still stand.
        let terms = if terms.is_empty() {
            &given.terms
        } else {
            terms
        };
        let why = if request.digest(expires) != given.digest() {
            "the resource is no longer in the state in which this was approved"
        } else if !decision.allow {
            "policy denies the request now"
        } else if !approved.covers(terms, counts, now) {
            "policy asks for more now than was given"
        } else {
            return Ok(Standing::Given(Box::new(approved)));
        };
        let step = approved.void(why.to_owned(), now);
        let taken = self.approvals.take(&step).await;
        if !taken? {
            // Another request was quicker: what it made of the approval is what is told.
            let current = self.approvals.find(id).await?;
            let refusal = current.map_or_else(untold, |current| over(&current));
            return Ok(Standing::Owing(refusal, Some(told)));
        }
        self.note_approval("void", &step.approval, None, why);
        self.notices
            .tell(notices::approval(
                "approval.void",
                &step.approval,
                &self.clock,
            ))
            .await;
        let mut refusal = Refusal::deny(
            "approval-void",
            StatusCode::FORBIDDEN,
            format!("approval {id} is void: {why}"),
        );
        refusal.reasons = decision.deny.iter().map(PolicyReason::of).collect();
        Ok(Standing::Owing(refusal, Some(note(&step.approval, "void"))))
    }

    /// Uses an approval up, now that the decision is durable. Whoever loses the race has
    /// sent nothing, and never will.
    pub(super) async fn use_up(
        &self,
        approved: Approved,
        trail: &Trail,
    ) -> Result<Consumed, Box<Refusal>> {
        let id = approved.approval().id;
        let used = self.approvals.use_up(approved, trail.id).await?;
        used.ok_or_else(|| {
            Refusal::deny(
                "approval-used",
                StatusCode::CONFLICT,
                format!("approval {id} was used or ended by somebody else just now"),
            )
        })
    }

    /// Answers `GET /_vaultgate/v1/approvals/{id}`: how it stands, for who asked.
    pub(super) async fn approval_status(
        &self,
        id: Uuid,
        arrival: &Arrival,
        trail: &mut Trail,
    ) -> Result<Answer, Box<Refusal>> {
        let caller = self.authenticate(arrival, trail).await?;
        let approval = self.own_approval(id, &caller).await?;
        let now = self.approvals.now();
        Ok(api::json(
            StatusCode::OK,
            &api::approvals::status(approval, now),
        ))
    }

    /// Answers `POST /_vaultgate/v1/approvals/{id}/execute`: runs the stored request, for
    /// clients that cannot say the same thing twice.
    pub(super) async fn execute(
        &self,
        id: Uuid,
        arrival: &Arrival,
        trail: &mut Trail,
    ) -> Result<Answer, Box<Refusal>> {
        let caller = self.authenticate(arrival, trail).await?;
        let approval = self.own_approval(id, &caller).await?;
        let request = &approval.request;
        let body = match &request.sealed_body {
            None => Vec::new(),
            Some(sealed) => {
                let opened = STANDARD.decode(sealed).ok();
                let opened = opened.and_then(|sealed| self.custody.open_body(sealed));
                opened.ok_or_else(|| {
                    let message = format!(
                        "the request of approval {id} was sealed with a key that is gone; ask anew"
                    );
                    Refusal::deny("approval-sealed", StatusCode::CONFLICT, message)
                })?
            }
        };
        let stored = replayed(arrival, request, id);
        let route = vaultgate_arm::route(&request.method, &request.target)?;
        let asked = Asked::of(self.classify(route, &stored, &body)?);
        trail.asked = Some(asked.note());
        if preflight::is_dry_run(arrival)? {
            return self.dry_run(&stored, &caller, &asked, trail).await;
        }
        self.carry_out(&stored, &caller, asked, trail).await
    }

    /// Ends what nobody gave or used in time.
    pub(crate) async fn end_approvals(&self) {
        match self.approvals.sweep().await {
            Ok(over) => {
                for approval in over {
                    self.note_approval("expire", &approval, None, "nobody used it in time");
                }
            }
            Err(error) => tracing::warn!(%error, "expired approvals were not ended"),
        }
    }

    /// Records what happened to an approval beside decisions.
    pub(super) fn note_approval(
        &self,
        event: &'static str,
        approval: &Approval,
        by: Option<&Principal>,
        why: &str,
    ) {
        let record = ApprovalEvent {
            event,
            approval: note(approval, approval.state.as_str()),
            principal: by,
            token: None,
            why,
        };
        self.recorder.note(Kind::Approval, Uuid::now_v7(), &record);
    }
}

fn terms(decision: &Decision) -> Vec<Terms> {
    let each = decision.obligations.iter();
    each.map(|Obligation::Approval(terms)| terms.clone())
        .collect()
}

/// Whether the one who asks can be told from those who approve: people whose issuer does not
/// name them could approve under another identity. What is no person cannot approve anyway.
fn is_somebody(caller: &Principal) -> bool {
    let person = matches!(caller.kind, PrincipalKind::Human | PrincipalKind::Unknown);
    !person || caller.person.is_some()
}

/// Whether Azure has told the state that an approval is bound to.
fn state_is_known(gathered: &Gathered) -> bool {
    let vault = gathered.facts.pointer("/vault/status");
    let posture = vault.is_none_or(|status| status == "ok");
    posture && !matches!(gathered.before, Before::Unavailable)
}

/// What policy sees of an approval that is shown: who gave it, when, for which digest.
pub(super) fn as_input(approved: &Approved) -> Value {
    let approval = approved.approval();
    json!({
        "id": approval.id, "digest": approval.digest(),
        "asked": format!("{:.3}", approval.asked_at), "expires": format!("{:.3}", approval.expires),
        "approvers": approval.votes.iter().map(|vote| json!({
            "person": vote.person, "issuer": vote.issuer, "subject": vote.subject,
            "names": vote.names, "at": format!("{:.3}", vote.at),
        })).collect::<Vec<_>>(),
    })
}

/// What an approval is, for a record.
pub(crate) fn note(approval: &Approval, event: &'static str) -> ApprovalNote {
    let (bundle, revision) = approval.request.asked_under.clone();
    ApprovalNote {
        event,
        id: approval.id,
        digest: approval.digest(),
        state: approval.state.as_str(),
        asked_by: approval.request.decision,
        asked_under: crate::recorder::Asked { bundle, revision },
        expires: approval.expires.to_string(),
        approvers: approval
            .votes
            .iter()
            .map(|vote| Consent {
                person: vote.person.clone(),
                issuer: vote.issuer.clone(),
                subject: vote.subject.clone(),
                at: vote.at.to_string(),
            })
            .collect(),
    }
}
