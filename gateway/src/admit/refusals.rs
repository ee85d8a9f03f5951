//! Floods of refusals: the first ones are recorded whole, the rest is counted.
//!
//! Keeps a flood from filling the log, without letting it hide: each source, reason
//! and minute has its full records first, and then a count that is recorded too.
//! When too many sources are told apart at once, the rest is counted together.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::source::SourcePrefix;
use crate::config::limits::{Limits, RefusalLimits};

/// Whom refusals are counted for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum RefusalSource {
    /// A network, before authentication.
    Network(SourcePrefix),
    /// A principal (`Principal::key`), after it.
    Principal(String),
    /// All that were not told apart.
    Others,
}

impl fmt::Display for RefusalSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RefusalSource::Network(prefix) => prefix.fmt(f),
            RefusalSource::Principal(key) => f.write_str(&key.replace('\0', " ")),
            RefusalSource::Others => f.write_str("others"),
        }
    }
}

impl Serialize for RefusalSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl From<IpAddr> for RefusalSource {
    fn from(address: IpAddr) -> Self {
        RefusalSource::Network(SourcePrefix::of(address))
    }
}

/// How a refusal is to be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disposition {
    /// By a record of its own.
    Full,
    /// By the count that [`RefusalLedger::drain`] gives once the minute is over.
    Counted,
}

/// Refusals of one source, reason and minute that have no record of their own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct AggregatedCount {
    /// Start of the minute.
    pub(crate) minute: Timestamp,
    /// Whom they came from.
    pub(crate) source: RefusalSource,
    /// Reason code.
    pub(crate) reason: &'static str,
    /// How many, without those recorded whole.
    pub(crate) count: u64,
}

/// The refusals of the last minutes.
pub(crate) struct RefusalLedger {
    limits: RefusalLimits,
    seen: Mutex<HashMap<Key, u64>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    minute: i64,
    source: RefusalSource,
    reason: &'static str,
}

impl RefusalLedger {
    /// Nothing refused yet.
    pub(crate) fn new(limits: &Limits) -> RefusalLedger {
        RefusalLedger {
            limits: limits.refusals,
            seen: Mutex::default(),
        }
    }

    /// Notes one refusal and says how to record it.
    pub(crate) fn note(
        &self,
        source: impl Into<RefusalSource>,
        reason: &'static str,
        now: Timestamp,
    ) -> Disposition {
        let mut key = Key {
            minute: now.as_second().div_euclid(60),
            source: source.into(),
            reason,
        };
        let mut seen = self.lock();
        if seen.len() >= self.limits.max_keys && !seen.contains_key(&key) {
            key.source = RefusalSource::Others;
        }
        let count = seen.entry(key).or_insert(0);
        *count = count.saturating_add(1);
        if *count <= u64::from(self.limits.full_records) {
            Disposition::Full
        } else {
            Disposition::Counted
        }
    }

    /// The counts of all minutes before this one, each given once.
    pub(crate) fn drain(&self, now: Timestamp) -> Vec<AggregatedCount> {
        let current = now.as_second().div_euclid(60);
        // A minute that lies ahead was noted before the clock stepped back: it
        // would otherwise be kept until the clock comes there again.
        self.take(|minute| minute != current)
    }

    /// All counts, the running minute included: for shutdown.
    pub(crate) fn drain_all(&self) -> Vec<AggregatedCount> {
        self.take(|_| true)
    }

    fn take(&self, due: impl Fn(i64) -> bool) -> Vec<AggregatedCount> {
        let full = u64::from(self.limits.full_records);
        let mut counts: Vec<AggregatedCount> = self
            .lock()
            .extract_if(|key, _| due(key.minute))
            .filter_map(|(key, count)| {
                Some(AggregatedCount {
                    minute: Timestamp::from_second(key.minute.saturating_mul(60)).ok()?,
                    source: key.source,
                    reason: key.reason,
                    count: count.checked_sub(full).filter(|count| *count > 0)?,
                })
            })
            .collect();
        counts.sort();
        counts
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, u64>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use std::net::{IpAddr, Ipv4Addr};
    use std::time::Duration;

    use jiff::Timestamp;

    use super::{Disposition, RefusalLedger, RefusalSource};
    use crate::config::limits::Limits;

    const MINUTE: Duration = Duration::from_secs(60);

    fn now() -> Timestamp {
        "2026-11-23T03:00:30Z".parse().unwrap()
    }

    fn ledger() -> RefusalLedger {
        RefusalLedger::new(&Limits::defaults())
    }

    fn full(ledger: &RefusalLedger, source: &str, reason: &'static str, times: u32) -> usize {
        let source: IpAddr = source.parse().unwrap();
        let note = || ledger.note(source, reason, now());
        std::iter::repeat_with(note)
            .take(times as usize)
            .filter(|disposition| *disposition == Disposition::Full)
            .count()
    }

    #[test]
    fn twenty_per_source_reason_and_minute_are_full() {
        let ledger = ledger();
        assert_eq!(full(&ledger, "192.0.2.1", "token-missing", 15), 15);
        assert_eq!(full(&ledger, "192.0.2.200", "token-missing", 15), 5);
        assert_eq!(full(&ledger, "192.0.2.1", "token-malformed", 25), 20);
        assert_eq!(full(&ledger, "192.0.3.1", "token-missing", 3), 3);
        assert_eq!(ledger.drain(now()), []);
        let later = now() + MINUTE;
        let counts: Vec<_> = ledger
            .drain(later)
            .into_iter()
            .map(|count| (count.minute.to_string(), count.reason, count.count))
            .collect();
        let minute = || "2026-11-23T03:00:00Z".to_owned();
        let want = [
            (minute(), "token-malformed", 5),
            (minute(), "token-missing", 10),
        ];
        assert_eq!(counts, want);
        assert_eq!(ledger.drain(later), []);
        assert_eq!(
            ledger.note(RefusalSource::Principal("p".into()), "x", later),
            Disposition::Full
        );
    }

    #[test]
    fn a_flood_from_everywhere_is_bounded_and_still_counted() {
        let mut limits = Limits::defaults();
        limits.refusals.max_keys = 100;
        let ledger = RefusalLedger::new(&limits);
        let mut whole = 0_u64;
        for n in 0..100_000_u32 {
            let source = IpAddr::V4(Ipv4Addr::from_bits(n << 8));
            let disposition = ledger.note(source, "token-missing", now());
            whole += u64::from(disposition == Disposition::Full);
        }
        assert!(ledger.lock().len() <= 101);
        assert_eq!(whole, 100 + 20);
        let counted: u64 = ledger
            .drain(now() + MINUTE)
            .iter()
            .map(|count| count.count)
            .sum();
        assert_eq!(whole + counted, 100_000);
    }

    #[test]
    fn a_clock_that_steps_back_loses_no_count() {
        let ledger = ledger();
        full(&ledger, "192.0.2.1", "token-missing", 21);
        assert_eq!(ledger.drain(now() - MINUTE).len(), 1);
        full(&ledger, "192.0.2.1", "token-missing", 22);
        let last = ledger.drain_all();
        assert_eq!(last.first().unwrap().count, 2);
    }
}
