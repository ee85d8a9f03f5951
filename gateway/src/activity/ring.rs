//! Counts over windows of time, in buckets: minutes, hours and days.
//!
//! A window covers the current bucket and as many whole ones as its length, so that
//! an event is never dropped before its time. Buckets make way by number, not by
//! age: a clock that jumps ahead and comes back empties nothing.

use std::collections::VecDeque;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A point in time, as the numbers of the buckets it falls into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Moment {
    pub(super) minute: u32,
}

impl Moment {
    pub(super) fn of(time: Timestamp) -> Moment {
        let minute = time.as_second().max(0) / 60;
        Moment {
            minute: u32::try_from(minute).unwrap_or(u32::MAX),
        }
    }

    pub(super) fn hour(self) -> u32 {
        self.minute / 60
    }

    pub(super) fn day(self) -> u32 {
        self.minute / 1_440
    }
}

/// Counts of the last `KEPT` buckets in which there was anything, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Ring<const KEPT: usize>(VecDeque<(u32, u32)>);

impl<const KEPT: usize> Ring<KEPT> {
    /// Adds to one bucket.
    pub(super) fn add(&mut self, bucket: u32, amount: u32) {
        let place = self.0.partition_point(|(number, _)| *number < bucket);
        match self.0.get_mut(place) {
            Some((number, count)) if *number == bucket => *count = count.saturating_add(amount),
            _ => self.0.insert(place, (bucket, amount)),
        }
        while self.0.len() > KEPT {
            self.0.pop_front();
        }
    }

    /// The sum from `first` on. Buckets that lie ahead count too: they are there
    /// when the clock stepped back.
    pub(super) fn sum(&self, first: u32) -> u64 {
        let within = self
            .0
            .iter()
            .rev()
            .take_while(|(number, _)| *number >= first);
        within.map(|(_, count)| u64::from(*count)).sum()
    }
}

// A few buckets more than the longest window has, for clocks that are put right.

/// Counts by the minute, for the window of an hour.
type Minutes = Ring<64>;
/// Counts by the hour, for the window of a day.
pub(super) type Hours = Ring<28>;
/// Counts by the day, for the window of thirty days.
pub(super) type Days = Ring<34>;

/// Counts over an hour, a day and thirty days.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Series {
    #[serde(rename = "m")]
    minutes: Minutes,
    #[serde(rename = "h")]
    hours: Hours,
    #[serde(rename = "d")]
    days: Days,
}

impl Series {
    pub(super) fn add(&mut self, at: Moment) {
        self.minutes.add(at.minute, 1);
        self.hours.add(at.hour(), 1);
        self.days.add(at.day(), 1);
    }

    pub(super) fn hour(&self, at: Moment) -> u64 {
        self.minutes.sum(at.minute.saturating_sub(60))
    }

    pub(super) fn day(&self, at: Moment) -> u64 {
        self.hours.sum(day_window(at))
    }

    pub(super) fn month(&self, at: Moment) -> u64 {
        self.days.sum(month_window(at))
    }
}

/// The first hour of the window of a day.
pub(super) fn day_window(at: Moment) -> u32 {
    at.hour().saturating_sub(24)
}

/// The first day of the window of thirty days.
pub(super) fn month_window(at: Moment) -> u32 {
    at.day().saturating_sub(30)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use jiff::{Timestamp, ToSpan as _};

    use super::{Moment, Series};

    fn start() -> Timestamp {
        "2026-11-23T03:59:59.999Z".parse().unwrap()
    }

    fn after(minutes: i64) -> Moment {
        Moment::of(start().checked_add(minutes.minutes()).unwrap())
    }

    #[test]
    fn a_window_never_ends_early_and_at_most_one_bucket_late() {
        let mut series = Series::default();
        series.add(after(0));
        for (minutes, want) in [
            (0, (1, 1, 1)),
            (60, (1, 1, 1)),
            (61, (0, 1, 1)),
            (24 * 60, (0, 1, 1)),
            (25 * 60, (0, 0, 1)),
            (30 * 1_440, (0, 0, 1)),
            (31 * 1_440, (0, 0, 0)),
        ] {
            let at = after(minutes);
            let found = (series.hour(at), series.day(at), series.month(at));
            assert_eq!(found, want, "after {minutes} minutes");
        }
    }

    #[test]
    fn a_clock_that_jumps_ahead_and_back_empties_nothing() {
        let mut series = Series::default();
        for minute in 0..60 {
            series.add(after(minute));
        }
        series.add(after(1_000_000));
        series.add(after(60));
        assert_eq!(series.hour(after(60)), 62);
        assert_eq!(series.month(after(60)), 62);
    }

    #[test]
    fn rings_stay_small_and_times_before_1970_are_harmless() {
        let mut series = Series::default();
        for minute in 0..200_000 {
            series.add(after(minute));
        }
        assert_eq!(series.minutes.0.len(), 64);
        assert_eq!(series.hours.0.len(), 28);
        assert_eq!(series.days.0.len(), 34);
        assert_eq!(Moment::of(Timestamp::MIN).minute, 0);
        series.add(Moment::of(Timestamp::MIN));
        assert_eq!(series.hour(after(199_999)), 61);
    }
}
