//! What whoever shows or owes an approval is told.

use http::StatusCode;
use vaultgate_pdp::Approval as Terms;

use crate::approvals::{Approval, BoundRequest, State, Summary};
use crate::refusal::{Refusal, Verdict};

/// Azure did not tell in which state the resource is.
pub(super) fn untold() -> Box<Refusal> {
    let message =
        "an approval is for a resource in a known state, and Azure does not tell it just now";
    Box::new(Refusal::unavailable("approval-state-untold", message))
}

/// Nobody can tell whether who asks is one of those who approve.
pub(super) fn no_person() -> Box<Refusal> {
    let message = "this needs the approval of other people, and your issuer does not say which person you are";
    let refusal = Refusal::new(
        "requester-no-person",
        StatusCode::FORBIDDEN,
        Verdict::Deny,
        message,
    );
    Box::new(refusal.hint("have `claims.person` of your issuer mapped"))
}

/// What policy wants, where nobody can give it.
pub(super) fn nobody(terms: &[Terms]) -> Refusal {
    Refusal::new(
        "approval-impossible",
        StatusCode::FORBIDDEN,
        Verdict::Deny,
        format!(
            "policy allows this only when approved by {}, and this gateway has no console door",
            crate::approvals::from(terms)
        ),
    )
    .hint("have `console.url` set, or the rule changed")
}

/// Policy allows it once people have consented.
pub(super) fn required(approval: &Approval, console: Option<&str>) -> Box<Refusal> {
    let mut refusal = Refusal::new(
        "approval-required",
        StatusCode::FORBIDDEN,
        Verdict::Approval,
        format!(
            "policy allows this only when approved by {}; approval {} waits for them until {:.0}",
            crate::approvals::from(&approval.terms),
            approval.id,
            approval.expires
        ),
    );
    let place = console.map(|url| format!(" on {url}")).unwrap_or_default();
    refusal.hint = Some(format!(
        "ask them to look at `vaultgate approvals show {}`{place}; then repeat the request with \
         `Vaultgate-Approval: {}`, or let the gateway run it: `vaultgate approvals execute {}`",
        approval.id, approval.id, approval.id
    ));
    refusal.approval = Some(Summary::of(approval));
    Box::new(refusal)
}

/// It is given already, and this request does not show it.
pub(super) fn given(approval: &Approval) -> Box<Refusal> {
    let mut refusal = required(approval, None);
    refusal.message = format!(
        "approval {} is given: show it with this request",
        approval.id
    );
    refusal.hint = Some(format!(
        "repeat the request with `Vaultgate-Approval: {}`, or `vaultgate approvals execute {}`",
        approval.id, approval.id
    ));
    refusal
}

pub(super) fn waiting(approval: &Approval) -> Box<Refusal> {
    let mut refusal = required(approval, None);
    refusal.reason = "approval-pending";
    refusal.code = "ApprovalPending".into();
    refusal
}

pub(super) fn over(approval: &Approval) -> Box<Refusal> {
    let id = approval.id;
    let (reason, message) = match &approval.state {
        State::Used { decision, .. } => (
            "approval-used",
            format!("approval {id} was used by decision {decision}; it is good once"),
        ),
        State::Rejected(end) => (
            "approval-rejected",
            format!("approval {id} was refused: {}", end.why),
        ),
        State::Vetoed(end) => (
            "approval-vetoed",
            format!("approval {id} was vetoed: {}", end.why),
        ),
        State::Void(end) => (
            "approval-void",
            format!("approval {id} is void: {}", end.why),
        ),
        _ => (
            "approval-expired",
            format!("approval {id} could be used until {:.0}", approval.expires),
        ),
    };
    let mut refusal = Refusal::deny(reason, StatusCode::FORBIDDEN, message);
    refusal.hint = Some("send the request without an approval to ask for a new one".into());
    refusal
}

/// In what two requests differ, for people.
pub(super) fn differs(one: &BoundRequest, other: &BoundRequest) -> String {
    let parts = [
        ("method", one.method == other.method),
        ("target", one.target == other.target),
        ("headers", one.headers == other.headers),
        ("body", one.body_sha256 == other.body_sha256),
        ("requester", one.requester == other.requester),
    ];
    let differing = parts
        .iter()
        .filter(|(_, same)| !same)
        .map(|(name, _)| *name);
    format!(
        "the {} differ",
        differing.collect::<Vec<_>>().join(" and the ")
    )
}
