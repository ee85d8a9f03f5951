//! How far a gateway has seen the shared store, kept beside its own log.
//!
//! A server that was set back to an older state is the same server on the same timeline: only
//! who remembers what it had confirmed can tell. A gateway that saw it go back says so here as
//! well, so that a restart does not forget it.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::StoreError;

/// What was seen of the store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seen {
    /// How often it had been taken over.
    pub(super) epoch: i64,
    /// How many changes it had taken.
    pub(super) changes: i64,
    /// Whether it was seen to have gone back since.
    #[serde(default)]
    pub(super) went_back: bool,
}

/// The file.
pub(super) struct SeenFile(PathBuf);

impl Seen {
    /// Whether a store that says this of itself has lost what was seen. One that was taken over
    /// since has lost it, and whoever took it over has seen to that.
    pub(super) fn is_ahead_of(&self, epoch: i64, changes: i64) -> bool {
        let back = self.went_back || self.changes > changes;
        self.epoch > epoch || self.epoch == epoch && back
    }
}

impl SeenFile {
    pub(super) fn at(path: &Path) -> SeenFile {
        SeenFile(path.to_owned())
    }

    /// What was seen; nothing at a first start. A file that cannot be read is an error: it
    /// would say nothing of what is missing.
    pub(super) fn read(&self) -> Result<Option<Seen>, StoreError> {
        match std::fs::read(&self.0) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| {
                StoreError::file(&self.0, std::io::Error::other(error.to_string()))
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::file(&self.0, error)),
        }
    }

    /// Keeps what was seen, durably: whole or as it was.
    pub(super) fn write(&self, seen: &Seen) -> Result<(), StoreError> {
        let aside = self.0.with_extension("new");
        let write = || {
            let mut file = std::fs::File::create(&aside)?;
            file.write_all(&serde_json::to_vec(seen)?)?;
            file.sync_data()?;
            std::fs::rename(&aside, &self.0)
        };
        write().map_err(|error| StoreError::file(&self.0, error))?;
        super::file::sync_parent(&self.0)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::{Seen, SeenFile};

    #[test]
    fn only_what_was_taken_over_since_may_be_behind() {
        let seen = |epoch, changes, went_back| Seen {
            epoch,
            changes,
            went_back,
        };
        assert!(!seen(1, 5, false).is_ahead_of(1, 5));
        assert!(!seen(1, 5, false).is_ahead_of(1, 9));
        assert!(seen(1, 5, false).is_ahead_of(1, 4));
        assert!(seen(1, 5, false).is_ahead_of(0, 99));
        assert!(seen(1, 5, true).is_ahead_of(1, 99));
        assert!(!seen(1, 5, true).is_ahead_of(2, 1));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_no_first_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.seen");
        let file = SeenFile::at(&path);
        assert_eq!(file.read().unwrap(), None);
        file.write(&Seen::default()).unwrap();
        assert_eq!(file.read().unwrap(), Some(Seen::default()));
        for damaged in [&b""[..], b"{}", b"null", &[0xff; 9]] {
            std::fs::write(&path, damaged).unwrap();
            assert!(file.read().is_err());
        }
    }
}
