//! A closed list of changes, each tried.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::decision::{Decision, Obligation};
use crate::policy::Policy;
use crate::{replay_all, strict_json};

/// Hours that are looked ahead for a window.
const HOURS: i64 = 8 * 24;
/// Roles and landing places that are tried at most.
const MOST: usize = 32;

/// A change with which a request would be allowed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "kebab-case")]
pub enum Change {
    /// Others approve it.
    Approval {
        /// How many.
        quorum: u32,
        /// Which groups and roles they are of.
        from: Vec<String>,
    },
    /// It is asked later.
    Time {
        /// When.
        at: String,
        /// Whether others must approve it then.
        approval: bool,
    },
    /// What was done before no longer counts.
    Wait {
        /// The window that must pass: `1h`, `24h`, `30d`.
        window: String,
        /// Whether others must approve it then.
        approval: bool,
    },
    /// Somebody with another role, or in another group, asks.
    Role {
        /// As bindings name it.
        subject: String,
        /// Whether others must approve it then.
        approval: bool,
    },
    /// A person asks, who has the same roles.
    Person {
        /// Whether others must approve it then.
        approval: bool,
    },
    /// Less retention is taken away.
    SmallerCut {
        /// Days that may be.
        days: u64,
        /// Whether others must approve it then.
        approval: bool,
    },
    /// It is restored into the landing zone.
    Landing {
        /// A storage account there.
        target: String,
        /// Whether others must approve it then.
        approval: bool,
    },
    /// Azure tells the state of the vault.
    Facts {
        /// Whether others must approve it then.
        approval: bool,
    },
}

impl Change {
    /// For people: what follows "would be allowed".
    pub fn in_words(&self) -> String {
        let (words, approval) = match self {
            Change::Approval { quorum, from } => {
                return format!("when approved by {quorum} of {}", from.join(", "));
            }
            Change::Time { at, approval } => (format!("from {at}"), approval),
            Change::Wait { window, approval } => (
                format!("once what was done in the last {window} no longer counts"),
                approval,
            ),
            Change::Role { subject, approval } => (format!("to {subject}"), approval),
            Change::Person { approval } => ("to a person with these roles".to_owned(), approval),
            Change::SmallerCut { days, approval } => (
                format!("if no more than {days} days of retention were taken away"),
                approval,
            ),
            Change::Landing { target, approval } => (format!("into {target}"), approval),
            Change::Facts { approval } => (
                "once Azure tells the state of the vault".to_owned(),
                approval,
            ),
        };
        match approval {
            true => format!("{words}, with approval"),
            false => words,
        }
    }
}

/// Changes of the list with which this input would be allowed, the easiest first. At most so
/// many evaluations are made.
pub fn what_would_allow(policy: &Policy, input: &str, budget: usize) -> Vec<Change> {
    let Ok(input) = strict_json::parse(input) else {
        return Vec::new();
    };
    let mut tries = Tries {
        policy,
        left: budget,
    };
    let mut changes = Vec::new();
    let Some(now) = tries.judge(&input) else {
        return changes;
    };
    if now.allow {
        changes.extend(approval(&now));
        return changes;
    }
    changes.extend(tries.facts(&input));
    changes.extend(tries.wait(&input));
    changes.extend(tries.cut(&input));
    changes.extend(tries.landing(&input));
    changes.extend(tries.person(&input));
    changes.extend(tries.roles(&input));
    changes.extend(tries.time(&input));
    changes
}

/// The approval that an allowed request still needs.
fn approval(decision: &Decision) -> Option<Change> {
    let most = decision.obligations.iter().map(|one| {
        let Obligation::Approval(approval) = one;
        approval
    });
    let most = most.max_by_key(|approval| approval.quorum)?;
    Some(Change::Approval {
        quorum: most.quorum,
        from: most.from.clone(),
    })
}

struct Tries<'p> {
    policy: &'p Policy,
    left: usize,
}

impl Tries<'_> {
    fn judge(&mut self, input: &Value) -> Option<Decision> {
        self.left = self.left.checked_sub(1)?;
        replay_all(self.policy, &[&input.to_string()]).pop()
    }

    /// Whether it would be allowed, and whether with approval.
    fn allows(&mut self, input: &Value) -> Option<bool> {
        let decision = self.judge(input).filter(|decision| decision.allow)?;
        Some(!decision.obligations.is_empty())
    }

    fn facts(&mut self, input: &Value) -> Option<Change> {
        if input.pointer("/facts/vault/status")? == "ok" {
            return None;
        }
        let changed = with(input, "/facts/vault/status", json!("ok"))?;
        let approval = self.allows(&changed)?;
        Some(Change::Facts { approval })
    }

    /// With counters of ever longer windows at nothing.
    fn wait(&mut self, input: &Value) -> Option<Change> {
        let activity = input.get("activity")?;
        let mut forgotten: Vec<&str> = Vec::new();
        for window in ["1h", "24h", "30d"] {
            forgotten.push(window);
            let changed = with(input, "/activity", without_counts(activity, &forgotten))?;
            if changed == *input {
                continue;
            }
            if let Some(approval) = self.allows(&changed) {
                let window = window.to_owned();
                return Some(Change::Wait { window, approval });
            }
        }
        None
    }

    /// The most days that may be cut.
    fn cut(&mut self, input: &Value) -> Option<Change> {
        let place = "/request/delta/retention_days";
        let days = input.pointer(place)?.as_f64().filter(|days| *days < 0.0)?;
        let (mut good, mut bad) = (0_u64, (-days).ceil() as u64);
        let mut found = None;
        while bad - good > 1 {
            let middle = good + (bad - good) / 2;
            let changed = with(input, place, json!(-(middle as f64)))?;
            match self.allows(&changed) {
                Some(approval) => (good, found) = (middle, Some(approval)),
                None => bad = middle,
            }
        }
        found.map(|approval| Change::SmallerCut {
            days: good,
            approval,
        })
    }

    fn landing(&mut self, input: &Value) -> Option<Change> {
        let own = input
            .pointer("/request/restore/target/storage_account")?
            .as_str()?;
        for target in self.listed("landing", "storage_accounts") {
            // Wherever the body names it.
            let text = input.to_string().replace(own, &target);
            let changed: Value = serde_json::from_str(&text).ok()?;
            if let Some(approval) = self.allows(&changed) {
                return Some(Change::Landing { target, approval });
            }
        }
        None
    }

    fn person(&mut self, input: &Value) -> Option<Change> {
        if input.pointer("/principal/kind")? == "human" {
            return None;
        }
        let changed = with(input, "/principal/kind", json!("human"))?;
        let changed = with(&changed, "/principal/person", json!("a person"))?;
        let changed = with(&changed, "/principal/actors", json!([]))?;
        let changed = with(&changed, "/flow", Value::Null)?;
        let approval = self.allows(&changed)?;
        Some(Change::Person { approval })
    }

    fn roles(&mut self, input: &Value) -> Vec<Change> {
        let mut changes = Vec::new();
        for subject in self.subjects() {
            let (member, name) = match subject.split_once(':') {
                Some(("role", name)) => ("/principal/roles", name),
                Some(("group", name)) => ("/principal/groups", name),
                _ => continue,
            };
            // That one alone: what somebody else would be told.
            let changed = with(input, "/principal/roles", json!([]))
                .and_then(|input| with(&input, "/principal/groups", json!([])))
                .and_then(|input| with(&input, member, json!([name])));
            let allowed = changed.and_then(|changed| self.allows(&changed));
            if let Some(approval) = allowed {
                changes.push(Change::Role { subject, approval });
            }
        }
        changes
    }

    /// The next full hour at which it would be allowed.
    fn time(&mut self, input: &Value) -> Option<Change> {
        let now: Timestamp = input.get("now")?.as_str()?.parse().ok()?;
        let hour = now.as_second().div_euclid(3600) * 3600;
        for ahead in 1..=HOURS {
            let at = Timestamp::from_second(hour).ok()? + SignedDuration::from_hours(ahead);
            let changed = with(input, "/now", json!(format!("{at:.3}")))?;
            if let Some(approval) = self.allows(&changed) {
                return Some(Change::Time {
                    at: at.to_string(),
                    approval,
                });
            }
            if self.left == 0 {
                return None;
            }
        }
        None
    }

    /// Subjects of the bindings, as the library keeps them.
    fn subjects(&self) -> Vec<String> {
        let data = self.policy.engine().get_data();
        let bindings = data["vaultgate"]["bindings"].as_object();
        let names = bindings.map(|bindings| bindings.keys());
        let names = names
            .into_iter()
            .flatten()
            .filter_map(|name| name.as_string().ok());
        let names = names.filter(|name| name.starts_with("role:") || name.starts_with("group:"));
        names.take(MOST).map(|name| name.to_string()).collect()
    }

    fn listed(&self, part: &str, list: &str) -> Vec<String> {
        let data = self.policy.engine().get_data();
        let items = data["vaultgate"][part][list].as_array();
        let texts = items.into_iter().flat_map(|items| items.iter());
        let texts = texts.filter_map(|text| text.as_string().ok());
        texts.take(MOST).map(|text| text.to_string()).collect()
    }
}

/// The input with one member replaced.
fn with(input: &Value, pointer: &str, value: Value) -> Option<Value> {
    let mut changed = input.clone();
    *changed.pointer_mut(pointer)? = value;
    Some(changed)
}

/// Activity with the counts of these windows at nothing.
fn without_counts(activity: &Value, windows: &[&str]) -> Value {
    match activity {
        Value::Object(members) => {
            let members = members.iter().map(|(name, value)| {
                let forgotten = windows.contains(&name.as_str())
                    || (windows.contains(&"24h") && (name == "refused" || name.ends_with("_24h")));
                let value = match value {
                    Value::Number(_) if forgotten => json!(0),
                    Value::Object(_) if forgotten => json!({}),
                    other => without_counts(other, windows),
                };
                (name.clone(), value)
            });
            Value::Object(members.collect())
        }
        other => other.clone(),
    }
}
