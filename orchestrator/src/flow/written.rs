//! A flow file as it is written: names and their places, nothing checked yet.
//!
//! Every value keeps its place, so that all that is wrong is told at once and where it stands.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::placed::Placed;
pub(super) use super::placed::place;
use crate::problem::{Place, Problem, Rejected, nearest};

/// Largest flow file, bytes: some ten thousand items.
const MAX_FILE: usize = 1 << 20;

/// Text with its place.
pub(super) type Text = Placed<String>;
/// A whole number with its place.
pub(super) type Number = Placed<i64>;

/// A flow: what is backed up, when, and how one knows that it was.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    /// 1.
    pub(super) version: Number,
    /// Its name: up to 64 small letters, digits and hyphens.
    pub(super) flow: Text,
    /// Mail address of whoever answers for it.
    pub(super) owner: Text,
    /// What its runs do.
    #[schemars(extend("enum" = ["backup", "restore-drill", "retention-review"]))]
    pub(super) kind: Option<Text>,
    /// The gateway, and who the flow is there.
    pub(super) gateway: Gateway,
    /// What stands for all regions unless a region says otherwise.
    #[serde(default)]
    pub(super) defaults: Settings,
    /// Its regions, by name: each fails and succeeds alone.
    pub(super) regions: BTreeMap<String, Region>,
    /// Which channels of the configuration are told what.
    #[serde(default)]
    pub(super) notify: BTreeMap<String, Notify>,
}

/// The gateway, and who the flow is there.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Gateway {
    /// Its address: scheme, host and port.
    pub(super) url: Text,
    /// Which identity of the configuration.
    pub(super) identity: Text,
}

/// What stands for all regions unless a region says otherwise.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    /// How schedules are caught up.
    #[serde(default)]
    pub(super) schedule: ScheduleSettings,
    /// How what may pass is tried again.
    pub(super) retry: Option<Retry>,
    /// How often the jobs of a vault are listed.
    pub(super) poll: Option<Poll>,
    /// By when a run has to begin and to end.
    pub(super) deadline: Option<Deadline>,
    /// What is asked for with a backup.
    pub(super) trigger: Option<Trigger>,
    /// What has to hold afterwards.
    pub(super) validate: Option<Vec<Check>>,
    /// Times in which nothing is started.
    pub(super) maintenance: Option<Vec<Window>>,
    /// Backups that are started and not done, at a time.
    pub(super) parallel: Option<Number>,
    /// Controls that the flow is evidence for.
    pub(super) controls: Option<Vec<Text>>,
    /// The restore that a drill tries.
    pub(super) drill: Option<Drill>,
    /// What a retention review expects.
    pub(super) retention: Option<Retention>,
}

/// A restore that is tried, and where.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Drill {
    /// Whether the restore is done, or only asked about.
    #[schemars(extend("enum" = ["validate", "restore"]))]
    pub(super) mode: Text,
    /// `subscription id/resource group` that disks are restored into.
    pub(super) resource_group: Text,
    /// `subscription id/resource group/storage account` through which they go.
    pub(super) storage_account: Text,
    /// Azure's name of the region, as in `westeurope`.
    pub(super) location: Text,
}

/// What is expected of policies and vaults.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Retention {
    /// How long what is made each day is kept at least, as in `30d`.
    pub(super) daily: Option<Text>,
    /// States of the vault's immutability that are good.
    pub(super) immutability: Option<Vec<Text>>,
    /// States of its soft delete that are good.
    pub(super) soft_delete: Option<Vec<Text>>,
}

/// How schedules are caught up, and what becomes of runs that overlap.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ScheduleSettings {
    /// Which of the runs that were due while nobody looked are run.
    #[schemars(extend("enum" = ["none", "last", "all"]))]
    pub(super) catchup: Option<Text>,
    /// How old such a run may be, as in `6h`.
    pub(super) catchup_window: Option<Text>,
    /// What becomes of a run that is due while another goes on.
    #[schemars(extend("enum" = ["skip", "queue", "cancel-other"]))]
    pub(super) overlap: Option<Text>,
}

/// When a region is due.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Schedule {
    /// Minute, hour, day, month, day of the week, in quotes.
    pub(super) cron: Text,
    /// A name of the IANA database.
    pub(super) timezone: Text,
    /// Which of the runs that were due while nobody looked are run.
    #[schemars(extend("enum" = ["none", "last", "all"]))]
    pub(super) catchup: Option<Text>,
    /// How old such a run may be, as in `6h`.
    pub(super) catchup_window: Option<Text>,
    /// What becomes of a run that is due while another goes on.
    #[schemars(extend("enum" = ["skip", "queue", "cancel-other"]))]
    pub(super) overlap: Option<Text>,
}

/// How what may pass is tried again.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Retry {
    /// How often in all.
    pub(super) attempts: Option<Number>,
    /// The longest first wait, as in `15s`.
    pub(super) first: Option<Text>,
    /// The longest wait, as in `5m`.
    pub(super) cap: Option<Text>,
}

/// How often the jobs of a vault are listed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Poll {
    /// At first, as in `60s`.
    pub(super) first: Option<Text>,
    /// After a while, as in `5m`.
    pub(super) max: Option<Text>,
}

/// By when a run has to begin and to end, both from the time at which it was due.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Deadline {
    /// To begin, as in `30m`.
    pub(super) start_within: Option<Text>,
    /// To end, as in `8h`.
    pub(super) finish_within: Option<Text>,
    /// Whether waiting for approvals counts.
    #[schemars(extend("enum" = ["wall", "excluding-approval"]))]
    pub(super) clock: Option<Text>,
}

/// What is asked for with a backup.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Trigger {
    /// How long what is backed up is kept, as in `30d`.
    pub(super) retain: Option<Text>,
}

/// Something that has to hold of each item.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Check {
    /// Its newest recovery point.
    pub(super) newest_recovery_point: Option<RecoveryPoint>,
    /// States of its job.
    pub(super) job_status: Option<JobStatus>,
}

/// What has to hold of the newest recovery point.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RecoveryPoint {
    /// How old it may be, as in `26h`.
    pub(super) younger_than: Text,
    /// In which tier it has to be.
    #[schemars(extend("enum" = ["snapshot", "vault", "archive"]))]
    pub(super) tier: Option<Text>,
}

/// States in which a job may end.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct JobStatus {
    /// Those that are good.
    pub(super) accept: Vec<Text>,
    /// Those that are good and told.
    #[serde(default)]
    pub(super) warn: Vec<Text>,
}

/// A time in which nothing is started.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Window {
    /// Days of the week.
    pub(super) days: Vec<Text>,
    /// From this time of the day, as in `"22:00"`.
    pub(super) from: Text,
    /// Until this one; on the next day where it is not later.
    pub(super) to: Text,
}

/// One region of a flow.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Region {
    /// When it is due.
    pub(super) schedule: Schedule,
    /// Which items.
    pub(super) targets: Vec<Target>,
    /// Backups that are started and not done, at a time.
    pub(super) parallel: Option<Number>,
    /// How what may pass is tried again.
    pub(super) retry: Option<Retry>,
    /// How often the jobs of a vault are listed.
    pub(super) poll: Option<Poll>,
    /// By when a run has to begin and to end.
    pub(super) deadline: Option<Deadline>,
    /// What is asked for with a backup.
    pub(super) trigger: Option<Trigger>,
    /// What has to hold afterwards.
    pub(super) validate: Option<Vec<Check>>,
    /// Times in which nothing is started.
    pub(super) maintenance: Option<Vec<Window>>,
    /// Controls that it is evidence for.
    pub(super) controls: Option<Vec<Text>>,
    /// The restore that a drill tries.
    pub(super) drill: Option<Drill>,
    /// What a retention review expects.
    pub(super) retention: Option<Retention>,
}

/// Items of one vault.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Target {
    /// `subscription id/resource group/vault`.
    pub(super) vault: Text,
    /// Items by kind and name, as in `vm:rg-app/web-*`, `sql:vm1/payroll`, `share:account/share`.
    #[serde(default)]
    pub(super) items: Vec<Text>,
    /// Items of which the resource has this tag: `name=value`.
    pub(super) tag: Option<Text>,
    /// Items that are left out.
    #[serde(default)]
    pub(super) exclude: Vec<Text>,
}

/// What a channel is told.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Notify {
    /// Of what.
    pub(super) on: Placed<Vec<Text>>,
    /// After how many failures in a row.
    pub(super) after_failures: Option<Number>,
    /// How often what goes on is told again, as in `1h`.
    pub(super) repeat: Option<Text>,
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
