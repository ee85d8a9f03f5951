//! The results of tests, told as `opa test` tells them.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Coverage, Outcome, TestResult, junit};

/// The results of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestReport {
    results: Vec<TestResult>,
    coverage: Coverage,
}

impl TestReport {
    pub(super) fn of(results: Vec<TestResult>, coverage: Coverage) -> TestReport {
        TestReport { results, coverage }
    }

    /// Which lines of the rules were reached.
    pub fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    /// Each test.
    pub fn results(&self) -> &[TestResult] {
        &self.results
    }

    /// Whether no test failed or broke.
    pub fn passed(&self) -> bool {
        let bad = |r: &TestResult| matches!(r.outcome, Outcome::Fail | Outcome::Error(_));
        !self.results.iter().any(bad)
    }

    /// Lines for people: what went wrong, or each test when `verbose`.
    pub fn to_text(&self, verbose: bool) -> String {
        let mut text = String::new();
        let mut file = "";
        for result in &self.results {
            if result.outcome == Outcome::Pass && !verbose {
                continue;
            }
            if result.file != file {
                file = &result.file;
                line(&mut text, format_args!("{file}:"));
            }
            let took = shown(result.duration);
            let name = format!("{}.{}", result.package, result.name);
            let ended = match &result.outcome {
                Outcome::Pass => format!("PASS ({took})"),
                Outcome::Fail => format!("FAIL ({took})"),
                Outcome::Skipped => "SKIPPED".to_owned(),
                Outcome::Error(_) => format!("ERROR ({took})"),
            };
            line(&mut text, format_args!("{name}: {ended}"));
            if let Outcome::Error(why) = &result.outcome {
                line(&mut text, format_args!("  {why}"));
            }
            for (case, passed) in &result.cases {
                let ended = if *passed { "PASS" } else { "FAIL" };
                line(&mut text, format_args!("  {case}: {ended}"));
            }
            for printed in &result.output {
                line(&mut text, format_args!("  {printed}"));
            }
        }
        if !text.is_empty() {
            line(&mut text, format_args!("{}", "-".repeat(80)));
        }
        let total = self.results.len();
        let count = |what: fn(&Outcome) -> bool| {
            self.results
                .iter()
                .filter(|result| what(&result.outcome))
                .count()
        };
        let counts = [
            ("PASS", count(|o| *o == Outcome::Pass)),
            ("FAIL", count(|o| *o == Outcome::Fail)),
            ("SKIPPED", count(|o| *o == Outcome::Skipped)),
            ("ERROR", count(|o| matches!(o, Outcome::Error(_)))),
        ];
        for (name, count) in counts {
            if count > 0 {
                line(&mut text, format_args!("{name}: {count}/{total}"));
            }
        }
        if total == 0 {
            line(&mut text, format_args!("no tests"));
        }
        text
    }

    /// The array that `opa test --format=json` prints.
    pub fn to_json(&self) -> Value {
        self.results.iter().map(one).collect()
    }

    /// The results as JUnit's XML, which build servers read.
    pub fn to_junit(&self) -> String {
        junit::written(&self.results)
    }
}

fn one(result: &TestResult) -> Value {
    let mut test = json!({
        "location": {"file": result.file, "row": result.line, "col": 1},
        "package": result.package,
        "name": result.name,
        "duration": u64::try_from(result.duration.as_nanos()).unwrap_or(u64::MAX),
    });
    let Some(members) = test.as_object_mut() else {
        return test;
    };
    match &result.outcome {
        Outcome::Pass => {}
        Outcome::Fail => drop(members.insert("fail".into(), true.into())),
        Outcome::Skipped => drop(members.insert("skip".into(), true.into())),
        Outcome::Error(why) => {
            let error = json!({"code": "rego_test_error", "message": why});
            members.insert("error".into(), error);
        }
    }
    if !result.cases.is_empty() {
        let cases = result.cases.iter().map(|(name, passed)| {
            let mut case = json!({"name": name});
            if let (false, Some(case)) = (passed, case.as_object_mut()) {
                case.insert("fail".into(), true.into());
            }
            (name.clone(), case)
        });
        members.insert("sub_results".into(), Value::Object(cases.collect()));
    }
    if !result.output.is_empty() {
        members.insert("output".into(), result.output.join("\n").into());
    }
    test
}

fn line(text: &mut String, words: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{words}");
}

fn shown(took: Duration) -> String {
    match took.as_nanos() {
        nanos @ 0..1_000 => format!("{nanos}ns"),
        nanos @ 1_000..1_000_000 => format!("{}µs", nanos / 1_000),
        nanos => format!("{}ms", nanos / 1_000_000),
    }
}
