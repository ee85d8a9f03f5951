//! Bodies beside the log: bundles, configurations, catalogues, long inputs.
//!
//! A body is named by its SHA-256 and is durable, file and name, before the record
//! that names it is written. Writing the same body twice is one file.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::medium::{Failure, Medium, write_all};
use crate::tree::{Hash, sha256};

/// Directory of the bodies.
pub(crate) const BLOBS: &str = "blobs/sha256";

/// SHA-256 of a body; displayed as `sha256:<hex>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Digest of these bytes.
    pub fn of(bytes: &[u8]) -> Digest {
        let Hash(hash) = sha256(bytes);
        Digest(hash)
    }

    /// Reads `sha256:` and 64 lower-case hex digits.
    pub fn parse(text: &str) -> Option<Digest> {
        let hex = text.strip_prefix("sha256:")?;
        let lower = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if hex.len() != 64 || !hex.bytes().all(lower) {
            return None;
        }
        let mut bytes = [0; 32];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(hex.get(at * 2..at * 2 + 2)?, 16).ok()?;
        }
        Some(Digest(bytes))
    }

    /// The digits alone: the file's name.
    pub fn hex(&self) -> String {
        self.0.iter().map(|b| format!("{b:02x}")).collect()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

/// Why a body is not beside the log.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// It could not be written.
    #[error("{kind} of {bytes} bytes could not be kept beside the log: {error}")]
    Write {
        /// What it is.
        kind: String,
        /// Its length.
        bytes: usize,
        /// What the system said.
        error: io::Error,
    },
    /// It could not be read.
    #[error("body `{digest}` beside the log could not be read: {error}")]
    Read {
        /// Its name.
        digest: Digest,
        /// What the system said.
        error: io::Error,
    },
    /// Its bytes have another digest than its name.
    #[error("body `{0}` beside the log was changed")]
    Changed(Digest),
    /// An earlier sync failed.
    #[error(
        "the decision log takes nothing more: {0}; hint: restart the gateway, which reopens and checks the log"
    )]
    Poisoned(std::sync::Arc<str>),
}

/// Where a body stands.
pub fn path(dir: &Path, digest: &Digest) -> PathBuf {
    dir.join(BLOBS).join(digest.hex())
}

/// Reads a body and checks it against its name.
pub fn read(dir: &Path, digest: &Digest) -> Result<Vec<u8>, BlobError> {
    let bytes = fs::read(path(dir, digest)).map_err(|error| BlobError::Read {
        digest: *digest,
        error,
    })?;
    if Digest::of(&bytes) == *digest {
        Ok(bytes)
    } else {
        Err(BlobError::Changed(*digest))
    }
}

/// Writes a body, durable with its name when this returns. `turn` tells writers of
/// the same body apart.
pub(crate) fn store(
    medium: &dyn Medium,
    dir: &Path,
    bytes: &[u8],
    turn: u64,
) -> Result<Digest, Failure> {
    let digest = Digest::of(bytes);
    let place = path(dir, &digest);
    // An equal file was synced before it got its name; only the name may not be
    // durable yet when another writer is just ahead.
    if read(dir, &digest).is_err() {
        let temporary = place.with_extension(format!("new{turn}"));
        let written = put(medium, &temporary, &place, bytes);
        if written.is_err() {
            // Best effort: give back the space of what is not a body.
            let _ = medium.remove(&temporary);
        }
        written?;
    }
    medium.sync_dir(&dir.join(BLOBS)).map_err(Failure::Sync)?;
    Ok(digest)
}

fn put(medium: &dyn Medium, temporary: &Path, place: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let file = medium.create(temporary).map_err(Failure::Write)?;
    write_all(file.as_ref(), bytes, 0).map_err(Failure::Write)?;
    file.sync().map_err(Failure::Sync)?;
    medium.rename(temporary, place).map_err(Failure::Write)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use std::fs;

    use super::{BLOBS, BlobError, Digest, path, read, store};
    use crate::medium::Disk;

    #[test]
    fn bodies_are_kept_by_digest_and_checked() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join(BLOBS)).unwrap();
        let digest = store(&Disk, dir.path(), b"hello", 1).unwrap();
        assert_eq!(
            digest.to_string(),
            "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
        );
        assert_eq!(Digest::parse(&digest.to_string()), Some(digest));
        assert_eq!(store(&Disk, dir.path(), b"hello", 2).unwrap(), digest);
        assert_eq!(read(dir.path(), &digest).unwrap(), b"hello");
        assert_eq!(fs::read_dir(dir.path().join(BLOBS)).unwrap().count(), 1);
        // A changed body is told, and written anew when it is given again.
        fs::write(path(dir.path(), &digest), b"hullo").unwrap();
        assert!(matches!(
            read(dir.path(), &digest),
            Err(BlobError::Changed(_))
        ));
        store(&Disk, dir.path(), b"hello", 3).unwrap();
        assert_eq!(read(dir.path(), &digest).unwrap(), b"hello");
    }

    #[test]
    fn hostile_digests_are_refused() {
        let good = Digest::of(b"x").to_string();
        for bad in [
            "",
            "sha256:",
            "../../etc/passwd",
            &good.to_uppercase(),
            &good.replace("sha256", "sha512"),
            &format!("{good}0"),
            &format!("sha256:{}", "é".repeat(32)),
        ] {
            assert_eq!(Digest::parse(bad), None, "{bad}");
        }
    }
}
