//! The classes of operations, as counters and quotas name them.
//!
//! The names are those of policy and of the records; a count saved under a name is
//! found again under it.

use serde::{Deserialize, Serialize};

/// A class of operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Class {
    /// Looks at something.
    Read,
    /// Tries something out without doing it.
    Validate,
    /// Makes a recovery point.
    Snapshot,
    /// Brings data back.
    Restore,
    /// Adds or strengthens protection.
    Protect,
    /// Lowers protection and leaves the data.
    Weaken,
    /// Removes data, or what holds it.
    Delete,
    /// Takes a removal back.
    Undelete,
    /// Changes settings that neither protect nor weaken.
    Configure,
    /// Touches a resource guard.
    Guard,
    /// Stops a job.
    Cancel,
    /// Answers with something that works without the gateway.
    Disclose,
    /// Takes data or a registration to another vault.
    Move,
}

impl Class {
    /// Every class, in the order of the policy contract.
    pub(crate) const ALL: [Class; 13] = [
        Class::Read,
        Class::Validate,
        Class::Snapshot,
        Class::Restore,
        Class::Protect,
        Class::Weaken,
        Class::Delete,
        Class::Undelete,
        Class::Configure,
        Class::Guard,
        Class::Cancel,
        Class::Disclose,
        Class::Move,
    ];

    /// The name in policy input and records.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Class::Read => "read",
            Class::Validate => "validate",
            Class::Snapshot => "snapshot",
            Class::Restore => "restore",
            Class::Protect => "protect",
            Class::Weaken => "weaken",
            Class::Delete => "delete",
            Class::Undelete => "undelete",
            Class::Configure => "configure",
            Class::Guard => "guard",
            Class::Cancel => "cancel",
            Class::Disclose => "disclose",
            Class::Move => "move",
        }
    }

    /// The class of this name.
    pub(crate) fn named(name: &str) -> Option<Class> {
        Class::ALL.into_iter().find(|class| class.name() == name)
    }

    /// Whether an operation of this class can change anything.
    pub(crate) fn changes(self) -> bool {
        !matches!(self, Class::Read | Class::Validate)
    }
}

#[cfg(test)]
mod tests {
    use super::Class;

    #[test]
    fn names_are_those_that_are_saved_and_that_limits_know() {
        for class in Class::ALL {
            let saved = serde_json::to_value(class).ok();
            assert_eq!(saved, Some(class.name().into()));
            assert_eq!(Class::named(class.name()), Some(class));
        }
        let weighted = crate::config::limits::CHANGES.map(|(name, _)| name);
        let changes = Class::ALL.into_iter().filter(|class| class.changes());
        assert!(changes.map(Class::name).eq(weighted));
    }
}
