//! Reading every record once: hashing it, and holding it against the tiles.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::chain::Link;
use super::{Broken, Fork, Roots, VerifyError};
use crate::blob::{self, Digest};
use crate::lifecycle::{self, Event};
use crate::record::{Head, Receipt};
use crate::segment::{self, Lines, Segment, Step};
use crate::tile::{self, TILES};
use crate::tree::{Hash, TILE_WIDTH, Tree, leaf_hash};

/// How a record begins to name an input that stands beside the log.
const BESIDE: &str = "\"input\":{\"blob\":\"sha256:";

/// What the records are, and where they first go wrong.
pub(super) struct Walk {
    dir: PathBuf,
    origin: String,
    tree: Tree,
    /// Sizes at which the root and the time of the next record are kept, ascending.
    wanted: Vec<u64>,
    roots: Roots,
    times: BTreeMap<u64, String>,
    leaves: BTreeMap<u64, Hash>,
    tiles: BTreeMap<(u32, u64), Vec<usize>>,
    pub(super) rotations: Vec<Link>,
    pub(super) forks: Vec<Fork>,
    pub(super) first_time: Option<String>,
    pub(super) last_time: Option<String>,
    pub(super) torn_bytes: u64,
    pub(super) missing_tiles: u64,
    /// First record over which a tile and the records differ.
    pub(super) first_difference: Option<u64>,
    pub(super) broken: Option<Broken>,
}

impl Walk {
    pub(super) fn new(dir: &Path, origin: &str, sizes: &[u64]) -> Result<Walk, VerifyError> {
        let wanted: BTreeSet<u64> = sizes.iter().copied().chain([0]).collect();
        let listed = tile::list(dir).map_err(VerifyError::file(&dir.join(TILES)))?;
        let mut tiles: BTreeMap<(u32, u64), Vec<usize>> = BTreeMap::new();
        for (level, index, width) in listed {
            tiles.entry((level, index)).or_default().push(width);
        }
        Ok(Walk {
            dir: dir.to_owned(),
            origin: origin.to_owned(),
            tree: Tree::new(),
            // Taken from the end as they are reached.
            wanted: wanted.into_iter().rev().collect(),
            roots: Roots::new(),
            times: BTreeMap::new(),
            leaves: BTreeMap::new(),
            tiles,
            rotations: Vec::new(),
            forks: Vec::new(),
            first_time: None,
            last_time: None,
            torn_bytes: 0,
            missing_tiles: 0,
            first_difference: None,
            broken: None,
        })
    }

    /// Reads all records, up to the first that is not what its place asks for.
    pub(super) fn run(
        &mut self,
        receipts: &BTreeMap<u64, Vec<Receipt>>,
    ) -> Result<(), VerifyError> {
        let segments = segment::list(&self.dir).map_err(VerifyError::file(&self.dir))?;
        for (at, segment) in segments.iter().enumerate() {
            if segment.first != self.tree.size() {
                let what = format!("a segment begins with record {}", segment.first);
                self.broken(self.tree.size().min(segment.first), what);
                break;
            }
            if !self.segment(segment, at + 1 == segments.len(), receipts)? {
                break;
            }
        }
        self.reached(None);
        let edge = self.tree.edge().to_vec();
        let mut index = self.tree.size();
        for (level, tile) in (0_u32..).zip(&edge) {
            index /= TILE_WIDTH as u64;
            self.compare(level, index, tile);
        }
        self.stray_tiles();
        Ok(())
    }

    /// Reads one segment; false when reading must end in it.
    fn segment(
        &mut self,
        segment: &Segment,
        is_last: bool,
        receipts: &BTreeMap<u64, Vec<Receipt>>,
    ) -> Result<bool, VerifyError> {
        let told = VerifyError::file(&segment.path);
        let mut lines = Lines::open(&segment.path).map_err(&told)?;
        while lines.step().map_err(&told)? == Step::Line {
            if let Err(what) = self.record(lines.line(), receipts) {
                self.broken(self.tree.size(), what);
                return Ok(false);
            }
        }
        let rest = lines.remainder().map_err(&told)?;
        if is_last {
            self.torn_bytes = rest.used;
        } else if rest.total > 0 {
            let what = "a segment that is not the last does not end with a record".to_owned();
            self.broken(self.tree.size(), what);
            return Ok(false);
        }
        Ok(true)
    }

    fn record(
        &mut self,
        line: &[u8],
        receipts: &BTreeMap<u64, Vec<Receipt>>,
    ) -> Result<(), String> {
        let seq = self.tree.size();
        let text = std::str::from_utf8(line).map_err(|_| "its line is not UTF-8".to_owned())?;
        let head = Head::parse(line).ok_or("its line is not a record")?;
        if head.seq != seq {
            return Err(format!("in its place stands record {}", head.seq));
        }
        self.reached(Some(head.time));
        if head.kind == "lifecycle" {
            self.event(seq, line)?;
        }
        if text.contains(BESIDE) {
            self.beside(seq, line);
        }
        if self.first_time.is_none() {
            self.first_time = Some(head.time.to_owned());
        }
        // The last time is needed once, at the end, but copied for each record.
        let last = self.last_time.get_or_insert_default();
        last.clear();
        last.push_str(head.time);
        let leaf = leaf_hash(line);
        if receipts.contains_key(&seq) {
            self.leaves.insert(seq, leaf);
        }
        let mut full = Vec::new();
        self.tree.push(leaf, |tile| full.push(tile));
        for tile in full {
            self.compare(tile.level, tile.index, &tile.hashes);
        }
        Ok(())
    }

    /// Keeps root and time at the sizes asked for.
    fn reached(&mut self, time: Option<&str>) {
        let size = self.tree.size();
        if self.wanted.last() != Some(&size) {
            return;
        }
        self.wanted.pop();
        self.roots.insert(size, self.tree.root());
        self.times.extend(time.map(|time| (size, time.to_owned())));
    }

    fn event(&mut self, seq: u64, line: &[u8]) -> Result<(), String> {
        match Event::read(line) {
            Some(event @ Event::KeyRotation { .. }) => {
                let keys = lifecycle::check_rotation(&event, &self.origin, seq);
                let keys = keys.ok_or("a key change that the old key did not sign")?;
                self.rotations.push(Link { seq, keys });
            }
            Some(Event::Fork {
                reason,
                old_size,
                old_root,
                size,
                root,
            }) => {
                if size != seq || root != self.tree.root().to_base64() {
                    return Err("a fork record of another place".to_owned());
                }
                self.forks.push(Fork {
                    seq,
                    old_size,
                    old_root,
                    reason,
                });
            }
            Some(Event::TailCut { .. }) | None => {}
        }
        Ok(())
    }

    /// Checks that an input beside the log is there and is what its name says.
    fn beside(&mut self, seq: u64, line: &[u8]) {
        #[derive(Deserialize)]
        struct Line<'l> {
            #[serde(borrow)]
            input: Option<Beside<'l>>,
        }
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Beside<'l> {
            blob: &'l str,
            #[serde(rename = "bytes")]
            _bytes: IgnoredAny,
        }
        // The text may also stand deeper, in a body that a caller sent: that is not
        // a reference of ours, and parses as no such line.
        let input = serde_json::from_slice::<Line<'_>>(line)
            .ok()
            .and_then(|line| line.input);
        let digest = input.and_then(|input| Digest::parse(input.blob));
        if let Some(digest) = digest
            && blob::read(&self.dir, &digest).is_err()
        {
            self.broken(
                seq,
                format!("its input `{digest}` beside the log is missing or changed"),
            );
        }
    }

    /// Holds the hashes of a tile against every file that tells them.
    fn compare(&mut self, level: u32, index: u64, hashes: &[Hash]) {
        let widths = self.tiles.get(&(level, index)).cloned().unwrap_or_default();
        if hashes.len() == TILE_WIDTH && !widths.contains(&TILE_WIDTH) {
            self.missing_tiles += 1;
        }
        for width in widths {
            let path = self.dir.join(tile::path(level, index, width));
            let read = std::fs::read(path)
                .ok()
                .filter(|bytes| bytes.len() == width * 32);
            let Some(told) = read.as_deref().and_then(tile::hashes) else {
                self.missing_tiles += 1;
                continue;
            };
            let differ = told
                .iter()
                .zip(hashes)
                .position(|(told, hash)| told != hash);
            if let Some(entry) = differ {
                let place = first_leaf(level, index, entry as u64);
                self.first_difference = Some(self.first_difference.map_or(place, |at| {
                    // Only the lowest level tells the very record.
                    if level == 0 { at.min(place) } else { at }
                }));
            }
        }
    }

    /// A tile is written after its records are durable: one beyond the end means
    /// that records are gone.
    fn stray_tiles(&mut self) {
        let size = self.tree.size();
        let beyond = self.tiles.iter().any(|((level, index), widths)| {
            widths
                .iter()
                .any(|width| first_leaf(*level, *index, *width as u64) > size)
        });
        if beyond {
            self.broken(size, "records are missing: a tile covers more".to_owned());
        }
    }

    /// Notes a break; the first record that is wrong is what counts.
    pub(super) fn broken(&mut self, first_bad_seq: u64, what: String) {
        if self
            .broken
            .as_ref()
            .is_none_or(|old| first_bad_seq < old.first_bad_seq)
        {
            self.broken = Some(Broken {
                first_bad_seq,
                what,
            });
        }
    }

    pub(super) fn size(&self) -> u64 {
        self.tree.size()
    }

    pub(super) fn root(&self) -> Hash {
        self.tree.root()
    }

    pub(super) fn root_at(&self, size: u64) -> Option<Hash> {
        self.roots.get(&size).copied()
    }

    pub(super) fn time_at(&self, seq: u64) -> Option<String> {
        self.times.get(&seq).cloned()
    }

    pub(super) fn leaf_at(&self, seq: u64) -> Option<Hash> {
        self.leaves.get(&seq).copied()
    }

    /// Whether a declared fork gave up the log of this size.
    pub(super) fn gave_up(&self, size: u64) -> bool {
        let covers = |fork: &Fork| fork.seq < size && fork.old_size.is_some_and(|old| size <= old);
        self.forks.iter().any(covers)
    }
}

/// First leaf under an entry of a tile; names from a directory may be any number.
fn first_leaf(level: u32, index: u64, entry: u64) -> u64 {
    let entry = index
        .saturating_mul(TILE_WIDTH as u64)
        .saturating_add(entry);
    (0..level).fold(entry, |first, _| first.saturating_mul(TILE_WIDTH as u64))
}
