//! Appending: the open log as callers see it.
//!
//! `append` hands a record to the log thread and returns at once; its callback runs
//! after the record is durable, or tells why it is not. The queue is bounded in
//! bytes and refuses rather than drops. After the first failed sync the log takes
//! nothing more until it is reopened and checked: the kernel forgets pages that it
//! could not write, and the next sync returns Ok.

mod commit;
mod queue;
mod scribe;
mod spares;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::blob::{self, BlobError, Digest};
use crate::checkpoint::Checkpoint;
use crate::key::SigningKey;
use crate::lifecycle::Event;
use crate::medium::{Disk, Failure, Medium};
use crate::open::{self, LogOptions, OpenError, Opened, Recovered};
use crate::record::{Entry, EntryError, Priority, Receipt};

use commit::Committer;
pub(crate) use commit::Current;
use queue::{Command, Pending, Shared};
use scribe::Scribe;
pub(crate) use spares::{EMERGENCY, SPARE};

/// Jobs that may wait for the second thread before the log thread waits for it.
const JOBS: usize = 1024;

/// Why a record is not in the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The queue is full; nothing was taken.
    #[error("the queue of the decision log is full")]
    Busy,
    /// The entry cannot become a record.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// The disk runs short, and what is left is kept for restores and approvals.
    #[error(
        "disk space for the decision log is short, and the rest is kept for restores and approvals; hint: free space on the log's disk"
    )]
    LowSpace,
    /// Not even the emergency space is left.
    #[error("no disk space is left for the decision log; hint: free space on the log's disk")]
    Full,
    /// A write or sync failed earlier.
    #[error(
        "the decision log takes nothing more: {0}; hint: restart the gateway, which reopens and checks the log"
    )]
    Poisoned(Arc<str>),
    /// The log was closed.
    #[error("the decision log is closed")]
    Closed,
}

/// Why the log did not do something else than append.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The record that belongs to it could not be written.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The new key signs under another name.
    #[error("the new key signs as `{0}`, not as this log")]
    KeyName(String),
}

/// How the disk stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// The next segment and the emergency segment are there or being made.
    Ample,
    /// One of them could not be made: only restores and approvals are taken.
    Low,
    /// The emergency segment is in use.
    Emergency,
}

/// The log at a glance, for health pages and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogState {
    /// Durable records.
    pub size: u64,
    /// Bytes waiting to be written.
    pub queued_bytes: usize,
    /// How the disk stands.
    pub space: Space,
    /// What the system said when a segment could not be prepared.
    pub space_error: Option<String>,
    /// Size of the newest signed checkpoint of this run.
    pub checkpoint_size: Option<u64>,
    /// Why its copy beside the log could not be written, if so.
    pub checkpoint_unsaved: Option<String>,
    /// Why nothing more is taken, if so.
    pub poisoned: Option<String>,
}

/// An open decision log: one writer, held by a lock file.
pub struct DecisionLog {
    shared: Arc<Shared>,
    medium: Arc<dyn Medium>,
    dir: PathBuf,
    threads: Mutex<Threads>,
    blobs: AtomicU64,
}

#[derive(Default)]
struct Threads {
    running: Vec<JoinHandle<()>>,
    last: Option<Result<Checkpoint, LogError>>,
}

/// Locks a mutex; a panic elsewhere does not take the log down with it.
fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl DecisionLog {
    /// Opens or begins the log in `options.dir`: checks the tail, cuts what is torn,
    /// and refuses a log that is shorter than its newest known checkpoint.
    pub fn open(options: LogOptions, key: SigningKey) -> Result<(DecisionLog, Opened), OpenError> {
        DecisionLog::open_on(Arc::new(Disk), options, key)
    }

    pub(crate) fn open_on(
        medium: Arc<dyn Medium>,
        options: LogOptions,
        key: SigningKey,
    ) -> Result<(DecisionLog, Opened), OpenError> {
        let mut recovered = open::recover(&options, &key, medium.as_ref())?;
        let mut opened = recovered.opened.clone();
        let (fresh, events) = (recovered.fresh, std::mem::take(&mut recovered.events));
        let log = DecisionLog::start(medium, &options, key, recovered)?;
        if fresh {
            // From here on a missing checkpoint means that somebody removed it.
            let unsaved = log.checkpoint()?.unsaved;
            unsaved.map_or(Ok(()), |reason| Err(OpenError::NoFirstCheckpoint(reason)))?;
        }
        for event in &events {
            log.record(event, &options.origin)?;
        }
        if !events.is_empty() || opened.tail > 0 || opened.rebuilt {
            log.checkpoint()?;
        }
        opened.size = log.size();
        Ok((log, opened))
    }

    fn start(
        medium: Arc<dyn Medium>,
        options: &LogOptions,
        key: SigningKey,
        recovered: Recovered,
    ) -> Result<DecisionLog, OpenError> {
        let spares = spares::Spares::new(medium.as_ref(), options);
        let shared = Arc::new(Shared::new(options, recovered.tree.size(), spares));
        let (jobs, inbox) = sync_channel(JOBS);
        // Held by both threads: another writer may come when both have ended.
        let lock = Arc::new(recovered.lock);
        let scribe = Scribe::new(&shared, &medium, options, recovered.partials, &lock);
        let committer = Committer {
            shared: Arc::clone(&shared),
            medium: Arc::clone(&medium),
            dir: options.dir.clone(),
            origin: options.origin.as_str().into(),
            clock: Arc::clone(&options.clock),
            every: options.checkpoint_every,
            every_records: options.checkpoint_records,
            retry: options.retry_space,
            published: recovered.published,
            published_at: (options.clock)(),
            retried_at: (options.clock)(),
            tree: recovered.tree,
            segment: recovered.segment,
            key: Arc::new(key),
            jobs,
            _lock: lock,
        };
        let (first, second) = (Arc::clone(&shared), Arc::clone(&shared));
        let running = vec![
            spawn("decision-log", first, move || committer.run())?,
            spawn("decision-log-files", second, move || scribe.run(&inbox))?,
        ];
        Ok(DecisionLog {
            shared,
            medium,
            dir: options.dir.clone(),
            threads: Mutex::new(Threads {
                running,
                last: None,
            }),
            blobs: AtomicU64::new(0),
        })
    }

    /// Enqueues a record. `done` runs on the log thread after the record is durable,
    /// or tells why it is not; it must be short. When this returns an error nothing
    /// was taken and `done` is never called.
    pub fn append(
        &self,
        entry: Entry,
        priority: Priority,
        done: impl FnOnce(Result<Receipt, AppendError>) + Send + 'static,
    ) -> Result<(), AppendError> {
        self.enqueue(entry, priority, true, done)
    }

    /// The same for a record that nobody waits for: it goes with the next that somebody
    /// does, or within some 25 ms.
    pub fn append_soon(
        &self,
        entry: Entry,
        priority: Priority,
        done: impl FnOnce(Result<Receipt, AppendError>) + Send + 'static,
    ) -> Result<(), AppendError> {
        self.enqueue(entry, priority, false, done)
    }

    fn enqueue(
        &self,
        entry: Entry,
        priority: Priority,
        urgent: bool,
        done: impl FnOnce(Result<Receipt, AppendError>) + Send + 'static,
    ) -> Result<(), AppendError> {
        entry.check()?;
        let done = Box::new(done);
        let pending = Pending {
            entry,
            priority,
            done,
        };
        self.shared.push(pending, urgent)
    }

    /// Signs a checkpoint over everything durable now and puts it beside the log.
    pub fn checkpoint(&self) -> Result<Checkpoint, LogError> {
        let (reply, answer) = channel();
        self.shared.command(Command::Checkpoint(reply))?;
        self.wait(&answer)
    }

    /// Hands the log to a new key: the record of it is signed by the old one, and
    /// the next checkpoint, made at once, by the new one.
    pub fn rotate_key(&self, new: SigningKey) -> Result<Checkpoint, LogError> {
        let (reply, answer) = channel();
        self.shared.command(Command::Rotate(Box::new(new), reply))?;
        self.wait(&answer)
    }

    /// Durable records.
    pub fn size(&self) -> u64 {
        self.shared.size()
    }

    /// Why nothing more is taken, if so.
    pub fn poisoned(&self) -> Option<String> {
        self.shared.poisoned().map(|reason| reason.to_string())
    }

    /// The log at a glance.
    pub fn state(&self) -> LogState {
        self.shared.state()
    }

    /// Keeps a body beside the log by its digest, durable when this returns; the
    /// same body twice is one file. It blocks: not for an async thread.
    pub fn store_blob(&self, kind: &str, bytes: &[u8]) -> Result<Digest, BlobError> {
        if let Some(reason) = self.shared.poisoned() {
            return Err(BlobError::Poisoned(reason));
        }
        let turn = self.blobs.fetch_add(1, Ordering::Relaxed);
        blob::store(self.medium.as_ref(), &self.dir, bytes, turn).map_err(|failure| {
            self.shared.poison_if_spoilt(kind, &failure);
            BlobError::Write {
                kind: kind.to_owned(),
                bytes: bytes.len(),
                error: Failure::error(failure),
            }
        })
    }

    /// Writes what waits, signs a last checkpoint, gives the lock back. Later calls
    /// return the same.
    pub fn close(&self) -> Result<Checkpoint, LogError> {
        let mut threads = hold(&self.threads);
        if let Some(last) = &threads.last {
            return last.clone();
        }
        let (reply, answer) = channel();
        self.shared.close(reply);
        let own = thread::current().id();
        if threads
            .running
            .iter()
            .any(|thread| thread.thread().id() == own)
        {
            // A callback gave up the last hold on the log: its thread cannot wait
            // for itself. What waits is still written.
            return Err(AppendError::Closed.into());
        }
        let last = self.wait(&answer);
        for thread in threads.running.drain(..) {
            // A panic was turned into poison inside the thread.
            let _ = thread.join();
        }
        threads.last = Some(last.clone());
        last
    }

    /// Waits for an answer of the log thread; a thread that died has poisoned the log.
    fn wait<T>(&self, answer: &Receiver<Result<T, LogError>>) -> Result<T, LogError> {
        loop {
            match answer.recv_timeout(Duration::from_secs(1)) {
                Ok(result) => return result,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    let reason = self.shared.poisoned();
                    let error = reason.map_or(AppendError::Closed, AppendError::Poisoned);
                    return Err(error.into());
                }
            }
        }
    }

    /// Writes a record of the log's own and waits for it.
    fn record(&self, event: &Event, origin: &str) -> Result<(), OpenError> {
        let entry = event.entry(origin, self.size()).map_err(io::Error::other);
        let entry = entry.map_err(OpenError::file(&self.dir))?;
        let (told, answer): (Sender<Result<Receipt, LogError>>, _) = channel();
        self.append(entry, Priority::Restore, move |result| {
            // Nobody listens only when the opener is gone, and then the log is too.
            let _ = told.send(result.map_err(LogError::from));
        })
        .map_err(LogError::from)?;
        self.wait(&answer)?;
        Ok(())
    }
}

impl Drop for DecisionLog {
    fn drop(&mut self) {
        // Whoever wants to know how it ended calls `close`.
        let _ = self.close();
    }
}

/// Starts a thread whose panic poisons the log instead of leaving callers waiting.
fn spawn(
    name: &str,
    shared: Arc<Shared>,
    body: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, OpenError> {
    let guarded = move || {
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).is_err() {
            shared.poison("a log thread panicked");
            shared.refuse_queued();
        }
    };
    let thread = thread::Builder::new().name(name.to_owned()).spawn(guarded);
    thread.map_err(OpenError::Thread)
}

#[cfg(test)]
mod tests;
