//! Why a decision came out as it did, and what would make it a yes.
//!
//! Rules that denied are found by their codes; how far the others came is what the engine says
//! it evaluated. What would allow is tried, not argued: each change of a closed list is made to
//! the input and judged by the same policy.

mod change;

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use regorus::Value as RegoValue;
use serde::Serialize;

use crate::annotation::Annotation;
use crate::decision::Decision;
use crate::policy::Policy;
use crate::{ENTRY_POINT, engine, stack};

pub use change::{Change, what_would_allow};

/// Rules that grant are called so.
const GRANTS: &str = "grants";

/// A rule that denied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fired {
    /// Its code.
    pub code: String,
    /// What it said.
    pub message: String,
    /// File and line, where its metadata tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// How much the request would do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remediation: Option<String>,
}

/// A rule that would have granted and did not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stopped {
    /// What the rule is.
    pub title: String,
    /// File and line of the condition that it came to last.
    pub place: String,
    /// That condition, as written.
    pub condition: String,
}

/// Why a decision came out as it did.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// The decision.
    pub decision: Decision,
    /// The rules that denied.
    pub fired: Vec<Fired>,
    /// The rules that grant, as far as each came; empty when one granted.
    pub stopped: Vec<Stopped>,
    /// Changes with which it would be allowed.
    pub would_allow: Vec<Change>,
}

/// Explains the decision on one input. Takes a few hundred evaluations.
pub fn explain(policy: &Policy, rules: &[Annotation], input: &str) -> Explanation {
    let run = || {
        let traced = catch_unwind(AssertUnwindSafe(|| traced(policy, rules, input)));
        traced.unwrap_or_default()
    };
    let limits = policy.limits();
    let stopped = stack::on_large_stack(limits.stack_bytes, run).unwrap_or_default();
    let decision = crate::replay(policy, input);
    let fired = decision.deny.iter().map(|reason| {
        let rule = rules
            .iter()
            .find(|rule| rule.code.as_ref() == Some(&reason.code));
        Fired {
            code: reason.code.clone(),
            message: reason.message.clone(),
            place: rule.map(|rule| format!("{}:{}", rule.file, rule.line)),
            severity: rule.and_then(|rule| rule.severity.clone()),
            remediation: rule.and_then(|rule| rule.remediation.clone()),
        }
    });
    Explanation {
        fired: fired.collect(),
        stopped: if decision.grants.is_empty() {
            stopped
        } else {
            Vec::new()
        },
        would_allow: what_would_allow(policy, input, usize::MAX),
        decision,
    }
}

/// How far the rules that grant came.
fn traced(policy: &Policy, rules: &[Annotation], input: &str) -> Vec<Stopped> {
    let mut engine = policy.engine();
    engine::set_time_limit(
        &mut engine,
        std::time::Duration::from_secs(5),
        policy.limits(),
    );
    engine.set_enable_coverage(true);
    let Ok(input) = RegoValue::from_json_str(input) else {
        return Vec::new();
    };
    engine.set_input(input);
    // A policy that fails has come somewhere too.
    let _ = engine.eval_rule(ENTRY_POINT.to_owned());
    let Ok(report) = engine.get_coverage_report() else {
        return Vec::new();
    };
    let mut stopped = Vec::new();
    for rule in rules.iter().filter(|rule| rule.rule == GRANTS) {
        let Some(file) = report.files.iter().find(|file| file.path == rule.file) else {
            continue;
        };
        // The head is evaluated last: it is no condition.
        let body = rule.line + 1..=rule.end;
        let Some(last) = file.covered.iter().rev().find(|line| body.contains(*line)) else {
            continue;
        };
        let at = usize::try_from(*last)
            .unwrap_or(usize::MAX)
            .saturating_sub(1);
        let condition = file.code.lines().nth(at).unwrap_or_default().trim();
        stopped.push(Stopped {
            title: rule.title.clone(),
            place: format!("{}:{last}", rule.file),
            condition: condition.to_owned(),
        });
    }
    stopped
}

impl Explanation {
    /// For people.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let verdict = match (self.decision.allow, self.decision.obligations.is_empty()) {
            (true, true) => "allowed",
            (true, false) => "allowed once others approve",
            (false, _) => "denied",
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{verdict}");
        if let Some(fault) = &self.decision.fault {
            let _ = writeln!(text, "  the policy failed: {}", fault.message);
        }
        for fired in &self.fired {
            let place = fired.place.as_deref().unwrap_or("no metadata");
            let _ = writeln!(text, "  {} ({place}): {}", fired.code, fired.message);
            if let Some(remediation) = &fired.remediation {
                let _ = writeln!(text, "    {}", remediation.trim());
            }
        }
        for stopped in &self.stopped {
            let _ = writeln!(
                text,
                "  not granted by \"{}\": stopped at {}: {}",
                stopped.title, stopped.place, stopped.condition
            );
        }
        for grant in &self.decision.grants {
            let _ = writeln!(text, "  granted by {grant}");
        }
        match self.would_allow.as_slice() {
            [] if !self.decision.allow => {
                text.push_str("no single change of those that are tried would allow it\n")
            }
            changes => {
                for change in changes {
                    let _ = writeln!(text, "would be allowed {}", change.in_words());
                }
            }
        }
        text
    }
}

#[cfg(test)]
mod tests;
