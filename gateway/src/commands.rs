//! The verbs of the `vaultgate` executable, one file each.
//!
//! Exit codes: 0 done · 1 failed, or the log is broken · 2 a policy test failed ·
//! 3 the log is intact and nothing kept outside covers it · 64 wrong usage.

mod approvals;
mod client;
mod config;
mod custody;
mod doctor;
mod init;
mod log;
mod policy;
mod reviewers;
mod run;
mod serve;
mod why;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Exit code of a failure that is nobody's denial.
pub(crate) const FAILED: u8 = 1;

#[derive(Parser)]
#[command(
    name = "vaultgate",
    version,
    about = "Identity-aware policy gateway for Azure Backup",
    disable_help_subcommand = true
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run the gateway
    Serve {
        /// Configuration file
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Write traces as JSON lines
        #[arg(long)]
        json: bool,
    },
    /// Check or print configuration
    #[command(subcommand)]
    Config(config::ConfigVerb),
    /// Manage the keys that seal handles of long-running operations
    #[command(subcommand)]
    Custody(custody::CustodyVerb),
    /// Write a configuration, an app registration manifest and role definitions
    Init(init::InitArguments),
    /// Check reachability, clock, identities, roles and disk
    Doctor {
        /// Configuration file
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Run one command through the gateway, and finish what needs approval
    Run(run::RunArguments),
    /// Ask how approvals stand, give them, use them
    #[command(subcommand)]
    Approvals(approvals::ApprovalsVerb),
    /// See what was deleted and until when Azure keeps it; take it back
    #[command(subcommand)]
    Deletions(reviewers::DeletionsVerb),
    /// See how the runs of flows stand, as they say
    Runs(reviewers::RunsArguments),
    /// Stop an identity now, or let it go on
    #[command(subcommand)]
    Principals(reviewers::PrincipalsVerb),
    /// Freeze destruction everywhere, or lift the freeze
    #[command(subcommand)]
    Incident(reviewers::IncidentVerb),
    /// Ask why one of your own requests was refused, and what would change it
    Why(why::WhyArguments),
    /// Check, test and evaluate policy; works without a network
    #[command(subcommand)]
    Policy(policy::PolicyVerb),
    /// Read and verify the decision log; works without a network
    #[command(subcommand)]
    Log(log::LogVerb),
}

/// Runs the executable.
pub(crate) fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no mistakes.
            let code = if error.use_stderr() { 64 } else { 0 };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let done = match cli.verb {
        Verb::Serve { config, json } => serve::run(&config, json),
        Verb::Config(verb) => config::run(verb),
        Verb::Custody(verb) => custody::run(verb),
        Verb::Init(arguments) => init::run(&arguments),
        Verb::Doctor { config } => doctor::run(&config),
        Verb::Run(arguments) => run::run(&arguments),
        Verb::Approvals(verb) => approvals::run(verb),
        Verb::Deletions(verb) => reviewers::deletions(verb),
        Verb::Runs(arguments) => reviewers::runs(&arguments),
        Verb::Principals(verb) => reviewers::principals(verb),
        Verb::Incident(verb) => reviewers::incident(verb),
        Verb::Why(arguments) => why::run(&arguments),
        Verb::Policy(verb) => policy::run(verb),
        Verb::Log(verb) => log::run(verb),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            complain(&format!("{error:#}"));
            ExitCode::from(FAILED)
        }
    }
}

/// Writes an error for people to standard error.
#[expect(
    clippy::print_stderr,
    reason = "this is the command line's error output"
)]
pub(crate) fn complain(text: &str) {
    eprintln!("error: {text}");
}

/// Writes a result to standard output; a closed pipe ends the output quietly.
pub(crate) fn say(text: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}
