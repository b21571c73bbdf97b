//! A list of networks, as an operator writes it. Pure.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

/// The networks of peers that are trusted, such as those of proxies. An IPv4 address that is mapped into
/// IPv6 counts as IPv4.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

/// What is no list of networks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworksError {
    /// Neither an address nor a network.
    #[error(
        "{given:?} is not a network; accepted are addresses and networks, separated by commas, such \
         as 10.0.0.0/8,192.0.2.7,fd00::/8"
    )]
    Malformed {
        /// The part of the list.
        given: String,
    },
    /// An address with bits behind the prefix, which may be a mistake in either of them.
    #[error("{given:?} has bits behind its prefix; the network is {network}")]
    BitsBehindPrefix {
        /// The part of the list.
        given: String,
        /// The network that has this address and prefix.
        network: IpNet,
    },
}

impl Networks {
    /// Whether one of the networks has the address.
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromStr for Networks {
    type Err = NetworksError;

    /// Reads addresses and networks that are separated by commas. An empty string is an empty list.
    fn from_str(list: &str) -> Result<Self, NetworksError> {
        let parts = list.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.map(network).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<_> = self.0.iter().map(IpNet::to_string).collect();
        f.write_str(&all.join(","))
    }
}

fn network(given: &str) -> Result<IpNet, NetworksError> {
    let malformed = || NetworksError::Malformed { given: given.to_owned() };
    let network = match given.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => given.parse::<IpNet>().map_err(|_| malformed())?,
    };
    let network = unmapped(network);
    if network.trunc() != network {
        let network = network.trunc();
        return Err(NetworksError::BitsBehindPrefix { given: given.to_owned(), network });
    }
    Ok(network)
}

/// A network of mapped IPv4 addresses as one of IPv4.
fn unmapped(network: IpNet) -> IpNet {
    let prefix = network.prefix_len().checked_sub(96);
    match (network.addr().to_canonical(), prefix) {
        (IpAddr::V4(address), Some(prefix)) if network.addr().is_ipv6() => {
            IpNet::new(address.into(), prefix).expect("a prefix of at most 128 - 96")
        }
        _ => network,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contain(list: &str, address: &str) -> bool {
        let networks: Networks = list.parse().expect("a list");
        networks.contain(address.parse().expect("an address"))
    }

    #[test]
    fn a_list_has_the_addresses_of_its_networks() {
        let list = "10.0.0.0/8, 192.0.2.7,fd00::/8,";
        for inside in ["10.255.0.1", "192.0.2.7", "fd12::1", "::ffff:10.0.0.1"] {
            assert!(contain(list, inside), "{inside}");
        }
        for outside in ["11.0.0.1", "192.0.2.8", "fe80::1", "::1", "::10.0.0.1"] {
            assert!(!contain(list, outside), "{outside}");
        }
        assert!(!contain("", "10.0.0.1") && !contain("::/0", "10.0.0.1"));
        assert!(contain("0.0.0.0/0", "10.0.0.1") && contain("::1", "::1"));
    }

    #[test]
    fn mapped_networks_are_networks_of_ipv4() {
        for list in ["::ffff:10.0.0.0/104", "::ffff:10.0.0.1"] {
            assert!(contain(list, "10.0.0.1") && contain(list, "::ffff:10.0.0.1"), "{list}");
            assert!(!contain(list, "11.0.0.1"), "{list}");
        }
        let list: Networks = "::ffff:10.0.0.0/104,fd00::/8".parse().expect("a list");
        assert_eq!(list.to_string(), "10.0.0.0/8,fd00::/8");
    }

    #[test]
    fn what_is_no_network_is_named() {
        for given in ["x", "10.0.0.0/33", "10.0.0/8", "10.0.0.0/-1", "::/129", "localhost", "/8"] {
            let error = format!("10.0.0.1,{given}").parse::<Networks>().expect_err(given);
            assert_eq!(error, NetworksError::Malformed { given: given.to_owned() });
        }
        let error = "10.0.0.1/8".parse::<Networks>().expect_err("bits");
        assert_eq!(
            error.to_string(),
            "\"10.0.0.1/8\" has bits behind its prefix; the network is 10.0.0.0/8"
        );
    }
}
