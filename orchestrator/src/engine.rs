//! The engine: what is due becomes a run, a run becomes items, an item becomes a backup that was
//! looked at.
//!
//! Nothing is held in memory that a crash could lose: each turn reads the journal, does what is
//! due, and writes what came of it. A request is written down before it is sent, and is sent again
//! under the same key when nobody knows what became of it; the gateway does it once. One region's
//! trouble is no other's.

mod item;
mod resolve;
mod wait;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use crate::flow::{Flow, Region, Window};
use crate::gateway::Gateway;
use crate::journal::{Item, Journal, JournalError, Run};
use crate::occurrence;
use crate::schedule::Overlap;
use crate::state::{State, Step, outcome};

/// The longest time between two turns: what people ask for is taken up by then.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// What tells the time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The flows that are run, each with the gateway as its identity sees it.
pub struct Engine {
    journal: Arc<Journal>,
    flows: Vec<Running>,
    clock: Clock,
}

/// A flow and its way to the gateway.
pub struct Running {
    /// The flow.
    pub flow: Flow,
    /// The gateway.
    pub gateway: Arc<Gateway>,
}

/// What one run needs for a turn.
struct Turn<'e> {
    journal: &'e Journal,
    gateway: &'e Gateway,
    region: &'e Region,
    now: Timestamp,
}

impl Engine {
    /// An engine for these flows.
    pub fn new(journal: Arc<Journal>, flows: Vec<Running>, clock: Clock) -> Engine {
        Engine {
            journal,
            flows,
            clock,
        }
    }

    /// Runs until `stop` ends. What is under way at Azure goes on, and is taken up at the next
    /// start.
    ///
    /// # Errors
    ///
    /// Where the journal cannot be used: without it nothing is done.
    pub async fn serve(&self, stop: impl Future<Output = ()>) -> Result<(), JournalError> {
        let mut stop = std::pin::pin!(stop);
        loop {
            let next = self.turn().await?;
            let now = (self.clock)();
            let sleep = next.map_or(LONGEST_SLEEP, |at| {
                at.duration_since(now).try_into().unwrap_or_default()
            });
            tokio::select! {
                () = &mut stop => return Ok(()),
                () = tokio::time::sleep(sleep.min(LONGEST_SLEEP)) => {}
            }
        }
    }

    /// Runs until a run has ended; its end.
    ///
    /// # Errors
    ///
    /// Where the journal cannot be used.
    pub async fn until_ended(&self, run: Uuid) -> Result<Option<Run>, JournalError> {
        loop {
            let next = self.turn().await?;
            let found = self.journal.find_run(run).await?;
            if found.as_ref().is_none_or(|run| run.ended.is_some()) {
                return Ok(found);
            }
            let now = (self.clock)();
            let sleep = next.map_or(LONGEST_SLEEP, |at| {
                at.duration_since(now).try_into().unwrap_or_default()
            });
            tokio::time::sleep(sleep.min(LONGEST_SLEEP)).await;
        }
    }

    /// Does everything that is due now; when something is due next.
    ///
    /// # Errors
    ///
    /// Where the journal cannot be used.
    pub async fn turn(&self) -> Result<Option<Timestamp>, JournalError> {
        let mut next: Option<Timestamp> = None;
        for running in &self.flows {
            for region in &running.flow.regions {
                self.plan(&running.flow, region).await?;
            }
        }
        let open = self.journal.open_runs().await?;
        let mut turns = Vec::new();
        for run in open {
            let flow = self
                .flows
                .iter()
                .find(|running| running.flow.name == run.flow);
            let region = flow.and_then(|running| {
                running
                    .flow
                    .regions
                    .iter()
                    .find(|region| region.name == run.region)
            });
            match flow.zip(region) {
                Some((running, region)) => turns.push(self.advance(running, region, run)),
                None => {
                    let reason = "the flow, or this region of it, is no longer defined here";
                    self.end(run, State::Cancelled, reason).await?;
                }
            }
        }
        // Regions wait for nobody but themselves.
        for due in join_all(turns).await {
            next = earliest(next, due?);
        }
        Ok(next)
    }

    /// Makes runs of what was due since the schedule was looked at last.
    async fn plan(&self, flow: &Flow, region: &Region) -> Result<(), JournalError> {
        let now = (self.clock)();
        let schedule = format!("{} {}", region.schedule.cron(), region.schedule.zone());
        let cursor = self
            .journal
            .cursor(&flow.name, &region.name, &schedule, now)
            .await?;
        let due = region
            .schedule
            .due(cursor.looked_until, now, region.deadline.start_within);
        if due.run.is_empty() && due.missed.is_empty() {
            return Ok(());
        }
        let open = self.journal.open_runs().await?;
        let mut blocker = open
            .iter()
            .find(|run| run.flow == flow.name && run.region == region.name)
            .map(|run| run.id);
        let mut runs = Vec::new();
        for at in due.missed {
            let reason = "nobody ran it in time";
            runs.push(new_run(flow, region, at, State::Missed, reason, Some(now)));
        }
        for at in due.run {
            let run = match (cursor.paused, blocker, region.schedule.overlap) {
                (true, ..) => new_run(
                    flow,
                    region,
                    at,
                    State::Skipped,
                    "the region is paused",
                    Some(now),
                ),
                (false, Some(other), Overlap::Skip) => {
                    let reason = format!("run {other} of this region goes on");
                    new_run(flow, region, at, State::Skipped, &reason, Some(now))
                }
                (false, Some(other), Overlap::CancelOther) => {
                    self.journal.cancel(other).await?;
                    new_run(flow, region, at, State::Scheduled, "", None)
                }
                (false, ..) => new_run(flow, region, at, State::Scheduled, "", None),
            };
            if run.ended.is_none() {
                blocker = Some(run.id);
            }
            runs.push(run);
        }
        runs.sort_by_key(|run| run.due);
        self.journal
            .plan(&flow.name, &region.name, now, &runs)
            .await
    }

    /// One turn of one run.
    async fn advance(
        &self,
        running: &Running,
        region: &Region,
        mut run: Run,
    ) -> Result<Option<Timestamp>, JournalError> {
        let now = (self.clock)();
        let turn = Turn {
            journal: &self.journal,
            gateway: &running.gateway,
            region,
            now,
        };
        if run.cancel {
            return turn.cancel(run).await;
        }
        if run.due > now {
            return Ok(Some(run.due));
        }
        if let Some(at) = run.due_at.filter(|at| *at > now) {
            return Ok(Some(at));
        }
        let late = now.duration_since(run.due) > region.deadline.start_within.signed();
        if !run.resolved {
            // A definition that was changed since is another one: what was reviewed then is gone.
            if late && run.started.is_none() && run.state == State::AwaitingMaintenance {
                let reason = format!(
                    "nothing was started within {}: a maintenance window",
                    region.deadline.start_within
                );
                self.end(run, State::Missed, &reason).await?;
                return Ok(None);
            }
            if let Some(other) = self.blocked(&run, region).await? {
                if late {
                    let reason = format!(
                        "run {other} of this region went on for {}",
                        region.deadline.start_within
                    );
                    self.end(run, State::Missed, &reason).await?;
                    return Ok(None);
                }
                return turn
                    .hold(
                        run,
                        State::AwaitingConcurrencySlot,
                        &format!("run {other} of this region goes on"),
                    )
                    .await;
            }
            if region
                .maintenance
                .iter()
                .any(|window| is_open(window, region, now))
            {
                return turn
                    .hold(
                        run,
                        State::AwaitingMaintenance,
                        "nothing is started in this maintenance window",
                    )
                    .await;
            }
            if run.started.is_none() {
                run.started = Some(now);
                run.state = State::Running;
                run.reason = String::new();
                self.journal.write_run(&run, now).await?;
            }
            return turn.resolve(run).await;
        }
        turn.items(run).await
    }

    /// Another run of the region that goes on and is older.
    async fn blocked(&self, run: &Run, region: &Region) -> Result<Option<Uuid>, JournalError> {
        let open = self.journal.open_runs().await?;
        let mut others = open
            .iter()
            .filter(|other| other.flow == run.flow && other.region == region.name);
        let other = others.find(|other| (other.due, other.id) < (run.due, run.id) && !other.cancel);
        Ok(other.map(|other| other.id))
    }

    async fn end(&self, mut run: Run, state: State, reason: &str) -> Result<(), JournalError> {
        let now = (self.clock)();
        run.state = state;
        run.reason = reason.to_owned();
        run.ended = Some(now);
        self.journal.write_run(&run, now).await
    }
}

impl Turn<'_> {
    /// A run that cannot go on just now, and why.
    async fn hold(
        &self,
        mut run: Run,
        state: State,
        reason: &str,
    ) -> Result<Option<Timestamp>, JournalError> {
        if run.state != state || run.reason != reason {
            run.state = state;
            run.reason = reason.to_owned();
            self.journal.write_run(&run, self.now).await?;
        }
        Ok(None)
    }

    /// Ends a run that somebody cancelled. Jobs at Azure go on: what is half-way into the vault
    /// is better whole.
    async fn cancel(&self, mut run: Run) -> Result<Option<Timestamp>, JournalError> {
        for mut item in self.journal.items(run.id).await? {
            if item.step != Step::Ended {
                let reason = match item.step {
                    Step::Ready | Step::Asked => "cancelled before it was sent",
                    _ => "cancelled; its job at Azure goes on",
                };
                item.end(State::Cancelled, reason);
                self.journal
                    .write_item(&item, Some(reason), self.now)
                    .await?;
            }
        }
        run.state = State::Cancelled;
        run.reason = "somebody cancelled it".to_owned();
        run.ended = Some(self.now);
        self.journal.write_run(&run, self.now).await?;
        Ok(None)
    }

    /// One turn of the items of a run.
    async fn items(&self, mut run: Run) -> Result<Option<Timestamp>, JournalError> {
        let mut items = self.journal.items(run.id).await?;
        self.deadline(&run, &mut items).await?;
        self.start(&run, &mut items).await?;
        self.look(&run, &mut items).await?;
        let open: Vec<&Item> = items
            .iter()
            .filter(|item| item.step != Step::Ended)
            .collect();
        if open.is_empty() {
            let states: Vec<State> = items.iter().map(|item| item.state).collect();
            run.state = outcome(&states);
            run.reason = tally(&items);
            run.ended = Some(self.now);
            self.journal.write_run(&run, self.now).await?;
            return Ok(None);
        }
        let waits = open.iter().all(|item| item.step == Step::Asked);
        let (state, reason) = match waits {
            true => (
                State::AwaitingApproval,
                "all that is left waits for approvals".to_owned(),
            ),
            false => (State::Running, tally(&items)),
        };
        if run.state != state || run.reason != reason {
            run.state = state;
            run.reason = reason;
            self.journal.write_run(&run, self.now).await?;
        }
        Ok(open.iter().filter_map(|item| item.due_at).min())
    }

    /// Ends what takes too long. A job at Azure goes on, and is told.
    async fn deadline(&self, run: &Run, items: &mut [Item]) -> Result<(), JournalError> {
        let within = self.region.deadline.finish_within;
        let passed = self.now.duration_since(run.due);
        for item in items.iter_mut().filter(|item| item.step != Step::Ended) {
            let waited = match self.region.deadline.counts_approvals {
                true => SignedDuration::ZERO,
                false => item.waited_until(self.now),
            };
            if passed.saturating_sub(waited) <= within.signed() {
                continue;
            }
            let reason = match &item.job {
                Some(job) => format!("not done within {within}; job {job} goes on at Azure"),
                None => format!("not done within {within}"),
            };
            item.end(State::TimedOut, &reason);
            self.journal
                .write_item(item, Some(&reason), self.now)
                .await?;
        }
        Ok(())
    }
}

impl Item {
    /// How long people were asked about it, by now.
    fn waited_until(&self, now: Timestamp) -> SignedDuration {
        let asked = self
            .asked_at
            .map_or(SignedDuration::ZERO, |at| now.duration_since(at));
        SignedDuration::from_millis(self.waited).saturating_add(asked)
    }

    /// People have answered.
    fn answered(&mut self, now: Timestamp) {
        self.waited = i64::try_from(self.waited_until(now).as_millis()).unwrap_or(i64::MAX);
        self.asked_at = None;
    }

    /// The item has ended.
    fn end(&mut self, state: State, reason: &str) {
        self.step = Step::Ended;
        self.state = state;
        self.reason = reason.to_owned();
        self.due_at = None;
    }
}

/// How many items are in which state.
fn tally(items: &[Item]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for item in items {
        *counts.entry(item.state.as_str()).or_default() += 1;
    }
    let each = counts
        .iter()
        .map(|(state, count)| format!("{count} {state}"));
    each.collect::<Vec<_>>().join(", ")
}

/// A run that is due, or was.
pub fn new_run(
    flow: &Flow,
    region: &Region,
    due: Timestamp,
    state: State,
    reason: &str,
    ended: Option<Timestamp>,
) -> Run {
    Run {
        id: occurrence::run_id(&flow.name, &region.name, due),
        flow: flow.name.clone(),
        region: region.name.clone(),
        digest: flow.digest.clone(),
        due,
        state,
        reason: reason.to_owned(),
        started: None,
        ended,
        resolved: false,
        due_at: None,
        attempts: 0,
        cancel: false,
    }
}

/// Whether a window is open, by the clock of the region.
fn is_open(window: &Window, region: &Region, now: Timestamp) -> bool {
    let local = region.schedule.local(now);
    let (day, time) = (local.date(), local.time());
    let named = |day: jiff::civil::Date| window.days.contains(&day.weekday());
    if window.from < window.to {
        return named(day) && (window.from..window.to).contains(&time);
    }
    // Over midnight it is the window of the day on which it began.
    let yesterday = day.yesterday().is_ok_and(named);
    (named(day) && time >= window.from) || (yesterday && time < window.to)
}

fn earliest(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// All of them at once, in order.
async fn join_all<T>(futures: Vec<impl Future<Output = T>>) -> Vec<T> {
    futures_util::future::join_all(futures).await
}
