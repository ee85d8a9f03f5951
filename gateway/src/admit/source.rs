//! Where a connection comes from, as coarse as records and caps need it.
//!
//! One network is one source: a single host in IPv6 has more addresses than any
//! map could hold.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A network: /24 in IPv4, /56 in IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SourcePrefix(IpAddr);

impl SourcePrefix {
    /// The network of an address.
    pub(crate) fn of(address: IpAddr) -> SourcePrefix {
        SourcePrefix(masked(address, 24, 56))
    }
}

impl fmt::Display for SourcePrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(network) => write!(f, "{network}/24"),
            IpAddr::V6(network) => write!(f, "{network}/56"),
        }
    }
}

/// The address whose connections are counted: IPv4 whole, IPv6 by its /64, which is
/// what one host is given.
pub(super) fn host(address: IpAddr) -> IpAddr {
    masked(address, 32, 64)
}

fn masked(address: IpAddr, bits4: u32, bits6: u32) -> IpAddr {
    // An IPv4 address that came in over an IPv6 socket is still that address.
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - bits4).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & mask))
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - bits6).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::{SourcePrefix, host};

    #[test]
    fn addresses_are_grouped_by_network() {
        for (address, network) in [
            ("192.0.2.77", "192.0.2.0/24"),
            ("::ffff:192.0.2.77", "192.0.2.0/24"),
            ("2001:db8:1:2ff::9", "2001:db8:1:200::/56"),
            ("::1", "::/56"),
        ] {
            let prefix = SourcePrefix::of(address.parse().unwrap());
            assert_eq!(prefix.to_string(), network);
        }
    }

    #[test]
    fn connections_are_counted_by_host() {
        let of = |text: &str| host(text.parse().unwrap()).to_string();
        assert_eq!(of("192.0.2.77"), "192.0.2.77");
        assert_eq!(of("::ffff:192.0.2.77"), "192.0.2.77");
        assert_eq!(of("2001:db8:1:2ff::9"), of("2001:db8:1:2ff:ffff::1"));
        assert_ne!(of("2001:db8:1:2ff::9"), of("2001:db8:1:2fe::9"));
    }
}
