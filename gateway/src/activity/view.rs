//! The counts in the form that policy reads: `activity` of the policy input.
//!
//! Every class stands in it, with zeros, so that no rule needs a default. Where a
//! key was dropped or never seen, the counts are zero and `first_in_90d` is true.

use std::collections::BTreeMap;

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use super::counters::Counters;
use super::ring::Moment;
use vaultgate_arm::Class;

/// `activity` of the policy input.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct ActivityView {
    /// The caller.
    pub(crate) principal: SubjectView,
    /// The agent that acts, if one does.
    pub(crate) agent: Option<SubjectView>,
    /// The person behind the caller, if known.
    pub(crate) person: Option<SubjectView>,
    /// The vault; all zeros when the operation has none.
    pub(crate) vault: VaultView,
    /// All vaults together.
    pub(crate) estate: EstateView,
}

/// What one principal, agent or person did.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SubjectView {
    /// Allowed operations by class; each class stands as a member of its own.
    pub(crate) classes: BTreeMap<&'static str, Windows>,
    /// Distinct vaults changed.
    pub(crate) vaults: ShortWindows,
    /// Refused attempts.
    pub(crate) denied: ShortWindows,
    /// Whether the class of this request was not allowed in the last ninety days.
    pub(crate) first_in_90d: bool,
    /// Refused attempts of the last day by name of the operation.
    pub(crate) refused: BTreeMap<String, u64>,
    /// Items whose protection was lowered.
    pub(crate) items_weakened: Month,
    /// Days of retention taken away.
    pub(crate) retention_days_removed: Month,
}

/// What was done to one vault.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct VaultView {
    /// Allowed changes by class, each a member of its own; reads are not counted here.
    pub(crate) classes: BTreeMap<&'static str, Windows>,
    /// Items whose protection was lowered.
    pub(crate) items_weakened: Month,
    /// Days of retention taken away.
    pub(crate) retention_days_removed: Month,
}

// By hand: `flatten` would build each view twice, on every request.
impl Serialize for SubjectView {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (class, windows) in &self.classes {
            map.serialize_entry(class, windows)?;
        }
        map.serialize_entry("vaults", &self.vaults)?;
        map.serialize_entry("denied", &self.denied)?;
        map.serialize_entry("first_in_90d", &self.first_in_90d)?;
        map.serialize_entry("refused", &self.refused)?;
        map.serialize_entry("items_weakened", &self.items_weakened)?;
        map.serialize_entry("retention_days_removed", &self.retention_days_removed)?;
        map.end()
    }
}

impl Serialize for VaultView {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (class, windows) in &self.classes {
            map.serialize_entry(class, windows)?;
        }
        map.serialize_entry("items_weakened", &self.items_weakened)?;
        map.serialize_entry("retention_days_removed", &self.retention_days_removed)?;
        map.end()
    }
}

/// What was done to the estate.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct EstateView {
    /// Deletes of a day.
    pub(crate) delete_24h: u64,
    /// The same as a share of all protected items; null when those are not known.
    pub(crate) delete_share_24h: Option<f64>,
}

/// A count over an hour, a day and thirty days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Windows {
    /// The last hour.
    #[serde(rename = "1h")]
    pub(crate) hour: u64,
    /// The last day.
    #[serde(rename = "24h")]
    pub(crate) day: u64,
    /// The last thirty days.
    #[serde(rename = "30d")]
    pub(crate) month: u64,
}

/// A count over an hour and a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ShortWindows {
    /// The last hour.
    #[serde(rename = "1h")]
    pub(crate) hour: u64,
    /// The last day.
    #[serde(rename = "24h")]
    pub(crate) day: u64,
}

/// A count over thirty days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Month {
    /// The last thirty days.
    #[serde(rename = "30d")]
    pub(crate) month: u64,
}

/// What one subject did, for a request of this class.
pub(super) fn subject(row: Option<&Counters>, class: Class, at: Moment) -> SubjectView {
    let none = Counters::default();
    let row = row.unwrap_or(&none);
    let short = |(hour, day)| ShortWindows { hour, day };
    SubjectView {
        classes: classes(row, at),
        vaults: short(row.vaults(at)),
        denied: short(row.denied(at)),
        first_in_90d: row.first_in_90d(class, at),
        refused: row.refused(at),
        items_weakened: Month {
            month: row.items_weakened(at),
        },
        retention_days_removed: Month {
            month: row.retention_days_removed(at),
        },
    }
}

/// What was done to one vault.
pub(super) fn vault(row: Option<&Counters>, at: Moment) -> VaultView {
    let none = Counters::default();
    let row = row.unwrap_or(&none);
    VaultView {
        classes: classes(row, at),
        items_weakened: Month {
            month: row.items_weakened(at),
        },
        retention_days_removed: Month {
            month: row.retention_days_removed(at),
        },
    }
}

/// What was done to the estate, which has so many items.
pub(super) fn estate(row: &Counters, items: Option<u64>, at: Moment) -> EstateView {
    let (_, delete_24h, _) = row.class(Class::Delete, at);
    let items = items.filter(|items| *items > 0);
    EstateView {
        delete_24h,
        delete_share_24h: items.map(|items| delete_24h as f64 / items as f64),
    }
}

fn classes(row: &Counters, at: Moment) -> BTreeMap<&'static str, Windows> {
    let each = |class: Class| {
        let (hour, day, month) = row.class(class, at);
        (class.as_str(), Windows { hour, day, month })
    };
    Class::ALL.into_iter().map(each).collect()
}
