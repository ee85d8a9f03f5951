//! How many connections may be open, from one host and in all.
//!
//! Asked before the first byte is read, so that nobody fills the gateway with
//! connections that never authenticate.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::source;
use crate::config::limits::{ConnectionLimits, Limits};

/// The open connections; cheap to clone.
#[derive(Clone)]
pub(crate) struct ConnectionCaps(Arc<Inner>);

struct Inner {
    limits: ConnectionLimits,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    total: usize,
    by_host: HashMap<IpAddr, usize>,
}

impl ConnectionCaps {
    /// None open yet.
    pub(crate) fn new(limits: &Limits) -> ConnectionCaps {
        ConnectionCaps(Arc::new(Inner {
            limits: limits.connections,
            open: Mutex::default(),
        }))
    }

    /// A place for one more connection, kept until the guard is dropped.
    pub(crate) fn try_acquire(&self, address: IpAddr) -> Option<Guard> {
        let host = source::host(address);
        let mut open = self.0.lock();
        let from_host = open.by_host.get(&host).copied().unwrap_or(0);
        if open.total >= self.0.limits.total || from_host >= self.0.limits.per_address {
            return None;
        }
        open.total += 1;
        open.by_host.insert(host, from_host + 1);
        drop(open);
        Some(Guard {
            caps: self.clone(),
            host,
        })
    }

    /// Connections open now.
    #[cfg(test)]
    pub(crate) fn open(&self) -> usize {
        self.0.lock().total
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of one connection.
pub(crate) struct Guard {
    caps: ConnectionCaps,
    host: IpAddr,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut open = self.caps.0.lock();
        open.total = open.total.saturating_sub(1);
        // Hosts without a connection are forgotten: the map is as small as `total`.
        if let Some(count) = open.by_host.get_mut(&self.host) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.by_host.remove(&self.host);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use std::net::IpAddr;

    use super::{ConnectionCaps, ConnectionLimits, Limits};

    fn caps(per_address: usize, total: usize) -> ConnectionCaps {
        ConnectionCaps::new(&Limits {
            connections: ConnectionLimits { per_address, total },
            ..Limits::defaults()
        })
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_host_and_the_whole_have_their_caps() {
        let caps = caps(2, 3);
        let first = caps.try_acquire(ip("192.0.2.1")).unwrap();
        let _second = caps.try_acquire(ip("::ffff:192.0.2.1")).unwrap();
        assert!(caps.try_acquire(ip("192.0.2.1")).is_none());
        let _third = caps.try_acquire(ip("2001:db8::1")).unwrap();
        assert!(caps.try_acquire(ip("192.0.2.2")).is_none());
        drop(first);
        assert!(caps.try_acquire(ip("192.0.2.1")).is_some());
        assert_eq!(caps.open(), 2);
        assert_eq!(caps.0.lock().by_host.len(), 2);
    }

    #[test]
    fn one_network_with_many_addresses_is_one_host() {
        let caps = caps(10, 1_000);
        let guards: Vec<_> = (0..100)
            .filter_map(|n| caps.try_acquire(ip(&format!("2001:db8::{n:x}"))))
            .collect();
        assert_eq!(guards.len(), 10);
        drop(guards);
        assert_eq!(caps.open(), 0);
        assert!(caps.0.lock().by_host.is_empty());
    }
}
