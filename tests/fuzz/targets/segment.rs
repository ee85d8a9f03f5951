//! A good decision log with changes in its files: never taken for intact, as far as
//! what was kept outside reaches.
//!
//! The first byte chooses what is done, then each eight bytes change a file.
#![no_main]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::mpsc::channel;

use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use vaultgate_decision_log::checkpoint::TreeHead;
use vaultgate_decision_log::note::SignedNote;
use vaultgate_decision_log::read::{Records, checkpoint, find};
use vaultgate_decision_log::record::Head;
use vaultgate_decision_log::tile::TileStore;
use vaultgate_decision_log::tree::{leaf_hash, proof};
use vaultgate_decision_log::verify::{VerifyError, verify};
use vaultgate_decision_log::{
    DecisionLog, Digest, Entry, Kind, LogOptions, Members, Priority, Receipt, SigningKey,
    VerifierKey, anchor,
};
use vaultgate_fuzz::edits::{self, Edit};

const ORIGIN: &str = "log.example/fuzz";
/// Keys of bytes that are all one and all two.
const KEYS: [&str; 2] = [
    "PRIVATE+KEY+log.example/fuzz+b1f92baf+AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB",
    "PRIVATE+KEY+log.example/fuzz+4215b4ab+AQICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIC",
];
/// Records before the checkpoint that was kept early, and before the key changed.
const EARLY: u64 = 40;
const RECORDS: u64 = 300;
/// The segments begin with these records.
const FIRSTS: [usize; 4] = [0, 30, 41, 260];

type Files = BTreeMap<PathBuf, Vec<u8>>;

/// The good log, and where its changed copies are put.
struct Base {
    root: tempfile::TempDir,
    files: Files,
    lines: Vec<Vec<u8>>,
    pinned: [VerifierKey; 2],
    /// Texts that a key of the log has signed.
    signed: BTreeSet<String>,
}

static BASE: LazyLock<Base> = LazyLock::new(make);

fuzz_target!(init: LazyLock::force(&BASE), |data: &[u8]| {
    let Some((mode, rest)) = data.split_first() else {
        return;
    };
    match mode % 8 {
        4 => texts(rest),
        5 => opened(rest),
        _ => verified(*mode, rest),
    }
});

fn key(n: usize, root: &Path) -> SigningKey {
    let path = root.join(format!("key-{n}"));
    fs::write(&path, KEYS[n]).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    SigningKey::load(&path).unwrap()
}

fn options(dir: &Path) -> LogOptions {
    let at = || Timestamp::from_millisecond(1_795_402_800_000).unwrap();
    let mut options = LogOptions::new(dir, ORIGIN, at);
    options.segment_bytes = 131_072;
    options.emergency_bytes = 0;
    options
}

/// Three hundred records, a key change and an input beside the log.
fn make() -> Base {
    // A fuzzer ends without cleaning up: `tests/fuzz/run` gives it a folder to fill.
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("log");
    let (log, _) = DecisionLog::open(options(&dir), key(0, root.path())).unwrap();
    let beside = log.store_blob("input", b"{\"beside\":true}").unwrap();
    let mut signed = BTreeSet::new();
    let (told, answers) = channel();
    let mut append = |n: u64| {
        let fields = match n % 50 {
            7 => format!(
                "{{\"input\":{{\"blob\":\"sha256:{}\",\"bytes\":15}}}}",
                beside.hex()
            ),
            _ => format!("{{\"n\":{n},\"text\":\"{}\"}}", "x".repeat(n as usize % 40)),
        };
        let fields = Members::parse(fields).unwrap();
        let (kind, id) = (Kind::Decision, format!("id-{n}"));
        let told = told.clone();
        log.append(
            Entry { kind, id, fields },
            Priority::Normal,
            move |receipt| drop(told.send(receipt)),
        )
        .unwrap();
        answers.recv().unwrap().unwrap()
    };
    (0..EARLY).for_each(|n| drop(append(n)));
    let early = log.checkpoint().unwrap().note;
    let changed = log.rotate_key(key(1, root.path())).unwrap().note;
    let receipts: Vec<Receipt> = (EARLY..RECORDS).map(&mut append).collect();
    let late = log.close().unwrap().note;
    drop(log);
    for note in [&early, &changed, &late] {
        signed.insert(SignedNote::parse(note).unwrap().text().to_owned());
    }
    fs::write(root.path().join("early"), &early).unwrap();
    fs::write(root.path().join("late"), &late).unwrap();
    fs::write(root.path().join("receipt"), receipts[20].to_string()).unwrap();
    let records = Records::open(&dir, 0).unwrap();
    let lines: Vec<Vec<u8>> = records.map(|line| line.unwrap().leaf).collect();
    let mut files = Files::new();
    collect(&dir, Path::new(""), &mut files);
    files.retain(|path, _| !path.starts_with("segments"));
    for (n, first) in FIRSTS.iter().enumerate() {
        let end = FIRSTS.get(n + 1).copied().unwrap_or(lines.len());
        files.insert(
            segment(*first),
            [lines[*first..end].join(&b'\n'), vec![b'\n']].concat(),
        );
    }
    let pinned = [
        key(0, root.path()).verifier(),
        key(1, root.path()).verifier(),
    ];
    fs::remove_dir_all(&dir).unwrap();
    write(&dir, &files);
    Base {
        root,
        files,
        lines,
        pinned,
        signed,
    }
}

fn segment(first: usize) -> PathBuf {
    PathBuf::from(format!("segments/{first:020}.jsonl"))
}

fn collect(dir: &Path, at: &Path, files: &mut Files) {
    for entry in fs::read_dir(dir.join(at)).unwrap() {
        let entry = entry.unwrap();
        let path = at.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => collect(dir, &path, files),
            // The log's own: its lock, and room prepared for records to come.
            false if path.starts_with("lock") || path.starts_with("spare") => {}
            false => drop(files.insert(path.clone(), fs::read(dir.join(path)).unwrap())),
        }
    }
}

fn write(dir: &Path, files: &Files) {
    for (path, bytes) in files {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// The log's files with changes.
fn changed(data: &[u8]) -> Files {
    let mut files = BASE.files.clone();
    for edit in edits::read(data) {
        let Some(path) = files
            .keys()
            .nth(usize::from(edit.part) % files.len().max(1))
            .cloned()
        else {
            break;
        };
        match edit.kind {
            0xf0.. => drop(files.remove(&path)),
            0xe0.. => {
                // A file under another's name, or under one that no file had.
                let bytes = files[&path].clone();
                let other = files
                    .keys()
                    .nth(usize::from(edit.value) % (files.len() + 4))
                    .cloned();
                files.insert(
                    other.unwrap_or_else(|| segment(edit.at as usize % 400)),
                    bytes,
                );
            }
            _ => Edit::apply(edit, files.get_mut(&path).unwrap()),
        }
    }
    files
}

/// The whole lines of the segments, as a reader of its own finds them.
fn lines(files: &Files) -> Vec<&[u8]> {
    let segments = files
        .iter()
        .filter(|(path, _)| path.starts_with("segments"));
    let mut lines = Vec::new();
    for (_, bytes) in segments {
        let mut rest = bytes.as_slice();
        while let Some(end) = rest.iter().position(|b| *b == b'\n') {
            lines.push(&rest[..end]);
            rest = &rest[end + 1..];
        }
    }
    lines
}

/// How many records there are, if each line of the last segment is one.
fn end(files: &Files) -> Option<usize> {
    let (path, bytes) = files
        .iter()
        .rfind(|(path, _)| path.starts_with("segments"))?;
    let first: usize = path.file_stem()?.to_str()?.parse().ok()?;
    Some(first + bytes.iter().filter(|byte| **byte == b'\n').count())
}

fn verified(mode: u8, data: &[u8]) {
    let files = changed(data);
    let base = &*BASE;
    let dir = base.root.path().join("log");
    let mut touched: Vec<&PathBuf> = Vec::new();
    for (path, bytes) in &files {
        if base.files.get(path) != Some(bytes) {
            fs::write(dir.join(path), bytes).unwrap();
            touched.push(path);
        }
    }
    let gone: Vec<&PathBuf> = base
        .files
        .keys()
        .filter(|path| !files.contains_key(*path))
        .collect();
    gone.iter()
        .for_each(|path| fs::remove_file(dir.join(path)).unwrap());
    let anchors: &[&str] = [
        &["late"][..],
        &["early", "receipt"],
        &["early", "late"],
        &[],
    ][usize::from(mode >> 3) % 4];
    judge(
        &dir,
        &files,
        usize::from(mode >> 5) % 2,
        anchors,
        touched.is_empty() && gone.is_empty(),
    );
    readers(&dir, &files);
    for path in touched {
        match base.files.get(path) {
            Some(bytes) => fs::write(dir.join(path), bytes).unwrap(),
            None => fs::remove_file(dir.join(path)).unwrap(),
        }
    }
    gone.iter()
        .for_each(|path| fs::write(dir.join(path), &base.files[*path]).unwrap());
}

/// What the verifier says must be so.
fn judge(dir: &Path, files: &Files, pinned: usize, anchors: &[&str], untouched: bool) {
    let base = &*BASE;
    let kept: Vec<PathBuf> = anchors
        .iter()
        .map(|name| base.root.path().join(name))
        .collect();
    let verdict = verify(dir, &base.pinned[pinned], &kept);
    let found = lines(files);
    let pairs = found
        .iter()
        .map(Some)
        .chain(std::iter::repeat(None))
        .zip(&base.lines);
    let first_change = pairs
        .into_iter()
        .position(|(found, line)| found != Some(&line.as_slice()));
    let all = base.lines.len() as u64;
    match verdict {
        Ok(report) => {
            let held = report.anchored_to.unwrap_or(0).max(report.signed_to);
            assert!(
                first_change.is_none_or(|at| at as u64 >= held),
                "{first_change:?}: {report:?}"
            );
            assert!(
                !anchors.contains(&"late") || report.anchored_to == Some(all),
                "{report:?}"
            );
            assert!(
                anchors.is_empty() == report.anchored_to.is_none(),
                "{report:?}"
            );
            assert!(
                [EARLY, EARLY + 1, all].contains(&report.signed_to),
                "{report:?}"
            );
            assert!(
                report.size >= held && report.size as usize <= found.len(),
                "{report:?}"
            );
            assert!(
                report.size == report.anchored_to.unwrap_or(0)
                    || report.tail_unanchored_since.is_some(),
                "{report:?}"
            );
            assert!(report.key_changes.len() == 1 || held <= EARLY, "{report:?}");
            for (path, good) in &base.files {
                let now = files.get(path);
                let intact = now == Some(good);
                if path.starts_with("tile") && held == all {
                    let usable = now.is_some_and(|now| now.len() == good.len());
                    assert!(
                        intact || !usable,
                        "a wrong tile is told: {}",
                        path.display()
                    );
                }
                if path.starts_with("blobs") && held == all {
                    assert!(intact, "an input that differs is told: {}", path.display());
                }
            }
        }
        Err(VerifyError::Broken(broken)) => {
            assert!(!untouched, "{broken:?}");
            // Of a log that cannot be read to its anchor, tiles tell what was changed.
            let mut tiles = base
                .files
                .iter()
                .filter(|(path, _)| path.starts_with("tile"));
            let told = anchors.contains(&"late")
                && tiles.all(|(path, good)| files.get(path) == Some(good));
            if told && let Some(at) = first_change {
                assert!(broken.first_bad_seq <= at as u64, "{at}: {broken:?}");
            }
        }
        Err(error) => assert!(!untouched, "{error}"),
    }
}

/// Readers of the log give its lines or an error, whatever is in the files.
fn readers(dir: &Path, files: &Files) {
    let base = &*BASE;
    let found: BTreeSet<&[u8]> = lines(files).into_iter().collect();
    if let Ok(records) = Records::open(dir, 0) {
        for (n, line) in records.map_while(Result::ok).enumerate() {
            assert_eq!(line.seq, n as u64);
            assert!(found.contains(line.leaf.as_slice()), "{n}");
            assert_eq!(line.head().map(|head| head.seq), Some(line.seq));
        }
    }
    if let Ok(Some(line)) = find(dir, "id-77") {
        assert!(found.contains(line.leaf.as_slice()));
    }
    drop(checkpoint(dir));
    let store = TileStore::new(dir);
    let (all, index) = (base.lines.len() as u64, 77);
    let (Ok(root), Ok(path)) = (
        proof::root(all, &store),
        proof::inclusion(index, all, &store),
    ) else {
        return;
    };
    let good =
        SignedNote::parse(&fs::read_to_string(base.root.path().join("late")).unwrap()).unwrap();
    let good = TreeHead::parse(good.text()).unwrap().root;
    for line in [&base.lines[index as usize], &base.lines[78]] {
        if proof::verify_inclusion(leaf_hash(line), index, all, &path, good) {
            assert_eq!(line, &base.lines[index as usize]);
        }
    }
    let _ = root;
}

/// Opening repairs a tail and refuses a log that was cut; it never panics.
fn opened(data: &[u8]) {
    let base = &*BASE;
    let files = changed(data);
    let dir = base.root.path().join("opened");
    drop(fs::remove_dir_all(&dir));
    write(&dir, &files);
    let mut options = options(&dir);
    options.anchors = vec![base.root.path().join("late")];
    // What the records before the checkpoint say is for the verifier; opening looks for
    // the end, and counts the lines of the last segment from the number in its name.
    let whole = end(&files) >= Some(base.lines.len());
    if let Ok((log, _)) = DecisionLog::open(options, key(1, base.root.path())) {
        assert!(whole, "a log that was cut is opened");
        drop(log.close());
        let again = verify(&dir, &base.pinned[1], &[base.root.path().join("late")]);
        if let Ok(report) = again {
            let records = Records::open(&dir, 0).unwrap();
            let lines: Vec<Vec<u8>> = records
                .map_while(Result::ok)
                .map(|line| line.leaf)
                .collect();
            assert!(lines.starts_with(&base.lines), "{report:?}");
        }
    }
}

/// Notes, keys, receipts and heads that somebody wrote.
fn texts(data: &[u8]) {
    let _ = Head::parse(data);
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(key) = VerifierKey::parse(text) {
        assert_eq!(key.to_string(), text);
    }
    if let Some(receipt) = Receipt::parse(text) {
        assert_eq!(receipt.to_string(), text.trim());
    }
    if let Some(digest) = Digest::parse(text) {
        assert!(text.ends_with(&digest.hex()));
    }
    if let Some(head) = TreeHead::parse(text) {
        assert_eq!(TreeHead::parse(&head.text()), Some(head));
    }
    drop(anchor::parse(text));
    if let Ok(note) = SignedNote::parse(text) {
        for key in &BASE.pinned {
            let signed = BASE.signed.contains(note.text());
            assert!(signed || !note.is_signed_by(key), "{text:?}");
        }
    }
}
