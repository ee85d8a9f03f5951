//! One command: the real gateway beside the emulator.
//!
//! `cargo demo` prints addresses, personas and commands to paste, then follows the
//! decisions. `cargo demo -- --check` runs a scripted tour and exits 0 only when
//! every step held.

#![expect(clippy::print_stdout, reason = "a program for people at a terminal")]
#![expect(
    clippy::indexing_slicing,
    reason = "a missing member of JSON reads as null"
)]

mod approvals;
mod client;
mod environment;
mod flows;
mod follow;
mod gateway;
mod tour;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use vaultgate_sim::{Sim, SimHandle, SimOptions, Tls};

/// The gateway, the emulator and an identity provider on loopback.
#[derive(Parser)]
#[command(name = "vaultgate-demo")]
pub(crate) struct Arguments {
    /// Run the scripted tour and exit
    #[arg(long)]
    check: bool,
    /// Write addresses and tokens as `NAME=value` lines once everything is ready
    #[arg(long, value_name = "PATH")]
    env_file: Option<PathBuf>,
    /// Stop after this many seconds
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// Keep the data folder here instead of a temporary one
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Policy bundle
    #[arg(long, value_name = "DIR")]
    policies: Option<PathBuf>,
    /// Use this executable instead of building one
    #[arg(long, value_name = "PATH")]
    gateway: Option<PathBuf>,
    /// Send ARM requests here instead of to the emulator
    #[arg(long, value_name = "URL")]
    arm_endpoint: Option<String>,
    /// Lift the gateway's own rate limits
    #[arg(long)]
    unlimited: bool,
    /// Further configuration, appended to what the demo writes
    #[arg(long, value_name = "FILE")]
    extra_config: Option<PathBuf>,
    /// How fast the emulator's jobs run
    #[arg(long, default_value_t = 1.0)]
    time_scale: f64,
    /// Print nothing but errors
    #[arg(long)]
    quiet: bool,
}

/// The repository: the demo is a development tool and runs from its checkout.
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    let kept = tempfile::tempdir()?;
    let dir = match &arguments.dir {
        Some(dir) => {
            std::fs::create_dir_all(dir)?;
            dir.canonicalize()?
        }
        None => kept.path().to_owned(),
    };
    let program = match &arguments.gateway {
        Some(program) => program.clone(),
        None => gateway::build(arguments.quiet)?,
    };
    let sim = start_emulator(&dir, arguments.time_scale).await?;
    let mut running = gateway::start(&program, &dir, &sim, arguments).await?;
    let environment = environment::collect(&running, &sim)?;
    if let Some(path) = &arguments.env_file {
        environment::write(path, &environment)?;
    }
    if arguments.check {
        let held = tour::run(&running, &sim, &environment).await;
        running.stop().await?;
        sim.shutdown().await;
        return held;
    }
    // Whoever names a gateway or policies of their own, or wants no words, wants no flows beside.
    let alone = arguments.quiet || arguments.policies.is_some() || arguments.gateway.is_some();
    let flows = match alone {
        true => None,
        false => Some(flows::Flows::prepare(&running, &sim, "*/2 * * * *").await?),
    };
    if let Some(flows) = &flows {
        flows.serve().await?;
    }
    if !arguments.quiet {
        println!("{}", environment::introduction(&running, &environment));
    }
    let ended = follow::until_stopped(&mut running, arguments.seconds, arguments.quiet).await;
    if let Some(flows) = &flows {
        flows.stop().await?;
    }
    running.stop().await?;
    sim.shutdown().await;
    ended.map(|()| true)
}

async fn start_emulator(dir: &Path, time_scale: f64) -> anyhow::Result<SimHandle> {
    let options = SimOptions {
        tls: Some(Tls::Dev(repository().join("certs-dev"))),
        journal: Some(dir.join("journal.jsonl")),
        time_scale,
        ..SimOptions::default()
    };
    Sim::start(options)
        .await
        .context("the emulator did not start")
}

/// Time that the slowest step of a start may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
