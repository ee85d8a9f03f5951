//! What a principal could do somewhere, for discovery: from the bundle's data alone.
//!
//! It decides nothing. Clients and agents ask it to know what is worth trying.

use std::panic::{AssertUnwindSafe, catch_unwind};

use regorus::Value;
use serde_json::json;

use crate::policy::Policy;
use crate::principal::Principal;
use crate::strict::CAPABILITIES;
use crate::{engine, stack};

/// Classes that some grant of the principal has; none where the bundle has no such rule, or
/// where it fails.
pub fn capabilities(policy: &Policy, principal: &Principal) -> Option<Vec<String>> {
    let input = json!({"principal": principal}).to_string();
    let limits = policy.limits();
    let ask = || {
        let asked = catch_unwind(AssertUnwindSafe(|| {
            let mut engine = policy.engine();
            engine::set_time_limit(&mut engine, limits.time_limit, limits);
            engine.set_input(Value::from_json_str(&input).ok()?);
            engine.eval_rule(CAPABILITIES.to_owned()).ok()
        }));
        asked.ok().flatten()
    };
    let found = stack::on_large_stack(limits.stack_bytes, ask).ok()??;
    let classes = found.as_set().ok()?.iter();
    let classes = classes.filter_map(|class| class.as_string().ok());
    Some(classes.map(|class| class.to_string()).collect())
}
