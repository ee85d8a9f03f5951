//! Time, given to whoever needs it: nobody else in the gateway reads a clock.
//!
//! Wall time stamps records and judges expiry; monotonic time measures
//! durations and survives a step of the wall clock. Tests move both by hand.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

/// A source of wall and monotonic time; cheap to clone.
#[derive(Clone)]
pub(crate) struct Clock {
    source: Source,
    /// Seconds that Azure's clock was last seen ahead of this one.
    ahead: Arc<AtomicI64>,
}

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
        Clock::of(Source::System)
    }

    /// A clock that stands still until [`Clock::advance`] moves it.
    #[cfg(test)]
    pub(crate) fn manual(wall: Timestamp) -> Self {
        let monotonic = Instant::now();
        Clock::of(Source::Manual(Arc::new(Mutex::new(Manual {
            wall,
            monotonic,
        }))))
    }

    /// Wall-clock time.
    pub(crate) fn now(&self) -> Timestamp {
        match &self.source {
            Source::System => Timestamp::now(),
            Source::Manual(m) => m.lock().unwrap_or_else(PoisonError::into_inner).wall,
        }
    }

    /// Monotonic time: never steps back, says nothing about the date.
    pub(crate) fn monotonic(&self) -> Instant {
        match &self.source {
            Source::System => Instant::now(),
            Source::Manual(m) => m.lock().unwrap_or_else(PoisonError::into_inner).monotonic,
        }
    }

    /// Compares this clock with the `Date` of an answer of Azure.
    pub(crate) fn compare(&self, date: &str) {
        if let Ok(theirs) = jiff::fmt::rfc2822::parse(date) {
            let ahead = theirs.timestamp().duration_since(self.now()).as_secs();
            self.ahead.store(ahead, Ordering::Relaxed);
        }
    }

    /// How far this clock was last seen from Azure's.
    pub(crate) fn skew(&self) -> Duration {
        Duration::from_secs(self.ahead.load(Ordering::Relaxed).unsigned_abs())
    }

    fn of(source: Source) -> Clock {
        Clock {
            source,
            ahead: Arc::default(),
        }
    }

    /// Moves a manual clock forward; the system clock stays as it is.
    #[cfg(test)]
    pub(crate) fn advance(&self, by: Duration) {
        if let Source::Manual(m) = &self.source {
            let mut m = m.lock().unwrap_or_else(PoisonError::into_inner);
            m.monotonic += by;
            if let Ok(wall) = m.wall.checked_add(by) {
                m.wall = wall;
            }
        }
    }
}
