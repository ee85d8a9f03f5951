//! What became of the cases, from three sides: what the caller was answered, what the
//! decision log says, and what the emulator was asked.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::case::{Case, Expect, How};
use super::wire::{Got, Reply};
use crate::harness::{PATIENCE, World, repository};

/// A case that was sent.
pub(super) struct Outcome {
    pub(super) place: u64,
    pub(super) mark: String,
    pub(super) case: Case,
    pub(super) got: Vec<Got>,
}

/// What is wrong, and with which case.
pub(super) struct Wrong {
    pub(super) place: Option<u64>,
    pub(super) told: String,
}

/// Reasons of answers that are no fault of the gateway though their status is 5xx.
const OLD_HTTP: (u16, &str) = (505, "http-version");
/// What hyper answers by itself to what is no HTTP.
const NO_HTTP: [u16; 4] = [400, 414, 431, 413];

/// Allowed requests by the mark of the case that they came from.
type Allowed = HashMap<String, Vec<String>>;

/// Judges a round; tells how many cases reached Azure.
pub(super) fn judge(world: &World, outcomes: &[Outcome]) -> Result<u64, Wrong> {
    let marks: HashSet<&str> = outcomes.iter().map(|one| one.mark.as_str()).collect();
    let allowed = settled(world);
    let reached: HashSet<String> = world
        .sim
        .journal()
        .into_iter()
        .filter(|entry| entry.surface == "arm" && entry.identity.name() == "operator")
        .filter_map(|entry| entry.client_request_id)
        .collect();
    for outcome in outcomes {
        one(outcome, &allowed, &reached).map_err(|told| Wrong {
            place: Some(outcome.place),
            told: format!("{told}; answered {:?}", outcome.got),
        })?;
    }
    let place = |id: &str| {
        let own = |one: &&Outcome| {
            let mut of = allowed
                .iter()
                .filter(|(mark, _)| mark.starts_with(&one.mark));
            of.any(|(_, ids)| ids.iter().any(|own| own == id))
        };
        outcomes.iter().find(own).map(|one| one.place)
    };
    world.oracle().map_err(|told| {
        let line = told.lines().find(|line| line.starts_with("VIOLATION"));
        let words = line.unwrap_or_default().split(' ');
        let id = words
            .skip_while(|word| *word != "id")
            .nth(1)
            .unwrap_or_default();
        Wrong {
            place: place(id.trim_end_matches(':')),
            told: format!(
                "the oracle found:\n{}",
                told.lines().take(5).collect::<Vec<_>>().join("\n")
            ),
        }
    })?;
    let passed = |mark: &&&str| {
        let ids = allowed.get(**mark).into_iter().flatten();
        ids.into_iter().any(|id| reached.contains(id))
    };
    Ok(u64::try_from(marks.iter().filter(passed).count()).unwrap())
}

fn one(outcome: &Outcome, allowed: &Allowed, reached: &HashSet<String>) -> Result<(), String> {
    let Outcome {
        mark, case, got, ..
    } = outcome;
    for got in got {
        answered(got)?;
    }
    let ids = |mark: String| allowed.get(&mark).map(Vec::as_slice).unwrap_or_default();
    let own = ids(mark.clone());
    if !ids(format!("{mark}-s")).is_empty() {
        return Err("what stands in a body was taken for a request".into());
    }
    let follows = ids(format!("{mark}-v")).len();
    if own.len() > 1 || follows > 1 {
        return Err(format!(
            "allowed {} times, what follows {follows} times",
            own.len()
        ));
    }
    if let How::Bytes(_) = case.how
        && got.len() > 2
        && case.expect != Expect::Hides
    {
        return Err("more answers than requests".into());
    }
    match (case.expect, own) {
        (Expect::Refused, [_, ..]) => Err("it was allowed".into()),
        (Expect::Passes, []) => Err("it was not allowed".into()),
        (Expect::Passes, [id, ..]) if !reached.contains(id) => Err("it never arrived".into()),
        // What follows on the connection is judged on its own.
        (Expect::Passes, _) if matches!(case.how, How::Bytes(_)) && follows == 0 => {
            Err("what follows it was not answered".into())
        }
        _ => Ok(()),
    }
}

/// No answer is a fault of the gateway, and a refusal of its own says why.
fn answered(got: &Got) -> Result<(), String> {
    let Got::Reply(Reply { status, reason }) = got else {
        let silent = matches!(got, Got::Silent);
        return if silent {
            Err("it hangs".into())
        } else {
            Ok(())
        };
    };
    match reason {
        Some(reason) if (*status, reason.as_str()) == OLD_HTTP => Ok(()),
        _ if *status >= 500 => Err("an answer of 5xx".into()),
        Some(reason) if !documented().contains(reason) => {
            Err(format!("nobody documented the reason `{reason}`"))
        }
        None if *status == 401 || *status == 403 && !NO_HTTP.contains(status) => Ok(()),
        _ => Ok(()),
    }
}

/// Reasons in the first column of the tables of the troubleshooting page.
fn documented() -> &'static BTreeSet<String> {
    static REASONS: OnceLock<BTreeSet<String>> = OnceLock::new();
    REASONS.get_or_init(|| {
        let page = repository().join("docs/troubleshooting.md");
        let page = std::fs::read_to_string(page).unwrap();
        let rows = page.lines().filter_map(|line| line.strip_prefix("| "));
        let cells = rows.filter_map(|row| row.split('|').next());
        cells
            .flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned))
            .collect()
    })
}

/// The allowed requests, once each of them has its outcome on the record.
fn settled(world: &World) -> Allowed {
    let until = Instant::now() + PATIENCE;
    loop {
        let mut allowed = Allowed::new();
        let (mut open, mut done) = (HashSet::new(), HashSet::new());
        world.each_record(|line| {
            if line.contains(r#""kind":"outcome""#) {
                done.extend(text(line, "decision"));
            } else if line.contains(r#""verdict":"allow""#)
                && let Some(id) = text(line, "id")
            {
                open.insert(id.clone());
                let mark = text(line, "user_agent").unwrap_or_default();
                allowed.entry(mark).or_default().push(id);
            }
        });
        if open.is_subset(&done) {
            return allowed;
        }
        assert!(Instant::now() < until, "an allowed request has no outcome");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A member's text, where it is first named: parsing every record whole would take
/// longer than sending the requests.
fn text(line: &str, name: &str) -> Option<String> {
    let (_, rest) = line.split_once(&format!("\"{name}\":\""))?;
    rest.split('"').next().map(str::to_owned)
}
