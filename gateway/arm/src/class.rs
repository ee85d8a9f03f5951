//! What kind of thing an operation does to backups.

use serde::{Deserialize, Serialize};

/// Class of an operation, from harmless to what cannot be undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Looks.
    Read,
    /// Asks whether something would work.
    Validate,
    /// Makes a recovery point.
    Snapshot,
    /// Takes a deletion back.
    Undelete,
    /// Begins or resumes protection.
    Protect,
    /// Changes settings without lowering protection.
    Configure,
    /// Ends a running job or session.
    Cancel,
    /// Writes backed-up data somewhere.
    Restore,
    /// Changes who must agree to critical operations.
    Guard,
    /// Moves data or registration to another vault.
    Move,
    /// Gives an answer that works without the gateway.
    Disclose,
    /// Lowers protection and leaves the data.
    Weaken,
    /// Removes data or what holds it.
    Delete,
}

impl Class {
    /// Every class.
    pub const ALL: [Class; 13] = [
        Class::Read,
        Class::Validate,
        Class::Snapshot,
        Class::Undelete,
        Class::Protect,
        Class::Configure,
        Class::Cancel,
        Class::Restore,
        Class::Guard,
        Class::Move,
        Class::Disclose,
        Class::Weaken,
        Class::Delete,
    ];

    /// The class as policy and records spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Class::Read => "read",
            Class::Validate => "validate",
            Class::Snapshot => "snapshot",
            Class::Undelete => "undelete",
            Class::Protect => "protect",
            Class::Configure => "configure",
            Class::Cancel => "cancel",
            Class::Restore => "restore",
            Class::Guard => "guard",
            Class::Move => "move",
            Class::Disclose => "disclose",
            Class::Weaken => "weaken",
            Class::Delete => "delete",
        }
    }

    /// The class that policy and records spell so.
    pub fn named(name: &str) -> Option<Class> {
        Class::ALL.into_iter().find(|class| class.as_str() == name)
    }

    /// Whether an operation of this class can change anything.
    pub fn changes(self) -> bool {
        !matches!(self, Class::Read | Class::Validate)
    }

    /// Whether facts must be fresh before it is judged.
    pub fn needs_facts(self) -> bool {
        !matches!(self, Class::Read | Class::Validate | Class::Snapshot)
    }

    /// Whether what it does can be taken back.
    pub fn reversible(self) -> bool {
        !matches!(
            self,
            Class::Delete | Class::Disclose | Class::Move | Class::Restore | Class::Cancel
        )
    }
}

#[cfg(test)]
mod tests {
    use super::Class;

    #[test]
    fn a_class_is_found_under_the_name_that_it_is_saved_under() {
        for class in Class::ALL {
            let saved = serde_json::to_value(class).ok();
            assert_eq!(saved, Some(class.as_str().into()));
            assert_eq!(Class::named(class.as_str()), Some(class));
        }
    }
}
