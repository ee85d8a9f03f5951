//! Time, given to whoever needs it: nobody else in the gateway reads a clock.
//!
//! Wall time stamps records and judges expiry; monotonic time measures
//! durations and survives a step of the wall clock. Tests move both by hand.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

/// How much later it can be than a `Date` says: it holds no parts of a second.
const DATE: Duration = Duration::from_secs(1);

/// A source of wall and monotonic time; cheap to clone.
#[derive(Clone)]
pub(crate) struct Clock {
    source: Source,
    /// What time it was, and when that was known: at first the wall clock's word,
    /// then Azure's.
    known: Arc<Mutex<(Timestamp, Instant)>>,
    compared: Arc<AtomicBool>,
}

#[derive(Clone)]
enum Source {
    System,
    #[cfg(any(test, fuzzing))]
    Manual(Arc<Mutex<Manual>>),
}

#[cfg(any(test, fuzzing))]
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
    #[cfg(any(test, fuzzing))]
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
            #[cfg(any(test, fuzzing))]
            Source::Manual(m) => m.lock().unwrap_or_else(PoisonError::into_inner).wall,
        }
    }

    /// Monotonic time: never steps back, says nothing about the date.
    pub(crate) fn monotonic(&self) -> Instant {
        match &self.source {
            Source::System => Instant::now(),
            #[cfg(any(test, fuzzing))]
            Source::Manual(m) => m.lock().unwrap_or_else(PoisonError::into_inner).monotonic,
        }
    }

    /// Takes the `Date` of an answer of Azure as the time that it is.
    pub(crate) fn compare(&self, date: &str) {
        if let Ok(theirs) = jiff::fmt::rfc2822::parse(date) {
            let known = (theirs.timestamp(), self.monotonic());
            *self.known.lock().unwrap_or_else(PoisonError::into_inner) = known;
            self.compared.store(true, Ordering::Relaxed);
        }
    }

    /// Whether Azure has told its time yet.
    pub(crate) fn compared(&self) -> bool {
        self.compared.load(Ordering::Relaxed)
    }

    /// How far the wall clock is from what it should show: Azure's last date, gone
    /// on by monotonic time. A step of this machine's clock shows at once.
    pub(crate) fn skew(&self) -> Duration {
        match self.expected() {
            Some(expected) => self.now().duration_since(expected).unsigned_abs(),
            None => Duration::MAX,
        }
    }

    /// The later of what the wall clock shows and what it should show: whatever has an
    /// end is judged by it, so that no step back revives what has ended.
    pub(crate) fn latest(&self) -> Timestamp {
        let now = self.now();
        let rest = if self.compared() {
            DATE
        } else {
            Duration::ZERO
        };
        let expected = self.expected().and_then(|time| time.checked_add(rest).ok());
        expected.map_or(now, |expected| expected.max(now))
    }

    /// The earlier of the two: what is thrown away once it has ended is judged by it, so
    /// that no step ahead throws away what is needed after the step back.
    pub(crate) fn earliest(&self) -> Timestamp {
        let now = self.now();
        self.expected().map_or(now, |expected| expected.min(now))
    }

    fn expected(&self) -> Option<Timestamp> {
        let (then, at) = *self.known.lock().unwrap_or_else(PoisonError::into_inner);
        then.checked_add(self.monotonic().saturating_duration_since(at))
            .ok()
    }

    fn of(source: Source) -> Clock {
        let clock = Clock {
            source,
            known: Arc::new(Mutex::new((Timestamp::UNIX_EPOCH, Instant::now()))),
            compared: Arc::default(),
        };
        *clock.known.lock().unwrap_or_else(PoisonError::into_inner) =
            (clock.now(), clock.monotonic());
        clock
    }

    /// Moves a manual clock forward; the system clock stays as it is.
    #[cfg(test)]
    pub(crate) fn advance(&self, by: Duration) {
        if let Source::Manual(m) = &self.source {
            m.lock().unwrap_or_else(PoisonError::into_inner).monotonic += by;
        }
        self.step(jiff::SignedDuration::try_from(by).unwrap_or_default());
    }

    /// Steps the wall clock alone, as an administrator or an attacker does.
    #[cfg(test)]
    pub(crate) fn step(&self, by: jiff::SignedDuration) {
        if let Source::Manual(m) = &self.source {
            let mut m = m.lock().unwrap_or_else(PoisonError::into_inner);
            if let Ok(wall) = m.wall.checked_add(by) {
                m.wall = wall;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use std::time::Duration;

    use jiff::SignedDuration;

    use super::{Clock, DATE};

    #[test]
    fn a_step_of_the_wall_clock_is_skew_and_passing_time_is_not() {
        let clock = Clock::manual("2026-11-23T03:00:00Z".parse().unwrap());
        clock.compare("Mon, 23 Nov 2026 03:00:07 GMT");
        assert_eq!(clock.skew(), Duration::from_secs(7));
        clock.advance(Duration::from_secs(86_400));
        assert_eq!(clock.skew(), Duration::from_secs(7));
        clock.step(SignedDuration::from_hours(-1));
        assert_eq!(clock.skew(), Duration::from_secs(3_607));
        clock.compare("not a date");
        assert_eq!(clock.skew(), Duration::from_secs(3_607));
    }

    #[test]
    fn a_step_revives_nothing_and_throws_nothing_away() {
        let clock = Clock::manual("2026-11-23T03:00:00Z".parse().unwrap());
        clock.compare("Mon, 23 Nov 2026 03:00:00 GMT");
        let true_time = clock.now();
        for hours in [-1, 2] {
            clock.step(SignedDuration::from_hours(hours));
            let (first, last) = (
                true_time.min(clock.now()),
                (true_time + DATE).max(clock.now()),
            );
            assert_eq!((clock.earliest(), clock.latest()), (first, last));
        }
    }
}
