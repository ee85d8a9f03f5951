//! Segments: files of JSON lines, named by the sequence of their first record.
//!
//! The last segment may end in zeros, the room prepared for records to come; every
//! other one ends with a newline. Reading is tolerant of a live writer: a line is a
//! record only when its newline is there and it holds no zero byte.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::record::MAX_LEAF;

/// Directory of the segments.
pub(crate) const SEGMENTS: &str = "segments";

/// A segment file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Sequence of its first record, as its name says.
    pub(crate) first: u64,
    /// Where it is.
    pub(crate) path: PathBuf,
}

/// Where the segment that begins with `first` stands.
pub(crate) fn path(dir: &Path, first: u64) -> PathBuf {
    dir.join(SEGMENTS).join(format!("{first:020}.jsonl"))
}

/// The segments in order. Files with other names are not part of the log.
pub(crate) fn list(dir: &Path) -> io::Result<Vec<Segment>> {
    let mut segments = Vec::new();
    let entries = match fs::read_dir(dir.join(SEGMENTS)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(segments),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let stem = name.to_str().and_then(|name| name.strip_suffix(".jsonl"));
        let digits = stem.filter(|s| s.len() == 20 && s.bytes().all(|b| b.is_ascii_digit()));
        if let Some(first) = digits.and_then(|digits| digits.parse().ok()) {
            segments.push(Segment {
                first,
                path: entry.path(),
            });
        }
    }
    segments.sort_by_key(|segment| segment.first);
    Ok(segments)
}

/// What stands next in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A whole line; it is in the buffer, without its newline.
    Line,
    /// The end of the file, or zeros up to somewhere.
    End,
    /// Bytes that are no whole line: torn, or being written now.
    Torn,
}

/// Reads the lines of one segment.
pub(crate) struct Lines {
    reader: BufReader<File>,
    offset: u64,
    line: Vec<u8>,
}

impl Lines {
    /// Opens a segment at its beginning.
    pub(crate) fn open(path: &Path) -> io::Result<Lines> {
        Ok(Lines {
            reader: BufReader::with_capacity(1 << 18, File::open(path)?),
            offset: 0,
            line: Vec::with_capacity(4096),
        })
    }

    /// Where the next line begins.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// The line that [`Step::Line`] announced.
    pub(crate) fn line(&self) -> &[u8] {
        &self.line
    }

    /// Steps to the next line. After `End` or `Torn` call [`Lines::retry`] first.
    pub(crate) fn step(&mut self) -> io::Result<Step> {
        self.line.clear();
        let limit = MAX_LEAF as u64 + 1;
        let mut bounded = self.reader.by_ref().take(limit);
        let n = bounded.read_until(b'\n', &mut self.line)?;
        if self.line.first().is_none_or(|b| *b == 0) {
            return Ok(Step::End);
        }
        if self.line.pop_if(|b| *b == b'\n').is_none() || self.line.contains(&0) {
            return Ok(Step::Torn);
        }
        self.offset += n as u64;
        Ok(Step::Line)
    }

    /// Goes back to where the next line begins, to look again.
    pub(crate) fn retry(&mut self) -> io::Result<()> {
        self.reader.seek(SeekFrom::Start(self.offset))?;
        Ok(())
    }

    /// Reads what follows the last whole line: the bytes up to the last that is
    /// not zero. Empty when only room follows.
    pub(crate) fn remainder(&mut self) -> io::Result<Remainder> {
        self.retry()?;
        let mut rest = Remainder::default();
        let mut chunk = vec![0; 1 << 18];
        loop {
            let n = self.reader.read(&mut chunk)?;
            let Some(read) = chunk.get(..n).filter(|read| !read.is_empty()) else {
                break;
            };
            if let Some(last) = read.iter().rposition(|b| *b != 0) {
                rest.used = rest.total + last as u64 + 1;
            }
            rest.total += n as u64;
        }
        Ok(rest)
    }
}

/// What follows the last whole line of a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Remainder {
    /// Bytes up to the last that is not zero.
    pub(crate) used: u64,
    /// Bytes up to the end of the file.
    pub(crate) total: u64,
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use std::fs;

    use super::{Lines, Remainder, SEGMENTS, Step, list, path};

    #[test]
    fn only_whole_lines_are_lines() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("s");
        fs::write(&file, b"ab\ncd\nef\0\0\0").unwrap();
        let mut lines = Lines::open(&file).unwrap();
        assert_eq!(lines.step().unwrap(), Step::Line);
        assert_eq!(lines.line(), b"ab");
        assert_eq!(lines.step().unwrap(), Step::Line);
        assert_eq!(lines.step().unwrap(), Step::Torn);
        assert_eq!(lines.offset(), 6);
        let rest = lines.remainder().unwrap();
        assert_eq!(rest, Remainder { used: 2, total: 5 });
        // The writer completes the line; the reader sees it then.
        fs::write(&file, b"ab\ncd\nefg\n\0").unwrap();
        lines.retry().unwrap();
        assert_eq!(lines.step().unwrap(), Step::Line);
        assert_eq!(lines.line(), b"efg");
        assert_eq!(lines.step().unwrap(), Step::End);
    }

    #[test]
    fn a_line_with_a_zero_or_without_end_is_torn() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("s");
        for (bytes, step) in [
            (b"a\0b\n".to_vec(), Step::Torn),
            (b"ab".to_vec(), Step::Torn),
            (vec![b'x'; 70_000], Step::Torn),
            (b"\0ab\n".to_vec(), Step::End),
            (Vec::new(), Step::End),
            (b"\n".to_vec(), Step::Line),
        ] {
            fs::write(&file, &bytes).unwrap();
            assert_eq!(Lines::open(&file).unwrap().step().unwrap(), step);
        }
    }

    #[test]
    fn only_well_named_files_are_segments() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(SEGMENTS)).unwrap();
        for first in [300, 0, 20] {
            fs::write(path(dir.path(), first), b"").unwrap();
        }
        for other in [
            "1.jsonl",
            "x0000000000000000001.jsonl",
            "00000000000000000002.json",
            ".swp",
        ] {
            fs::write(dir.path().join(SEGMENTS).join(other), b"").unwrap();
        }
        let firsts: Vec<u64> = list(dir.path()).unwrap().iter().map(|s| s.first).collect();
        assert_eq!(firsts, [0, 20, 300]);
    }
}
