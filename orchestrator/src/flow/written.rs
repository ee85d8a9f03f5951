//! A flow file as it is written: names and their places, nothing checked yet.
//!
//! Every value keeps its place, so that all that is wrong is told at once and where it stands.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_saphyr::Spanned;

use crate::problem::{Place, Problem, Rejected, nearest};

/// Largest flow file, bytes: some ten thousand items.
const MAX_FILE: usize = 1 << 20;

/// Text with its place.
pub(super) type Text = Spanned<String>;
/// A whole number with its place.
pub(super) type Number = Spanned<i64>;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) version: Number,
    pub(super) flow: Text,
    pub(super) owner: Text,
    pub(super) kind: Option<Text>,
    pub(super) gateway: Gateway,
    #[serde(default)]
    pub(super) defaults: Settings,
    pub(super) regions: BTreeMap<String, Region>,
    #[serde(default)]
    pub(super) notify: BTreeMap<String, Notify>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Gateway {
    pub(super) url: Text,
    pub(super) identity: Text,
}

/// What stands for all regions unless a region says otherwise.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    #[serde(default)]
    pub(super) schedule: ScheduleSettings,
    pub(super) retry: Option<Retry>,
    pub(super) poll: Option<Poll>,
    pub(super) deadline: Option<Deadline>,
    pub(super) trigger: Option<Trigger>,
    pub(super) validate: Option<Vec<Check>>,
    pub(super) maintenance: Option<Vec<Window>>,
    pub(super) parallel: Option<Number>,
    pub(super) controls: Option<Vec<Text>>,
    pub(super) drill: Option<Drill>,
    pub(super) retention: Option<Retention>,
}

/// A restore that is tried, and where.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Drill {
    pub(super) mode: Text,
    pub(super) resource_group: Text,
    pub(super) storage_account: Text,
    pub(super) location: Text,
}

/// What is expected of policies and vaults.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Retention {
    pub(super) daily: Option<Text>,
    pub(super) immutability: Option<Vec<Text>>,
    pub(super) soft_delete: Option<Vec<Text>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ScheduleSettings {
    pub(super) catchup: Option<Text>,
    pub(super) catchup_window: Option<Text>,
    pub(super) overlap: Option<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Schedule {
    pub(super) cron: Text,
    pub(super) timezone: Text,
    pub(super) catchup: Option<Text>,
    pub(super) catchup_window: Option<Text>,
    pub(super) overlap: Option<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Retry {
    pub(super) attempts: Option<Number>,
    pub(super) first: Option<Text>,
    pub(super) cap: Option<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Poll {
    pub(super) first: Option<Text>,
    pub(super) max: Option<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Deadline {
    pub(super) start_within: Option<Text>,
    pub(super) finish_within: Option<Text>,
    pub(super) clock: Option<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Trigger {
    pub(super) retain: Option<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Check {
    pub(super) newest_recovery_point: Option<RecoveryPoint>,
    pub(super) job_status: Option<JobStatus>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RecoveryPoint {
    pub(super) younger_than: Text,
    pub(super) tier: Option<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JobStatus {
    pub(super) accept: Vec<Text>,
    #[serde(default)]
    pub(super) warn: Vec<Text>,
}

/// A time in which nothing is started.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Window {
    pub(super) days: Vec<Text>,
    pub(super) from: Text,
    pub(super) to: Text,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Region {
    pub(super) schedule: Schedule,
    pub(super) targets: Vec<Target>,
    pub(super) parallel: Option<Number>,
    pub(super) retry: Option<Retry>,
    pub(super) poll: Option<Poll>,
    pub(super) deadline: Option<Deadline>,
    pub(super) trigger: Option<Trigger>,
    pub(super) validate: Option<Vec<Check>>,
    pub(super) maintenance: Option<Vec<Window>>,
    pub(super) controls: Option<Vec<Text>>,
    pub(super) drill: Option<Drill>,
    pub(super) retention: Option<Retention>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Target {
    pub(super) vault: Text,
    #[serde(default)]
    pub(super) items: Vec<Text>,
    pub(super) tag: Option<Text>,
    #[serde(default)]
    pub(super) exclude: Vec<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Notify {
    pub(super) on: Spanned<Vec<Text>>,
    pub(super) after_failures: Option<Number>,
    pub(super) repeat: Option<Text>,
}

/// Where a value stands.
pub(super) fn place<T>(value: &Spanned<T>) -> Place {
    Place {
        line: value.referenced.line(),
        column: value.referenced.column(),
    }
}

/// Reads the text of a file.
pub(super) fn read(name: &str, text: &str) -> Result<File, Rejected> {
    let rejected = |problem: Problem| Rejected {
        file: name.to_owned(),
        problems: vec![problem],
    };
    if text.len() > MAX_FILE {
        let message = format!("the file has {} bytes, more than {MAX_FILE}", text.len());
        return Err(rejected(Problem::at(Place::default(), message)));
    }
    if let Some((line, column)) = tab(text) {
        let message = "a line is indented with a tab";
        let problem = Problem::at(Place { line, column }, message);
        return Err(rejected(problem.hint("indent with spaces")));
    }
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| rejected(said(&error)))
}

/// Where a line begins with a tab: parsers tell it in words of their own.
fn tab(text: &str) -> Option<(u64, u64)> {
    let lines = text.lines().zip(1..);
    lines.into_iter().find_map(|(line, number)| {
        let indent = line.len() - line.trim_start().len();
        let tab = line.get(..indent)?.find('\t')?;
        Some((number, tab as u64 + 1))
    })
}

/// What the reader says, in the words of this crate.
fn said(error: &serde_saphyr::Error) -> Problem {
    let place = error.location().map_or(Place::default(), |at| Place {
        line: at.line(),
        column: at.column(),
    });
    match error.without_snippet() {
        serde_saphyr::Error::SerdeUnknownField {
            field, expected, ..
        } => {
            let hint = match nearest(field, expected.iter().copied()) {
                Some(word) => format!("write `{word}`"),
                None => format!("write one of: {}", expected.join(", ")),
            };
            Problem::at(place, format!("unknown key `{field}`")).hint(hint)
        }
        serde_saphyr::Error::SerdeMissingField { field, .. } => {
            Problem::at(place, format!("`{field}` is missing")).hint(format!("write `{field}: …`"))
        }
        other => {
            let text = other.to_string();
            let first = text.lines().next().unwrap_or_default();
            // The place stands before the message already.
            let message = first
                .rsplit_once(" at line ")
                .map_or(first, |(before, _)| before);
            let plain = PLAIN.iter().find(|(said, ..)| message.starts_with(said));
            match plain {
                Some((_, message, hint)) => Problem::at(place, *message).hint(*hint),
                None => Problem::at(place, message),
            }
        }
    }
}

/// What the reader says in words of its own trade, as people say it, and what to write.
const PLAIN: [(&str, &str, &str); 5] = [
    (
        "invalid i64",
        "a whole number is expected here",
        "write digits only, as in `parallel: 4`",
    ),
    (
        "expected string scalar",
        "one text is expected here",
        "write it without brackets",
    ),
    (
        "expected mapping start",
        "keys with values are expected here",
        "write `key: value`, one in a line",
    ),
    (
        "expected sequence start",
        "a list is expected here",
        "write it as in `[one, other]`",
    ),
    (
        "illegal placement of ':'",
        "a bracket or a quote is not closed, or a line begins at the wrong place",
        "look at the line before it",
    ),
];
