//! What a candidate bundle would decide otherwise.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};
use vaultgate_pdp::Decision;

use super::{Recorded, Tally, Verdict};

/// From which verdict to which.
type Flip = (Verdict, Verdict);

/// Decisions that come out otherwise, by what they are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Differences {
    judged: u64,
    /// Same verdict, other reasons, grants or terms.
    reworded: u64,
    not_comparable: BTreeMap<&'static str, u64>,
    flips: BTreeMap<Flip, Flipped>,
    examples: usize,
}

#[derive(Clone, Debug, Default)]
struct Flipped {
    count: u64,
    by_class: BTreeMap<String, u64>,
    by_principal: BTreeMap<String, u64>,
    by_vault: BTreeMap<String, u64>,
    by_rule: BTreeMap<String, u64>,
    examples: Vec<Value>,
}

impl Differences {
    /// None yet; keeps so many examples of each flip.
    pub(crate) fn new(examples: usize) -> Differences {
        Differences {
            examples,
            ..Differences::default()
        }
    }

    /// Whether no verdict changed.
    pub(crate) fn is_none(&self) -> bool {
        self.flips.is_empty()
    }

    /// Whether something that was refused would go on, or with less consent.
    pub(crate) fn loosens(&self) -> bool {
        self.flips.keys().any(|(from, to)| to < from)
    }

    /// Whether every decision comes out as it was, to its last word.
    pub(crate) fn is_exact(&self) -> bool {
        self.is_none() && self.reworded == 0
    }

    /// For programs.
    pub(crate) fn to_json(&self) -> Value {
        let flips = self.flips.iter().map(|((from, to), flipped)| {
            json!({
                "from": from.as_str(), "to": to.as_str(), "count": flipped.count,
                "by_class": flipped.by_class, "by_principal": flipped.by_principal,
                "by_vault": flipped.by_vault, "by_rule": flipped.by_rule,
                "examples": flipped.examples,
            })
        });
        json!({
            "judged": self.judged, "reworded": self.reworded,
            "not_comparable": self.not_comparable,
            "flips": flips.collect::<Vec<_>>(),
        })
    }

    /// For people.
    pub(crate) fn to_text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{} decisions judged again", self.judged);
        for (why, count) in &self.not_comparable {
            let _ = writeln!(text, "{count} not comparable: {why}");
        }
        if self.reworded > 0 {
            let _ = writeln!(
                text,
                "{} with the same verdict and other words",
                self.reworded
            );
        }
        for ((from, to), flipped) in &self.flips {
            let (from, to) = (from.as_str().to_uppercase(), to.as_str().to_uppercase());
            let _ = writeln!(text, "{from} -> {to}: {}", flipped.count);
            for (name, counts) in [
                ("class", &flipped.by_class),
                ("principal", &flipped.by_principal),
                ("vault", &flipped.by_vault),
                ("rule", &flipped.by_rule),
            ] {
                let _ = writeln!(text, "  by {name}: {}", most(counts));
            }
            for example in &flipped.examples {
                let field = |name: &str| {
                    let value = example.get(name).and_then(Value::as_str);
                    value.unwrap_or_default().escape_debug().to_string()
                };
                let _ = writeln!(
                    text,
                    "  e.g. {} {} by {}",
                    field("id"),
                    field("operation"),
                    field("principal")
                );
            }
        }
        if self.is_none() {
            text.push_str("no verdict changes\n");
        }
        text
    }
}

/// The largest counts, with what callers chose shown escaped.
fn most(counts: &BTreeMap<String, u64>) -> String {
    let mut sorted: Vec<(&String, &u64)> = counts.iter().collect();
    sorted.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    let shown: Vec<String> = sorted
        .iter()
        .take(5)
        .map(|(name, count)| format!("{} {count}", name.escape_debug()))
        .collect();
    match sorted.len() {
        0 => "none".to_owned(),
        1..=5 => shown.join(", "),
        more => format!("{}, and {} more", shown.join(", "), more - 5),
    }
}

impl Tally for Differences {
    fn judged(&mut self, recorded: &Recorded, decisions: &[Decision]) {
        let Some(now) = decisions.first() else { return };
        self.judged += 1;
        let flip = (Verdict::of(&recorded.decision), Verdict::of(now));
        if flip.0 == flip.1 {
            self.reworded += u64::from(*now != recorded.decision);
            return;
        }
        let flipped = self.flips.entry(flip).or_default();
        let about = &recorded.about;
        flipped.count += 1;
        for (counts, name) in [
            (&mut flipped.by_class, &about.class),
            (&mut flipped.by_principal, &about.subject),
            (&mut flipped.by_vault, &about.vault),
        ] {
            *counts.entry(name.clone()).or_default() += 1;
        }
        // Rules that say no on either side: those that came, or those that went.
        let denials = if flip.1 == Verdict::Deny {
            now
        } else {
            &recorded.decision
        };
        let mut codes: Vec<&str> = denials
            .deny
            .iter()
            .map(|reason| reason.code.as_str())
            .collect();
        codes.dedup();
        if codes.is_empty() {
            codes.push(
                if flip.1 == Verdict::Approval || flip.0 == Verdict::Approval {
                    "approval"
                } else {
                    "ungranted"
                },
            );
        }
        for code in &codes {
            *flipped.by_rule.entry((*code).to_owned()).or_default() += 1;
        }
        if flipped.examples.len() < self.examples {
            flipped.examples.push(json!({
                "id": recorded.id, "operation": about.operation, "principal": about.subject,
                "vault": about.vault, "rules": codes, "decided_under": recorded.bundle,
            }));
        }
    }

    fn not_comparable(&mut self, why: &'static str) {
        *self.not_comparable.entry(why).or_default() += 1;
    }

    fn merge(&mut self, other: Differences) {
        self.judged += other.judged;
        self.reworded += other.reworded;
        for (why, count) in other.not_comparable {
            *self.not_comparable.entry(why).or_default() += count;
        }
        for (flip, more) in other.flips {
            let own = self.flips.entry(flip).or_default();
            own.count += more.count;
            for (counts, others) in [
                (&mut own.by_class, more.by_class),
                (&mut own.by_principal, more.by_principal),
                (&mut own.by_vault, more.by_vault),
                (&mut own.by_rule, more.by_rule),
            ] {
                for (name, count) in others {
                    *counts.entry(name).or_default() += count;
                }
            }
            own.examples.extend(more.examples);
            own.examples.truncate(self.examples.max(other.examples));
        }
    }
}
