//! Which items a run is about: asked once, and frozen.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::Turn;
use super::review::Reviewed;
use crate::flow::{Pattern, Target, Work};
use crate::gateway::{Gateway, Protected, Trouble};
use crate::journal::{Item, JournalError, Run};
use crate::retry;
use crate::state::State;
use crate::verdict::Verdict;

impl Turn<'_> {
    /// Lists the items of each vault and freezes those that the flow means. What is named in full
    /// and is not there has failed: nobody is to believe that it is backed up.
    pub(super) async fn resolve(&self, run: Run) -> Result<Option<Timestamp>, JournalError> {
        let mut found: BTreeMap<String, Item> = BTreeMap::new();
        for target in &self.region.targets {
            let vault = target.id();
            let (protected, tagged, reviewed) = match self.listed(target, &vault, &run).await {
                Ok(listed) => listed,
                Err(trouble) => match lasting(&trouble) {
                    // What one vault refuses for good is no reason to leave the others out.
                    Some(state) => {
                        let reason = format!("its items cannot be listed: {}", trouble.said());
                        let item = ended(&run, &vault, vault.clone(), name(&vault), state, &reason);
                        found.insert(item.item.to_ascii_lowercase(), item);
                        continue;
                    }
                    None => return self.unresolved(run, &vault, &trouble).await,
                },
            };
            for pattern in target.items.iter().filter(|one| !one.text.contains('*')) {
                if !protected.iter().any(|one| pattern.names_it(&one.name)) {
                    let item = absent(&run, &vault, &pattern.text);
                    found.insert(item.item.to_ascii_lowercase(), item);
                }
            }
            for one in protected
                .into_iter()
                .filter(|one| self.region.means(target, one, &tagged))
            {
                let mut item = Item::new(run.id, &vault, one.id.clone(), one.name.clone());
                item.source.clone_from(&one.source);
                if let (Some(reviewed), Work::Review(expected)) = (&reviewed, &self.region.work) {
                    reviewed.end(&mut item, &one, expected);
                }
                found.insert(item.item.to_ascii_lowercase(), item);
            }
        }
        if found.is_empty() {
            let reason = "none of its vaults has an item that it means";
            return self.end(run, State::Failed, reason).await;
        }
        let items: Vec<Item> = found.into_values().collect();
        self.journal.resolve(&run, &items, self.now()).await?;
        Ok(Some(self.now()))
    }

    /// What a vault protects, what has the target's tag, and what a review looks at.
    async fn listed(
        &self,
        target: &Target,
        vault: &str,
        run: &Run,
    ) -> Result<(Vec<Protected>, Vec<String>, Option<Reviewed>), Trouble> {
        let protected = self.gateway.protected(vault, run, self.now()).await?;
        let tagged = target.tagged(self.gateway, run, self.now()).await?;
        let reviewed = match self.region.work {
            Work::Review(_) => Some(self.review(vault, run).await?),
            Work::Backup | Work::Drill(_) => None,
        };
        Ok((protected, tagged, reviewed))
    }

    /// A list that cannot be read: tried again, until the run is too late.
    async fn unresolved(
        &self,
        mut run: Run,
        vault: &str,
        trouble: &Trouble,
    ) -> Result<Option<Timestamp>, JournalError> {
        run.attempts = run.attempts.saturating_add(1);
        let (vault, said) = (name(vault), trouble.said());
        run.reason = format!("the items of vault {vault} are not known: {said}");
        let now = self.now();
        if now.duration_since(run.due) > self.region.deadline.finish_within.signed() {
            (run.state, run.ended) = (State::TimedOut, Some(now));
        } else {
            // A gateway that is away for an hour costs no night: this is tried until it is too late.
            run.state = State::AwaitingRetry;
            let (retry, share) = (&self.region.retry, retry::share());
            run.due_at = Some(retry::next(retry, run.attempts, trouble.wait(), now, share));
        }
        self.journal.write_run(&run, self.now()).await?;
        Ok(run.due_at)
    }
}

impl Target {
    /// ARM id of the vault.
    pub fn id(&self) -> String {
        format!(
            "/subscriptions/{}/resourceGroups/{}/providers/Microsoft.RecoveryServices/vaults/{}",
            self.subscription, self.resource_group, self.vault
        )
    }

    /// Ids of what has its tag now, in lower case; none where it has none.
    ///
    /// # Errors
    ///
    /// Where they cannot be listed.
    pub async fn tagged(
        &self,
        gateway: &Gateway,
        run: &Run,
        now: Timestamp,
    ) -> Result<Vec<String>, Trouble> {
        match &self.tag {
            Some((name, value)) => {
                gateway
                    .tagged(&self.subscription, (name, value), run, now)
                    .await
            }
            None => Ok(Vec::new()),
        }
    }

    /// Whether the flow means an item; `tagged` are the resources that have its tag.
    pub fn means(&self, item: &Protected, tagged: &[String]) -> bool {
        let named = |pattern: &Pattern| pattern.names_it(&item.name);
        let has_tag = tagged.contains(&item.source.to_lowercase());
        (self.items.iter().any(named) || has_tag) && !self.exclude.iter().any(named)
    }
}

impl Pattern {
    /// Whether it is the name of an item, with its kind.
    pub(crate) fn names_it(&self, name: &str) -> bool {
        let parts = name.split_once(':');
        parts.is_some_and(|(kind, name)| self.kind.as_str() == kind && self.names.matches(name))
    }
}

/// What a list that is refused for good leaves its vault with.
pub(super) fn lasting(trouble: &Trouble) -> Option<State> {
    match trouble {
        Trouble::Said(Verdict::Denied(_)) => Some(State::Denied),
        Trouble::Said(Verdict::Missing(_) | Verdict::Failed(_)) => Some(State::Failed),
        _ => None,
    }
}

/// An item that is named and that its vault does not protect.
fn absent(run: &Run, vault: &str, name: &str) -> Item {
    let reason = "the vault does not protect it, or its protection is stopped";
    let id = format!("{vault}#{name}");
    ended(run, vault, id, name, State::Failed, reason)
}

/// What stands in a run for what cannot be backed up: nobody is to believe that it was.
fn ended(run: &Run, vault: &str, id: String, name: &str, state: State, reason: &str) -> Item {
    let mut item = Item::new(run.id, vault, id, name.to_owned());
    item.end(state, reason);
    item
}

/// What a vault is called.
fn name(vault: &str) -> &str {
    vault.rsplit('/').next().unwrap_or_default()
}
