//! The estate that is attacked: what Azure would tell of it, and what becomes of it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};
use vaultgate_arm::json::Document;
use vaultgate_arm::{Before, Classified, Method};

use crate::facts::posture::{Answers, Posture};

/// Protected items of the estate.
pub(super) const ITEMS: u64 = 1_000;

/// What is there before the attack, where it is not as it should be, and what was changed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Estate {
    /// Soft delete of every vault.
    soft_delete: String,
    /// Whether a resource guard stands before every vault.
    guarded: bool,
    /// Resources that the attack has changed, by path in lower case; null is gone.
    #[serde(skip)]
    changed: BTreeMap<String, Value>,
}

impl Default for Estate {
    fn default() -> Estate {
        Estate {
            soft_delete: "Enabled".to_owned(),
            guarded: true,
            changed: BTreeMap::new(),
        }
    }
}

impl Estate {
    /// The resource at a path, as Azure would tell it.
    fn at(&self, path: &str) -> Value {
        let path = path.to_ascii_lowercase();
        match self.changed.get(&path) {
            Some(changed) => changed.clone(),
            None => self.untouched(&path),
        }
    }

    fn untouched(&self, path: &str) -> Value {
        let mut segments = path.rsplit('/');
        let _name = segments.next();
        match segments.next().unwrap_or_default() {
            "backupconfig" => json!({"properties": {
                "enhancedSecurityState": "Enabled", "softDeleteFeatureState": self.soft_delete,
                "softDeleteRetentionPeriodInDays": 14, "storageModelType": "GeoRedundant",
                "storageType": "GeoRedundant", "storageTypeState": "Locked"}}),
            "backupstorageconfig" => json!({"properties": {
                "storageModelType": "GeoRedundant", "storageType": "GeoRedundant",
                "storageTypeState": "Locked", "crossRegionRestoreFlag": true}}),
            "vaults" => json!({"location": "westeurope", "sku": {"name": "RS0"}, "properties": {
                "publicNetworkAccess": "Disabled",
                "securitySettings": {
                    "immutabilitySettings": {"state": "Unlocked"},
                    "softDeleteSettings": {"softDeleteState": self.soft_delete,
                        "softDeleteRetentionPeriodInDays": 14, "enhancedSecurityState": "Enabled"}},
                "redundancySettings": {"standardTierStorageRedundancy": "GeoRedundant",
                    "crossRegionRestore": "Enabled"}}}),
            "protecteditems" => json!({"properties": {
                "protectedItemType": "Microsoft.Compute/virtualMachines",
                "protectionState": "Protected", "policyId": policy(path, "GoldPolicy")}}),
            "backuppolicies" => json!({"properties": {
                "backupManagementType": "AzureStorage", "workLoadType": "AzureFileShare",
                "timeZone": "UTC",
                "schedulePolicy": {"schedulePolicyType": "SimpleSchedulePolicy",
                    "scheduleRunFrequency": "Daily", "scheduleRunTimes": ["2026-01-01T02:00:00Z"]},
                "retentionPolicy": {"retentionPolicyType": "LongTermRetentionPolicy",
                    "dailySchedule": {"retentionTimes": ["2026-01-01T02:00:00Z"],
                        "retentionDuration": {"count": 180, "durationType": "Days"}}}}}),
            "backupresourceguardproxies" if self.guarded => json!({"properties": {
                "resourceGuardResourceId": "/subscriptions/33333333-3333-3333-3333-333333333333/resourceGroups/security/providers/Microsoft.DataProtection/resourceGuards/g1"}}),
            _ => Value::Null,
        }
    }

    /// What a request is judged against.
    pub(super) fn before(&self, classified: &Classified) -> Before {
        match self.at(&path(classified)) {
            Value::Null => Before::Absent,
            there => Document::parse(there.to_string().as_bytes())
                .map_or(Before::Unavailable, Before::Present),
        }
    }

    /// Facts of the vault and item of a request.
    pub(super) fn facts(&self, classified: &Classified, now: jiff::Timestamp) -> Value {
        let vault = classified.resource.vault.as_deref();
        let posture = vault.map(|vault| {
            let proxy = self.at(&format!("{vault}/backupResourceGuardProxies/VaultProxy"));
            let proxies = Some(proxy).filter(|proxy| !proxy.is_null());
            let proxies: Vec<Value> = proxies.into_iter().collect();
            Posture::of(&Answers {
                vault: Some(self.at(vault)),
                config: Some(self.at(&format!("{vault}/backupconfig/vaultconfig"))),
                guards: Some(json!({"value": proxies})),
            })
        });
        let mut vault = serde_json::to_value(posture).unwrap_or_default();
        if let Some(members) = vault.as_object_mut() {
            members.insert("status".into(), "ok".into());
            members.insert("age_s".into(), 0.into());
        } else {
            vault = json!({"status": "unavailable"});
        }
        let day = jiff::SignedDuration::from_hours(24);
        json!({
            "vault": vault,
            "item": {"status": "ok", "recovery_points": {"count": 30, "more": false,
                "newest": (now - day).to_string(), "oldest": (now - day * 30).to_string(),
                "tiers": ["HardenedRP"]}},
            "before": {"status": "ok"},
            "estate": {"status": "ok", "age_s": 0, "items": ITEMS, "vaults": 20},
        })
    }

    /// Takes what Azure would have done.
    pub(super) fn apply(&mut self, classified: &Classified) {
        let place = path(classified).to_ascii_lowercase();
        let body = classified.body.as_ref().map(Document::to_value);
        let after = match (classified.operation.method, body) {
            (Method::Delete, _) => Value::Null,
            (Method::Put, Some(body)) => body,
            (Method::Patch, Some(body)) => merged(self.at(&place), body),
            _ => return,
        };
        self.changed.insert(place, after);
    }
}

fn path(classified: &Classified) -> String {
    let target = classified.target.path_and_query();
    target.split('?').next().unwrap_or_default().to_owned()
}

/// A policy of the same vault.
fn policy(path: &str, name: &str) -> String {
    let vault = path.split("/backupfabrics/").next().unwrap_or_default();
    format!("{vault}/backupPolicies/{name}")
}

fn merged(mut into: Value, from: Value) -> Value {
    match (into.as_object_mut(), from) {
        (Some(members), Value::Object(others)) => {
            for (name, other) in others {
                let own = members.remove(&name).unwrap_or_default();
                members.insert(name, merged(own, other));
            }
            into
        }
        (_, from) => from,
    }
}
