//! How a log is opened: sizes, times, names, checked before anything is touched.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::OpenError;
use crate::key::SigningKey;
use crate::note::is_name;
use crate::record::MAX_LEAF;

/// Least room of a segment: two of the longest lines.
const MIN_SEGMENT: u64 = 2 * (MAX_LEAF as u64 + 1);
/// Least room of the queue.
const MIN_QUEUE: usize = 4 * (MAX_LEAF + 1);

/// Where the log reads the time.
pub(crate) type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// How a log is opened.
#[derive(Clone)]
pub struct LogOptions {
    /// Directory of the log.
    pub dir: PathBuf,
    /// Name of the log: what its checkpoints and receipts bear.
    pub origin: String,
    /// Bytes that a segment is prepared with.
    pub segment_bytes: u64,
    /// Bytes kept for restores and approvals when the disk is full; 0 keeps none.
    pub emergency_bytes: u64,
    /// Bytes that may wait to be written; the last quarter is for restores.
    pub queue_bytes: usize,
    /// Longest time between checkpoints while records come.
    pub checkpoint_every: Duration,
    /// Most records between checkpoints.
    pub checkpoint_records: u64,
    /// How often to try again for space when the disk is short.
    pub retry_space: Duration,
    /// Files with checkpoints and receipts kept outside; one that does not exist
    /// yet is passed over.
    pub anchors: Vec<PathBuf>,
    /// Why the log may go on although a known checkpoint contradicts it. Has no
    /// effect on a log that none contradicts.
    pub declare_fork: Option<String>,
    /// Where the time comes from: the log reads no clock of its own.
    pub clock: Clock,
}

impl LogOptions {
    /// Options with the usual sizes.
    pub fn new(
        dir: impl Into<PathBuf>,
        origin: impl Into<String>,
        clock: impl Fn() -> Timestamp + Send + Sync + 'static,
    ) -> LogOptions {
        LogOptions {
            dir: dir.into(),
            origin: origin.into(),
            segment_bytes: 64 << 20,
            emergency_bytes: 16 << 20,
            queue_bytes: 8 << 20,
            checkpoint_every: Duration::from_secs(60),
            checkpoint_records: 100_000,
            retry_space: Duration::from_secs(10),
            anchors: Vec::new(),
            declare_fork: None,
            clock: Arc::new(clock),
        }
    }

    pub(super) fn check(&self, key: &SigningKey) -> Result<(), OpenError> {
        if !is_name(&self.origin) {
            return Err(OpenError::Origin(self.origin.clone()));
        }
        if key.name() != self.origin {
            return Err(OpenError::KeyName {
                key: key.name().to_owned(),
                origin: self.origin.clone(),
            });
        }
        let small = |name, given: u64, least: u64| OpenError::TooSmall { name, given, least };
        if self.segment_bytes < MIN_SEGMENT {
            return Err(small("segment_bytes", self.segment_bytes, MIN_SEGMENT));
        }
        if self.emergency_bytes > 0 && self.emergency_bytes < MIN_SEGMENT {
            return Err(small("emergency_bytes", self.emergency_bytes, MIN_SEGMENT));
        }
        if self.queue_bytes < MIN_QUEUE {
            let given = self.queue_bytes as u64;
            return Err(small("queue_bytes", given, MIN_QUEUE as u64));
        }
        Ok(())
    }
}
