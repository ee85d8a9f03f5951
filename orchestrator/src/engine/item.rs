//! One backup of one item: written down, sent, and what the answer means.

use jiff::{SignedDuration, Timestamp};

use super::{Turn, join_all};
use crate::gateway::{Sent, Standing, Trouble};
use crate::journal::{Item, JournalError, Run};
use crate::retry;
use crate::state::{State, Step};
use crate::verdict::Verdict;

/// How often an approval is looked at.
const APPROVAL_EVERY: SignedDuration = SignedDuration::from_secs(15);

impl Turn<'_> {
    /// Sends what is due, as many at a time as the region may.
    pub(super) async fn start(&self, run: &Run, items: &mut [Item]) -> Result<(), JournalError> {
        let held = items.iter().filter(|item| item.step.holds_slot()).count();
        let mut free = self.region.parallel.saturating_sub(held);
        let mut sending = Vec::new();
        for item in items.iter_mut() {
            let due = item.due_at.is_none_or(|at| at <= self.now);
            match item.step {
                // A crash, or no answer: the same key, so that it is one backup.
                Step::Sent if due => sending.push(self.send(run, item)),
                Step::Asked if due => sending.push(self.send(run, item)),
                Step::Ready if due && free > 0 => {
                    free -= 1;
                    sending.push(self.send(run, item));
                }
                _ => {}
            }
        }
        for sent in join_all(sending).await {
            sent?;
        }
        Ok(())
    }

    async fn send(&self, run: &Run, item: &mut Item) -> Result<(), JournalError> {
        if item.step == Step::Asked {
            return self.approval(run, item).await;
        }
        if item.step == Step::Ready {
            item.step = Step::Sent;
            item.state = State::Running;
            item.sent_at = Some(self.now);
            item.due_at = None;
            // On disk before it leaves: whoever finds this sends it again under the same key.
            self.journal
                .write_item(item, Some("asks for its backup"), self.now)
                .await?;
        }
        let answer = self.ask(run, item, None).await;
        self.answered(item, answer).await
    }

    async fn ask(&self, run: &Run, item: &Item, approval: Option<&str>) -> Result<Sent, Trouble> {
        // From the time that it was due: sent again it is the same request.
        let keep = run.due.checked_add(self.region.retain.signed());
        let keep = keep.unwrap_or(run.due);
        self.gateway
            .back_up(item, keep, approval, run, self.now)
            .await
    }

    /// What an answer to a backup means for its item.
    async fn answered(
        &self,
        item: &mut Item,
        answer: Result<Sent, Trouble>,
    ) -> Result<(), JournalError> {
        let sent = match answer {
            Ok(sent) => sent,
            Err(Trouble::NotSent(why) | Trouble::Broken(why)) => {
                return self.again(item, &why, None).await;
            }
            Err(Trouble::Said(verdict)) => Sent {
                verdict,
                decision: None,
            },
        };
        if sent.decision.is_some() {
            item.decision = sent.decision;
        }
        match sent.verdict {
            Verdict::Done => {
                item.step = Step::Accepted;
                item.state = State::Running;
                item.attempts = 0;
                self.waits(item, "Azure took it").await
            }
            Verdict::InProgress => {
                item.step = Step::Adopting;
                item.state = State::Adopted;
                item.attempts = 0;
                self.waits(item, "Azure has a job on this item already")
                    .await
            }
            // It may have been done. Its job, if there is one, has the decision's id.
            Verdict::Unknown => {
                item.step = Step::Accepted;
                item.attempts = 0;
                self.waits(
                    item,
                    "nobody knows whether it reached Azure: its job is looked for",
                )
                .await
            }
            Verdict::Approval(id) => {
                item.step = Step::Asked;
                item.state = State::AwaitingApproval;
                item.attempts = 0;
                item.reason = format!("waits for approval {id}");
                item.approval = Some(id);
                item.asked_at.get_or_insert(self.now);
                item.due_at = self.now.checked_add(APPROVAL_EVERY).ok();
                let message = item.reason.clone();
                self.journal
                    .write_item(item, Some(&message), self.now)
                    .await
            }
            Verdict::Denied(said) => {
                let reason = format!("{}: {}", said.code, said.message);
                item.end(State::Denied, &reason);
                self.journal.write_item(item, Some(&reason), self.now).await
            }
            Verdict::Missing(said) | Verdict::Failed(said) => {
                let reason = format!("{}: {}", said.code, said.message);
                item.end(State::Failed, &reason);
                self.journal.write_item(item, Some(&reason), self.now).await
            }
            Verdict::Transient(said, wait) => self.again(item, &said.message, wait).await,
            Verdict::Unauthenticated(said) => self.again(item, &said.message, None).await,
        }
    }

    /// Looks at the approval of an item; runs what was approved.
    async fn approval(&self, run: &Run, item: &mut Item) -> Result<(), JournalError> {
        let Some(id) = item.approval.clone() else {
            item.end(State::Failed, "there is no approval to wait for");
            return self
                .journal
                .write_item(item, Some("there is no approval to wait for"), self.now)
                .await;
        };
        match self.gateway.approval(&id, run, self.now).await {
            Ok(Standing::Approved) => {
                item.answered(self.now);
                let message = format!("approval {id} was given");
                item.reason = message.clone();
                self.journal
                    .write_item(item, Some(&message), self.now)
                    .await?;
                let answer = self.ask(run, item, Some(&id)).await;
                self.answered(item, answer).await
            }
            // Given and used: by this very item, before a crash. Azure knows that decision.
            Ok(Standing::Used(decision)) => {
                item.answered(self.now);
                item.decision = Some(decision);
                item.step = Step::Accepted;
                item.state = State::Running;
                let message = format!("approval {id} was used");
                self.waits(item, &message).await
            }
            Ok(Standing::Gone) => {
                let reason = format!("approval {id} was refused, or ran out");
                item.end(State::Denied, &reason);
                self.journal.write_item(item, Some(&reason), self.now).await
            }
            // A gateway that is away gives no approval and takes none back.
            Ok(Standing::Pending) | Err(_) => {
                item.due_at = self.now.checked_add(APPROVAL_EVERY).ok();
                self.journal.write_item(item, None, self.now).await
            }
        }
    }

    /// It is looked at when the vault's jobs are.
    async fn waits(&self, item: &mut Item, message: &str) -> Result<(), JournalError> {
        item.reason = message.to_owned();
        item.due_at = self.now.checked_add(self.region.poll.first.signed()).ok();
        self.journal.write_item(item, Some(message), self.now).await
    }

    /// It is sent again later, or not at all any more.
    async fn again(
        &self,
        item: &mut Item,
        why: &str,
        asked: Option<std::time::Duration>,
    ) -> Result<(), JournalError> {
        item.attempts = item.attempts.saturating_add(1);
        match retry::next(
            &self.region.retry,
            item.attempts,
            asked,
            self.now,
            retry::share(),
        ) {
            Some(at) => {
                item.state = State::AwaitingRetry;
                item.reason = why.to_owned();
                item.due_at = Some(at);
                let message = format!("attempt {}: {why}", item.attempts);
                self.journal
                    .write_item(item, Some(&message), self.now)
                    .await
            }
            None => {
                let reason = format!("after {} attempts: {why}", item.attempts);
                item.end(State::Failed, &reason);
                self.journal.write_item(item, Some(&reason), self.now).await
            }
        }
    }
}

/// When jobs are looked at again: soon at first, and less often after a while.
pub(super) fn next_look(
    first: Timestamp,
    now: Timestamp,
    poll: crate::flow::Poll,
) -> Option<Timestamp> {
    let waited = now.duration_since(first).as_secs();
    let wait = match waited {
        ..600 => poll.first,
        600..3_600 => crate::duration::Length::seconds(poll.first.as_secs() * 2).min(poll.max),
        _ => poll.max,
    };
    now.checked_add(wait.signed()).ok()
}
