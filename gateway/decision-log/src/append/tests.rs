//! The open log: order, back-pressure, space, keys, restarts.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::fs;
use std::path::Path;
use std::sync::mpsc::channel;
use std::time::Duration;

use super::AppendError;
use crate::checkpoint::SignedHead;
use crate::open::OpenError;
use crate::read::{Records, find};
use crate::record::{Entry, Kind, MAX_LEAF, Members, Priority};
use crate::segment;
use crate::test_log::{ORIGIN, TestLog};
use crate::tree::proof::{inclusion, verify_consistency, verify_inclusion};
use crate::verify::{exit_code, verify};

mod restart;
mod space;

pub(super) fn copy(from: &Path, to: &Path) {
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

#[test]
fn records_are_dense_and_their_receipts_prove_them() {
    let test = TestLog::new();
    let log = test.open();
    let (told, receipts) = channel();
    for n in 0..600 {
        let told = told.clone();
        let done = move |result| told.send(result).unwrap();
        log.append(TestLog::entry(n, 20), Priority::Normal, done)
            .unwrap();
    }
    let receipts: Vec<_> = receipts.iter().take(600).map(Result::unwrap).collect();
    let checkpoint = log.checkpoint().unwrap();
    assert_eq!((checkpoint.head.size, checkpoint.unsaved), (600, None));
    let tiles = crate::tile::TileStore::new(&test.dir());
    for (record, receipt) in Records::open(&test.dir(), 0).unwrap().zip(&receipts) {
        let record = record.unwrap();
        assert_eq!((record.seq, &*receipt.origin), (receipt.index, ORIGIN));
        assert!(receipt.is_of(&record.leaf));
        let proof = inclusion(record.seq, 600, &tiles).unwrap();
        let root = checkpoint.head.root;
        assert!(verify_inclusion(
            receipt.leaf_hash,
            record.seq,
            600,
            &proof,
            root
        ));
    }
    let old = log.checkpoint().unwrap().head;
    test.append(&log, 600, Priority::Normal).unwrap();
    let new = log.close().unwrap().head;
    let proof = crate::tree::proof::consistency(old.size, new.size, &tiles).unwrap();
    assert!(verify_consistency(
        (old.size, old.root),
        (new.size, new.root),
        &proof
    ));
    assert_eq!(
        test.append(&log, 601, Priority::Normal),
        Err(AppendError::Closed)
    );
    assert_eq!(log.close().unwrap().head, new);
}

#[test]
fn an_entry_that_is_no_record_is_refused_and_takes_no_place() {
    let test = TestLog::new();
    let log = test.open();
    for id in ["", "a\nb", "\",\"seq\":0"] {
        let entry = Entry {
            kind: Kind::Outcome,
            id: id.to_owned(),
            fields: Members::parse("{}".to_owned()).unwrap(),
        };
        let refused = TestLog::append_entry(&log, entry, Priority::Restore);
        assert!(matches!(refused, Err(AppendError::Entry(_))), "{refused:?}");
    }
    let refused = TestLog::append_entry(&log, TestLog::entry(0, MAX_LEAF), Priority::Restore);
    assert!(matches!(refused, Err(AppendError::Entry(_))));
    assert_eq!(test.append(&log, 0, Priority::Normal).unwrap().index, 0);
    // The longest entry that is taken fits a leaf at any sequence.
    let fits = MAX_LEAF - TestLog::entry(1, 0).weight();
    assert_eq!(test.append_sized(&log, 1, fits).index, 1);
    assert!(find(&test.dir(), "id-1").unwrap().unwrap().leaf.len() <= MAX_LEAF);
}

#[test]
fn what_nobody_waits_for_is_written_soon_and_in_its_turn() {
    let test = TestLog::new();
    let log = test.open();
    let (told, answers) = std::sync::mpsc::channel();
    let soon = |n: u64| {
        let told = told.clone();
        log.append_soon(TestLog::entry(n, 1), Priority::Restore, move |result| {
            told.send(result.unwrap().index).unwrap();
        })
        .unwrap();
    };
    let patience = Duration::from_secs(60);
    soon(0);
    assert_eq!(answers.recv_timeout(patience), Ok(0), "alone");
    soon(1);
    soon(2);
    assert_eq!(test.append(&log, 3, Priority::Normal).unwrap().index, 3);
    assert_eq!(
        answers.try_iter().collect::<Vec<_>>(),
        [1, 2],
        "with another"
    );
    soon(4);
    assert_eq!(log.close().unwrap().head.size, 5, "at the end");
}

#[test]
fn a_full_queue_refuses_and_drops_nothing() {
    let test = TestLog::new();
    test.options.lock().unwrap().queue_bytes = 400_000;
    let log = test.open();
    let (release, hold) = channel::<()>();
    let (told, answers) = channel();
    // The log thread stands in this callback while the queue fills.
    let first = told.clone();
    log.append(TestLog::entry(0, 1), Priority::Normal, move |result| {
        first.send(result).unwrap();
        hold.recv().unwrap();
    })
    .unwrap();
    answers.recv().unwrap().unwrap();
    let mut taken = 0;
    let mut fill = |priority| {
        loop {
            let told = told.clone();
            let done = move |result| told.send(result).unwrap();
            match log.append(TestLog::entry(1 + taken, 10_000), priority, done) {
                Ok(()) => taken += 1,
                Err(error) => return (taken, error),
            }
        }
    };
    assert_eq!(fill(Priority::Normal), (29, AppendError::Busy));
    // The last quarter is for restores and approvals.
    assert_eq!(fill(Priority::Restore), (39, AppendError::Busy));
    assert!(log.state().queued_bytes > 390_000);
    release.send(()).unwrap();
    let indexes: Vec<u64> = answers.iter().take(39).map(|r| r.unwrap().index).collect();
    assert_eq!(indexes, (1..=39).collect::<Vec<u64>>());
    log.close().unwrap();
    assert_eq!(Records::open(&test.dir(), 0).unwrap().count(), 40);
}

#[test]
fn a_panicking_callback_harms_nobody() {
    let test = TestLog::new();
    let log = test.open();
    log.append(TestLog::entry(0, 1), Priority::Normal, |_| {
        unreachable!("on purpose")
    })
    .unwrap();
    assert_eq!(test.append(&log, 1, Priority::Normal).unwrap().index, 1);
}

#[test]
fn segments_rotate_into_files_prepared_before() {
    let test = TestLog::new();
    let log = test.open();
    for n in 0..50 {
        test.append_sized(&log, n, 30_000);
    }
    let segments = segment::list(&test.dir()).unwrap();
    assert_eq!(segments.len(), 13);
    for sealed in &segments[..12] {
        let bytes = fs::read(&sealed.path).unwrap();
        assert!(bytes.len() < 131_072 && bytes.ends_with(b"}\n"));
    }
    // The one in use has its room; once closed it is plain JSON lines.
    let last = &segments[12].path;
    assert_eq!(fs::metadata(last).unwrap().len(), 131_072);
    log.close().unwrap();
    assert!(fs::read(last).unwrap().ends_with(b"}\n"));
    let log = test.open();
    assert_eq!(test.append(&log, 50, Priority::Normal).unwrap().index, 50);
}

#[test]
fn checkpoints_come_by_number_and_by_time() {
    let test = TestLog::new();
    test.options.lock().unwrap().checkpoint_records = 10;
    let log = test.open();
    let saved = || SignedHead::parse(&fs::read_to_string(test.dir().join("checkpoint")).unwrap());
    let wait_for = |size, pass: Duration| {
        while log.state().checkpoint_size != Some(size) {
            test.advance(pass);
            std::thread::yield_now();
        }
        assert_eq!(saved().unwrap().head.size, size);
    };
    assert_eq!(saved().unwrap().head.size, 0);
    for n in 0..10 {
        test.append(&log, n, Priority::Normal).unwrap();
    }
    wait_for(10, Duration::ZERO);
    test.append(&log, 10, Priority::Normal).unwrap();
    test.append(&log, 11, Priority::Normal).unwrap();
    wait_for(12, Duration::from_secs(61));
    let signed = saved().unwrap();
    assert!(signed.note.is_signed_by(&TestLog::key(1).verifier()));
}

#[test]
fn one_log_has_one_writer() {
    let test = TestLog::new();
    let log = test.open();
    assert!(matches!(test.try_open(), Err(OpenError::Locked(_))));
    log.close().unwrap();
    test.open();
}

#[test]
fn options_and_keys_that_do_not_fit_are_refused() {
    let test = TestLog::new();
    let refuse = |change: &dyn Fn(&mut crate::open::LogOptions)| {
        let mut options = test.options.lock().unwrap().clone();
        change(&mut options);
        super::DecisionLog::open(options, TestLog::key(1))
            .err()
            .unwrap()
    };
    assert!(matches!(
        refuse(&|o| o.origin = "a b".to_owned()),
        OpenError::Origin(_)
    ));
    assert!(matches!(
        refuse(&|o| o.origin = "other".to_owned()),
        OpenError::KeyName { .. }
    ));
    assert!(matches!(
        refuse(&|o| o.segment_bytes = 100_000),
        OpenError::TooSmall { .. }
    ));
    assert!(matches!(
        refuse(&|o| o.emergency_bytes = 1),
        OpenError::TooSmall { .. }
    ));
    assert!(matches!(
        refuse(&|o| o.queue_bytes = 1),
        OpenError::TooSmall { .. }
    ));
}

#[test]
fn a_log_is_verified_and_read_while_it_is_written() {
    let test = TestLog::new();
    test.options.lock().unwrap().checkpoint_records = 100;
    let log = test.open();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for n in 0..3000 {
                let done = |result: Result<_, _>| drop(result.unwrap());
                while log
                    .append(TestLog::entry(n, 400), Priority::Normal, done)
                    .is_err()
                {
                    std::thread::yield_now();
                }
                if n % 10 == 0 {
                    test.append(&log, 10_000 + n, Priority::Normal).unwrap();
                }
            }
        });
        let (mut sizes, mut follow) = (vec![0], crate::read::Follow::from(&test.dir(), 0).unwrap());
        let mut followed = 0;
        while !writer.is_finished() {
            let report = verify(&test.dir(), &TestLog::key(1).verifier(), &[]).unwrap();
            assert!(report.signed_to <= report.size && report.size >= *sizes.last().unwrap());
            sizes.push(report.size);
            followed += follow.step().unwrap().len();
        }
        assert!(sizes.len() > 2);
        while followed < 3300 {
            followed += follow.step().unwrap().len();
        }
    });
    assert_eq!(log.close().unwrap().head.size, 3300);
}

#[test]
fn a_callback_may_drop_the_last_hold_on_the_log() {
    let test = TestLog::new();
    let log = std::sync::Arc::new(test.open());
    let (last, (told, answer)) = (std::sync::Arc::clone(&log), channel());
    let (go, wait) = channel::<()>();
    let done = move |result: Result<crate::record::Receipt, _>| {
        wait.recv().unwrap();
        drop(last);
        told.send(result).unwrap();
    };
    log.append(TestLog::entry(0, 1), Priority::Normal, done)
        .unwrap();
    drop(log);
    go.send(()).unwrap();
    assert_eq!(answer.recv().unwrap().unwrap().index, 0);
    // The lock is given back when the thread has ended.
    while test.try_open().is_err() {
        std::thread::yield_now();
    }
}

#[test]
fn bodies_beside_the_log_are_judged_with_it() {
    let test = TestLog::new();
    let log = test.open();
    let digest = log.store_blob("input", b"{\"a\":1}").unwrap();
    assert_eq!(log.store_blob("input", b"{\"a\":1}").unwrap(), digest);
    let naming = |input: &str| Entry {
        kind: Kind::Decision,
        id: "d".to_owned(),
        fields: Members::parse(format!("{{\"input\":{input}}}")).unwrap(),
    };
    let beside = format!("{{\"blob\":\"{digest}\",\"bytes\":7}}");
    TestLog::append_entry(&log, naming(&beside), Priority::Normal).unwrap();
    // The same text inside a body that a caller sent is not a reference of ours.
    let lie = format!(
        "{{\"request\":{{\"input\":{{\"blob\":\"sha256:{}\",\"bytes\":1}}}}}}",
        "0".repeat(64)
    );
    TestLog::append_entry(&log, naming(&lie), Priority::Normal).unwrap();
    log.close().unwrap();
    let key = TestLog::key(1).verifier();
    assert_eq!(exit_code(&verify(&test.dir(), &key, &[])), 3);
    fs::write(crate::blob::path(&test.dir(), &digest), b"{\"a\":2}").unwrap();
    let result = verify(&test.dir(), &key, &[]);
    assert!(
        result
            .unwrap_err()
            .to_string()
            .contains("broken at record 0")
    );
}
