//! Putting the gateway together: everything is read and checked, then doors open.
//!
//! The order matters: the log first (nothing happens unrecorded), then the store
//! and what is rebuilt from the log, then what a crash left open is settled, and
//! only then does a port take connections.

mod admin;
mod checks;
mod door;
mod recovery;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::watch;
use uuid::Uuid;
use vaultgate_arm::catalogue;
use vaultgate_decision_log::{Kind, Priority};
use vaultgate_pdp::Evaluator;

use crate::activity::Activity;
use crate::admit::{Admission, ConnectionCaps, RefusalLedger};
use crate::approvals::Approvals;
use crate::authn::Authenticator;
use crate::bundle_service::BundleService;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::console::Console;
use crate::custody::Custody;
use crate::custody::watch::Watcher;
use crate::deletions::Deletions;
use crate::facts::Facts;
use crate::facts::estate::{Estate, Inventory};
use crate::idempotency::Idempotency;
use crate::incident::Incident;
use crate::listener::Tls;
use crate::notices::Notices;
use crate::observer::Observer;
use crate::outbound::Outbound;
use crate::pipeline::{Pipeline, Refused};
use crate::policy_source::PolicySource;
use crate::quarantine::{self, Quarantine};
use crate::recorder::Recorder;
use crate::runs::Runs;
use crate::shadow::Shadow;
use crate::store::Store;
use crate::telemetry::Metrics;
use crate::upstream::Upstream;
use crate::{anchor, authn};

pub(crate) use checks::{open_log, preflight, publish_key};

/// Records that a first start itself writes, at most.
const OWN_RECORDS: u64 = 4;
/// How often counts are written, limits tidied and counters saved.
const HOUSEKEEPING: Duration = Duration::from_secs(20);

#[derive(Serialize)]
struct LifecycleRecord<'r> {
    event: &'r str,
    version: &'r str,
    opened: Option<Value>,
}

#[derive(Serialize)]
struct ConfigRecord<'r> {
    event: &'r str,
    config: &'r str,
    catalogue: &'r str,
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    // A sender that is gone has stopped, too.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Runs the gateway until `stop` turns true and requests in flight have ended.
pub(crate) async fn serve(config: Config, stop: watch::Receiver<bool>) -> anyhow::Result<()> {
    authn::install_crypto();
    let clock = Clock::system();
    let metrics = Arc::new(Metrics::default());
    let config = Arc::new(config);
    let tls = Tls::load(&config.listener)?;
    let outbound = Outbound::new(config.upstream.extra_ca.as_deref())?;

    let (log, opened) = open_log(&config.log, None)?;
    let log = Arc::new(log);
    let recorder = Recorder::new(
        Arc::clone(&log),
        clock.clone(),
        Arc::clone(&metrics),
        config.log.append_timeout,
    );
    let catalogue = introduce(&config, &recorder, opened.note()).await?;
    let limits = checks::policy_limits(&config.policy);
    let mut service = config
        .policy
        .service
        .as_ref()
        .map(|settings| BundleService::new(settings, outbound.with_local_http()));
    let bundle = match &mut service {
        Some(service) => tokio::select! {
            first = service.first() => first?,
            _ = stopped(stop.clone()) => return Ok(()),
        },
        None => config.policy.dir.clone(),
    };
    let keys = config.policy.keys.clone();
    let policies = PolicySource::open(&bundle, limits.clone(), keys, &recorder).await?;
    if let Some(service) = &service {
        service.took(&bundle)?;
    }

    let store = open_store(&config, &log).await?;
    let upstream = Upstream::new(&config.upstream, outbound.clone(), &clock)?;
    upstream.keep_fresh();
    let admission = Arc::new(Admission::new(&config.limits, clock.clone()));
    let observer = Observer::new(upstream.reader(), recorder.clone(), Arc::clone(&admission));
    let replica = &config.log.origin;
    let activity = Activity::of(&store, replica, &config.limits);
    let idempotency = Idempotency::new(store.clone(), replica, &config.limits, clock.clone());
    let watcher = Watcher::new(
        observer.clone(),
        recorder.clone(),
        clock.clone(),
        config.custody.watch_every,
    );
    let approvals = Approvals::new(store.clone(), &config.approvals, clock.clone());
    if store.moved() {
        take_over(&store, &approvals, &clock).await?;
    }
    let left = recovery::replay(&config.log.dir, log.size(), &store, &activity).await?;
    let recovery = recovery::Recovery {
        observer: &observer,
        recorder: &recorder,
        idempotency: &idempotency,
        approvals: &approvals,
        watcher: &watcher,
        metrics: &metrics,
        clock: &clock,
        authority: upstream.host(),
    };
    recovery.reconcile(left).await?;
    recovery.release_keys(&config.log.dir).await;

    let estate = Arc::new(Estate::default());
    let inventory = Inventory {
        estate: Arc::clone(&estate),
        observer: observer.clone(),
        activity: activity.clone(),
        clock: clock.clone(),
        every: config.facts.estate_every,
        subscriptions: config.facts.estate_subscriptions.clone(),
        authority: upstream.host().to_owned(),
    };
    if let Err(error) = activity.caught_up().await {
        // It goes on counting as in flight, and is told again later.
        tracing::error!(%error, "what this gateway had in flight goes on counting");
    }
    let (quarantine, incident) = if store.healthy() {
        let quarantine = Quarantine::open(store.clone()).await;
        let incident = Incident::open(store.clone()).await;
        (quarantine?, incident?)
    } else {
        let quarantine = Quarantine::blind(store.clone());
        (quarantine, Incident::blind(store.clone()))
    };
    if store.created() && log.size() > OWN_RECORDS && config.console.is_some() {
        let why =
            "the store is new beside an older log: who was stopped, and what was frozen, is lost";
        incident
            .begin("gateway".into(), why.into(), clock.now())
            .await?;
        tracing::error!("destruction is frozen until reviewers lift it: {why}");
    }
    let extra_ca = config.upstream.extra_ca.as_deref();
    let outbox = &config.approvals.outbox;
    let (notices, courier) = Notices::open(outbox, &config.notify, extra_ca, &clock)?;
    let shadow = Arc::new(Shadow::new(config.policy.shadow.clone(), &limits));
    shadow.reload().await;
    let pipeline = Arc::new(Pipeline {
        notices,
        deletions: Deletions::new(store.clone()),
        runs: Runs::new(store.clone()),
        approvals,
        quarantine,
        incident,
        authn: Authenticator::new(&config.issuers, outbound.with_local_http(), clock.clone()),
        admission,
        evaluator: Evaluator::start(config.policy.threads, limits),
        ledger: Arc::new(RefusalLedger::new(&config.limits)),
        facts: Facts::new(observer, clock.clone(), &config.facts, estate),
        custody: Arc::new(Custody::open(&config.custody.key)?),
        config: Arc::clone(&config),
        policies: Arc::new(policies),
        recorder: recorder.clone(),
        metrics: Arc::clone(&metrics),
        activity,
        idempotency,
        watcher: watcher.clone(),
        upstream,
        store,
        clock,
        catalogue,
        refused: Refused::default(),
        shadow: Arc::clone(&shadow),
    });
    let console = match &config.console {
        Some(door) => {
            let console = Console::new(Arc::clone(&pipeline), door, outbound.with_local_http());
            let console = console.map_err(|why| anyhow::anyhow!("console.login: {why}"))?;
            Some(Arc::new(console))
        }
        None => None,
    };
    let doors = door::Doors::bind(&config).await?;
    let caps = ConnectionCaps::new(&config.limits);
    tokio::spawn(inventory.run(stop.clone()));
    tokio::spawn(watcher.run(stop.clone()));
    tokio::spawn(housekeeping(Arc::clone(&pipeline), stop.clone()));
    let told = courier.map(|courier| tokio::spawn(courier.run(stop.clone())));
    tokio::spawn(follow(Arc::clone(&pipeline), stop.clone()));
    tokio::spawn(pipeline.activity.clone().follow(stop.clone()));
    tokio::spawn(shadow.watch(stop.clone()));
    if let Some(service) = service {
        let policies = Arc::clone(&pipeline.policies);
        tokio::spawn(service.run(policies, recorder.clone(), stop.clone()));
    } else if config.policy.watch {
        let policies = Arc::clone(&pipeline.policies);
        tokio::spawn(policies.watch(recorder.clone(), stop.clone()));
    }
    let anchored = tokio::spawn(anchor::publish(
        recorder.clone(),
        Arc::clone(&config),
        outbound,
        metrics,
        stop.clone(),
    ));
    let warm = Arc::clone(&pipeline);
    tokio::spawn(async move { warm.authn.warm().await });
    doors.announce(&config)?;
    doors
        .run(Arc::clone(&pipeline), console, tls, caps, stop)
        .await;
    farewell(&pipeline, &recorder).await;
    let _ = anchored.await;
    if let Some(told) = told {
        let _ = told.await;
    }
    let closed = tokio::task::spawn_blocking(move || log.close()).await?;
    closed.context("the decision log was not closed cleanly")?;
    pipeline.store.close().await;
    Ok(())
}

/// Keeps configuration and catalogue by digest and records the start.
async fn introduce(config: &Config, recorder: &Recorder, opened: Value) -> anyhow::Result<String> {
    let rendered = catalogue::rendered().into_bytes();
    let digest = recorder.keep("catalogue", rendered).await?;
    recorder
        .keep("config", config.text.clone().into_bytes())
        .await?;
    let started = LifecycleRecord {
        event: "started",
        version: env!("CARGO_PKG_VERSION"),
        opened: Some(opened),
    };
    let urgent = Priority::Restore;
    recorder
        .write(Kind::Lifecycle, Uuid::now_v7(), &started, urgent)
        .await?;
    let taken = ConfigRecord {
        event: "loaded",
        config: &config.digest,
        catalogue: &digest,
    };
    recorder
        .write(Kind::Config, Uuid::now_v7(), &taken, urgent)
        .await?;
    Ok(digest)
}

/// Opens the store. Where reads may go on without it, a broken one is said loudly
/// and every change is refused.
async fn open_store(
    config: &Config,
    log: &vaultgate_decision_log::DecisionLog,
) -> anyhow::Result<Store> {
    let opened = match &config.store {
        config::Store::File(path) => Store::open(path).await,
        config::Store::Server(url) => {
            let url = url.at_hand();
            let url = url.map_err(|why| anyhow::anyhow!("the store's address: {why}"))?;
            Store::connect(&url, &config.log.origin, &config.log.dir).await
        }
    };
    match opened {
        Ok(store) => {
            if store.created() && log.size() > OWN_RECORDS {
                tracing::error!("the store is new beside an older log: stored replies are lost");
            }
            if let Err(error) = store.keep_room().await {
                tracing::warn!(%error, "the store has no room of its own for a full disk");
            }
            Ok(store)
        }
        Err(error) if config.gateway.reads_without_store => {
            tracing::error!(%error, "the store is unavailable: changes are refused");
            Ok(Store::lost(&error))
        }
        Err(error) => Err(error).context("the store cannot be opened"),
    }
}

/// Takes over a store that came from another server: what was used up, stopped or frozen
/// there since may not be in it. No consent in it holds, and destruction is frozen.
async fn take_over(store: &Store, approvals: &Approvals, clock: &Clock) -> anyhow::Result<()> {
    let why = "the store came from another server or an older state: what was approved, used, \
               stopped or frozen since may be missing";
    let mut change = store.take_over().await?;
    let void = approvals.void_all(&mut change, why).await?;
    Incident::freeze_in(&mut change, "gateway", why, clock.now()).await?;
    change.commit().await?;
    tracing::error!(
        void,
        "open approvals are void and destruction is frozen until reviewers lift it: {why}"
    );
    Ok(())
}

/// Follows what other replicas write: who is stopped, what is frozen.
async fn follow(pipeline: Arc<Pipeline>, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(quarantine::REFRESH) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        // What is known goes on holding while the store cannot be read, and changes are
        // refused meanwhile.
        let mut writes = true;
        if !pipeline.store.healthy() && pipeline.store.shared() {
            let now = pipeline.clock.now();
            // A server that was away is in use again as soon as it takes changes, and what the
            // others wrote meanwhile is read.
            if let Err(error) = pipeline.store.probe(now).await {
                tracing::debug!(%error, "the store is unavailable");
                writes = false;
            }
        }
        let began = Instant::now();
        let quarantine = pipeline.quarantine.refresh().await;
        if let Err(error) = &quarantine {
            tracing::debug!(%error, "the quarantine was not read again");
        }
        let incident = pipeline.incident.refresh().await;
        if let Err(error) = &incident {
            tracing::debug!(%error, "the freeze was not read again");
        }
        if quarantine.is_ok() && incident.is_ok() && writes && pipeline.store.shared() {
            pipeline.store.followed(began);
        }
    }
}

/// Writes the counts of refusals, tidies limits, saves counters.
async fn housekeeping(pipeline: Arc<Pipeline>, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(HOUSEKEEPING) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        pipeline.flush_counts(false);
        pipeline.admission.retain_recent();
        let now = pipeline.clock.now();
        if let Err(error) = pipeline.store.probe(now).await {
            tracing::warn!(%error, "the store is unavailable");
            continue;
        }
        if let Err(error) = pipeline.store.keep_room().await {
            // What room is left is for the keys of restores; the log has the counters.
            tracing::warn!(%error, "the store has no room of its own for a full disk");
        } else if let Err(error) = pipeline.activity.save(&pipeline.store, now).await {
            tracing::warn!(%error, "counters were not saved; the log has them");
        }
        if let Err(error) = pipeline.idempotency.sweep(pipeline.clock.earliest()).await {
            tracing::warn!(%error, "expired keys were not removed");
        }
        pipeline.idempotency.settle_again().await;
        pipeline.end_approvals().await;
        if let Err(error) = pipeline.deletions.sweep(pipeline.clock.earliest()).await {
            tracing::warn!(%error, "old deletions were not forgotten");
        }
        if let Err(error) = pipeline.runs.sweep(pipeline.clock.earliest()).await {
            tracing::warn!(%error, "old runs were not forgotten");
        }
    }
}

async fn farewell(pipeline: &Pipeline, recorder: &Recorder) {
    pipeline.flush_counts(true);
    let now = pipeline.clock.now();
    if let Err(error) = pipeline.activity.save(&pipeline.store, now).await {
        tracing::warn!(%error, "counters were not saved; the log has them");
    }
    let record = json!({"event": "stopped", "version": env!("CARGO_PKG_VERSION")});
    let written = recorder
        .write(Kind::Lifecycle, Uuid::now_v7(), &record, Priority::Restore)
        .await;
    if let Err(error) = written {
        tracing::warn!(%error, "the stop was not recorded");
    }
}
