//! Where bytes are put: the only part of the log that changes the disk.
//!
//! A small trait with two homes, the operating system and the test medium that
//! fails the n-th call, so that every failing write, sync, rename and creation is
//! tried by a test. Reading goes through `std::fs` directly.

#[cfg(test)]
pub(crate) mod fault;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// A file open for writing at given places.
pub(crate) trait MediumFile: Send {
    /// Writes some of the bytes at `offset`; may write fewer than given.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;
    /// Makes what was written durable (fdatasync). Never to be repeated after a
    /// failure: the kernel forgets the pages it could not write.
    fn sync(&self) -> io::Result<()>;
    /// Cuts or extends the file.
    fn set_len(&self, bytes: u64) -> io::Result<()>;
}

/// A place for files.
pub(crate) trait Medium: Send + Sync {
    /// Makes a new, empty file, in the place of an older one of that name.
    fn create(&self, path: &Path) -> io::Result<Box<dyn MediumFile>>;
    /// Opens an existing file.
    fn open(&self, path: &Path) -> io::Result<Box<dyn MediumFile>>;
    /// Renames a file over another.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes a directory and those above it.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
}

/// Writes all bytes: short writes are continued, a write of nothing is an error.
pub(crate) fn write_all(file: &dyn MediumFile, bytes: &[u8], offset: u64) -> io::Result<()> {
    let mut rest = bytes;
    let mut at = offset;
    while !rest.is_empty() {
        match file.write_at(rest, at) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => {
                rest = rest.get(n..).unwrap_or_default();
                at += n as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Why something is not on the disk.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// It could not be written; nothing that was durable is in doubt.
    #[error("{0}")]
    Write(#[source] io::Error),
    /// A sync failed: what the kernel still holds can no longer be trusted.
    #[error("sync failed: {0}")]
    Sync(#[source] io::Error),
}

impl Failure {
    /// Whether the log must take nothing more. Lack of space is no such failure
    /// where the file is new and will be made again from the beginning.
    pub(crate) fn spoils(&self) -> bool {
        matches!(self, Failure::Sync(error) if !is_full(error))
    }

    /// What the system said.
    pub(crate) fn error(self) -> io::Error {
        match self {
            Failure::Write(error) | Failure::Sync(error) => error,
        }
    }
}

/// Fills a new file with zeros, durable: later writes into it need no space.
pub(crate) fn zeroed(
    medium: &dyn Medium,
    path: &Path,
    bytes: u64,
) -> Result<Box<dyn MediumFile>, Failure> {
    const CHUNK: usize = 1 << 20;
    let file = medium.create(path).map_err(Failure::Write)?;
    let zeros = vec![0; usize::try_from(bytes).unwrap_or(CHUNK).min(CHUNK)];
    let mut at = 0;
    while at < bytes {
        let n = usize::try_from(bytes - at).unwrap_or(CHUNK).min(CHUNK);
        let zeros = zeros.get(..n).unwrap_or_default();
        write_all(file.as_ref(), zeros, at).map_err(Failure::Write)?;
        at += n as u64;
    }
    file.sync().map_err(Failure::Sync)?;
    Ok(file)
}

/// Puts a whole file in place, durable and never half visible.
pub(crate) fn replace(medium: &dyn Medium, path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let temporary = path.with_extension("new");
    let file = medium.create(&temporary).map_err(Failure::Write)?;
    write_all(file.as_ref(), bytes, 0).map_err(Failure::Write)?;
    file.sync().map_err(Failure::Sync)?;
    medium.rename(&temporary, path).map_err(Failure::Write)?;
    match path.parent() {
        Some(dir) => medium.sync_dir(dir).map_err(Failure::Sync),
        None => Ok(()),
    }
}

/// Whether an error says that the disk has no room, and nothing worse.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// The operating system's files.
pub(crate) struct Disk;

impl Medium for Disk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn MediumFile>> {
        // Unlink first: a second name of the old file keeps its bytes.
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o640);
        Ok(Box::new(options.open(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn MediumFile>> {
        Ok(Box::new(OpenOptions::new().write(true).open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }
}

impl MediumFile for File {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        FileExt::write_at(self, bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        File::set_len(self, bytes)
    }
}
