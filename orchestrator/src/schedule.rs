//! When a flow is due: cron in a time zone, once for each night whatever the clocks do.
//!
//! A time of day that a clock skips is due at the first instant behind the gap; one that a clock
//! repeats is due the first time. Crons that run every hour, or every few minutes, run in every
//! real hour. Nothing here looks at a clock.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, Zoned};

use crate::duration::Length;

/// What happens to a run that is due while the one before it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlap {
    /// It is recorded as skipped, with what was in its way.
    Skip,
    /// It waits, until its start deadline.
    Queue,
    /// The one before it is cancelled; its jobs at Azure go on.
    CancelOther,
}

/// What happens to runs that were due while nobody looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Catchup {
    /// They are recorded as missed.
    None,
    /// The last of them is run, the others are recorded as missed.
    Last,
    /// All of them are run.
    All,
}

/// When a region of a flow is due.
#[derive(Clone, Debug)]
pub struct Schedule {
    cron: Cron,
    zone: TimeZone,
    /// What overlapping runs do.
    pub overlap: Overlap,
    /// What missed runs do.
    pub catchup: Catchup,
    /// How old a missed run may be to be caught up.
    pub catchup_window: Length,
}

/// A time at which a run is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fire {
    /// The instant.
    pub at: Timestamp,
    /// The same in the zone of the schedule.
    pub local: Zoned,
    /// What clocks did to it.
    pub shift: Option<Shift>,
}

/// What a change of clocks did to a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shift {
    /// The time of day does not exist on that day: the first instant behind the gap was taken.
    Skipped,
    /// The time of day comes twice on that day: the first was taken.
    Repeated,
}

impl Shift {
    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Shift::Skipped => "the clocks skip this time: the first instant after it",
            Shift::Repeated => "the clocks repeat this time: the first of the two",
        }
    }
}

/// What becomes of runs that were due since somebody last looked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// To be run now, oldest first.
    pub run: Vec<Timestamp>,
    /// Too late: to be recorded as missed.
    pub missed: Vec<Timestamp>,
}

/// Most runs that are looked at in one go: a schedule of every minute for months.
const MOST: usize = 200_000;

/// Reads a cron of five fields.
///
/// # Errors
///
/// Says what is wrong with it.
pub fn cron(text: &str) -> Result<Cron, String> {
    let fields = text.split_whitespace().count();
    if fields != 5 {
        return Err(format!("`{text}` has {fields} fields, not five"));
    }
    let parser = CronParser::builder()
        .seconds(Seconds::Disallowed)
        .year(Year::Disallowed)
        .build();
    let cron = parser
        .parse(text)
        .map_err(|error| format!("`{text}`: {error}"))?;
    // One that is never due, such as the 30th of February, would be a backup that nobody misses.
    let from = Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC);
    match cron.find_next_occurrence(&from, false) {
        Ok(_) => Ok(cron),
        Err(_) => Err(format!("`{text}` is never due")),
    }
}

/// A time zone by its IANA name.
///
/// # Errors
///
/// Says that there is no such zone.
pub fn zone(name: &str) -> Result<TimeZone, String> {
    // Offsets and abbreviations know nothing of changes of clocks.
    let named = name.contains('/') || name == "UTC";
    let found = TimeZone::get(name).ok().filter(|_| named);
    found.ok_or_else(|| format!("`{name}` is no time zone"))
}

impl Schedule {
    /// A schedule of a cron in a zone, with what is usual.
    pub fn new(cron: Cron, zone: TimeZone) -> Schedule {
        Schedule {
            cron,
            zone,
            overlap: Overlap::Skip,
            catchup: Catchup::Last,
            catchup_window: Length::seconds(6 * 3_600),
        }
    }

    /// The cron as it was written.
    pub fn cron(&self) -> &str {
        self.cron.as_str()
    }

    /// Name of the zone.
    pub fn zone(&self) -> &str {
        self.zone.iana_name().unwrap_or("UTC")
    }

    /// An instant by the clock of the zone.
    pub fn local(&self, at: Timestamp) -> Zoned {
        at.to_zoned(self.zone.clone())
    }

    /// The first time after an instant.
    pub fn next_after(&self, after: Timestamp) -> Option<Fire> {
        let local = after.to_zoned(self.zone.clone());
        let mut next = self.cron.find_next_occurrence(&local, false).ok()?;
        // A repeated hour is a second night to no schedule of a fixed time.
        while next.timestamp() <= after {
            next = self.cron.find_next_occurrence(&next, false).ok()?;
        }
        Some(self.fire(next))
    }

    /// The times after an instant, as many as asked for.
    pub fn next_times(&self, after: Timestamp, count: usize) -> Vec<Fire> {
        let first = self.next_after(after);
        let fires = std::iter::successors(first, |fire| self.next_after(fire.at));
        fires.take(count).collect()
    }

    fn fire(&self, local: Zoned) -> Fire {
        let civil = local.datetime();
        let repeated = matches!(
            self.zone.to_ambiguous_timestamp(civil).offset(),
            AmbiguousOffset::Fold { .. }
        );
        // Behind a gap stands a time that the cron itself does not name.
        let named = self
            .cron
            .is_time_matching(&civil_utc(&local))
            .unwrap_or(true);
        let shift = match (named, repeated) {
            (false, _) => Some(Shift::Skipped),
            (true, true) => Some(Shift::Repeated),
            (true, false) => None,
        };
        Fire {
            at: local.timestamp(),
            local,
            shift,
        }
    }

    /// What is to become of everything that was due after `since`, until `now`. A run within
    /// `start_within` is in time and needs no catching up.
    pub fn due(&self, since: Timestamp, now: Timestamp, start_within: Length) -> Due {
        let mut due = Due::default();
        let mut times = Vec::new();
        let first = self.next_after(since);
        let fires = std::iter::successors(first, |fire| self.next_after(fire.at));
        for fire in fires.take_while(|fire| fire.at <= now).take(MOST) {
            times.push(fire.at);
        }
        let last = times.last().copied();
        for at in times {
            let age = now.duration_since(at);
            let in_time = age <= start_within.signed();
            let in_window = age <= self.catchup_window.signed();
            let run = match self.catchup {
                Catchup::None => in_time,
                Catchup::Last => Some(at) == last && (in_time || in_window),
                Catchup::All => in_time || in_window,
            };
            match run {
                true => due.run.push(at),
                false => due.missed.push(at),
            }
        }
        due
    }
}

/// The time of day of an instant as if clocks never changed.
fn civil_utc(local: &Zoned) -> Zoned {
    let civil = local.datetime();
    civil
        .to_zoned(TimeZone::UTC)
        .unwrap_or_else(|_| local.clone())
}

#[cfg(test)]
mod tests;
