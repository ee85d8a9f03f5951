//! Custody of destruction: what was deleted through the gateway, until when Azure keeps it,
//! and the request that takes it back.
//!
//! Soft-deleted data is gone on its day, whoever meant to look at it later. The deadline is
//! counted from the vault's posture as it was when the deletion was judged; without soft
//! delete there is none, and nothing to take back. Nothing here sends anything: the way back
//! is a request like any other, judged by policy.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::store::{Row, Store, StoreError, sql};

/// How long what is over is still listed, milliseconds: 30 days.
const LISTED: i64 = 30 * 86_400_000;
/// Most rows of one list.
const MOST: i64 = 1_000;

/// A request that takes a deletion back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct WayBack {
    /// HTTP method.
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    /// Body; null for none.
    pub(crate) body: Value,
}

/// One deletion that Azure has taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Deletion {
    /// The decision that allowed it.
    pub(crate) decision: Uuid,
    /// ARM id of what was deleted.
    pub(crate) resource: String,
    /// ARM id of its vault.
    pub(crate) vault: Option<String>,
    /// Who asked for it: issuer and subject.
    pub(crate) by: (String, String),
    /// When.
    pub(crate) at: Timestamp,
    /// Until when Azure keeps it; none where soft delete is off, or nobody knows.
    pub(crate) until: Option<Timestamp>,
    /// How it is taken back; none where it cannot be.
    pub(crate) way_back: Option<WayBack>,
}

/// How a deletion stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Standing {
    /// The deletion.
    #[serde(flatten)]
    pub(crate) deletion: Deletion,
    /// `deleted`, `taken-back`, or `gone` once its time is over.
    pub(crate) state: &'static str,
}

/// The deletions in the store; cheap to clone.
#[derive(Clone)]
pub(crate) struct Deletions {
    store: Store,
}

impl Deletions {
    /// Deletions kept in `store`.
    pub(crate) fn new(store: Store) -> Deletions {
        Deletions { store }
    }

    /// Keeps a deletion.
    pub(crate) async fn keep(&self, deletion: &Deletion) -> Result<(), StoreError> {
        let content =
            serde_json::to_string(deletion).map_err(|_| StoreError::Value { column: "content" })?;
        let insert = sql(
            "INSERT INTO deletions (decision, resource, state, deleted_at, until, content)
             VALUES ($1, $2, 'deleted', $3, $4, $5)",
        )
        .bind(deletion.decision.to_string())
        .bind(deletion.resource.to_ascii_lowercase())
        .bind(deletion.at.as_millisecond())
        .bind(deletion.until.map(|until| until.as_millisecond()))
        .bind(content);
        let mut change = self.store.begin().await?;
        change.execute(insert).await?;
        change.commit().await
    }

    /// Notes that what was deleted of a resource is there again.
    pub(crate) async fn taken_back(&self, resource: &str) -> Result<(), StoreError> {
        let update = sql(
            "UPDATE deletions SET state = 'taken-back' WHERE resource = $1 AND state = 'deleted'",
        );
        let mut change = self.store.begin().await?;
        change
            .execute(update.bind(resource.to_ascii_lowercase()))
            .await?;
        change.commit().await
    }

    /// One deletion.
    pub(crate) async fn find(&self, decision: Uuid) -> Result<Option<Deletion>, StoreError> {
        let select = sql("SELECT content FROM deletions WHERE decision = $1");
        let row = self.store.first(select.bind(decision.to_string())).await?;
        row.map(|row| read(&row)).transpose()
    }

    /// Deletions, those first whose time ends first.
    pub(crate) async fn list(&self, now: Timestamp) -> Result<Vec<Standing>, StoreError> {
        let select = sql("SELECT state, content FROM deletions
             ORDER BY state, COALESCE(until, deleted_at), decision LIMIT $1");
        let rows = self.store.all(select.bind(MOST)).await?;
        rows.iter()
            .map(|row| {
                let deletion = read(row)?;
                let state = match row.value::<String>("state")?.as_str() {
                    "taken-back" => "taken-back",
                    _ if deletion.until.is_none_or(|until| until <= now) => "gone",
                    _ => "deleted",
                };
                Ok(Standing { deletion, state })
            })
            .collect()
    }

    /// Forgets what has been over for long.
    pub(crate) async fn sweep(&self, now: Timestamp) -> Result<(), StoreError> {
        let delete = sql("DELETE FROM deletions WHERE COALESCE(until, deleted_at) <= $1");
        let long_ago = now.as_millisecond().saturating_sub(LISTED);
        let mut change = self.store.begin().await?;
        change.execute(delete.bind(long_ago)).await?;
        change.commit().await
    }
}

fn read(row: &Row) -> Result<Deletion, StoreError> {
    serde_json::from_str(&row.value::<String>("content")?)
        .map_err(|_| StoreError::Value { column: "content" })
}

/// Until when Azure keeps what is deleted now, by the vault's posture.
pub(crate) fn until(vault: &Value, now: Timestamp) -> Option<Timestamp> {
    let soft = vault.get("soft_delete").and_then(Value::as_str)?;
    if matches!(soft, "Disabled" | "Off") {
        return None;
    }
    let days = vault.get("soft_delete_days").and_then(Value::as_i64)?;
    // Azure keeps at most 180 days; a figure beyond all reason is no deadline.
    let days = Some(days).filter(|days| (1..=3_650).contains(days))?;
    now.checked_add(SignedDuration::from_hours(24 * days)).ok()
}

/// The request that takes a deletion back, by what was deleted and what it was before.
pub(crate) fn way_back(target: &str, before: Option<&Value>) -> Option<WayBack> {
    let (path, query) = target.split_once('?')?;
    let segments: Vec<&str> = path.split('/').collect();
    let (name, rest) = segments.split_last()?;
    let (collection, rest) = rest.split_last()?;
    match *collection {
        "protectedItems" => {
            let properties = before?.get("properties")?;
            let kept = |name: &str| properties.get(name).cloned();
            let body = json!({"properties": {
                "protectedItemType": kept("protectedItemType")?,
                "sourceResourceId": kept("sourceResourceId")?,
                "policyId": "", "protectionState": "ProtectionStopped", "isRehydrate": true,
            }});
            Some(WayBack {
                method: "PUT".to_owned(),
                target: target.to_owned(),
                body,
            })
        }
        "backupInstances" => Some(WayBack {
            method: "POST".to_owned(),
            target: format!(
                "{}/deletedBackupInstances/{name}/undelete?{query}",
                rest.join("/")
            ),
            body: Value::Null,
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::{until, way_back};
    use jiff::Timestamp;
    use serde_json::{Value, json};

    #[test]
    fn the_deadline_is_the_vaults() {
        let now: Timestamp = "2026-11-23T03:00:00Z".parse().unwrap();
        let at = |vault: Value| until(&vault, now).map(|at| at.to_string());
        let kept = json!({"soft_delete": "Enabled", "soft_delete_days": 14});
        assert_eq!(at(kept).unwrap(), "2026-12-07T03:00:00Z");
        for gone in [
            json!({"soft_delete": "Disabled", "soft_delete_days": 14}),
            json!({"soft_delete": "Off", "soft_delete_days": 14}),
            json!({"soft_delete": "Enabled"}),
            json!({"soft_delete": "Enabled", "soft_delete_days": i64::MAX}),
            json!({"status": "unavailable"}),
        ] {
            assert_eq!(at(gone), None);
        }
    }

    #[test]
    fn the_way_back_is_of_the_same_thing() {
        let item = "/s/x/vaults/v/backupFabrics/Azure/protectionContainers/c/protectedItems/i?api-version=1";
        let before = json!({"properties": {"protectedItemType": "T", "sourceResourceId": "/vm"}});
        let back = way_back(item, Some(&before)).unwrap();
        assert_eq!((back.method.as_str(), back.target.as_str()), ("PUT", item));
        let rehydrates = back.body.pointer("/properties/isRehydrate");
        assert_eq!(rehydrates, Some(&Value::Bool(true)));
        assert_eq!(way_back(item, None), None);
        let back = way_back("/s/backupVaults/v/backupInstances/b?api-version=1", None).unwrap();
        assert_eq!(
            back.target,
            "/s/backupVaults/v/deletedBackupInstances/b/undelete?api-version=1"
        );
        assert_eq!(way_back("/s/vaults/v?api-version=1", Some(&before)), None);
    }
}
