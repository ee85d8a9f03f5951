//! Whether a request may take its turn: rates, Azure's budget, connections, refusals.
//!
//! Owns no policy. It keeps one caller from starving the others (quotas per
//! principal, and per principal and vault) and the gateway as a whole from being
//! throttled by Azure Resource Manager, whose bucket all callers share. A share of
//! that bucket is never given to anything but restores and the reads they need:
//! on the worst day the way back must be open.
//!
//! Every map here is bounded, because its keys come from callers. Nothing here
//! waits: a request passes, or is told which limit it hit and when to come back.

mod arm_budget;
mod connections;
mod quota;
mod refusals;
mod source;

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use vaultgate_pdp::PrincipalKind;

use crate::clock::Clock;
use crate::config::limits::{Limits, Rates, Weights};
use vaultgate_arm::Class;

pub(crate) use arm_budget::ArmBucket;
pub(crate) use connections::ConnectionCaps;
pub(crate) use refusals::{Disposition, RefusalLedger, RefusalSource};

use arm_budget::{ArmBudget, Shortage};
use quota::Quotas;

/// One request that asks for its turn.
#[derive(Clone, Copy)]
pub(crate) struct AdmitRequest<'a> {
    /// Issuer and subject: `Principal::key`.
    pub(crate) principal_key: &'a str,
    /// What stands behind the principal.
    pub(crate) kind: PrincipalKind,
    /// ARM id of the vault, if the operation has one.
    pub(crate) vault: Option<&'a str>,
    /// Subscription whose budget the request takes from; none for tenant scope.
    pub(crate) subscription: Option<&'a str>,
    /// Class of the operation.
    pub(crate) class: Class,
    /// Method sent to Azure.
    pub(crate) method: &'a str,
    /// Whether a read is one that a restore cannot do without (its vault, item and
    /// recovery points, the polls of its job). Restores themselves need not say so.
    pub(crate) for_restore: bool,
    /// Whether the caller's own rates are lifted: break-glass. Azure's budget is not.
    pub(crate) unhurried: bool,
}

/// Names of the limits, as answers, records and metrics give them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum LimitName {
    /// Reads of one principal.
    PrincipalReads,
    /// Changes of one principal.
    PrincipalChanges,
    /// Reads of one principal in one vault.
    VaultReads,
    /// Changes of one principal in one vault.
    VaultChanges,
    /// What is left of Azure's bucket of reads.
    ArmReads,
    /// What is left of Azure's bucket of writes.
    ArmWrites,
    /// What is left of Azure's bucket of deletes.
    ArmDeletes,
    /// Azure has answered 429 and said when to come back.
    ArmThrottled,
}

impl LimitName {
    /// The stable name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            LimitName::PrincipalReads => "principal-reads",
            LimitName::PrincipalChanges => "principal-changes",
            LimitName::VaultReads => "vault-reads",
            LimitName::VaultChanges => "vault-changes",
            LimitName::ArmReads => "arm-reads",
            LimitName::ArmWrites => "arm-writes",
            LimitName::ArmDeletes => "arm-deletes",
            LimitName::ArmThrottled => "arm-throttled",
        }
    }
}

/// A request that was not given its turn.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}; try again at {retry_at}")]
pub(crate) struct Limited {
    /// Which limit it hit.
    pub(crate) limit: LimitName,
    /// For `Retry-After`; whole seconds, at least one.
    pub(crate) retry_after: Duration,
    /// The same as a point in time.
    pub(crate) retry_at: Timestamp,
    /// What to tell the caller.
    pub(crate) detail: String,
}

/// Longest time that a 429 of Azure is believed for, and what one without a time means.
const LONGEST_PAUSE: Duration = Duration::from_secs(3_600);
const USUAL_PAUSE: Duration = Duration::from_secs(60);

fn pause(after: Option<Duration>) -> Duration {
    after.unwrap_or(USUAL_PAUSE).min(LONGEST_PAUSE)
}

/// Rates and budgets of everything that reaches Azure.
pub(crate) struct Admission {
    clock: Clock,
    weights: Weights,
    principal: Quotas,
    agent: Quotas,
    vault: Quotas,
    /// Azure's buckets of the operator identity.
    arm: ArmBudget,
    /// Those of the reader identity: Azure counts each identity by itself.
    reader: ArmBudget,
}

impl Admission {
    /// Starts with every bucket full.
    pub(crate) fn new(limits: &Limits, clock: Clock) -> Admission {
        let quotas = |rates: Rates| Quotas::new(rates, limits.max_keys, clock.clone());
        Admission {
            weights: limits.weights.clone(),
            principal: quotas(limits.principal),
            agent: quotas(limits.agent),
            vault: quotas(limits.vault),
            arm: ArmBudget::new(limits.arm),
            reader: ArmBudget::new(limits.arm),
            clock,
        }
    }

    /// Lets a request pass, or says which limit it hit and when to come back.
    pub(crate) fn check(&self, request: &AdmitRequest<'_>) -> Result<(), Limited> {
        let now = self.clock.monotonic();
        let bucket = ArmBucket::of(request.method);
        let restore = request.class == Class::Restore || request.for_restore;
        // Looked at first: what Azure would throttle costs the caller nothing.
        let throttled = self.arm.throttled(request.subscription, bucket, now);
        if let Some(until) = throttled.filter(|_| !restore) {
            let shortage = Shortage {
                until,
                throttled: true,
            };
            return Err(self.short(bucket, request.subscription, shortage, now));
        }
        if !request.unhurried {
            self.check_quotas(request)?;
        }
        let taken = self.arm.take(request.subscription, bucket, restore, now);
        taken.map_err(|shortage| self.short(bucket, request.subscription, shortage, now))
    }

    /// Takes a read of the gateway's own from the budget of the reader identity.
    /// `for_restore` opens the share that is kept for restores.
    pub(crate) fn gateway_read(
        &self,
        subscription: Option<&str>,
        for_restore: bool,
    ) -> Result<(), Limited> {
        let now = self.clock.monotonic();
        let taken = self
            .reader
            .take(subscription, ArmBucket::Reads, for_restore, now);
        taken.map_err(|shortage| self.short(ArmBucket::Reads, subscription, shortage, now))
    }

    /// Azure answered 429: until it may be asked again, only restores are sent.
    pub(crate) fn note_throttled(
        &self,
        subscription: Option<&str>,
        bucket: ArmBucket,
        after: Option<Duration>,
    ) {
        let now = self.clock.monotonic();
        self.arm
            .note_throttled(subscription, bucket, now + pause(after), now);
    }

    /// Azure answered 429 to a read of the gateway's own.
    pub(crate) fn note_reader_throttled(
        &self,
        subscription: Option<&str>,
        after: Option<Duration>,
    ) {
        let now = self.clock.monotonic();
        let until = now + pause(after);
        self.reader
            .note_throttled(subscription, ArmBucket::Reads, until, now);
    }

    /// Azure said how many requests are left (`x-ms-ratelimit-remaining-…`).
    pub(crate) fn note_remaining(
        &self,
        subscription: Option<&str>,
        bucket: ArmBucket,
        remaining: u32,
    ) {
        let now = self.clock.monotonic();
        self.arm
            .note_remaining(subscription, bucket, remaining, now);
    }

    /// Forgets keys that are as good as new. Call it about once a minute.
    pub(crate) fn retain_recent(&self) {
        for quotas in [&self.principal, &self.agent, &self.vault] {
            quotas.retain_recent();
        }
        self.arm.retain_recent(self.clock.monotonic());
        self.reader.retain_recent(self.clock.monotonic());
    }

    /// Keys held by all limiters.
    #[cfg(test)]
    pub(crate) fn keys(&self) -> usize {
        let quotas = [&self.principal, &self.agent, &self.vault];
        quotas.iter().map(|quotas| quotas.len()).sum::<usize>() + self.arm.len() + self.reader.len()
    }

    /// The rates of the caller alone: nothing of what Azure grants.
    pub(crate) fn check_quotas(&self, request: &AdmitRequest<'_>) -> Result<(), Limited> {
        let reads = matches!(request.class, Class::Read | Class::Validate);
        let weight = if reads {
            NonZeroU32::MIN
        } else {
            self.weights.of(request.class.as_str())
        };
        // Who is not known is treated as the least trusted kind.
        let quotas = match request.kind {
            PrincipalKind::Agent | PrincipalKind::Unknown => &self.agent,
            PrincipalKind::Human | PrincipalKind::Workload | PrincipalKind::Flow => &self.principal,
        };
        let names = if reads {
            (LimitName::PrincipalReads, LimitName::VaultReads)
        } else {
            (LimitName::PrincipalChanges, LimitName::VaultChanges)
        };
        // The principal first: whoever invents vault names runs out here, before
        // their inventions can fill the other limiter.
        let checked = quotas.check(&[request.principal_key], reads, weight);
        checked.map_err(|wait| self.over_quota(names.0, "you", request, wait))?;
        let Some(vault) = request.vault else {
            return Ok(());
        };
        // ARM ids are the same in either case; a caller must not win a second bucket
        // by spelling the vault differently.
        let vault = vault.to_ascii_lowercase();
        let checked = self
            .vault
            .check(&[request.principal_key, &vault], reads, weight);
        checked.map_err(|wait| self.over_quota(names.1, "you in this vault", request, wait))
    }

    fn over_quota(
        &self,
        limit: LimitName,
        whose: &str,
        request: &AdmitRequest<'_>,
        wait: Duration,
    ) -> Limited {
        let class = request.class.as_str();
        self.limited(limit, wait, |at| {
            format!("too many requests of class `{class}` by {whose}; the next may be sent at {at}")
        })
    }

    fn short(
        &self,
        bucket: ArmBucket,
        subscription: Option<&str>,
        shortage: Shortage,
        now: Instant,
    ) -> Limited {
        let wait = shortage.until.saturating_duration_since(now);
        let whose = match subscription {
            Some(id) => format!("subscription `{id}`"),
            None => "the tenant".to_owned(),
        };
        if shortage.throttled {
            return self.limited(LimitName::ArmThrottled, wait, |at| {
                format!(
                    "Azure throttles {} of {whose} until {at}; until then only restores are sent",
                    bucket.name()
                )
            });
        }
        self.limited(bucket.limit(), wait, |at| {
            format!(
                "the rate of {} that Azure allows in {whose} is used up, what is left is kept \
                 for restores; the next may be sent at {at}",
                bucket.name()
            )
        })
    }

    fn limited(
        &self,
        limit: LimitName,
        wait: Duration,
        detail: impl FnOnce(Timestamp) -> String,
    ) -> Limited {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        let retry_after = Duration::from_secs(seconds.max(1));
        let now = self.clock.now();
        let retry_at = now.checked_add(retry_after).unwrap_or(now);
        Limited {
            limit,
            retry_after,
            retry_at,
            detail: detail(retry_at),
        }
    }
}

#[cfg(test)]
mod tests;
