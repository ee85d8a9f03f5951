//! Which items a run is about: asked once, and frozen.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::Turn;
use crate::flow::{Pattern, Target};
use crate::gateway::{Protected, Trouble};
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
            let protected = match self.gateway.protected(&vault, &run, self.now()).await {
                Ok(protected) => protected,
                Err(trouble) => return self.unresolved(run, &vault, &trouble).await,
            };
            for pattern in target.items.iter().filter(|one| !one.text.contains('*')) {
                if !protected.iter().any(|one| pattern.names_it(&one.name)) {
                    let item = absent(&run, &vault, &pattern.text);
                    found.insert(item.item.to_ascii_lowercase(), item);
                }
            }
            for one in protected.into_iter().filter(|one| target.means(one)) {
                let item = Item::new(run.id, &vault, one.id, one.name);
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

    /// A list that cannot be read: tried again, until the run is too late.
    async fn unresolved(
        &self,
        mut run: Run,
        vault: &str,
        trouble: &Trouble,
    ) -> Result<Option<Timestamp>, JournalError> {
        let name = vault.rsplit('/').next().unwrap_or_default();
        let (lasting, said, asked) = match trouble {
            Trouble::Said(Verdict::Denied(said)) => {
                (Some(State::Denied), said.message.clone(), None)
            }
            Trouble::Said(Verdict::Missing(said) | Verdict::Failed(said)) => {
                (Some(State::Failed), said.message.clone(), None)
            }
            Trouble::Said(Verdict::Transient(said, wait)) => (None, said.message.clone(), *wait),
            Trouble::Said(Verdict::Unauthenticated(said)) => (None, said.message.clone(), None),
            Trouble::Said(_) => (None, "the answer means nothing".to_owned(), None),
            Trouble::NotSent(why) | Trouble::Broken(why) => (None, why.clone(), None),
        };
        run.attempts = run.attempts.saturating_add(1);
        run.reason = format!("the items of vault {name} are not known: {said}");
        let late = self.now().duration_since(run.due) > self.region.deadline.finish_within.signed();
        match lasting {
            Some(state) => (run.state, run.ended) = (state, Some(self.now())),
            None if late => (run.state, run.ended) = (State::TimedOut, Some(self.now())),
            // A gateway that is away for an hour costs no night: this is tried until it is too late.
            None => {
                let patient = crate::flow::Retry {
                    attempts: u32::MAX,
                    ..self.region.retry
                };
                run.state = State::AwaitingRetry;
                run.due_at = retry::next(&patient, run.attempts, asked, self.now(), retry::share());
            }
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

    /// Whether the flow means an item.
    pub fn means(&self, item: &Protected) -> bool {
        let named = |pattern: &Pattern| pattern.names_it(&item.name);
        self.items.iter().any(named) && !self.exclude.iter().any(named)
    }
}

impl Pattern {
    /// Whether it is the name of an item, with its kind.
    fn names_it(&self, name: &str) -> bool {
        let parts = name.split_once(':');
        parts.is_some_and(|(kind, name)| self.kind.as_str() == kind && self.names.matches(name))
    }
}

/// An item that is named and that its vault does not protect.
fn absent(run: &Run, vault: &str, name: &str) -> Item {
    let id = format!("{vault}#{name}");
    let mut item = Item::new(run.id, vault, id, name.to_owned());
    item.end(
        State::Failed,
        "the vault does not protect it, or its protection is stopped",
    );
    item
}
