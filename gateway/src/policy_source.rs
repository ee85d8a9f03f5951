//! Where the policy comes from: a folder, watched, swapped whole or not at all.
//!
//! A bundle is tried in a child process first: a recursive function would abort
//! the process that evaluates it. A bundle that fails never replaces a good one,
//! and every activated bundle is kept beside the log by its digest.

use std::io::Read as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use notify::Watcher as _;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;
use vaultgate_decision_log::{Kind, Priority};
use vaultgate_pdp::{Annotation, Bundle, ENGINE, Limits, Policy};

use crate::bundle_keys::BundleKeys;
use crate::recorder::{PolicyRef, Recorder};
use crate::telemetry::PolicyChanges;

/// Address space that a bundle may use while it is tried, bytes.
pub(crate) const TRIAL_ADDRESS_SPACE: u64 = 4 << 30;
/// Longest trial of a bundle, of processor time: its process stands back behind requests, and a busy
/// machine must not keep a good bundle out.
pub(crate) const TRIAL_SECONDS: u64 = 20;
const SIGKILL: i32 = 9;
const SIGXCPU: i32 = 24;
/// Longest trial by the clock.
const TRIAL_TIME: Duration = Duration::from_secs(180);
/// How often it is looked at while it runs.
const TRIAL_STEP: Duration = Duration::from_millis(5);
/// What is read of its complaints, bytes.
const MAX_COMPLAINTS: u64 = 64 << 10;
/// A folder is read once it was still for so long: what is being copied is one change.
const SETTLE: Duration = Duration::from_millis(300);
/// A folder that does not come to rest is read all the same.
const RESTLESS: Duration = Duration::from_secs(10);

/// How far a bundle that is taken in stands back behind requests, of 0 to 19.
const KIND: i32 = 15;
/// How long a replaced policy is waited for, and how often it is looked at. Requests take less.
const RELEASE: Duration = Duration::from_secs(60);
const RELEASE_STEP: Duration = Duration::from_millis(50);

/// Why a bundle was not activated.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PolicyError {
    /// The trial in a child process found problems.
    #[error("the bundle in `{dir}` was not taken:\n{problems}")]
    Rejected {
        /// The bundle's folder.
        dir: PathBuf,
        /// The problems, one a line.
        problems: String,
    },
    /// The trial process died or took too long: the bundle is to blame.
    #[error("the bundle in `{dir}` ended its trial process: {how}")]
    Trial {
        /// The bundle's folder.
        dir: PathBuf,
        /// How it ended.
        how: String,
    },
    /// The activation could not be recorded.
    #[error("the activation could not be recorded: {0}")]
    Record(#[from] crate::recorder::RecordError),
}

/// The active policy.
#[derive(Clone)]
pub(crate) struct Active {
    /// The admitted bundle.
    pub(crate) policy: Arc<Policy>,
    /// What records say of it.
    pub(crate) reference: Arc<PolicyRef>,
    /// What its rules say of themselves.
    pub(crate) rules: Arc<[Annotation]>,
}

/// Hands out the active policy and replaces it.
pub(crate) struct PolicySource {
    dir: PathBuf,
    limits: Limits,
    keys: BundleKeys,
    active: ArcSwap<Active>,
    activated: AtomicU64,
    rejected: AtomicU64,
}

impl PolicySource {
    /// Tries and activates the bundle in `dir`; the activation is recorded.
    pub(crate) async fn open(
        dir: &Path,
        limits: Limits,
        keys: BundleKeys,
        recorder: &Recorder,
    ) -> Result<PolicySource, PolicyError> {
        let active = activate(dir, &limits, &keys, None, recorder).await?;
        Ok(PolicySource {
            dir: dir.to_owned(),
            limits,
            keys,
            active: ArcSwap::from_pointee(active),
            activated: AtomicU64::new(1),
            rejected: AtomicU64::new(0),
        })
    }

    /// How many bundles were activated, and how many were rejected, since the start.
    pub(crate) fn changes(&self) -> PolicyChanges {
        PolicyChanges {
            activated: self.activated.load(Ordering::Relaxed),
            rejected: self.rejected.load(Ordering::Relaxed),
        }
    }

    /// The active policy: taken once, it serves a whole request.
    pub(crate) fn current(&self) -> Arc<Active> {
        self.active.load_full()
    }

    /// Takes over a changed folder, until `stop` turns true.
    pub(crate) async fn watch(
        self: Arc<Self>,
        recorder: Recorder,
        mut stop: watch::Receiver<bool>,
    ) {
        let (changed, mut changes) = mpsc::channel(1);
        // An archive is replaced by another file of its name: its folder sees that, and much
        // else besides.
        let archive = self.dir.is_file().then(|| self.dir.clone());
        let only = archive
            .as_deref()
            .and_then(Path::file_name)
            .map(ToOwned::to_owned);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let concerns = |event: &notify::Event| {
                let named = event
                    .paths
                    .iter()
                    .any(|path| path.file_name() == only.as_deref());
                is_change(event) && (only.is_none() || named)
            };
            if event.as_ref().is_ok_and(|event| !concerns(event)) {
                return;
            }
            // A full channel already holds a change to look at.
            let _ = changed.try_send(());
        });
        let watching = watcher.and_then(|mut watcher| {
            match archive.as_deref().and_then(Path::parent) {
                Some(folder) => watcher.watch(folder, notify::RecursiveMode::NonRecursive)?,
                None => watcher.watch(&self.dir, notify::RecursiveMode::Recursive)?,
            }
            Ok(watcher)
        });
        let _watcher = match watching {
            Ok(watcher) => watcher,
            Err(error) => {
                tracing::error!(%error, "the policy folder is not watched: restart to change policy");
                return;
            }
        };
        loop {
            tokio::select! {
                change = changes.recv() => if change.is_none() { return },
                _ = stop.wait_for(|stop| *stop) => return,
            }
            let began = Instant::now();
            loop {
                tokio::time::sleep(SETTLE).await;
                let moves = std::iter::from_fn(|| changes.try_recv().ok()).count() > 0;
                if !moves || began.elapsed() > RESTLESS {
                    break;
                }
            }
            self.reload(&recorder).await;
        }
    }

    /// Tries the folder's bundle and swaps it in if it is good and new.
    pub(crate) async fn reload(&self, recorder: &Recorder) {
        self.take(&self.dir, recorder).await;
    }

    /// Tries the bundle at a path and swaps it in if it is good and new. Whether it is the
    /// active one now.
    pub(crate) async fn take(&self, path: &Path, recorder: &Recorder) -> bool {
        let current = self.current();
        let (place, keys) = (path.to_owned(), self.keys.clone());
        let digest = current.reference.bundle.clone();
        let same = move || {
            let bundle = Bundle::load(&place).ok();
            bundle.is_some_and(|bundle| bundle.digest() == digest && keys.verify(&bundle).is_ok())
        };
        if aside(path, same).await.unwrap_or(false) {
            return true;
        }
        let from = Some(current.reference.bundle.clone());
        match activate(path, &self.limits, &self.keys, from, recorder).await {
            Ok(active) => {
                tracing::info!(bundle = active.reference.bundle, "policy activated");
                let former = self.active.swap(Arc::new(active));
                self.activated.fetch_add(1, Ordering::Relaxed);
                tokio::task::spawn_blocking(move || release(former));
                true
            }
            Err(error) => {
                tracing::error!(%error, "policy not activated, the one in force stays");
                self.rejected.fetch_add(1, Ordering::Relaxed);
                recorder.note(
                    Kind::Policy,
                    Uuid::now_v7(),
                    &PolicyRecord {
                        event: "rejected",
                        bundle: None,
                        archive: None,
                        revision: None,
                        engine: ENGINE,
                        replaces: Some(current.reference.bundle.clone()),
                        problem: Some(error.to_string()),
                    },
                );
                false
            }
        }
    }
}

/// Drops a policy that was replaced, once no request is judged by it any more: a large one takes
/// a while, for which no request should wait.
fn release(former: Arc<Active>) {
    let began = Instant::now();
    while Arc::strong_count(&former) > 1 && began.elapsed() < RELEASE {
        std::thread::sleep(RELEASE_STEP);
    }
    drop(former);
}

/// Whether something was changed, and not merely read: reading is what a change leads to.
pub(crate) fn is_change(event: &notify::Event) -> bool {
    use notify::event::{AccessKind, AccessMode, EventKind};
    match event.kind {
        EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}

#[derive(Serialize)]
struct PolicyRecord {
    event: &'static str,
    bundle: Option<String>,
    /// Digest of the archive that is kept beside the log.
    archive: Option<String>,
    revision: Option<String>,
    engine: &'static str,
    replaces: Option<String>,
    problem: Option<String>,
}

async fn activate(
    dir: &Path,
    limits: &Limits,
    keys: &BundleKeys,
    replaces: Option<String>,
    recorder: &Recorder,
) -> Result<Active, PolicyError> {
    let (place, limits, keys) = (dir.to_owned(), limits.clone(), keys.clone());
    let (active, archive) = aside(dir, move || prepare(&place, &limits, &keys)).await??;
    let reference = &active.reference;
    let archive = recorder.keep("bundle", archive).await?;
    let record = PolicyRecord {
        event: "activated",
        bundle: Some(reference.bundle.clone()),
        archive: Some(archive),
        revision: Some(reference.revision.clone()),
        engine: ENGINE,
        replaces,
        problem: None,
    };
    recorder
        .write(Kind::Policy, Uuid::now_v7(), &record, Priority::Restore)
        .await?;
    Ok(active)
}

/// Does what takes long for a bundle with much data on a thread of its own, which stands back
/// behind requests; what it starts does so too.
async fn aside<T: Send + 'static>(
    dir: &Path,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, PolicyError> {
    let ended = |how: String| PolicyError::Trial {
        dir: dir.to_owned(),
        how,
    };
    let (done, result) = oneshot::channel();
    let work = move || {
        // Where it is not allowed, it merely is no kinder to requests.
        let _ = rustix::process::nice(KIND);
        let _ = done.send(work());
    };
    let started = std::thread::Builder::new()
        .name("vaultgate-bundle".to_owned())
        .spawn(work);
    started.map_err(|error| ended(error.to_string()))?;
    result
        .await
        .map_err(|_| ended("its thread panicked".to_owned()))
}

/// Reads, verifies, tries and admits the bundle at a place; gives its archive as well. Blocks.
fn prepare(
    dir: &Path,
    limits: &Limits,
    keys: &BundleKeys,
) -> Result<(Active, Vec<u8>), PolicyError> {
    let rejected = |problems: String| PolicyError::Rejected {
        dir: dir.to_owned(),
        problems,
    };
    let bundle = Bundle::load(dir).map_err(|error| rejected(error.to_string()))?;
    keys.verify(&bundle)
        .map_err(|error| rejected(error.to_string()))?;
    try_in_child(dir)?;
    let reference = PolicyRef {
        bundle: bundle.digest().to_owned(),
        revision: bundle.revision().to_owned(),
        engine: ENGINE,
    };
    let archive = bundle.to_archive_bytes();
    let (rules, _) = bundle.annotations();
    let policy = Policy::admit(bundle, limits).map_err(|error| rejected(error.to_string()))?;
    if let Err(why) = policy.machine() {
        tracing::info!(
            bundle = reference.bundle,
            why,
            "the interpreter decides everything"
        );
    }
    let active = Active {
        policy: Arc::new(policy),
        reference: Arc::new(reference),
        rules: rules.into(),
    };
    Ok((active, archive))
}

/// Digest of the bundle that was tried last and found good: a start tries the same one twice.
static TRIED: Mutex<Option<String>> = Mutex::new(None);

/// Admits and probes the bundle in a process of its own, with little memory and
/// time: what kills that process must not kill the gateway. Blocks until it ends.
pub(crate) fn try_in_child(dir: &Path) -> Result<(), PolicyError> {
    let digest = || {
        Bundle::load(dir)
            .ok()
            .map(|bundle| bundle.digest().to_owned())
    };
    let before = digest();
    let mut tried = TRIED.lock().unwrap_or_else(PoisonError::into_inner);
    if before.is_some() && *tried == before {
        return Ok(());
    }
    run_trial(dir)?;
    // What was tried is known only if it is still there.
    *tried = before.filter(|before| digest().as_ref() == Some(before));
    Ok(())
}

fn run_trial(dir: &Path) -> Result<(), PolicyError> {
    let ended = |how: String| PolicyError::Trial {
        dir: dir.to_owned(),
        how,
    };
    let began = Instant::now();
    let program = std::env::current_exe().map_err(|error| ended(error.to_string()))?;
    let mut child = Command::new(program)
        .args(["policy", "trial"])
        .arg(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| ended(error.to_string()))?;
    let complaints = child.stderr.take();
    // Read beside the wait: a child that complains a lot would otherwise block.
    let complaints = std::thread::spawn(move || {
        let mut text = Vec::new();
        if let Some(stderr) = complaints {
            let _ = stderr.take(MAX_COMPLAINTS).read_to_end(&mut text);
        }
        String::from_utf8_lossy(&text).trim().to_owned()
    });
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if began.elapsed() < TRIAL_TIME => std::thread::sleep(TRIAL_STEP),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(ended(format!("no result within {TRIAL_TIME:?}")));
            }
            Err(error) => return Err(ended(error.to_string())),
        }
    };
    match status.code() {
        Some(0) => Ok(()),
        Some(1) => Err(PolicyError::Rejected {
            dir: dir.to_owned(),
            problems: complaints.join().unwrap_or_default(),
        }),
        _ => Err(ended(match status.signal() {
            // How the kernel ends what is over its limit of processor time.
            Some(signal) if signal == SIGXCPU || signal == SIGKILL => {
                format!("it took more than {TRIAL_SECONDS} s of processor, or the machine ended it")
            }
            _ => status.to_string(),
        })),
    }
}
