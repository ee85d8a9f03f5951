//! One change at a time for each vault: facts stay true while they are judged.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// Held by the one change that a vault has in flight.
pub(crate) struct Lease {
    _held: OwnedMutexGuard<()>,
}

/// The leases of all vaults.
#[derive(Default)]
pub(crate) struct Leases(Mutex<HashMap<String, Arc<AsyncMutex<()>>>>);

impl Leases {
    /// Waits until no other change of this vault is in flight. Ids are compared
    /// without case, as ARM does: two spellings must not be two vaults.
    pub(crate) async fn hold(&self, vault: &str) -> Lease {
        let queue = self.queue(vault.to_ascii_lowercase());
        Lease {
            _held: queue.lock_owned().await,
        }
    }

    fn queue(&self, vault: String) -> Arc<AsyncMutex<()>> {
        let mut queues = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Vaults that nobody holds or waits for need no entry: memory stays bounded.
        queues.retain(|_, queue| Arc::strong_count(queue) > 1);
        Arc::clone(queues.entry(vault).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::Leases;

    #[tokio::test]
    async fn two_spellings_are_one_vault_and_queues_are_forgotten() {
        let leases = Leases::default();
        let held = leases.hold("/subscriptions/S/vaults/V").await;
        let second = leases.hold("/subscriptions/s/VAULTS/v");
        let waited = tokio::time::timeout(std::time::Duration::from_millis(20), second).await;
        assert!(waited.is_err(), "a second change held the same vault");
        drop(held);
        leases.hold("/subscriptions/S/vaults/V").await;
        leases.hold("/other").await;
        let queues = leases.0.lock().map(|queues| queues.len());
        assert_eq!(queues.ok(), Some(1));
    }
}
