//! JSON Schemas of the policy's input and of its decision, shipped for editors
//! and for `policy schema`. Tests hold them to what is written and read here.

use std::sync::LazyLock;

use serde_json::Value;

/// JSON Schema of `vaultgate.input/1`.
pub const INPUT_SCHEMA: &str = include_str!("schema/input.json");
/// JSON Schema of what `data.vaultgate.decision` returns.
pub const DECISION_SCHEMA: &str = include_str!("schema/decision.json");

static INPUT: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(INPUT_SCHEMA).unwrap_or_default());

/// Whether every input has a value at this path below `input`: each name of it is required, and
/// nothing on the way may be null. The value itself may be.
pub(crate) fn always(path: &[&str]) -> bool {
    let mut at = &*INPUT;
    for name in path {
        if let Some(reference) = at.get("$ref").and_then(Value::as_str) {
            let found = reference.strip_prefix('#').and_then(|to| INPUT.pointer(to));
            let Some(found) = found else { return false };
            at = found;
        }
        let required = at.get("required").and_then(Value::as_array);
        let required = required.is_some_and(|all| all.iter().any(|one| one == name));
        let object = at.get("type").and_then(Value::as_str) == Some("object");
        match at.get("properties").and_then(|all| all.get(name)) {
            Some(next) if required && object => at = next,
            _ => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::always;

    #[test]
    fn what_every_input_has_is_known() {
        for path in [
            "operation",
            "operation.class",
            "principal.roles",
            "resource.item",
            "now",
        ] {
            let names: Vec<&str> = path.split('.').collect();
            assert!(always(&names), "{path}");
        }
        for path in [
            "flow.name",
            "request.restore.kind",
            "principal.nothing",
            "request.body.x",
            "facts.vault.mua",
        ] {
            let names: Vec<&str> = path.split('.').collect();
            assert!(!always(&names), "{path}");
        }
    }
}
