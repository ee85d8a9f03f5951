//! Told once that it fails, once that it is well, and of silence.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use jiff::{Timestamp, ToSpan as _};

use super::{aged, ended};
use crate::flow::{Event, Flow, Notify};
use crate::journal::{Run, Told};
use crate::occurrence;
use crate::state::State;

fn at(hours: i64) -> Timestamp {
    "2026-11-23T02:30:00Z".parse::<Timestamp>().unwrap() + hours.hours()
}

fn told() -> Told {
    Told {
        until: None,
        since: at(0),
        failures: 0,
        failing: false,
        aged: None,
    }
}

fn channel(after_failures: u32, repeat: Option<&str>) -> Notify {
    Notify {
        channel: "ops".to_owned(),
        on: vec![
            Event::Failed,
            Event::Denied,
            Event::Missed,
            Event::Recovered,
            Event::RpoBreached,
        ],
        after_failures,
        repeat: repeat.map(|text| crate::duration::Length::parse(text).unwrap()),
    }
}

fn run(state: State) -> Run {
    Run {
        id: occurrence::run_id("nightly", "westeurope", at(0)),
        flow: "nightly".to_owned(),
        region: "westeurope".to_owned(),
        digest: "sha256:0".to_owned(),
        due: at(0),
        state,
        reason: "why".to_owned(),
        started: None,
        ended: Some(at(1)),
        resolved: true,
        due_at: None,
        attempts: 0,
        cancel: false,
    }
}

/// What a channel is told of one run after the other.
fn heard(notify: &Notify, states: &[State]) -> Vec<Option<String>> {
    let mut told = told();
    let mut flow = Flow::read("nightly.yaml", include_str!("../flow/nightly.yaml")).unwrap();
    let region = flow.regions.remove(0);
    let kinds = states
        .iter()
        .map(|state| ended(notify, &region, &run(*state), &[], &mut told, at(2)));
    kinds
        .map(|notice| notice.map(|notice| notice.kind))
        .collect()
}

#[test]
fn a_region_that_fails_is_told_once_and_once_that_it_is_well() {
    use State::{Completed, Denied, Failed, Missed};
    let kind = |name: &str| Some(format!("flow.{name}"));
    assert_eq!(
        heard(
            &channel(1, None),
            &[
                Completed, Failed, Failed, Completed, Completed, Denied, Missed
            ]
        ),
        [
            None,
            kind("Failed"),
            None,
            kind("Recovered"),
            None,
            kind("Denied"),
            None
        ]
    );
    assert_eq!(
        heard(
            &channel(2, None),
            &[Failed, Completed, Failed, Failed, Failed, Completed]
        ),
        [None, None, None, kind("Failed"), None, kind("Recovered")]
    );
}

#[test]
fn old_recovery_points_are_told_whatever_runs_say_and_where_none_was_started() {
    let flow = Flow::read("nightly.yaml", include_str!("../flow/nightly.yaml")).unwrap();
    let region = flow
        .regions
        .iter()
        .find(|region| region.name == "westeurope")
        .unwrap();
    let notify = channel(1, Some("1h"));
    let mut told = told();
    let mut hear = |points: &[(String, Option<Timestamp>)], hours: i64| {
        aged(&notify, &flow, region, points, &mut told, at(hours)).map(|notice| notice.text)
    };
    // Nothing was ever run: 26 hours are the most.
    assert_eq!(hear(&[], 26), None);
    assert!(
        hear(&[], 27)
            .unwrap()
            .contains(&"nothing was backed up yet".to_owned())
    );
    assert_eq!(hear(&[], 27), None);
    assert!(hear(&[], 28).is_some());
    // One of two items has a young one.
    let points = [
        ("vm:a/b".to_owned(), Some(at(20))),
        ("vm:a/c".to_owned(), Some(at(1))),
    ];
    let text = hear(&points, 30).unwrap();
    assert!(
        text.len() == 1 && text.first().unwrap().starts_with("vm:a/c"),
        "{text:?}"
    );
    let young = [
        ("vm:a/b".to_owned(), Some(at(20))),
        ("vm:a/c".to_owned(), Some(at(29))),
    ];
    assert_eq!(hear(&young, 30), None);
}
