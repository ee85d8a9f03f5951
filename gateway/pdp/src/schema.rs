//! JSON Schemas of the policy's input and of its decision, shipped for editors
//! and for `policy schema`. Tests hold them to what is written and read here.

/// JSON Schema of `vaultgate.input/1`.
pub const INPUT_SCHEMA: &str = include_str!("schema/input.json");
/// JSON Schema of what `data.vaultgate.decision` returns.
pub const DECISION_SCHEMA: &str = include_str!("schema/decision.json");
