//! Keys over time: which key had to sign a head of a given size.
//!
//! The chain is built from the key changes in the records, each signed by the key
//! before it. The pinned key may stand anywhere in it; what makes the rest of the
//! chain trusted is that a head over it is signed by the pinned key or a later one.

use super::{Broken, KeyChange};
use crate::lifecycle::CheckedRotation;
use crate::note::{SignedNote, VerifierKey};

/// A key change and its place.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) seq: u64,
    pub(super) keys: CheckedRotation,
}

impl Link {
    pub(super) fn told(&self) -> KeyChange {
        KeyChange {
            seq: self.seq,
            from: self.keys.from.to_string(),
            to: self.keys.to.to_string(),
        }
    }
}

/// Keys in order; each with the size from which it signs.
pub(super) struct Chain {
    first: VerifierKey,
    later: Vec<(u64, VerifierKey)>,
    /// Size from which the pinned key or a later one signs.
    pinned_from: u64,
}

impl Chain {
    pub(super) fn build(pinned: &VerifierKey, links: &[Link]) -> Result<Chain, Broken> {
        let first = links.first().map_or(pinned, |link| &link.keys.from);
        let mut pinned_from = (first == pinned).then_some(0);
        let mut current = first;
        let mut later = Vec::new();
        for link in links {
            let broken = |what: &str| Broken {
                first_bad_seq: link.seq,
                what: what.to_owned(),
            };
            if link.keys.from != *current {
                return Err(broken("a key change by another key than that of the log"));
            }
            current = &link.keys.to;
            // The record of the change is covered by the new key's first head.
            later.push((link.seq + 1, current.clone()));
            if current == pinned {
                pinned_from = pinned_from.or(Some(link.seq + 1));
            }
        }
        let Some(pinned_from) = pinned_from else {
            return Err(Broken {
                first_bad_seq: links.first().map_or(0, |link| link.seq),
                what: "the pinned key is none of this log's keys".to_owned(),
            });
        };
        Ok(Chain {
            first: first.clone(),
            later,
            pinned_from,
        })
    }

    /// The key that signs a head of this size.
    pub(super) fn key_at(&self, size: u64) -> &VerifierKey {
        let later = self.later.iter().rev().find(|(from, _)| *from <= size);
        later.map_or(&self.first, |(_, key)| key)
    }

    /// Whether a head of this size is signed by the pinned key or a later one.
    pub(super) fn reaches_pinned(&self, size: u64) -> bool {
        size >= self.pinned_from
    }

    pub(super) fn any_signed(&self, note: &SignedNote) -> bool {
        let mut keys = self.later.iter().map(|(_, key)| key).chain([&self.first]);
        keys.any(|key| note.is_signed_by(key))
    }
}
