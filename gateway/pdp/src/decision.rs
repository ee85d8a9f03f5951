//! What policy said, checked: a verdict that any doubt turns into a denial.
//!
//! Invariant: `allow` is true only if the policy returned exactly the documented
//! shape with `allow` true, at least one grant and no denial. Everything else is
//! a denial, and a shape that is not understood is one with a fault.

mod budget;
mod fault;
mod obligation;

pub use budget::Budget;
pub use fault::{Fault, FaultCode};
pub use obligation::{Approval, Obligation, Period};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Longest stable code of a reason, bytes.
const MAX_CODE: usize = 64;

/// The answer to one question.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Decision {
    /// Whether the request may go on.
    pub allow: bool,
    /// Why not; empty for a request that merely nothing grants.
    pub deny: Vec<Reason>,
    /// What grants it: the policy's own words, objects or text.
    pub grants: Vec<Value>,
    /// What must be done before it goes on.
    pub obligations: Vec<Obligation>,
    /// What remains of the budgets that the request draws on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<Budget>,
    /// Set when the policy could not decide.
    pub fault: Option<Fault>,
}

/// One reason to deny.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// Stable kebab-case code.
    pub code: String,
    /// What it means for this request, and what would change it.
    pub message: String,
    /// Controls that the rule serves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub control: Vec<String>,
    /// The rule that said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
}

/// The result as the policy writes it. Unknown members are refused: a misspelt
/// `obligations` must not be an obligation that nobody sees.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Returned {
    allow: bool,
    deny: Vec<Reason>,
    grants: Vec<Value>,
    obligations: Vec<Obligation>,
    #[serde(default)]
    budgets: Vec<Budget>,
}

impl Decision {
    /// The denial of a policy that could not decide. The reason that a caller
    /// reads says no more than that; `message` is for the record.
    pub fn fault(code: FaultCode, message: impl Into<String>) -> Decision {
        Decision {
            allow: false,
            deny: vec![Reason {
                code: code.as_str().to_owned(),
                message: code.explanation().to_owned(),
                control: Vec::new(),
                rule: None,
            }],
            grants: Vec::new(),
            obligations: Vec::new(),
            budgets: Vec::new(),
            fault: Some(Fault {
                code,
                message: message.into(),
            }),
        }
    }

    /// Reads the JSON text of the entry point's value.
    pub(crate) fn from_json(text: &str) -> Decision {
        let malformed = |why: String| Decision::fault(FaultCode::PolicyMalformed, why);
        let returned: Returned = match serde_json::from_str(text) {
            Ok(returned) => returned,
            Err(error) => return malformed(format!("the decision is not understood: {error}")),
        };
        if let Err(why) = returned.check() {
            return malformed(why);
        }
        Decision {
            allow: returned.allow,
            deny: returned.deny,
            grants: returned.grants,
            obligations: returned.obligations,
            budgets: returned.budgets,
            fault: None,
        }
    }
}

impl Returned {
    fn check(&self) -> Result<(), String> {
        if self.allow && !self.deny.is_empty() {
            return Err("`allow` is true though `deny` is not empty".into());
        }
        if self.allow && self.grants.is_empty() {
            return Err("`allow` is true though nothing grants it".into());
        }
        for reason in &self.deny {
            if !is_code(&reason.code) {
                return Err(format!("`{}` is no code of a reason", reason.code));
            }
            if reason.message.trim().is_empty() {
                return Err(format!("the reason `{}` has no message", reason.code));
            }
        }
        for grant in &self.grants {
            let says_something = match grant {
                Value::String(text) => !text.is_empty(),
                Value::Object(members) => !members.is_empty(),
                _ => false,
            };
            if !says_something {
                return Err("a grant is neither text nor an object".into());
            }
        }
        budget::check(&self.budgets)?;
        self.obligations.iter().try_for_each(Obligation::check)
    }
}

/// Lower-case words joined by hyphens.
fn is_code(text: &str) -> bool {
    let words = text.split('-');
    let word = |w: &str| {
        let plain = w
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        !w.is_empty() && plain
    };
    text.len() <= MAX_CODE && words.into_iter().all(word)
}

#[cfg(test)]
mod tests;
