//! How large the estate is: the protected items of all listed vaults.
//!
//! Refreshed in the background; a count that could not be refreshed grows old
//! in the open, and policy sees its age.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::watch;

use crate::activity::Activity;
use crate::address::{is_of, is_plain_path, local_part};
use crate::clock::Clock;
use crate::observer::{Observer, Purpose};

/// Pages of one list that are followed at most.
const MAX_PAGES: usize = 1_000;
const VAULTS_VERSION: &str = "2026-07-01";
const BACKUP_VERSION: &str = "2026-08-01";

#[derive(Clone, Copy)]
struct Counted {
    items: u64,
    vaults: u64,
    at: Instant,
}

/// The estate as last counted.
#[derive(Default)]
pub(crate) struct Estate(Mutex<Option<Counted>>);

/// Counts the estate in the background.
pub(crate) struct Inventory {
    pub(crate) estate: Arc<Estate>,
    pub(crate) observer: Observer,
    pub(crate) activity: Activity,
    pub(crate) clock: Clock,
    pub(crate) every: Duration,
    pub(crate) subscriptions: Vec<String>,
    /// Authority whose page links are followed.
    pub(crate) authority: String,
}

impl Estate {
    /// The fact that policy sees.
    pub(crate) fn fact(&self, now: Instant) -> Value {
        let counted = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match counted {
            Some(counted) => json!({
                "status": "ok",
                "age_s": now.saturating_duration_since(counted.at).as_secs(),
                "items": counted.items,
                "vaults": counted.vaults,
            }),
            None => json!({"status": "unavailable"}),
        }
    }
}

impl Inventory {
    /// Counts again and again until `stop` turns true.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) {
        if self.every.is_zero() || self.subscriptions.is_empty() {
            return;
        }
        loop {
            match self.count().await {
                Some(counted) => {
                    self.activity.set_estate_items(Some(counted.items));
                    let mut estate = self.estate.0.lock().unwrap_or_else(PoisonError::into_inner);
                    *estate = Some(counted);
                }
                None => tracing::warn!("the estate could not be counted"),
            }
            tokio::select! {
                () = tokio::time::sleep(self.every) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// The whole estate, or nothing: half a count would make shares look large.
    async fn count(&self) -> Option<Counted> {
        let (mut items, mut vaults) = (0, 0);
        for subscription in &self.subscriptions {
            let path = format!(
                "/subscriptions/{subscription}/providers/Microsoft.RecoveryServices/vaults"
            );
            for vault in self.list(path, VAULTS_VERSION).await? {
                vaults += 1;
                let id = vault.get("id")?.as_str()?;
                // What is no id of this subscription is no list to be trusted.
                if !is_plain_path(id) || id.contains(['?', '#']) || !is_of(id, Some(subscription)) {
                    return None;
                }
                let listed = format!("{id}/backupProtectedItems");
                items += self.list(listed, BACKUP_VERSION).await?.len() as u64;
            }
        }
        Some(Counted {
            items,
            vaults,
            at: self.clock.monotonic(),
        })
    }

    /// Every element of a list, page by page.
    async fn list(&self, path: String, version: &str) -> Option<Vec<Value>> {
        let mut elements = Vec::new();
        let mut target = format!("{path}?api-version={version}");
        for _ in 0..MAX_PAGES {
            let mut page = self.page(&target).await?;
            let part = page.get_mut("value")?.as_array_mut()?;
            elements.append(part);
            let Some(next) = page.get("nextLink").and_then(Value::as_str) else {
                return Some(elements);
            };
            target = local_part(next, &self.authority)?.to_owned();
        }
        None
    }

    async fn page(&self, target: &str) -> Option<Value> {
        let answer = self.observer.one(Purpose::Inventory, None, target).await?;
        if !answer.status.is_success() {
            return None;
        }
        serde_json::from_slice(&answer.body).ok()
    }
}
