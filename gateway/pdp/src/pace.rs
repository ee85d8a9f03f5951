//! How fast a policy judges, to know whether somebody may wait for it in place.
//!
//! One slow evaluation takes that away for many: who can make a policy slow holds up
//! no more than one request in so many, and never for longer than the time limit.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Processor time of an evaluation above which the policy is not quick.
const QUICK: Duration = Duration::from_millis(1);
/// Quick evaluations that a policy must show, at first and after each slow one.
const PROBATION: u32 = 256;

/// Quick evaluations that are still to be shown.
#[derive(Debug)]
pub(crate) struct Pace(AtomicU32);

impl Default for Pace {
    fn default() -> Pace {
        Pace(AtomicU32::new(PROBATION))
    }
}

impl Pace {
    /// Notes the processor time that one evaluation took.
    pub(crate) fn note(&self, took: Duration) {
        if took > QUICK {
            self.0.store(PROBATION, Ordering::Relaxed);
        } else if !self.is_quick() {
            // Two at once may count as one; that only takes longer.
            let left = self.0.load(Ordering::Relaxed);
            self.0.store(left.saturating_sub(1), Ordering::Relaxed);
        }
    }

    /// Whether nothing is to be shown any more.
    pub(crate) fn is_quick(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{PROBATION, Pace, QUICK};

    #[test]
    fn a_policy_is_quick_after_probation_and_until_it_was_slow_once() {
        let pace = Pace::default();
        for _ in 0..2 {
            for _ in 0..PROBATION {
                assert!(!pace.is_quick());
                pace.note(QUICK);
            }
            assert!(pace.is_quick());
            pace.note(QUICK + Duration::from_nanos(1));
            assert!(!pace.is_quick());
        }
    }
}
