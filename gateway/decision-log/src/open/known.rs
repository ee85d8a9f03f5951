//! What is known about a log before it is read: its checkpoint, and anchors.

use std::fs;
use std::io;
use std::path::Path;

use super::scan::{Found, Rotation};
use super::{CHECKPOINT, Expected, LogOptions, OpenError};
use crate::anchor::{self, Anchor};
use crate::checkpoint::{SignedHead, TreeHead};
use crate::key::SigningKey;
use crate::record::Receipt;
use crate::segment;
use crate::tile::TileStore;
use crate::tree::proof::{self, Subtrees as _};

/// The newest of everything that vouches for the log.
#[derive(Default)]
pub(super) struct Known {
    checkpoint: Option<SignedHead>,
    /// Whether the checkpoint is missing or spoilt although there are records.
    lost: Option<OpenError>,
    anchor: Option<TreeHead>,
    receipt: Option<Receipt>,
    expected: Vec<Expected>,
    is_new: bool,
}

/// Reads the checkpoint and the anchors.
pub(super) fn read(options: &LogOptions, key: &SigningKey) -> Result<Known, OpenError> {
    let mut known = Known::default();
    for path in &options.anchors {
        known.read_anchors(path, options, key)?;
    }
    let path = options.dir.join(CHECKPOINT);
    let records = has_records(&options.dir)?;
    // As the verifier reads it: bytes that are no text spoil it like any others.
    match fs::read(&path) {
        Ok(note) => match own_checkpoint(&String::from_utf8_lossy(&note), &options.origin) {
            Ok(signed) => known.checkpoint = Some(signed),
            Err(error) => known.lost = Some(error),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            known.lost = records.then_some(OpenError::NoCheckpoint);
            known.is_new = !records;
        }
        Err(error) => return Err(OpenError::file(&path)(error)),
    }
    let heads = [known.checkpoint(), known.anchor.as_ref()];
    known.expected = heads.into_iter().flatten().map(expected).collect();
    Ok(known)
}

fn own_checkpoint(note: &str, origin: &str) -> Result<SignedHead, OpenError> {
    let told = |what: String| OpenError::Checkpoint(what);
    let signed = SignedHead::parse(note).map_err(|error| told(format!("is spoilt: {error}")))?;
    if signed.head.origin == origin {
        Ok(signed)
    } else {
        Err(told(format!("is of the log `{}`", signed.head.origin)))
    }
}

/// Whether a segment holds anything but room.
fn has_records(dir: &Path) -> Result<bool, OpenError> {
    let segments = segment::list(dir).map_err(OpenError::file(dir))?;
    let mut any = segments.len() > 1;
    if let Some(first) = segments.first() {
        let told = OpenError::file(&first.path);
        let step = segment::Lines::open(&first.path).and_then(|mut lines| lines.step());
        any |= first.first > 0 || step.map_err(told)? == segment::Step::Line;
    }
    Ok(any)
}

fn expected(head: &TreeHead) -> Expected {
    Expected {
        size: head.size,
        root: head.root,
    }
}

impl Known {
    fn read_anchors(
        &mut self,
        path: &Path,
        options: &LogOptions,
        key: &SigningKey,
    ) -> Result<(), OpenError> {
        if !path.exists() {
            return Ok(());
        }
        for anchor in anchor::read(path)? {
            if anchor.origin() != options.origin {
                return Err(OpenError::OtherLog {
                    path: path.to_owned(),
                    found: anchor.origin().to_owned(),
                    origin: options.origin.clone(),
                });
            }
            match anchor {
                // Signed by an earlier key: the verifier judges those.
                Anchor::Checkpoint(signed) if !signed.note.is_signed_by(&key.verifier()) => {}
                Anchor::Checkpoint(signed) => {
                    let newest = self.anchor.as_ref().map_or(0, |head| head.size);
                    if signed.head.size >= newest {
                        self.anchor = Some(signed.head);
                    }
                }
                Anchor::Receipt(receipt) => {
                    let newest = self.receipt.as_ref().map_or(0, |receipt| receipt.index);
                    if receipt.index >= newest {
                        self.receipt = Some(receipt);
                    }
                }
            }
        }
        Ok(())
    }

    pub(super) fn checkpoint(&self) -> Option<&TreeHead> {
        self.checkpoint.as_ref().map(|signed| &signed.head)
    }

    pub(super) fn checkpoint_size(&self) -> u64 {
        self.checkpoint().map_or(0, |head| head.size)
    }

    pub(super) fn is_new(&self) -> bool {
        self.is_new
    }

    /// Heads to be met while the records are read.
    pub(super) fn expected(&self) -> &[Expected] {
        &self.expected
    }

    /// The head that reaches furthest.
    pub(super) fn newest(&self) -> Option<&TreeHead> {
        let heads = [self.checkpoint(), self.anchor.as_ref()];
        heads.into_iter().flatten().max_by_key(|head| head.size)
    }

    /// Checks that the checkpoint was signed by this key, or by one from which the
    /// records after it lead to this key.
    pub(super) fn judge_signer(
        &mut self,
        key: &SigningKey,
        rotations: &[Rotation],
    ) -> Result<(), OpenError> {
        let Some(signed) = &self.checkpoint else {
            return Ok(());
        };
        let later = rotations.iter().filter(|r| r.seq >= signed.head.size);
        let mut signer = None;
        let mut last = None;
        for rotation in later {
            let (from, to) = (&rotation.keys.from, &rotation.keys.to);
            if last.is_some_and(|last| last != from) {
                let what = "is followed by key changes that do not join".to_owned();
                return Err(OpenError::Checkpoint(what));
            }
            signer = signer.or(Some(from.clone()));
            last = Some(to);
        }
        let own = key.verifier();
        if last.is_some_and(|last| *last != own) {
            let what = "is followed by a change to another key than the one given".to_owned();
            return Err(OpenError::Checkpoint(what));
        }
        if !signed.note.is_signed_by(&signer.unwrap_or(own)) {
            let what = "is not signed by this log's key".to_owned();
            self.lost = Some(OpenError::Checkpoint(what));
            self.checkpoint = None;
        }
        Ok(())
    }

    /// What contradicts the records that were found.
    pub(super) fn conflict(&mut self, dir: &Path, found: &Found) -> Option<OpenError> {
        if let Some(lost) = self.lost.take() {
            return Some(lost);
        }
        let size = found.size;
        let longest = self.newest().map_or(0, |head| head.size);
        let receipt = self.receipt.as_ref().map_or(0, |receipt| receipt.index + 1);
        let known = longest.max(receipt);
        if size < known {
            return Some(OpenError::Shorter { size, known });
        }
        if let Some(known) = found.diverged {
            return Some(OpenError::Diverged { known });
        }
        if let Some(head) = &self.anchor
            && head.size < found.from
        {
            // Missing tiles are no contradiction; the verifier reads every record.
            let root = proof::root(head.size, &TileStore::new(dir));
            if root.is_ok_and(|root| root != head.root) {
                return Some(OpenError::Diverged { known: head.size });
            }
        }
        if let Some(receipt) = &self.receipt {
            let leaf = TileStore::new(dir).subtree(0, receipt.index);
            if leaf.is_ok_and(|leaf| leaf != receipt.leaf_hash) {
                let known = receipt.index + 1;
                return Some(OpenError::Diverged { known });
            }
        }
        None
    }
}
