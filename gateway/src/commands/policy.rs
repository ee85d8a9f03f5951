//! `vaultgate policy check | test | eval | schema`, and the trial of a bundle.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Subcommand, ValueEnum};
use vaultgate_pdp::{
    Bundle, DECISION_SCHEMA, INPUT_SCHEMA, Limits, Policy, TestReport, admit_and_probe, test_bundle,
};

use super::{FAILED, complain, say};
use crate::policy_source::TRIAL_ADDRESS_SPACE;

/// Exit code of failed tests, as `opa test` has it.
const TESTS_FAILED: u8 = 2;

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

#[derive(Subcommand)]
pub(crate) enum PolicyVerb {
    /// Report everything that keeps a bundle from being activated
    Check {
        /// Folder of the bundle
        dir: PathBuf,
    },
    /// Run the bundle's tests
    Test {
        /// Folder of the bundle
        dir: PathBuf,
        /// Only tests whose name contains this
        #[arg(long, value_name = "TEXT")]
        run: Option<String>,
        /// Form of the report
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
    /// Evaluate a query as `opa eval` does
    Eval {
        /// Folder of the bundle
        #[arg(long, value_name = "DIR")]
        bundle: PathBuf,
        /// File with the input document
        #[arg(long, value_name = "FILE")]
        input: Option<PathBuf>,
        /// The query
        #[arg(long, value_name = "Q", default_value = vaultgate_pdp::ENTRY_POINT)]
        query: String,
        /// Form of the result
        #[arg(long, value_enum, default_value = "json")]
        format: Format,
    },
    /// Print the JSON Schemas of input and decision
    Schema,
    /// Admit and probe a bundle with little memory; the gateway runs this in a
    /// process of its own before it activates one
    #[command(hide = true)]
    Trial {
        /// Folder of the bundle
        dir: PathBuf,
    },
}

pub(crate) fn run(verb: PolicyVerb) -> anyhow::Result<u8> {
    match verb {
        PolicyVerb::Check { dir } => check(&dir),
        PolicyVerb::Test { dir, run, format } => test(&dir, run.as_deref(), format),
        PolicyVerb::Eval {
            bundle,
            input,
            query,
            format,
        } => eval(&bundle, input.as_deref(), &query, format),
        PolicyVerb::Schema => {
            say(&format!(
                "{{\"input\": {}, \"decision\": {}}}",
                INPUT_SCHEMA.trim(),
                DECISION_SCHEMA.trim()
            ));
            Ok(0)
        }
        PolicyVerb::Trial { dir } => trial(&dir),
    }
}

/// The check runs in a process of its own, as an activation does: a bundle that
/// ends its process is reported, not suffered.
fn check(dir: &Path) -> anyhow::Result<u8> {
    let program = std::env::current_exe()?;
    let output = std::process::Command::new(program)
        .args(["policy", "trial"])
        .arg(dir)
        .output()?;
    match output.status.code() {
        Some(0) => {
            let bundle = Bundle::load(dir)?;
            say(&format!(
                "`{}` is good: revision {}, {}",
                dir.display(),
                bundle.revision(),
                bundle.digest()
            ));
            let warnings = String::from_utf8_lossy(&output.stdout);
            if !warnings.trim().is_empty() {
                say(warnings.trim_end());
            }
            Ok(0)
        }
        Some(1) => {
            let told = String::from_utf8_lossy(&output.stderr);
            complain(told.trim_end().trim_start_matches("error: "));
            Ok(FAILED)
        }
        _ => {
            complain(&format!(
                "`{}` ended the process that tried it: {}",
                dir.display(),
                output.status
            ));
            Ok(FAILED)
        }
    }
}

fn trial(dir: &Path) -> anyhow::Result<u8> {
    // What a bundle can take is bounded before a line of it is read.
    rlimit::setrlimit(
        rlimit::Resource::AS,
        TRIAL_ADDRESS_SPACE,
        TRIAL_ADDRESS_SPACE,
    )?;
    match admit_and_probe(dir, &Limits::default()) {
        Ok(policy) => {
            for warning in policy.warnings() {
                say(&format!("warning: {warning}"));
            }
            Ok(0)
        }
        Err(rejected) => {
            for problem in rejected.problems() {
                complain(&problem.to_string());
            }
            Ok(FAILED)
        }
    }
}

fn test(dir: &Path, run: Option<&str>, format: Format) -> anyhow::Result<u8> {
    let bundle = Bundle::load(dir)?;
    let began = Instant::now();
    let wanted = |name: &str| run.is_none_or(|part| name.contains(part));
    let clock = || began.elapsed();
    let report: TestReport = match test_bundle(&bundle, &Limits::default(), &wanted, &clock) {
        Ok(report) => report,
        Err(rejected) => {
            for problem in rejected.problems() {
                complain(&problem.to_string());
            }
            return Ok(FAILED);
        }
    };
    match format {
        Format::Text => say(report.to_text(true).trim_end()),
        Format::Json => say(&serde_json::to_string_pretty(&report.to_json())?),
    }
    Ok(if report.passed() { 0 } else { TESTS_FAILED })
}

fn eval(dir: &Path, input: Option<&Path>, query: &str, format: Format) -> anyhow::Result<u8> {
    let policy = Policy::admit(Bundle::load(dir)?, &Limits::default())
        .map_err(|rejected| anyhow::anyhow!("{rejected}"))?;
    let input = input.map(std::fs::read_to_string).transpose()?;
    let result = vaultgate_pdp::eval(&policy, input.as_deref(), query)?;
    match format {
        Format::Json => say(&serde_json::to_string_pretty(&result)?),
        Format::Text => {
            let value = result.pointer("/result/0/expressions/0/value");
            say(&value.map(ToString::to_string).unwrap_or_default());
        }
    }
    Ok(0)
}
