//! Groups addresses, where something has to be divided fairly between them. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An IPv4 address, or the /64 of an IPv6 address, because a host can have every address of its /64.
///
/// It takes 8 bytes, because a connection may keep it: the first half of an IPv6 address, or an IPv4
/// address behind the bits of `0:ffff::/32`, which no host has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Peer(u64);

impl Peer {
    /// The peer to which an address belongs. All connections without a known address are one peer.
    pub fn of(address: Option<IpAddr>) -> Self {
        let address = address.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
        match address.to_canonical() {
            IpAddr::V4(address) => Self(0xffff << 32 | u64::from(address.to_bits())),
            IpAddr::V6(address) => Self((address.to_bits() >> 64) as u64),
        }
    }

    /// The address; of IPv6 the first half, and zeros. `None` if it is not known.
    pub fn address(self) -> Option<IpAddr> {
        match self.0 >> 32 {
            0xffff => {
                let address = Ipv4Addr::from_bits(self.0 as u32);
                (!address.is_unspecified()).then(|| address.into())
            }
            _ => Some(Ipv6Addr::from_bits(u128::from(self.0) << 64).into()),
        }
    }
}

impl From<IpAddr> for Peer {
    fn from(address: IpAddr) -> Self {
        Self::of(Some(address))
    }
}

/// Whether an address is only valid within one site: RFC 1918, `fc00::/7`, or link-local.
pub(crate) fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => address.is_private() || address.is_link_local(),
        IpAddr::V6(address) => address.is_unique_local() || address.is_unicast_link_local(),
    }
}

/// Whether an address is one of this host only, possibly mapped into IPv6.
pub(crate) fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_64_of_ipv6_is_one_peer_and_a_mapped_ipv4_is_ipv4() {
        let of = |text: &str| Peer::from(address(text));
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.2"), of("192.0.2.1"));
        assert_ne!(of("::1"), of("127.0.0.1"));
        assert_ne!(of("::c000:201"), of("192.0.2.1"));
        assert_eq!(Peer::of(None), of("0.0.0.0"));
    }

    #[test]
    fn addresses_of_a_site_are_private() {
        for private in
            ["10.0.0.1", "172.31.0.1", "192.168.1.1", "169.254.0.1", "fd00::1", "fe80::1"]
        {
            assert!(is_private(address(private)), "{private}");
        }
        assert!(is_private(address("::ffff:10.0.0.1")));
        for public in ["192.0.2.1", "172.32.0.1", "2001:db8::1", "127.0.0.1", "100.64.0.1"] {
            assert!(!is_private(address(public)), "{public}");
        }
        assert!(is_loopback(address("::ffff:127.0.0.9")) && is_loopback(address("::1")));
        assert!(!is_loopback(address("10.0.0.1")));
    }
}
