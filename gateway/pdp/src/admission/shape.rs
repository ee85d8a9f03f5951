//! Whether a bundle is where it says, and has the entry point.

use serde_json::Value;

use super::syntax::Module;
use crate::ENTRY_POINT;
use crate::bundle::Bundle;
use crate::problem::Problem;

/// Deepest syntax tree: what the engine does with a deeper one takes minutes.
const MAX_DEPTH: usize = 400;

/// Checks packages against roots, rules against data, and the entry point.
pub(super) fn check(bundle: &Bundle, modules: &[Module]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for module in modules {
        let package = module.package.get(1..).unwrap_or_default();
        if !bundle.owns(package) {
            let message = format!("the package `{}` is outside the roots", package.join("."));
            let hint = "rename it, or name its root in `.manifest`";
            problems.push(Problem::error(&module.file, Some(module.line), message).hint(hint));
        }
        if module.depth > MAX_DEPTH {
            let message = "an expression of this file is too long";
            let hint = "give parts of it rules of their own";
            problems.push(Problem::error(&module.file, None, message).hint(hint));
        }
        for rule in &module.rules {
            if let Some(place) = shadowed(bundle.data(), rule.path.get(1..).unwrap_or_default()) {
                let message = format!("`data.{place}` is both a rule and data");
                let hint = "rename the rule or move the data";
                problems.push(Problem::error(&module.file, Some(rule.line), message).hint(hint));
            }
        }
    }
    let packages = modules.iter().filter_map(|module| module.package.get(1..));
    let packages: Vec<Vec<String>> = packages.map(<[String]>::to_vec).collect();
    for root in bundle.unused_roots(&packages) {
        let message = format!("nothing lies under the root `{root}`");
        problems.push(Problem::error(".manifest", None, message).hint("correct or remove it"));
    }
    problems.extend(entry_point(modules));
    problems
}

/// The entry point is one plain rule: a document built of parts cannot be asked
/// for by its name, and a function has no value.
fn entry_point(modules: &[Module]) -> Option<Problem> {
    let path: Vec<&str> = ENTRY_POINT.split('.').collect();
    let mut found = false;
    for module in modules {
        for rule in module
            .rules
            .iter()
            .filter(|rule| starts_with(&rule.path, &path))
        {
            if rule.path.len() != path.len() || rule.open || rule.arguments.is_some() {
                let message = format!("`{ENTRY_POINT}` is not one plain rule");
                let hint =
                    r#"write `decision := {"allow": …, "deny": …, "grants": …, "obligations": …}`"#;
                let problem = Problem::error(&module.file, Some(rule.line), message);
                return Some(problem.hint(hint));
            }
            found = true;
        }
    }
    let hint = "write the rule `decision` in the package `vaultgate`";
    let missing = || Problem::error(".", None, format!("there is no rule `{ENTRY_POINT}`"));
    (!found).then(|| missing().hint(hint))
}

fn starts_with(path: &[String], names: &[&str]) -> bool {
    path.len() >= names.len() && path.iter().zip(names).all(|(own, name)| own == name)
}

/// The place where data stands that a rule at `path` would define, or that stops
/// the way to it: which of the two wins is nothing to rely on.
fn shadowed(data: &Value, path: &[String]) -> Option<String> {
    let mut at = data;
    for (depth, name) in path.iter().enumerate() {
        let Value::Object(members) = at else {
            return Some(path.get(..depth)?.join("."));
        };
        at = members.get(name)?;
    }
    Some(path.join("."))
}
