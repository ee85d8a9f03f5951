//! What people type: `vaultgate-orchestrator check | next | plan | run | serve | status | logs |
//! explain | pause | resume | cancel | coverage | export`.
//!
//! Exit codes: 0 it is so · 1 it is not, or something is wrong · 64 wrong usage.

mod coverage;
mod export;
mod look;
mod plan;
mod progress;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use uuid::Uuid;
use vaultgate_notify::{Backoff, Connections, Courier, Outbox};

use crate::alerts::Alerts;
use crate::config::Config;
use crate::engine::{Clock, Engine, Running, new_run, patience};
use crate::flow::{Flow, Region, schema};
use crate::gateway::Gateway;
use crate::journal::{Journal, JournalError, Lease, Run};
use crate::occurrence;
use crate::otlp::Otlp;
use crate::state::{State, StateType};
use crate::token::Tokens;

/// Something is not as it has to be.
const FAILED: u8 = 1;
/// How often a run of another process is looked at.
const AGAIN: Duration = Duration::from_millis(200);
/// How long whoever served a journal is left time to come back, before a run that is waited for is
/// carried on by who waits.
const COMES_BACK: Duration = Duration::from_secs(15);
/// How much later than it may begin a run is waited for that nobody begins.
const LATE: SignedDuration = SignedDuration::from_mins(1);
/// How long a journal's server that is away is left alone.
const JOURNAL_AGAIN: Duration = Duration::from_secs(1);

/// Scheduled backup flows, which reach Azure only through the gateway.
#[derive(Parser)]
#[command(name = "vaultgate-orchestrator", version, about)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Args)]
struct Place {
    /// The configuration
    #[arg(
        long,
        env = "VAULTGATE_ORCHESTRATOR_CONFIG",
        default_value = "orchestrator.toml"
    )]
    config: PathBuf,
}

#[derive(Subcommand)]
enum Verb {
    /// Check flow files: everything that is wrong, with its place and what to write
    Check {
        /// The files
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// When the regions of flow files are due next
    Next {
        /// The files
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// How many times of each region
        #[arg(long, default_value_t = 5)]
        count: usize,
        /// Times after this instant, and not after now
        #[arg(long)]
        after: Option<Timestamp>,
    },
    /// Run the flows of the configuration until the process is ended
    Serve {
        #[command(flatten)]
        place: Place,
    },
    /// Run a region of a flow now
    Run {
        #[command(flatten)]
        place: Place,
        /// The flow
        flow: String,
        /// The region
        region: String,
        /// Wait until it has ended: 0 only if all of it is backed up
        #[arg(long)]
        wait: bool,
    },
    /// What runs, what waits and why, what came of the last runs
    Status {
        #[command(flatten)]
        place: Place,
        /// One flow only
        flow: Option<String>,
        /// How many of the newest runs
        #[arg(long, default_value_t = 20)]
        most: u32,
        /// As JSON, one run in each line
        #[arg(long)]
        json: bool,
    },
    /// What happened in a run
    Logs {
        #[command(flatten)]
        place: Place,
        /// The run
        run: Uuid,
        /// As JSON, one event in each line
        #[arg(long)]
        json: bool,
    },
    /// Why a run is as it is: its items, their jobs and decisions
    Explain {
        #[command(flatten)]
        place: Place,
        /// The run
        run: Uuid,
    },
    /// Hold a flow, or one region of it: what is due is recorded as skipped
    Pause {
        #[command(flatten)]
        place: Place,
        /// The flow
        flow: String,
        /// One region only
        region: Option<String>,
    },
    /// Let a flow go on, or one region of it
    Resume {
        #[command(flatten)]
        place: Place,
        /// The flow
        flow: String,
        /// One region only
        region: Option<String>,
    },
    /// End a run; its jobs at Azure go on
    Cancel {
        #[command(flatten)]
        place: Place,
        /// The run
        run: Uuid,
    },
    /// What the flows would do, and what the gateway would say to it: 1 if anything would be refused
    Plan {
        #[command(flatten)]
        place: Place,
        /// One flow only
        flow: Option<String>,
        /// Of how many items of a region the gateway is asked
        #[arg(long, default_value_t = 200)]
        items: usize,
        /// As JSON, one region in each line
        #[arg(long)]
        json: bool,
    },
    /// What no flow backs up, and what flows name in vain: 1 if there is any
    Coverage {
        #[command(flatten)]
        place: Place,
        /// As JSON, one finding in each line
        #[arg(long)]
        json: bool,
    },
    /// Write what others need of flow files
    #[command(subcommand)]
    Export(Export),
}

#[derive(Subcommand)]
enum Export {
    /// Definitions for the policy bundle: what a flow may touch, and the digest that was reviewed
    PolicyData {
        /// The files
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// The folder of the bundle
        #[arg(long)]
        bundle: PathBuf,
        /// The configuration: where targets have tags, the gateway is asked what has them now
        #[arg(long, env = "VAULTGATE_ORCHESTRATOR_CONFIG")]
        config: Option<PathBuf>,
    },
    /// The JSON Schema of flow files, for editors
    Schema,
    /// Deployments, limits and automations for Prefect, whose workers have the package
    Prefect {
        /// The files
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// The folder that is written
        #[arg(long)]
        out: PathBuf,
    },
}

/// Runs a command; its exit code.
///
/// # Errors
///
/// Where something that it needs is not there.
pub async fn run(arguments: Arguments) -> anyhow::Result<u8> {
    match arguments.verb {
        Verb::Check { files } => check(&files),
        Verb::Next {
            files,
            count,
            after,
        } => look::next(&files, count, after.unwrap_or_else(Timestamp::now)),
        Verb::Serve { place } => serve(&place).await,
        Verb::Run {
            place,
            flow,
            region,
            wait,
        } => start(&place, &flow, &region, wait).await,
        Verb::Status {
            place,
            flow,
            most,
            json,
        } => look::status(&journal(&place).await?, flow.as_deref(), most, json).await,
        Verb::Logs { place, run, json } => look::logs(&journal(&place).await?, run, json).await,
        Verb::Explain { place, run } => look::explain(&journal(&place).await?, run).await,
        Verb::Pause {
            place,
            flow,
            region,
        } => pause(&place, &flow, region.as_deref(), true).await,
        Verb::Resume {
            place,
            flow,
            region,
        } => pause(&place, &flow, region.as_deref(), false).await,
        Verb::Cancel { place, run } => match journal(&place).await?.cancel(run).await? {
            true => Ok(0),
            false => {
                complain(&format!("there is no run {run} that goes on"));
                Ok(FAILED)
            }
        },
        Verb::Plan {
            place,
            flow,
            items,
            json,
        } => plan::plan(&place, flow.as_deref(), items, json).await,
        Verb::Coverage { place, json } => coverage::coverage(&place, json).await,
        Verb::Export(Export::Schema) => {
            say(&serde_json::to_string_pretty(&schema())?);
            Ok(0)
        }
        Verb::Export(Export::Prefect { files, out }) => export::prefect(&files, &out),
        Verb::Export(Export::PolicyData {
            files,
            bundle,
            config,
        }) => export::policy_data(&files, &bundle, config.as_deref()).await,
    }
}

fn check(files: &[PathBuf]) -> anyhow::Result<u8> {
    let mut wrong = false;
    for file in files {
        match read(file)? {
            Ok(flow) => {
                let regions: Vec<&str> = flow
                    .regions
                    .iter()
                    .map(|region| region.name.as_str())
                    .collect();
                say(&format!(
                    "`{}` is good: flow {}, {}, {}",
                    file.display(),
                    flow.name,
                    regions.join(", "),
                    flow.digest
                ));
            }
            Err(rejected) => {
                complain(&rejected);
                wrong = true;
            }
        }
    }
    Ok(if wrong { FAILED } else { 0 })
}

/// A flow file, or all that is wrong with it.
fn read(file: &Path) -> anyhow::Result<Result<Flow, String>> {
    let text =
        std::fs::read(file).with_context(|| format!("`{}` cannot be read", file.display()))?;
    let shown = file.display().to_string();
    let Ok(text) = String::from_utf8(text) else {
        return Ok(Err(format!("{shown}: the file is not UTF-8")));
    };
    Ok(Flow::read(&shown, &text).map_err(|rejected| rejected.to_string()))
}

/// The flows of some files; what is wrong with the first that is not taken is told, and there is none.
fn read_all(files: &[PathBuf]) -> anyhow::Result<Option<Vec<Flow>>> {
    let mut flows = Vec::new();
    for file in files {
        match read(file)? {
            Ok(flow) => flows.push(flow),
            Err(rejected) => {
                complain(&rejected);
                return Ok(None);
            }
        }
    }
    Ok(Some(flows))
}

async fn journal(place: &Place) -> anyhow::Result<Journal> {
    let config = Config::read(&place.config)?;
    Ok(Journal::open(&config.journal).await?)
}

/// Who carries notices, and when they are to stop.
struct Carrying {
    stop: watch::Sender<bool>,
    courier: tokio::task::JoinHandle<()>,
}

impl Carrying {
    async fn end(self) {
        let _ = self.stop.send(true);
        let _ = self.courier.await;
    }
}

/// The alerts of a configuration with channels, and who carries them.
fn alerts(config: &Config) -> anyhow::Result<Option<(Alerts, Carrying)>> {
    if config.channels.is_empty() {
        return Ok(None);
    }
    let outbox = Outbox::open(&config.outbox)?;
    let connections = Connections {
        extra_ca: config.ca.clone(),
        ..Connections::default()
    };
    let clock = Arc::new(Timestamp::now);
    let channels = config.ready_channels()?;
    let courier = Courier::new(
        outbox.clone(),
        channels,
        &connections,
        Backoff::default(),
        clock,
    )?;
    let (stop, stopped) = watch::channel(false);
    let courier = tokio::spawn(courier.run(stopped));
    Ok(Some((Alerts::new(outbox), Carrying { stop, courier })))
}

/// An engine for all flows of a configuration.
fn engine(
    config: &Config,
    journal: Arc<Journal>,
    alerts: Option<Alerts>,
) -> anyhow::Result<Engine> {
    let clock: Clock = Arc::new(Timestamp::now);
    let running = running(config, config.flows()?)?;
    let otlp = match &config.otlp {
        Some(url) => Some(Otlp::new(url.clone(), config.http()?)),
        None => None,
    };
    Ok(Engine::new(journal, running, alerts, otlp, clock))
}

/// Flows, each with the gateway as its identity sees it.
fn running(config: &Config, flows: Vec<Flow>) -> anyhow::Result<Vec<Running>> {
    let http = config.http()?;
    let each = flows.into_iter().map(|flow| {
        let source = config.identities.get(&flow.identity);
        let tokens = Tokens::new(source.context("an identity")?.clone(), http.clone());
        let gateway = Arc::new(Gateway::new(config.gateway.clone(), tokens, http.clone()));
        Ok(Running { flow, gateway })
    });
    each.collect()
}

/// A run that is none: what is only asked about says whose question it is.
fn asking(flow: &Flow, region: &Region) -> Run {
    let now = Timestamp::now();
    let mut run = new_run(flow, region, now, State::Scheduled, "", None);
    run.id = occurrence::asked_run_id(&flow.name, &region.name, now);
    run
}

async fn serve(place: &Place) -> anyhow::Result<u8> {
    let config = Config::read(&place.config)?;
    let journal = Arc::new(Journal::open(&config.journal).await?);
    let (alerts, carrying) = alerts(&config)?.unzip();
    let engine = engine(&config, Arc::clone(&journal), alerts)?;
    let mut ended = pin!(ended());
    // What is wrong with a file is told at once at the start; what comes later may pass.
    let mut patient = journal.is_shared();
    let served = loop {
        let lease = tokio::select! {
            biased;
            () = &mut ended => break Ok(()),
            lease = lead(&journal, patient) => lease?,
        };
        patient = true;
        let known = tokio::select! {
            biased;
            () = &mut ended => break journal.release(lease).await,
            known = engine.same_callers() => known,
        };
        let served = match known {
            Ok(true) => {
                say(&format!(
                    "ready journal={} gateway={}",
                    journal.place(),
                    config.gateway
                ));
                engine.serve(&mut ended).await.map(|()| true)
            }
            other => other,
        };
        match served {
            Ok(true) => break journal.release(lease).await,
            // The gateway was not heard: somebody else may have better luck. Asking it took its time,
            // and the lease may be another's by now.
            Ok(false) => {
                let_go(&journal, lease).await;
                tokio::select! {
                    () = &mut ended => break Ok(()),
                    () = tokio::time::sleep(JOURNAL_AGAIN) => {}
                }
            }
            // What a full disk or a server's trouble interrupts is taken up again, here or by
            // another.
            Err(error @ (JournalError::Failed { .. } | JournalError::Fenced { .. })) => {
                tracing::warn!(%error, "the flows of this journal are not run from here for now");
                tokio::time::sleep(JOURNAL_AGAIN).await;
            }
            Err(error) => break Err(error),
        }
    };
    if let Some(carrying) = carrying {
        carrying.end().await;
    }
    served?;
    Ok(0)
}

/// Lets a lease go that may be another's by now.
async fn let_go(journal: &Journal, lease: Lease) {
    if let Err(error) = journal.release(lease).await {
        tracing::warn!(%error, "the lease was not let go");
    }
}

/// Waits until this process is the one that runs the flows of a journal; others stand by.
async fn lead(journal: &Journal, patient: bool) -> Result<Lease, JournalError> {
    let mut told = false;
    loop {
        match journal.claim().await {
            Ok(lease) => return Ok(lease),
            Err(error @ JournalError::Taken { .. }) => {
                if !told {
                    tracing::info!("standing by: {error}");
                    told = true;
                }
                tokio::time::sleep(AGAIN).await;
            }
            Err(error) if !patient => return Err(error),
            Err(error @ JournalError::Corrupt { .. }) => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "the journal cannot be used");
                tokio::time::sleep(JOURNAL_AGAIN).await;
            }
        }
    }
}

/// When somebody asks the process to end.
async fn ended() {
    let mut terminate =
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(signal) => signal,
            Err(error) => {
                tracing::error!(%error, "cannot be asked to end by SIGTERM");
                return std::future::pending().await;
            }
        };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

async fn start(place: &Place, flow: &str, region: &str, wait: bool) -> anyhow::Result<u8> {
    let config = Config::read(&place.config)?;
    let flows = config.flows()?;
    let found = flows.iter().find(|own| own.name == flow);
    let flow = found
        .with_context(|| format!("there is no flow `{flow}` in `{}`", config.flows.display()))?;
    let found = flow.regions.iter().find(|own| own.name == region);
    let region =
        found.with_context(|| format!("the flow `{}` has no region `{region}`", flow.name))?;
    let journal = Arc::new(Journal::open(&config.journal).await?);
    let mut run = asking(flow, region);
    "somebody asked for it".clone_into(&mut run.reason);
    journal.ask(&run).await?;
    say(&run.id.to_string());
    if !wait {
        return Ok(0);
    }
    let ended = tokio::select! {
        ended = waited(&config, &journal, &run, region) => ended?,
        never = progress::shown(&journal, run.id) => match never {},
    };
    let ended = ended.context("the run is gone")?;
    look::told(&journal, &ended).await?;
    Ok(match ended.state.state_type() {
        StateType::Completed => 0,
        _ => FAILED,
    })
}

/// Waits for the end of a run. Who serves the flows runs this one too; where nobody does, this process
/// does. Where somebody did, it is left time to come back: nothing else is run from here.
async fn waited(
    config: &Config,
    journal: &Arc<Journal>,
    run: &Run,
    region: &Region,
) -> anyhow::Result<Option<Run>> {
    let latest = patience(region).signed().saturating_add(LATE);
    let mut taken: Option<Instant> = None;
    loop {
        let found = match journal.find_run(run.id).await {
            Ok(found) => found,
            Err(error @ JournalError::Failed { .. }) => {
                tracing::warn!(%error, "the journal cannot be used");
                tokio::time::sleep(JOURNAL_AGAIN).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let Some(now) = found.filter(|run| run.ended.is_none()) else {
            return Ok(journal.find_run(run.id).await?);
        };
        anyhow::ensure!(
            now.started.is_some() || Timestamp::now().duration_since(run.due) < latest,
            "nobody has begun run {}: does whoever serves this journal have these flow files?",
            run.id
        );
        if taken.is_none_or(|at| at.elapsed() > COMES_BACK) {
            match journal.claim().await {
                Ok(lease) => {
                    let engine = engine(config, Arc::clone(journal), None)?;
                    // Who waits may be somebody else at the gateway than whoever began this.
                    let ended = match engine.same_callers().await {
                        Ok(true) => engine.until_ended(run).await.map(Some),
                        Ok(false) => Ok(None),
                        Err(error) => Err(error),
                    };
                    match ended {
                        Ok(Some(ended)) => {
                            let_go(journal, lease).await;
                            return Ok(ended);
                        }
                        Ok(None) => {
                            let_go(journal, lease).await;
                            tokio::time::sleep(JOURNAL_AGAIN).await;
                        }
                        Err(
                            error @ (JournalError::Failed { .. } | JournalError::Fenced { .. }),
                        ) => {
                            tracing::warn!(%error, "the run is not carried on from here for now");
                        }
                        Err(error) => return Err(error.into()),
                    }
                }
                Err(JournalError::Taken { .. } | JournalError::Failed { .. }) => {
                    taken = Some(Instant::now());
                }
                Err(error) => return Err(error.into()),
            }
        } else if !journal.is_free().await.unwrap_or(false) {
            taken = Some(Instant::now());
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn pause(
    place: &Place,
    flow: &str,
    region: Option<&str>,
    paused: bool,
) -> anyhow::Result<u8> {
    if journal(place).await?.pause(flow, region, paused).await? {
        return Ok(0);
    }
    complain(&format!("no region of `{flow}` has been run or served yet"));
    Ok(FAILED)
}

fn say(line: &str) {
    // Nobody listens when the reader has gone.
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn complain(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
