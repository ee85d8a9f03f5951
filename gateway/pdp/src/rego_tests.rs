//! Running a bundle's own tests: `test_*` rules in `*_test.rego`.
//!
//! A test that is not true fails; one that breaks is an error; `todo_test_*` is
//! skipped and said to be. Durations come from the caller's clock.

mod report;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use regorus::{Engine, LimitError, Value};

use crate::admission::{self, Module};
use crate::bundle::{Bundle, is_test};
use crate::engine;
use crate::limits::Limits;
use crate::problem::Rejected;
use crate::stack;

pub use report::TestReport;

/// Longest test.
const TIME_LIMIT: Duration = Duration::from_secs(5);

/// How a test ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is true.
    Pass,
    /// It is not true.
    Fail,
    /// It is to be done.
    Skipped,
    /// It broke.
    Error(String),
}

/// One test and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestResult {
    /// File in the bundle.
    pub file: String,
    /// Line.
    pub line: u32,
    /// Package, from `data`.
    pub package: String,
    /// Name.
    pub name: String,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took.
    pub duration: Duration,
    /// What it printed, a line each.
    pub output: Vec<String>,
}

/// Runs the tests of a bundle whose names `wanted` takes. `clock` tells the time
/// since any fixed moment.
pub fn test_bundle(
    bundle: &Bundle,
    limits: &Limits,
    wanted: &(dyn Fn(&str) -> bool + Sync),
    clock: &(dyn Fn() -> Duration + Sync),
) -> Result<TestReport, Rejected> {
    let run = || {
        let (engine, modules) = admission::with_tests(bundle, limits)?;
        let tests = modules.iter().filter(|module| is_test(&module.file));
        let results = tests.flat_map(|module| run_module(&engine, module, limits, wanted, clock));
        Ok(TestReport::of(results.collect()))
    };
    stack::on_large_stack(limits.stack_bytes, run).unwrap_or_else(|error| {
        let problem = crate::Problem::error(".", None, error.to_string());
        Err(problem.into())
    })
}

fn run_module(
    engine: &Engine,
    module: &Module,
    limits: &Limits,
    wanted: &dyn Fn(&str) -> bool,
    clock: &dyn Fn() -> Duration,
) -> Vec<TestResult> {
    let package = module.package.join(".");
    let mut results: Vec<TestResult> = Vec::new();
    for rule in &module.rules {
        let Some(name) = rule.path.get(module.package.len()) else {
            continue;
        };
        let todo = name.starts_with("todo_test_");
        let is_test = todo || name.starts_with("test_");
        let known = results.iter().any(|result| result.name == *name);
        if !is_test || known || !wanted(&format!("{package}.{name}")) {
            continue;
        }
        let began = clock();
        let plain =
            !rule.open && rule.arguments.is_none() && rule.path.len() == module.package.len() + 1;
        let (outcome, output) = match (todo, plain) {
            (true, _) => (Outcome::Skipped, Vec::new()),
            // A case that fails would be missing from the result, and nobody would see.
            (_, false) => {
                let why = "a test is a plain rule; write a test for each case".to_owned();
                (Outcome::Error(why), Vec::new())
            }
            _ => run_one(engine.clone(), &format!("{package}.{name}"), limits),
        };
        results.push(TestResult {
            file: module.file.clone(),
            line: rule.line,
            package: package.clone(),
            name: name.clone(),
            outcome,
            duration: clock().saturating_sub(began),
            output,
        });
    }
    results
}

fn run_one(mut engine: Engine, path: &str, limits: &Limits) -> (Outcome, Vec<String>) {
    engine::set_time_limit(&mut engine, TIME_LIMIT, limits);
    engine.set_gather_prints(true);
    let ended = catch_unwind(AssertUnwindSafe(|| {
        let outcome = match engine.eval_rule(path.to_owned()) {
            Ok(Value::Bool(true)) => Outcome::Pass,
            Ok(_) => Outcome::Fail,
            Err(error) => {
                let text = error.to_string();
                match engine::is_timeout(error.downcast_ref::<LimitError>(), &text) {
                    true => Outcome::Error(format!("took longer than {TIME_LIMIT:?}")),
                    false => Outcome::Error(engine::one_line(&text)),
                }
            }
        };
        (outcome, engine.take_prints().unwrap_or_default())
    }));
    ended.unwrap_or_else(|_| {
        (
            Outcome::Error("the policy engine panicked".into()),
            Vec::new(),
        )
    })
}

#[cfg(test)]
mod tests;
