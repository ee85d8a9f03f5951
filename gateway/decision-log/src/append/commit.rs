//! The log thread: one write and one sync for everything that waited, then the
//! callbacks.
//!
//! It alone gives sequence numbers. It never lingers for a fuller batch and never
//! extends a file: whatever came while the last batch was being synced is the next
//! batch, and rotation renames a file that was prepared before.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, channel};
use std::time::Duration;

use jiff::Timestamp;

use super::queue::{Command, Done, Pending, Reply, Shared, tell};
use super::scribe::{Job, Publish};
use super::spares::Prepared;
use super::{AppendError, LogError};
use crate::checkpoint::TreeHead;
use crate::key::SigningKey;
use crate::lifecycle::Event;
use crate::medium::{Medium, MediumFile, write_all};
use crate::open::Clock;
use crate::record::{Priority, Receipt};
use crate::segment::{self, SEGMENTS};
use crate::tree::{Hash, Tree, leaf_hash};

/// The segment in use.
pub(crate) struct Current {
    /// Open for writing.
    pub(crate) file: Box<dyn MediumFile>,
    /// Bytes of records in it.
    pub(crate) used: u64,
    /// Bytes that it has room for.
    pub(crate) room: u64,
}

/// State of the log thread.
pub(super) struct Committer {
    pub(super) shared: Arc<Shared>,
    pub(super) medium: Arc<dyn Medium>,
    pub(super) dir: PathBuf,
    pub(super) origin: Arc<str>,
    pub(super) clock: Clock,
    pub(super) every: Duration,
    pub(super) every_records: u64,
    pub(super) retry: Duration,
    pub(super) published: u64,
    pub(super) published_at: Timestamp,
    pub(super) retried_at: Timestamp,
    pub(super) tree: Tree,
    pub(super) segment: Current,
    pub(super) key: Arc<SigningKey>,
    pub(super) jobs: SyncSender<Job>,
    pub(super) _lock: Arc<File>,
}

/// Lines written together, and who waits for them.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    waiting: Vec<(Done, Hash)>,
}

impl Committer {
    /// Works until the log is closed.
    pub(super) fn run(mut self) {
        self.prepare();
        loop {
            let longest = self.retry.min(self.every);
            let work = self.shared.next(longest);
            self.commit(work.entries);
            for command in work.commands {
                self.obey(command);
            }
            self.keep_time();
            if let Some(reply) = work.closing {
                self.finish(reply);
                return;
            }
        }
    }

    /// Writes the records, in order, in as few syncs as segments allow.
    fn commit(&mut self, entries: Vec<Pending>) {
        if entries.is_empty() {
            return;
        }
        let time = format!("{:.3}", (self.clock)());
        let mut batch = Batch::default();
        for pending in entries {
            let start = batch.bytes.len();
            let seq = self.tree.size() + batch.waiting.len() as u64;
            pending.entry.write_leaf(seq, &time, &mut batch.bytes);
            let leaf = leaf_hash(batch.bytes.get(start..).unwrap_or_default());
            batch.bytes.push(b'\n');
            let refused = self.make_room(&mut batch, start, pending.priority).err();
            match refused {
                None => batch.waiting.push((pending.done, leaf)),
                Some(error) => {
                    batch.bytes.truncate(start);
                    pending.refuse(error);
                }
            }
        }
        self.flush(&mut batch);
    }

    /// Makes sure that the line just added fits: else what stands before it goes
    /// out first and the next segment begins with it.
    fn make_room(
        &mut self,
        batch: &mut Batch,
        start: usize,
        priority: Priority,
    ) -> Result<(), AppendError> {
        self.shared.usable()?;
        let normal = priority == Priority::Normal;
        if normal && self.shared.spares.short() {
            return Err(AppendError::LowSpace);
        }
        if self.segment.used + batch.bytes.len() as u64 <= self.segment.room {
            return Ok(());
        }
        let line = batch.bytes.split_off(start);
        self.flush(batch);
        self.shared.usable()?;
        let shared = Arc::clone(&self.shared);
        let spare = shared.spares.take_next(|| shared.poisoned().is_some());
        let spare = match (spare, normal) {
            (None, true) => return Err(AppendError::LowSpace),
            (None, false) => shared.spares.take_reserve().ok_or(AppendError::Full)?,
            (Some(spare), _) => spare,
        };
        if let Err(error) = self.rotate(spare) {
            self.shared.poison(&format!("beginning a segment: {error}"));
        }
        self.shared.usable()?;
        self.prepare();
        batch.bytes = line;
        Ok(())
    }

    /// Seals the segment in use and gives the prepared file its name. The name is
    /// durable before a record is written under it.
    fn rotate(&mut self, spare: Prepared) -> std::io::Result<()> {
        self.segment.file.set_len(self.segment.used)?;
        self.segment.file.sync()?;
        let path = segment::path(&self.dir, self.tree.size());
        self.medium.rename(&spare.path, &path)?;
        self.medium.sync_dir(&self.dir.join(SEGMENTS))?;
        self.segment = Current {
            file: spare.file,
            used: 0,
            room: spare.bytes,
        };
        Ok(())
    }

    /// One write, one sync, then the callbacks.
    fn flush(&mut self, batch: &mut Batch) {
        let batch = std::mem::take(batch);
        if batch.waiting.is_empty() {
            return;
        }
        let file = self.segment.file.as_ref();
        let written = write_all(file, &batch.bytes, self.segment.used).and_then(|()| file.sync());
        if let Err(error) = written {
            // Never a second try: after a failed sync the next one returns Ok.
            self.shared.poison(&format!("writing records: {error}"));
        }
        if let Err(error) = self.shared.usable() {
            for (done, _) in batch.waiting {
                tell(done, Err(error.clone()));
            }
            return;
        }
        self.segment.used += batch.bytes.len() as u64;
        let first = self.tree.size();
        let mut tiles = Vec::new();
        for (_, leaf) in &batch.waiting {
            self.tree.push(*leaf, |tile| tiles.push(tile));
        }
        self.shared.grown(self.tree.size());
        for (index, (done, leaf_hash)) in (first..).zip(batch.waiting) {
            let origin = Arc::clone(&self.origin);
            let receipt = Receipt {
                origin,
                index,
                leaf_hash,
            };
            tell(done, Ok(receipt));
        }
        for tile in tiles {
            self.send(Job::Tile(tile));
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Checkpoint(reply) => self.publish(Some(reply)),
            Command::Rotate(new, reply) => match self.rotate_key(*new) {
                Ok(()) => self.publish(Some(reply)),
                Err(error) => drop(reply.send(Err(error))),
            },
        }
    }

    /// Writes the change, signed by the old key; the new one signs from then on.
    fn rotate_key(&mut self, new: SigningKey) -> Result<(), LogError> {
        if new.name() != &*self.origin {
            return Err(LogError::KeyName(new.name().to_owned()));
        }
        let seq = self.tree.size();
        let event = Event::rotation(&self.key, &new, seq);
        let Ok(entry) = event.entry(&self.origin, seq) else {
            return Err(AppendError::Closed.into());
        };
        let (told, answer) = channel();
        self.commit(vec![Pending {
            entry,
            priority: Priority::Restore,
            done: Box::new(move |result| drop(told.send(result))),
        }]);
        // The callback ran on this thread, so the answer is there.
        answer.recv().unwrap_or(Err(AppendError::Closed))?;
        self.key = Arc::new(new);
        Ok(())
    }

    /// Hands a checkpoint over everything durable to the other thread.
    fn publish(&mut self, reply: Option<Reply>) {
        self.published = self.tree.size();
        self.published_at = (self.clock)();
        self.send(Job::Publish(Publish {
            head: TreeHead {
                origin: self.origin.to_string(),
                size: self.tree.size(),
                root: self.tree.root(),
            },
            edge: self.tree.edge().to_vec(),
            key: Arc::clone(&self.key),
            reply,
        }));
    }

    /// A checkpoint when one is due; another try for space when it is short.
    fn keep_time(&mut self) {
        let now = (self.clock)();
        let fresh = self.tree.size() - self.published;
        let passed = |since: Timestamp, span: Duration| {
            // A clock that stepped back makes it due as well.
            Duration::try_from(now.duration_since(since)).map_or(true, |age| age >= span)
        };
        if fresh >= self.every_records || fresh > 0 && passed(self.published_at, self.every) {
            self.publish(None);
        }
        if self.shared.spares.short() && passed(self.retried_at, self.retry) {
            self.retried_at = now;
            self.prepare();
        }
    }

    fn prepare(&self) {
        for which in self.shared.spares.want() {
            self.send(Job::Prepare(which));
        }
    }

    fn send(&self, job: Job) {
        if self.jobs.send(job).is_err() {
            self.shared
                .poison("the thread for tiles and checkpoints has ended");
        }
    }

    /// Cuts the room off the segment in use, so that a closed log is plain JSON
    /// lines, and signs the last checkpoint. On a full disk the room is kept: it
    /// could not be had again.
    fn finish(mut self, reply: Reply) {
        if self.shared.usable().is_ok() && !self.shared.spares.short() {
            let file = self.segment.file.as_ref();
            if let Err(error) = file.set_len(self.segment.used).and_then(|()| file.sync()) {
                self.shared.poison(&format!("closing the segment: {error}"));
            }
        }
        self.publish(Some(reply));
        self.send(Job::Stop);
        self.shared.refuse_queued();
    }
}
