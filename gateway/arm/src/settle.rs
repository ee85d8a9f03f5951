//! Class and delta once the state before is known.
//!
//! A change that lowers protection is `weaken`, whatever path it takes: a shape
//! that is not understood, or a state that nobody told, is never "no change".

mod retention;

use serde_json::json;

use crate::catalogue::{Method, Rule};
use crate::class::Class;
use crate::classify::Classified;
use crate::json::{Document, Value};

/// The resource before the change.
pub enum Before {
    /// Nothing is there.
    Absent,
    /// What is there.
    Present(Document),
    /// Nobody told.
    Unavailable,
}

/// What a request turns out to be.
#[derive(Clone, Debug, PartialEq)]
pub struct Settled {
    /// Its class.
    pub class: Class,
    /// What it would change, for policy.
    pub delta: serde_json::Value,
}

impl Classified {
    /// Whether the state before decides the class.
    pub fn needs_before(&self) -> bool {
        let changes = matches!(
            self.operation.method,
            Method::Put | Method::Patch | Method::Delete
        );
        changes && self.operation.rule != Rule::Blocked
    }

    /// Settles class and delta.
    pub fn settle(&self, before: &Before) -> Settled {
        let same = |class| Settled {
            class,
            delta: json!({}),
        };
        let depends = matches!(
            self.operation.rule,
            Rule::ProtectedItem
                | Rule::BackupInstance
                | Rule::BackupPolicy
                | Rule::Vault
                | Rule::VaultConfig
                | Rule::StorageConfig
                | Rule::GuardProxy
        );
        if !depends || self.class != Class::Weaken {
            return same(self.class);
        }
        if !self.body_unknown.is_empty() {
            return unknown("body");
        }
        let Some(after) = self.body.as_ref().map(Document::root) else {
            return unknown("body");
        };
        let before = match before {
            Before::Absent => return self.created(after),
            Before::Present(document) => document.root(),
            Before::Unavailable => return unknown("state"),
        };
        match self.operation.rule {
            Rule::ProtectedItem => item(before, after),
            Rule::BackupInstance => instance(before, after),
            Rule::BackupPolicy => retention::policy(before, after),
            Rule::GuardProxy => guard(before, after),
            _ => settings(before, after, self.operation.method == Method::Put),
        }
    }

    /// What is new weakens nothing, unless it is born weak.
    fn created(&self, after: &Value) -> Settled {
        let class = match self.operation.rule {
            Rule::ProtectedItem if stops(after) => Class::Weaken,
            Rule::ProtectedItem | Rule::BackupInstance => Class::Protect,
            Rule::GuardProxy => Class::Guard,
            // A setting that is not there yet has a default that nobody told.
            Rule::VaultConfig | Rule::StorageConfig => Class::Weaken,
            _ => Class::Configure,
        };
        Settled {
            class,
            delta: json!({"created": true}),
        }
    }
}

fn unknown(what: &str) -> Settled {
    Settled {
        class: Class::Weaken,
        delta: json!({"unknown": what}),
    }
}

/// Whether a protected item's body ends or suspends protection.
fn stops(after: &Value) -> bool {
    let state = after
        .at(&["properties", "protectionState"])
        .and_then(Value::as_str);
    let running = ["Protected", "IRPending", "ProtectionConfigured"];
    let policy = after
        .at(&["properties", "policyId"])
        .and_then(Value::as_str);
    state.is_some_and(|state| !running.contains(&state)) || policy == Some("")
}

fn item(before: &Value, after: &Value) -> Settled {
    if stops(after) {
        return Settled {
            class: Class::Weaken,
            delta: json!({"protection_state": after.at(&["properties", "protectionState"])
                .map(Value::to_serde), "items_weakened": 1}),
        };
    }
    swap(before, after, &["properties", "policyId"], "policy_swapped")
}

fn instance(before: &Value, after: &Value) -> Settled {
    swap(
        before,
        after,
        &["properties", "policyInfo", "policyId"],
        "policy_swapped",
    )
}

fn guard(before: &Value, after: &Value) -> Settled {
    let mut settled = swap(
        before,
        after,
        &["properties", "resourceGuardResourceId"],
        "guard_swapped",
    );
    if settled.class == Class::Protect {
        settled.class = Class::Guard;
    }
    settled
}

/// Another id in the same place: what the other one is worth is not known here.
fn swap(before: &Value, after: &Value, path: &[&str], what: &str) -> Settled {
    let text = |value: &Value| value.at(path).and_then(Value::as_str).map(str::to_owned);
    match (text(before), text(after)) {
        (Some(from), Some(to)) if from.eq_ignore_ascii_case(&to) => Settled {
            class: Class::Protect,
            delta: json!({}),
        },
        (None, Some(_)) => Settled {
            class: Class::Protect,
            delta: json!({}),
        },
        (Some(from), to) if from.is_empty() && to.is_some() => Settled {
            class: Class::Protect,
            delta: json!({}),
        },
        (from, to) => Settled {
            class: Class::Weaken,
            delta: json!({what: {"from": from, "to": to}, "items_weakened": 1}),
        },
    }
}

/// Settings whose values are ranked from weak to strong.
const RANKED: [(&[&str], &[&str]); 10] = [
    (
        &[
            "properties",
            "securitySettings",
            "immutabilitySettings",
            "state",
        ],
        &["Disabled", "Unlocked", "Locked"],
    ),
    (
        &[
            "properties",
            "securitySettings",
            "softDeleteSettings",
            "softDeleteState",
        ],
        &["Invalid", "Disabled", "Enabled", "AlwaysON"],
    ),
    (
        &[
            "properties",
            "securitySettings",
            "softDeleteSettings",
            "enhancedSecurityState",
        ],
        &["Invalid", "Disabled", "Enabled", "AlwaysON"],
    ),
    (
        &[
            "properties",
            "securitySettings",
            "softDeleteSettings",
            "state",
        ],
        &["Off", "On", "AlwaysOn"],
    ),
    (
        &["properties", "softDeleteFeatureState"],
        &["Invalid", "Disabled", "Enabled", "AlwaysON"],
    ),
    (
        &["properties", "enhancedSecurityState"],
        &["Invalid", "Disabled", "Enabled"],
    ),
    (
        &["properties", "storageModelType"],
        &[
            "Invalid",
            "LocallyRedundant",
            "ZoneRedundant",
            "GeoRedundant",
            "ReadAccessGeoZoneRedundant",
        ],
    ),
    (
        &["properties", "storageType"],
        &[
            "Invalid",
            "LocallyRedundant",
            "ZoneRedundant",
            "GeoRedundant",
            "ReadAccessGeoZoneRedundant",
        ],
    ),
    (
        &[
            "properties",
            "redundancySettings",
            "standardTierStorageRedundancy",
        ],
        &[
            "Invalid",
            "LocallyRedundant",
            "ZoneRedundant",
            "GeoRedundant",
        ],
    ),
    (
        &["properties", "securitySettings", "multiUserAuthorization"],
        &["Invalid", "Disabled", "Enabled"],
    ),
];

/// Numbers of which fewer is weaker.
const COUNTED: [&[&str]; 3] = [
    &["properties", "softDeleteRetentionPeriodInDays"],
    &[
        "properties",
        "securitySettings",
        "softDeleteSettings",
        "softDeleteRetentionPeriodInDays",
    ],
    &[
        "properties",
        "securitySettings",
        "softDeleteSettings",
        "retentionDurationInDays",
    ],
];

/// Parts that may be sent again and must not change: what they are worth is not ranked.
const FIXED: [&[&str]; 6] = [
    &["properties", "encryption"],
    &["properties", "securitySettings", "encryptionSettings"],
    &["properties", "storageSettings"],
    &["properties", "publicNetworkAccess"],
    &["properties", "restoreSettings"],
    &["properties", "featureSettings"],
];

fn settings(before: &Value, after: &Value, replaces: bool) -> Settled {
    let mut lowered = serde_json::Map::new();
    let mut note = |path: &[&str], from: Option<&Value>, to: Option<&Value>| {
        let change = json!({"from": from.map(Value::to_serde), "to": to.map(Value::to_serde)});
        lowered.insert(path.join("."), change);
    };
    for (path, ranks) in RANKED {
        let rank = |value: Option<&Value>| {
            let text = value.and_then(Value::as_str)?;
            ranks.iter().position(|r| r.eq_ignore_ascii_case(text))
        };
        let (from, to) = (before.at(path), after.at(path));
        match (rank(from), rank(to)) {
            _ if to.is_none() && !(replaces && from.is_some()) => {}
            (Some(from), Some(to)) if to >= from => {}
            (None, Some(to)) if from.is_none() && to > 1 => {}
            _ => note(path, from, to),
        }
    }
    for path in COUNTED {
        let (from, to) = (before.at(path), after.at(path));
        match (from.and_then(Value::as_i64), to.and_then(Value::as_i64)) {
            _ if to.is_none() && !(replaces && from.is_some()) => {}
            (Some(from), Some(to)) if to >= from => {}
            (None, Some(_)) if from.is_none() => {}
            _ => note(path, from, to),
        }
    }
    for path in FIXED {
        let (from, to) = (before.at(path), after.at(path));
        if to.is_some() && from != to || replaces && from.is_some() && to.is_none() {
            note(path, from, to);
        }
    }
    let class = if lowered.is_empty() {
        Class::Configure
    } else {
        Class::Weaken
    };
    let delta = if lowered.is_empty() {
        json!({})
    } else {
        json!({"lowered": lowered})
    };
    Settled { class, delta }
}

#[cfg(test)]
mod tests {
    use super::{Class, settings};
    use crate::json::Document;

    fn class(before: &str, after: &str, replaces: bool) -> Option<Class> {
        let before = Document::parse(before.as_bytes()).ok()?;
        let after = Document::parse(after.as_bytes()).ok()?;
        Some(settings(before.root(), after.root(), replaces).class)
    }

    #[test]
    fn lowering_is_weakening_in_every_dimension() {
        let on = r#"{"properties":{"softDeleteFeatureState":"Enabled","softDeleteRetentionPeriodInDays":14}}"#;
        let patches = [
            (
                r#"{"properties":{"softDeleteFeatureState":"Disabled"}}"#,
                Class::Weaken,
            ),
            (
                r#"{"properties":{"softDeleteFeatureState":"Odd"}}"#,
                Class::Weaken,
            ),
            (
                r#"{"properties":{"softDeleteRetentionPeriodInDays":13}}"#,
                Class::Weaken,
            ),
            (
                r#"{"properties":{"softDeleteFeatureState":"AlwaysON"}}"#,
                Class::Configure,
            ),
            (
                r#"{"properties":{"softDeleteRetentionPeriodInDays":20}}"#,
                Class::Configure,
            ),
            (r#"{"tags":{"a":"b"}}"#, Class::Configure),
        ];
        for (patch, expected) in patches {
            assert_eq!(class(on, patch, false), Some(expected), "{patch}");
        }
        // A PUT replaces: what it leaves out may be reset.
        assert_eq!(class(on, r#"{"properties":{}}"#, true), Some(Class::Weaken));
    }

    #[test]
    fn immutability_only_rises() {
        let at = |state: &str| {
            format!(
                r#"{{"properties":{{"securitySettings":{{"immutabilitySettings":{{"state":"{state}"}}}}}}}}"#
            )
        };
        for (from, to, expected) in [
            ("Unlocked", "Disabled", Class::Weaken),
            ("Locked", "Unlocked", Class::Weaken),
            ("Disabled", "Unlocked", Class::Configure),
            ("Locked", "Locked", Class::Configure),
        ] {
            assert_eq!(
                class(&at(from), &at(to), false),
                Some(expected),
                "{from} {to}"
            );
        }
    }
}
