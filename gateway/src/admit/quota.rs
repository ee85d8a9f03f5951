//! Token buckets per key, with a bound on the number of keys.
//!
//! Wraps `governor`. Keys are hashed to a fixed size; when the map is full and no
//! key can be dropped, newcomers share one bucket: they are slowed down, those who
//! are known are not, and memory stays where it is.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use governor::clock::Clock as GovernorClock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::state::keyed::ShrinkableKeyedStateStore;
use governor::{Quota, RateLimiter};

use crate::clock::Clock;
use crate::config::limits::{Rate, Rates};

/// Half of a SHA-256: nobody finds two keys that share a bucket.
type Key = [u8; 16];

/// The bucket that newcomers share when the map is full. No hash is known that
/// ends up here.
const OVERFLOW: Key = [0; 16];

type Limiter = RateLimiter<Key, BoundedStates, Monotonic, NoOpMiddleware<Instant>>;

/// Read and change quotas of one kind of key.
pub(super) struct Quotas {
    reads: Limiter,
    changes: Limiter,
    clock: Monotonic,
}

impl Quotas {
    pub(super) fn new(rates: Rates, max_keys: usize, clock: Clock) -> Quotas {
        let clock = Monotonic(clock);
        let limiter = |rate: Rate| {
            let states = BoundedStates::new(max_keys);
            RateLimiter::new(quota(rate), states, clock.clone())
        };
        Quotas {
            reads: limiter(rates.reads),
            changes: limiter(rates.changes),
            clock,
        }
    }

    /// Takes `weight` tokens, or says how long until there are so many.
    pub(super) fn check(
        &self,
        key: &[&str],
        reads: bool,
        weight: NonZeroU32,
    ) -> Result<(), Duration> {
        let limiter = if reads { &self.reads } else { &self.changes };
        match limiter.check_key_n(&hash(key), weight) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(until)) => Err(until.wait_time_from(self.clock.now())),
            // Config refuses a weight above the burst; should one come, it never passes.
            Err(_) => Err(Duration::from_secs(3_600)),
        }
    }

    pub(super) fn retain_recent(&self) {
        self.reads.retain_recent();
        self.changes.retain_recent();
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.reads.len() + self.changes.len()
    }
}

fn quota(rate: Rate) -> Quota {
    Quota::per_minute(rate.per_minute).allow_burst(rate.burst)
}

/// Hashes the parts with their lengths, so that two lists of parts never run together.
fn hash(parts: &[&str]) -> Key {
    let mut bytes = Vec::with_capacity(256);
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    let mut key = Key::default();
    for (to, from) in key.iter_mut().zip(crate::digest::sha256_raw(&bytes)) {
        *to = from;
    }
    key
}

/// The gateway's own clock, in the form that `governor` asks for.
#[derive(Clone)]
struct Monotonic(Clock);

impl GovernorClock for Monotonic {
    type Instant = Instant;

    fn now(&self) -> Instant {
        self.0.monotonic()
    }
}

/// Bucket states by key, at most so many.
struct BoundedStates {
    states: Mutex<HashMap<Key, Nanos>>,
    max_keys: usize,
}

impl BoundedStates {
    fn new(max_keys: usize) -> BoundedStates {
        BoundedStates {
            states: Mutex::default(),
            max_keys,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Nanos>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StateStore for BoundedStates {
    type Key = Key;

    fn measure_and_replace<T, F, E>(&self, key: &Key, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut states = self.lock();
        let key = if states.contains_key(key) || states.len() < self.max_keys {
            *key
        } else {
            OVERFLOW
        };
        let (answer, state) = decide(states.get(&key).copied())?;
        states.insert(key, state);
        Ok(answer)
    }
}

impl ShrinkableKeyedStateStore<Key> for BoundedStates {
    fn retain_recent(&self, drop_below: Nanos) {
        self.lock().retain(|_, state| *state > drop_below);
    }

    fn len(&self) -> usize {
        self.lock().len()
    }

    fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::{Clock, Duration, NonZeroU32, Quotas, Rate, Rates};

    fn quotas(max_keys: usize, clock: &Clock) -> Quotas {
        let rate = Rate {
            per_minute: NonZeroU32::new(60).unwrap(),
            burst: NonZeroU32::new(3).unwrap(),
        };
        let rates = Rates {
            reads: rate,
            changes: rate,
        };
        Quotas::new(rates, max_keys, clock.clone())
    }

    fn clock() -> Clock {
        Clock::manual("2026-11-23T03:00:00Z".parse().unwrap())
    }

    const ONE: NonZeroU32 = NonZeroU32::MIN;

    #[test]
    fn a_key_gets_its_burst_then_its_rate() {
        let clock = clock();
        let quotas = quotas(100, &clock);
        for _ in 0..3 {
            quotas.check(&["alice"], true, ONE).unwrap();
        }
        let wait = quotas.check(&["alice"], true, ONE).unwrap_err();
        assert_eq!(wait, Duration::from_secs(1));
        // Reads and changes, and other keys, have buckets of their own.
        quotas
            .check(&["alice"], false, NonZeroU32::new(3).unwrap())
            .unwrap();
        quotas.check(&["bob"], true, ONE).unwrap();
        clock.advance(wait);
        quotas.check(&["alice"], true, ONE).unwrap();
        assert!(quotas.check(&["alice"], true, ONE).is_err());
    }

    #[test]
    fn a_weight_takes_so_many_tokens() {
        let clock = clock();
        let quotas = quotas(100, &clock);
        quotas
            .check(&["alice"], false, NonZeroU32::new(2).unwrap())
            .unwrap();
        let wait = quotas.check(&["alice"], false, NonZeroU32::new(2).unwrap());
        assert_eq!(wait.unwrap_err(), Duration::from_secs(1));
        let never = quotas.check(&["alice"], false, NonZeroU32::new(4).unwrap());
        assert!(never.is_err());
    }

    #[test]
    fn newcomers_of_a_full_map_share_a_bucket_and_the_known_do_not_suffer() {
        let clock = clock();
        let quotas = quotas(100, &clock);
        quotas.check(&["alice"], true, ONE).unwrap();
        let mut passed = 0;
        for n in 0..100_000 {
            let key = format!("stranger-{n}");
            passed += u32::from(quotas.check(&[&key], true, ONE).is_ok());
        }
        assert_eq!(passed, 99 + 3);
        assert_eq!(quotas.len(), 101);
        quotas.check(&["alice"], true, ONE).unwrap();
        clock.advance(Duration::from_secs(60));
        quotas.retain_recent();
        assert_eq!(quotas.len(), 0);
    }
}
