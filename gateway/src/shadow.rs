//! A candidate bundle that judges the same requests and decides nothing.
//!
//! It has a thread and a queue of its own, and little time: what it is too slow for is counted
//! and not waited for. Its faults are counted, too. A difference goes into the decision's
//! record, so that it can be looked at before the candidate is taken over.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use notify::Watcher as _;
use tokio::sync::{mpsc, oneshot, watch};
use vaultgate_pdp::{Bundle, Decision, Document, Evaluator, Limits, Policy};

use crate::policy_source::{is_change, try_in_child};
use crate::recorder::ShadowNote;
use crate::telemetry::ShadowCounts;

/// Longest that a decision waits for its shadow.
const PATIENCE: Duration = Duration::from_millis(5);
/// Requests that may wait for the shadow's thread.
const QUEUE: usize = 64;
/// Changes of the candidate's folder within this time are one change.
const SETTLE: Duration = Duration::from_millis(300);

/// The candidate, if there is one.
pub(crate) struct Shadow {
    dir: Option<PathBuf>,
    limits: Limits,
    candidate: ArcSwapOption<Policy>,
    evaluator: Option<Evaluator>,
    counts: [AtomicU64; 6],
}

/// How strict a decision is: allowed, allowed with so many approvals, denied.
fn strictness(decision: &Decision) -> u64 {
    match (decision.allow, quorum(decision)) {
        (true, quorum) => quorum.map_or(0, u64::from),
        (false, _) => u64::MAX,
    }
}

fn quorum(decision: &Decision) -> Option<u32> {
    let needed = decision.obligations.iter().map(|one| {
        let vaultgate_pdp::Obligation::Approval(approval) = one;
        approval.quorum
    });
    needed.max()
}

impl Shadow {
    /// No candidate yet; [`Shadow::reload`] reads it.
    pub(crate) fn new(dir: Option<PathBuf>, limits: &Limits) -> Shadow {
        let limits = Limits {
            queue: QUEUE,
            ..limits.clone()
        };
        Shadow {
            evaluator: dir.is_some().then(|| Evaluator::start(1, limits.clone())),
            dir,
            limits,
            candidate: ArcSwapOption::empty(),
            counts: Default::default(),
        }
    }

    /// Reads the candidate's folder. One that is not admitted is told, and shadows nothing.
    pub(crate) async fn reload(&self) {
        let Some(dir) = self.dir.clone() else { return };
        let limits = self.limits.clone();
        let read = tokio::task::spawn_blocking(move || admitted(&dir, &limits)).await;
        match read.unwrap_or_else(|error| Err(error.to_string())) {
            Ok(policy) => {
                tracing::info!(
                    bundle = policy.digest(),
                    "a candidate judges beside the policy"
                );
                self.candidate.store(Some(Arc::new(policy)));
            }
            Err(why) => {
                tracing::warn!(why, "the candidate is not admitted: nothing is shadowed");
                self.candidate.store(None);
            }
        }
    }

    /// Takes over changes of the candidate's folder, until `stop` turns true.
    pub(crate) async fn watch(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let Some(dir) = self.dir.clone() else { return };
        let (changed, mut changes) = mpsc::channel(1);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.as_ref().is_ok_and(|event| !is_change(event)) {
                return;
            }
            // A full channel already holds a change to look at.
            let _ = changed.try_send(());
        });
        let watching = watcher.and_then(|mut watcher| {
            watcher.watch(&dir, notify::RecursiveMode::Recursive)?;
            Ok(watcher)
        });
        let _watcher = match watching {
            Ok(watcher) => watcher,
            Err(error) => {
                tracing::warn!(%error, "the candidate's folder is not watched");
                return;
            }
        };
        loop {
            tokio::select! {
                change = changes.recv() => if change.is_none() { return },
                _ = stop.wait_for(|stop| *stop) => return,
            }
            tokio::time::sleep(SETTLE).await;
            while changes.try_recv().is_ok() {}
            self.reload().await;
        }
    }

    /// What the candidate would have decided otherwise, if it says so soon.
    pub(crate) async fn judge(&self, input: &Document, decision: &Decision) -> Option<ShadowNote> {
        let candidate = self.candidate.load_full()?;
        let evaluator = self.evaluator.as_ref()?;
        let (told, judged) = oneshot::channel();
        evaluator.submit(Arc::clone(&candidate), input, move |decision| {
            // Nobody waits for a shadow that is late.
            let _ = told.send(decision);
        });
        let Ok(Ok(shadow)) = tokio::time::timeout(PATIENCE, judged).await else {
            self.count(5);
            return None;
        };
        if shadow.fault.is_some() {
            self.count(4);
            return None;
        }
        let (own, other) = (strictness(decision), strictness(&shadow));
        if shadow == *decision {
            self.count(0);
            return None;
        }
        self.count(match other.cmp(&own) {
            std::cmp::Ordering::Less => 1,
            std::cmp::Ordering::Greater => 2,
            std::cmp::Ordering::Equal => 3,
        });
        Some(ShadowNote {
            bundle: candidate.digest().to_owned(),
            allow: shadow.allow,
            deny: shadow
                .deny
                .iter()
                .map(|reason| reason.code.clone())
                .collect(),
            quorum: quorum(&shadow),
        })
    }

    fn count(&self, place: usize) {
        if let Some(counter) = self.counts.get(place) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What it came to so far.
    pub(crate) fn counts(&self) -> ShadowCounts {
        let [alike, looser, stricter, reworded, faults, late] = self
            .counts
            .each_ref()
            .map(|counter| counter.load(Ordering::Relaxed));
        ShadowCounts {
            alike,
            looser,
            stricter,
            reworded,
            faults,
            late,
        }
    }
}

fn admitted(dir: &Path, limits: &Limits) -> Result<Policy, String> {
    try_in_child(dir).map_err(|error| error.to_string())?;
    let bundle = Bundle::load(dir).map_err(|error| error.to_string())?;
    Policy::admit(bundle, limits).map_err(|error| error.to_string())
}
