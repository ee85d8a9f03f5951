//! Running a bundle's own tests: `test_*` rules in `*_test.rego`.
//!
//! A test that is not true fails; one that breaks is an error; `todo_test_*` is
//! skipped and said to be. `test_x[note]` is a test for each case that its body names by
//! `some note, case in …`: a case without a value is one that fails. Durations come from the
//! caller's clock.

mod coverage;
mod junit;
mod report;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use regorus::{Engine, LimitError, Value};

use crate::admission::{self, Cases, Module, Rule};
use crate::bundle::{Bundle, is_test};
use crate::engine;
use crate::limits::Limits;
use crate::problem::Rejected;
use crate::stack;

pub use coverage::Coverage;
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
    /// The cases of a test that has some, and whether each passed.
    pub cases: Vec<(String, bool)>,
    /// What it printed, a line each.
    pub output: Vec<String>,
}

/// What a run of one test gave.
struct Ended {
    outcome: Outcome,
    cases: Vec<(String, bool)>,
    output: Vec<String>,
}

impl Ended {
    fn plain(outcome: Outcome) -> Ended {
        Ended {
            outcome,
            cases: Vec::new(),
            output: Vec::new(),
        }
    }

    fn error(why: impl Into<String>) -> Ended {
        Ended::plain(Outcome::Error(why.into()))
    }
}

/// Runs the tests of a bundle whose names `wanted` takes, and keeps which lines of its rules
/// they reached. `clock` tells the time since any fixed moment.
pub fn test_bundle(
    bundle: &Bundle,
    limits: &Limits,
    wanted: &(dyn Fn(&str) -> bool + Sync),
    clock: &(dyn Fn() -> Duration + Sync),
) -> Result<TestReport, Rejected> {
    let run = || {
        let (engine, modules) = admission::with_tests(bundle, limits)?;
        let tests = modules.iter().filter(|module| is_test(&module.file));
        let mut run = Run {
            engine,
            limits,
            clock,
            coverage: Coverage::of(bundle),
        };
        let results = tests.flat_map(|module| run.module(module, wanted));
        let results = results.collect();
        Ok(TestReport::of(results, run.coverage))
    };
    stack::on_large_stack(limits.stack_bytes, run).unwrap_or_else(|error| {
        let problem = crate::Problem::error(".", None, error.to_string());
        Err(problem.into())
    })
}

/// A run of tests.
struct Run<'r> {
    engine: Engine,
    limits: &'r Limits,
    clock: &'r dyn Fn() -> Duration,
    coverage: Coverage,
}

impl Run<'_> {
    fn module(&mut self, module: &Module, wanted: &dyn Fn(&str) -> bool) -> Vec<TestResult> {
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
            let began = (self.clock)();
            let ended = match todo {
                true => Ended::plain(Outcome::Skipped),
                false => self.test(module, rule, name),
            };
            results.push(TestResult {
                file: module.file.clone(),
                line: rule.line,
                package: package.clone(),
                name: name.clone(),
                outcome: ended.outcome,
                duration: (self.clock)().saturating_sub(began),
                cases: ended.cases,
                output: ended.output,
            });
        }
        results
    }

    fn test(&mut self, module: &Module, rule: &Rule, name: &str) -> Ended {
        let path = format!("{}.{name}", module.package.join("."));
        let whole = rule.path.len() == module.package.len() + 1 && rule.arguments.is_none();
        match &rule.cases {
            Some(cases) if whole => self.cases(module, cases, name, &path),
            // A case that fails would be missing from the result, and nobody would see.
            _ if rule.open || !whole => Ended::error(
                "its cases are not known; write `test_x[note] if { some note, case in cases … }`",
            ),
            _ => self.ask(self.engine.clone(), |engine| {
                let outcome = match evaluate(engine, &path)? {
                    Value::Bool(true) => Outcome::Pass,
                    _ => Outcome::Fail,
                };
                Ok(Ended::plain(outcome))
            }),
        }
    }

    /// A test for each case. What cases there are is asked by a rule of our own beside the
    /// test, since those that fail leave no trace in its value.
    fn cases(&mut self, module: &Module, cases: &Cases, name: &str, path: &str) -> Ended {
        let variables = match cases.by_key {
            true => "note, _",
            false => "note",
        };
        let list = format!("cases_of_{name}");
        let imports = module.imports.iter();
        let imports = imports.map(|(name, path)| format!("import {} as {name}\n", reference(path)));
        let text = format!(
            "package {}\nimport rego.v1\n{}{list} contains note if some {variables} in {}\n",
            reference(module.package.get(1..).unwrap_or_default()),
            imports.collect::<String>(),
            cases.collection
        );
        let mut engine = self.engine.clone();
        if engine
            .add_policy(format!("{}#{name}", module.file), text)
            .is_err()
        {
            return Ended::error(
                "its cases are not known; write them out, or give them a rule of their own",
            );
        }
        let list = format!("{}.{list}", module.package.join("."));
        self.ask(engine, |engine| {
            let known = evaluate(engine, &list)?;
            let value = evaluate(engine, path)?;
            let passed = |note: &Value| match &value {
                Value::Object(values) => values.get(note) == Some(&Value::Bool(true)),
                Value::Set(notes) => notes.contains(note),
                _ => false,
            };
            let notes = known.as_set().map_err(|error| error.to_string())?;
            let shown = |note: &Value| match note {
                Value::String(text) => text.to_string(),
                other => other.to_string(),
            };
            let cases: Vec<(String, bool)> = notes
                .iter()
                .map(|note| (shown(note), passed(note)))
                .collect();
            let all = !cases.is_empty() && cases.iter().all(|(_, passed)| *passed);
            Ok(Ended {
                outcome: if all { Outcome::Pass } else { Outcome::Fail },
                cases,
                output: Vec::new(),
            })
        })
    }

    fn ask(
        &mut self,
        mut engine: Engine,
        question: impl Fn(&mut Engine) -> Result<Ended, String>,
    ) -> Ended {
        engine::set_time_limit(&mut engine, TIME_LIMIT, self.limits);
        engine.set_gather_prints(true);
        engine.set_enable_coverage(true);
        let ended = catch_unwind(AssertUnwindSafe(|| {
            let mut ended = question(&mut engine).unwrap_or_else(Ended::error);
            ended.output = engine.take_prints().unwrap_or_default();
            (ended, engine.get_coverage_report().ok())
        }));
        match ended {
            Ok((ended, report)) => {
                self.coverage.add(report.as_ref());
                ended
            }
            Err(_) => Ended::error("the policy engine panicked"),
        }
    }
}

/// The value of a rule, or why it has none.
fn evaluate(engine: &mut Engine, path: &str) -> Result<Value, String> {
    engine.eval_rule(path.to_owned()).map_err(|error| {
        let text = error.to_string();
        match engine::is_timeout(error.downcast_ref::<LimitError>(), &text) {
            true => format!("took longer than {TIME_LIMIT:?}"),
            false => engine::one_line(&text),
        }
    })
}

/// A path as Rego writes it.
fn reference(path: &[String]) -> String {
    let mut written = String::new();
    for name in path {
        let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        match written.is_empty() {
            true => written.push_str(name),
            false if plain => written.extend([".", name]),
            false => written.push_str(&format!("[{}]", serde_json::Value::from(name.as_str()))),
        }
    }
    written
}

#[cfg(test)]
mod tests;
