//! `[limits]` as written: every setting, its meaning and its default.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::super::duration::Written;

/// `[limits]` as written. Every setting has a default.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LimitsFile {
    /// Limiter entries kept per limiter; newcomers beyond it share one entry.
    pub(super) max_keys: Option<usize>,
    /// `[limits.principal]`: what one principal may do.
    pub(super) principal: RatesFile,
    /// `[limits.agent]`: the same for AI agents and for callers of unknown kind.
    pub(super) agent: RatesFile,
    /// `[limits.vault]`: what one principal may do to one vault.
    pub(super) vault: RatesFile,
    /// `[limits.weights]`: how many changes one operation of a class counts for.
    pub(super) weights: BTreeMap<String, u32>,
    /// `[limits.arm]`: the budget that Azure Resource Manager gives the gateway.
    pub(super) arm: ArmFile,
    /// `[limits.connections]`: open connections.
    pub(super) connections: ConnectionsFile,
    /// `[limits.refusals]`: how floods of refusals are recorded.
    pub(super) refusals: RefusalsFile,
    /// `[limits.idempotency]`: replies kept for repeated requests.
    pub(super) idempotency: IdempotencyFile,
    /// `[limits.activity]`: how many principals and vaults are counted.
    pub(super) activity: ActivityFile,
}

/// Rates as written; what is left out has the default of its section.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RatesFile {
    /// Reads and validations that are replenished each minute.
    pub(super) reads_per_minute: Option<u32>,
    /// Reads that may come at once.
    pub(super) read_burst: Option<u32>,
    /// Changes (weighted) that are replenished each minute.
    pub(super) changes_per_minute: Option<u32>,
    /// Changes (weighted) that may come at once.
    pub(super) change_burst: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ArmFile {
    /// Size of the bucket of reads (GET, HEAD) per subscription.
    pub(super) read_bucket: u32,
    /// Reads that Azure replenishes each second.
    pub(super) reads_per_second: u32,
    /// Size of the bucket of writes (PUT, PATCH, POST) per subscription.
    pub(super) write_bucket: u32,
    /// Writes that Azure replenishes each second.
    pub(super) writes_per_second: u32,
    /// Size of the bucket of deletes per subscription.
    pub(super) delete_bucket: u32,
    /// Deletes that Azure replenishes each second.
    pub(super) deletes_per_second: u32,
    /// Share of each bucket that only restores, and the reads they need, may use.
    pub(super) restore_share_percent: u32,
    /// Subscriptions tracked; those beyond it share one budget.
    pub(super) max_subscriptions: usize,
}

impl Default for ArmFile {
    fn default() -> Self {
        // Azure's published buckets per subscription, principal and kind of operation.
        ArmFile {
            read_bucket: 250,
            reads_per_second: 25,
            write_bucket: 200,
            writes_per_second: 10,
            delete_bucket: 200,
            deletes_per_second: 10,
            restore_share_percent: 20,
            max_subscriptions: 2_000,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ConnectionsFile {
    /// Open connections from one IPv4 address or one IPv6 /64.
    pub(super) per_address: usize,
    /// Open connections in all.
    pub(super) total: usize,
}

impl Default for ConnectionsFile {
    fn default() -> Self {
        ConnectionsFile {
            per_address: 512,
            total: 4_096,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RefusalsFile {
    /// Full records per source, reason and minute; the rest is counted.
    pub(super) full_records: u32,
    /// Combinations of source, reason and minute that are told apart.
    pub(super) max_keys: usize,
}

impl Default for RefusalsFile {
    fn default() -> Self {
        RefusalsFile {
            full_records: 20,
            max_keys: 10_000,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct IdempotencyFile {
    /// Keys kept per principal.
    pub(super) keys_per_principal: u32,
    /// How long a reply is kept.
    pub(super) retention: Written,
    /// Largest reply body that is kept, bytes.
    pub(super) max_reply_bytes: usize,
}

impl Default for IdempotencyFile {
    fn default() -> Self {
        IdempotencyFile {
            keys_per_principal: 1_000,
            retention: Written(Duration::from_secs(86_400)),
            max_reply_bytes: 256 << 10,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ActivityFile {
    /// Principals (and as many agents and persons) whose operations are counted.
    pub(super) max_principals: usize,
    /// Vaults whose operations are counted.
    pub(super) max_vaults: usize,
}

impl Default for ActivityFile {
    fn default() -> Self {
        ActivityFile {
            max_principals: 10_000,
            max_vaults: 10_000,
        }
    }
}
