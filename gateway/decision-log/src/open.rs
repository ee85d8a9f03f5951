//! Opening a log: what is there is checked before anything is added to it.
//!
//! The tree is resumed from the tiles of the newest checkpoint, whose signature and
//! root must hold, and only the records after it are hashed again; tiles that are
//! missing or wrong are rebuilt from the segments. A log that is shorter than, or
//! differs from, its newest known checkpoint is refused until a fork is declared.
//! Checking every record is the verifier's work.

mod error;
mod known;
mod options;
mod repair;
mod scan;

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::append::{Current, EMERGENCY, SPARE};
use crate::blob::BLOBS;
use crate::checkpoint::TreeHead;
use crate::key::SigningKey;
use crate::lifecycle::{self, Event};
use crate::medium::{Failure, Medium, zeroed};
use crate::segment::{self, SEGMENTS};
use crate::tile::{self, TILES};
use crate::tree::{Hash, TILE_WIDTH, Tree};

pub use error::OpenError;
use known::Known;
pub(crate) use options::Clock;
pub use options::LogOptions;
use scan::{Found, Scan};

/// File of the newest checkpoint.
pub(crate) const CHECKPOINT: &str = "checkpoint";
/// File that the one writer holds locked.
const LOCK: &str = "lock";
/// What opening found and did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Opened {
    /// Records in the log, those included that opening wrote.
    pub size: u64,
    /// Records after the newest checkpoint.
    pub tail: u64,
    /// Bytes of a torn tail that were cut off; none of it was acknowledged.
    pub cut_bytes: u64,
    /// Whether the tiles were rebuilt from the segments.
    pub rebuilt: bool,
    /// Size that a declared fork gave up, if one was recorded; 0 when no checkpoint
    /// was left to tell it.
    pub forked_from: Option<u64>,
}

impl Opened {
    /// What opening found, as members of a lifecycle record.
    pub fn note(&self) -> serde_json::Value {
        serde_json::json!({
            "size": self.size,
            "tail": self.tail,
            "cut_bytes": self.cut_bytes,
            "rebuilt": self.rebuilt,
            "forked_from": self.forked_from,
        })
    }
}

/// A log that was checked and may be written.
pub(crate) struct Recovered {
    pub(crate) tree: Tree,
    pub(crate) segment: Current,
    /// Size of the checkpoint in place.
    pub(crate) published: u64,
    /// Partial tiles in place.
    pub(crate) partials: Vec<PathBuf>,
    /// Whether the log has just begun.
    pub(crate) fresh: bool,
    /// What the log must write about itself first.
    pub(crate) events: Vec<Event>,
    pub(crate) opened: Opened,
    pub(crate) lock: File,
}

/// Checks the log and makes it ready to be written.
pub(crate) fn recover(
    options: &LogOptions,
    key: &SigningKey,
    medium: &dyn Medium,
) -> Result<Recovered, OpenError> {
    options.check(key)?;
    let lock = claim(&options.dir, medium)?;
    let mut known = known::read(options, key)?;
    let (mut found, mut rebuilt) = resume(options, medium, &known)?;
    known.judge_signer(key, &found.rotations)?;
    let mut events = Vec::new();
    let mut forked_from = None;
    if let Some(conflict) = known.conflict(&options.dir, &found) {
        let Some(reason) = &options.declare_fork else {
            return Err(conflict);
        };
        repair::forget_tiles(&options.dir, medium)?;
        found = Scan::new(options, medium, Tree::new(), &[]).run()?;
        rebuilt = true;
        let now = head(options, &found.tree);
        events.push(lifecycle::fork(reason, known.newest(), &now));
        forked_from = Some(known.newest().map_or(0, |head| head.size));
    }
    let fresh = found.last.is_none();
    let published = known.checkpoint_size().min(found.size);
    let cut = repair::settle(options, medium, &found)?;
    events.extend(cut.event);
    Ok(Recovered {
        opened: Opened {
            size: found.size,
            tail: found.size - published,
            cut_bytes: cut.bytes,
            rebuilt,
            forked_from,
        },
        segment: segment_in_use(options, medium, &found)?,
        published,
        partials: partials(&options.dir)?,
        fresh: fresh || known.is_new(),
        tree: found.tree,
        events,
        lock,
    })
}

fn head(options: &LogOptions, tree: &Tree) -> TreeHead {
    TreeHead {
        origin: options.origin.clone(),
        size: tree.size(),
        root: tree.root(),
    }
}

/// Makes the directories and locks the log against a second writer.
fn claim(dir: &Path, medium: &dyn Medium) -> Result<File, OpenError> {
    for part in [SEGMENTS, TILES, BLOBS, SPARE, EMERGENCY] {
        let path = dir.join(part);
        medium.create_dir(&path).map_err(OpenError::file(&path))?;
    }
    medium.sync_dir(dir).map_err(OpenError::file(dir))?;
    let path = dir.join(LOCK);
    let lock = File::create(&path).map_err(OpenError::file(&path))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked(dir.to_owned())),
        Err(TryLockError::Error(error)) => Err(OpenError::file(&path)(error)),
    }
}

/// Hashes the records after the checkpoint, or all when its tiles do not hold.
fn resume(
    options: &LogOptions,
    medium: &dyn Medium,
    known: &Known,
) -> Result<(Found, bool), OpenError> {
    if let Some(head) = known.checkpoint() {
        let tree = tile::load_edge(&options.dir, head.size);
        let tree = tree.filter(|tree| tree.root() == head.root);
        if let Some(tree) = tree.filter(|tree| repair::tiles_hold(&options.dir, tree)) {
            let found = Scan::new(options, medium, tree, known.expected()).run()?;
            return Ok((found, false));
        }
    }
    let found = Scan::new(options, medium, Tree::new(), known.expected()).run()?;
    let rebuilt = found.size > 0;
    Ok((found, rebuilt))
}

/// The last segment open for writing, or the first one newly made.
fn segment_in_use(
    options: &LogOptions,
    medium: &dyn Medium,
    found: &Found,
) -> Result<Current, OpenError> {
    if let Some(last) = &found.last {
        let file = medium
            .open(&last.path)
            .map_err(OpenError::file(&last.path))?;
        return Ok(Current {
            file,
            used: last.used,
            room: last.used + last.remainder.total,
        });
    }
    let path = segment::path(&options.dir, 0);
    let temporary = options.dir.join(SPARE).join("first");
    let file = zeroed(medium, &temporary, options.segment_bytes).map_err(Failure::error);
    let file = file.map_err(OpenError::file(&temporary))?;
    medium
        .rename(&temporary, &path)
        .map_err(OpenError::file(&path))?;
    let dir = options.dir.join(SEGMENTS);
    medium.sync_dir(&dir).map_err(OpenError::file(&dir))?;
    Ok(Current {
        file,
        used: 0,
        room: options.segment_bytes,
    })
}

fn partials(dir: &Path) -> Result<Vec<PathBuf>, OpenError> {
    let tiles = tile::list(dir).map_err(OpenError::file(&dir.join(TILES)))?;
    let partial = tiles
        .into_iter()
        .filter(|(_, _, width)| *width < TILE_WIDTH);
    Ok(partial
        .map(|(l, i, w)| dir.join(tile::path(l, i, w)))
        .collect())
}

/// A hash as a stored head or receipt names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    /// Size of the tree.
    pub(crate) size: u64,
    /// Root at that size.
    pub(crate) root: Hash,
}
