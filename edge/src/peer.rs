//! Groups addresses, where something has to be divided fairly between them. Pure.

use std::net::{IpAddr, Ipv4Addr};

/// An IPv4 address, or the /64 of an IPv6 address, because a host can have every address of its /64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Peer {
    /// One address, possibly mapped into IPv6.
    V4(Ipv4Addr),
    /// The first 64 bits of an address.
    V6([u16; 4]),
}

impl Peer {
    /// The peer to which an address belongs. All connections without a known address are one peer.
    pub fn of(address: Option<IpAddr>) -> Self {
        match address.map(|address| address.to_canonical()) {
            None => Self::V4(Ipv4Addr::UNSPECIFIED),
            Some(IpAddr::V4(address)) => Self::V4(address),
            Some(IpAddr::V6(address)) => {
                let [a, b, c, d, ..] = address.segments();
                Self::V6([a, b, c, d])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_64_of_ipv6_is_one_peer_and_a_mapped_ipv4_is_ipv4() {
        let of = |text: &str| Peer::of(Some(text.parse().expect("an address")));
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.2"), of("192.0.2.1"));
    }
}
