//! What the log writes about itself: key changes, forks, tails that were cut.
//!
//! These are records like any other. A verifier reads key changes and forks from
//! them, so their form is read as strictly as it is written.

use serde::{Deserialize, Serialize};

use crate::blob::Digest;
use crate::checkpoint::TreeHead;
use crate::key::SigningKey;
use crate::note::{SignedNote, VerifierKey};
use crate::record::{Entry, EntryError, Kind, Members};

/// First line of the text that an old key signs for a new one.
const ROTATION_TEXT: &str = "vaultgate.key-rotation/1";

/// An event of the log itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(crate) enum Event {
    /// From the next record on, another key signs.
    KeyRotation {
        /// Verifier key until now.
        from: String,
        /// Verifier key from now on.
        to: String,
        /// Note over origin, place and new key, signed by the old key.
        note: String,
    },
    /// The log goes on although it is shorter than, or differs from, a known head.
    Fork {
        /// Why, as the operator declared it.
        reason: String,
        /// Size of the head that is given up; none when the checkpoint was missing.
        old_size: Option<u64>,
        /// Its root, base64.
        old_root: Option<String>,
        /// Size at which the log goes on.
        size: u64,
        /// Root there, base64.
        root: String,
    },
    /// A torn tail, never acknowledged, was cut off.
    TailCut {
        /// Bytes that were cut.
        bytes: u64,
        /// Their digest, `sha256:<hex>`.
        digest: String,
    },
}

impl Event {
    /// The change from one key to another, at place `seq`.
    pub(crate) fn rotation(from: &SigningKey, to: &SigningKey, seq: u64) -> Event {
        let text = rotation_text(from.name(), seq, &to.vkey());
        Event::KeyRotation {
            from: from.vkey(),
            to: to.vkey(),
            note: from.sign_note(&text),
        }
    }

    /// The entry of this event. The id is made from its content and place: the log
    /// has no source of random numbers.
    pub(crate) fn entry(&self, origin: &str, seq: u64) -> Result<Entry, EntryError> {
        let fields = Members::of(self)?;
        let named = format!("{origin}\n{seq}\n{}", fields.as_str());
        let hex = Digest::of(named.as_bytes()).hex();
        let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
        // Version 8 of RFC 9562: a UUID by a rule of one's own.
        let id = format!(
            "{}-{}-8{}-8{}-{}",
            part(0, 8),
            part(8, 12),
            part(13, 16),
            part(17, 20),
            part(20, 32)
        );
        Ok(Entry {
            kind: Kind::Lifecycle,
            id,
            fields,
        })
    }

    /// Reads the event in a record; none when it is not one of the log's own.
    pub(crate) fn read(leaf: &[u8]) -> Option<Event> {
        serde_json::from_slice(leaf).ok()
    }
}

fn rotation_text(origin: &str, seq: u64, to: &str) -> String {
    format!("{ROTATION_TEXT}\n{origin}\n{seq}\n{to}\n")
}

/// A key change whose signature by the old key was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CheckedRotation {
    /// Key until now.
    pub(crate) from: VerifierKey,
    /// Key from the next record on.
    pub(crate) to: VerifierKey,
}

/// Checks that the old key signed the new one, for this log and this place: a note
/// copied from elsewhere must not hand the log to another key.
pub(crate) fn check_rotation(event: &Event, origin: &str, seq: u64) -> Option<CheckedRotation> {
    let Event::KeyRotation { from, to, note } = event else {
        return None;
    };
    let (from, to) = (VerifierKey::parse(from).ok()?, VerifierKey::parse(to).ok()?);
    let note = SignedNote::parse(note).ok()?;
    let meant = note.text() == rotation_text(origin, seq, &to.to_string());
    let named = from.name() == origin && to.name() == origin;
    (meant && named && note.is_signed_by(&from)).then_some(CheckedRotation { from, to })
}

/// The fork from `old` to a log of `size` and `root`.
pub(crate) fn fork(reason: &str, old: Option<&TreeHead>, now: &TreeHead) -> Event {
    Event::Fork {
        reason: reason.to_owned(),
        old_size: old.map(|head| head.size),
        old_root: old.map(|head| head.root.to_base64()),
        size: now.size,
        root: now.root.to_base64(),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::{Event, check_rotation};
    use crate::key::SigningKey;

    fn key(name: &str, seed: u8) -> SigningKey {
        SigningKey::from_seed(name, &[seed; 32]).unwrap()
    }

    #[test]
    fn a_rotation_holds_for_its_place_and_log_only() {
        let (old, new) = (key("log.example", 1), key("log.example", 2));
        let event = Event::rotation(&old, &new, 9);
        let checked = check_rotation(&event, "log.example", 9).unwrap();
        assert_eq!((checked.from, checked.to), (old.verifier(), new.verifier()));
        assert!(check_rotation(&event, "log.example", 8).is_none());
        assert!(check_rotation(&event, "other.example", 9).is_none());
        let Event::KeyRotation { from, note, .. } = event else {
            unreachable!("a rotation is a rotation");
        };
        let thief = key("log.example", 3).vkey();
        let stolen = Event::KeyRotation {
            from,
            to: thief,
            note,
        };
        assert!(check_rotation(&stolen, "log.example", 9).is_none());
    }

    #[test]
    fn an_event_reads_back_from_its_record() {
        let (old, new) = (key("log.example", 1), key("log.example", 2));
        let event = Event::rotation(&old, &new, 9);
        let entry = event.entry("log.example", 9).unwrap();
        entry.check().unwrap();
        let mut leaf = Vec::new();
        entry.write_leaf(9, "2026-11-23T03:00:00.000Z", &mut leaf);
        assert_eq!(Event::read(&leaf), Some(event));
        assert_eq!(entry.id.len(), 36);
        assert_eq!(Event::read(b"{\"event\":\"start\"}"), None);
    }
}
