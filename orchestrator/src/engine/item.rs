//! One backup of one item: written down, sent, and what the answer means.

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};

use super::{Turn, is_open, join_all, work};
use crate::flow::Poll;
use crate::gateway::{Sent, Standing, Trouble};
use crate::journal::{Item, JournalError, Run};
use crate::retry;
use crate::state::{State, Step};
use crate::verdict::Verdict;

/// How often an approval is looked at.
const APPROVAL_EVERY: SignedDuration = SignedDuration::from_secs(15);
/// A request that may have been sent is not sent again after so long: the gateway keeps its keys
/// for a day.
const KEY_LASTS: SignedDuration = SignedDuration::from_hours(12);

impl Turn<'_> {
    /// Sends what is due, as many at a time as the region may, and not in its maintenance.
    pub(super) async fn start(&self, run: &Run, items: &mut [Item]) -> Result<(), JournalError> {
        let now = self.now();
        let closed = self
            .region
            .maintenance
            .iter()
            .any(|window| is_open(window, self.region, now));
        let held = items.iter().filter(|item| item.step.holds_slot()).count();
        let mut free = self.region.parallel.saturating_sub(held);
        let mut sending = Vec::new();
        for item in items.iter_mut() {
            let due = item.due_at.is_none_or(|at| at <= now);
            match item.step {
                // A crash, or no answer: the same key, so that it is one backup.
                // What surely reached nobody is begun anew, and so not in its maintenance.
                Step::Sent if due && (item.doubt || !closed) => {
                    sending.push(self.send(run, item, true));
                }
                Step::Ready if due && !closed && free > 0 => {
                    free -= 1;
                    sending.push(self.send(run, item, true));
                }
                // How it stands is looked at whether or not it could be used now.
                Step::Asked if due => {
                    let usable = !closed && free > 0;
                    free -= usize::from(usable);
                    sending.push(self.send(run, item, usable));
                }
                _ => {}
            }
        }
        for sent in join_all(sending).await {
            sent?;
        }
        Ok(())
    }

    /// `usable`: whether an approval that was given may be used now.
    async fn send(&self, run: &Run, item: &mut Item, usable: bool) -> Result<(), JournalError> {
        if item.step == Step::Asked {
            return self.approval(run, item, usable).await;
        }
        let now = self.now();
        // Whether an earlier request may have reached Azure without an answer.
        let doubted = item.step == Step::Sent && item.doubt;
        if item.step == Step::Ready && !self.choose_point(run, item).await? {
            return Ok(());
        }
        if item.step == Step::Ready {
            item.step = Step::Sent;
            item.state = State::Running;
            item.sent_at = Some(now);
            item.keep_until = run.due.checked_add(self.region.retain.signed()).ok();
            item.due_at = None;
            item.doubt = true;
            // On disk before it leaves: whoever finds this sends it again under the same key.
            self.write(item, Some(work::asks(&self.region.work)))
                .await?;
        } else if doubted
            && item
                .sent_at
                .is_some_and(|at| now.duration_since(at) > KEY_LASTS)
        {
            return self
                .seek(item, "it was sent too long ago to be sent again")
                .await;
        }
        let answer = self.ask(run, item, None).await;
        self.answered(item, answer, doubted).await
    }

    async fn ask(
        &self,
        run: &Run,
        item: &Item,
        approval: Option<&str>,
    ) -> Result<(Sent, Bytes), Trouble> {
        let asked = work::asked(self.region, run, item);
        let key = (!self.region.work.only_asks()).then_some(item.key);
        self.gateway
            .change(&asked, key, approval, run, self.now())
            .await
    }

    /// What an answer to a backup means for its item. `doubted`: an earlier request may have
    /// reached Azure, so that a refusal of this one is no end.
    async fn answered(
        &self,
        item: &mut Item,
        answer: Result<(Sent, Bytes), Trouble>,
        doubted: bool,
    ) -> Result<(), JournalError> {
        let (sent, body) = match answer {
            Ok(answer) => answer,
            Err(Trouble::Broken(why)) => {
                item.doubt = !self.region.work.only_asks();
                return self.again(item, &why, None, false).await;
            }
            Err(Trouble::NotSent(why)) => {
                item.doubt = doubted;
                return self.again(item, &why, None, false).await;
            }
            Err(Trouble::Said(verdict)) => (Sent::of(verdict), Bytes::new()),
        };
        if self.region.work.only_asks() {
            return self.told(item, sent, &body).await;
        }
        item.doubt = doubted || !sent.nothing_done;
        if sent.decision.is_some() {
            item.decision = sent.decision;
        }
        match sent.verdict {
            Verdict::Done => {
                item.step = Step::Accepted;
                item.state = State::Running;
                self.waits(item, "Azure took it").await
            }
            // Somebody else's restore is none of this drill.
            Verdict::InProgress if !self.region.work.adopts() => {
                item.doubt = doubted;
                self.again(item, "Azure works on this item", None, true)
                    .await
            }
            Verdict::InProgress if !doubted => {
                item.step = Step::Adopting;
                item.state = State::Adopted;
                self.waits(item, "Azure has a job on this item already")
                    .await
            }
            Verdict::InProgress => self.seek(item, "Azure has a job on this item").await,
            // It may have been done. Its job, if there is one, has the decision's id.
            Verdict::Unknown => {
                item.step = Step::Accepted;
                item.state = State::Running;
                self.waits(
                    item,
                    "nobody knows whether it reached Azure: its job is looked for",
                )
                .await
            }
            Verdict::Approval(id) => {
                item.step = Step::Asked;
                item.state = State::AwaitingApproval;
                (item.attempts, item.counted) = (0, 0);
                item.reason = format!("waits for approval {id}");
                item.approval = Some(id);
                item.asked_at.get_or_insert(self.now());
                item.due_at = self.now().checked_add(APPROVAL_EVERY).ok();
                let message = item.reason.clone();
                self.write(item, Some(&message)).await
            }
            Verdict::Denied(said) | Verdict::Missing(said) | Verdict::Failed(said)
                if item.doubt =>
            {
                let reason = format!("{}: {}", said.code, said.message);
                self.seek(item, &reason).await
            }
            Verdict::Denied(said) => {
                let reason = format!("{}: {}", said.code, said.message);
                self.finish(item, State::Denied, &reason).await
            }
            Verdict::Missing(said) | Verdict::Failed(said) => {
                let reason = format!("{}: {}", said.code, said.message);
                self.finish(item, State::Failed, &reason).await
            }
            Verdict::Transient(said, wait) => {
                // Kept under the key: asked again it is the same answer, whatever became of it.
                if sent.replayed && said.code != "request-in-flight" {
                    item.step = Step::Accepted;
                    item.state = State::Running;
                    return self.waits(item, &said.message).await;
                }
                if item.step == Step::Asked {
                    // Its approval is used up; Azure did nothing. Another one is asked for.
                    item.approval = None;
                    item.answered(self.now());
                    item.step = Step::Sent;
                }
                let counts = said.code != "request-in-flight";
                self.again(item, &said.message, wait, counts).await
            }
            Verdict::Unauthenticated(said) => self.again(item, &said.message, None, false).await,
        }
    }

    /// Looks at the approval of an item, and uses it where it may be.
    async fn approval(&self, run: &Run, item: &mut Item, usable: bool) -> Result<(), JournalError> {
        let id = item.approval.clone().unwrap_or_default();
        match self.gateway.approval(&id, run, self.now()).await {
            Ok(Standing::Approved) if !usable => {
                item.reason = format!("approval {id} was given; it waits for its turn");
                self.asked_later(item).await
            }
            Ok(Standing::Approved) => {
                item.doubt = true;
                let message = format!("approval {id} was given");
                item.reason.clone_from(&message);
                self.write(item, Some(&message)).await?;
                let answer = self.ask(run, item, Some(&id)).await;
                if !matches!(answer, Err(Trouble::NotSent(_) | Trouble::Broken(_))) {
                    item.answered(self.now());
                }
                self.used(item, answer).await
            }
            // Given and used: by this very item, before a crash. Azure knows that decision.
            Ok(Standing::Used(decision)) => {
                item.answered(self.now());
                item.decision = Some(decision);
                item.step = Step::Accepted;
                item.state = State::Running;
                let message = format!("approval {id} was used");
                self.waits(item, &message).await
            }
            Ok(Standing::Gone) => {
                let reason = format!("approval {id} was refused, or ran out");
                self.finish(item, State::Denied, &reason).await
            }
            Ok(Standing::Pending) => {
                item.reason = format!("waits for approval {id}");
                item.asked_at.get_or_insert(self.now());
                self.asked_later(item).await
            }
            // A gateway that is away gives no approval and takes none back. People are not what
            // it waits for meanwhile: its deadline goes on.
            Err(trouble) => {
                item.answered(self.now());
                item.reason = format!("approval {id} cannot be looked at: {}", trouble.said());
                self.asked_later(item).await
            }
        }
    }

    /// What came of using an approval. Without an answer, how it stands is looked at again: it is
    /// used once.
    async fn used(
        &self,
        item: &mut Item,
        answer: Result<(Sent, Bytes), Trouble>,
    ) -> Result<(), JournalError> {
        match answer {
            Err(Trouble::NotSent(_) | Trouble::Broken(_)) => self.asked_later(item).await,
            answer => self.answered(item, answer, false).await,
        }
    }

    async fn asked_later(&self, item: &mut Item) -> Result<(), JournalError> {
        item.due_at = self.now().checked_add(APPROVAL_EVERY).ok();
        self.write(item, None).await
    }

    /// It is looked at when the vault's jobs are.
    async fn waits(&self, item: &mut Item, message: &str) -> Result<(), JournalError> {
        let now = self.now();
        (item.attempts, item.counted) = (0, 0);
        item.reason = message.to_owned();
        item.seen_at = Some(now);
        item.due_at = now.checked_add(self.region.poll.first.signed()).ok();
        self.write(item, Some(message)).await
    }

    /// A job that may be there is looked for, and nothing is sent any more.
    pub(super) async fn seek(&self, item: &mut Item, why: &str) -> Result<(), JournalError> {
        item.step = Step::Adopting;
        item.state = State::Running;
        let message = format!("it may have reached Azure before: its job is looked for ({why})");
        self.waits(item, &message).await
    }

    /// It is sent again later, or not at all any more. `counts`: as one of so many attempts; what
    /// was never heard is tried until it is too late.
    pub(super) async fn again(
        &self,
        item: &mut Item,
        why: &str,
        asked: Option<std::time::Duration>,
        counts: bool,
    ) -> Result<(), JournalError> {
        item.attempts = item.attempts.saturating_add(1);
        item.counted = item.counted.saturating_add(u32::from(counts));
        let retry = &self.region.retry;
        if counts && item.counted >= retry.attempts {
            if item.doubt {
                return self.seek(item, why).await;
            }
            let reason = format!("after {} attempts: {why}", item.counted);
            return self.finish(item, State::Failed, &reason).await;
        }
        item.state = State::AwaitingRetry;
        item.reason = why.to_owned();
        item.due_at = Some(retry::next(
            retry,
            item.attempts,
            asked,
            self.now(),
            retry::share(),
        ));
        let message = format!("attempt {}: {why}", item.attempts);
        self.write(item, Some(&message)).await
    }
}

/// When jobs are looked at again: soon at first, and less often after a while.
pub(crate) fn next_look(first: Timestamp, now: Timestamp, poll: Poll) -> Option<Timestamp> {
    let waited = now.duration_since(first).as_secs();
    let wait = match waited {
        ..600 => poll.first,
        600..3_600 => crate::duration::Length::seconds(poll.first.as_secs() * 2).min(poll.max),
        _ => poll.max,
    };
    now.checked_add(wait.signed()).ok()
}

#[cfg(test)]
mod tests;
