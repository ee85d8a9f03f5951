//! Time, given to whoever needs it: nobody else in the gateway reads a clock.
//!
//! Wall time stamps records and judges expiry; monotonic time measures
//! durations and survives a step of the wall clock. Tests move both by hand.

use std::sync::{Arc, Mutex, PoisonError};
#[cfg(test)]
use std::time::Duration;
use std::time::Instant;

use jiff::Timestamp;

/// A source of wall and monotonic time; cheap to clone.
#[derive(Clone)]
pub(crate) struct Clock(Source);

#[derive(Clone)]
enum Source {
    System,
    Manual(Arc<Mutex<Manual>>),
}

struct Manual {
    wall: Timestamp,
    monotonic: Instant,
}

impl Clock {
    /// The machine's own clocks.
    pub(crate) fn system() -> Self {
        Clock(Source::System)
    }

    /// A clock that stands still until [`Clock::advance`] moves it.
    #[cfg(test)]
    pub(crate) fn manual(wall: Timestamp) -> Self {
        let monotonic = Instant::now();
        Clock(Source::Manual(Arc::new(Mutex::new(Manual {
            wall,
            monotonic,
        }))))
    }

    /// Wall-clock time.
    pub(crate) fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => Timestamp::now(),
            Source::Manual(m) => m.lock().unwrap_or_else(PoisonError::into_inner).wall,
        }
    }

    /// Monotonic time: never steps back, says nothing about the date.
    pub(crate) fn monotonic(&self) -> Instant {
        match &self.0 {
            Source::System => Instant::now(),
            Source::Manual(m) => m.lock().unwrap_or_else(PoisonError::into_inner).monotonic,
        }
    }

    /// Moves a manual clock forward; the system clock stays as it is.
    #[cfg(test)]
    pub(crate) fn advance(&self, by: Duration) {
        if let Source::Manual(m) = &self.0 {
            let mut m = m.lock().unwrap_or_else(PoisonError::into_inner);
            m.monotonic += by;
            if let Ok(wall) = m.wall.checked_add(by) {
                m.wall = wall;
            }
        }
    }
}
