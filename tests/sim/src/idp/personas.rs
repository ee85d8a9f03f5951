//! The people and programs of the development tenant.
//!
//! Names, roles and secrets are fixed: tests, demo and documentation use them.

use serde_json::{Value, json};

use crate::digest::stable_uuid;

/// One person or program that can sign in.
#[derive(Clone, Copy, Debug)]
pub struct Persona {
    /// The name: client id, and subject at the generic issuer.
    pub name: &'static str,
    /// What a person is called.
    pub display_name: &'static str,
    /// `human`, `agent`, `flow` or `workload`.
    pub kind: &'static str,
    /// Application roles.
    pub roles: &'static [&'static str],
    /// Groups.
    pub groups: &'static [&'static str],
}

/// Everyone who can sign in.
pub const PERSONAS: [Persona; 10] = [
    Persona {
        name: "operator",
        display_name: "Operator",
        kind: "human",
        roles: &["backup.operator"],
        groups: &["backup-operators"],
    },
    Persona {
        name: "reader",
        display_name: "Reader",
        kind: "human",
        roles: &["backup.reader"],
        groups: &["backup-readers"],
    },
    Persona {
        name: "agent",
        display_name: "Backup agent",
        kind: "agent",
        roles: &["backup.agent"],
        groups: &[],
    },
    Persona {
        name: "flow",
        display_name: "Nightly flow",
        kind: "flow",
        roles: &["backup.flow"],
        groups: &[],
    },
    Persona {
        name: "drill",
        display_name: "Monthly drill",
        kind: "flow",
        roles: &["backup.flow"],
        groups: &[],
    },
    Persona {
        name: "custodian",
        display_name: "Custodian",
        kind: "human",
        roles: &["backup.custodian"],
        groups: &["backup-custodians"],
    },
    Persona {
        name: "approver-a",
        display_name: "Approver A",
        kind: "human",
        roles: &["backup.approver"],
        groups: &["backup-approvers"],
    },
    Persona {
        name: "approver-b",
        display_name: "Approver B",
        kind: "human",
        roles: &["backup.approver"],
        groups: &["backup-approvers"],
    },
    Persona {
        name: "soc",
        display_name: "SOC analyst",
        kind: "human",
        roles: &["backup.soc"],
        groups: &["soc"],
    },
    Persona {
        name: "stranger",
        display_name: "Stranger",
        kind: "human",
        roles: &[],
        groups: &[],
    },
];

/// The persona of that name.
#[must_use]
pub fn persona(name: &str) -> Option<&'static Persona> {
    PERSONAS.iter().find(|one| one.name == name)
}

impl Persona {
    /// The object id in the Entra-like tenant; always the same.
    #[must_use]
    pub fn object_id(&self) -> String {
        stable_uuid(&format!("vaultgate-sim persona {}", self.name))
    }

    /// Whether somebody sits at the keyboard.
    #[must_use]
    pub fn is_human(&self) -> bool {
        self.kind == "human"
    }

    /// The claims that only a person has.
    pub(crate) fn personal(&self, now: i64) -> Value {
        if !self.is_human() {
            return json!({});
        }
        json!({
            "name": self.display_name,
            "preferred_username": format!("{}@example.com", self.name),
            "amr": ["pwd", "mfa"],
            "auth_time": now - 60,
        })
    }
}
