//! The address of a client, in few bytes. Pure.

use std::net::{Ipv6Addr, SocketAddr};

/// The address and port of a client; the default is an unknown one. A `SocketAddr` would take 32 bytes of
/// each connection, and this takes 18.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClientAddress {
    /// An address of IPv4 is mapped into IPv6. All zeros stand for an unknown one.
    ip: [u8; 16],
    port: u16,
}

impl From<SocketAddr> for ClientAddress {
    fn from(client: SocketAddr) -> Self {
        let ip = match client {
            SocketAddr::V4(client) => client.ip().to_ipv6_mapped(),
            SocketAddr::V6(client) => *client.ip(),
        };
        Self { ip: ip.octets(), port: client.port() }
    }
}

impl ClientAddress {
    /// The address; `None` if it is unknown.
    pub fn get(&self) -> Option<SocketAddr> {
        let ip = Ipv6Addr::from(self.ip);
        (!ip.is_unspecified()).then(|| (ip.to_canonical(), self.port).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_comes_out_as_it_went_in() {
        for text in ["192.0.2.1:7", "127.0.0.1:65535", "[2001:db8::1]:1", "[::1]:0"] {
            let address: SocketAddr = text.parse().expect("an address");
            assert_eq!(ClientAddress::from(address).get(), Some(address));
        }
        let mapped: SocketAddr = "[::ffff:192.0.2.1]:7".parse().expect("an address");
        let shown = ClientAddress::from(mapped).get().map(|client| client.to_string());
        assert_eq!(shown.as_deref(), Some("192.0.2.1:7"));
        assert_eq!(ClientAddress::default().get(), None);
    }
}
