//! Doctored logs: every one is told, with the right first bad record, by this
//! verifier and by the one in Python.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use proptest::prelude::{ProptestConfig, Strategy, any, prop_assert_eq, prop_oneof, proptest};

use super::{Report, VerifyError, exit_code, verify};
use crate::checkpoint::TreeHead;
use crate::medium::fault::FaultMedium;
use crate::segment;
use crate::test_log::{ORIGIN, TestLog};
use crate::tree::{Hash, Tree, leaf_hash};

mod agreement;

const SIZE: u64 = 700;
/// A checkpoint was kept outside at this size.
const EARLY: u64 = 400;

/// A closed log of several segments and tiles, and what was kept of it outside.
struct Base {
    test: TestLog,
    lines: Vec<Vec<u8>>,
    firsts: Vec<u64>,
}

static BASE: LazyLock<Base> = LazyLock::new(|| {
    let test = TestLog::new();
    let (log, _) = test.open_on(FaultMedium::default()).unwrap();
    for n in 0..SIZE {
        let receipt = test.append_sized(&log, n, (n as usize * 37) % 900);
        if n + 1 == EARLY {
            fs::write(test.beside("early"), log.checkpoint().unwrap().note).unwrap();
        }
        if n == 500 {
            fs::write(test.beside("receipt"), receipt.to_string()).unwrap();
        }
    }
    fs::write(test.beside("late"), log.close().unwrap().note).unwrap();
    let lines = crate::read::Records::open(&test.dir(), 0)
        .unwrap()
        .map(|r| r.unwrap().leaf)
        .collect();
    let firsts = segment::list(&test.dir())
        .unwrap()
        .iter()
        .map(|s| s.first)
        .collect();
    Base {
        test,
        lines,
        firsts,
    }
});

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A copy of the base log to doctor.
struct Doctored(tempfile::TempDir);

impl Doctored {
    fn new() -> Doctored {
        let dir = tempfile::tempdir().unwrap();
        copy(&BASE.test.dir(), dir.path());
        Doctored(dir)
    }

    fn dir(&self) -> &Path {
        self.0.path()
    }

    /// Writes these lines, with segments beginning where they did, as far as there
    /// are lines.
    fn write(&self, lines: &[Vec<u8>]) {
        for segment in segment::list(self.dir()).unwrap() {
            fs::remove_file(segment.path).unwrap();
        }
        let ends = BASE.firsts.iter().skip(1).copied().chain([u64::MAX]);
        for (first, end) in BASE.firsts.iter().zip(ends) {
            let range = (*first as usize).min(lines.len())..(end as usize).min(lines.len());
            let text: Vec<u8> = lines[range]
                .iter()
                .flat_map(|l| [l.as_slice(), b"\n"].concat())
                .collect();
            if !text.is_empty() {
                fs::write(segment::path(self.dir(), *first), text).unwrap();
            }
        }
    }

    fn verify(&self, anchors: &[&str]) -> Result<Report, VerifyError> {
        let anchors: Vec<PathBuf> = anchors.iter().map(|a| BASE.test.beside(a)).collect();
        verify(self.dir(), &TestLog::key(1).verifier(), &anchors)
    }

    /// Exit code and first bad record, by this verifier.
    fn verdict(&self, anchors: &[&str]) -> (u8, Option<u64>) {
        let result = self.verify(anchors);
        let bad = match &result {
            Err(VerifyError::Broken(broken)) => Some(broken.first_bad_seq),
            _ => None,
        };
        (exit_code(&result), bad)
    }
}

/// A line moved to another place, its number corrected by a careful forger.
fn renumbered(line: &[u8], seq: usize) -> Vec<u8> {
    let text = String::from_utf8(line.to_vec()).unwrap();
    let old = crate::record::Head::parse(line).unwrap().seq;
    text.replacen(&format!("\"seq\":{old},"), &format!("\"seq\":{seq},"), 1)
        .into_bytes()
}

#[derive(Clone, Debug)]
enum Change {
    /// Another byte at a place of the whole text.
    Edit(usize, u8),
    Delete(usize),
    DeleteRenumber(usize),
    Swap(usize, usize),
    SwapRenumber(usize, usize),
    Insert(usize, usize),
    InsertRenumber(usize, usize),
    Truncate(usize),
}

impl Change {
    /// Doctors the lines; tells the first record that is wrong then.
    fn apply(&self, lines: &mut Vec<Vec<u8>>) -> usize {
        let first = match *self {
            Change::Edit(..) => 0,
            Change::Delete(at) | Change::DeleteRenumber(at) => {
                lines.remove(at);
                at
            }
            Change::Swap(a, b) | Change::SwapRenumber(a, b) => {
                lines.swap(a, b);
                a.min(b)
            }
            // A copy right before or behind itself first shows behind itself.
            Change::Insert(from, at) => {
                let line = lines[from].clone();
                lines.insert(at, line);
                if from == at { at + 1 } else { at }
            }
            Change::InsertRenumber(from, at) => {
                let mut line = lines[from].clone();
                line.splice(line.len() - 1.., *b",\"x\":1}");
                lines.insert(at, line);
                at
            }
            Change::Truncate(at) => {
                lines.truncate(at);
                at
            }
        };
        let careful = matches!(
            self,
            Change::DeleteRenumber(_) | Change::SwapRenumber(..) | Change::InsertRenumber(..)
        );
        if careful {
            for (seq, line) in lines.iter_mut().enumerate() {
                *line = renumbered(line, seq);
            }
        }
        first
    }
}

fn changes() -> impl Strategy<Value = Change> {
    let place = || 0..SIZE as usize;
    let two = || (place(), place()).prop_filter("two places", |(a, b)| a != b);
    prop_oneof![
        4 => (any::<usize>(), 1..=255_u8).prop_map(|(at, by)| Change::Edit(at, by)),
        1 => place().prop_map(Change::Delete),
        1 => place().prop_map(Change::DeleteRenumber),
        1 => two().prop_map(|(a, b)| Change::Swap(a, b)),
        1 => two().prop_map(|(a, b)| Change::SwapRenumber(a, b)),
        1 => (place(), place()).prop_map(|(a, b)| Change::Insert(a, b)),
        1 => (place(), place()).prop_map(|(a, b)| Change::InsertRenumber(a, b)),
        1 => place().prop_map(Change::Truncate),
    ]
}

/// Doctors a copy; tells where it first goes wrong.
fn doctor(change: &Change) -> (Doctored, u64) {
    let doctored = Doctored::new();
    if let Change::Edit(at, by) = change {
        let segments = segment::list(doctored.dir()).unwrap();
        let total: usize = BASE.lines.iter().map(|line| line.len() + 1).sum();
        let (mut at, mut record) = (at % total, 0);
        let whole = at;
        while at > BASE.lines[record].len() {
            at -= BASE.lines[record].len() + 1;
            record += 1;
        }
        let mut before = 0;
        for segment in segments {
            let mut bytes = fs::read(&segment.path).unwrap();
            if let Some(byte) = whole.checked_sub(before).and_then(|at| bytes.get_mut(at)) {
                *byte ^= by;
                fs::write(&segment.path, &bytes).unwrap();
                break;
            }
            before += bytes.len();
        }
        return (doctored, record as u64);
    }
    let mut lines = BASE.lines.clone();
    let first = change.apply(&mut lines);
    doctored.write(&lines);
    (doctored, first as u64)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_single_change_is_told_with_its_first_record(change in changes()) {
        let (doctored, first) = doctor(&change);
        prop_assert_eq!(doctored.verdict(&[]), (1, Some(first)));
        prop_assert_eq!(doctored.verdict(&["early", "late"]), (1, Some(first)));
    }

    #[test]
    fn anchors_catch_a_rolled_back_log(at in 0..SIZE as usize) {
        // The forger has an older copy of everything, signature included.
        let doctored = Doctored::new();
        doctored.write(&BASE.lines[..at]);
        sign(doctored.dir(), &BASE.lines[..at]);
        prop_assert_eq!(doctored.verdict(&[]), (3, None));
        prop_assert_eq!(doctored.verdict(&["late"]), (1, Some(at as u64)));
        let held = if at as u64 >= EARLY { (0, None) } else { (1, Some(at as u64)) };
        prop_assert_eq!(doctored.verdict(&["early"]), held);
        let held = if at > 500 { (0, None) } else { (1, Some(at as u64)) };
        prop_assert_eq!(doctored.verdict(&["receipt"]), held);
    }

    #[test]
    fn an_anchor_bounds_what_the_holder_of_the_key_can_change(at in 0..SIZE as usize) {
        // Everything is made anew under the right key: records, tiles, checkpoint.
        let doctored = Doctored::new();
        let mut lines = BASE.lines.clone();
        Change::DeleteRenumber(at).apply(&mut lines);
        doctored.write(&lines);
        sign(doctored.dir(), &lines);
        prop_assert_eq!(doctored.verdict(&[]), (3, None));
        // What an older anchor vouches for is not in doubt.
        let bad = if (at as u64) < EARLY { 0 } else { SIZE - 1 };
        prop_assert_eq!(doctored.verdict(&["early", "late"]), (1, Some(bad)));
        let held = if at > 500 { (0, None) } else { (1, Some(500)) };
        prop_assert_eq!(doctored.verdict(&["receipt"]), held);
    }

    #[test]
    fn a_wrong_tile_is_told(at in 0..SIZE as usize, byte in 0..32_usize, by in 1..=255_u8) {
        let doctored = Doctored::new();
        let (index, width) = (at / 256, if at < 512 { 256 } else { SIZE as usize - 512 });
        let path = doctored.dir().join(crate::tile::path(0, index as u64, width));
        let mut tile = fs::read(&path).unwrap();
        tile[(at % 256) * 32 + byte] ^= by;
        fs::write(path, tile).unwrap();
        prop_assert_eq!(doctored.verdict(&["late"]), (1, Some(at as u64)));
    }

    #[test]
    fn a_changed_checkpoint_is_told(at in any::<usize>(), by in 1..=255_u8) {
        let doctored = Doctored::new();
        let path = doctored.dir().join("checkpoint");
        let mut note = fs::read(&path).unwrap();
        let at = at % note.len();
        note[at] ^= by;
        fs::write(path, note).unwrap();
        let (code, bad) = doctored.verdict(&["early"]);
        prop_assert_eq!(code, 1);
        // A size that grew by one digit is a longer log; all else is no signature.
        prop_assert_eq!(bad, Some(EARLY));
    }
}

/// Tiles and checkpoint over these lines under the right key.
fn sign(dir: &Path, lines: &[Vec<u8>]) {
    fs::remove_dir_all(dir.join("tile")).unwrap();
    let mut tree = Tree::new();
    let put = |level, index, tile: &[Hash]| {
        crate::tile::write(&crate::medium::Disk, dir, level, index, tile).unwrap();
    };
    for line in lines {
        tree.push(leaf_hash(line), |tile| {
            put(tile.level, tile.index, &tile.hashes)
        });
    }
    let mut index = tree.size();
    for (level, tile) in (0_u32..).zip(tree.edge()) {
        index /= 256;
        if !tile.is_empty() {
            put(level, index, tile);
        }
    }
    let head = TreeHead {
        origin: ORIGIN.to_owned(),
        size: tree.size(),
        root: tree.root(),
    };
    fs::write(
        dir.join("checkpoint"),
        TestLog::key(1).sign_note(&head.text()),
    )
    .unwrap();
}

#[test]
fn an_intact_log_is_reported() {
    let doctored = Doctored::new();
    let report = doctored.verify(&["early", "receipt"]).unwrap();
    assert_eq!(
        (report.size, report.signed_to, report.anchored_to),
        (SIZE, SIZE, Some(501))
    );
    assert!(report.tail_unanchored_since.is_some() && report.missing_tiles == 0);
    let report = doctored.verify(&["late"]).unwrap();
    assert_eq!(
        (report.anchored_to, report.tail_unanchored_since),
        (Some(SIZE), None)
    );
    let alone = doctored.verify(&[]);
    assert_eq!(exit_code(&alone), 3);
    let alone = alone.unwrap();
    assert_eq!(alone.tail_unanchored_since, alone.first_time);
}
