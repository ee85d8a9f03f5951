//! Recorded decisions judged again: by another bundle, without one rule, with fewer grants.
//!
//! What is recorded is all that was judged, so that the same bundle gives the same decisions,
//! always; a difference is the bundle's. Records that cannot be judged again are counted, and
//! never guessed.

mod blame;
mod difference;
mod recorded;
mod suggest;

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use vaultgate_decision_log::read::{Records, checkpoint};
use vaultgate_pdp::{Decision, Policy, replay_all};

pub(crate) use blame::Blame;
pub(crate) use difference::Differences;
pub(crate) use recorded::{Filter, Recorded, Verdict};
pub(crate) use suggest::Suggestion;

use recorded::Read;

/// Lines that one worker takes at once.
const BATCH: usize = 512;
/// Batches that are read ahead.
const AHEAD: usize = 8;
/// How often progress is shown.
const SHOW: Duration = Duration::from_millis(200);

/// A log to judge again, and which part of it.
pub(crate) struct Source<'s> {
    /// Folder of the log.
    pub(crate) dir: &'s Path,
    /// Which records.
    pub(crate) filter: &'s Filter,
}

/// Something that decisions are counted into: by each worker apart, then together.
pub(crate) trait Tally: Send {
    /// A recorded decision and what each policy makes of it now.
    fn judged(&mut self, recorded: &Recorded, decisions: &[Decision]);
    /// A decision that cannot be judged again.
    fn not_comparable(&mut self, why: &'static str);
    /// Takes in what another worker counted.
    fn merge(&mut self, other: Self)
    where
        Self: Sized;
}

impl Source<'_> {
    /// Judges every record by each of the policies, on all processors. Progress is shown where
    /// somebody looks.
    pub(crate) fn judge<T: Tally>(
        &self,
        policies: &[&Policy],
        new: impl Fn() -> T + Sync,
    ) -> anyhow::Result<T> {
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        let (give, take) = mpsc::sync_channel::<Vec<Vec<u8>>>(AHEAD);
        let take = Mutex::new(take);
        let (done, new) = (AtomicU64::new(0), &new);
        let work = || {
            let mut tally = new();
            loop {
                // The lock is held while waiting: whoever has it gets the next batch.
                let batch = match take.lock() {
                    Ok(take) => take.recv(),
                    Err(_) => break,
                };
                let Ok(lines) = batch else { break };
                done.fetch_add(lines.len() as u64, Ordering::Relaxed);
                self.batch(&lines, policies, &mut tally);
            }
            tally
        };
        std::thread::scope(|scope| {
            let running: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
            let read = self.read(&give, &done);
            drop(give);
            let mut all = new();
            for worker in running {
                let tally = worker.join();
                all.merge(tally.map_err(|_| anyhow::anyhow!("a worker of the replay panicked"))?);
            }
            read.map(|()| all)
        })
    }

    fn read(&self, give: &mpsc::SyncSender<Vec<Vec<u8>>>, done: &AtomicU64) -> anyhow::Result<()> {
        let total = checkpoint(self.dir).map(|signed| signed.head.size);
        let mut progress = Progress::new(total);
        let mut batch = Vec::with_capacity(BATCH);
        let records = Records::open(self.dir, 0)
            .with_context(|| format!("cannot read the log in `{}`", self.dir.display()))?;
        for line in records {
            batch.push(line?.leaf);
            if batch.len() == BATCH {
                let full = std::mem::replace(&mut batch, Vec::with_capacity(BATCH));
                // Nobody takes it when every worker has panicked; that is told when joined.
                let _ = give.send(full);
                progress.show(done.load(Ordering::Relaxed));
            }
        }
        let _ = give.send(batch);
        progress.end();
        Ok(())
    }

    fn batch<T: Tally>(&self, lines: &[Vec<u8>], policies: &[&Policy], tally: &mut T) {
        let mut recorded = Vec::with_capacity(lines.len());
        for line in lines {
            match Read::of(self.dir, line, self.filter) {
                Read::Decision(decision) => recorded.push(decision),
                Read::NotComparable(why) => tally.not_comparable(why),
                Read::Other => {}
            }
        }
        let inputs: Vec<&str> = recorded.iter().map(|one| one.input.as_str()).collect();
        let judged: Vec<Vec<Decision>> = policies
            .iter()
            .map(|policy| replay_all(policy, &inputs))
            .collect();
        for (place, recorded) in recorded.iter().enumerate() {
            let decisions: Vec<Decision> = judged
                .iter()
                .filter_map(|all| all.get(place).cloned())
                .collect();
            match decisions.iter().any(recorded::timed_out) {
                true => tally.not_comparable("took too long now"),
                false => tally.judged(recorded, &decisions),
            }
        }
    }
}

/// The input of one record of a decision or a preflight.
pub(crate) fn input(dir: &Path, line: &[u8]) -> Option<String> {
    recorded::input(dir, line)
}

/// How far a replay is, on standard error if somebody looks at it.
struct Progress {
    total: Option<u64>,
    began: Instant,
    shown: Option<Instant>,
    visible: bool,
}

impl Progress {
    fn new(total: Option<u64>) -> Progress {
        Progress {
            total,
            began: Instant::now(),
            shown: None,
            visible: std::io::stderr().is_terminal(),
        }
    }

    fn show(&mut self, done: u64) {
        let due = self.shown.is_none_or(|shown| shown.elapsed() > SHOW);
        if !self.visible || !due {
            return;
        }
        self.shown = Some(Instant::now());
        let seconds = self.began.elapsed().as_secs_f64();
        let text = match self.total.filter(|total| *total > 0) {
            Some(total) => {
                let share = (done as f64 / total as f64).min(1.0);
                let left = seconds / share.max(1e-6) * (1.0 - share);
                let filled = "#".repeat((share * 30.0) as usize);
                format!("[{filled:<30}] {:3.0} %, {left:.0} s left", share * 100.0)
            }
            None => format!("{done} records"),
        };
        let _ = write!(std::io::stderr(), "\r{text}   ");
    }

    fn end(&self) {
        if self.shown.is_some() {
            let _ = write!(std::io::stderr(), "\r{:60}\r", "");
        }
    }
}

#[cfg(test)]
mod tests;
