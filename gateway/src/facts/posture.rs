//! How well a vault protects what it holds, read from Azure's own answers.
//!
//! Only exact, known values count as protection; whatever is not understood
//! stays unsaid, and policy treats what is unsaid as unprotected.

use serde::Serialize;
use serde_json::Value;

/// The answers that a posture is read from.
#[derive(Default)]
pub(crate) struct Answers {
    /// The vault itself.
    pub(crate) vault: Option<Value>,
    /// A Recovery Services vault's `backupconfig/vaultconfig`.
    pub(crate) config: Option<Value>,
    /// The vault's resource-guard proxies.
    pub(crate) guards: Option<Value>,
}

/// A vault's protection, as policy sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Posture {
    /// Soft delete: `Disabled`, `Enabled` or `AlwaysON` (`Off`, `On`, `AlwaysOn`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) soft_delete: Option<String>,
    /// Days that soft-deleted data is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) soft_delete_days: Option<u64>,
    /// Immutability: `Disabled`, `Unlocked` or `Locked`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) immutability: Option<String>,
    /// Whether a resource guard stands before the vault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mua: Option<bool>,
    /// Storage redundancy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) redundancy: Option<String>,
    /// Region of the vault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) region: Option<String>,
    /// Tags of the vault: they may tighten a decision and never grant one.
    #[serde(skip)]
    pub(crate) tags: Value,
}

impl Posture {
    /// Reads a posture.
    pub(crate) fn of(answers: &Answers) -> Posture {
        let vault = answers.vault.as_ref().unwrap_or(&Value::Null);
        let security = vault.pointer("/properties/securitySettings");
        let security = security.unwrap_or(&Value::Null);
        let config = answers.config.as_ref().unwrap_or(&Value::Null);
        let config = config.get("properties").unwrap_or(&Value::Null);
        let first_text = |candidates: [Option<&Value>; 3]| {
            let mut texts = candidates.into_iter().flatten().filter_map(Value::as_str);
            texts.next().map(str::to_owned)
        };
        Posture {
            soft_delete: first_text([
                config.get("softDeleteFeatureState"),
                security.pointer("/softDeleteSettings/softDeleteState"),
                security.pointer("/softDeleteSettings/state"),
            ]),
            soft_delete_days: [
                config.get("softDeleteRetentionPeriodInDays"),
                security.pointer("/softDeleteSettings/softDeleteRetentionPeriodInDays"),
                security.pointer("/softDeleteSettings/retentionDurationInDays"),
            ]
            .into_iter()
            .flatten()
            .find_map(days),
            immutability: first_text([security.pointer("/immutabilitySettings/state"), None, None]),
            mua: answers.guards.as_ref().map(guarded),
            redundancy: first_text([
                vault.pointer("/properties/redundancySettings/standardTierStorageRedundancy"),
                vault.pointer("/properties/storageSettings/0/type"),
                None,
            ]),
            region: first_text([vault.get("location"), None, None]),
            tags: vault.get("tags").cloned().unwrap_or(Value::Null),
        }
    }
}

fn days(value: &Value) -> Option<u64> {
    value
        .as_u64()
        .or_else(|| value.as_f64().filter(|d| *d >= 0.0).map(|d| d as u64))
}

fn guarded(list: &Value) -> bool {
    let entries = list.get("value").and_then(Value::as_array);
    entries.is_some_and(|entries| !entries.is_empty())
}

/// An item's recovery points, as policy sees them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct RecoveryPoints {
    /// How many the first page lists.
    pub(crate) count: usize,
    /// Whether there are more than that.
    pub(crate) more: bool,
    /// Time of the newest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) newest: Option<String>,
    /// Time of the oldest listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) oldest: Option<String>,
    /// Storage tiers seen.
    pub(crate) tiers: Vec<String>,
}

impl RecoveryPoints {
    /// Reads a page of recovery points; none when it is no list.
    pub(crate) fn of(page: &Value) -> Option<RecoveryPoints> {
        let points = page.get("value")?.as_array()?;
        let mut times: Vec<&str> = points.iter().filter_map(time).collect();
        times.sort_unstable();
        let mut tiers: Vec<String> = points.iter().flat_map(tiers_of).collect();
        tiers.sort_unstable();
        tiers.dedup();
        Some(RecoveryPoints {
            count: points.len(),
            more: page.get("nextLink").is_some_and(|link| link.is_string()),
            newest: times.last().map(|t| (*t).to_owned()),
            oldest: times.first().map(|t| (*t).to_owned()),
            tiers,
        })
    }
}

fn time(point: &Value) -> Option<&str> {
    let properties = point.get("properties")?;
    let names = ["recoveryPointTime", "recoveryPointTimeInUTC"];
    names.iter().find_map(|n| properties.get(*n)?.as_str())
}

fn tiers_of(point: &Value) -> Vec<String> {
    let tiers = point.pointer("/properties/recoveryPointTierDetails");
    let tiers = tiers.and_then(Value::as_array).into_iter().flatten();
    tiers
        .filter_map(|tier| tier.get("type")?.as_str().map(str::to_owned))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Answers, Posture, RecoveryPoints};
    use serde_json::json;

    #[test]
    fn reads_both_kinds_of_vault() {
        let recovery_services = Posture::of(&Answers {
            vault: Some(json!({"location": "westeurope", "tags": {"tier": "gold"},
                "properties": {"securitySettings": {"immutabilitySettings": {"state": "Locked"}}}})),
            config: Some(json!({"properties": {"softDeleteFeatureState": "AlwaysON",
                "softDeleteRetentionPeriodInDays": 14}})),
            guards: Some(json!({"value": [{}]})),
        });
        assert_eq!(recovery_services.soft_delete.as_deref(), Some("AlwaysON"));
        assert_eq!(recovery_services.soft_delete_days, Some(14));
        assert_eq!(recovery_services.immutability.as_deref(), Some("Locked"));
        assert_eq!(recovery_services.mua, Some(true));
        let data_protection = Posture::of(&Answers {
            vault: Some(json!({"properties": {"securitySettings": {
                "softDeleteSettings": {"state": "On", "retentionDurationInDays": 14.0}}}})),
            guards: Some(json!({"value": []})),
            ..Answers::default()
        });
        assert_eq!(data_protection.soft_delete.as_deref(), Some("On"));
        assert_eq!(data_protection.soft_delete_days, Some(14));
        assert_eq!(data_protection.mua, Some(false));
    }

    #[test]
    fn what_is_not_understood_stays_unsaid() {
        let odd = Posture::of(&Answers {
            vault: Some(json!({"properties": {"securitySettings": [1]}, "location": 5})),
            ..Answers::default()
        });
        assert_eq!(
            odd,
            Posture {
                tags: serde_json::Value::Null,
                ..Posture::default()
            }
        );
    }

    #[test]
    fn counts_recovery_points() {
        let page = json!({"nextLink": "https://x/", "value": [
            {"properties": {"recoveryPointTime": "2026-11-02T00:00:00Z",
                "recoveryPointTierDetails": [{"type": "HardenedRP"}]}},
            {"properties": {"recoveryPointTime": "2026-11-01T00:00:00Z"}}]});
        let points = RecoveryPoints::of(&page);
        assert_eq!(
            points,
            Some(RecoveryPoints {
                count: 2,
                more: true,
                newest: Some("2026-11-02T00:00:00Z".into()),
                oldest: Some("2026-11-01T00:00:00Z".into()),
                tiers: vec!["HardenedRP".into()],
            })
        );
        assert_eq!(RecoveryPoints::of(&json!({"value": 1})), None);
    }
}
