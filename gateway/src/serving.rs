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
use std::time::Duration;

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
use crate::authn::Authenticator;
use crate::clock::Clock;
use crate::config::Config;
use crate::custody::Custody;
use crate::custody::watch::Watcher;
use crate::facts::Facts;
use crate::facts::estate::{Estate, Inventory};
use crate::idempotency::Idempotency;
use crate::listener::Tls;
use crate::observer::Observer;
use crate::outbound::Outbound;
use crate::pipeline::Pipeline;
use crate::policy_source::PolicySource;
use crate::recorder::Recorder;
use crate::store::Store;
use crate::telemetry::Metrics;
use crate::upstream::Upstream;
use crate::{anchor, authn};

pub(crate) use checks::{open_log, preflight, publish_key};

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
    let policies = PolicySource::open(&config.policy.dir, limits.clone(), &recorder).await?;

    let store = open_store(&config, &log).await?;
    let upstream = Upstream::new(&config.upstream, outbound.clone(), &clock)?;
    upstream.keep_fresh();
    let admission = Arc::new(Admission::new(&config.limits, clock.clone()));
    let observer = Observer::new(upstream.reader(), recorder.clone(), Arc::clone(&admission));
    let activity = Activity::new(&config.limits);
    let idempotency = Idempotency::new(store.clone(), &config.limits, clock.clone());
    let watcher = Watcher::new(
        observer.clone(),
        recorder.clone(),
        clock.clone(),
        config.custody.watch_every,
    );
    let open = recovery::replay(&config.log.dir, log.size(), &store, &activity).await?;
    let recovery = recovery::Recovery {
        observer: &observer,
        recorder: &recorder,
        idempotency: &idempotency,
        watcher: &watcher,
        metrics: &metrics,
        clock: &clock,
        authority: upstream.host(),
    };
    recovery.reconcile(open).await;
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
    let pipeline = Arc::new(Pipeline {
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
    });
    let doors = door::Doors::bind(&config).await?;
    let caps = ConnectionCaps::new(&config.limits);
    tokio::spawn(inventory.run(stop.clone()));
    tokio::spawn(watcher.run(stop.clone()));
    tokio::spawn(housekeeping(Arc::clone(&pipeline), stop.clone()));
    if config.policy.watch {
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
    doors.run(Arc::clone(&pipeline), tls, caps, stop).await;
    farewell(&pipeline, &recorder).await;
    let _ = anchored.await;
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
    match Store::open(&config.store.path).await {
        Ok(store) => {
            if store.created() && log.size() > 4 {
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
