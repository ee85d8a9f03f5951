//! `[limits]`: rates, quotas and bounds.
//!
//! Every bound here keeps one caller from starving the others, or hostile input
//! from filling memory. None can be switched off: zero is refused, and each has a
//! ceiling beyond which it would no longer bound anything.

mod check;
mod written;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

pub(crate) use written::LimitsFile;

/// Limits that hold.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// Entries kept per keyed limiter.
    pub(crate) max_keys: usize,
    /// What one principal may do.
    pub(crate) principal: Rates,
    /// What one AI agent, or caller of unknown kind, may do.
    pub(crate) agent: Rates,
    /// What one principal may do to one vault.
    pub(crate) vault: Rates,
    /// How many changes one operation counts for.
    pub(crate) weights: Weights,
    /// The budget at Azure Resource Manager.
    pub(crate) arm: ArmLimits,
    /// Open connections.
    pub(crate) connections: ConnectionLimits,
    /// Floods of refusals.
    pub(crate) refusals: RefusalLimits,
    /// Replies kept for repeated requests.
    pub(crate) idempotency: IdempotencyLimits,
    /// How much is counted.
    pub(crate) activity: ActivityLimits,
}

/// Rates of reads and of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rates {
    /// Reads and validations.
    pub(crate) reads: Rate,
    /// Everything else, weighted by class.
    pub(crate) changes: Rate,
}

/// A token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    /// Tokens replenished each minute.
    pub(crate) per_minute: NonZeroU32,
    /// Size of the bucket.
    pub(crate) burst: NonZeroU32,
}

/// Tokens that one operation of each class takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Weights(BTreeMap<&'static str, NonZeroU32>);

impl Weights {
    /// Tokens that an operation of the class of this name takes.
    pub(crate) fn of(&self, class: &str) -> NonZeroU32 {
        self.0.get(class).copied().unwrap_or(NonZeroU32::MIN)
    }
}

/// One bucket as Azure keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bucket {
    /// Tokens it holds when full.
    pub(crate) size: u32,
    /// Tokens replenished each second.
    pub(crate) per_second: u32,
}

/// The budget at Azure Resource Manager, per subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ArmLimits {
    /// GET and HEAD.
    pub(crate) reads: Bucket,
    /// PUT, PATCH and POST.
    pub(crate) writes: Bucket,
    /// DELETE.
    pub(crate) deletes: Bucket,
    /// Share of each bucket kept for restores, percent.
    pub(crate) restore_share_percent: u32,
    /// Subscriptions tracked.
    pub(crate) max_subscriptions: usize,
}

/// Open connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionLimits {
    /// From one address.
    pub(crate) per_address: usize,
    /// In all.
    pub(crate) total: usize,
}

/// Floods of refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RefusalLimits {
    /// Full records per source, reason and minute.
    pub(crate) full_records: u32,
    /// Combinations told apart.
    pub(crate) max_keys: usize,
}

/// Replies kept for repeated requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IdempotencyLimits {
    /// Keys kept per principal.
    pub(crate) keys_per_principal: u32,
    /// How long a reply is kept.
    pub(crate) retention: Duration,
    /// Largest body kept, bytes.
    pub(crate) max_reply_bytes: usize,
}

/// How much is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ActivityLimits {
    /// Principals, and as many agents and persons.
    pub(crate) max_principals: usize,
    /// Vaults.
    pub(crate) max_vaults: usize,
}

/// The classes of changes with the weights that hold unless the file says otherwise:
/// what lowers protection or hands out a secret is rarer in honest use than what
/// keeps backups running.
pub(crate) const CHANGES: [(&str, u32); 11] = [
    ("snapshot", 1),
    ("restore", 1),
    ("protect", 1),
    ("weaken", 5),
    ("delete", 5),
    ("undelete", 1),
    ("configure", 2),
    ("guard", 5),
    ("cancel", 1),
    ("disclose", 5),
    ("move", 5),
];

impl Limits {
    /// The limits of a file that says nothing.
    pub(crate) fn defaults() -> Limits {
        let mut problems = super::Problems::default();
        match LimitsFile::default().check(&mut problems) {
            Some(limits) if problems.is_empty() => limits,
            _ => unreachable!("the defaults are within their own bounds"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::super::Problems;
    use super::{Limits, LimitsFile};

    fn problems_of(text: &str) -> Vec<String> {
        let mut problems = Problems::default();
        let file: LimitsFile = toml::from_str(text).unwrap();
        let _ = file.check(&mut problems);
        problems.iter().map(|problem| problem.key.clone()).collect()
    }

    #[test]
    fn an_absent_section_gives_the_documented_limits() {
        let limits = Limits::defaults();
        assert_eq!(limits.arm.reads.size, 250);
        assert_eq!(limits.arm.restore_share_percent, 20);
        assert_eq!(limits.idempotency.keys_per_principal, 1_000);
        assert_eq!(limits.idempotency.max_reply_bytes, 262_144);
        assert_eq!(limits.refusals.full_records, 20);
        assert_eq!(limits.weights.of("delete").get(), 5);
        assert_eq!(limits.weights.of("restore").get(), 1);
        assert!(limits.agent.changes.burst < limits.principal.changes.burst);
    }

    #[test]
    fn a_section_given_in_part_keeps_the_other_defaults_of_its_own() {
        let mut problems = Problems::default();
        let file: LimitsFile = toml::from_str("[agent]\nchanges_per_minute = 7").unwrap();
        let limits = file.check(&mut problems).unwrap();
        assert!(problems.is_empty());
        assert_eq!(limits.agent.changes.per_minute.get(), 7);
        assert_eq!(limits.agent.reads, Limits::defaults().agent.reads);
    }

    #[test]
    fn no_limit_can_be_switched_off_or_made_meaningless() {
        for (text, key) in [
            ("max_keys = 0", "limits.max_keys"),
            (
                "[principal]\nreads_per_minute = 0",
                "limits.principal.reads_per_minute",
            ),
            (
                "[agent]\nchange_burst = 4000000000",
                "limits.agent.change_burst",
            ),
            ("[weights]\ndelete = 0", "limits.weights.delete"),
            ("[weights]\ndelete = 21", "limits.weights.delete"),
            ("[weights]\ndestroy = 1", "limits.weights.destroy"),
            ("[weights]\nread = 2", "limits.weights.read"),
            (
                "[arm]\nwrites_per_second = 0",
                "limits.arm.writes_per_second",
            ),
            (
                "[arm]\nrestore_share_percent = 0",
                "limits.arm.restore_share_percent",
            ),
            ("[connections]\ntotal = 0", "limits.connections.total"),
            (
                "[refusals]\nfull_records = 0",
                "limits.refusals.full_records",
            ),
            (
                "[idempotency]\nretention = \"5m\"",
                "limits.idempotency.retention",
            ),
            (
                "[idempotency]\nkeys_per_principal = 0",
                "limits.idempotency.keys_per_principal",
            ),
            ("[activity]\nmax_vaults = 1", "limits.activity.max_vaults"),
        ] {
            assert_eq!(problems_of(text), [key], "{text}");
        }
    }

    #[test]
    fn unknown_settings_are_refused() {
        for text in [
            "max_key = 1",
            "[arm]\nread_buckets = 1",
            "[principal]\nburst = 1",
        ] {
            assert!(toml::from_str::<LimitsFile>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn every_class_of_change_has_a_weight() {
        let mut weighted = super::CHANGES.map(|(name, _)| name);
        let changes = vaultgate_arm::Class::ALL
            .into_iter()
            .filter(|class| class.changes());
        let mut changes: Vec<&str> = changes.map(vaultgate_arm::Class::as_str).collect();
        weighted.sort_unstable();
        changes.sort_unstable();
        assert_eq!(changes, weighted);
    }
}
