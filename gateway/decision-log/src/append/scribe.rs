//! The second thread: tiles, checkpoints and prepared files, off the commit path.
//!
//! Jobs are done in order, so a checkpoint is signed after the tiles below it were
//! written. A failed sync here poisons the log as well; a full disk does not: tiles
//! are owed and written later, and a checkpoint says that its copy was not saved.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use super::queue::{Reply, Shared};
use super::spares::Which;
use crate::checkpoint::{Checkpoint, TreeHead};
use crate::key::SigningKey;
use crate::medium::{Medium, replace};
use crate::open::{CHECKPOINT, LogOptions};
use crate::tile;
use crate::tree::{FullTile, Hash};

/// Something for the second thread.
pub(super) enum Job {
    /// Write a tile that completed.
    Tile(FullTile),
    /// Sign and put in place a checkpoint.
    Publish(Publish),
    /// Make a file full of zeros.
    Prepare(Which),
    /// End.
    Stop,
}

/// A checkpoint to be made.
pub(super) struct Publish {
    pub(super) head: TreeHead,
    pub(super) edge: Vec<Vec<Hash>>,
    pub(super) key: Arc<SigningKey>,
    pub(super) reply: Option<Reply>,
}

pub(super) struct Scribe {
    shared: Arc<Shared>,
    medium: Arc<dyn Medium>,
    dir: PathBuf,
    /// Tiles that met a full disk.
    owed: Vec<FullTile>,
    /// Partial tiles of the checkpoint in place.
    partials: Vec<PathBuf>,
    _lock: Arc<File>,
}

impl Scribe {
    pub(super) fn new(
        shared: &Arc<Shared>,
        medium: &Arc<dyn Medium>,
        options: &LogOptions,
        partials: Vec<PathBuf>,
        lock: &Arc<File>,
    ) -> Scribe {
        Scribe {
            shared: Arc::clone(shared),
            medium: Arc::clone(medium),
            dir: options.dir.clone(),
            owed: Vec::new(),
            partials,
            _lock: Arc::clone(lock),
        }
    }

    /// Does jobs until it is told to stop.
    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        while let Ok(job) = jobs.recv() {
            match job {
                Job::Tile(tile) => self.tile(tile),
                Job::Prepare(which) => self.prepare(which),
                Job::Publish(publish) => self.publish(publish),
                Job::Stop => return,
            }
        }
    }

    fn prepare(&self, which: Which) {
        if self.shared.poisoned().is_some() {
            return;
        }
        if let Err(failure) = self.shared.spares.prepare(self.medium.as_ref(), which) {
            self.shared
                .poison_if_spoilt("preparing a segment", &failure);
        }
    }

    fn tile(&mut self, tile: FullTile) {
        if self.write(tile.level, tile.index, &tile.hashes).is_none() {
            self.owed.push(tile);
        }
    }

    fn write(&self, level: u32, index: u64, tile: &[Hash]) -> Option<PathBuf> {
        // A tile that is not written is rebuilt when the log is opened.
        tile::write(self.medium.as_ref(), &self.dir, level, index, tile).ok()
    }

    fn publish(&mut self, publish: Publish) {
        let result = match self.shared.usable() {
            Ok(()) => Ok(self.sign(&publish)),
            Err(error) => Err(error),
        };
        // A sync that failed just now must not be followed by an Ok.
        let result = self.shared.usable().and(result);
        if let Some(reply) = publish.reply {
            // Nobody listens any more: the checkpoint is in place all the same.
            let _ = reply.send(result.map_err(Into::into));
        }
    }

    fn sign(&mut self, publish: &Publish) -> Checkpoint {
        for tile in std::mem::take(&mut self.owed) {
            self.tile(tile);
        }
        let mut partials = Vec::new();
        let mut index = publish.head.size;
        for (level, tile) in (0_u32..).zip(&publish.edge) {
            index /= crate::tree::TILE_WIDTH as u64;
            if !tile.is_empty() {
                partials.extend(self.write(level, index, tile));
            }
        }
        let note = publish.key.sign_note(&publish.head.text());
        let path = self.dir.join(CHECKPOINT);
        let saved = replace(self.medium.as_ref(), &path, note.as_bytes());
        let unsaved = saved.err().map(|failure| {
            self.shared
                .poison_if_spoilt("saving a checkpoint", &failure);
            failure.to_string()
        });
        if unsaved.is_none() {
            self.forget_partials(partials);
        } else {
            self.partials.extend(partials);
        }
        let checkpoint = Checkpoint {
            head: publish.head.clone(),
            note,
            unsaved,
        };
        self.shared.published(checkpoint.clone());
        checkpoint
    }

    /// Removes the partial tiles of the checkpoint before.
    fn forget_partials(&mut self, now: Vec<PathBuf>) {
        for old in std::mem::replace(&mut self.partials, now) {
            if !self.partials.contains(&old) {
                // A stale tile left over is harmless: it is right for its width.
                let _ = self.medium.remove(&old);
            }
        }
    }
}
