//! The store's file: who may read it, and who has it open.
//!
//! Never opens the database file itself once SQLite may have it open: closing any
//! descriptor of a file drops the POSIX locks that the process holds on it. The
//! claim is therefore kept on a lock file beside it.

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::StoreError;

/// Only the gateway's own user may read approvals and stored replies.
const OWNER_ONLY: u32 = 0o600;

/// The store's file, held for this process alone for as long as this value lives.
pub(super) struct Claimed {
    created: bool,
    _lock: File,
}

impl Claimed {
    pub(super) fn created(&self) -> bool {
        self.created
    }
}

/// Claims the file for this process, making it when it is absent.
pub(super) fn claim(path: &Path) -> Result<Claimed, StoreError> {
    let lock = lock(path)?;
    let created = create(path)?;
    if created {
        sync_parent(path)?;
    } else {
        restrict(path)?;
    }
    Ok(Claimed {
        created,
        _lock: lock,
    })
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
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let beside = PathBuf::from(name);
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

fn create(path: &Path) -> Result<bool, StoreError> {
    let made = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(OWNER_ONLY)
        .open(path);
    match made {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(source) => Err(StoreError::file(path, source)),
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
