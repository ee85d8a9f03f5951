//! A million records: restart within 2 s, full verification within 10 s.
//!
//! Ignored by default: it writes a gigabyte. Figures hold for a release build:
//! `cargo test --release -p vaultgate-decision-log --test scale -- --ignored --nocapture`.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "tests fail by panicking and tell their figures"
)]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use vaultgate_decision_log::verify::{exit_code, verify};
use vaultgate_decision_log::{
    AppendError, DecisionLog, Entry, Kind, LogOptions, Members, Priority, SigningKey,
};

const RECORDS: u64 = 1_000_000;
const ORIGIN: &str = "vaultgate.example/log";

fn options(dir: &Path) -> LogOptions {
    LogOptions::new(dir, ORIGIN, jiff::Timestamp::now)
}

fn fill(log: &DecisionLog) {
    let pad = "x".repeat(600);
    for n in 0..RECORDS {
        loop {
            let entry = Entry {
                kind: Kind::Decision,
                id: format!("00000000-0000-4000-8000-{n:012}"),
                fields: Members::parse(format!(
                    "{{\"verdict\":\"deny\",\"input\":{{\"pad\":\"{pad}\"}}}}"
                ))
                .unwrap(),
            };
            match log.append(entry, Priority::Normal, |result| drop(result.unwrap())) {
                Ok(()) => break,
                Err(AppendError::Busy) => std::thread::yield_now(),
                Err(error) => unreachable!("{error}"),
            }
        }
    }
}

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

#[test]
#[ignore = "writes a gigabyte; figures hold for a release build"]
fn a_million_records_restart_and_verify_in_time() {
    let home = tempfile::tempdir().unwrap();
    let key = home.path().join("key");
    let pinned = SigningKey::generate(&key, ORIGIN).unwrap().verifier();
    let dir = home.path().join("log");
    let began = Instant::now();
    let mut wide = options(&dir);
    // No checkpoint falls near the end: the copy below has a long tail.
    wide.checkpoint_records = RECORDS - RECORDS / 10;
    wide.checkpoint_every = Duration::from_secs(3600);
    let (log, _) = DecisionLog::open(wide, SigningKey::load(&key).unwrap()).unwrap();
    fill(&log);
    while log.size() < RECORDS {
        std::thread::yield_now();
    }
    eprintln!("written in {:?}", began.elapsed());
    let crashed = home.path().join("crashed");
    copy(&dir, &crashed);
    log.close().unwrap();
    let mut worst = Duration::ZERO;
    for dir in [&dir, &crashed] {
        let began = Instant::now();
        let (log, opened) =
            DecisionLog::open(options(dir), SigningKey::load(&key).unwrap()).unwrap();
        worst = worst.max(began.elapsed());
        eprintln!("opened in {:?}: {opened:?}", began.elapsed());
        assert!(!opened.rebuilt && opened.size == RECORDS);
        drop(log);
    }
    let anchor = home.path().join("anchor");
    fs::copy(dir.join("checkpoint"), &anchor).unwrap();
    let began = Instant::now();
    let result = verify(&dir, &pinned, &[anchor]);
    let verified = began.elapsed();
    eprintln!("verified in {verified:?}");
    assert_eq!(exit_code(&result), 0, "{result:?}");
    fs::remove_dir_all(dir.join("tile")).unwrap();
    let began = Instant::now();
    let (_log, opened) = DecisionLog::open(options(&dir), SigningKey::load(&key).unwrap()).unwrap();
    eprintln!("tiles rebuilt in {:?}", began.elapsed());
    assert!(opened.rebuilt);
    if !cfg!(debug_assertions) {
        assert!(worst < Duration::from_secs(2), "restart took {worst:?}");
        assert!(
            verified < Duration::from_secs(10),
            "verify took {verified:?}"
        );
    }
}
