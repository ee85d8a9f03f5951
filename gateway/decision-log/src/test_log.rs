//! A small log in a temporary directory, for the tests of this crate.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;

use crate::append::{AppendError, DecisionLog};
use crate::key::SigningKey;
use crate::medium::Medium;
use crate::open::{LogOptions, OpenError, Opened};
use crate::record::{Entry, Kind, Members, Priority, Receipt};

pub(crate) const ORIGIN: &str = "log.example/test";

/// A directory, a clock that moves by hand, and a fixed key.
pub(crate) struct TestLog {
    root: tempfile::TempDir,
    now: Arc<AtomicI64>,
    pub(crate) options: Mutex<LogOptions>,
}

impl TestLog {
    pub(crate) fn new() -> TestLog {
        let root = tempfile::tempdir().unwrap();
        let now = Arc::new(AtomicI64::new(1_795_402_800_000));
        let clock = Arc::clone(&now);
        let mut options = LogOptions::new(root.path().join("log"), ORIGIN, move || {
            Timestamp::from_millisecond(clock.load(Ordering::SeqCst)).unwrap()
        });
        options.segment_bytes = 131_072;
        options.emergency_bytes = 131_072;
        options.retry_space = Duration::from_millis(20);
        TestLog {
            root,
            now,
            options: Mutex::new(options),
        }
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.root.path().join("log")
    }

    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Moves the clock.
    pub(crate) fn advance(&self, by: Duration) {
        self.now.fetch_add(by.as_millis() as i64, Ordering::SeqCst);
    }

    pub(crate) fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(ORIGIN, &[seed; 32]).unwrap()
    }

    pub(crate) fn try_open(&self) -> Result<(DecisionLog, Opened), OpenError> {
        DecisionLog::open(self.options.lock().unwrap().clone(), TestLog::key(1))
    }

    pub(crate) fn open(&self) -> DecisionLog {
        self.try_open().unwrap().0
    }

    pub(crate) fn open_on(
        &self,
        medium: impl Medium + 'static,
    ) -> Result<(DecisionLog, Opened), OpenError> {
        let options = self.options.lock().unwrap().clone();
        DecisionLog::open_on(Arc::new(medium), options, TestLog::key(1))
    }

    pub(crate) fn entry(n: u64, bytes: usize) -> Entry {
        Entry {
            kind: Kind::Decision,
            id: format!("id-{n}"),
            fields: Members::parse(format!("{{\"n\":{n},\"pad\":\"{}\"}}", "x".repeat(bytes)))
                .unwrap(),
        }
    }

    /// Appends and waits for the answer.
    pub(crate) fn append(
        &self,
        log: &DecisionLog,
        n: u64,
        priority: Priority,
    ) -> Result<Receipt, AppendError> {
        TestLog::append_entry(log, TestLog::entry(n, 10), priority)
    }

    pub(crate) fn append_sized(&self, log: &DecisionLog, n: u64, bytes: usize) -> Receipt {
        TestLog::append_entry(log, TestLog::entry(n, bytes), Priority::Normal).unwrap()
    }

    pub(crate) fn append_entry(
        log: &DecisionLog,
        entry: Entry,
        priority: Priority,
    ) -> Result<Receipt, AppendError> {
        let (told, answer) = channel();
        log.append(entry, priority, move |result| drop(told.send(result)))?;
        answer.recv().unwrap()
    }
}
