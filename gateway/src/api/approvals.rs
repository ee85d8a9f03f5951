//! Approvals as JSON: what the requester is told, and what approvers see.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::approvals::{Approval, Stage, State, Summary};

/// How an approval stands, for who asked for it. Who approved is not told: nobody is to be
/// leaned on.
pub(crate) fn status(approval: Approval, now: Timestamp) -> Value {
    let approval = at(approval, now);
    json!({
        "id": approval.id, "state": approval.state.as_str(), "digest": approval.digest(),
        "operation": approval.request.operation, "resource": approval.request.resource,
        "approvers": Summary::of(&approval).approvers, "approvals": approval.votes.len(),
        "asked": approval.asked_at.to_string(), "expires": approval.expires.to_string(),
        "usableFrom": approval.usable_from().map(|at| at.to_string()),
        "usedBy": match approval.state {
            State::Used { decision, .. } => json!(decision),
            _ => Value::Null,
        },
        "why": why(&approval.state),
    })
}

/// Everything about an approval, for those who judge it.
pub(crate) fn whole(approval: Approval, now: Timestamp) -> Value {
    let approval = at(approval, now);
    let request = &approval.request;
    json!({
        "id": approval.id, "state": approval.state.as_str(), "digest": approval.digest(),
        "shown": request.shown, "requester": request.requester,
        "request": {
            "method": request.method, "target": request.target, "headers": request.headers,
            "bodySha256": request.body_sha256, "operation": request.operation,
            "class": request.class, "resource": request.resource, "state": request.state,
        },
        "terms": approval.terms, "votes": approval.votes,
        "asked": approval.asked_at.to_string(), "expires": approval.expires.to_string(),
        "usableFrom": approval.usable_from().map(|at| at.to_string()),
        "decision": request.decision, "policy": request.asked_under,
        "why": why(&approval.state),
    })
}

/// The approval with what its time has made of it.
fn at(approval: Approval, now: Timestamp) -> Approval {
    match approval.clone().stage(now) {
        Stage::Over(over) => over,
        _ => approval,
    }
}

fn why(state: &State) -> Option<&str> {
    match state {
        State::Rejected(end) | State::Vetoed(end) | State::Void(end) => Some(&end.why),
        _ => None,
    }
}
