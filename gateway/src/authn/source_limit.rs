//! How many tokens one address may have verified.
//!
//! A signature check is the most that a stranger can make the gateway do. Tokens
//! that were verified before do not count: whoever holds a good token is not locked
//! out by a neighbour who holds none.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::time::Instant;

use governor::clock::Clock as GovernorClock;
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};

use super::refused::Failure;
use crate::clock::Clock;

/// Verifications that are replenished each second.
const PER_SECOND: u32 = 100;
/// Verifications that may come at once.
const BURST: u32 = 1_000;
/// Addresses told apart.
const MAX_SOURCES: usize = 20_000;
/// What addresses share when there are too many of them.
const SHARED: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

type Limiter = RateLimiter<IpAddr, DashMapStateStore<IpAddr>, Monotonic, NoOpMiddleware<Instant>>;

/// Verifications by address.
pub(super) struct SourceLimit(Limiter);

impl SourceLimit {
    pub(super) fn new(clock: Clock) -> SourceLimit {
        let quota = Quota::per_second(positive(PER_SECOND)).allow_burst(positive(BURST));
        SourceLimit(RateLimiter::new(
            quota,
            DashMapStateStore::default(),
            Monotonic(clock),
        ))
    }

    /// Takes one verification.
    pub(super) fn check(&self, source: IpAddr) -> Result<(), Failure> {
        if self.0.len() >= MAX_SOURCES {
            self.0.retain_recent();
        }
        let key = match self.0.len() {
            len if len >= MAX_SOURCES => SHARED,
            _ => host(source),
        };
        self.0
            .check_key(&key)
            .map_err(|_| Failure::VerificationLimit)
    }
}

fn positive(count: u32) -> NonZeroU32 {
    NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN)
}

/// IPv4 whole, IPv6 by its /64, which is what one host is given.
fn host(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)))
        }
    }
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
