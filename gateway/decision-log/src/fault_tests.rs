//! Every n-th failing call, and what a power cut leaves after it.
//!
//! A small workload is run with the n-th write, sync, rename, creation or cut
//! failing, for all n that are reached. Whatever fails: what was acknowledged is in
//! the log that is opened afterwards, from the files as they stand and from what
//! survives a power cut; and after a failed sync nothing more is acknowledged.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use crate::append::DecisionLog;
use crate::blob;
use crate::medium::fault::{Call, FaultMedium};
use crate::read::Records;
use crate::record::{Priority, Receipt};
use crate::segment::SEGMENTS;
use crate::test_log::TestLog;
use crate::verify::{exit_code, verify};

const BODY: &[u8] = b"a body beside the log";

#[derive(Default)]
struct Outcome {
    acknowledged: Vec<Receipt>,
    body: Option<blob::Digest>,
}

/// Appends across three segments with a checkpoint and a body between.
fn work(test: &TestLog, medium: &FaultMedium) -> Outcome {
    let mut outcome = Outcome::default();
    let Ok((log, _)) = test.open_on(medium.clone()) else {
        return outcome;
    };
    for n in 0..12 {
        let broken = medium.failed().is_some_and(|failed| {
            matches!(failed.call, Call::Sync | Call::SyncDir)
                && failed
                    .path
                    .components()
                    .any(|part| part.as_os_str() == SEGMENTS)
        });
        let priority = if n % 2 == 0 {
            Priority::Normal
        } else {
            Priority::Restore
        };
        let result = TestLog::append_entry(&log, TestLog::entry(n, 25_000), priority);
        assert!(
            !broken || result.is_err(),
            "acknowledged after a failed sync"
        );
        assert!(!broken || log.poisoned().is_some());
        outcome.acknowledged.extend(result);
        if n == 4 {
            outcome.body = log.store_blob("bundle", BODY).ok();
            let _ = log.checkpoint();
        }
    }
    let _ = log.close();
    outcome
}

/// Opens what is left and holds it against what was acknowledged.
fn judge(dir: &Path, test: &TestLog, outcome: &Outcome, what: &str) {
    let mut options = test.options.lock().unwrap().clone();
    options.dir = dir.to_owned();
    let medium = Arc::new(FaultMedium::default());
    let (log, _) = DecisionLog::open_on(medium, options, TestLog::key(1))
        .unwrap_or_else(|error| unreachable!("{what}: not reopened: {error}"));
    TestLog::append_entry(&log, TestLog::entry(99, 5), Priority::Normal).unwrap();
    log.close().unwrap();
    let lines: Vec<_> = Records::open(dir, 0).unwrap().map(Result::unwrap).collect();
    for receipt in &outcome.acknowledged {
        let line = lines.get(usize::try_from(receipt.index).unwrap());
        let kept = line.is_some_and(|record| receipt.is_of(&record.leaf));
        assert!(
            kept,
            "{what}: acknowledged record {} is gone",
            receipt.index
        );
    }
    if let Some(digest) = &outcome.body {
        assert_eq!(blob::read(dir, digest).unwrap(), BODY, "{what}");
    }
    let result = verify(dir, &TestLog::key(1).verifier(), &[]);
    assert_eq!(exit_code(&result), 3, "{what}: {result:?}");
}

fn every(call: Call, kind: ErrorKind) -> u64 {
    for n in 1..=200 {
        let test = TestLog::new();
        let medium = FaultMedium::default();
        medium.plan(call, n, kind);
        let outcome = work(&test, &medium);
        let what = format!("{call:?} {n} {kind:?}");
        let cut = test.beside("cut");
        medium.crash(&test.dir(), &cut);
        judge(&cut, &test, &outcome, &format!("{what}, power cut"));
        judge(&test.dir(), &test, &outcome, &what);
        if medium.failed().is_none() {
            assert_eq!(outcome.acknowledged.len(), 12, "{what}");
            return n - 1;
        }
    }
    200
}

#[test]
fn every_failing_write_is_survived() {
    assert!(every(Call::Write, ErrorKind::Other) > 15);
}

#[test]
fn every_write_without_space_is_survived() {
    assert!(every(Call::Write, ErrorKind::StorageFull) > 15);
}

#[test]
fn every_short_write_is_survived() {
    assert!(every(Call::ShortWrite, ErrorKind::Other) > 15);
}

#[test]
fn every_failing_sync_is_survived() {
    assert!(every(Call::Sync, ErrorKind::Other) > 15);
}

#[test]
fn every_sync_without_space_is_survived() {
    assert!(every(Call::Sync, ErrorKind::StorageFull) > 15);
}

#[test]
fn every_failing_directory_sync_is_survived() {
    assert!(every(Call::SyncDir, ErrorKind::Other) > 5);
}

#[test]
fn every_failing_rename_is_survived() {
    assert!(every(Call::Rename, ErrorKind::Other) > 5);
}

#[test]
fn every_failing_creation_is_survived() {
    assert!(every(Call::Create, ErrorKind::Other) > 5);
}

#[test]
fn every_failing_cut_is_survived() {
    assert!(every(Call::SetLen, ErrorKind::Other) > 1);
}
