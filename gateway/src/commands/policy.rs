//! `vaultgate policy check | test | eval | schema`, and the trial of a bundle.

mod again;
mod bench;
mod bundle;

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Subcommand, ValueEnum};
use vaultgate_pdp::{
    Bundle, DECISION_SCHEMA, INPUT_SCHEMA, Limits, Outcome, Policy, TestReport, admit_and_probe,
    strict, test_bundle,
};

use super::{FAILED, complain, say};
use crate::attack::{Report, Stage, Story, markdown};
use crate::policy_source::{TRIAL_ADDRESS_SPACE, TRIAL_SECONDS};

/// Subscription that the data of the bundle that ships binds its roles in.
const ESTATE: &str = "22222222-2222-2222-2222-222222222222";

/// Exit code of failed tests, as `opa test` has it.
const TESTS_FAILED: u8 = 2;

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

/// Which recorded decisions are judged again, and how that is told.
#[derive(Debug, clap::Args)]
pub(crate) struct RecordedArguments {
    /// Folder of the decision log
    #[arg(long, value_name = "DIR")]
    log: PathBuf,
    /// From this time on, RFC 3339
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<String>,
    /// Before this time
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<String>,
    /// Of this class of operations
    #[arg(long)]
    class: Option<String>,
    /// Of this subject or person
    #[arg(long)]
    principal: Option<String>,
    /// Of resources whose ids begin so
    #[arg(long, value_name = "ID")]
    resource: Option<String>,
    /// Examples of each change
    #[arg(long, value_name = "N", default_value_t = 3)]
    examples: usize,
    /// Form of the report
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Which changes of verdict make a replay fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FailOn {
    /// Any
    Any,
    /// Any, and any other word of a decision
    Exact,
    /// Those that let through what was not, or with less consent
    Loosen,
    /// None
    Never,
}

/// A time as records write it, so that texts compare as times do.
fn moment(given: &str) -> Result<String, String> {
    let time: jiff::Timestamp = given
        .parse()
        .map_err(|_| "write it as RFC 3339, such as `2026-11-23T00:00:00Z`".to_owned())?;
    Ok(format!("{time:.3}"))
}

/// Form of a report that documents hold as well.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ReportFormat {
    /// For people
    Text,
    /// For programs
    Json,
    /// For documents
    Markdown,
}

/// Form of the results of tests.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum TestFormat {
    /// For people
    Text,
    /// For programs, as `opa test` has it
    Json,
    /// For build servers
    Junit,
}

#[derive(Subcommand)]
pub(crate) enum PolicyVerb {
    /// Report everything that keeps a bundle from being activated
    Check {
        /// Folder of the bundle
        dir: PathBuf,
        /// Also report what a careful author would mend: what is unused, hides a name, is in
        /// no input, or does not say what it is
        #[arg(long, short = 'S')]
        strict: bool,
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
        format: TestFormat,
        /// Report which lines of the rules the tests reached, instead
        #[arg(long)]
        coverage: bool,
        /// Lines of a hundred that must be reached
        #[arg(long, value_name = "PERCENT", requires = "coverage")]
        threshold: Option<f64>,
    },
    /// Print what the rules say of themselves: code, severity, controls, remediation
    Inspect {
        /// Folder of the bundle
        dir: PathBuf,
        /// Form of the report
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
    /// Play published attacks against a bundle: where each dies, or that it goes through
    Attack {
        /// Folder of the bundle
        dir: PathBuf,
        /// Only the story of this name
        #[arg(long, value_name = "NAME")]
        story: Option<String>,
        /// The bundle's role for a role of the stories (`reader`, `operator`, `custodian`,
        /// `agent`, `flow`), such as `custodian=backup-admins`; `backup.<role>` otherwise
        #[arg(long, value_name = "ROLE=NAME", value_parser = role)]
        role: Vec<(String, String)>,
        /// Subscription of the estate that is attacked
        #[arg(long, value_name = "ID", default_value = ESTATE)]
        subscription: String,
        /// Form of the report
        #[arg(long, value_enum, default_value = "text")]
        format: ReportFormat,
    },
    /// Judge recorded decisions by this bundle: what would come out otherwise
    #[command(
        after_help = "Exit codes: 0 nothing to fail on, 2 verdicts change (see --fail-on), 1 failed."
    )]
    Replay {
        /// Folder of the bundle
        dir: PathBuf,
        #[command(flatten)]
        recorded: RecordedArguments,
        /// Which changes of verdict are a failure
        #[arg(long, value_enum, default_value = "any")]
        fail_on: FailOn,
    },
    /// Tell what one rule decided, and who would be hit without it
    Blame {
        /// Folder of the bundle
        dir: PathBuf,
        /// Code of the rule
        code: String,
        #[command(flatten)]
        recorded: RecordedArguments,
    },
    /// Tell which grants nobody used, and what changes without them
    Suggest {
        /// Folder of the bundle
        dir: PathBuf,
        #[command(flatten)]
        recorded: RecordedArguments,
        /// Days that are looked at, unless `--since` says otherwise
        #[arg(long, value_name = "DAYS", default_value_t = 90)]
        days: u32,
    },
    /// Pack, sign and inspect bundles as OPA ships them
    #[command(subcommand)]
    Bundle(bundle::BundleVerb),
    /// Put a bundle back that was active before; list them without a name
    Rollback {
        /// Its revision or its digest
        name: Option<String>,
        /// Folder of the decision log
        #[arg(long, value_name = "DIR")]
        log: PathBuf,
        /// Folder or archive of the active policy
        #[arg(long, value_name = "PATH")]
        into: Option<PathBuf>,
    },
    /// Evaluate a query as `opa eval` does
    Eval {
        /// Folder of the bundle
        #[arg(long, value_name = "DIR")]
        bundle: PathBuf,
        /// File with the input document
        #[arg(long, value_name = "FILE")]
        input: Option<PathBuf>,
        /// File of questions, a line of JSON each: `{"query": …, "input": …}`; each gets a
        /// line of its own
        #[arg(long, value_name = "FILE", conflicts_with = "input")]
        batch: Option<PathBuf>,
        /// Explain the decision: the rules that denied, the conditions that were not met, and
        /// what would make it a yes
        #[arg(long, conflicts_with_all = ["batch", "query"])]
        explain: bool,
        /// Explain this recorded decision instead of a file's
        #[arg(long, value_name = "ID", requires_all = ["explain", "log"], conflicts_with = "input")]
        decision: Option<String>,
        /// Folder of the decision log
        #[arg(long, value_name = "DIR")]
        log: Option<PathBuf>,
        /// The query
        #[arg(long, value_name = "Q", default_value = vaultgate_pdp::ENTRY_POINT)]
        query: String,
        /// Form of the result
        #[arg(long, value_enum, default_value = "json")]
        format: Format,
    },
    /// Print the JSON Schemas of input and decision
    Schema {
        /// Write them into this folder instead, as `opa check --schema` reads them
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// Time decisions, from an input that was read to the decision
    Bench {
        /// Folder of the bundle
        #[arg(long)]
        bundle: PathBuf,
        /// File with inputs, one in each line; they are judged in turn
        #[arg(long)]
        input: PathBuf,
        /// What decides
        #[arg(long, value_enum, default_value_t = bench::Timed::Interpreter)]
        engine: bench::Timed,
        /// How many decisions are timed
        #[arg(long, default_value_t = 10_000)]
        count: usize,
        /// How to print it
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
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
        PolicyVerb::Check { dir, strict } => check(&dir, strict),
        PolicyVerb::Test {
            dir,
            run,
            format,
            coverage,
            threshold,
        } => {
            let report = match tested(&dir, run.as_deref())? {
                Ok(report) => report,
                Err(code) => return Ok(code),
            };
            match coverage {
                true => covered(&report, threshold, format),
                false => results(&report, format),
            }
        }
        PolicyVerb::Attack {
            dir,
            story,
            role,
            subscription,
            format,
        } => {
            let stage = Stage {
                roles: role,
                subscription: &subscription,
            };
            attack(&dir, &stage, story.as_deref(), format)
        }
        PolicyVerb::Replay {
            dir,
            recorded,
            fail_on,
        } => again::replay(&dir, &recorded, fail_on),
        PolicyVerb::Blame {
            dir,
            code,
            recorded,
        } => again::blame(&dir, &code, &recorded),
        PolicyVerb::Suggest {
            dir,
            recorded,
            days,
        } => again::suggest(&dir, &recorded, days),
        PolicyVerb::Bundle(verb) => bundle::run(verb),
        PolicyVerb::Rollback { name, log, into } => {
            bundle::rollback(name.as_deref(), &log, into.as_deref())
        }
        PolicyVerb::Inspect { dir, format } => inspect(&dir, format),
        PolicyVerb::Eval {
            bundle,
            input,
            batch,
            explain,
            decision,
            log,
            query,
            format,
        } => match (batch, explain) {
            (Some(file), _) => eval_batch(&bundle, &file),
            (None, true) => explained(&bundle, input.as_deref(), decision.zip(log), format),
            (None, false) => eval(&bundle, input.as_deref(), &query, format),
        },
        PolicyVerb::Bench {
            bundle,
            input,
            engine,
            count,
            format,
        } => bench::run(&bundle, &input, engine, count, format),
        PolicyVerb::Schema { dir: Some(dir) } => {
            std::fs::create_dir_all(&dir)?;
            std::fs::write(dir.join("input.json"), INPUT_SCHEMA)?;
            std::fs::write(dir.join("decision.json"), DECISION_SCHEMA)?;
            Ok(0)
        }
        PolicyVerb::Schema { dir: None } => {
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
fn check(dir: &Path, strictly: bool) -> anyhow::Result<u8> {
    let program = std::env::current_exe()?;
    let output = std::process::Command::new(program)
        .args(["policy", "trial"])
        .arg(dir)
        .output()?;
    match output.status.code() {
        Some(0) => {
            let bundle = Bundle::load(dir)?;
            let found = match strictly {
                true => strict(&bundle, &Limits::default()),
                false => Vec::new(),
            };
            if !found.is_empty() {
                found
                    .iter()
                    .for_each(|problem| complain(&problem.to_string()));
                return Ok(FAILED);
            }
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
    rlimit::setrlimit(rlimit::Resource::CPU, TRIAL_SECONDS, TRIAL_SECONDS)?;
    // Whatever the gateway makes of a bundle is made here first.
    let limits = Limits {
        machine: true,
        ..Limits::default()
    };
    match admit_and_probe(dir, &limits) {
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

/// Runs the tests; the error is the exit code of a bundle whose tests cannot be run.
fn tested(dir: &Path, run: Option<&str>) -> anyhow::Result<Result<TestReport, u8>> {
    let bundle = Bundle::load(dir)?;
    let began = Instant::now();
    let wanted = |name: &str| run.is_none_or(|part| name.contains(part));
    let clock = || began.elapsed();
    let report = test_bundle(&bundle, &Limits::default(), &wanted, &clock);
    Ok(report.map_err(|rejected| {
        for problem in rejected.problems() {
            complain(&problem.to_string());
        }
        FAILED
    }))
}

fn results(report: &TestReport, format: TestFormat) -> anyhow::Result<u8> {
    match format {
        TestFormat::Text => say(report.to_text(true).trim_end()),
        TestFormat::Json => say(&serde_json::to_string_pretty(&report.to_json())?),
        TestFormat::Junit => say(report.to_junit().trim_end()),
    }
    Ok(if report.passed() { 0 } else { TESTS_FAILED })
}

fn covered(report: &TestReport, threshold: Option<f64>, format: TestFormat) -> anyhow::Result<u8> {
    let coverage = report.coverage();
    match format {
        TestFormat::Json => say(&serde_json::to_string_pretty(&coverage.to_json())?),
        TestFormat::Text => say(coverage.to_text().trim_end()),
        TestFormat::Junit => anyhow::bail!("coverage is told as text or as JSON"),
    }
    if !report.passed() {
        let broken = report.results().iter();
        let broken = broken.filter(|one| !matches!(one.outcome, Outcome::Pass | Outcome::Skipped));
        complain(&format!("{} tests do not pass", broken.count()));
        return Ok(TESTS_FAILED);
    }
    let (percent, wanted) = (coverage.percent(), threshold.unwrap_or(0.0));
    if percent < wanted {
        complain(&format!(
            "the tests reach {percent:.1} % of the lines, not {wanted} %"
        ));
        return Ok(TESTS_FAILED);
    }
    Ok(0)
}

fn role(given: &str) -> Result<(String, String), String> {
    let parts = given
        .split_once('=')
        .filter(|(role, name)| !role.is_empty() && !name.is_empty());
    let (role, name) = parts.ok_or("write ROLE=NAME, such as `custodian=backup-admins`")?;
    Ok((role.to_owned(), name.to_owned()))
}

fn attack(
    dir: &Path,
    stage: &Stage<'_>,
    only: Option<&str>,
    format: ReportFormat,
) -> anyhow::Result<u8> {
    let bundle = Bundle::load(dir)?;
    let stories = Story::all()?;
    let names: Vec<String> = stories.iter().map(|story| story.name.clone()).collect();
    let mut reports = Vec::new();
    for story in stories
        .iter()
        .filter(|story| only.is_none_or(|name| story.name == name))
    {
        let report = match stage.play(story, &bundle) {
            Ok(report) => report,
            Err(rejected) => {
                for problem in rejected.problems() {
                    complain(&problem.to_string());
                }
                return Ok(FAILED);
            }
        };
        if matches!(format, ReportFormat::Text) {
            say(report.to_text().trim_end());
        }
        reports.push(report);
    }
    if reports.is_empty() {
        complain(&format!(
            "there is no story `{}`; hint: {}",
            only.unwrap_or_default(),
            names.join(", ")
        ));
        return Ok(FAILED);
    }
    let through = reports.iter().filter(|report| !report.stopped()).count();
    match format {
        ReportFormat::Text => say(&format!(
            "{} attacks, {} stopped, {through} went through",
            reports.len(),
            reports.len() - through
        )),
        ReportFormat::Json => {
            let all: Vec<serde_json::Value> = reports.iter().map(Report::to_json).collect();
            say(&serde_json::to_string_pretty(&all)?);
        }
        ReportFormat::Markdown => say(markdown(&reports, &bundle).trim_end()),
    }
    Ok(if through == 0 { 0 } else { FAILED })
}

fn inspect(dir: &Path, format: Format) -> anyhow::Result<u8> {
    let bundle = Bundle::load(dir)?;
    let (annotations, problems) = bundle.annotations();
    problems
        .iter()
        .for_each(|problem| complain(&problem.to_string()));
    match format {
        Format::Json => {
            let rules = serde_json::json!({
                "revision": bundle.revision(), "digest": bundle.digest(), "rules": annotations,
            });
            say(&serde_json::to_string_pretty(&rules)?);
        }
        Format::Text => {
            say(&format!(
                "revision {}, {}",
                bundle.revision(),
                bundle.digest()
            ));
            for one in annotations.iter().filter(|one| one.code.is_some()) {
                let code = one.code.as_deref().unwrap_or_default();
                let severity = one.severity.as_deref().unwrap_or("-");
                say(&format!("{code}: {} ({severity})", one.title));
                say(&format!("  {}:{}, rule `{}`", one.file, one.line, one.rule));
                say(&format!("  controls: {}", one.controls.join(", ")));
                if let Some(remediation) = &one.remediation {
                    say(&format!("  {}", remediation.trim()));
                }
            }
        }
    }
    Ok(if problems.is_empty() { 0 } else { FAILED })
}

/// A question of a batch.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    query: String,
    input: Option<Box<serde_json::value::RawValue>>,
}

/// Outside suites ask many things of one bundle.
fn eval_batch(dir: &Path, file: &Path) -> anyhow::Result<u8> {
    let policy = Policy::admit(Bundle::load(dir)?, &Limits::default())
        .map_err(|rejected| anyhow::anyhow!("{rejected}"))?;
    for (line, number) in std::fs::read_to_string(file)?.lines().zip(1..) {
        let question: Question = serde_json::from_str(line)
            .map_err(|error| anyhow::anyhow!("line {number} of the questions: {error}"))?;
        let input = question.input.as_deref().map(|input| input.get());
        let answer = vaultgate_pdp::eval(&policy, input, &question.query)
            .unwrap_or_else(|error| serde_json::json!({"error": error.to_string()}));
        say(&answer.to_string());
    }
    Ok(0)
}

/// Explains the decision on a file's input, or on what was recorded.
fn explained(
    dir: &Path,
    input: Option<&Path>,
    recorded: Option<(String, PathBuf)>,
    format: Format,
) -> anyhow::Result<u8> {
    let bundle = Bundle::load(dir)?;
    let (rules, _) = bundle.annotations();
    let policy = Policy::admit(bundle, &Limits::default())
        .map_err(|rejected| anyhow::anyhow!("{rejected}"))?;
    let input = match (input, recorded) {
        (Some(file), _) => std::fs::read_to_string(file)?,
        (None, Some((id, log))) => again::recorded_input(&log, &id)?,
        (None, None) => anyhow::bail!(
            "there is nothing to explain; hint: `--input FILE`, or `--decision ID --log DIR`"
        ),
    };
    let explained = vaultgate_pdp::explain(&policy, &rules, &input);
    match format {
        Format::Json => say(&serde_json::to_string_pretty(&explained)?),
        Format::Text => say(explained.to_text().trim_end()),
    }
    Ok(0)
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
