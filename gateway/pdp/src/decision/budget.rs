//! What remains of a budget, as policy counts it: for clients that plan, and for the record.

use serde::{Deserialize, Serialize};
use serde_json::Number;

/// Most budgets of one decision.
const MOST: usize = 32;

/// What is left of one budget. It decides nothing: what a spent one means is a rule's to say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Whose acts are counted, such as `principal`, `person`, `vault`.
    pub of: String,
    /// The class of operations that it limits.
    pub class: String,
    /// The time over which they are counted, such as `24h`.
    pub window: String,
    /// How many there may be, or which share.
    pub limit: Number,
    /// How many of them are left now, before this request; never less than none.
    pub left: Number,
}

pub(super) fn check(budgets: &[Budget]) -> Result<(), String> {
    if budgets.len() > MOST {
        return Err(format!("{} budgets, more than {MOST}", budgets.len()));
    }
    budgets.iter().try_for_each(|budget| {
        let named = [&budget.of, &budget.class, &budget.window];
        if named.iter().any(|name| name.is_empty()) {
            return Err("a budget does not say whose it is, of what class, or when".to_owned());
        }
        let numbers = [&budget.limit, &budget.left].map(|number| number.as_f64());
        match numbers {
            [Some(limit), Some(left)] if 0.0 <= left && left <= limit => Ok(()),
            _ => Err(format!(
                "{} of {} are no rest of a budget",
                budget.left, budget.limit
            )),
        }
    })
}
