//! Verifying a log without the gateway: from its files, a key pinned outside, and
//! what was kept elsewhere.
//!
//! Every record is read and hashed again, and held against the tiles, the signed
//! checkpoint beside the log, and the anchors. Nothing that the files say is
//! believed without a signature that leads to the pinned key. A log is `anchored`
//! up to the furthest checkpoint or receipt from outside that it fulfils; beyond
//! that a holder of the key could have cut or changed it, and the report says so.

mod chain;
mod walk;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::anchor::{self, Anchor, AnchorError};
use crate::checkpoint::SignedHead;
use crate::note::VerifierKey;
use crate::open::CHECKPOINT;
use crate::record::Receipt;
use crate::tree::Hash;

use chain::Chain;
use walk::Walk;

/// What an intact log is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Name of the log.
    pub origin: String,
    /// Records.
    pub size: u64,
    /// Root over them, base64.
    pub root: String,
    /// Time of the first record.
    pub first_time: Option<String>,
    /// Time of the last record.
    pub last_time: Option<String>,
    /// Size of the checkpoint beside the log.
    pub signed_to: u64,
    /// Size up to which something kept outside vouches for the log.
    pub anchored_to: Option<u64>,
    /// Time of the first record that nothing outside vouches for.
    pub tail_unanchored_since: Option<String>,
    /// Keys that the log was handed to.
    pub key_changes: Vec<KeyChange>,
    /// Forks that were declared.
    pub forks: Vec<Fork>,
    /// Anchors of records that a declared fork gave up.
    pub disowned_anchors: u64,
    /// Bytes of a torn tail, never acknowledged.
    pub torn_bytes: u64,
    /// Tiles that are missing or short; they are rebuilt when the log is opened.
    pub missing_tiles: u64,
}

/// A handing over to a new key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyChange {
    /// Where it stands.
    pub seq: u64,
    /// Verifier key until then.
    pub from: String,
    /// Verifier key from the next record on.
    pub to: String,
}

/// A declared fork.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fork {
    /// Where it stands.
    pub seq: u64,
    /// Size that was given up.
    pub old_size: Option<u64>,
    /// Its root, base64.
    pub old_root: Option<String>,
    /// Why, as declared.
    pub reason: String,
}

/// Where a log is not what was signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Broken {
    /// First record that is changed, missing, or not vouched for.
    pub first_bad_seq: u64,
    /// What is wrong.
    pub what: String,
}

/// Why a log is not verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It is not what was signed.
    #[error("the log is broken at record {}: {}", .0.first_bad_seq, .0.what)]
    Broken(Broken),
    /// A file could not be read.
    #[error("decision log `{path}`: {error}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// An anchor file cannot be used.
    #[error(transparent)]
    Anchor(#[from] AnchorError),
    /// An anchor is of another log than the key.
    #[error("anchor file `{path}` is of the log `{found}`, but the key of `{origin}`")]
    OtherLog {
        /// The file.
        path: PathBuf,
        /// Name in it.
        found: String,
        /// Name in the key.
        origin: String,
    },
}

impl VerifyError {
    /// The first bad record, if the log is broken.
    pub fn first_bad_seq(&self) -> Option<u64> {
        match self {
            VerifyError::Broken(broken) => Some(broken.first_bad_seq),
            VerifyError::File { .. } | VerifyError::Anchor(_) | VerifyError::OtherLog { .. } => {
                None
            }
        }
    }

    fn file(path: &Path) -> impl Fn(io::Error) -> VerifyError + use<> {
        let path = path.to_owned();
        move |error| VerifyError::File {
            path: path.clone(),
            error,
        }
    }
}

/// Exit code of `log verify`: 0 verified and anchored, 1 broken, 2 not possible to
/// tell, 3 intact as far as the files say but nothing outside vouches for them.
pub fn exit_code(result: &Result<Report, VerifyError>) -> u8 {
    match result {
        Ok(report) if report.anchored_to.is_some() => 0,
        Ok(_) => 3,
        Err(VerifyError::Broken(_)) => 1,
        Err(_) => 2,
    }
}

/// Verifies the log in `dir` against the pinned `key` and files of checkpoints and
/// receipts kept outside. May run beside a live writer.
pub fn verify(dir: &Path, key: &VerifierKey, anchors: &[PathBuf]) -> Result<Report, VerifyError> {
    // A folder that is not there is a mistake in the question, not a broken log.
    fs::read_dir(dir).map_err(VerifyError::file(dir))?;
    let anchors = Anchors::read(anchors, key)?;
    // The order matters beside a live writer: checkpoint, then tiles, then records.
    let own = own_checkpoint(dir, key)?;
    let mut walk = Walk::new(dir, key.name(), &anchors.sizes(own.as_ref().ok()))?;
    walk.run(&anchors.receipts)?;
    let mut judge = Judge {
        walk,
        anchored: None,
        signed: 0,
        disowned: 0,
    };
    judge.keys_and_heads(key, own, &anchors);
    judge.receipts(&anchors.receipts);
    judge.report(key)
}

/// Everything kept outside.
struct Anchors {
    heads: Vec<SignedHead>,
    receipts: BTreeMap<u64, Vec<Receipt>>,
}

impl Anchors {
    fn read(paths: &[PathBuf], key: &VerifierKey) -> Result<Anchors, VerifyError> {
        let mut anchors = Anchors {
            heads: Vec::new(),
            receipts: BTreeMap::new(),
        };
        for path in paths {
            for anchor in anchor::read(path)? {
                if anchor.origin() != key.name() {
                    return Err(VerifyError::OtherLog {
                        path: path.clone(),
                        found: anchor.origin().to_owned(),
                        origin: key.name().to_owned(),
                    });
                }
                match anchor {
                    Anchor::Checkpoint(signed) => anchors.heads.push(signed),
                    Anchor::Receipt(receipt) => {
                        anchors
                            .receipts
                            .entry(receipt.index)
                            .or_default()
                            .push(receipt);
                    }
                }
            }
        }
        anchors.heads.sort_by_key(|signed| signed.head.size);
        Ok(anchors)
    }

    /// Sizes at which the root or the time is needed.
    fn sizes(&self, own: Option<&SignedHead>) -> Vec<u64> {
        let heads = self.heads.iter().chain(own).map(|signed| signed.head.size);
        let receipts = self.receipts.keys().map(|index| index.saturating_add(1));
        heads.chain(receipts).collect()
    }
}

/// The checkpoint beside the log; the inner error tells why there is none to use.
fn own_checkpoint(
    dir: &Path,
    key: &VerifierKey,
) -> Result<Result<SignedHead, String>, VerifyError> {
    let path = dir.join(CHECKPOINT);
    let note = match fs::read(&path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Err("the checkpoint beside the log is missing".to_owned()));
        }
        Err(error) => return Err(VerifyError::file(&path)(error)),
    };
    Ok(match SignedHead::parse(&note) {
        Err(error) => Err(format!("the checkpoint beside the log is spoilt: {error}")),
        Ok(signed) if signed.head.origin != key.name() => Err(format!(
            "the checkpoint beside the log is of the log `{}`",
            signed.head.origin
        )),
        Ok(signed) => Ok(signed),
    })
}

/// Holds what was read against what was signed.
struct Judge {
    walk: Walk,
    anchored: Option<u64>,
    signed: u64,
    disowned: u64,
}

impl Judge {
    fn keys_and_heads(
        &mut self,
        key: &VerifierKey,
        own: Result<SignedHead, String>,
        anchors: &Anchors,
    ) {
        let chain = match Chain::build(key, &self.walk.rotations) {
            Ok(chain) => chain,
            Err(broken) => {
                self.walk.broken(broken.first_bad_seq, broken.what);
                return;
            }
        };
        for signed in &anchors.heads {
            if self.head(signed, &chain, "a checkpoint kept outside") {
                self.anchored = self.anchored.max(Some(signed.head.size));
            }
        }
        match own {
            Ok(own) => {
                if self.head(&own, &chain, "the checkpoint beside the log") {
                    self.signed = own.head.size;
                }
                // Else a log forged under any key could name the pinned one last.
                if !chain.reaches_pinned(own.head.size) {
                    let what = "nothing is signed by the pinned key or a later one".to_owned();
                    self.walk.broken(self.anchored.unwrap_or(0), what);
                }
            }
            Err(what) => self.walk.broken(self.anchored.unwrap_or(0), what),
        }
    }

    /// Whether a signed head is fulfilled. One that a declared fork gave up counts
    /// for nothing, and is no break.
    fn head(&mut self, signed: &SignedHead, chain: &Chain, whose: &str) -> bool {
        let head = &signed.head;
        let held = self.anchored.unwrap_or(0).min(head.size);
        let root = self.walk.root_at(head.size);
        if root != Some(head.root) && self.walk.gave_up(head.size) {
            if chain.any_signed(&signed.note) {
                self.disowned += 1;
            } else {
                self.walk.broken(
                    held,
                    format!(
                        "{whose}, of size {}, is not signed by a key of this log",
                        head.size
                    ),
                );
            }
            return false;
        }
        if !signed.note.is_signed_by(chain.key_at(head.size)) {
            let what = format!(
                "{whose}, of size {}, is not signed by the key of that time",
                head.size
            );
            self.walk.broken(held, what);
            return false;
        }
        match root {
            Some(root) if root == head.root => true,
            Some(_) => {
                let place = self.walk.first_difference.filter(|at| *at < head.size);
                let what = format!("records differ from {whose}, of size {}", head.size);
                self.walk.broken(place.unwrap_or(held), what);
                false
            }
            None => {
                let what = format!("records are missing: {whose} is of size {}", head.size);
                self.walk.broken(self.walk.size(), what);
                false
            }
        }
    }

    fn receipts(&mut self, receipts: &BTreeMap<u64, Vec<Receipt>>) {
        for (index, receipt) in receipts
            .iter()
            .flat_map(|(i, all)| all.iter().map(move |r| (*i, r)))
        {
            match self.walk.leaf_at(index) {
                Some(leaf) if leaf == receipt.leaf_hash => {
                    // A receipt is not signed; below a signed head it pins the log's
                    // length, above it only its own record.
                    if index < self.signed {
                        self.anchored = self.anchored.max(Some(index + 1));
                    }
                }
                _ if self.walk.gave_up(index.saturating_add(1)) => self.disowned += 1,
                Some(_) => self
                    .walk
                    .broken(index, "it differs from its receipt".to_owned()),
                None => {
                    let what =
                        format!("records are missing: there is a receipt for record {index}");
                    self.walk.broken(self.walk.size(), what);
                }
            }
        }
    }

    fn report(mut self, key: &VerifierKey) -> Result<Report, VerifyError> {
        if let Some(seq) = self.walk.first_difference {
            self.walk
                .broken(seq, "a tile differs from the records".to_owned());
        }
        if let Some(broken) = self.walk.broken.take() {
            return Err(VerifyError::Broken(broken));
        }
        let (walk, held) = (self.walk, self.anchored.unwrap_or(0));
        let unanchored = (held < walk.size()).then(|| walk.time_at(held)).flatten();
        Ok(Report {
            origin: key.name().to_owned(),
            size: walk.size(),
            root: walk.root().to_base64(),
            first_time: walk.first_time.clone(),
            last_time: walk.last_time.clone(),
            signed_to: self.signed,
            anchored_to: self.anchored,
            tail_unanchored_since: unanchored,
            key_changes: walk.rotations.iter().map(chain::Link::told).collect(),
            disowned_anchors: self.disowned,
            torn_bytes: walk.torn_bytes,
            missing_tiles: walk.missing_tiles,
            forks: walk.forks,
        })
    }
}

/// Roots at the sizes that were asked for.
type Roots = BTreeMap<u64, Hash>;

#[cfg(test)]
mod tests;
