//! An approval in a few members: what a refusal says of it.

use serde::Serialize;
use serde_json::{Value, json};

use super::stage::Approval;

/// What a refusal says of the approval that it waits for.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Summary {
    /// Its id.
    pub(crate) approval_id: String,
    /// How it stands.
    pub(crate) state: &'static str,
    /// The digest that it is bound by.
    pub(crate) digest: String,
    /// Who may approve: quorum and groups or roles.
    pub(crate) approvers: Vec<Value>,
    /// How many have.
    pub(crate) approvals: usize,
    /// Until when it can be given and used.
    pub(crate) expires: String,
}

impl Summary {
    /// The approval that a request waits for.
    pub(crate) fn of(approval: &Approval) -> Summary {
        Summary {
            approval_id: approval.id.to_string(),
            state: approval.state.as_str(),
            digest: approval.digest(),
            approvers: approval
                .terms
                .iter()
                .map(|terms| json!({"quorum": terms.quorum, "from": terms.from}))
                .collect(),
            approvals: approval.votes.len(),
            expires: approval.expires.to_string(),
        }
    }
}
