//! Which web pages may read the answers of a service (CORS, <https://fetch.spec.whatwg.org/>). Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// The pages that may read the answers of a service.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum AllowOrigins {
    /// Every page of this host (`localhost`, 127.0.0.0/8, `[::1]`) if the service listens on loopback,
    /// and no page otherwise.
    #[default]
    Local,
    /// Every page.
    Any,
    /// The pages of these origins, each written as a browser sends it, like
    /// `https://example.com:8443`. An empty list allows none.
    Only(Vec<String>),
}

/// A string that is neither `*` nor a list of origins.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not an origin: accepted are * or origins like https://example.com:8443, separated by \
     commas"
)]
pub struct InvalidOrigins(String);

impl FromStr for AllowOrigins {
    type Err = InvalidOrigins;

    /// Reads `*`, or origins separated by commas. An empty string allows none.
    fn from_str(text: &str) -> Result<Self, InvalidOrigins> {
        if text.trim() == "*" {
            return Ok(Self::Any);
        }
        let origins = text.split(',').map(str::trim).filter(|o| !o.is_empty());
        origins
            .map(|origin| match host(origin) {
                Some(_) => Ok(origin.to_ascii_lowercase()),
                None => Err(InvalidOrigins(origin.to_owned())),
            })
            .collect::<Result<_, _>>()
            .map(Self::Only)
    }
}

impl AllowOrigins {
    /// The value of `Access-Control-Allow-Origin` for a page of `origin`; `None` if the page may not read
    /// the answer. `listens_on` is the service's own address.
    pub fn allowed<'a>(&self, origin: &'a str, listens_on: IpAddr) -> Option<&'a str> {
        let allowed = match self {
            Self::Any => return Some("*"),
            Self::Local => listens_on.to_canonical().is_loopback() && is_local(origin),
            Self::Only(origins) => origins.iter().any(|allowed| allowed == origin),
        };
        allowed.then_some(origin)
    }
}

/// The address that is reachable by most clients, of those that a service listens on: loopback only if
/// all of them are. `None` if there are none.
pub fn most_exposed(addresses: impl IntoIterator<Item = IpAddr>) -> Option<IpAddr> {
    addresses.into_iter().min_by_key(|address| address.to_canonical().is_loopback())
}

fn is_local(origin: &str) -> bool {
    let Some(host) = host(origin) else {
        return false;
    };
    let v6 = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<Ipv4Addr>().is_ok_and(|ip| ip.is_loopback())
        || v6.is_some_and(|v6| v6.parse::<Ipv6Addr>().is_ok_and(|ip| ip.is_loopback()))
}

/// The host of `scheme://host[:port]`; `None` for anything else, for example if there is a path.
fn host(origin: &str) -> Option<&str> {
    let (scheme, authority) = origin.split_once("://")?;
    let name_end = if authority.starts_with('[') {
        authority.find(']')? + 1
    } else {
        authority.find(':').unwrap_or(authority.len())
    };
    let (host, port) = authority.split_at(name_end);
    let port_is_fine = match port.strip_prefix(':') {
        None => port.is_empty(),
        Some(digits) => digits.bytes().all(|b| b.is_ascii_digit()) && digits.parse::<u16>().is_ok(),
    };
    let scheme_is_fine = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    let host_is_fine = !host.is_empty()
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._[]:".contains(&b));
    (port_is_fine && scheme_is_fine && host_is_fine).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const EVERYWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

    #[test]
    fn one_address_off_loopback_exposes_a_service() {
        let six = IpAddr::V6(Ipv6Addr::LOCALHOST);
        assert_eq!(most_exposed([six, LOOPBACK]), Some(six));
        assert_eq!(most_exposed([LOOPBACK, EVERYWHERE, six]), Some(EVERYWHERE));
        assert_eq!(most_exposed([]), None);
    }

    #[test]
    fn pages_of_this_host_may_read_what_listens_on_loopback() {
        for origin in [
            "http://localhost",
            "https://localhost:8080",
            "http://127.0.0.1:3000",
            "http://127.8.9.10",
            "http://[::1]:5173",
        ] {
            assert_eq!(AllowOrigins::Local.allowed(origin, LOOPBACK), Some(origin));
            assert_eq!(AllowOrigins::Local.allowed(origin, EVERYWHERE), None);
        }
    }

    #[test]
    fn pages_that_only_look_local_may_not() {
        for origin in [
            "",
            "null",
            "localhost",
            "http://localhost.evil.example",
            "http://127.0.0.1.evil.example",
            "http://evil.example/localhost",
            "http://localhost@evil.example",
            "http://evil.example#://localhost",
            "http://localhost:80:80",
            "http://localhost:65536",
            "http://[::1]evil.example",
            "http://[::1",
            "http://2130706433",
        ] {
            assert_eq!(AllowOrigins::Local.allowed(origin, LOOPBACK), None, "{origin}");
        }
    }

    #[test]
    fn a_list_is_exact() {
        let only: AllowOrigins =
            "https://a.example, http://b.example:8080".parse().expect("a list");
        let allowed = |origin| only.allowed(origin, EVERYWHERE).is_some();
        assert!(allowed("https://a.example"));
        assert!(allowed("http://b.example:8080"));
        for origin in ["http://a.example", "https://a.example:444", "https://x.a.example", "null"] {
            assert!(!allowed(origin), "{origin}");
        }
    }

    #[test]
    fn a_star_allows_all_and_other_values_must_be_origins() {
        let any: AllowOrigins = "*".parse().expect("any");
        assert_eq!(any.allowed("null", EVERYWHERE), Some("*"));
        assert_eq!("".parse(), Ok(AllowOrigins::Only(Vec::new())));
        for text in ["example.com", "https://a.example/", "https://*.example", "*, http://a"] {
            assert!(text.parse::<AllowOrigins>().is_err(), "{text}");
        }
    }
}
