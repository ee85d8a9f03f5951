//! Why a log cannot be opened.

use std::io;
use std::path::{Path, PathBuf};

use crate::anchor::AnchorError;
use crate::append::{AppendError, LogError};

/// Why a log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The name is no name.
    #[error(
        "`{0}` cannot name a log; hint: visible ASCII without `+`, quotes and backslash, like `vaultgate.example.com/log`"
    )]
    Origin(String),
    /// The key signs under another name.
    #[error("the log key signs as `{key}`, but the log is `{origin}`")]
    KeyName {
        /// Name in the key.
        key: String,
        /// Name in the options.
        origin: String,
    },
    /// A size is too small to work with.
    #[error("`{name}` is {given}, but must be at least {least}")]
    TooSmall {
        /// Which option.
        name: &'static str,
        /// What was given.
        given: u64,
        /// What is needed.
        least: u64,
    },
    /// Another process writes this log.
    #[error("the log `{0}` is in use by another process; hint: one log has one writer")]
    Locked(PathBuf),
    /// A file could not be read or written.
    #[error("decision log `{path}`: {error}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A thread could not be started.
    #[error("the log's threads could not be started: {0}")]
    Thread(#[source] io::Error),
    /// There are records, but no checkpoint.
    #[error(
        "the log has records but no checkpoint; hint: find out who removed it, then declare a fork with a reason"
    )]
    NoCheckpoint,
    /// The checkpoint is not one of this log under this key.
    #[error(
        "the log's checkpoint {0}; hint: open it with the key that it was written with, or find out who changed it and declare a fork"
    )]
    Checkpoint(String),
    /// The first checkpoint of a new log could not be saved.
    #[error("the first checkpoint of a new log could not be saved: {0}")]
    NoFirstCheckpoint(String),
    /// Records that were signed for are gone.
    #[error(
        "the log has {size} records, but {known} were signed for; hint: bring back the missing segments, or declare a fork with a reason"
    )]
    Shorter {
        /// Records that are there.
        size: u64,
        /// Size of the newest known head, or one more than the newest receipt.
        known: u64,
    },
    /// Records differ from what was signed.
    #[error(
        "the first {known} records are not those that were signed for; hint: `vaultgate log verify` tells where; bring them back, or declare a fork with a reason"
    )]
    Diverged {
        /// Size of the head that does not hold.
        known: u64,
    },
    /// A segment is damaged before its end.
    #[error(
        "the log is damaged at record {seq}: {what}; hint: `vaultgate log verify` tells more; bring the segment back, or move the log away and begin a new one"
    )]
    Damaged {
        /// First bad record.
        seq: u64,
        /// What is wrong.
        what: String,
    },
    /// An anchor file cannot be used.
    #[error(transparent)]
    Anchor(#[from] AnchorError),
    /// An anchor is of another log.
    #[error("anchor file `{path}` is of the log `{found}`, not of `{origin}`")]
    OtherLog {
        /// The file.
        path: PathBuf,
        /// Name in it.
        found: String,
        /// This log.
        origin: String,
    },
    /// A record of the log's own could not be written.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl OpenError {
    /// Turns an error of the system into one about this file.
    pub(crate) fn file(path: &Path) -> impl Fn(io::Error) -> OpenError + use<> {
        let path = path.to_owned();
        move |error| OpenError::File {
            path: path.clone(),
            error,
        }
    }
}

impl From<AppendError> for OpenError {
    fn from(error: AppendError) -> OpenError {
        OpenError::Log(error.into())
    }
}
