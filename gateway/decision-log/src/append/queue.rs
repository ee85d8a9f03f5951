//! What callers and the two log threads share: the bounded queue, the size, the poison.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use super::spares::Spares;
use super::{AppendError, LogError, LogState, hold};
use crate::checkpoint::Checkpoint;
use crate::key::SigningKey;
use crate::medium::Failure;
use crate::open::LogOptions;
use crate::record::{Entry, Priority, Receipt};

/// What is told once a record is durable or lost.
pub(super) type Done = Box<dyn FnOnce(Result<Receipt, AppendError>) + Send>;
/// Where the answer to a command goes.
pub(super) type Reply = Sender<Result<Checkpoint, LogError>>;

/// A record on its way.
pub(super) struct Pending {
    pub(super) entry: Entry,
    pub(super) priority: Priority,
    pub(super) done: Done,
}

impl Pending {
    /// Tells the caller that the record is not in the log.
    pub(super) fn refuse(self, error: AppendError) {
        tell(self.done, Err(error));
    }
}

/// Runs a callback; a panic in it must not end the log thread.
pub(super) fn tell(done: Done, result: Result<Receipt, AppendError>) {
    let run = std::panic::AssertUnwindSafe(move || done(result));
    let _ = std::panic::catch_unwind(run);
}

/// What else the log thread can be asked.
pub(super) enum Command {
    Checkpoint(Reply),
    Rotate(Box<SigningKey>, Reply),
}

/// Everything that waited for the log thread.
#[derive(Default)]
pub(super) struct Work {
    pub(super) entries: Vec<Pending>,
    pub(super) commands: Vec<Command>,
    pub(super) closing: Option<Reply>,
}

#[derive(Default)]
struct Queue {
    work: Work,
    bytes: usize,
    /// Whether somebody waits for what is queued.
    urgent: bool,
    idle: bool,
    closed: bool,
}

/// How long records that nobody waits for may wait for company: each sync that they
/// share is one that a caller does not stand behind.
const SOON: Duration = Duration::from_millis(25);

/// State shared by callers and threads.
pub(super) struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    capacity: usize,
    size: AtomicU64,
    poison: OnceLock<Arc<str>>,
    published: Mutex<Option<Checkpoint>>,
    pub(super) spares: Spares,
}

impl Shared {
    pub(super) fn new(options: &LogOptions, size: u64, spares: Spares) -> Shared {
        Shared {
            queue: Mutex::default(),
            wake: Condvar::new(),
            capacity: options.queue_bytes,
            size: AtomicU64::new(size),
            poison: OnceLock::new(),
            published: Mutex::default(),
            spares,
        }
    }

    /// Takes a record into the queue, or refuses it at once. One that is not `urgent` is
    /// written with the next that is, or soon.
    pub(super) fn push(&self, pending: Pending, urgent: bool) -> Result<(), AppendError> {
        self.usable()?;
        let normal = pending.priority == Priority::Normal;
        if normal && self.spares.short() {
            return Err(AppendError::LowSpace);
        }
        // The last quarter of the queue is kept for restores and approvals.
        let limit = if normal {
            self.capacity / 4 * 3
        } else {
            self.capacity
        };
        let weight = pending.entry.weight();
        let mut queue = hold(&self.queue);
        if queue.closed {
            return Err(AppendError::Closed);
        }
        if queue.bytes.saturating_add(weight) > limit {
            return Err(AppendError::Busy);
        }
        queue.bytes += weight;
        queue.work.entries.push(pending);
        queue.urgent |= urgent;
        self.rouse(queue);
        Ok(())
    }

    /// Asks the log thread for something else than a record.
    pub(super) fn command(&self, command: Command) -> Result<(), AppendError> {
        self.usable()?;
        let mut queue = hold(&self.queue);
        if queue.closed {
            return Err(AppendError::Closed);
        }
        queue.work.commands.push(command);
        queue.urgent = true;
        self.rouse(queue);
        Ok(())
    }

    /// Lets the log thread end after what waits.
    pub(super) fn close(&self, reply: Reply) {
        let mut queue = hold(&self.queue);
        if !queue.closed {
            queue.closed = true;
            queue.work.closing = Some(reply);
            queue.urgent = true;
        }
        self.rouse(queue);
    }

    /// Wakes the log thread only if it sleeps, and once: no system call on a busy log.
    fn rouse(&self, mut queue: std::sync::MutexGuard<'_, Queue>) {
        let first = queue.urgent || queue.work.entries.len() == 1;
        let idle = first && std::mem::take(&mut queue.idle);
        drop(queue);
        if idle {
            self.wake.notify_one();
        }
    }

    /// Takes everything that waits; sleeps at most `longest` when nothing does.
    pub(super) fn next(&self, longest: Duration) -> Work {
        let mut queue = hold(&self.queue);
        let empty = |work: &Work| {
            work.entries.is_empty() && work.commands.is_empty() && work.closing.is_none()
        };
        if empty(&queue.work) {
            queue.idle = true;
            let waited = self.wake.wait_timeout(queue, longest);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
            queue.idle = false;
        }
        if !queue.urgent && !empty(&queue.work) {
            queue.idle = true;
            let waited = self
                .wake
                .wait_timeout_while(queue, SOON, |queue| !queue.urgent);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
            queue.idle = false;
        }
        queue.bytes = 0;
        queue.urgent = false;
        std::mem::take(&mut queue.work)
    }

    /// Refuses what is queued, for good: the log thread is gone.
    pub(super) fn refuse_queued(&self) {
        let mut queue = hold(&self.queue);
        queue.closed = true;
        let work = std::mem::take(&mut queue.work);
        drop(queue);
        for pending in work.entries {
            pending.refuse(self.usable().err().unwrap_or(AppendError::Closed));
        }
    }

    /// Whether the log still takes anything.
    pub(super) fn usable(&self) -> Result<(), AppendError> {
        match self.poisoned() {
            Some(reason) => Err(AppendError::Poisoned(reason)),
            None => Ok(()),
        }
    }

    /// Takes the log out of use, for good; the first reason stays.
    pub(super) fn poison(&self, reason: &str) {
        let _ = self.poison.set(reason.into());
    }

    /// Takes the log out of use if the failure is of that sort.
    pub(super) fn poison_if_spoilt(&self, what: &str, failure: &Failure) {
        if failure.spoils() {
            self.poison(&format!("{what}: {failure}"));
        }
    }

    pub(super) fn poisoned(&self) -> Option<Arc<str>> {
        self.poison.get().cloned()
    }

    pub(super) fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    pub(super) fn grown(&self, size: u64) {
        self.size.store(size, Ordering::Release);
    }

    pub(super) fn published(&self, checkpoint: Checkpoint) {
        *hold(&self.published) = Some(checkpoint);
    }

    pub(super) fn state(&self) -> LogState {
        let published = hold(&self.published).clone();
        let queued_bytes = hold(&self.queue).bytes;
        LogState {
            size: self.size(),
            queued_bytes,
            space: self.spares.space(),
            space_error: self.spares.error(),
            checkpoint_size: published.as_ref().map(|checkpoint| checkpoint.head.size),
            checkpoint_unsaved: published.and_then(|checkpoint| checkpoint.unsaved),
            poisoned: self.poisoned().map(|reason| reason.to_string()),
        }
    }
}
