//! Reading the records after a checkpoint into the tree.
//!
//! Every line must be the record that its place asks for. Segments before the one
//! that the scan begins in are checked at their ends only.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use super::{Expected, LogOptions, OpenError};
use crate::lifecycle::{self, CheckedRotation, Event};
use crate::medium::Medium;
use crate::record::{Head, MAX_LEAF};
use crate::segment::{self, Lines, Remainder, Segment, Step};
use crate::tile;
use crate::tree::{Tree, leaf_hash};

/// A key change in the records that were read.
pub(super) struct Rotation {
    pub(super) seq: u64,
    pub(super) keys: CheckedRotation,
}

/// The last segment.
pub(super) struct Last {
    pub(super) path: PathBuf,
    /// Bytes of whole records.
    pub(super) used: u64,
    /// Where the records begin in it that came after the checkpoint.
    pub(super) tail: u64,
    pub(super) remainder: Remainder,
}

/// What the records are.
pub(super) struct Found {
    /// The tree over the records; meaningless when `size` is below where it began.
    pub(super) tree: Tree,
    /// Records that are there.
    pub(super) size: u64,
    /// Where reading began.
    pub(super) from: u64,
    pub(super) rotations: Vec<Rotation>,
    /// Size of an expected head whose root is another.
    pub(super) diverged: Option<u64>,
    pub(super) last: Option<Last>,
}

/// A scan from the size of a tree to the end.
pub(super) struct Scan<'o> {
    options: &'o LogOptions,
    medium: &'o dyn Medium,
    expected: &'o [Expected],
    found: Found,
    next: u64,
}

impl<'o> Scan<'o> {
    pub(super) fn new(
        options: &'o LogOptions,
        medium: &'o dyn Medium,
        tree: Tree,
        expected: &'o [Expected],
    ) -> Scan<'o> {
        Scan {
            options,
            medium,
            expected,
            next: 0,
            found: Found {
                from: tree.size(),
                tree,
                size: 0,
                rotations: Vec::new(),
                diverged: None,
                last: None,
            },
        }
    }

    /// Reads to the end. A log shorter than the tree it began with is no error here:
    /// its size says so.
    pub(super) fn run(mut self) -> Result<Found, OpenError> {
        let dir = &self.options.dir;
        let segments = segment::list(dir).map_err(OpenError::file(dir))?;
        if let Some(first) = segments.first().filter(|segment| segment.first > 0) {
            return Err(damaged(
                0,
                format!("the log begins with record {}", first.first),
            ));
        }
        let from = self.found.from;
        let begin = segments
            .partition_point(|segment| segment.first <= from)
            .max(1)
            - 1;
        let (before, rest) = segments.split_at(begin.min(segments.len()));
        for (segment, next) in before.iter().zip(segments.iter().skip(1)) {
            ends_agree(segment, next.first)?;
        }
        self.next = rest.first().map_or(0, |segment| segment.first);
        self.expect();
        for (at, segment) in rest.iter().enumerate() {
            if segment.first != self.next {
                let what = format!("the next segment begins with record {}", segment.first);
                return Err(damaged(self.next.min(segment.first), what));
            }
            self.segment(segment, at + 1 == rest.len())?;
        }
        self.found.size = self.next;
        Ok(self.found)
    }

    fn segment(&mut self, segment: &Segment, is_last: bool) -> Result<(), OpenError> {
        let told = OpenError::file(&segment.path);
        let mut lines = Lines::open(&segment.path).map_err(&told)?;
        let mut tail = 0;
        while lines.step().map_err(&told)? == Step::Line {
            if self.next >= self.found.from {
                self.record(lines.line())?;
            }
            self.next += 1;
            if self.next == self.found.from {
                tail = lines.offset();
            }
        }
        let remainder = lines.remainder().map_err(&told)?;
        if is_last {
            self.found.last = Some(Last {
                path: segment.path.clone(),
                used: lines.offset(),
                tail,
                remainder,
            });
        } else if remainder.total > 0 {
            let what = "a segment that is not the last does not end with a record".to_owned();
            return Err(damaged(self.next, what));
        }
        Ok(())
    }

    fn record(&mut self, line: &[u8]) -> Result<(), OpenError> {
        let seq = self.next;
        let head = Head::parse(line).filter(|head| head.seq == seq);
        let head = head.ok_or_else(|| damaged(seq, "its line is not that record".to_owned()))?;
        if head.kind == "lifecycle"
            && let Some(event @ Event::KeyRotation { .. }) = Event::read(line)
        {
            let keys = lifecycle::check_rotation(&event, &self.options.origin, seq);
            let told = || damaged(seq, "a key change that the old key did not sign".to_owned());
            let keys = keys.ok_or_else(told)?;
            self.found.rotations.push(Rotation { seq, keys });
        }
        let (medium, dir) = (self.medium, &self.options.dir);
        self.found.tree.push(leaf_hash(line), |tile| {
            // A tile that cannot be written now is rebuilt at the next opening.
            let _ = tile::write(medium, dir, tile.level, tile.index, &tile.hashes);
        });
        self.expect();
        Ok(())
    }

    /// Holds the tree against a head of its size.
    fn expect(&mut self) {
        let size = self.found.tree.size();
        if let Some(head) = self.expected.iter().find(|head| head.size == size)
            && head.root != self.found.tree.root()
        {
            self.found.diverged.get_or_insert(size);
        }
    }
}

fn damaged(seq: u64, what: String) -> OpenError {
    OpenError::Damaged { seq, what }
}

/// Checks the first and last record of a segment that is not read in full.
fn ends_agree(segment: &Segment, next: u64) -> Result<(), OpenError> {
    let told = OpenError::file(&segment.path);
    let mut lines = Lines::open(&segment.path).map_err(&told)?;
    let whole = lines.step().map_err(&told)? == Step::Line;
    let seq = whole
        .then(|| Head::parse(lines.line()))
        .flatten()
        .map(|head| head.seq);
    if seq != Some(segment.first) {
        let what = "the segment does not begin with the record of its name".to_owned();
        return Err(damaged(segment.first, what));
    }
    let end = last_line(&segment.path).map_err(&told)?;
    let seq = end.and_then(|line| Some(Head::parse(&line)?.seq));
    if seq.map(|seq| seq + 1) != Some(next) {
        let what = format!(
            "the segment does not end with record {}",
            next.saturating_sub(1)
        );
        return Err(damaged(segment.first, what));
    }
    Ok(())
}

/// The last line of a segment that must end with a newline.
fn last_line(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MAX_LEAF as u64 + 2)))?;
    let mut end = Vec::new();
    file.read_to_end(&mut end)?;
    if end.pop_if(|b| *b == b'\n').is_none() {
        return Ok(None);
    }
    let start = end.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    Ok(Some(end.split_off(start)))
}
