//! A log's segments as a reader of its own finds them, from the description of the
//! files in docs/reviewers.md.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Longest line that can be a record, bytes.
const LONGEST: usize = 65_535;

/// A segment taken apart.
pub struct Segment<'f> {
    /// Number in its name.
    pub first: usize,
    /// Its whole lines, up to the first bytes that are none.
    pub lines: Vec<&'f [u8]>,
    /// What follows them: room, or what a crash left.
    pub rest: &'f [u8],
    bytes: &'f [u8],
}

/// The segments among a log's files, in order.
pub fn segments(files: &BTreeMap<PathBuf, Vec<u8>>) -> Vec<Segment<'_>> {
    let segments = files
        .iter()
        .filter(|(path, _)| path.starts_with("segments"));
    segments
        .map(|(path, bytes)| {
            let stem = path.file_stem().unwrap().to_str().unwrap();
            read(stem.parse().unwrap(), bytes)
        })
        .collect()
}

fn read(first: usize, bytes: &[u8]) -> Segment<'_> {
    let (mut lines, mut rest) = (Vec::new(), bytes);
    while let Some(end) = rest.iter().position(|b| *b == b'\n') {
        let line = &rest[..end];
        if line.len() > LONGEST || line.contains(&0) {
            break;
        }
        lines.push(line);
        rest = &rest[end + 1..];
    }
    Segment {
        first,
        lines,
        rest,
        bytes,
    }
}

/// Whether a line begins as the record of this number does.
pub fn is_record(line: &[u8], seq: usize) -> bool {
    let begin = format!("{{\"schema\":\"vaultgate.record/1\",\"seq\":{seq},");
    line.starts_with(begin.as_bytes())
}

impl Segment<'_> {
    /// Records up to its end, if each of its lines is one.
    pub fn end(&self) -> usize {
        self.first + self.lines.len()
    }

    /// Bytes of a torn tail: without the room behind it.
    pub fn torn(&self) -> usize {
        let last = self.rest.iter().rposition(|b| *b != 0);
        last.map_or(0, |at| at + 1)
    }

    /// Whether it stands right before another: it begins with the record of its name,
    /// and what stands at its very end is the record before the other's.
    pub fn joins(&self, next: usize) -> bool {
        let begins = self.lines.first();
        let ends = self.bytes.strip_suffix(b"\n");
        let ends = ends.and_then(|bytes| bytes.rsplit(|b| *b == b'\n').next());
        begins.is_some_and(|line| is_record(line, self.first))
            && ends.is_some_and(|line| next > 0 && is_record(line, next - 1))
    }
}

/// The lines of all segments, if each begins where the one before it ended and only
/// the last has room or a torn tail.
pub fn joined<'f>(segments: &[Segment<'f>]) -> Option<Vec<&'f [u8]>> {
    let mut lines = Vec::new();
    for (n, segment) in segments.iter().enumerate() {
        if segment.first != lines.len() || (n + 1 < segments.len() && !segment.rest.is_empty()) {
            return None;
        }
        lines.extend(&segment.lines);
    }
    Some(lines)
}
