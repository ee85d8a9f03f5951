//! Which rule it is that takes too long, or makes the engine panic.
//!
//! The engine does not say. Each rule is asked alone; of those that fail, one that needs no other
//! of them is to blame.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use regorus::{Engine, Value};

use super::graph::Graph;
use super::syntax::Module;
use crate::engine;
use crate::limits::Limits;

/// Longest search.
const SEARCH: Duration = Duration::from_secs(3);

/// File and line of a rule that fails on its own for this input.
pub(super) fn find(
    engine: &Engine,
    modules: &[Module],
    limits: &Limits,
    input: &Value,
) -> Option<(String, u32)> {
    let began = Instant::now();
    let fails = |path: &str| {
        let ask = || {
            let mut engine = engine.clone();
            engine::set_time_limit(&mut engine, limits.time_limit, limits);
            engine.set_input(input.clone());
            // Other errors are those of the policy: they are told as what they are.
            let told = engine.eval_rule(path.to_owned()).err();
            told.is_some_and(|error| engine::is_timeout(error.downcast_ref(), &error.to_string()))
        };
        catch_unwind(AssertUnwindSafe(ask)).unwrap_or(true)
    };
    let mut failing: Vec<(&Module, &[String], u32)> = Vec::new();
    for module in modules {
        for rule in module
            .rules
            .iter()
            .filter(|rule| rule.arguments.is_none() && !rule.open)
        {
            let known = failing.iter().any(|(_, path, _)| *path == rule.path);
            if !known && began.elapsed() < SEARCH && fails(&rule.path.join(".")) {
                failing.push((module, &rule.path, rule.line));
            }
        }
    }
    let graph = Graph::of(modules);
    let alone = failing.iter().find(|(_, path, _)| {
        let needed = graph.needed_by(|start| start == *path);
        let mut others = failing.iter().filter(|(_, other, _)| other != path);
        !others.any(|(_, other, _)| needed.contains(other))
    });
    alone.map(|(module, _, line)| (module.file.clone(), *line))
}
