//! The store's file: who may read it, and who has it open.
//!
//! Never opens the database file itself once SQLite may have it open: closing any
//! descriptor of a file drops the POSIX locks that the process holds on it. The
//! claim is therefore kept on a lock file beside it.

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::StoreError;

/// Only the gateway's own user may read approvals and stored replies.
const OWNER_ONLY: u32 = 0o600;

/// Files that SQLite keeps beside a database.
const BESIDE: [&str; 3] = ["-journal", "-wal", "-shm"];

/// With what suffix it is tried whether the disk takes more.
const SPACE: &str = ".space";

/// The store's file, held for this process alone for as long as this value lives.
pub(super) struct Claimed {
    absent: bool,
    _lock: File,
}

impl Claimed {
    /// Whether there was no file: it is to be made.
    pub(super) fn absent(&self) -> bool {
        self.absent
    }
}

/// Claims the file for this process, whether it is there or not.
pub(super) fn claim(path: &Path) -> Result<Claimed, StoreError> {
    let lock = lock(path)?;
    remove(&beside(path, SPACE))?;
    let absent = absent(path)?;
    if absent {
        nothing_left(path)?;
    } else {
        restrict(path)?;
    }
    Ok(Claimed {
        absent,
        _lock: lock,
    })
}

/// An empty file under another name, to be filled and then given its own by
/// [`finish`]: whatever stands under the store's name is whole.
pub(super) fn begin(path: &Path) -> Result<PathBuf, StoreError> {
    let new = beside(path, ".new");
    // What a start that was cut short left; it never was the store.
    remove(&new)?;
    for suffix in BESIDE {
        remove(&beside(&new, suffix))?;
    }
    OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(OWNER_ONLY)
        .open(&new)
        .map_err(|source| StoreError::file(&new, source))?;
    Ok(new)
}

/// Makes a file that was begun, filled and closed the store, durably.
pub(super) fn finish(new: &Path, path: &Path) -> Result<(), StoreError> {
    let io = |source| StoreError::file(path, source);
    File::open(new)
        .and_then(|file| file.sync_all())
        .map_err(io)?;
    // Somebody may have put a backup in its place meanwhile: that is the store.
    if !absent(path)? {
        return Err(io(ErrorKind::AlreadyExists.into()));
    }
    std::fs::rename(new, path).map_err(io)?;
    sync_parent(path)
}

/// Length of a file, 0 when there is none. Never opens it.
pub(super) fn length(path: &Path) -> std::io::Result<u64> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
        found => found.map(|found| found.len()),
    }
}

/// Whether the store's disk takes so many bytes more, found out by writing them:
/// what a file system says of its space knows nothing of quotas.
pub(super) async fn try_space(path: &Path, bytes: u64) -> Result<(), StoreError> {
    let tried = beside(path, SPACE);
    let path = tried.clone();
    let written = tokio::task::spawn_blocking(move || {
        let written = fill(&path, bytes);
        written.and(std::fs::remove_file(&path))
    });
    let written = written.await.unwrap_or_else(|error| Err(error.into()));
    written.map_err(|source| StoreError::file(&tried, source))
}

fn fill(path: &Path, bytes: u64) -> std::io::Result<()> {
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(OWNER_ONLY)
        .open(path)?;
    std::io::copy(&mut std::io::repeat(0).take(bytes), &mut file).map(drop)
}

fn absent(path: &Path) -> Result<bool, StoreError> {
    match std::fs::symlink_metadata(path) {
        Ok(_) => Ok(false),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
        Err(source) => Err(StoreError::file(path, source)),
    }
}

/// A log or journal without its store is lost state, not a new store; SQLite would
/// apply it to the file that is made in its place.
fn nothing_left(path: &Path) -> Result<(), StoreError> {
    for suffix in BESIDE.iter().filter(|suffix| **suffix != "-shm") {
        let left = std::fs::symlink_metadata(beside(path, suffix));
        if left.is_ok_and(|left| left.len() > 0) {
            let detail = format!("it is gone and its `{suffix}` file is not");
            return Err(StoreError::corrupt(path, detail));
        }
    }
    Ok(())
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(StoreError::file(path, error)),
        _ => Ok(()),
    }
}

/// A file beside another, as SQLite names them.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Makes the directory entry of a new file durable.
pub(super) fn sync_parent(path: &Path) -> Result<(), StoreError> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let synced = File::open(parent).and_then(|folder| folder.sync_all());
    synced.map_err(|source| StoreError::file(parent, source))
}

fn lock(path: &Path) -> Result<File, StoreError> {
    let beside = beside(path, ".lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(OWNER_ONLY)
        .open(&beside)
        .map_err(|source| StoreError::file(&beside, source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse {
            path: path.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(StoreError::file(&beside, source)),
    }
}

/// An existing file must be plain and not empty, and becomes readable by its owner only.
fn restrict(path: &Path) -> Result<(), StoreError> {
    let io = |source| StoreError::file(path, source);
    let found = std::fs::symlink_metadata(path).map_err(io)?;
    if !found.is_file() {
        return Err(StoreError::NotAFile {
            path: path.to_owned(),
        });
    }
    // An emptied file is lost state, not a new store.
    if found.len() == 0 {
        return Err(StoreError::corrupt(path, "it is empty"));
    }
    if found.permissions().mode() & 0o777 != OWNER_ONLY {
        std::fs::set_permissions(path, Permissions::from_mode(OWNER_ONLY)).map_err(io)?;
    }
    Ok(())
}
