//! Grants that nobody used: which bindings could go, and what the bundle is without them.
//!
//! Of bundles that bind roles as the library does: `bindings` in `vaultgate/data.json`, subject to
//! a list of roles and scopes. What is suggested is judged again before it is shown.

use std::collections::BTreeSet;

use anyhow::Context as _;
use serde_json::{Value, json};
use vaultgate_pdp::{Bundle, Decision};

use super::{Recorded, Tally};

/// File of the bindings.
const FILE: &str = "vaultgate/data.json";

/// One scope of one binding, and what was seen of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Grant {
    subject: String,
    binding: usize,
    scope: usize,
    role: String,
    path: String,
}

/// Bindings and those of them that some decision rested on.
#[derive(Clone, Debug)]
pub(crate) struct Suggestion {
    grants: Vec<Grant>,
    used: BTreeSet<usize>,
    judged: u64,
}

impl Suggestion {
    /// The bindings of a bundle, none of them seen in use yet.
    pub(crate) fn of(bundle: &Bundle) -> anyhow::Result<Suggestion> {
        let data = bindings(bundle)?;
        let mut grants = Vec::new();
        let subjects = data.get("bindings").and_then(Value::as_object);
        for (subject, list) in subjects.into_iter().flatten() {
            for (binding, one) in items(list).enumerate() {
                let role = one.get("role").and_then(Value::as_str).unwrap_or_default();
                for (scope, path) in items(one.get("scopes").unwrap_or(&Value::Null)).enumerate() {
                    grants.push(Grant {
                        subject: subject.clone(),
                        binding,
                        scope,
                        role: role.to_owned(),
                        path: path.as_str().unwrap_or_default().to_owned(),
                    });
                }
            }
        }
        Ok(Suggestion {
            grants,
            used: BTreeSet::new(),
            judged: 0,
        })
    }

    fn unused(&self) -> impl Iterator<Item = &Grant> {
        let grants = self.grants.iter().enumerate();
        grants
            .filter(|(place, _)| !self.used.contains(place))
            .map(|(_, grant)| grant)
    }

    /// Whether there is something to take away.
    pub(crate) fn is_empty(&self) -> bool {
        self.unused().next().is_none()
    }

    /// The data file without what was not used.
    pub(crate) fn reduced(&self, bundle: &Bundle) -> anyhow::Result<Bundle> {
        let mut data = bindings(bundle)?;
        let mut unused: Vec<&Grant> = self.unused().collect();
        // From the back, so that places stay what they are.
        unused.sort_by(|a, b| b.cmp(a));
        for grant in unused {
            let list = data
                .get_mut("bindings")
                .and_then(|all| all.get_mut(&grant.subject));
            let Some(list) = list.and_then(Value::as_array_mut) else {
                continue;
            };
            let Some(scopes) = list
                .get_mut(grant.binding)
                .and_then(|one| one.get_mut("scopes"))
                .and_then(Value::as_array_mut)
            else {
                continue;
            };
            if grant.scope < scopes.len() {
                scopes.remove(grant.scope);
            }
            if scopes.is_empty() {
                list.remove(grant.binding);
            }
        }
        let subjects = data.get_mut("bindings").and_then(Value::as_object_mut);
        if let Some(subjects) = subjects {
            subjects.retain(|_, list| list.as_array().is_none_or(|list| !list.is_empty()));
        }
        let text = serde_json::to_string_pretty(&data)? + "\n";
        Ok(bundle.replacing(FILE, text.into_bytes()))
    }

    /// What to take away, for people.
    pub(crate) fn to_text(&self) -> String {
        let mut text = format!("{} decisions looked at\n", self.judged);
        text.push_str(&format!("--- {FILE}\n+++ {FILE}\n"));
        for grant in self.unused() {
            text.push_str(&format!(
                "- bindings[{:?}]: {} on {}\n",
                grant.subject, grant.role, grant.path
            ));
        }
        text
    }

    /// The same for programs.
    pub(crate) fn to_json(&self) -> Value {
        let unused = self.unused().map(
            |grant| json!({"subject": grant.subject, "role": grant.role, "scope": grant.path}),
        );
        json!({"judged": self.judged, "file": FILE, "unused": unused.collect::<Vec<_>>()})
    }
}

impl Tally for Suggestion {
    fn judged(&mut self, recorded: &Recorded, decisions: &[Decision]) {
        self.judged += 1;
        let Ok(input) = serde_json::from_str::<Value>(&recorded.input) else {
            return;
        };
        let subjects = subjects(&input);
        // What it rested on then, and what it would rest on now.
        let grants = recorded.decision.grants.iter();
        let grants = grants.chain(decisions.iter().flat_map(|decision| &decision.grants));
        for grant in grants {
            let text = |name: &str| grant.get(name).and_then(Value::as_str);
            let (Some(role), Some(scope)) = (text("role"), text("scope")) else {
                continue;
            };
            for (place, own) in self.grants.iter().enumerate() {
                // A grant that names no scope of the binding's rests on the role alone.
                let same = own
                    .path
                    .trim_end_matches('/')
                    .eq_ignore_ascii_case(scope.trim_end_matches('/'));
                let anywhere = !self.grants.iter().any(|other| {
                    other
                        .path
                        .trim_end_matches('/')
                        .eq_ignore_ascii_case(scope.trim_end_matches('/'))
                });
                if own.role == role && (same || anywhere) && subjects.contains(&own.subject) {
                    self.used.insert(place);
                }
            }
        }
    }

    fn not_comparable(&mut self, _: &'static str) {}

    fn merge(&mut self, other: Suggestion) {
        self.judged += other.judged;
        self.used.extend(other.used);
    }
}

/// The names under which a principal can be bound.
fn subjects(input: &Value) -> BTreeSet<String> {
    let text = |pointer: &str| {
        input
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let named = |pointer: &str, kind: &str| {
        let names = input.pointer(pointer).map(items).into_iter().flatten();
        let names = names.filter_map(Value::as_str);
        names
            .map(|name| format!("{kind}:{name}"))
            .collect::<Vec<_>>()
    };
    let own = format!(
        "principal:{}|{}",
        text("/principal/issuer"),
        text("/principal/subject")
    );
    let mut subjects = BTreeSet::from([own]);
    subjects.extend(named("/principal/roles", "role"));
    subjects.extend(named("/principal/groups", "group"));
    subjects
}

fn bindings(bundle: &Bundle) -> anyhow::Result<Value> {
    let mut files = bundle.files();
    let (_, text) = files.find(|(path, _)| *path == FILE).with_context(|| {
        format!(
            "the bundle has no `{FILE}`: grants are suggested for bundles that bind roles there"
        )
    })?;
    let data: Value = serde_json::from_str(text)?;
    anyhow::ensure!(
        data.get("bindings").is_some_and(Value::is_object),
        "`{FILE}` has no `bindings`: grants are suggested for bundles that bind roles there"
    );
    Ok(data)
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
