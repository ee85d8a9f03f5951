//! What is still to be told: a folder with one file for each notice and channel.
//!
//! A message is on disk before [`Outbox::put`] returns, and its file goes only when a
//! channel has taken it. Never drops one: a file that cannot be read is moved aside and
//! told, a channel that is not configured keeps its messages, and a message may be
//! delivered twice rather than not at all.
//!
//! Files are written under another name, synced, renamed, and the folder is synced:
//! after a crash whatever has its right name is whole.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use uuid::Uuid;

use crate::notice::{Notice, is_channel_name};

mod files;

use files::Index;

/// Why the outbox cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// A channel cannot be called so.
    #[error("`{0}` is no name for a channel; hint: up to 64 ASCII letters, digits, `-` and `_`")]
    Name(String),
    /// Another process has the folder open: both would deliver everything.
    #[error("the outbox `{0}` is in use by another process")]
    InUse(PathBuf),
    /// A file or folder fails.
    #[error("cannot {doing} `{path}`: {error}")]
    File {
        /// What was tried.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A notice cannot be written down.
    #[error("notice `{id}` cannot be written down: {error}")]
    Unwritable {
        /// The notice.
        id: Uuid,
        /// Why.
        error: serde_json::Error,
    },
}

impl OutboxError {
    fn file(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> OutboxError {
        let path = path.to_owned();
        move |error| OutboxError::File { doing, path, error }
    }
}

/// How much is still to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The messages, one for each notice and channel.
    pub count: usize,
    /// When the oldest of them happened.
    pub oldest: Option<Timestamp>,
}

impl Waiting {
    /// How old the oldest message is at `now`; zero for one of the future.
    pub fn age(&self, now: Timestamp) -> Option<Duration> {
        let age = now.duration_since(self.oldest?);
        Some(Duration::try_from(age).unwrap_or_default())
    }
}

/// The outbox; cheap to clone.
#[derive(Clone, Debug)]
pub struct Outbox {
    folder: Arc<Folder>,
}

#[derive(Debug)]
struct Folder {
    dir: PathBuf,
    files: Mutex<Files>,
    waiting: Mutex<Index>,
    put: Notify,
}

/// Held while a file and the index change together.
#[derive(Debug)]
struct Files {
    begun: u64,
    /// Locked for this process alone for as long as this value lives.
    _lock: File,
}

impl Outbox {
    /// Opens the folder, which is made when there is none, and reads what waits in it.
    ///
    /// # Errors
    /// When the folder cannot be used, or another process uses it. Never for a file in
    /// it that cannot be read.
    pub fn open(dir: impl AsRef<Path>) -> Result<Outbox, OutboxError> {
        let dir = dir.as_ref().to_owned();
        let lock = files::claim(&dir)?;
        let waiting = files::load(&dir)?;
        let folder = Folder {
            dir,
            files: Mutex::new(Files {
                begun: 0,
                _lock: lock,
            }),
            waiting: Mutex::new(waiting),
            put: Notify::new(),
        };
        Ok(Outbox {
            folder: Arc::new(folder),
        })
    }

    /// Keeps a notice for each of the channels and returns when that is durable. Blocks
    /// while the disk is written. A name that is not configured is kept until it is.
    ///
    /// # Errors
    /// When it is not durable for all of them; it may then reach some nevertheless. The
    /// same notice can be put again.
    pub fn put<N: AsRef<str>>(&self, notice: &Notice, channels: &[N]) -> Result<(), OutboxError> {
        let channels: Vec<&str> = channels.iter().map(AsRef::as_ref).collect();
        if let Some(name) = channels.iter().find(|name| !is_channel_name(name)) {
            return Err(OutboxError::Name((*name).to_owned()));
        }
        let mut held_files = held(&self.folder.files);
        let mut begun = Vec::new();
        for channel in &channels {
            held_files.begun += 1;
            let number = held_files.begun;
            match files::begin(&self.folder.dir, number, channel, notice) {
                Ok(file) => begun.push(file),
                Err(error) => {
                    files::abandon(&begun);
                    return Err(error);
                }
            }
        }
        files::finish(&self.folder.dir, &begun)?;
        let mut waiting = held(&self.folder.waiting);
        for channel in channels {
            let ids = waiting.entry(channel.to_owned()).or_default();
            ids.insert(notice.id, notice.at);
        }
        drop(waiting);
        drop(held_files);
        self.folder.put.notify_waiters();
        Ok(())
    }

    /// How much is still to be told, also to channels that are not configured.
    pub fn waiting(&self) -> Waiting {
        let waiting = held(&self.folder.waiting);
        Waiting {
            count: waiting.values().map(BTreeMap::len).sum(),
            oldest: waiting.values().flat_map(BTreeMap::values).min().copied(),
        }
    }

    /// Whether something was put from now on: to be taken before looking what waits, or
    /// a message that comes in between is overlooked.
    pub(crate) fn woken(&self) -> Notified<'_> {
        self.folder.put.notified()
    }

    /// The first message of a channel that `due` takes.
    pub(crate) fn first(&self, channel: &str, due: impl Fn(&Uuid) -> bool) -> Option<Uuid> {
        let waiting = held(&self.folder.waiting);
        waiting.get(channel)?.keys().find(|&id| due(id)).copied()
    }

    /// The notice that waits for a channel; none when its file is gone or unreadable,
    /// which is told here. Blocks while the disk is read.
    pub(crate) fn read(&self, channel: &str, id: Uuid) -> Result<Option<Notice>, OutboxError> {
        let _files = held(&self.folder.files);
        let name = files::file_name(channel, id);
        let path = self.folder.dir.join(&name);
        match fs::read(&path) {
            Ok(bytes) => match files::parse(&name, &bytes) {
                Ok(kept) => return Ok(Some(kept.notice)),
                Err(cause) => files::set_aside(&self.folder.dir, &name, &cause),
            },
            Err(error) if error.kind() == ErrorKind::NotFound => {
                tracing::error!(path = %path.display(), "a message was taken out of the outbox by hand");
            }
            Err(error) => return Err(OutboxError::file("read", &path)(error)),
        }
        self.forget(channel, id);
        Ok(None)
    }

    /// Takes out a message that was delivered. Blocks while the disk is written.
    pub(crate) fn remove(&self, channel: &str, id: Uuid) -> Result<(), OutboxError> {
        let _files = held(&self.folder.files);
        let path = self.folder.dir.join(files::file_name(channel, id));
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != ErrorKind::NotFound
        {
            return Err(OutboxError::file("remove", &path)(error));
        }
        self.forget(channel, id);
        // A crash may bring the file back: then it is delivered twice, with the same id.
        if let Err(error) = files::sync(&self.folder.dir) {
            tracing::warn!(%error, "a delivered message may come back after a crash");
        }
        Ok(())
    }

    fn forget(&self, channel: &str, id: Uuid) {
        let mut waiting = held(&self.folder.waiting);
        if let Some(ids) = waiting.get_mut(channel) {
            ids.remove(&id);
        }
    }
}

/// A panic elsewhere leaves the index as it was: every change of it is one call.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
