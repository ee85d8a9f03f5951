//! What came of a backup: the jobs of a vault in one list, whatever the number of items; then the
//! recovery points.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::item::next_look;
use super::{Turn, work};
use crate::flow::{Tier, Work};
use crate::gateway::{Job, Protected, Trouble};
use crate::journal::{Item, JournalError, Run};
use crate::state::{State, Step};

/// How long a job that Azure took may be missing from its list.
const HIDDEN: SignedDuration = SignedDuration::from_mins(10);
/// A job that was there already began at most so long before.
const BEFORE: SignedDuration = SignedDuration::from_hours(24);
/// Clocks differ by less: the gateway sends no change where they do not.
const SKEW: SignedDuration = SignedDuration::from_mins(2);

fn is_checked(item: &Item) -> bool {
    item.step == Step::Checking
}

impl Turn<'_> {
    /// Looks at the jobs, and at the recovery points of what is done, of each vault that has
    /// something due.
    pub(super) async fn look(&self, run: &Run, items: &mut [Item]) -> Result<(), JournalError> {
        let is_working =
            |item: &Item| matches!(item.step, Step::Accepted | Step::Adopting | Step::Working);
        for vault in self.due_vaults(items, is_working) {
            let since = since(items.iter().filter(|item| item.vault == vault), self.now());
            let jobs = self
                .gateway
                .jobs(
                    &vault,
                    work::operation(&self.region.work),
                    since,
                    run,
                    self.now(),
                )
                .await;
            let names: Vec<String> = items.iter().map(|item| item.name.clone()).collect();
            for item in items
                .iter_mut()
                .filter(|item| item.vault == vault && is_working(item))
            {
                match &jobs {
                    Ok(jobs) => self.job(item, jobs, &names).await?,
                    // What cannot be looked at is looked at later; its deadline goes on.
                    Err(trouble) => self.unseen(item, "the jobs of its vault", trouble).await?,
                }
            }
        }
        for vault in self.due_vaults(items, is_checked) {
            // A tier is told by the recovery points of each item alone.
            let tier = self.region.checks.recovery_point.as_ref();
            let looks = self.region.work == Work::Backup;
            let listed = match looks && tier.is_some_and(|wanted| wanted.tier.is_none()) {
                true => self.gateway.protected(&vault, run, self.now()).await,
                false => Ok(Vec::new()),
            };
            let due = items.iter_mut().filter(|item| self.is_due(item));
            for item in due.filter(|item| item.vault == vault && is_checked(item)) {
                match &listed {
                    Ok(listed) => self.check(run, item, listed).await?,
                    Err(trouble) => self.unseen(item, "the items of its vault", trouble).await?,
                }
            }
        }
        Ok(())
    }

    fn is_due(&self, item: &Item) -> bool {
        item.due_at.is_none_or(|at| at <= self.now())
    }

    fn due_vaults(&self, items: &[Item], wanted: impl Fn(&Item) -> bool) -> BTreeSet<String> {
        let due = items
            .iter()
            .filter(|item| wanted(item) && self.is_due(item));
        due.map(|item| item.vault.clone()).collect()
    }

    /// Says what could not be looked at, and comes back no sooner than asked.
    async fn unseen(
        &self,
        item: &mut Item,
        what: &str,
        trouble: &Trouble,
    ) -> Result<(), JournalError> {
        item.reason = format!("{what} cannot be listed: {}", trouble.said());
        let now = self.now();
        let asked = trouble.wait().and_then(|wait| now.checked_add(wait).ok());
        let next = next_look(item.sent_at.unwrap_or(now), now, self.region.poll);
        item.due_at = next.max(asked);
        self.write(item, None).await
    }

    /// How the job of an item stands. `names` are those of all items of the run.
    pub(super) async fn job(
        &self,
        item: &mut Item,
        jobs: &[Job],
        names: &[String],
    ) -> Result<(), JournalError> {
        let found = match (&item.job, item.step) {
            (Some(id), _) => jobs.iter().find(|job| job.id == *id),
            (None, Step::Adopting) if self.region.work.adopts() => adopted(item, jobs, names),
            (None, _) => {
                let decision = item.decision.as_deref().unwrap_or_default();
                jobs.iter().find(|job| job.is_of(decision))
            }
        };
        let now = self.now();
        let Some(job) = found else {
            return self.hidden(item).await;
        };
        let new = item.job.is_none();
        item.job = Some(job.id.clone());
        item.job_started = job.started;
        item.seen_at = Some(now);
        if job.is_running() {
            item.step = Step::Working;
            item.due_at = next_look(item.sent_at.unwrap_or(now), now, self.region.poll);
            item.reason = format!("job {} goes on", job.id);
            let message = item.reason.clone();
            return self.write(item, new.then_some(message.as_str())).await;
        }
        let checks = &self.region.checks;
        let good = checks.accept.contains(&job.status);
        let warned = checks.warn.contains(&job.status);
        if good || warned {
            item.step = Step::Checking;
            item.due_at = None;
            item.reason = match warned {
                true => format!("job {} ended as {}", job.id, job.status),
                false => format!("job {} is done", job.id),
            };
            let message = item.reason.clone();
            return self.write(item, Some(&message)).await;
        }
        let why = job.error.as_deref().unwrap_or("Azure does not say why");
        let reason = format!("job {} ended as {}: {why}", job.id, job.status);
        self.finish(item, State::Failed, &reason).await
    }

    /// A job that is not in the list: it may not be there yet. Never sent again.
    async fn hidden(&self, item: &mut Item) -> Result<(), JournalError> {
        let now = self.now();
        let seen = item.seen_at.or(item.sent_at).unwrap_or(now);
        if now.duration_since(seen) < HIDDEN {
            item.due_at = next_look(item.sent_at.unwrap_or(now), now, self.region.poll);
            return self.write(item, None).await;
        }
        let reason = format!(
            "Azure lists no job for it ({}): look at the item before it is backed up by hand",
            item.reason
        );
        self.finish(item, State::Failed, &reason).await
    }

    /// Whether there is a recovery point that is what it has to be: a job that is done is none yet,
    /// and neither is last night's.
    async fn check(
        &self,
        run: &Run,
        item: &mut Item,
        listed: &[Protected],
    ) -> Result<(), JournalError> {
        if let Work::Drill(drill) = &self.region.work {
            return self.restored(item, drill).await;
        }
        let Some(wanted) = &self.region.checks.recovery_point else {
            let reason = "its job is done; no recovery point was asked for";
            return self.finish(item, State::Completed, reason).await;
        };
        let point = match wanted.tier {
            None => {
                let own = listed
                    .iter()
                    .find(|one| one.id.eq_ignore_ascii_case(&item.item));
                own.and_then(|own| own.last_recovery_point)
            }
            Some(tier) => {
                let tier = tier_name(tier);
                match self.gateway.points(&item.item, run, self.now()).await {
                    Ok(points) => {
                        let in_tier = points.iter().filter(|point| point.tiers.contains(&tier));
                        in_tier.map(|point| point.at).max()
                    }
                    Err(trouble) => {
                        return self.unseen(item, "its recovery points", &trouble).await;
                    }
                }
            }
        };
        let now = self.now();
        let began = item.job_started.or(item.sent_at);
        let began = began.and_then(|at| at.checked_sub(SKEW).ok());
        let young = point.filter(|point| {
            let young = now.duration_since(*point) <= wanted.younger_than.signed();
            young && began.is_none_or(|began| *point >= began)
        });
        if let Some(point) = young {
            item.recovery_point = Some(point);
            let reason = format!("recovery point of {point}");
            return self.finish(item, State::Completed, &reason).await;
        }
        // The data may still be on its way into the tier: its deadline says for how long.
        item.reason = match point {
            Some(point) => format!("its job is done; its newest recovery point is of {point}"),
            None => "its job is done; there is no recovery point of this kind yet".to_owned(),
        };
        item.due_at = next_look(item.sent_at.unwrap_or(now), now, self.region.poll);
        self.write(item, None).await
    }
}

fn tier_name(tier: Tier) -> &'static str {
    match tier {
        Tier::Snapshot => "snapshot",
        Tier::Vault => "vault",
        Tier::Archive => "archive",
    }
}

/// A job on an item that was begun by somebody else, or by a request of ours without an answer: it
/// goes on, or ended after ours. Jobs say what they work on by name only; where another item has
/// the same, nothing is taken for it.
fn adopted<'j>(item: &Item, jobs: &'j [Job], names: &[String]) -> Option<&'j Job> {
    let friendly = |name: &str| name.rsplit('/').next().unwrap_or_default().to_lowercase();
    let own = friendly(&item.name);
    let id = item.item.to_lowercase();
    let alone = names.iter().filter(|name| friendly(name) == own).count() < 2;
    let mine = |job: &&Job| {
        let container = job.container.to_lowercase();
        let told = !container.is_empty();
        job.friendly.to_lowercase() == own && if told { id.contains(&container) } else { alone }
    };
    let from = item.sent_at?.checked_sub(SKEW).ok()?;
    let ours = item.decision.as_deref().unwrap_or_default();
    let known = jobs.iter().find(|job| job.is_of(ours));
    known.or_else(|| {
        let mine = jobs.iter().filter(mine);
        let fresh = mine.filter(|job| job.is_running() || job.ended.is_some_and(|at| at >= from));
        fresh.max_by_key(|job| (job.is_running(), job.started))
    })
}

/// From when on jobs of these items are looked at.
fn since<'i>(items: impl Iterator<Item = &'i Item>, now: Timestamp) -> Timestamp {
    let began = items
        .filter(|item| item.step != Step::Ended)
        .filter_map(|item| {
            let others = item.state == State::Adopted || item.step == Step::Adopting;
            let before = if others { BEFORE } else { SKEW };
            let from = item.job_started.into_iter().chain(item.sent_at).min()?;
            from.checked_sub(before).ok()
        });
    began.min().unwrap_or(now)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use jiff::{Timestamp, ToSpan as _};
    use uuid::Uuid;

    use super::{adopted, since};
    use crate::gateway::Job;
    use crate::journal::Item;
    use crate::state::{State, Step};

    fn at(minutes: i64) -> Timestamp {
        "2026-11-23T02:30:00Z".parse::<Timestamp>().unwrap() + minutes.minutes()
    }

    fn item(name: &str) -> Item {
        let names = format!("iaasvmcontainerv2;{}", name.replace('/', ";"));
        let id =
            format!("/v/protectionContainers/IaasVMContainer;{names}/protectedItems/VM;{names}");
        Item {
            step: Step::Adopting,
            state: State::Adopted,
            sent_at: Some(at(0)),
            decision: Some("d1".to_owned()),
            ..Item::new(Uuid::nil(), "/v", id, format!("vm:{name}"))
        }
    }

    fn job(id: &str, started: i64, ended: Option<i64>) -> Job {
        Job {
            id: id.to_owned(),
            status: if ended.is_some() {
                "Completed"
            } else {
                "InProgress"
            }
            .to_owned(),
            friendly: "web".to_owned(),
            container: String::new(),
            activity: "somebody".to_owned(),
            started: Some(at(started)),
            ended: ended.map(at),
            error: None,
        }
    }

    fn found(item: &Item, jobs: &[Job], names: &[&str]) -> Option<String> {
        let names: Vec<String> = names.iter().map(|name| format!("vm:{name}")).collect();
        adopted(item, jobs, &names).map(|job| job.id.clone())
    }

    #[test]
    fn last_nights_job_is_not_taken_for_tonights() {
        let web = item("rg1/web");
        let old = job("old", -1_440, Some(-1_400));
        assert_eq!(found(&web, std::slice::from_ref(&old), &["rg1/web"]), None);
        let running = job("running", -60, None);
        assert_eq!(
            found(&web, &[old.clone(), running], &["rg1/web"]).as_deref(),
            Some("running")
        );
        let ended = job("ended", -60, Some(3));
        assert_eq!(
            found(&web, &[old, ended], &["rg1/web"]).as_deref(),
            Some("ended")
        );
    }

    #[test]
    fn a_job_of_another_item_of_the_same_name_is_not_taken() {
        let web = item("rg1/web");
        let running = job("running", -60, None);
        assert_eq!(
            found(
                &web,
                std::slice::from_ref(&running),
                &["rg1/web", "rg2/web"]
            ),
            None
        );
        let mine = Job {
            container: "iaasvmcontainerv2;rg1;web".to_owned(),
            ..running.clone()
        };
        let theirs = Job {
            container: "iaasvmcontainerv2;rg2;web".to_owned(),
            ..running
        };
        assert_eq!(found(&web, &[theirs], &["rg1/web", "rg2/web"]), None);
        assert_eq!(
            found(&web, &[mine], &["rg1/web", "rg2/web"]).as_deref(),
            Some("running")
        );
        // The decision's own is known whatever it is called.
        let own = Job {
            activity: "d1; d1".to_owned(),
            ..job("own", 0, None)
        };
        assert_eq!(
            found(&web, &[own], &["rg1/web", "rg2/web"]).as_deref(),
            Some("own")
        );
    }

    #[test]
    fn jobs_are_listed_from_before_they_began() {
        let mut web = item("rg1/web");
        assert_eq!(since([&web].into_iter(), at(5)), at(-1_440));
        // Known, and begun long before it was asked for.
        (web.step, web.job_started) = (Step::Working, Some(at(-300)));
        assert!(since([&web].into_iter(), at(5)) <= at(-300));
        (web.state, web.job_started) = (State::Running, Some(at(1)));
        assert_eq!(since([&web].into_iter(), at(5)), at(-2));
    }
}
