//! What keeps no bundle out and should not be in one: names that nothing uses, names that hide
//! others, members that no input has, denials that do not say what they are.
//!
//! For authors and their reviews (`policy check --strict`). A doubt is no finding: what is
//! told here is so.

mod known;
mod names;

use std::collections::BTreeSet;

use crate::ENTRY_POINT;
use crate::admission::{self, Graph, Module, Rule};
use crate::annotation::Annotation;
use crate::bundle::Bundle;
use crate::engine;
use crate::limits::Limits;
use crate::problem::{Problem, Severity};
use crate::stack;

/// The entry point that is answered from data alone.
pub(crate) const CAPABILITIES: &str = "data.vaultgate.capabilities";
/// What a denial says of itself.
const SAID: [&str; 3] = ["severity", "control", "remediation"];

/// Everything that a careful author would mend, by place. Empty for a bundle that holds to it.
/// Look at admitted bundles only: what ends a process is not kept out here.
pub fn strict(bundle: &Bundle, limits: &Limits) -> Vec<Problem> {
    let look = || {
        let (mut engine, problems) = engine::build(bundle, bundle.policies(), limits);
        let mut found = problems;
        let modules = admission::modules(&mut engine);
        found.extend(unused_rules(&modules));
        found.extend(known::unknown_input(&modules));
        found.extend(names::check(&mut engine, &modules));
        found.extend(undocumented(bundle, &modules));
        found
    };
    let mut found = stack::on_large_stack(limits.stack_bytes, look)
        .unwrap_or_else(|error| vec![Problem::error(".", None, error.to_string())]);
    found
        .iter_mut()
        .for_each(|one| one.severity = Severity::Error);
    found.sort();
    found.dedup();
    found
}

/// Rules that no entry point needs.
fn unused_rules(modules: &[Module]) -> Vec<Problem> {
    let graph = Graph::of(modules);
    let entries = [ENTRY_POINT, CAPABILITIES].map(|path| path.split('.').collect::<Vec<_>>());
    let needed = graph.needed_by(|path| entries.iter().any(|entry| path == entry.as_slice()));
    let mut problems = Vec::new();
    for (module, rule) in all(modules) {
        if !needed.contains(rule.path.as_slice()) {
            let message = format!("no decision needs the rule `{}`", rule.path.join("."));
            let hint = "use it or delete it; what only tests need stands with the tests";
            problems.push(Problem::error(&module.file, Some(rule.line), message).hint(hint));
        }
    }
    problems
}

/// Denials whose metadata is missing, or is not what they say.
fn undocumented(bundle: &Bundle, modules: &[Module]) -> Vec<Problem> {
    let (annotations, mut problems) = bundle.annotations();
    let mut codes: BTreeSet<&str> = BTreeSet::new();
    for (module, rule) in all(modules) {
        let denies = rule
            .path
            .last()
            .is_some_and(|name| name.starts_with("deny"));
        if !denies {
            continue;
        }
        let own = annotations
            .iter()
            .find(|one| one.file == module.file && one.line == rule.line);
        let at = |message: String| Problem::error(&module.file, Some(rule.line), message);
        let (Some(own), Some(said)) = (own, rule.code.as_deref()) else {
            if own.is_none() {
                let hint = "write its title, its code and its controls above it";
                problems.push(at("a rule that denies has no `# METADATA`".to_owned()).hint(hint));
            }
            continue;
        };
        if own.code.as_deref() != Some(said) {
            let found = own.code.as_deref().unwrap_or("none");
            let message = format!("the rule says the code `{said}`, its metadata `{found}`");
            problems.push(at(message).hint("reports join the two by the code"));
        }
        if !codes.insert(said) {
            let message = format!("the code `{said}` is another rule's too");
            problems.push(at(message).hint("a code names one rule"));
        }
        for missing in absent(own) {
            let message = format!("the metadata of `{said}` has no `{missing}`");
            problems.push(at(message).hint("reviewers and auditors read it"));
        }
    }
    problems
}

fn absent(own: &Annotation) -> Vec<&'static str> {
    let there = [
        own.severity.is_some(),
        !own.controls.is_empty(),
        own.remediation.is_some(),
    ];
    let mut absent: Vec<&str> = SAID
        .iter()
        .zip(there)
        .filter_map(|(name, there)| (!there).then_some(*name))
        .collect();
    if own.title.is_empty() {
        absent.push("title");
    }
    absent
}

fn all(modules: &[Module]) -> impl Iterator<Item = (&Module, &Rule)> {
    modules
        .iter()
        .flat_map(|module| module.rules.iter().map(move |rule| (module, rule)))
}

#[cfg(test)]
mod tests;
