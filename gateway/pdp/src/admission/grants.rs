//! What a grant may rest on: never on what a caller merely says, never on a tag
//! alone. And what documents a denial: its metadata.
//!
//! Grants are found by name: every rule called `grant…` in a package `vaultgate`
//! or below it, with all that it needs.

use super::graph::Graph;
use super::syntax::{Module, Rule};
use crate::bundle::Bundle;
use crate::problem::Problem;

/// Checks the rules that grant and those that deny.
pub(super) fn check(bundle: &Bundle, modules: &[Module]) -> Vec<Problem> {
    let graph = Graph::of(modules);
    let mut problems = Vec::new();
    for module in modules {
        for rule in &module.rules {
            if named(&rule.path, "grant") {
                let needed = graph.needed_by(|path| path == rule.path.as_slice());
                problems.extend(grounds(module, rule, modules, |path| needed.contains(path)));
            }
            if named(&rule.path, "deny") && !documented(bundle, module, rule) {
                let message = "a rule that denies has no `# METADATA`";
                let hint = "write its title, its code and its controls above it";
                let problem = Problem::warning(&module.file, Some(rule.line), message);
                problems.push(problem.hint(hint));
            }
        }
    }
    problems
}

fn named(path: &[String], name: &str) -> bool {
    path.get(1).is_some_and(|root| root == "vaultgate")
        && path.last().is_some_and(|last| last.starts_with(name))
}

/// What a grant rests on, itself and through other rules.
fn grounds(
    module: &Module,
    rule: &Rule,
    modules: &[Module],
    needed: impl Fn(&[String]) -> bool,
) -> Option<Problem> {
    let mut on_tags = false;
    let mut on_principal = false;
    for module in modules {
        for rule in module.rules.iter().filter(|rule| needed(&rule.path)) {
            for reference in &rule.references {
                for path in module.meanings(&reference.path) {
                    let path: Vec<&str> = path.iter().map(String::as_str).collect();
                    match path.as_slice() {
                        ["input", "claimed", ..] => {
                            let message = "a grant rests on `input.claimed`";
                            let hint = "anybody can claim anything; grant by `input.principal`";
                            let at = Some(reference.line);
                            return Some(Problem::error(&module.file, at, message).hint(hint));
                        }
                        ["input", "flow", "definition_digest", ..] => {
                            let message = "a grant rests on `input.flow.definition_digest`";
                            let hint = "a run says it of itself; deny by it, and grant by `input.principal`";
                            let at = Some(reference.line);
                            return Some(Problem::error(&module.file, at, message).hint(hint));
                        }
                        ["input", "resource", "tags", ..] => on_tags = true,
                        ["input"] | ["input", "principal", ..] => on_principal = true,
                        _ => {}
                    }
                }
            }
        }
    }
    (on_tags && !on_principal).then(|| {
        let message = "a grant rests on tags and not on who asks";
        let hint = "whoever may tag may then grant; tags may only tighten";
        Problem::error(&module.file, Some(rule.line), message).hint(hint)
    })
}

/// Whether a comment block with metadata ends right above the rule.
fn documented(bundle: &Bundle, module: &Module, rule: &Rule) -> bool {
    let mut files = bundle.policies();
    let Some((_, text)) = files.find(|(path, _)| *path == module.file) else {
        return false;
    };
    let above = usize::try_from(rule.line).unwrap_or(0).saturating_sub(1);
    let lines: Vec<&str> = text.lines().take(above).collect();
    let comments = lines.iter().rev().take_while(|line| line.starts_with('#'));
    comments
        .into_iter()
        .any(|line| line.trim_end() == "# METADATA")
}
