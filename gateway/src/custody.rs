//! Long-running operations: their poll URLs never leave the gateway as they are.
//!
//! `Location` and `Azure-AsyncOperation` become `/_vaultgate/op/<sealed>`. The
//! seal holds the upstream URL, the decision it belongs to, who started it and
//! until when it may be used, so a handle survives a restart and the loss of the
//! store. Opening a handle gives no right: the poll is judged like any request.

pub(crate) mod keys;
pub(crate) mod rewrite;
pub(crate) mod watch;

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use keys::{KeyError, Purpose, SealingKeys};

/// Path under which handles are polled.
pub(crate) const PREFIX: &str = "/_vaultgate/op/";

/// How a handle begins, so that it is told from other names.
const MARK: &str = "vgop-";

/// The handle that a path polls, if it polls one. The Azure CLI takes the last segment
/// of a poll URL for the operation's name and puts it into a status URL of its own: a
/// handle is taken from there too, and means the same.
pub(crate) fn polled(path: &str) -> Option<&str> {
    let last = path.rsplit('/').next()?;
    path.strip_prefix(PREFIX)
        .or_else(|| last.starts_with(MARK).then_some(last))
}

/// Longest handle that is looked at: longer text is no handle of ours.
const MAX_SEALED: usize = 16 << 10;

/// What a handle stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Handle {
    /// Path and query at ARM, byte for byte: some are signed.
    #[serde(rename = "t")]
    pub(crate) target: String,
    /// Decision that started the operation.
    #[serde(rename = "d")]
    pub(crate) decision: Uuid,
    /// SHA-256 of the starter's principal key.
    #[serde(rename = "p")]
    pub(crate) principal: String,
    /// REST operation that was started, such as `Backups_Trigger`.
    #[serde(rename = "o")]
    pub(crate) operation: String,
    /// Resource that the operation works on.
    #[serde(rename = "r")]
    pub(crate) resource: String,
    /// Vault of that resource, if it has one.
    #[serde(rename = "v")]
    pub(crate) vault: Option<String>,
    /// Whether the answer works without the gateway and so is no plain read.
    #[serde(rename = "x")]
    pub(crate) discloses: bool,
    /// When the handle ends.
    #[serde(rename = "e")]
    pub(crate) expires: Timestamp,
}

/// Why a handle is not usable.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum HandleError {
    /// Not sealed by this gateway, or altered.
    #[error("this operation handle was not issued by this gateway")]
    Unknown,
    /// Its time is over.
    #[error("this operation handle expired at {0}")]
    Expired(Timestamp),
}

/// Seals and opens handles.
pub(crate) struct Custody {
    keys: SealingKeys,
}

impl Custody {
    /// Reads the sealing keys, or makes the first one.
    pub(crate) fn open(path: &Path) -> Result<Custody, KeyError> {
        Ok(Custody {
            keys: SealingKeys::open(path)?,
        })
    }

    /// A keyed digest that stands in records in place of a secret.
    pub(crate) fn digest_secret(&self, secret: &[u8]) -> String {
        self.keys.digest(secret)
    }

    /// Seals a handle into text that fits into a URL.
    pub(crate) fn seal(&self, handle: &Handle) -> Option<String> {
        let plain = serde_json::to_vec(handle).ok()?;
        let sealed = self.keys.seal(Purpose::Handle, plain)?;
        Some(format!("{MARK}{}", URL_SAFE_NO_PAD.encode(sealed)))
    }

    /// Seals the body of a request that waits for approval.
    pub(crate) fn seal_body(&self, plain: Vec<u8>) -> Option<Vec<u8>> {
        self.keys.seal(Purpose::Body, plain)
    }

    /// Opens a body that was sealed by [`Custody::seal_body`].
    pub(crate) fn open_body(&self, sealed: Vec<u8>) -> Option<Vec<u8>> {
        self.keys.open_sealed(Purpose::Body, sealed)
    }

    /// Seals a sign-in that has begun, for the browser that will end it.
    pub(crate) fn seal_sign_in(&self, plain: Vec<u8>) -> Option<String> {
        let sealed = self.keys.seal(Purpose::SignIn, plain)?;
        Some(URL_SAFE_NO_PAD.encode(sealed))
    }

    /// Opens what [`Custody::seal_sign_in`] sealed.
    pub(crate) fn open_sign_in(&self, text: &str) -> Option<Vec<u8>> {
        let sealed = (text.len() <= MAX_SEALED).then(|| URL_SAFE_NO_PAD.decode(text));
        self.keys.open_sealed(Purpose::SignIn, sealed?.ok()?)
    }

    /// Opens a handle; anything that this gateway did not seal is unknown.
    pub(crate) fn unseal(&self, text: &str, now: Timestamp) -> Result<Handle, HandleError> {
        if text.len() > MAX_SEALED {
            return Err(HandleError::Unknown);
        }
        let sealed = text.strip_prefix(MARK).ok_or(HandleError::Unknown)?;
        let sealed = URL_SAFE_NO_PAD
            .decode(sealed)
            .map_err(|_| HandleError::Unknown)?;
        let plain = self
            .keys
            .open_sealed(Purpose::Handle, sealed)
            .ok_or(HandleError::Unknown)?;
        let handle: Handle = serde_json::from_slice(&plain).map_err(|_| HandleError::Unknown)?;
        if handle.expires <= now {
            return Err(HandleError::Expired(handle.expires));
        }
        Ok(handle)
    }
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "tests fail by panicking"
    )]
    use super::{Custody, Handle, HandleError};
    use jiff::{SignedDuration, Timestamp};
    use uuid::Uuid;

    fn handle(now: Timestamp) -> Handle {
        Handle {
            target: "/subscriptions/s/x?api-version=1&t=2&c=MII%2F".into(),
            decision: Uuid::nil(),
            principal: "p".into(),
            operation: "Backups_Trigger".into(),
            resource: "/subscriptions/s/x".into(),
            vault: None,
            discloses: false,
            expires: now + SignedDuration::from_hours(1),
        }
    }

    #[test]
    fn a_handle_survives_a_restart_and_no_change() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("custody.key");
        let now: Timestamp = "2026-11-23T03:00:00Z".parse().unwrap();
        let sealed = Custody::open(&path).unwrap().seal(&handle(now)).unwrap();
        let custody = Custody::open(&path).unwrap();
        assert_eq!(custody.unseal(&sealed, now), Ok(handle(now)));
        for i in 0..sealed.len() {
            let mut bytes = sealed.clone().into_bytes();
            bytes[i] = if bytes[i] == b'A' { b'B' } else { b'A' };
            let altered = String::from_utf8(bytes).unwrap();
            if altered != sealed {
                assert_eq!(custody.unseal(&altered, now), Err(HandleError::Unknown));
            }
        }
        let later = now + SignedDuration::from_hours(2);
        assert!(matches!(
            custody.unseal(&sealed, later),
            Err(HandleError::Expired(_))
        ));
    }

    #[test]
    fn an_older_key_opens_what_it_sealed_and_a_foreign_one_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("custody.key");
        let now: Timestamp = "2026-11-23T03:00:00Z".parse().unwrap();
        let sealed = Custody::open(&path).unwrap().seal(&handle(now)).unwrap();
        super::keys::SealingKeys::rotate(&path).unwrap();
        let rotated = Custody::open(&path).unwrap();
        assert!(rotated.unseal(&sealed, now).is_ok());
        let other = Custody::open(&dir.path().join("other.key")).unwrap();
        assert_eq!(other.unseal(&sealed, now), Err(HandleError::Unknown));
        for hostile in [
            "",
            "AA",
            "vgop-",
            "vgop-====",
            &format!("vgop-{}", "A".repeat(20_000)),
        ] {
            assert_eq!(rotated.unseal(hostile, now), Err(HandleError::Unknown));
        }
    }
}
