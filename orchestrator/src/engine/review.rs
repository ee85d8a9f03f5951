//! A retention review: how long the policies keep what they make, and what protects the vault.

use super::Turn;
use crate::flow::Expected;
use crate::gateway::{Kept, Posture, Protected, Trouble};
use crate::journal::{Item, Run};
use crate::state::State;

/// What a vault says of itself.
pub(super) struct Reviewed {
    kept: Vec<Kept>,
    posture: Posture,
}

impl Turn<'_> {
    /// Reads what a review looks at, once for each vault.
    pub(super) async fn review(&self, vault: &str, run: &Run) -> Result<Reviewed, Trouble> {
        let kept = self.gateway.kept(vault, run, self.now()).await?;
        let posture = self.gateway.posture(vault, run, self.now()).await?;
        Ok(Reviewed { kept, posture })
    }
}

impl Reviewed {
    /// The end of an item: what it is kept for, or what is less than expected.
    pub(super) fn end(&self, item: &mut Item, protected: &Protected, expected: &Expected) {
        let own = self
            .kept
            .iter()
            .find(|kept| kept.id.eq_ignore_ascii_case(&protected.policy));
        let daily = own.and_then(|own| own.daily);
        let policy = protected.policy.rsplit('/').next().unwrap_or_default();
        let mut less = Vec::new();
        if let Some(wanted) = expected.daily {
            let wanted = wanted.as_secs() / 86_400;
            match daily {
                Some(days) if days >= wanted => {}
                Some(days) => less.push(format!(
                    "policy {policy} keeps it for {days} days, not {wanted}"
                )),
                None => less.push(format!(
                    "policy {policy} does not say for how long it keeps what it makes each day"
                )),
            }
        }
        for (what, state, good) in [
            (
                "immutability",
                &self.posture.immutability,
                &expected.immutability,
            ),
            (
                "soft delete",
                &self.posture.soft_delete,
                &expected.soft_delete,
            ),
        ] {
            if !good.is_empty() && !good.contains(state) {
                let state = if state.is_empty() { "not told" } else { state };
                less.push(format!(
                    "the vault's {what} is {state}, not {}",
                    good.join(" or ")
                ));
            }
        }
        match less.is_empty() {
            true => {
                let days = daily.map_or_else(
                    || "as its policy says".to_owned(),
                    |days| format!("for {days} days"),
                );
                item.end(State::Completed, &format!("kept {days} (policy {policy})"));
            }
            false => item.end(State::Failed, &less.join("; ")),
        }
    }
}
