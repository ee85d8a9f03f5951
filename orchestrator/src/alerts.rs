//! Who is told when a night went wrong, and when it is well again.
//!
//! By what the journal holds, not by what happens to be in memory: a run that ended while nobody
//! listened is told after the next start. A channel is told once that a region fails, not every
//! night that it does, and once that it is well again. Recovery points that are too old are told
//! whatever runs say, also where none was started.

use jiff::{SignedDuration, Timestamp};
use vaultgate_notify::{Notice, Outbox};

use crate::flow::{Event, Flow, Notify, Region, Work};
use crate::journal::{Item, Journal, JournalError, Run, Told};
use crate::state::{State, StateType};

/// Most items that a notice names.
const NAMED: usize = 10;

/// Tells the channels of flows.
#[derive(Debug)]
pub struct Alerts {
    outbox: Outbox,
}

impl Alerts {
    /// Alerts that go through an outbox.
    pub fn new(outbox: Outbox) -> Alerts {
        Alerts { outbox }
    }

    /// Looks at what has ended since a channel was told last, and at the age of recovery points.
    ///
    /// # Errors
    ///
    /// Where the journal cannot be used.
    pub async fn look(
        &self,
        journal: &Journal,
        flow: &Flow,
        now: Timestamp,
    ) -> Result<(), JournalError> {
        for notify in &flow.notify {
            for region in &flow.regions {
                let before = journal
                    .told(&flow.name, &region.name, &notify.channel, now)
                    .await?;
                let mut told = before.clone();
                let mut notices = Vec::new();
                for run in journal
                    .ended_since(&flow.name, &region.name, told.until)
                    .await?
                {
                    let items = journal.items(run.id).await?;
                    notices.extend(ended(notify, region, &run, &items, &mut told, now));
                    told.until = told.until.max(run.ended);
                }
                if notify.on.contains(&Event::RpoBreached) {
                    let points = journal.newest_points(&flow.name, &region.name).await?;
                    notices.extend(aged(notify, flow, region, &points, &mut told, now));
                }
                for notice in notices {
                    // Kept before it is noted: told twice at worst, never not at all.
                    if let Err(error) = self.outbox.put(&notice, &[&notify.channel]) {
                        tracing::error!(%error, channel = notify.channel, "a notice was not kept: nobody is told");
                        return Ok(());
                    }
                }
                if told != before {
                    journal
                        .note_told(&flow.name, &region.name, &notify.channel, &told)
                        .await?;
                }
            }
        }
        Ok(())
    }
}

/// What a channel is told of a run that ended.
fn ended(
    notify: &Notify,
    region: &Region,
    run: &Run,
    items: &[Item],
    told: &mut Told,
    now: Timestamp,
) -> Option<Notice> {
    let event = match (event_of(run, items)?, &region.work) {
        (Event::Failed | Event::Denied | Event::DeadlineExceeded, Work::Drill(_)) => {
            Event::DrillFailed
        }
        (event, _) => event,
    };
    match run.state.state_type() {
        StateType::Completed => {
            let recovered = told.failing && notify.on.contains(&Event::Recovered);
            (told.failures, told.failing) = (0, false);
            let event = if recovered { Event::Recovered } else { event };
            notify
                .on
                .contains(&event)
                .then(|| notice(event, run, items, now))
        }
        StateType::Failed => {
            told.failures += 1;
            let due = !told.failing && told.failures >= i64::from(notify.after_failures);
            if !due || !notify.on.contains(&event) {
                return None;
            }
            told.failing = true;
            Some(notice(event, run, items, now))
        }
        _ => notify
            .on
            .contains(&event)
            .then(|| notice(event, run, items, now)),
    }
}

/// What the end of a run is to those who are told.
fn event_of(run: &Run, items: &[Item]) -> Option<Event> {
    let any = |wanted: State| items.iter().any(|item| item.state == wanted);
    Some(match run.state {
        State::Completed => Event::Completed,
        State::Missed => Event::Missed,
        State::Skipped => Event::Skipped,
        State::Denied => Event::Denied,
        State::TimedOut => Event::DeadlineExceeded,
        State::Failed | State::CompletedWithFailures if any(State::Denied) => Event::Denied,
        State::Failed | State::CompletedWithFailures if any(State::TimedOut) => {
            Event::DeadlineExceeded
        }
        State::Failed | State::CompletedWithFailures => Event::Failed,
        _ => return None,
    })
}

fn notice(event: Event, run: &Run, items: &[Item], now: Timestamp) -> Notice {
    let title = format!("{}: flow {}, {}", event.as_str(), run.flow, run.region);
    let mut notice = Notice::new(format!("flow.{}", event.as_str()), title, now);
    let failed = items.iter().filter(|item| item.state != State::Completed);
    notice.text = named(
        failed.map(|item| format!("{}: {} ({})", item.name, item.state.as_str(), item.reason)),
    );
    notice
        .text
        .push(format!("vaultgate-orchestrator explain {}", run.id));
    let fact = |name: &str, value: String| (name.to_owned(), value);
    notice.facts = vec![
        fact("run", run.id.to_string()),
        fact("state", run.state.as_str().to_owned()),
        fact("due", format!("{:.0}", run.due)),
        fact("reason", run.reason.clone()),
    ];
    notice
}

/// What a channel is told of recovery points that are too old: from the time at which it was first
/// asked about, where there never was one.
fn aged(
    notify: &Notify,
    flow: &Flow,
    region: &Region,
    points: &[(String, Option<Timestamp>)],
    told: &mut Told,
    now: Timestamp,
) -> Option<Notice> {
    let wanted = region.checks.recovery_point.as_ref()?;
    let most = wanted.younger_than.signed();
    let too_old = |at: Timestamp| now.duration_since(at) > most;
    let old: Vec<&(String, Option<Timestamp>)> = points
        .iter()
        .filter(|(_, at)| too_old(at.unwrap_or(told.since)))
        .collect();
    let silent = points.is_empty() && too_old(told.since);
    if old.is_empty() && !silent {
        told.aged = None;
        return None;
    }
    let again = notify
        .repeat
        .map_or(SignedDuration::MAX, crate::duration::Length::signed);
    if told.aged.is_some_and(|at| now.duration_since(at) < again) {
        return None;
    }
    told.aged = Some(now);
    let title = format!("RpoBreached: flow {}, {}", flow.name, region.name);
    let mut notice = Notice::new("flow.RpoBreached", title, now);
    notice.text = named(old.into_iter().map(|(name, at)| match at {
        Some(at) => format!("{name}: the newest recovery point is of {at:.0}"),
        None => format!("{name}: no recovery point"),
    }));
    if silent {
        notice.text.push("nothing was backed up yet".to_owned());
    }
    notice.facts = vec![(
        "may be as old as".to_owned(),
        wanted.younger_than.to_string(),
    )];
    Some(notice)
}

/// The first of some lines, and how many more there are.
fn named(lines: impl Iterator<Item = String>) -> Vec<String> {
    let mut lines: Vec<String> = lines.collect();
    let more = lines.len().saturating_sub(NAMED);
    lines.truncate(NAMED);
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    lines
}

#[cfg(test)]
mod tests;
