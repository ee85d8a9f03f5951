//! From `[limits]` as written to limits that hold.
//!
//! Gathers every problem; never lets one be switched off, or be so large that it
//! bounds nothing.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use super::written::{
    ActivityFile, ArmFile, ConnectionsFile, IdempotencyFile, LimitsFile, RatesFile, RefusalsFile,
};
use super::{
    ActivityLimits, ArmLimits, Bucket, CHANGES, ConnectionLimits, IdempotencyLimits, Limits, Rate,
    Rates, RefusalLimits, Weights,
};
use crate::config::Problems;

impl LimitsFile {
    /// Turns what was written into what holds.
    pub(crate) fn check(self, problems: &mut Problems) -> Option<Limits> {
        let mut check = Checker { problems };
        let max_keys = self.max_keys.unwrap_or(10_000);
        check.size("limits.max_keys", max_keys, 100, 1_000_000);
        let principal = check.rates("limits.principal", &self.principal, [600, 200, 120, 60]);
        let agent = check.rates("limits.agent", &self.agent, [300, 100, 30, 20]);
        let vault = check.rates("limits.vault", &self.vault, [300, 150, 60, 30]);
        let bursts = [principal, agent, vault];
        let smallest = bursts.iter().flatten().map(|rates| rates.changes.burst);
        let weights = check.weights(&self.weights, smallest.min());
        Some(Limits {
            max_keys,
            principal: principal?,
            agent: agent?,
            vault: vault?,
            weights: weights?,
            arm: check.arm(&self.arm),
            connections: check.connections(&self.connections),
            refusals: check.refusals(&self.refusals),
            idempotency: check.idempotency(&self.idempotency),
            activity: check.activity(&self.activity),
        })
    }
}

struct Checker<'p> {
    problems: &'p mut Problems,
}

impl Checker<'_> {
    fn size(&mut self, key: &str, value: usize, least: usize, most: usize) {
        if !(least..=most).contains(&value) {
            self.problems.add(
                key,
                format!("`{value}` is out of range"),
                format!("use a number from {least} to {most}"),
            );
        }
    }

    fn positive(&mut self, key: String, value: u32) -> Option<NonZeroU32> {
        let checked = NonZeroU32::new(value).filter(|value| value.get() <= 1_000_000);
        if checked.is_none() {
            self.problems.add(
                key,
                format!("`{value}` is out of range"),
                "use a number from 1 to 1000000; a limit cannot be switched off",
            );
        }
        checked
    }

    fn rates(&mut self, section: &str, file: &RatesFile, default: [u32; 4]) -> Option<Rates> {
        let [reads, read_burst, changes, change_burst] = default;
        let mut rate = |kind: &str, minute: Option<u32>, burst: Option<u32>, default: [u32; 2]| {
            let [per_minute, size] = default;
            let per_minute = self.positive(
                format!("{section}.{kind}s_per_minute"),
                minute.unwrap_or(per_minute),
            );
            let burst = self.positive(format!("{section}.{kind}_burst"), burst.unwrap_or(size));
            Some(Rate {
                per_minute: per_minute?,
                burst: burst?,
            })
        };
        let reads = rate(
            "read",
            file.reads_per_minute,
            file.read_burst,
            [reads, read_burst],
        );
        let changes = rate(
            "change",
            file.changes_per_minute,
            file.change_burst,
            [changes, change_burst],
        );
        Some(Rates {
            reads: reads?,
            changes: changes?,
        })
    }

    /// A weight above the smallest burst would refuse the class for good.
    fn weights(
        &mut self,
        file: &BTreeMap<String, u32>,
        smallest_burst: Option<NonZeroU32>,
    ) -> Option<Weights> {
        let most = smallest_burst.map_or(1, NonZeroU32::get);
        let mut weights: BTreeMap<&'static str, NonZeroU32> = CHANGES
            .into_iter()
            .filter_map(|(class, weight)| Some((class, NonZeroU32::new(weight.min(most))?)))
            .collect();
        let mut good = true;
        for (name, weight) in file {
            let class = CHANGES.iter().find(|(class, _)| class == name);
            let weight_given = NonZeroU32::new(*weight).filter(|given| given.get() <= most);
            let (message, hint) = match (class, weight_given) {
                (Some((class, _)), Some(weight)) => {
                    weights.insert(class, weight);
                    continue;
                }
                (None, _) => (
                    format!("`{name}` is not a class of changes"),
                    format!(
                        "the classes are {}",
                        CHANGES.map(|(class, _)| class).join(", ")
                    ),
                ),
                (Some(_), None) => (
                    format!("`{weight}` is out of range"),
                    format!(
                        "use a number from 1 to {most}, the smallest `change_burst`: \
                         a heavier operation could never pass"
                    ),
                ),
            };
            good = false;
            self.problems
                .add(format!("limits.weights.{name}"), message, hint);
        }
        good.then_some(Weights(weights))
    }

    fn arm(&mut self, file: &ArmFile) -> ArmLimits {
        let buckets = [
            ("read_bucket", file.read_bucket),
            ("reads_per_second", file.reads_per_second),
            ("write_bucket", file.write_bucket),
            ("writes_per_second", file.writes_per_second),
            ("delete_bucket", file.delete_bucket),
            ("deletes_per_second", file.deletes_per_second),
        ];
        for (name, value) in buckets {
            self.positive(format!("limits.arm.{name}"), value);
        }
        let share = file.restore_share_percent;
        if !(5..=90).contains(&share) {
            self.problems.add(
                "limits.arm.restore_share_percent",
                format!("`{share}` is out of range"),
                "use a number from 5 to 90; restores always keep a share of their own",
            );
        }
        self.size(
            "limits.arm.max_subscriptions",
            file.max_subscriptions,
            10,
            100_000,
        );
        let bucket = |size, per_second| Bucket { size, per_second };
        ArmLimits {
            reads: bucket(file.read_bucket, file.reads_per_second),
            writes: bucket(file.write_bucket, file.writes_per_second),
            deletes: bucket(file.delete_bucket, file.deletes_per_second),
            restore_share_percent: share,
            max_subscriptions: file.max_subscriptions,
        }
    }

    fn connections(&mut self, file: &ConnectionsFile) -> ConnectionLimits {
        self.size(
            "limits.connections.per_address",
            file.per_address,
            1,
            100_000,
        );
        self.size("limits.connections.total", file.total, 1, 1_000_000);
        ConnectionLimits {
            per_address: file.per_address,
            total: file.total,
        }
    }

    fn refusals(&mut self, file: &RefusalsFile) -> RefusalLimits {
        self.size(
            "limits.refusals.full_records",
            file.full_records as usize,
            1,
            1_000,
        );
        self.size("limits.refusals.max_keys", file.max_keys, 100, 1_000_000);
        RefusalLimits {
            full_records: file.full_records,
            max_keys: file.max_keys,
        }
    }

    fn idempotency(&mut self, file: &IdempotencyFile) -> IdempotencyLimits {
        let keys = file.keys_per_principal as usize;
        self.size("limits.idempotency.keys_per_principal", keys, 10, 100_000);
        let bytes = file.max_reply_bytes;
        self.size("limits.idempotency.max_reply_bytes", bytes, 4_096, 4 << 20);
        let retention = file.retention.0;
        let hour = Duration::from_secs(3_600);
        if retention < hour || retention > 7 * 24 * hour {
            self.problems.add(
                "limits.idempotency.retention",
                "replies are kept for 1h to 168h",
                "leave it out to get 24h",
            );
        }
        IdempotencyLimits {
            keys_per_principal: file.keys_per_principal,
            retention,
            max_reply_bytes: bytes,
        }
    }

    fn activity(&mut self, file: &ActivityFile) -> ActivityLimits {
        self.size(
            "limits.activity.max_principals",
            file.max_principals,
            100,
            1_000_000,
        );
        self.size(
            "limits.activity.max_vaults",
            file.max_vaults,
            100,
            1_000_000,
        );
        ActivityLimits {
            max_principals: file.max_principals,
            max_vaults: file.max_vaults,
        }
    }
}
