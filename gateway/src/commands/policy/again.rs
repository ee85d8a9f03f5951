//! `vaultgate policy replay | blame | suggest`: recorded decisions judged again.

use std::path::Path;

use anyhow::Context as _;
use jiff::{Timestamp, ToSpan as _};
use serde_json::json;
use vaultgate_pdp::{Bundle, Limits, Policy};

use super::{FailOn, Format, RecordedArguments};
use crate::commands::{FAILED, complain, say};
use crate::replay::{Blame, Differences, Filter, Source, Suggestion, Tally};

/// Exit code of verdicts that change.
const CHANGED: u8 = 2;

impl RecordedArguments {
    fn filter(&self) -> Filter {
        Filter {
            since: self.since.clone(),
            until: self.until.clone(),
            class: self.class.clone(),
            principal: self.principal.clone(),
            resource: self.resource.clone(),
        }
    }

    fn judge<T: Tally>(
        &self,
        filter: &Filter,
        policies: &[&Policy],
        new: impl Fn() -> T + Sync,
    ) -> anyhow::Result<T> {
        let source = Source {
            dir: &self.log,
            filter,
        };
        source.judge(policies, new)
    }
}

fn admitted(bundle: &Bundle) -> anyhow::Result<Policy> {
    Policy::admit(bundle.clone(), &Limits::default())
        .map_err(|rejected| anyhow::anyhow!("{rejected}"))
}

pub(super) fn replay(
    dir: &Path,
    recorded: &RecordedArguments,
    fail_on: FailOn,
) -> anyhow::Result<u8> {
    let policy = admitted(&Bundle::load(dir)?)?;
    let new = || Differences::new(recorded.examples);
    let differences = recorded.judge(&recorded.filter(), &[&policy], new)?;
    match recorded.format {
        Format::Text => say(differences.to_text().trim_end()),
        Format::Json => say(&serde_json::to_string_pretty(&differences.to_json())?),
    }
    let failed = match fail_on {
        FailOn::Any => !differences.is_none(),
        FailOn::Exact => !differences.is_exact(),
        FailOn::Loosen => differences.loosens(),
        FailOn::Never => false,
    };
    Ok(if failed { CHANGED } else { 0 })
}

pub(super) fn blame(dir: &Path, code: &str, recorded: &RecordedArguments) -> anyhow::Result<u8> {
    let bundle = Bundle::load(dir)?;
    let Some(without) = bundle.without(code) else {
        let (annotations, _) = bundle.annotations();
        let codes: Vec<&str> = annotations
            .iter()
            .filter_map(|one| one.code.as_deref())
            .collect();
        complain(&format!(
            "no rule has the code `{code}` in its metadata; hint: {}",
            codes.join(", ")
        ));
        return Ok(FAILED);
    };
    let (with, without) = (admitted(&bundle)?, admitted(&without)?);
    let new = || Blame::new(code, recorded.examples);
    let blame = recorded.judge(&recorded.filter(), &[&with, &without], new)?;
    match recorded.format {
        Format::Text => say(blame.to_text().trim_end()),
        Format::Json => say(&serde_json::to_string_pretty(&blame.to_json())?),
    }
    Ok(0)
}

pub(super) fn suggest(dir: &Path, recorded: &RecordedArguments, days: u32) -> anyhow::Result<u8> {
    let bundle = Bundle::load(dir)?;
    let policy = admitted(&bundle)?;
    let none = Suggestion::of(&bundle)?;
    let mut filter = recorded.filter();
    if filter.since.is_none() {
        let hours = i64::from(days) * 24;
        let since = Timestamp::now().checked_sub(hours.hours());
        filter.since = Some(format!(
            "{:.3}",
            since.context("so many days have not passed")?
        ));
    }
    let suggestion = recorded.judge(&filter, &[&policy], || none.clone())?;
    let reduced = admitted(&suggestion.reduced(&bundle)?)?;
    let new = || Differences::new(recorded.examples);
    // Against the bundle as it is, not as it was when something was recorded.
    let before = recorded.judge(&filter, &[&policy], new)?;
    let after = recorded.judge(&filter, &[&reduced], new)?;
    let same = before.to_json() == after.to_json();
    match recorded.format {
        Format::Json => say(&serde_json::to_string_pretty(&json!({
            "suggestion": suggestion.to_json(), "replay": after.to_json(), "zero_flips": same,
        }))?),
        Format::Text if suggestion.is_empty() => say("every grant was used"),
        Format::Text => {
            say(suggestion.to_text().trim_end());
            say(match same {
                true => "judged again without them: no verdict changes",
                false => "judged again without them, verdicts change:",
            });
            if !same {
                say(after.to_text().trim_end());
            }
        }
    }
    Ok(if same { 0 } else { FAILED })
}

/// The input of a recorded decision.
pub(super) fn recorded_input(log: &Path, id: &str) -> anyhow::Result<String> {
    let line = vaultgate_decision_log::read::find(log, id)?
        .with_context(|| format!("no record has the id `{id}`"))?;
    crate::replay::input(log, &line.leaf)
        .with_context(|| format!("the record `{id}` holds no input that can be judged again"))
}
