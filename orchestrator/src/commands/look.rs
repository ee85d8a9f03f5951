//! What people look at: when flows are due, how runs stand, what happened.

use std::path::PathBuf;

use anyhow::Context as _;
use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use super::{FAILED, complain, read_all, say};
use crate::journal::{Item, Journal, Run};

/// The next times of each region.
pub(super) fn next(files: &[PathBuf], count: usize, after: Timestamp) -> anyhow::Result<u8> {
    let Some(flows) = read_all(files)? else {
        return Ok(FAILED);
    };
    for flow in flows {
        for region in &flow.regions {
            let schedule = &region.schedule;
            say(&format!(
                "{} {}: `{}` {}",
                flow.name,
                region.name,
                schedule.cron(),
                schedule.zone()
            ));
            for fire in schedule.next_times(after, count) {
                let local = fire.local.strftime("%a %Y-%m-%d %H:%M %:z");
                let utc = fire.at.strftime("%Y-%m-%dT%H:%MZ");
                let shift = fire.shift.map(|shift| format!("  {}", shift.as_str()));
                say(&format!("  {local}  {utc}{}", shift.unwrap_or_default()));
            }
        }
    }
    Ok(0)
}

/// The newest runs, each with why it is as it is.
pub(super) async fn status(
    journal: &Journal,
    flow: Option<&str>,
    most: u32,
    as_json: bool,
) -> anyhow::Result<u8> {
    let runs = journal.newest_runs(flow, most).await?;
    for run in &runs {
        if as_json {
            say(&run_json(run).to_string());
            continue;
        }
        let reason = match run.reason.is_empty() {
            true => String::new(),
            false => format!(": {}", run.reason),
        };
        let due = run.due.strftime("%Y-%m-%dT%H:%M:%SZ");
        say(&format!(
            "{}  {due}  {} {}  {}{reason}",
            run.id,
            run.flow,
            run.region,
            run.state.as_str()
        ));
        if run.ended.is_none() {
            for item in journal
                .items(run.id)
                .await?
                .iter()
                .filter(|item| !item.state.is_terminal())
            {
                say(&format!(
                    "    {}  {}: {}{}",
                    item.name,
                    item.state.as_str(),
                    item.reason,
                    until(item)
                ));
            }
        }
    }
    if runs.is_empty() && !as_json {
        say("there is no run yet");
    }
    Ok(0)
}

fn until(item: &Item) -> String {
    item.due_at.map_or(String::new(), |at| {
        format!(" (looked at again {})", at.strftime("%H:%M:%SZ"))
    })
}

/// What happened in a run.
pub(super) async fn logs(journal: &Journal, run: Uuid, as_json: bool) -> anyhow::Result<u8> {
    let found = journal.find_run(run).await?;
    let Some(found) = found else {
        complain(&format!("there is no run {run}"));
        return Ok(FAILED);
    };
    let names = journal.items(run).await?;
    for event in journal.events(run).await? {
        let name = names
            .iter()
            .find(|item| item.item == event.item)
            .map_or("", |item| item.name.as_str());
        match as_json {
            true => say(&json!({
                "at": event.at, "run": run, "flow": found.flow, "region": found.region, "item": event.item,
                "name": name, "state": event.state.as_str(), "message": event.message,
            })
            .to_string()),
            false => {
                let at = event.at.strftime("%Y-%m-%dT%H:%M:%SZ");
                let of = if name.is_empty() { "run" } else { name };
                say(&format!("{at}  {}/{} {of}  {}  {}", found.flow, found.region, event.state.as_str(), event.message));
            }
        }
    }
    Ok(0)
}

/// A run and its items, with what one needs to look further: jobs, decisions, keys.
pub(super) async fn explain(journal: &Journal, run: Uuid) -> anyhow::Result<u8> {
    let Some(found) = journal.find_run(run).await? else {
        complain(&format!("there is no run {run}"));
        return Ok(FAILED);
    };
    let items: Vec<serde_json::Value> = journal.items(run).await?.iter().map(item_json).collect();
    let mut whole = run_json(&found);
    if let Some(members) = whole.as_object_mut() {
        members.insert("items".to_owned(), items.into());
    }
    say(&serde_json::to_string_pretty(&whole)?);
    Ok(0)
}

/// How a run ended, and each item that is not backed up.
pub(super) async fn told(journal: &Journal, run: &Run) -> anyhow::Result<()> {
    say(&format!("{}: {}", run.state.as_str(), run.reason));
    for item in journal.items(run.id).await.context("the items")? {
        say(&format!(
            "  {}  {}: {}",
            item.name,
            item.state.as_str(),
            item.reason
        ));
    }
    Ok(())
}

fn run_json(run: &Run) -> serde_json::Value {
    json!({
        "id": run.id, "flow": run.flow, "region": run.region, "due": run.due, "state": run.state.as_str(),
        "reason": run.reason, "started": run.started, "ended": run.ended, "definition_digest": run.digest,
    })
}

fn item_json(item: &Item) -> serde_json::Value {
    json!({
        "item": item.item, "name": item.name, "vault": item.vault, "key": item.key, "step": item.step.as_str(),
        "state": item.state.as_str(), "reason": item.reason, "attempts": item.attempts, "due_at": item.due_at,
        "sent_at": item.sent_at, "decision": item.decision, "approval": item.approval, "job": item.job,
        "recovery_point": item.recovery_point,
    })
}
