//! Restarts: torn tails, lost records, edits, new keys.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::fs;
use std::path::Path;

use super::super::{DecisionLog, LogError};
use super::copy;
use crate::medium::fault::FaultMedium;
use crate::open::OpenError;
use crate::read::Records;
use crate::record::Priority;
use crate::segment;
use crate::test_log::TestLog;
use crate::verify::{exit_code, verify};

#[test]
fn a_torn_tail_is_cut_and_noted_at_every_byte() {
    let test = TestLog::new();
    let log = test.open();
    for n in 0..4 {
        test.append(&log, n, Priority::Normal).unwrap();
    }
    let path = segment::path(&test.dir(), 0);
    let before = fs::read(&path)
        .unwrap()
        .iter()
        .position(|b| *b == 0)
        .unwrap();
    test.append(&log, 4, Priority::Normal).unwrap();
    let whole = fs::read(&path).unwrap();
    let end = whole.iter().position(|b| *b == 0).unwrap();
    let image = test.beside("image");
    copy(&test.dir(), &image);
    drop(log);
    for cut in before..=end {
        for padded in [true, false] {
            let crashed = TestLog::new();
            copy(&image, &crashed.dir());
            let mut bytes = whole[..cut].to_vec();
            if padded {
                bytes.resize(whole.len(), 0);
            }
            fs::write(segment::path(&crashed.dir(), 0), bytes).unwrap();
            let (log, opened) = crashed.open_on(FaultMedium::default()).unwrap();
            let torn = cut > before && cut < end;
            assert_eq!(
                opened.cut_bytes,
                if torn { (cut - before) as u64 } else { 0 }
            );
            let kept = if cut == end { 5 } else { 4 };
            assert_eq!(log.size(), kept + u64::from(torn), "cut at {cut}");
            assert_eq!(
                crashed.append(&log, 9, Priority::Normal).unwrap().index,
                log.size() - 1
            );
            log.close().unwrap();
            let read: Vec<_> = Records::open(&crashed.dir(), 0)
                .unwrap()
                .map(Result::unwrap)
                .collect();
            let noted = read
                .iter()
                .any(|r| r.leaf.windows(8).any(|w| w == b"tail-cut"));
            assert_eq!(noted, torn);
            let result = verify(&crashed.dir(), &TestLog::key(1).verifier(), &[]);
            assert_eq!(exit_code(&result), 3, "{result:?}");
        }
    }
}

#[test]
fn a_shorter_log_is_refused_until_a_fork_is_declared() {
    let test = TestLog::new();
    let log = test.open();
    for n in 0..300 {
        test.append_sized(&log, n, 500);
    }
    let lost = log.close().unwrap();
    let anchor = test.beside("anchor");
    fs::write(&anchor, &lost.note).unwrap();
    // Somebody removes the newest segment.
    let last = segment::list(&test.dir()).unwrap().pop().unwrap();
    assert!(last.first > 0);
    fs::remove_file(&last.path).unwrap();
    let refused = test.try_open().err().unwrap();
    assert!(
        matches!(refused, OpenError::Shorter { size, known: 300 } if size == last.first),
        "{refused}"
    );
    let key = TestLog::key(1).verifier();
    assert_eq!(exit_code(&verify(&test.dir(), &key, &[])), 1);
    test.options.lock().unwrap().declare_fork = Some("disk lost".to_owned());
    let (log, opened) = test.try_open().unwrap();
    assert!(opened.forked_from == Some(300) && opened.size == last.first + 1);
    let anew = log.close().unwrap();
    // The declaration holds once; the log is whole again.
    assert!(test.try_open().unwrap().1.forked_from.is_none());
    let result = verify(&test.dir(), &key, std::slice::from_ref(&anchor));
    let report = result.as_ref().unwrap();
    assert_eq!(
        (
            report.disowned_anchors,
            report.anchored_to,
            exit_code(&result)
        ),
        (1, None, 3)
    );
    let fork = &report.forks[0];
    assert_eq!(
        (fork.seq, fork.old_size, fork.reason.as_str()),
        (last.first, Some(300), "disk lost")
    );
    assert_eq!(fork.old_root, Some(lost.head.root.to_base64()));
    fs::write(&anchor, &anew.note).unwrap();
    assert_eq!(exit_code(&verify(&test.dir(), &key, &[anchor])), 0);
}

#[test]
fn a_missing_checkpoint_and_a_newer_anchor_are_refused() {
    let test = TestLog::new();
    let log = test.open();
    for n in 0..5 {
        test.append(&log, n, Priority::Normal).unwrap();
    }
    log.checkpoint().unwrap();
    let early = test.beside("early");
    copy(&test.dir(), &early);
    let receipt = test.append(&log, 5, Priority::Normal).unwrap();
    let anchor = test.beside("anchor");
    fs::write(&anchor, log.close().unwrap().note).unwrap();
    // A whole older copy of the directory: only what was kept outside can tell.
    fs::remove_dir_all(test.dir()).unwrap();
    copy(&early, &test.dir());
    for kept in [fs::read_to_string(&anchor).unwrap(), receipt.to_string()] {
        fs::write(&anchor, kept).unwrap();
        test.options.lock().unwrap().anchors = vec![test.beside("none yet"), anchor.clone()];
        let refused = test.try_open().err().unwrap();
        assert!(
            matches!(refused, OpenError::Shorter { size: 5, known: 6 }),
            "{refused}"
        );
    }
    test.options.lock().unwrap().anchors.clear();
    fs::remove_file(test.dir().join("checkpoint")).unwrap();
    assert!(matches!(test.try_open(), Err(OpenError::NoCheckpoint)));
    test.options.lock().unwrap().declare_fork = Some("removed by mistake".to_owned());
    assert!(test.try_open().unwrap().1.forked_from.is_some());
}

#[test]
fn a_spoilt_checkpoint_is_refused_until_a_fork_is_declared() {
    for place in [0, 30, 60] {
        for spoilt in [b'~', b'\n', 0, 0xff] {
            let test = TestLog::new();
            let log = test.open();
            test.append(&log, 0, Priority::Normal).unwrap();
            log.close().unwrap();
            let path = test.dir().join("checkpoint");
            let mut note = fs::read(&path).unwrap();
            note[place] = spoilt;
            fs::write(&path, note).unwrap();
            let refused = test.try_open().err().unwrap();
            assert!(
                matches!(refused, OpenError::Checkpoint(_)),
                "{place} {spoilt}: {refused}"
            );
            test.options.lock().unwrap().declare_fork = Some("a bad disk".to_owned());
            assert_eq!(test.try_open().unwrap().1.forked_from, Some(0));
        }
    }
}

#[test]
fn edits_are_refused_at_opening_when_they_show() {
    let test = TestLog::new();
    let log = test.open();
    for n in 0..300 {
        test.append_sized(&log, n, 500);
    }
    log.close().unwrap();
    let image = test.beside("image");
    copy(&test.dir(), &image);
    let edit = |change: &dyn Fn(&Path)| {
        fs::remove_dir_all(test.dir()).unwrap();
        copy(&image, &test.dir());
        change(&test.dir());
        test.try_open().err()
    };
    // Wrong tiles are rebuilt, and then a changed record shows.
    let spoil = |path: &Path, at: usize| {
        let mut bytes = fs::read(path).unwrap();
        bytes[at] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    assert!(edit(&|dir| spoil(&dir.join("tile/0/000"), 77)).is_none());
    assert!(edit(&|dir| fs::remove_dir_all(dir.join("tile")).unwrap()).is_none());
    let both = edit(&|dir| {
        spoil(&dir.join("tile/0/000"), 77);
        let first = segment::path(dir, 0);
        let mut text = fs::read_to_string(&first).unwrap();
        text = text.replacen("xxx", "xyx", 1);
        fs::write(first, text).unwrap();
    });
    assert!(
        matches!(both, Some(OpenError::Diverged { known: 300 })),
        "{both:?}"
    );
    let signature = edit(&|dir| {
        let path = dir.join("checkpoint");
        let note = fs::read_to_string(&path)
            .unwrap()
            .replace("\n300\n", "\n299\n");
        fs::write(path, note).unwrap();
    });
    assert!(
        matches!(signature, Some(OpenError::Checkpoint(_))),
        "{signature:?}"
    );
    let hole = edit(&|dir| fs::remove_file(&segment::list(dir).unwrap()[0].path).unwrap());
    assert!(
        matches!(hole, Some(OpenError::Damaged { seq: 0, .. })),
        "{hole:?}"
    );
}

#[test]
fn a_new_key_takes_over_from_the_old_one() {
    let test = TestLog::new();
    let log = test.open();
    test.append(&log, 0, Priority::Normal).unwrap();
    let old = test.beside("old");
    fs::write(&old, log.checkpoint().unwrap().note).unwrap();
    let stranger = crate::key::SigningKey::from_seed("other", &[2; 32]).unwrap();
    assert!(matches!(
        log.rotate_key(stranger),
        Err(LogError::KeyName(_))
    ));
    let crashed = test.beside("crashed");
    copy(&test.dir(), &crashed);
    let checkpoint = log.rotate_key(TestLog::key(2)).unwrap();
    assert_eq!(checkpoint.head.size, 2);
    // A crash after the record and before the new checkpoint.
    fs::copy(segment::path(&test.dir(), 0), segment::path(&crashed, 0)).unwrap();
    test.append(&log, 2, Priority::Normal).unwrap();
    let new = test.beside("new");
    fs::write(&new, log.close().unwrap().note).unwrap();
    assert!(test.try_open().is_err(), "the old key signs no more");
    let (first, second) = (TestLog::key(1).verifier(), TestLog::key(2).verifier());
    for pinned in [&first, &second] {
        let result = verify(&test.dir(), pinned, &[old.clone(), new.clone()]);
        assert_eq!(exit_code(&result), 0, "{result:?}");
        assert_eq!(result.unwrap().key_changes[0].seq, 1);
    }
    let third = TestLog::key(3).verifier();
    assert_eq!(exit_code(&verify(&test.dir(), &third, &[])), 1);
    let mut options = test.options.lock().unwrap().clone();
    options.dir = crashed.clone();
    assert!(DecisionLog::open(options.clone(), TestLog::key(1)).is_err());
    assert!(DecisionLog::open(options.clone(), TestLog::key(3)).is_err());
    let (log, _) = DecisionLog::open(options, TestLog::key(2)).unwrap();
    log.close().unwrap();
    assert_eq!(exit_code(&verify(&crashed, &first, &[old])), 0);
}
