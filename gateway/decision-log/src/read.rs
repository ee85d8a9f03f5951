//! Reading a log, also while it is written: from a place on, its end, by id.
//!
//! Reading never waits and never writes. A line that is still being written is not
//! there yet; the next step sees it. What is read is not verified here.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::thread::{self, ScopedJoinHandle};

use crate::checkpoint::SignedHead;
use crate::open::CHECKPOINT;
use crate::record::Head;
use crate::segment::{self, Lines, Segment, Step};

/// Why a record cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A file could not be read.
    #[error("decision log `{path}`: {error}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A line is not the record that its place asks for.
    #[error("the log is damaged at record {0}; hint: `vaultgate log verify` tells more")]
    Damaged(u64),
}

fn file(path: &Path) -> impl Fn(io::Error) -> ReadError + use<> {
    let path = path.to_owned();
    move |error| ReadError::File {
        path: path.clone(),
        error,
    }
}

/// Records that one step of a follower gives at most.
const STEP: usize = 1024;

/// One record as it stands in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its place.
    pub seq: u64,
    /// The bytes of its line without the newline: the leaf.
    pub leaf: Vec<u8>,
}

impl Line {
    /// The head of the record.
    pub fn head(&self) -> Option<Head<'_>> {
        Head::parse(&self.leaf)
    }
}

/// Reads from a place on, step by step, as far as the log goes now. The caller
/// decides when to look again: `log tail -f` is a loop around [`Follow::step`].
pub struct Follow {
    dir: PathBuf,
    from: u64,
    at: u64,
    open: Option<(PathBuf, Lines)>,
}

impl Follow {
    /// Follows the log in `dir` from record `from`; a log that is not there yet, or
    /// not that long yet, is waited for.
    pub fn from(dir: &Path, from: u64) -> Result<Follow, ReadError> {
        let mut follow = Follow {
            dir: dir.to_owned(),
            from,
            at: 0,
            open: None,
        };
        follow.begin()?;
        Ok(follow)
    }

    /// The records that came since the last step, up to some; none when there are
    /// none yet.
    pub fn step(&mut self) -> Result<Vec<Line>, ReadError> {
        let mut lines = Vec::new();
        while lines.len() < STEP {
            match self.next_line()? {
                Some(line) => lines.push(line),
                None => break,
            }
        }
        Ok(lines)
    }

    fn next_line(&mut self) -> Result<Option<Line>, ReadError> {
        loop {
            let Some((path, lines)) = &mut self.open else {
                if !self.begin()? {
                    return Ok(None);
                }
                continue;
            };
            let told = file(path);
            if lines.step().map_err(&told)? == Step::Line {
                let seq = self.at;
                let head = Head::parse(lines.line());
                if head.is_none_or(|head| head.seq != seq) {
                    return Err(ReadError::Damaged(seq));
                }
                self.at += 1;
                if seq >= self.from {
                    let leaf = lines.line().to_vec();
                    return Ok(Some(Line { seq, leaf }));
                }
                continue;
            }
            lines.retry().map_err(&told)?;
            // A segment of that name means that this one will get no more lines.
            let next = segment::path(&self.dir, self.at);
            if next == *path || !next.exists() {
                return Ok(None);
            }
            let lines = Lines::open(&next).map_err(file(&next))?;
            self.open = Some((next, lines));
        }
    }

    /// Opens the segment that holds the first record wanted.
    fn begin(&mut self) -> Result<bool, ReadError> {
        let segments = segment::list(&self.dir).map_err(file(&self.dir))?;
        let before = segments.partition_point(|segment| segment.first <= self.from);
        let Some(segment) = segments.get(before.max(1) - 1) else {
            return Ok(false);
        };
        if segment.first > self.from {
            return Err(ReadError::Damaged(self.from));
        }
        let lines = Lines::open(&segment.path).map_err(file(&segment.path))?;
        self.at = segment.first;
        self.open = Some((segment.path.clone(), lines));
        Ok(true)
    }
}

/// The records from a place on, as far as the log goes now.
pub struct Records {
    follow: Follow,
    ended: bool,
}

impl Records {
    /// Records of the log in `dir` from `from` on.
    pub fn open(dir: &Path, from: u64) -> Result<Records, ReadError> {
        Ok(Records {
            follow: Follow::from(dir, from)?,
            ended: false,
        })
    }
}

impl Iterator for Records {
    type Item = Result<Line, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let line = self.follow.next_line().transpose();
        self.ended = !matches!(line, Some(Ok(_)));
        line
    }
}

/// The newest record with this id. Looks backwards, segment by segment: what is
/// asked for is mostly recent.
pub fn find(dir: &Path, id: &str) -> Result<Option<Line>, ReadError> {
    let segments = segment::list(dir).map_err(file(dir))?;
    for segment in segments.iter().rev() {
        let told = file(&segment.path);
        let mut lines = Lines::open(&segment.path).map_err(&told)?;
        let mut newest = None;
        while lines.step().map_err(&told)? == Step::Line {
            let head = Head::parse(lines.line()).filter(|head| head.id == id);
            if let Some(seq) = head.map(|head| head.seq) {
                let leaf = lines.line().to_vec();
                newest = Some(Line { seq, leaf });
            }
        }
        if newest.is_some() {
            return Ok(newest);
        }
    }
    Ok(None)
}

/// Which of these ids have a record. One pass for all of them, from the newest
/// segments on, several at once; those that hold only what is older than `since`, a
/// time as heads have it, are not read.
///
/// Stricter than [`find`]: an id is not "without a record" because a line could not
/// be read.
pub fn recorded(
    dir: &Path,
    ids: &HashSet<String>,
    since: &str,
) -> Result<HashSet<String>, ReadError> {
    let segments = segment::list(dir).map_err(file(dir))?;
    let mut parts: Vec<_> = segments.iter().map(|part| (part, None)).collect();
    for (part, next) in parts.iter_mut().zip(segments.iter().skip(1)) {
        part.1 = Some(next.first);
    }
    let mut found = HashSet::new();
    let at_once = thread::available_parallelism().map_or(1, NonZero::get);
    for wave in parts.rchunks(at_once) {
        let mut reaches_back = false;
        for scanned in scan_all(wave, ids)? {
            found.extend(scanned.ids);
            reaches_back |= scanned.begins.is_some_and(|time| time.as_str() < since);
        }
        if reaches_back || found.len() == ids.len() {
            break;
        }
    }
    Ok(found)
}

/// A segment, and with what record the next one begins.
type Part<'s> = (&'s Segment, Option<u64>);

/// What one segment has of the ids that are looked for.
struct Scanned {
    ids: Vec<String>,
    /// Time of its first record.
    begins: Option<String>,
}

fn scan_all(wave: &[Part<'_>], ids: &HashSet<String>) -> Result<Vec<Scanned>, ReadError> {
    thread::scope(|scope| {
        let mut running = Vec::new();
        for &(segment, next) in wave {
            let thread = thread::Builder::new()
                .spawn_scoped(scope, move || scan(segment, next, ids))
                .map_err(file(&segment.path))?;
            running.push(thread);
        }
        let ended = running.into_iter().map(ScopedJoinHandle::join);
        ended
            .map(|ended| ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

fn scan(segment: &Segment, next: Option<u64>, ids: &HashSet<String>) -> Result<Scanned, ReadError> {
    let told = file(&segment.path);
    let mut lines = Lines::open(&segment.path).map_err(&told)?;
    let mut scanned = Scanned {
        ids: Vec::new(),
        begins: None,
    };
    let mut seq = segment.first;
    while lines.step().map_err(&told)? == Step::Line {
        let head = Head::parse(lines.line()).filter(|head| head.seq == seq);
        let head = head.ok_or(ReadError::Damaged(seq))?;
        if seq == segment.first {
            scanned.begins = Some(head.time.to_owned());
        }
        if ids.contains(head.id) {
            scanned.ids.push(head.id.to_owned());
        }
        seq += 1;
    }
    match next {
        Some(next) if next != seq => Err(ReadError::Damaged(seq)),
        _ => Ok(scanned),
    }
}

/// The checkpoint beside the log, unverified; none when it is missing or spoilt.
pub fn checkpoint(dir: &Path) -> Option<SignedHead> {
    let note = fs::read_to_string(dir.join(CHECKPOINT)).ok()?;
    SignedHead::parse(&note).ok()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use std::fs;

    use std::collections::HashSet;

    use super::{Follow, Line, ReadError, Records, checkpoint, find, recorded};
    use crate::record::Priority;
    use crate::segment::{self, SEGMENTS};
    use crate::test_log::TestLog;

    #[test]
    fn reading_begins_anywhere_and_crosses_segments() {
        let test = TestLog::new();
        let log = test.open();
        for n in 0..40 {
            test.append_sized(&log, n, 20_000);
        }
        assert!(segment::list(&test.dir()).unwrap().len() > 3);
        for from in [0, 1, 6, 7, 39, 40, 99] {
            let read: Vec<u64> = Records::open(&test.dir(), from)
                .unwrap()
                .map(|r| r.unwrap().seq)
                .collect();
            assert_eq!(read, (from..40.max(from)).collect::<Vec<u64>>());
        }
        assert_eq!(find(&test.dir(), "id-7").unwrap().unwrap().seq, 7);
        assert_eq!(find(&test.dir(), "id-70").unwrap(), None);
        log.close().unwrap();
        assert_eq!(checkpoint(&test.dir()).unwrap().head.size, 40);
    }

    #[test]
    fn ids_without_a_record_are_told_in_one_pass() {
        let test = TestLog::new();
        let log = test.open();
        for n in 0..60 {
            test.append_sized(&log, n, 20_000);
        }
        log.close().unwrap();
        let ids = |of: &[u32]| HashSet::from_iter(of.iter().map(|n| format!("id-{n}")));
        let found = |of: &[u32], since| recorded(&test.dir(), &ids(of), since);
        let all = "1970-01-01T00:00:00.000Z";
        assert_eq!(found(&[0, 7, 59, 70], all).unwrap(), ids(&[0, 7, 59]));
        assert_eq!(found(&[70], all).unwrap(), ids(&[]));
        // What is new enough is found in any case.
        assert_eq!(found(&[59], "9999").unwrap(), ids(&[59]));
        let segments = segment::list(&test.dir()).unwrap();
        let old = segments.first().unwrap();
        let mut bytes = fs::read(&old.path).unwrap();
        let line = bytes.iter().position(|b| *b == b'\n').unwrap();
        bytes.get_mut(line + 3).into_iter().for_each(|b| *b ^= 1);
        fs::write(&old.path, &bytes).unwrap();
        // A record that cannot be read could be the one that is looked for.
        assert!(matches!(found(&[70], all), Err(ReadError::Damaged(1))));
        fs::write(&old.path, bytes.get(..=line).unwrap()).unwrap();
        assert!(matches!(found(&[70], all), Err(ReadError::Damaged(1))));
    }

    #[test]
    fn a_follower_sees_what_is_appended_and_rotated_later() {
        let test = TestLog::new();
        let log = test.open();
        let mut follow = Follow::from(&test.dir(), 0).unwrap();
        assert_eq!(follow.step().unwrap(), []);
        for n in 0..30 {
            test.append_sized(&log, n, 20_000);
            let lines = follow.step().unwrap();
            assert_eq!(lines.iter().map(|line| line.seq).collect::<Vec<u64>>(), [n]);
            let head = lines.first().and_then(Line::head);
            assert_eq!(head.unwrap().id, format!("id-{n}"));
            assert_eq!(follow.step().unwrap(), []);
        }
        drop(log);
        let log = test.open();
        test.append(&log, 30, Priority::Normal).unwrap();
        assert_eq!(follow.step().unwrap().first().unwrap().seq, 30);
    }

    #[test]
    fn a_missing_log_is_empty_and_a_damaged_one_is_told() {
        let test = TestLog::new();
        let mut follow = Follow::from(&test.dir(), 0).unwrap();
        assert_eq!(follow.step().unwrap(), []);
        let segments = test.dir().join(SEGMENTS);
        fs::create_dir_all(&segments).unwrap();
        fs::write(segment::path(&test.dir(), 5), b"rubbish\n").unwrap();
        let step = |from| Follow::from(&test.dir(), from).and_then(|mut follow| follow.step());
        assert!(matches!(step(5), Err(ReadError::Damaged(5))));
        assert!(matches!(step(0), Err(ReadError::Damaged(0))));
    }
}
