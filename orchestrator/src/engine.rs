//! The engine: what is due becomes a run, a run becomes items, an item becomes a backup that was
//! looked at.
//!
//! Nothing is held in memory that a crash could lose: each turn reads the journal, does what is
//! due, and writes what came of it. A request is written down before it is sent, and is sent again
//! under the same key when nobody knows what became of it; the gateway does it once. One region's
//! trouble is no other's.

mod item;
mod resolve;
mod review;
mod tell;
mod wait;
pub(crate) mod work;

pub(crate) use item::next_look;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use crate::alerts::Alerts;
use crate::duration::Length;
use crate::flow::{Flow, Region, Window};
use crate::gateway::Gateway;
use crate::journal::{Item, Journal, JournalError, Run};
use crate::occurrence;
use crate::otlp::Otlp;
use crate::schedule::{Catchup, Overlap};
use crate::state::{State, Step, outcome};

/// The longest time between two turns of a region: what people ask for is taken up by then.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// The longest that a run may take by any flow file.
const LONGEST_RUN: SignedDuration = SignedDuration::from_hours(7 * 24);

/// What tells the time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The flows that are run, each with the gateway as its identity sees it.
pub struct Engine {
    journal: Arc<Journal>,
    flows: Vec<Running>,
    alerts: Option<Alerts>,
    otlp: Option<Otlp>,
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
    clock: &'e Clock,
}

impl Engine {
    /// An engine for these flows.
    pub fn new(
        journal: Arc<Journal>,
        flows: Vec<Running>,
        alerts: Option<Alerts>,
        otlp: Option<Otlp>,
        clock: Clock,
    ) -> Engine {
        Engine {
            journal,
            flows,
            alerts,
            otlp,
            clock,
        }
    }

    /// Whether each flow is here who it is where its journal was used before; false where the gateway
    /// cannot be asked now. Of a journal of this machine alone there is nobody else.
    ///
    /// # Errors
    ///
    /// Where somebody else began what goes on.
    pub async fn same_callers(&self) -> Result<bool, JournalError> {
        if !self.journal.is_shared() {
            return Ok(true);
        }
        for running in &self.flows {
            let Some(region) = running.flow.regions.first() else {
                continue;
            };
            let run = new_run(
                &running.flow,
                region,
                self.now(),
                State::Scheduled,
                "",
                None,
            );
            match running.gateway.who(&run, self.now()).await {
                Ok(who) => self.journal.same_caller(&running.flow.name, &who).await?,
                Err(trouble) => {
                    tracing::warn!(
                        flow = running.flow.name,
                        why = trouble.said(),
                        "the gateway does not say who this flow is"
                    );
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Runs until `stop` ends. What is under way at Azure goes on, and is taken up at the next
    /// start: to end half-way through a turn is to end as in a crash.
    ///
    /// # Errors
    ///
    /// Where the journal cannot be used: without it nothing is done.
    pub async fn serve(&self, stop: impl Future<Output = ()>) -> Result<(), JournalError> {
        self.orphans().await?;
        // Each region on its own: none waits for another.
        let regions = self.flows.iter().flat_map(|running| {
            let regions = running.flow.regions.iter();
            regions.map(move |region| self.region(running, region))
        });
        let regions = futures_util::future::try_join_all(regions);
        tokio::select! {
            biased;
            () = stop => Ok(()),
            failed = self.journal.hold() => failed,
            failed = self.tell() => failed,
            failed = self.report() => failed,
            failed = self.measure() => failed,
            // Without a region there is nothing to end for.
            ended = regions, if self.flows.iter().any(|running| !running.flow.regions.is_empty()) => {
                ended.map(drop)
            }
        }
    }

    /// One region, for ever.
    async fn region(&self, running: &Running, region: &Region) -> Result<(), JournalError> {
        loop {
            self.plan(&running.flow, region).await?;
            let next = self.turn(running, region).await?;
            self.sleep(next).await;
        }
    }

    /// Runs a region until one of its runs has ended; its end. Nothing else is planned or run.
    ///
    /// # Errors
    ///
    /// Where the journal cannot be used.
    pub async fn until_ended(&self, run: &Run) -> Result<Option<Run>, JournalError> {
        let of_flow = |running: &&Running| running.flow.name == run.flow;
        let Some(running) = self.flows.iter().find(of_flow) else {
            return Ok(None);
        };
        let mut regions = running.flow.regions.iter();
        let Some(region) = regions.find(|region| region.name == run.region) else {
            return Ok(None);
        };
        let ended = async {
            loop {
                let next = self.turn(running, region).await?;
                let found = self.journal.find_run(run.id).await?;
                if found.as_ref().is_none_or(|run| run.ended.is_some()) {
                    // Once: who waits for the end waits no longer for who is told of it.
                    self.report_once(running).await?;
                    return Ok(found);
                }
                self.sleep(next).await;
            }
        };
        tokio::select! {
            ended = ended => ended,
            lost = self.journal.hold() => lost.map(|()| None),
        }
    }

    async fn sleep(&self, next: Option<Timestamp>) {
        let left = next.map(|at| at.duration_since(self.now()));
        let left = left.map_or(LONGEST_SLEEP, |left| left.try_into().unwrap_or_default());
        // Not at once again: the clock may stand still.
        let least = Duration::from_millis(10);
        tokio::time::sleep(left.clamp(least, LONGEST_SLEEP)).await;
    }

    fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Ends runs of flows and regions that are no longer defined here.
    async fn orphans(&self) -> Result<(), JournalError> {
        for run in self.journal.open_runs().await? {
            let of_flow = |running: &&Running| running.flow.name == run.flow;
            let flow = self.flows.iter().find(of_flow);
            let known = flow.is_some_and(|running| {
                let mut regions = running.flow.regions.iter();
                regions.any(|region| region.name == run.region)
            });
            // Another machine may have newer files: what is shared is ended once nobody can want it.
            let old = self.now().duration_since(run.due) > LONGEST_RUN;
            if !known && self.journal.is_shared() && !old {
                tracing::warn!(run = %run.id, flow = run.flow, region = run.region, "this run is of no flow that is defined here");
                continue;
            }
            if !known {
                let reason = "the flow, or this region of it, is no longer defined here";
                cancel(&self.journal, run, reason, self.now()).await?;
            }
        }
        Ok(())
    }

    /// Does everything that is due in a region; when something is due next.
    async fn turn(
        &self,
        running: &Running,
        region: &Region,
    ) -> Result<Option<Timestamp>, JournalError> {
        let mut next = None;
        for run in self.open(&running.flow, region).await? {
            next = earliest(next, self.advance(running, region, run).await?);
        }
        Ok(next)
    }

    /// The runs of a region that have not ended: those that began first.
    async fn open(&self, flow: &Flow, region: &Region) -> Result<Vec<Run>, JournalError> {
        let mut open = self.journal.open_runs_of(&flow.name, &region.name).await?;
        open.sort_by_key(rank);
        Ok(open)
    }

    /// Makes runs of what was due since the schedule was looked at last.
    async fn plan(&self, flow: &Flow, region: &Region) -> Result<(), JournalError> {
        let now = self.now();
        let schedule = format!("{} {}", region.schedule.cron(), region.schedule.zone());
        let cursor = self
            .journal
            .cursor(&flow.name, &region.name, &schedule, now)
            .await?;
        let within = region.deadline.start_within;
        let due = region.schedule.due(cursor.looked_until, now, within);
        if due.run.is_empty() && due.missed.is_empty() {
            return Ok(());
        }
        let open = self.open(flow, region).await?;
        let mut runs = Vec::new();
        for at in due.missed {
            let reason = "nobody ran it in time";
            runs.push(new_run(flow, region, at, State::Missed, reason, Some(now)));
        }
        for at in due.run {
            let other = open.iter().find(|run| !run.cancel).map(|run| run.id);
            let skipped =
                |reason: &str| new_run(flow, region, at, State::Skipped, reason, Some(now));
            let run = match (cursor.paused, other, region.schedule.overlap) {
                (true, ..) => skipped("the region is paused"),
                (false, Some(other), Overlap::Skip) => {
                    skipped(&format!("run {other} of this region goes on"))
                }
                (false, Some(_), Overlap::CancelOther) => {
                    for other in &open {
                        self.journal.cancel(other.id).await?;
                    }
                    new_run(flow, region, at, State::Scheduled, "", None)
                }
                (false, ..) => new_run(flow, region, at, State::Scheduled, "", None),
            };
            runs.push(run);
        }
        // Of several that are caught up at once each ends the one before it.
        if region.schedule.overlap == Overlap::CancelOther {
            let mut due: Vec<&mut Run> =
                runs.iter_mut().filter(|run| run.ended.is_none()).collect();
            due.pop();
            for run in due {
                let reason = "a later run of this region was due as well";
                (run.state, run.reason, run.ended) =
                    (State::Cancelled, reason.to_owned(), Some(now));
            }
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
        let now = self.now();
        if run.cancel {
            cancel(&self.journal, run, "somebody cancelled it", now).await?;
            return Ok(None);
        }
        let waits_until = run.due_at.into_iter().chain([run.due]).max();
        if let Some(at) = waits_until.filter(|at| *at > now) {
            return Ok(Some(at));
        }
        let turn = Turn {
            journal: &self.journal,
            gateway: &running.gateway,
            region,
            clock: &self.clock,
        };
        if run.resolved {
            return match run.digest == running.flow.digest {
                true => turn.items(run).await,
                false => turn.redefined(run).await,
            };
        }
        if run.started.is_none() {
            if let Some((state, reason)) = self.held(&running.flow, region, &run).await? {
                if now.duration_since(run.due) > patience(region).signed() {
                    let reason = format!("it was not begun within {}: {reason}", patience(region));
                    return turn.end(run, State::Missed, &reason).await;
                }
                return turn.hold(run, state, &reason).await;
            }
            if now.duration_since(run.due) > patience(region).signed() {
                return turn.end(run, State::Missed, "nobody ran it in time").await;
            }
            run.started = Some(now);
            run.state = State::Running;
            run.reason = String::new();
        }
        // Nothing was asked for yet: it runs what is defined now.
        run.digest.clone_from(&running.flow.digest);
        self.journal.write_run(&run, now).await?;
        turn.resolve(run).await
    }

    /// What keeps a run from beginning.
    async fn held(
        &self,
        flow: &Flow,
        region: &Region,
        run: &Run,
    ) -> Result<Option<(State, String)>, JournalError> {
        let open = self.open(flow, region).await?;
        let other = open.iter().find(|other| rank(other) < rank(run));
        if let Some(other) = other {
            let reason = format!("run {} of this region goes on", other.id);
            return Ok(Some((State::AwaitingConcurrencySlot, reason)));
        }
        let now = self.now();
        let mut windows = region.maintenance.iter();
        let closed = windows.any(|window| is_open(window, region, now));
        let reason = "nothing is started in this maintenance window".to_owned();
        Ok(closed.then_some((State::AwaitingMaintenance, reason)))
    }
}

/// Which run of a region goes first: those that began, then those that were due first.
fn rank(run: &Run) -> (bool, Timestamp, Uuid) {
    (run.started.is_none(), run.due, run.id)
}

/// How long a run may be kept from beginning. What is caught up has its window.
pub(crate) fn patience(region: &Region) -> Length {
    let within = region.deadline.start_within;
    match region.schedule.catchup {
        Catchup::None => within,
        Catchup::Last | Catchup::All => within.max(region.schedule.catchup_window),
    }
}

/// Ends a run and its items. Jobs at Azure go on: what is half-way into the vault is better whole.
async fn cancel(
    journal: &Journal,
    mut run: Run,
    why: &str,
    now: Timestamp,
) -> Result<(), JournalError> {
    for mut item in journal.items(run.id).await? {
        if item.step != Step::Ended {
            let reason = format!("{why}{}", left(&item));
            item.end(State::Cancelled, &reason);
            journal.write_item(&item, Some(&reason), now).await?;
        }
    }
    run.state = State::Cancelled;
    run.reason = why.to_owned();
    run.ended = Some(now);
    journal.write_run(&run, now).await
}

/// What an item that is given up leaves at Azure.
fn left(item: &Item) -> String {
    match (&item.job, item.step) {
        (Some(job), Step::Working) => format!("; job {job} goes on at Azure"),
        (Some(job), Step::Checking) => format!("; job {job} is done, and was not looked at"),
        (_, Step::Ready) => "; nothing was sent".to_owned(),
        (_, Step::Asked) if !item.doubt => "; nothing was sent".to_owned(),
        (_, Step::Sent) if !item.doubt => "; Azure took nothing".to_owned(),
        _ => "; it may have reached Azure".to_owned(),
    }
}

impl Turn<'_> {
    fn now(&self) -> Timestamp {
        (self.clock)()
    }

    async fn write(&self, item: &Item, message: Option<&str>) -> Result<(), JournalError> {
        self.journal.write_item(item, message, self.now()).await
    }

    /// Ends an item.
    async fn finish(
        &self,
        item: &mut Item,
        state: State,
        reason: &str,
    ) -> Result<(), JournalError> {
        item.end(state, reason);
        self.write(item, Some(reason)).await
    }

    /// Ends a run.
    async fn end(
        &self,
        mut run: Run,
        state: State,
        reason: &str,
    ) -> Result<Option<Timestamp>, JournalError> {
        let now = self.now();
        (run.state, run.reason, run.ended) = (state, reason.to_owned(), Some(now));
        self.journal.write_run(&run, now).await?;
        Ok(None)
    }

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
            self.journal.write_run(&run, self.now()).await?;
        }
        Ok(None)
    }

    /// A run whose definition was changed meanwhile: what was sent is followed, nothing more is.
    async fn redefined(&self, run: Run) -> Result<Option<Timestamp>, JournalError> {
        for mut item in self.journal.items(run.id).await? {
            match item.step {
                Step::Ready | Step::Asked => {
                    let reason = format!("the definition was changed{}", left(&item));
                    self.finish(&mut item, State::Cancelled, &reason).await?;
                }
                Step::Sent if item.doubt => {
                    self.seek(&mut item, "the definition was changed").await?;
                }
                Step::Sent => {
                    let reason = format!("the definition was changed{}", left(&item));
                    self.finish(&mut item, State::Cancelled, &reason).await?;
                }
                _ => {}
            }
        }
        self.items(run).await
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
            return self.end(run, outcome(&states), &tally(&items)).await;
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
            self.journal.write_run(&run, self.now()).await?;
        }
        // What is due and cannot be done yet waits for its slot, not for an instant.
        let now = self.now();
        let later = open
            .iter()
            .filter_map(|item| item.due_at)
            .filter(|at| *at > now);
        Ok(later.min())
    }

    /// Ends what takes too long. A job at Azure goes on, and is told.
    async fn deadline(&self, run: &Run, items: &mut [Item]) -> Result<(), JournalError> {
        let within = self.region.deadline.finish_within;
        let now = self.now();
        let passed = now.duration_since(run.due);
        for item in items.iter_mut().filter(|item| item.step != Step::Ended) {
            let waited = match self.region.deadline.counts_approvals {
                true => SignedDuration::ZERO,
                false => item.waited_until(now),
            };
            if passed.saturating_sub(waited) <= within.signed() {
                continue;
            }
            let was = match item.reason.is_empty() {
                true => String::new(),
                false => format!(" ({})", item.reason),
            };
            let reason = format!("not done within {within}{was}{}", left(item));
            self.finish(item, State::TimedOut, &reason).await?;
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
