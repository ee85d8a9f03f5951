//! The same question again: what a recorded input gives under a policy.

use std::time::Duration;

use crate::decision::{Decision, FaultCode};
use crate::policy::Policy;
use crate::stack;

/// How much longer than a request a replay may take. Only the clock differs
/// between two evaluations, and a replay must not invent a timeout because the
/// machine is busy.
const PATIENCE: u32 = 50;

/// Judges a recorded input, on a thread with room for it.
pub fn replay(policy: &Policy, input: &str) -> Decision {
    let judged = replay_all(policy, &[input]).pop();
    judged.unwrap_or_else(|| Decision::fault(FaultCode::PolicyError, "nothing was judged"))
}

/// Judges recorded inputs one after the other, on one thread with room for it.
pub fn replay_all(policy: &Policy, inputs: &[&str]) -> Vec<Decision> {
    let limits = policy.limits();
    let limit = limits
        .time_limit
        .saturating_mul(PATIENCE)
        .max(Duration::from_secs(1));
    let judge = || {
        let inputs = inputs.iter();
        inputs
            .map(|input| policy.decide_text(input, limit))
            .collect()
    };
    stack::on_large_stack(limits.stack_bytes, judge).unwrap_or_else(|error| {
        let fault = Decision::fault(FaultCode::PolicyError, error.to_string());
        vec![fault; inputs.len()]
    })
}
