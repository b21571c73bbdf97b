//! Which values of the header `Host` a service on loopback accepts. Pure.
//!
//! A foreign page can make its own name resolve to 127.0.0.1 (DNS rebinding). The browser then thinks
//! that the service belongs to that page: it does not send a foreign `Origin`, and lets the page read
//! the answers. Only `Host`, which has the name of the page's host, shows what is happening.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// The hosts that a service on loopback accepts in addition to loopback hosts.
///
/// A service that listens on another address accepts every host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowHosts {
    /// Every host, even a malformed one.
    Any,
    /// These hosts. With an empty list, which is the default, only loopback hosts are accepted:
    /// 127.0.0.0/8, `::1`, their IPv4-mapped forms, `localhost`, and names that end in `.localhost`.
    Only(Vec<Host>),
}

impl Default for AllowHosts {
    fn default() -> Self {
        Self::Only(Vec::new())
    }
}

/// A string that is neither `*` nor a list of hosts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a host: accepted are * or hosts like campanile.test, campanile.test:4237 or \
     [fd00::1], separated by commas"
)]
pub struct InvalidHosts(String);

impl FromStr for AllowHosts {
    type Err = InvalidHosts;

    /// Reads `*`, or hosts separated by commas, each with or without a port. An empty string is an empty
    /// list.
    fn from_str(text: &str) -> Result<Self, InvalidHosts> {
        if text.trim() == "*" {
            return Ok(Self::Any);
        }
        let hosts = text.split(',').map(str::trim).filter(|host| !host.is_empty());
        hosts
            .map(|host| Host::read(host).ok_or_else(|| InvalidHosts(host.to_owned())))
            .collect::<Result<_, _>>()
            .map(Self::Only)
    }
}

impl AllowHosts {
    /// Whether a request may be answered. `hosts` are the values of all its `Host` headers. A request
    /// without any is accepted; of several, each must be allowed. `listens_on` is the service's own
    /// address.
    pub fn admits<'a>(&self, hosts: impl IntoIterator<Item = &'a str>, listens_on: IpAddr) -> bool {
        let Self::Only(allowed) = self else { return true };
        if !listens_on.to_canonical().is_loopback() {
            return true;
        }
        hosts.into_iter().all(|host| {
            let host = Host::read(host.trim());
            host.is_some_and(|host| host.is_loopback() || allowed.iter().any(|a| a.covers(&host)))
        })
    }
}

/// The value of a `Host` header, `name[:port]`. Case and a dot at the end of the name are ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    name: Name,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Name {
    Ip(IpAddr),
    /// In lower case, without a dot at its end.
    Dns(String),
}

impl Host {
    /// Whether it is an IP address.
    pub fn is_address(&self) -> bool {
        matches!(self.name, Name::Ip(_))
    }

    /// Reads `name` or `name:port`, where the name may be an IP address, an IPv6 one in brackets. `None`
    /// for anything else.
    pub fn read(text: &str) -> Option<Self> {
        let name_end = match text.strip_prefix('[') {
            Some(rest) => rest.find(']')? + 2,
            None => text.find(':').unwrap_or(text.len()),
        };
        let (name, port) = text.split_at(name_end);
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => None,
            // RFC 3986 section 3.2.3 allows a colon without a port.
            Some("") => None,
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                Some(digits.parse().ok()?)
            }
            _ => return None,
        };
        Some(Self { name: Name::read(name)?, port })
    }

    fn is_loopback(&self) -> bool {
        match &self.name {
            Name::Ip(ip) => ip.is_loopback(),
            Name::Dns(name) => name == "localhost" || name.ends_with(".localhost"),
        }
    }

    /// Whether an allowed host covers one in a request. Browsers leave out the default port of the
    /// scheme.
    fn covers(&self, asked: &Self) -> bool {
        let port_fits = match (self.port, asked.port) {
            (None, _) => true,
            (Some(port), None) => matches!(port, 80 | 443),
            (Some(port), Some(asked)) => port == asked,
        };
        port_fits && self.name == asked.name
    }
}

impl Name {
    fn read(text: &str) -> Option<Self> {
        if let Some(v6) = text.strip_prefix('[') {
            let ip: Ipv6Addr = v6.strip_suffix(']')?.parse().ok()?;
            return Some(Self::Ip(IpAddr::V6(ip).to_canonical()));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        if let Ok(ip) = name.parse::<Ipv4Addr>() {
            return Some(Self::Ip(ip.into()));
        }
        let label_is_fine = |label: &str| {
            !label.is_empty()
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        };
        name.split('.').all(label_is_fine).then(|| Self::Dns(name.to_ascii_lowercase()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const LOOPBACK_V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
    const EVERYWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

    const STRANGERS: [&str; 22] = [
        "",
        " ",
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "notlocalhost",
        ".localhost",
        "a..localhost",
        "localhost..",
        "128.0.0.1",
        "0.0.0.0",
        "2130706433",
        "[::2]",
        "[::1",
        "::1",
        "[::1]evil.example",
        "[::ffff:128.0.0.1]",
        "localhost:80:80",
        "localhost:65536",
        "localhost:+1",
        "user@localhost",
        "localhost, evil.example",
    ];

    #[test]
    fn loopback_hosts_are_admitted_on_loopback() {
        let none = AllowHosts::default();
        for host in [
            "localhost",
            "LocalHost:4237",
            "localhost.",
            "localhost.:4237",
            "app.localhost",
            "a.b.LOCALHOST.:1",
            "127.0.0.1",
            "127.0.0.1:",
            "127.8.9.10:4237",
            "[::1]",
            "[0:0::1]:4237",
            "[::ffff:127.0.0.1]:4237",
            "[::FFFF:7f00:1]",
            " localhost ",
        ] {
            assert!(none.admits([host], LOOPBACK), "{host}");
            assert!(none.admits([host], LOOPBACK_V6), "{host}");
        }
        let mapped = "::ffff:127.0.0.1".parse().expect("an address");
        assert!(none.admits(["localhost"], mapped));
        assert!(!none.admits(["evil.example"], mapped));
    }

    #[test]
    fn other_and_malformed_hosts_are_not() {
        let none = AllowHosts::default();
        for host in STRANGERS {
            assert!(!none.admits([host], LOOPBACK), "{host}");
            assert!(!none.admits([host], LOOPBACK_V6), "{host}");
            assert!(!none.admits(["localhost", host], LOOPBACK), "{host}");
        }
    }

    #[test]
    fn without_a_host_or_off_loopback_everything_is_admitted() {
        let none = AllowHosts::default();
        assert!(none.admits([], LOOPBACK));
        for host in STRANGERS {
            assert!(none.admits([host], EVERYWHERE), "{host}");
        }
    }

    #[test]
    fn a_listed_host_is_admitted_with_its_port_or_any_port() {
        let some: AllowHosts =
            "Campanile.test, b.test:8080,[fd00::1]:1, c.test:80".parse().expect("a list");
        let admits = |host| some.admits([host], LOOPBACK);
        for host in [
            "campanile.test",
            "campanile.TEST.:4237",
            "b.test:8080",
            "[fd00:0::1]:1",
            "c.test",
            "localhost",
        ] {
            assert!(admits(host), "{host}");
        }
        for host in ["b.test", "b.test:8081", "x.campanile.test", "[fd00::1]", "c.test:81", ""] {
            assert!(!admits(host), "{host}");
        }
    }

    #[test]
    fn a_star_admits_all_and_other_values_must_be_hosts() {
        let any: AllowHosts = " * ".parse().expect("any");
        for host in STRANGERS {
            assert!(any.admits([host], LOOPBACK), "{host}");
        }
        assert_eq!("".parse(), Ok(AllowHosts::default()));
        for text in ["http://a.test", "a.test/x", "*.test", "*, a.test", "a.test:x", "a b"] {
            let error = text.parse::<AllowHosts>().expect_err("refused").to_string();
            assert!(error.contains("is not a host: accepted are"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_host_panics_and_case_does_not_matter(host in "\\PC{0,12}|[\\[\\]:.a-fF0-9]{0,20}") {
            let none = AllowHosts::default();
            prop_assert_eq!(
                none.admits([&*host], LOOPBACK),
                none.admits([&*host.to_ascii_uppercase()], LOOPBACK)
            );
        }
    }
}
