//! Full disks and failed syncs.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::time::Duration;

use super::super::{AppendError, LogError, Space};
use crate::medium::fault::{Call, FaultMedium};
use crate::record::Priority;
use crate::test_log::TestLog;
use crate::verify::{exit_code, verify};

#[test]
fn a_full_disk_keeps_room_for_restores() {
    let test = TestLog::new();
    let medium = FaultMedium::default();
    let (log, _) = test.open_on(medium.clone()).unwrap();
    let ready = |file: &str| test.dir().join(file).exists();
    while !ready("emergency/reserve") || !ready("spare/next") {
        std::thread::yield_now();
    }
    medium.set_full(true);
    let normal = |n| TestLog::append_entry(&log, TestLog::entry(n, 30_000), Priority::Normal);
    let restore = |n| TestLog::append_entry(&log, TestLog::entry(n, 30_000), Priority::Restore);
    // Two segments are there: the one in use and the one prepared. When the next
    // cannot be prepared, reads and snapshots are refused.
    let mut n = 0;
    while normal(n).is_ok() {
        n += 1;
        assert!(n <= 8, "the disk is full");
    }
    assert_eq!(normal(n), Err(AppendError::LowSpace));
    assert_eq!(log.state().space, Space::Low);
    assert!(log.state().space_error.is_some());
    let mut restored = 0;
    while restore(100 + restored).is_ok() {
        restored += 1;
    }
    assert!(
        n + restored == 12,
        "{n} normal and {restored} restores fill three segments"
    );
    assert_eq!(log.state().space, Space::Emergency);
    assert_eq!(restore(999), Err(AppendError::Full));
    assert_eq!(log.poisoned(), None);
    // A checkpoint is still signed; it says that its copy was not saved.
    assert!(log.checkpoint().unwrap().unsaved.is_some());
    // A restart on the full disk opens, and still refuses reads.
    drop(log);
    let (log, opened) = test.open_on(medium.clone()).unwrap();
    assert_eq!(opened.size, 12);
    let normal = |n| TestLog::append_entry(&log, TestLog::entry(n, 30_000), Priority::Normal);
    while log.state().space == Space::Ample {
        std::thread::yield_now();
    }
    assert_eq!(normal(999), Err(AppendError::LowSpace));
    // Space comes back: so do reads, without a restart.
    medium.set_full(false);
    while log.state().space != Space::Ample {
        test.advance(Duration::from_millis(50));
        std::thread::yield_now();
    }
    normal(200).unwrap();
    log.close().unwrap();
    let result = verify(&test.dir(), &TestLog::key(1).verifier(), &[]);
    assert_eq!(result.as_ref().unwrap().missing_tiles, 0);
    assert_eq!(exit_code(&result), 3);
}

#[test]
fn a_failed_sync_poisons_until_the_log_is_reopened() {
    let test = TestLog::new();
    let medium = FaultMedium::default();
    let (log, _) = test.open_on(medium.clone()).unwrap();
    while !test.dir().join("spare/next").exists() || !test.dir().join("emergency/reserve").exists()
    {
        std::thread::yield_now();
    }
    log.checkpoint().unwrap();
    test.append(&log, 0, Priority::Normal).unwrap();
    medium.plan(Call::Sync, 1, std::io::ErrorKind::Other);
    let poisoned = |result| matches!(result, Err(AppendError::Poisoned(_)));
    assert!(poisoned(test.append(&log, 1, Priority::Normal).map(drop)));
    // The medium says Ok again; the log must not believe it.
    for n in 2..20 {
        assert!(poisoned(test.append(&log, n, Priority::Restore).map(drop)));
    }
    assert!(matches!(
        log.checkpoint(),
        Err(LogError::Append(AppendError::Poisoned(_)))
    ));
    assert!(log.store_blob("bundle", b"x").is_err());
    assert!(log.poisoned().unwrap().contains("writing records"));
    assert_eq!(log.size(), 1);
    assert!(log.close().is_err());
    let reopened = test.open();
    assert!(test.append(&reopened, 30, Priority::Normal).unwrap().index >= 1);
}

#[test]
fn what_is_read_back_after_a_failed_sync_is_made_durable_before_it_counts() {
    let test = TestLog::new();
    let medium = FaultMedium::default();
    let (log, _) = test.open_on(medium.clone()).unwrap();
    while !test.dir().join("spare/next").exists() || !test.dir().join("emergency/reserve").exists()
    {
        std::thread::yield_now();
    }
    log.checkpoint().unwrap();
    medium.plan(Call::Sync, 1, std::io::ErrorKind::Other);
    assert!(test.append(&log, 0, Priority::Normal).is_err());
    drop(log);
    // The page is still in the cache, so the record is read; the disk lacks it.
    let (log, opened) = test.open_on(medium.clone()).unwrap();
    assert_eq!((opened.size, opened.tail), (1, 1));
    let cut = test.beside("cut");
    medium.crash(&test.dir(), &cut);
    drop(log);
    let mut options = test.options.lock().unwrap().clone();
    options.dir = cut;
    let (_, opened) = super::super::DecisionLog::open(options, TestLog::key(1)).unwrap();
    assert_eq!(opened.size, 1);
}
