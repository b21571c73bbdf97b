//! Where a gateway or publisher finds its broker.

use std::fmt;
use std::str::FromStr;

use campanile_channel::brokers::Brokers;

use super::HostPort;

const TLS: &str = "tls://";

/// The most brokers of a list.
const MAX_BROKERS: usize = 64;

/// The address of a broker, or of several that share one log: `HOST:PORT`, or `tls://HOST:PORT`, separated
/// by commas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerAddresses {
    /// Whether the link is sealed by TLS.
    pub is_tls: bool,
    host_ports: Vec<HostPort>,
}

impl BrokerAddresses {
    /// The same addresses as those of brokers that speak TLS.
    pub fn over_tls(&self) -> Self {
        Self { is_tls: true, ..self.clone() }
    }
}

impl From<&BrokerAddresses> for Brokers {
    fn from(addresses: &BrokerAddresses) -> Self {
        addresses.host_ports.iter().map(HostPort::to_string).collect::<Vec<_>>().into()
    }
}

impl FromStr for BrokerAddresses {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_tls = text.starts_with(TLS);
        let mut host_ports = Vec::new();
        for address in text.split(',').map(str::trim) {
            let sealed = address.strip_prefix(TLS);
            let host_port: HostPort =
                sealed.unwrap_or(address).parse().map_err(|error: String| {
                    format!(
                        "{error}; with {TLS} before it, the link uses TLS; several brokers that share \
                         one log are separated by commas"
                    )
                })?;
            if sealed.is_some() != is_tls {
                return Err(format!(
                    "{address} and the address before it differ in whether they use TLS; accepted \
                     are addresses that all begin with {TLS}, or none"
                ));
            }
            if host_ports.contains(&host_port) {
                return Err(format!("{host_port} is given twice; accepted is each address once"));
            }
            host_ports.push(host_port);
        }
        if host_ports.len() > MAX_BROKERS {
            let found = host_ports.len();
            return Err(format!("{found} addresses are given; accepted are up to {MAX_BROKERS}"));
        }
        Ok(Self { is_tls, host_ports })
    }
}

impl fmt::Display for BrokerAddresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { TLS } else { "" };
        for (index, host_port) in self.host_ports.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{scheme}{host_port}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<BrokerAddresses, String> {
        text.parse()
    }

    #[test]
    fn brokers_are_separated_by_commas() {
        for (text, is_tls, count) in [
            ("127.0.0.1:2206", false, 1),
            ("a:2206,b:2206,[::1]:1", false, 3),
            ("tls://a:2206,tls://b:2206", true, 2),
        ] {
            let brokers = read(text).unwrap();
            assert_eq!((brokers.is_tls, brokers.host_ports.len()), (is_tls, count));
            assert_eq!(brokers.to_string(), text);
        }
        assert_eq!(read("a:1, b:1"), read("a:1,b:1"));
        assert_eq!(read("a:1,b:1").unwrap().over_tls().to_string(), "tls://a:1,tls://b:1");
    }

    #[test]
    fn a_list_that_no_link_can_use_is_refused() {
        for (text, named) in [
            ("", "HOST:PORT"),
            ("a:1,", "HOST:PORT"),
            ("a:1,b", "separated by commas"),
            ("a:1;b:1", "HOST:PORT"),
            ("tls://a:1,b:1", "b:1 and the address before it"),
            ("a:1,tls://b:1", "tls://b:1 and the address before it"),
            ("a:1,b:1,a:1", "a:1 is given twice"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(named), "{text}: {error}");
        }
        let many =
            |count| (1..=count).map(|port| format!("a:{port}")).collect::<Vec<_>>().join(",");
        assert!(read(&many(64)).is_ok());
        assert_eq!(read(&many(65)).unwrap_err(), "65 addresses are given; accepted are up to 64");
    }
}
