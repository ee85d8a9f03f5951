//! Azure Resource Manager's own limits, mirrored so that they are not hit.
//!
//! Azure keeps a token bucket per subscription, principal and kind of operation;
//! the gateway is one principal, so all its callers share three buckets. Each
//! bucket keeps a share that only restores may use. The mirror is never fuller than
//! Azure says: what Azure reports lowers it and never raises it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::LimitName;
use crate::config::limits::{ArmLimits, Bucket};

/// Longest time that one answer of Azure may close a bucket: a wrong
/// `Retry-After` must not close the gateway for a day.
const LONGEST_THROTTLE: Duration = Duration::from_secs(3_600);

/// Where subscriptions count that do not fit into the map. No subscription id has
/// this form.
const OVERFLOW: &str = "*";

/// Azure's kinds of operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ArmBucket {
    /// GET and HEAD.
    Reads,
    /// PUT, PATCH and POST.
    Writes,
    /// DELETE.
    Deletes,
}

impl ArmBucket {
    /// The bucket that a request of this method takes from.
    pub(crate) fn of(method: &str) -> ArmBucket {
        match method {
            "GET" | "HEAD" => ArmBucket::Reads,
            "DELETE" => ArmBucket::Deletes,
            _ => ArmBucket::Writes,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            ArmBucket::Reads => "reads",
            ArmBucket::Writes => "writes",
            ArmBucket::Deletes => "deletes",
        }
    }

    pub(super) fn limit(self) -> LimitName {
        match self {
            ArmBucket::Reads => LimitName::ArmReads,
            ArmBucket::Writes => LimitName::ArmWrites,
            ArmBucket::Deletes => LimitName::ArmDeletes,
        }
    }
}

/// Why a request cannot be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shortage {
    pub(super) until: Instant,
    pub(super) throttled: bool,
}

/// The mirror of all buckets.
pub(super) struct ArmBudget {
    limits: ArmLimits,
    levels: Mutex<HashMap<(String, ArmBucket), Level>>,
}

/// One bucket. Tokens are counted in billionths, so that a refill of any length of
/// time is exact.
#[derive(Clone, Copy)]
struct Level {
    nanotokens: u64,
    filled: Instant,
    throttled_until: Option<Instant>,
}

const TOKEN: u64 = 1_000_000_000;

impl ArmBudget {
    pub(super) fn new(limits: ArmLimits) -> ArmBudget {
        ArmBudget {
            limits,
            levels: Mutex::default(),
        }
    }

    /// Until when Azure has closed this bucket.
    pub(super) fn throttled(
        &self,
        subscription: Option<&str>,
        bucket: ArmBucket,
        now: Instant,
    ) -> Option<Instant> {
        let mut levels = self.lock();
        let level = self.level(&mut levels, subscription, bucket, now);
        level.throttled_until.filter(|until| *until > now)
    }

    /// Takes one token. Restores may take the last ones, and pass while Azure
    /// throttles: if anything gets through, it shall be them.
    pub(super) fn take(
        &self,
        subscription: Option<&str>,
        bucket: ArmBucket,
        restore: bool,
        now: Instant,
    ) -> Result<(), Shortage> {
        let spec = self.spec(bucket);
        let reserve = match restore {
            true => 0,
            false => u64::from(spec.size) * u64::from(self.limits.restore_share_percent) / 100,
        };
        let mut levels = self.lock();
        let level = self.level(&mut levels, subscription, bucket, now);
        if let Some(until) = level
            .throttled_until
            .filter(|until| *until > now && !restore)
        {
            return Err(Shortage {
                until,
                throttled: true,
            });
        }
        let needed = (reserve + 1) * TOKEN;
        if level.nanotokens < needed {
            let missing = needed - level.nanotokens;
            let wait = Duration::from_nanos(missing.div_ceil(u64::from(spec.per_second.max(1))));
            return Err(Shortage {
                until: now + wait,
                throttled: false,
            });
        }
        level.nanotokens -= TOKEN;
        Ok(())
    }

    pub(super) fn note_throttled(
        &self,
        subscription: Option<&str>,
        bucket: ArmBucket,
        until: Instant,
        now: Instant,
    ) {
        let until = until.min(now + LONGEST_THROTTLE);
        let mut levels = self.lock();
        let level = self.level(&mut levels, subscription, bucket, now);
        level.throttled_until = level.throttled_until.max(Some(until));
    }

    pub(super) fn note_remaining(
        &self,
        subscription: Option<&str>,
        bucket: ArmBucket,
        remaining: u32,
        now: Instant,
    ) {
        let mut levels = self.lock();
        let level = self.level(&mut levels, subscription, bucket, now);
        level.nanotokens = level.nanotokens.min(u64::from(remaining) * TOKEN);
    }

    /// Forgets buckets that are full and open: they are as good as new.
    pub(super) fn retain_recent(&self, now: Instant) {
        self.drop_idle(&mut self.lock(), now);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    fn drop_idle(&self, levels: &mut HashMap<(String, ArmBucket), Level>, now: Instant) {
        levels.retain(|(_, bucket), level| {
            let spec = self.spec(*bucket);
            level.fill(spec, now);
            level.nanotokens < u64::from(spec.size) * TOKEN
                || level.throttled_until.is_some_and(|until| until > now)
        });
    }

    /// The bucket, filled up to now.
    fn level<'m>(
        &self,
        levels: &'m mut HashMap<(String, ArmBucket), Level>,
        subscription: Option<&str>,
        bucket: ArmBucket,
        now: Instant,
    ) -> &'m mut Level {
        let spec = self.spec(bucket);
        let mut key = (
            subscription.unwrap_or_default().to_ascii_lowercase(),
            bucket,
        );
        let bound = self.limits.max_subscriptions.saturating_mul(3);
        if levels.len() >= bound && !levels.contains_key(&key) {
            key.0 = OVERFLOW.to_owned();
        }
        let level = levels.entry(key).or_insert(Level {
            nanotokens: u64::from(spec.size) * TOKEN,
            filled: now,
            throttled_until: None,
        });
        level.fill(spec, now);
        level
    }

    fn spec(&self, bucket: ArmBucket) -> Bucket {
        match bucket {
            ArmBucket::Reads => self.limits.reads,
            ArmBucket::Writes => self.limits.writes,
            ArmBucket::Deletes => self.limits.deletes,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(String, ArmBucket), Level>> {
        self.levels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Level {
    fn fill(&mut self, spec: Bucket, now: Instant) {
        let passed = now.saturating_duration_since(self.filled).as_nanos();
        let gained = passed.saturating_mul(u128::from(spec.per_second));
        let full = u64::from(spec.size) * TOKEN;
        let gained = u64::try_from(gained).unwrap_or(full);
        self.nanotokens = self.nanotokens.saturating_add(gained).min(full);
        self.filled = self.filled.max(now);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::{ArmBucket, ArmBudget, Duration, Instant};
    use crate::clock::Clock;
    use crate::config::limits::{ArmLimits, Limits};

    fn budget() -> (ArmBudget, Instant) {
        let now = Clock::system().monotonic();
        (ArmBudget::new(Limits::defaults().arm), now)
    }

    fn passed(budget: &ArmBudget, restore: bool, now: Instant) -> u32 {
        let take = || budget.take(Some("s"), ArmBucket::Deletes, restore, now);
        std::iter::repeat_with(take)
            .take(1_000)
            .filter(Result::is_ok)
            .count()
            .try_into()
            .unwrap()
    }

    #[test]
    fn a_fifth_of_each_bucket_is_left_to_restores() {
        let (budget, now) = budget();
        assert_eq!(passed(&budget, false, now), 160);
        assert_eq!(passed(&budget, true, now), 40);
        assert_eq!(passed(&budget, true, now), 0);
        // The other buckets and subscriptions are untouched.
        budget
            .take(Some("s"), ArmBucket::Reads, false, now)
            .unwrap();
        budget
            .take(Some("t"), ArmBucket::Deletes, false, now)
            .unwrap();
        budget.take(None, ArmBucket::Deletes, false, now).unwrap();
    }

    #[test]
    fn the_wait_that_is_named_is_the_wait_that_is_needed() {
        let (budget, now) = budget();
        passed(&budget, true, now);
        let short = budget
            .take(Some("s"), ArmBucket::Deletes, true, now)
            .unwrap_err();
        assert_eq!(short.until - now, Duration::from_millis(100));
        let early = short.until - Duration::from_nanos(1);
        assert!(
            budget
                .take(Some("s"), ArmBucket::Deletes, true, early)
                .is_err()
        );
        budget
            .take(Some("s"), ArmBucket::Deletes, true, short.until)
            .unwrap();
        // Others wait until the reserve is full again.
        let late = budget
            .take(Some("s"), ArmBucket::Deletes, false, short.until)
            .unwrap_err();
        assert_eq!(late.until - short.until, Duration::from_millis(4_100));
    }

    #[test]
    fn azure_can_lower_the_mirror_and_never_raise_it() {
        let (budget, now) = budget();
        budget.note_remaining(Some("S"), ArmBucket::Deletes, 45, now);
        assert_eq!(passed(&budget, false, now), 5);
        budget.note_remaining(Some("s"), ArmBucket::Deletes, 11_999, now);
        assert_eq!(passed(&budget, false, now), 0);
        assert_eq!(passed(&budget, true, now), 40);
    }

    #[test]
    fn while_azure_throttles_only_restores_pass() {
        let (budget, now) = budget();
        let until = now + Duration::from_secs(17);
        budget.note_throttled(Some("s"), ArmBucket::Deletes, until, now);
        let refused = budget
            .take(Some("s"), ArmBucket::Deletes, false, now)
            .unwrap_err();
        assert!(refused.throttled && refused.until == until);
        budget
            .take(Some("s"), ArmBucket::Deletes, true, now)
            .unwrap();
        // A later, shorter hint does not open it early.
        budget.note_throttled(Some("s"), ArmBucket::Deletes, now, now);
        assert!(
            budget
                .take(Some("s"), ArmBucket::Deletes, false, now)
                .is_err()
        );
        budget
            .take(Some("s"), ArmBucket::Deletes, false, until)
            .unwrap();
    }

    #[test]
    fn a_wrong_retry_after_does_not_close_the_gateway_for_a_day() {
        let (budget, now) = budget();
        let day = now + Duration::from_secs(86_400);
        budget.note_throttled(Some("s"), ArmBucket::Reads, day, now);
        let until = budget.throttled(Some("s"), ArmBucket::Reads, now).unwrap();
        assert_eq!(until - now, super::LONGEST_THROTTLE);
    }

    #[test]
    fn invented_subscriptions_share_one_budget() {
        let now = Clock::system().monotonic();
        let limits = ArmLimits {
            max_subscriptions: 10,
            ..Limits::defaults().arm
        };
        let budget = ArmBudget::new(limits);
        budget
            .take(Some("real"), ArmBucket::Reads, false, now)
            .unwrap();
        let mut passed = 0;
        for n in 0..100_000 {
            let id = format!("invented-{n}");
            let taken = budget.take(Some(&id), ArmBucket::Reads, false, now);
            passed += u32::from(taken.is_ok());
        }
        assert!(budget.len() <= 33, "{}", budget.len());
        assert_eq!(passed, 29 + 200);
        budget
            .take(Some("real"), ArmBucket::Reads, false, now)
            .unwrap();
        budget.retain_recent(now + Duration::from_secs(3_600));
        assert_eq!(budget.len(), 0);
    }
}
