//! A published attack as data: who attacks, with what, in which steps, and what would be lost.

use jiff::SignedDuration;
use serde::Deserialize;
use vaultgate_pdp::{Binding, Principal, PrincipalKind};

use super::estate::Estate;

/// The stories that ship, in the order in which they are told.
const STORIES: [&str; 22] = [
    include_str!("stories/phished-contributor.toml"),
    include_str!("stories/storm-0501.toml"),
    include_str!("stories/storm-0501-locks.toml"),
    include_str!("stories/retention-salami.toml"),
    include_str!("stories/weaken-then-delete.toml"),
    include_str!("stories/guard-then-delete.toml"),
    include_str!("stories/approvers-laptop.toml"),
    include_str!("stories/rubber-stamp.toml"),
    include_str!("stories/across-vaults.toml"),
    include_str!("stories/soft-delete-off.toml"),
    include_str!("stories/immutability.toml"),
    include_str!("stories/encryption-swap.toml"),
    include_str!("stories/fewer-copies.toml"),
    include_str!("stories/schedule-thinning.toml"),
    include_str!("stories/weaker-policy.toml"),
    include_str!("stories/restore-thief.toml"),
    include_str!("stories/restore-flood.toml"),
    include_str!("stories/file-thief.toml"),
    include_str!("stories/data-move.toml"),
    include_str!("stories/talked-into-agent.toml"),
    include_str!("stories/compromised-flow.toml"),
    include_str!("stories/around-backup.toml"),
];

/// One attack.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Story {
    /// Short name, for `--story`.
    pub(crate) name: String,
    /// What it is called.
    pub(crate) title: String,
    /// Where it was published, or which threat it stands for.
    pub(crate) source: String,
    /// What happens, in a few sentences.
    pub(crate) text: String,
    /// Who attacks.
    pub(crate) attacker: Attacker,
    /// What is special about the estate.
    #[serde(default)]
    pub(crate) estate: Estate,
    /// What the attacker does.
    pub(crate) steps: Vec<Step>,
}

/// Who attacks: a credential that was stolen, misled or turned.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Attacker {
    /// `human`, `workload`, `agent`, `flow` or `unknown`.
    kind: String,
    /// The role that the token asserts.
    role: String,
    /// Whether a person stands behind it.
    #[serde(default)]
    person: bool,
    /// The flow that the token names.
    #[serde(default)]
    flow: Option<String>,
    /// Other people whose approval the attacker gets: by their laptops, or because they wave
    /// through what they are shown.
    #[serde(default)]
    pub(crate) approvers: u32,
}

/// One step, done once or again and again.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Step {
    /// What it does, in a few words.
    pub(crate) what: String,
    /// HTTP method.
    pub(crate) method: String,
    /// Path and query; `{sub}`, `{vault}`, `{item}` and `{n}` are filled in.
    pub(crate) target: String,
    /// Body, with the same places.
    #[serde(default)]
    pub(crate) body: Option<String>,
    /// How often it is done, `{n}` counting from 1.
    #[serde(default = "once")]
    pub(crate) repeat: u32,
    /// Time from one attempt to the next, and from the step before to the first.
    #[serde(default)]
    pub(crate) after: Option<SignedDuration>,
    /// How many of these reach their end when the attack succeeds. Steps without one prepare.
    #[serde(default)]
    pub(crate) goal: u32,
}

fn once() -> u32 {
    1
}

/// Which role of a bundle stands for which role of a story.
pub(crate) type Roles = Vec<(String, String)>;

impl Story {
    /// Every story that ships.
    pub(crate) fn all() -> Result<Vec<Story>, toml::de::Error> {
        STORIES.into_iter().map(toml::from_str).collect()
    }
}

impl Attacker {
    /// The attacker as policy sees it. Roles are those of the shipped bundle, unless `roles`
    /// names others.
    pub(crate) fn principal(&self, roles: &Roles) -> Principal {
        let named = roles.iter().find(|(story, _)| *story == self.role);
        let role = named.map_or_else(|| format!("backup.{}", self.role), |(_, own)| own.clone());
        Principal {
            issuer: "https://idp.attacked.invalid".to_owned(),
            subject: "mallory".to_owned(),
            person: self.person.then(|| "mallory".to_owned()),
            kind: match self.kind.as_str() {
                "human" => PrincipalKind::Human,
                "workload" => PrincipalKind::Workload,
                "agent" => PrincipalKind::Agent,
                "flow" => PrincipalKind::Flow,
                _ => PrincipalKind::Unknown,
            },
            tenant: None,
            app: None,
            roles: vec![role],
            groups: Vec::new(),
            scopes: Vec::new(),
            acr: None,
            auth_time: None,
            actors: Vec::new(),
            bound: Binding::None,
            flow: self.flow.clone(),
        }
    }
}

impl Step {
    /// Path and query, and body, of the n-th attempt.
    pub(crate) fn request(&self, subscription: &str, n: u32) -> (String, Option<String>) {
        let fill = |text: &str| {
            let vault = format!(
                "/subscriptions/{subscription}/resourceGroups/rg1/providers/Microsoft.RecoveryServices/vaults/v1"
            );
            let name = "iaasvmcontainerv2%3Brg1%3Bvm{n}";
            let item = format!(
                "{vault}/backupFabrics/Azure/protectionContainers/IaasVMContainer%3B{name}/protectedItems/VM%3B{name}"
            );
            text.replace("{item}", &item)
                .replace("{vault}", &vault)
                .replace("{sub}", subscription)
                .replace("{n}", &n.to_string())
        };
        (fill(&self.target), self.body.as_deref().map(fill))
    }
}
