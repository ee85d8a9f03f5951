//! The files of an outbox: how they are named, written, read and moved aside.
//!
//! Knows nothing of what waits in memory. Never removes a file that has its right name,
//! and never moves an unreadable one over another.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::OutboxError;
use crate::notice::{Notice, is_channel_name};

/// Where unreadable files go.
const UNREADABLE: &str = "unreadable";
/// What claims the folder for one process.
const LOCK: &str = ".lock";
/// How the name of a file that is not finished ends.
const UNFINISHED: &str = ".tmp";

/// Only the gateway's own user may read what it tells whom.
const FILE_MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o700;

/// The ids that wait for each channel, in their order, and when each happened.
pub(super) type Index = BTreeMap<String, BTreeMap<Uuid, Timestamp>>;

/// A file's content, as it is written.
#[derive(Serialize)]
struct Written<'a> {
    channel: &'a str,
    notice: &'a Notice,
}

/// A file's content, as it is read.
#[derive(Deserialize)]
pub(super) struct Kept {
    pub(super) channel: String,
    pub(super) notice: Notice,
}

/// A message that is durable but not yet under its own name: after a crash it is none.
pub(super) struct Begun {
    unfinished: PathBuf,
    path: PathBuf,
}

/// The name of a message's file. A listing is in the order of the ids; names of
/// channels hold no dot, so no two messages share a file.
pub(super) fn file_name(channel: &str, id: Uuid) -> String {
    format!("{id}.{channel}.json")
}

/// Makes the folder and claims it for this process.
pub(super) fn claim(dir: &Path) -> Result<File, OutboxError> {
    let aside = dir.join(UNREADABLE);
    DirBuilder::new()
        .recursive(true)
        .mode(DIR_MODE)
        .create(&aside)
        .map_err(OutboxError::file("make", &aside))?;
    sync(dir)?;
    if let Some(parent) = dir.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        sync(parent)?;
    }
    let path = dir.join(LOCK);
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(FILE_MODE)
        .open(&path)
        .map_err(OutboxError::file("open", &path))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(OutboxError::InUse(dir.to_owned())),
        Err(TryLockError::Error(error)) => Err(OutboxError::file("lock", &path)(error)),
    }
}

/// Writes a message under another name, `number` being of no other that is under way.
pub(super) fn begin(
    dir: &Path,
    number: u64,
    channel: &str,
    notice: &Notice,
) -> Result<Begun, OutboxError> {
    let id = notice.id;
    let bytes = serde_json::to_vec(&Written { channel, notice });
    let bytes = bytes.map_err(|error| OutboxError::Unwritable { id, error })?;
    let name = file_name(channel, id);
    let begun = Begun {
        unfinished: dir.join(format!(".{name}.{number}{UNFINISHED}")),
        path: dir.join(name),
    };
    if let Err(error) = fill(&begun.unfinished, &bytes) {
        let failed = OutboxError::file("write", &begun.unfinished)(error);
        // What a full disk has of it is no message.
        abandon(&[begun]);
        return Err(failed);
    }
    Ok(begun)
}

fn fill(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(FILE_MODE)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Gives all that were begun their own names, durably. Those that have theirs when
/// another fails keep it: a message of that name may have been promised before.
pub(super) fn finish(dir: &Path, begun: &[Begun]) -> Result<(), OutboxError> {
    for file in begun {
        if let Err(error) = fs::rename(&file.unfinished, &file.path) {
            abandon(begun);
            return Err(OutboxError::file("name", &file.path)(error));
        }
    }
    sync(dir)
}

/// Takes back what was begun and has no name of its own.
pub(super) fn abandon(begun: &[Begun]) {
    for file in begun {
        let _ = fs::remove_file(&file.unfinished);
    }
}

/// Makes the names in a folder durable.
pub(super) fn sync(dir: &Path) -> Result<(), OutboxError> {
    let synced = File::open(dir).and_then(|folder| folder.sync_all());
    synced.map_err(OutboxError::file("sync", dir))
}

/// Reads a folder that is claimed: what is not finished in it never will be, and nobody
/// was told that it is kept.
pub(super) fn load(dir: &Path) -> Result<Index, OutboxError> {
    let mut waiting = Index::new();
    for entry in fs::read_dir(dir).map_err(OutboxError::file("list", dir))? {
        let entry = entry.map_err(OutboxError::file("list", dir))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = entry.path();
        if name.starts_with('.') {
            if name.ends_with(UNFINISHED) {
                let _ = fs::remove_file(&path);
            }
            continue;
        }
        if !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        let read = fs::read(&path).map_err(|error| error.to_string());
        match read.and_then(|bytes| parse(&name, &bytes)) {
            Ok(kept) => {
                let ids = waiting.entry(kept.channel).or_default();
                ids.insert(kept.notice.id, kept.notice.at);
            }
            Err(cause) => set_aside(dir, &name, &cause),
        }
    }
    Ok(waiting)
}

/// A file's content, when it is what the file's name says.
pub(super) fn parse(name: &str, bytes: &[u8]) -> Result<Kept, String> {
    let kept: Kept = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if !is_channel_name(&kept.channel) || file_name(&kept.channel, kept.notice.id) != name {
        return Err("its content is of another message than its name".into());
    }
    Ok(kept)
}

/// Moves a file out of the way: what nobody can read today may be read by hand.
pub(super) fn set_aside(dir: &Path, name: &str, cause: &str) {
    let path = dir.join(name);
    let aside = dir.join(UNREADABLE);
    let mut target = aside.join(name);
    if fs::symlink_metadata(&target).is_ok() {
        target = aside.join(format!("{name}.{}", Uuid::now_v7()));
    }
    match fs::rename(&path, &target) {
        Ok(()) => {
            tracing::error!(path = %target.display(), cause, "an unreadable message was moved aside");
        }
        Err(error) => {
            tracing::error!(path = %path.display(), cause, %error, "an unreadable message stays in the outbox");
        }
    }
    for folder in [aside.as_path(), dir] {
        if let Err(error) = sync(folder) {
            tracing::warn!(%error, "an unreadable message may be back after a crash");
        }
    }
}
