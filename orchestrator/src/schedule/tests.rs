//! The nights of 2026 on which clocks change, in five zones, and what is late.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan as _};

use super::{Catchup, Due, Schedule, Shift, cron, zone};
use crate::duration::Length;

fn schedule(text: &str, name: &str) -> Schedule {
    Schedule::new(cron(text).unwrap(), zone(name).unwrap())
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Local time, UTC and what clocks did, of everything that is due from noon before a day to noon
/// of it.
fn night(cron: &str, zone_name: &str, day: &str) -> Vec<(String, Option<Shift>)> {
    let schedule = schedule(cron, zone_name);
    let day: Date = day.parse().unwrap();
    let noon = |day: Date| day.at(12, 0, 0, 0).in_tz(zone_name).unwrap().timestamp();
    let (from, to) = (noon(day - 1.day()), noon(day));
    let fires = schedule.next_times(from, 50).into_iter();
    fires
        .take_while(|fire| fire.at <= to)
        .map(|fire| (fire.local.strftime("%H:%M%:z").to_string(), fire.shift))
        .collect()
}

/// Each of these nights has one backup, at the right time.
#[test]
fn a_night_on_which_clocks_change_has_one_backup() {
    use Shift::{Repeated, Skipped};
    for (cron, zone, day, expected, shift) in [
        (
            "30 2 * * *",
            "Europe/Berlin",
            "2026-03-29",
            "03:00+02:00",
            Some(Skipped),
        ),
        (
            "30 2 * * *",
            "Europe/Berlin",
            "2026-10-25",
            "02:30+02:00",
            Some(Repeated),
        ),
        (
            "30 1 * * *",
            "Europe/London",
            "2026-03-29",
            "02:00+01:00",
            Some(Skipped),
        ),
        (
            "30 1 * * *",
            "Europe/London",
            "2026-10-25",
            "01:30+01:00",
            Some(Repeated),
        ),
        (
            "30 2 * * *",
            "America/New_York",
            "2026-03-08",
            "03:00-04:00",
            Some(Skipped),
        ),
        (
            "30 1 * * *",
            "America/New_York",
            "2026-11-01",
            "01:30-04:00",
            Some(Repeated),
        ),
        (
            "30 2 * * *",
            "Australia/Sydney",
            "2026-10-04",
            "03:00+11:00",
            Some(Skipped),
        ),
        (
            "30 2 * * *",
            "Australia/Sydney",
            "2026-04-05",
            "02:30+11:00",
            Some(Repeated),
        ),
        // A change by half an hour.
        (
            "15 2 * * *",
            "Australia/Lord_Howe",
            "2026-10-04",
            "02:30+11:00",
            Some(Skipped),
        ),
        (
            "45 1 * * *",
            "Australia/Lord_Howe",
            "2026-04-05",
            "01:45+11:00",
            Some(Repeated),
        ),
        // A night like any other, and a zone without changes.
        (
            "30 2 * * *",
            "Europe/Berlin",
            "2026-03-28",
            "02:30+01:00",
            None,
        ),
        (
            "15 3 * * *",
            "Asia/Tokyo",
            "2026-03-29",
            "03:15+09:00",
            None,
        ),
    ] {
        let found = night(cron, zone, day);
        assert_eq!(found, [(expected.to_owned(), shift)], "{cron} {zone} {day}");
    }
}

/// Every local day of the year has exactly one, in each of the zones.
#[test]
fn every_day_of_a_year_has_one() {
    for name in [
        "Europe/Berlin",
        "Europe/London",
        "America/New_York",
        "Australia/Sydney",
        "Australia/Lord_Howe",
    ] {
        for minute in [0, 15, 30, 45] {
            for hour in [0, 1, 2, 3] {
                let schedule = schedule(&format!("{minute} {hour} * * *"), name);
                let mut days: BTreeMap<Date, usize> = BTreeMap::new();
                for fire in schedule.next_times(at("2025-12-31T12:00:00Z"), 365) {
                    *days.entry(fire.local.date()).or_default() += 1;
                }
                assert_eq!(days.len(), 365, "{name} {hour}:{minute}");
                // None was left out on the way.
                let (first, last) = (days.keys().next(), days.keys().next_back());
                let whole = last.unwrap().since(*first.unwrap()).unwrap();
                assert_eq!(whole.get_days(), 364, "{name} {hour}:{minute}");
            }
        }
    }
}

/// A schedule of every hour runs in every real hour, and no instant comes twice.
#[test]
fn an_hourly_schedule_runs_in_every_real_hour() {
    for name in ["Europe/Berlin", "America/New_York", "Australia/Sydney"] {
        for day in [
            "2026-03-28T12:00:00Z",
            "2026-10-24T12:00:00Z",
            "2026-10-31T20:00:00Z",
        ] {
            let fires = schedule("0 * * * *", name).next_times(at(day), 30);
            assert_eq!(fires.len(), 30, "{name} {day}");
            for pair in fires.windows(2) {
                let [one, other] = pair else { unreachable!() };
                assert_eq!(
                    other.at.duration_since(one.at).as_secs(),
                    3_600,
                    "{name} {day}"
                );
            }
        }
    }
}

#[test]
fn what_was_due_while_nobody_looked_is_caught_up_or_missed() {
    let mut nightly = schedule("0 2 * * *", "UTC");
    let due = |schedule: &Schedule, since: &str, now: &str| {
        schedule.due(at(since), at(now), Length::parse("30m").unwrap())
    };
    let times = |days: &[&str]| {
        days.iter()
            .map(|day| at(&format!("2026-11-{day}T02:00:00Z")))
            .collect::<Vec<_>>()
    };
    let expected = |run: &[&str], missed: &[&str]| Due {
        run: times(run),
        missed: times(missed),
    };
    // Three days of silence need one backup, if it is not too late for that one either.
    assert_eq!(
        due(&nightly, "2026-11-20T03:00:00Z", "2026-11-23T05:00:00Z"),
        expected(&["23"], &["21", "22"])
    );
    assert_eq!(
        due(&nightly, "2026-11-20T03:00:00Z", "2026-11-23T09:00:00Z"),
        expected(&[], &["21", "22", "23"])
    );
    assert_eq!(
        due(&nightly, "2026-11-20T03:00:00Z", "2026-11-20T12:00:00Z"),
        expected(&[], &[])
    );
    // What is due just now is no catching up.
    nightly.catchup = Catchup::None;
    assert_eq!(
        due(&nightly, "2026-11-22T03:00:00Z", "2026-11-23T02:00:01Z"),
        expected(&["23"], &[])
    );
    assert_eq!(
        due(&nightly, "2026-11-22T03:00:00Z", "2026-11-23T05:00:00Z"),
        expected(&[], &["23"])
    );
    nightly.catchup = Catchup::All;
    nightly.catchup_window = Length::parse("48h").unwrap();
    assert_eq!(
        due(&nightly, "2026-11-20T03:00:00Z", "2026-11-23T01:00:00Z"),
        expected(&["21", "22"], &[])
    );
    // A clock that went back makes nothing due again.
    assert_eq!(
        due(&nightly, "2026-11-23T03:00:00Z", "2026-11-22T03:00:00Z"),
        expected(&[], &[])
    );
}

#[test]
fn crons_and_zones_that_mean_nothing_are_refused() {
    for text in [
        "",
        "* * * *",
        "0 0 2 * * *",
        "61 2 * * *",
        "0 25 * * *",
        "0 2 30 2 *",
        "x 2 * * *",
        "@daily",
        "0 2 * * 8",
    ] {
        assert!(cron(text).is_err(), "{text}");
    }
    for name in [
        "",
        "CET",
        "EST",
        "+02:00",
        "Europe/Bielefeld",
        "Mars/Olympus",
        "local",
    ] {
        assert!(zone(name).is_err(), "{name}");
    }
}
