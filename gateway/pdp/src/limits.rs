//! What one evaluation may cost.
//!
//! The engine's time limit is cooperative: it is looked at between steps, never
//! inside a builtin. The stack is large because the engine recurses natively and
//! an overflow would abort the process.

use std::num::NonZeroU32;
use std::time::Duration;

/// Limits of evaluation and of the queue before it.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Longest evaluation of one request.
    pub time_limit: Duration,
    /// Steps between two looks at the time.
    pub check_interval: NonZeroU32,
    /// Stack of a thread that evaluates, bytes. Virtual memory only.
    pub stack_bytes: usize,
    /// Whether the bytecode machine may decide plain reads and snapshots of bundles that it is
    /// fit for.
    pub machine: bool,
    /// Requests that may wait for a thread; one more is denied.
    pub queue: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            time_limit: Duration::from_millis(20),
            check_interval: NonZeroU32::MIN.saturating_add(15),
            stack_bytes: 64 << 20,
            machine: false,
            queue: 1024,
        }
    }
}

impl Limits {
    /// The same with another time limit.
    pub fn with_time_limit(&self, time_limit: Duration) -> Limits {
        Limits {
            time_limit,
            ..self.clone()
        }
    }
}
