//! What one rule decided, and who would be hit without it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};
use vaultgate_pdp::Decision;

use super::{Differences, Recorded, Tally, Verdict};

/// Decisions that a rule took part in.
#[derive(Clone, Debug)]
pub(crate) struct Blame {
    code: String,
    /// Decisions in which it spoke, by verdict.
    spoke: BTreeMap<&'static str, u64>,
    by_principal: BTreeMap<String, u64>,
    by_class: BTreeMap<String, u64>,
    /// What would come out otherwise without it.
    without: Differences,
}

impl Blame {
    /// Nothing counted yet.
    pub(crate) fn new(code: &str, examples: usize) -> Blame {
        Blame {
            code: code.to_owned(),
            spoke: BTreeMap::new(),
            by_principal: BTreeMap::new(),
            by_class: BTreeMap::new(),
            without: Differences::new(examples),
        }
    }

    /// For programs.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "rule": self.code, "spoke": self.spoke, "by_principal": self.by_principal,
            "by_class": self.by_class, "without": self.without.to_json(),
        })
    }

    /// For people.
    pub(crate) fn to_text(&self) -> String {
        let mut text = String::new();
        let total: u64 = self.spoke.values().sum();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "`{}` spoke in {total} decisions", self.code);
        for (name, counts) in [("class", &self.by_class), ("principal", &self.by_principal)] {
            for (value, count) in counts {
                let _ = writeln!(text, "  {name} {}: {count}", value.escape_debug());
            }
        }
        let _ = writeln!(text, "without it:");
        for line in self.without.to_text().lines() {
            let _ = writeln!(text, "  {line}");
        }
        text
    }

    fn speaks(&self, decision: &Decision) -> bool {
        let denies = decision.deny.iter().any(|reason| reason.code == self.code);
        denies || (self.code == "approval" && !decision.obligations.is_empty())
    }
}

impl Tally for Blame {
    fn judged(&mut self, recorded: &Recorded, decisions: &[Decision]) {
        let [with, without] = decisions else { return };
        if self.speaks(with) {
            *self.spoke.entry(Verdict::of(with).as_str()).or_default() += 1;
            let about = &recorded.about;
            *self.by_principal.entry(about.subject.clone()).or_default() += 1;
            *self.by_class.entry(about.class.clone()).or_default() += 1;
        }
        // Against the bundle as it is now: what was recorded may be of an older one.
        let now = Recorded {
            decision: with.clone(),
            ..recorded.clone()
        };
        self.without.judged(&now, std::slice::from_ref(without));
    }

    fn not_comparable(&mut self, why: &'static str) {
        self.without.not_comparable(why);
    }

    fn merge(&mut self, other: Blame) {
        for (verdict, count) in other.spoke {
            *self.spoke.entry(verdict).or_default() += count;
        }
        for (own, others) in [
            (&mut self.by_principal, other.by_principal),
            (&mut self.by_class, other.by_class),
        ] {
            for (name, count) in others {
                *own.entry(name).or_default() += count;
            }
        }
        self.without.merge(other.without);
    }
}
