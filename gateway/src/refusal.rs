//! Every refusal, rendered once: reason code, status, ARM-shaped body, headers.
//!
//! Real clients print ARM's error shape, so a refusal is written in it; the
//! header `x-vaultgate-decision` tells our 403 from Azure's. What a caller reads
//! here never holds a credential, nor why a token failed beyond its check's name.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;
use uuid::Uuid;
use vaultgate_pdp::Decision;

use crate::approvals::Summary;
use crate::listener::Answer;
use crate::recorder::RefusalNote;
use crate::store::StoreError;

/// Header that tells the gateway's verdict.
pub(crate) const VERDICT: HeaderName = HeaderName::from_static("x-vaultgate-decision");
/// Header that names the decision.
pub(crate) const DECISION_ID: HeaderName = HeaderName::from_static("x-vaultgate-decision-id");
/// Header with the decision that a repeated change was first let through by: the one that Azure
/// knows.
pub(crate) const REPLAYED_OF: HeaderName = HeaderName::from_static("x-vaultgate-replayed-of");
/// Header that proves the record: origin, index and leaf hash.
pub(crate) const RECEIPT: HeaderName = HeaderName::from_static("x-vaultgate-receipt");

/// The verdict that a caller's program branches on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Policy allowed it.
    Allow,
    /// Policy, or the gateway's own rules, refused it.
    Deny,
    /// Policy asks for something first, such as an approval.
    Approval,
    /// A rate or budget of the gateway or of ARM is used up.
    Limit,
    /// The gateway cannot judge or forward at the moment.
    Error,
}

impl Verdict {
    /// The value of the header.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Verdict::Allow => "allow",
            Verdict::Deny => "deny",
            Verdict::Approval => "approval",
            Verdict::Limit => "limit",
            Verdict::Error => "error",
        }
    }
}

/// One refusal, whatever step it came from.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    /// Stable kebab-case reason: the same in answer, record, metric and docs.
    pub(crate) reason: &'static str,
    /// HTTP status.
    pub(crate) status: StatusCode,
    /// The header's verdict.
    pub(crate) verdict: Verdict,
    /// ARM's error code, in Pascal case.
    pub(crate) code: String,
    /// What happened, for people.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) hint: Option<String>,
    /// The policy reasons, when policy refused.
    pub(crate) reasons: Vec<PolicyReason>,
    /// The approval that the request waits for.
    pub(crate) approval: Option<Summary>,
    /// The decision that let the same change through before.
    pub(crate) replayed_of: Option<Uuid>,
    /// When to come back.
    pub(crate) retry_after: Option<Duration>,
    /// Challenge for a caller without a usable token.
    pub(crate) challenge: Option<String>,
    /// Whether the connection ends with this answer.
    pub(crate) close: bool,
}

/// One reason that policy gave.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PolicyReason {
    /// Stable code of the rule's finding.
    pub(crate) code: String,
    /// What it means for this request.
    pub(crate) message: String,
    /// The rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rule: Option<String>,
}

impl Refusal {
    /// A refusal with the usual shape of its verdict.
    pub(crate) fn new(
        reason: &'static str,
        status: StatusCode,
        verdict: Verdict,
        message: impl Into<String>,
    ) -> Refusal {
        Refusal {
            reason,
            status,
            verdict,
            code: pascal(reason),
            message: message.into(),
            hint: None,
            reasons: Vec::new(),
            approval: None,
            replayed_of: None,
            retry_after: None,
            challenge: None,
            close: false,
        }
    }

    /// What the gateway itself does not allow.
    pub(crate) fn deny(
        reason: &'static str,
        status: StatusCode,
        message: impl Into<String>,
    ) -> Box<Refusal> {
        Box::new(Refusal::new(reason, status, Verdict::Deny, message))
    }

    /// Something that the gateway cannot do right now: 503, try again.
    pub(crate) fn unavailable(reason: &'static str, message: impl Into<String>) -> Refusal {
        let mut refusal = Refusal::new(
            reason,
            StatusCode::SERVICE_UNAVAILABLE,
            Verdict::Error,
            message,
        );
        refusal.retry_after = Some(Duration::from_secs(5));
        refusal
    }

    /// The same with a hint.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Refusal {
        self.hint = Some(hint.into());
        self
    }

    /// What policy denied, with its reasons.
    pub(crate) fn denied(decision: &Decision) -> Refusal {
        let reasons: Vec<PolicyReason> = decision.deny.iter().map(PolicyReason::of).collect();
        let (reason, message) = match &decision.fault {
            Some(fault) => (
                fault.code.as_str(),
                "the policy could not be evaluated, so the request is refused".to_owned(),
            ),
            None => (
                "policy-denied",
                match reasons.first() {
                    Some(first) => format!("refused by policy: {}", first.message),
                    None => "refused by policy: nothing grants this request".to_owned(),
                },
            ),
        };
        let mut refusal = Refusal::new(reason, StatusCode::FORBIDDEN, Verdict::Deny, message);
        refusal.reasons = reasons;
        refusal
    }

    /// The answer, with the decision and receipt where a record exists.
    pub(crate) fn render(&self, decision: Option<Uuid>, receipt: Option<&str>) -> Answer {
        let body = serde_json::to_vec(&self.body(decision)).unwrap_or_default();
        let mut answer = Response::new(Full::new(Bytes::from(body)));
        *answer.status_mut() = self.status;
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(VERDICT, HeaderValue::from_static(self.verdict.as_str()));
        let mut text = |name: HeaderName, value: Option<String>| {
            // A value that does not fit a header is left out, never cut into one.
            if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
                headers.insert(name, value);
            }
        };
        text(DECISION_ID, decision.map(|id| id.to_string()));
        text(REPLAYED_OF, self.replayed_of.map(|id| id.to_string()));
        text(RECEIPT, receipt.map(str::to_owned));
        text(RETRY_AFTER, self.retry_after.map(seconds));
        text(WWW_AUTHENTICATE, self.challenge.clone());
        text(CONNECTION, self.close.then(|| "close".to_owned()));
        answer
    }

    fn body(&self, decision: Option<Uuid>) -> ErrorBody<'_> {
        let mut details: Vec<Detail> = self
            .reasons
            .iter()
            .map(|reason| Detail {
                code: reason.code.clone(),
                message: reason.message.clone(),
            })
            .collect();
        if let Some(hint) = &self.hint {
            details.push(Detail {
                code: "Hint".into(),
                message: hint.clone(),
            });
        }
        ErrorBody {
            error: ErrorObject {
                code: &self.code,
                message: match decision {
                    Some(id) => format!("{} (decision {id})", self.message),
                    None => self.message.clone(),
                },
                target: None,
                details,
                additional_info: vec![AdditionalInfo {
                    kind: "VaultgateDecision",
                    info: Info {
                        decision_id: decision,
                        reason: self.reason,
                        rules: self.reasons.iter().filter_map(|r| r.rule.clone()).collect(),
                        hint: self.hint.clone(),
                        approval: self.approval.as_ref(),
                        retry_after_seconds: self.retry_after.map(|after| after.as_secs().max(1)),
                    },
                }],
            },
        }
    }
}

impl From<StoreError> for Box<Refusal> {
    fn from(error: StoreError) -> Box<Refusal> {
        let message = format!("the store is unavailable: {error}");
        Box::new(Refusal::unavailable("store-unavailable", message))
    }
}

impl RefusalNote {
    /// What a record says of a refusal.
    pub(crate) fn of(refusal: &Refusal) -> RefusalNote {
        RefusalNote {
            reason: refusal.reason,
            code: refusal.code.clone(),
            status: refusal.status.as_u16(),
            message: refusal.message.clone(),
        }
    }
}

impl PolicyReason {
    pub(crate) fn of(reason: &vaultgate_pdp::Reason) -> PolicyReason {
        PolicyReason {
            code: reason.code.clone(),
            message: reason.message.clone(),
            rule: reason.rule.clone(),
        }
    }
}

#[derive(Serialize)]
struct ErrorBody<'r> {
    error: ErrorObject<'r>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ErrorObject<'r> {
    code: &'r str,
    message: String,
    target: Option<&'r str>,
    details: Vec<Detail>,
    additional_info: Vec<AdditionalInfo<'r>>,
}

#[derive(Serialize)]
struct Detail {
    code: String,
    message: String,
}

#[derive(Serialize)]
struct AdditionalInfo<'r> {
    #[serde(rename = "type")]
    kind: &'static str,
    info: Info<'r>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Info<'r> {
    decision_id: Option<Uuid>,
    reason: &'static str,
    rules: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    approval: Option<&'r Summary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_seconds: Option<u64>,
}

fn seconds(after: Duration) -> String {
    // Rounded up: a client that comes back a moment early is refused again.
    after
        .as_secs()
        .saturating_add(u64::from(after.subsec_nanos() > 0))
        .max(1)
        .to_string()
}

/// `policy-denied` as ARM writes codes: `PolicyDenied`.
fn pascal(reason: &str) -> String {
    let mut code = String::with_capacity(reason.len());
    for word in reason.split('-') {
        let mut letters = word.chars();
        if let Some(first) = letters.next() {
            code.extend(first.to_uppercase());
            code.push_str(letters.as_str());
        }
    }
    code
}
