//! What came of a backup: the jobs of a vault in one list, whatever the number of items; then the
//! recovery points.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::Turn;
use super::item::next_look;
use crate::flow::Tier;
use crate::gateway::{Job, Protected, Trouble};
use crate::journal::{Item, JournalError, Run};
use crate::state::{State, Step};
use crate::verdict::Verdict;

/// How long a job that Azure took may be missing from its list.
const HIDDEN: SignedDuration = SignedDuration::from_mins(10);
/// A job that was there already began at most so long before.
const BEFORE: SignedDuration = SignedDuration::from_hours(24);
/// Clocks differ by less: the gateway sends no change where they do not.
const SKEW: SignedDuration = SignedDuration::from_mins(2);

impl Turn<'_> {
    /// Looks at the jobs, and at the recovery points of what is done, of each vault that has
    /// something due.
    pub(super) async fn look(&self, run: &Run, items: &mut [Item]) -> Result<(), JournalError> {
        let due = |item: &Item| item.due_at.is_none_or(|at| at <= self.now);
        let working =
            |item: &&Item| matches!(item.step, Step::Accepted | Step::Adopting | Step::Working);
        let vaults: BTreeSet<String> = items
            .iter()
            .filter(working)
            .filter(|item| due(item))
            .map(|item| item.vault.clone())
            .collect();
        for vault in vaults {
            let since = since(items.iter().filter(|item| item.vault == vault), self.now);
            let jobs = self.gateway.backups(&vault, since, run, self.now).await;
            for item in items
                .iter_mut()
                .filter(|item| item.vault == vault && working(&&**item))
            {
                match &jobs {
                    Ok(jobs) => self.job(item, jobs).await?,
                    // What cannot be looked at is looked at later; its deadline goes on.
                    Err(trouble) => self.unseen(item, "the jobs of its vault", trouble).await?,
                }
            }
        }
        let checking = |item: &&Item| item.step == Step::Checking;
        let vaults: BTreeSet<String> = items
            .iter()
            .filter(checking)
            .filter(|item| due(item))
            .map(|item| item.vault.clone())
            .collect();
        for vault in vaults {
            let listed = self.gateway.protected(&vault, run, self.now).await;
            for item in items
                .iter_mut()
                .filter(|item| item.vault == vault && checking(&&**item))
            {
                match &listed {
                    Ok(listed) => self.check(run, item, listed).await?,
                    Err(trouble) => self.unseen(item, "the items of its vault", trouble).await?,
                }
            }
        }
        Ok(())
    }

    /// Says what could not be looked at, and comes back no sooner than asked.
    async fn unseen(
        &self,
        item: &mut Item,
        what: &str,
        trouble: &Trouble,
    ) -> Result<(), JournalError> {
        let (why, wait) = match trouble {
            Trouble::Said(Verdict::Transient(said, wait)) => (said.message.as_str(), *wait),
            Trouble::Said(
                Verdict::Denied(said)
                | Verdict::Failed(said)
                | Verdict::Missing(said)
                | Verdict::Unauthenticated(said),
            ) => (said.message.as_str(), None),
            Trouble::Said(_) => ("the answer means nothing", None),
            Trouble::NotSent(why) | Trouble::Broken(why) => (why.as_str(), None),
        };
        item.reason = format!("{what} cannot be listed: {why}");
        let asked = wait.and_then(|wait| self.now.checked_add(wait).ok());
        let next = next_look(item.sent_at.unwrap_or(self.now), self.now, self.region.poll);
        item.due_at = next.max(asked);
        self.journal.write_item(item, None, self.now).await
    }

    /// How the job of an item stands.
    async fn job(&self, item: &mut Item, jobs: &[Job]) -> Result<(), JournalError> {
        let friendly = item.name.rsplit('/').next().unwrap_or_default();
        let found = match (&item.job, item.step) {
            (Some(id), _) => jobs.iter().find(|job| job.id == *id),
            (None, Step::Adopting) => {
                let mut own = jobs
                    .iter()
                    .filter(|job| job.friendly.eq_ignore_ascii_case(friendly));
                own.find(|job| job.is_running())
                    .or_else(|| newest(jobs, friendly))
            }
            (None, _) => {
                let decision = item.decision.as_deref().unwrap_or_default();
                jobs.iter().find(|job| job.is_of(decision))
            }
        };
        let Some(job) = found else {
            return self.hidden(item).await;
        };
        let new = item.job.is_none();
        item.job = Some(job.id.clone());
        if job.is_running() {
            item.step = Step::Working;
            let first = item.sent_at.unwrap_or(self.now);
            item.due_at = next_look(first, self.now, self.region.poll);
            item.reason = format!("job {} goes on", job.id);
            let message = item.reason.clone();
            return self
                .journal
                .write_item(item, new.then_some(message.as_str()), self.now)
                .await;
        }
        let checks = &self.region.checks;
        let good = checks.accept.contains(&job.status);
        let warned = checks.warn.contains(&job.status);
        if good || warned {
            item.step = Step::Checking;
            item.due_at = None;
            item.attempts = 0;
            item.reason = match warned {
                true => format!("job {} ended as {}", job.id, job.status),
                false => format!("job {} is done", job.id),
            };
            let message = item.reason.clone();
            return self
                .journal
                .write_item(item, Some(&message), self.now)
                .await;
        }
        let why = job.error.as_deref().unwrap_or("Azure does not say why");
        let reason = format!("job {} ended as {}: {why}", job.id, job.status);
        item.end(State::Failed, &reason);
        self.journal.write_item(item, Some(&reason), self.now).await
    }

    /// A job that is not in the list: it may not be there yet. Never sent again.
    async fn hidden(&self, item: &mut Item) -> Result<(), JournalError> {
        let since = item.sent_at.unwrap_or(self.now);
        if self.now.duration_since(since) < HIDDEN {
            return self.later(item).await;
        }
        let reason = "Azure lists no job for it: look at the item before it is backed up by hand";
        item.end(State::Failed, reason);
        self.journal.write_item(item, Some(reason), self.now).await
    }

    async fn later(&self, item: &mut Item) -> Result<(), JournalError> {
        let first = item.sent_at.unwrap_or(self.now);
        item.due_at = next_look(first, self.now, self.region.poll);
        self.journal.write_item(item, None, self.now).await
    }

    /// Whether there is a recovery point that is what it has to be: a job that is done is none yet.
    async fn check(
        &self,
        run: &Run,
        item: &mut Item,
        listed: &[Protected],
    ) -> Result<(), JournalError> {
        let Some(wanted) = &self.region.checks.recovery_point else {
            item.end(
                State::Completed,
                "its job is done; no recovery point was asked for",
            );
            return self.journal.write_item(item, Some("done"), self.now).await;
        };
        let point = match wanted.tier {
            None => {
                let own = listed
                    .iter()
                    .find(|one| one.id.eq_ignore_ascii_case(&item.item));
                own.and_then(|own| own.last_recovery_point)
            }
            Some(tier) => {
                let tier = match tier {
                    Tier::Snapshot => "snapshot",
                    Tier::Vault => "vault",
                    Tier::Archive => "archive",
                };
                match self
                    .gateway
                    .newest_point(&item.item, Some(tier), run, self.now)
                    .await
                {
                    Ok(point) => point,
                    Err(_) => return self.later(item).await,
                }
            }
        };
        let young =
            point.filter(|point| self.now.duration_since(*point) <= wanted.younger_than.signed());
        if let Some(point) = young {
            item.recovery_point = Some(point);
            let reason = format!("recovery point of {point}");
            item.end(State::Completed, &reason);
            return self.journal.write_item(item, Some(&reason), self.now).await;
        }
        // The data may still be on its way into the tier.
        let first = item.sent_at.unwrap_or(self.now);
        if self.now.duration_since(run.due) < self.region.deadline.finish_within.signed()
            && item.attempts < 30
        {
            item.attempts += 1;
            item.reason = match point {
                Some(point) => format!("its newest recovery point is of {point}"),
                None => "it has no recovery point of this kind yet".to_owned(),
            };
            item.due_at = next_look(first, self.now, self.region.poll);
            return self.journal.write_item(item, None, self.now).await;
        }
        let reason = format!(
            "its job is done, and there is no recovery point younger than {}",
            wanted.younger_than
        );
        item.end(State::Failed, &reason);
        self.journal.write_item(item, Some(&reason), self.now).await
    }
}

/// From when on jobs of these items are looked at.
fn since<'i>(items: impl Iterator<Item = &'i Item>, now: Timestamp) -> Timestamp {
    let began = items
        .filter(|item| item.step != Step::Ended)
        .filter_map(|item| {
            let before = match item.step {
                Step::Adopting => BEFORE,
                _ => SKEW,
            };
            item.sent_at?.checked_sub(before).ok()
        });
    began.min().unwrap_or(now)
}

/// The newest job on an item, of those that ended.
fn newest<'j>(jobs: &'j [Job], friendly: &str) -> Option<&'j Job> {
    let own = jobs
        .iter()
        .filter(|job| job.friendly.eq_ignore_ascii_case(friendly));
    own.max_by_key(|job| job.started.unwrap_or(Timestamp::MIN))
}
