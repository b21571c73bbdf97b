//! Safe by default: a service without any authentication listens on loopback only, unless somebody says
//! that it shall be open. Pure.

use std::fmt;
use std::net::SocketAddr;

use campanile_edge::Exposure;

/// A service of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    Broker,
    Gateway,
    Publisher,
}

/// In the order of their numbers.
pub const SERVICES: [Service; 3] = [Service::Broker, Service::Gateway, Service::Publisher];

impl Service {
    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Broker => "broker",
            Self::Gateway => "gateway",
            Self::Publisher => "publisher",
        }
    }

    /// What its flags begin with where it runs beside others.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Broker => "broker-",
            Self::Gateway => "gateway-",
            Self::Publisher => "publisher-",
        }
    }

    /// What makes it ask who somebody is. `is_in_up` is whether its flags begin with its name.
    fn needs(self, is_in_up: bool) -> &'static str {
        match self {
            Self::Broker => "a cluster secret (--secret-file or [broker] secret_file)",
            Self::Gateway if is_in_up => {
                "a token key or guests (--gateway-token-keys, [[tokens.keys]], [tokens] jwks_url or \
                 [guests] groups)"
            }
            Self::Gateway => {
                "a token key or guests (--token-keys, [[tokens.keys]], [tokens] jwks_url or [guests] \
                 groups)"
            }
            Self::Publisher => "an API key ([[keys]])",
        }
    }
}

/// A service that would be open to everybody, although nobody said that it shall be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooOpen {
    service: Service,
    address: SocketAddr,
    /// Whether it runs beside others in one process, where its flags begin with its name.
    is_in_up: bool,
}

impl std::error::Error for TooOpen {}

impl fmt::Display for TooOpen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, address) = (self.service.name(), self.address);
        let needs = self.service.needs(self.is_in_up);
        let prefix = if self.is_in_up { self.service.prefix() } else { "" };
        write!(
            f,
            "--{prefix}listen {address}: without authentication anybody who reaches this address could use \
             the {name}; accepted is a loopback address, {needs}, or --{prefix}open ([{name}] open = true) \
             if everybody may"
        )
    }
}

/// Decides how open a service is; `is_authenticated` says whether it has something to know others by.
///
/// # Errors
/// If it would be too open.
pub fn check(
    service: Service,
    addresses: &[SocketAddr],
    is_authenticated: bool,
    is_meant_open: bool,
    is_in_up: bool,
) -> Result<Exposure, TooOpen> {
    let ips = || addresses.iter().map(SocketAddr::ip);
    Exposure::of(ips(), is_authenticated, is_meant_open).ok_or_else(|| {
        let is_other = |address: &&SocketAddr| !address.ip().to_canonical().is_loopback();
        let address = *addresses.iter().find(is_other).expect("only such a one is too open");
        TooOpen { service, address, is_in_up }
    })
}

/// What the log of a process with one service says if it is open; `None` if it is not.
pub fn notice(service: Service, exposure: Exposure) -> Option<String> {
    let (name, needs) = (service.name(), service.needs(false));
    exposure.is_open().then(|| {
        format!(
            "the {name} is open: anybody who reaches its address may do anything; {needs} ends that"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().expect("an address")).collect()
    }

    #[test]
    fn a_service_that_is_too_open_names_flag_and_key() {
        for (service, flag, key) in [
            (Service::Broker, ["(--secret-file ", "(--secret-file "], "[broker] secret_file"),
            (Service::Gateway, ["(--token-keys,", "(--gateway-token-keys,"], "[guests] groups"),
            (Service::Publisher, ["API key"; 2], "[[keys]]"),
        ] {
            let name = service.name();
            for (is_in_up, flag) in [false, true].into_iter().zip(flag) {
                let on = addresses(&["127.0.0.1:1", "192.0.2.7:1"]);
                let error = check(service, &on, false, false, is_in_up).expect_err("too open");
                let prefix = if is_in_up { format!("{name}-") } else { String::new() };
                let sentence = error.to_string();
                for part in [
                    &*format!("--{prefix}listen 192.0.2.7:1: "),
                    &format!("--{prefix}open ([{name}] open = true)"),
                    flag,
                    key,
                ] {
                    assert!(sentence.contains(part), "{part:?} is not in: {sentence}");
                }
            }
        }
    }

    #[test]
    fn what_is_guarded_meant_or_local_starts() {
        let everywhere = addresses(&["0.0.0.0:1"]);
        let here = addresses(&["127.0.0.1:1", "[::1]:1"]);
        let check = |addresses: &[SocketAddr], is_authenticated, is_meant_open| {
            check(Service::Gateway, addresses, is_authenticated, is_meant_open, false)
        };
        assert_eq!(check(&everywhere, true, false), Ok(Exposure::Guarded));
        assert_eq!(check(&everywhere, false, true), Ok(Exposure::Open));
        assert_eq!(check(&here, false, false), Ok(Exposure::Local));
    }

    #[test]
    fn only_an_open_service_is_noticed() {
        assert_eq!(notice(Service::Broker, Exposure::Guarded), None);
        for exposure in [Exposure::Local, Exposure::Open] {
            let notice = notice(Service::Publisher, exposure).expect("open");
            assert!(notice.contains("anybody who reaches its address may do anything"), "{notice}");
        }
    }
}
