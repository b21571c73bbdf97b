//! Whether a service is open to everybody who reaches it. Pure.

use std::net::IpAddr;

/// Whether a service asks those who reach it who they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Exposure {
    /// It does: a token, a key or a secret is required on every address.
    Guarded,
    /// It does not, because only this host reaches it. A proxy on this host would let everybody in, so
    /// requests that show one are refused.
    #[default]
    Local,
    /// It does not, and somebody wants it so (`--open`).
    Open,
}

/// The headers by which a proxy says for whom it passes a request on.
pub const PROXY_HEADERS: [&str; 4] = ["X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"];

impl Exposure {
    /// The exposure of a service by its addresses, whether it has a way to know who somebody is, and
    /// whether somebody said that it shall be open. `None` if it would be open to others than this host
    /// without anybody having said so: then it must not start.
    pub fn of(
        addresses: impl IntoIterator<Item = IpAddr>,
        is_authenticated: bool,
        is_meant_open: bool,
    ) -> Option<Self> {
        let is_loopback = |address: IpAddr| address.to_canonical().is_loopback();
        match (is_authenticated, is_meant_open) {
            (true, _) => Some(Self::Guarded),
            (false, true) => Some(Self::Open),
            (false, false) => addresses.into_iter().all(is_loopback).then_some(Self::Local),
        }
    }

    /// Whether nobody is asked.
    pub fn is_open(self) -> bool {
        self != Self::Guarded
    }

    /// The header that shows that a request came by a proxy, if that is a reason to refuse it. `has`
    /// says whether the request has a header, in whatever case.
    pub fn refused_for(self, has: impl Fn(&str) -> bool) -> Option<&'static str> {
        match self {
            Self::Local => PROXY_HEADERS.into_iter().find(|name| has(name)),
            Self::Guarded | Self::Open => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(addresses: &[&str], is_authenticated: bool, is_meant_open: bool) -> Option<Exposure> {
        let addresses = addresses.iter().map(|address| address.parse().expect("an address"));
        Exposure::of(addresses, is_authenticated, is_meant_open)
    }

    #[test]
    fn loopback_is_open_in_all_its_forms() {
        for address in ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1", "::ffff:7f01:203"] {
            assert_eq!(of(&[address], false, false), Some(Exposure::Local), "{address}");
        }
        assert_eq!(of(&["::1", "127.0.0.1"], false, false), Some(Exposure::Local));
    }

    #[test]
    fn any_other_address_needs_authentication_or_a_word() {
        for address in [
            "0.0.0.0",
            "::",
            "10.0.0.1",
            "192.168.1.1",
            "169.254.1.1",
            "128.0.0.1",
            "126.255.255.255",
            "203.0.113.7",
            "::2",
            "::ffff:0.0.0.0",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "fe80::1",
            "fd00::1",
        ] {
            assert_eq!(of(&[address], false, false), None, "{address}");
            assert_eq!(of(&["127.0.0.1", address], false, false), None, "{address}");
            assert_eq!(of(&[address, "::1"], false, false), None, "{address}");
            assert_eq!(of(&[address], true, false), Some(Exposure::Guarded), "{address}");
            assert_eq!(of(&[address], false, true), Some(Exposure::Open), "{address}");
        }
    }

    #[test]
    fn authentication_is_asked_for_on_loopback_too() {
        assert_eq!(of(&["127.0.0.1"], true, false), Some(Exposure::Guarded));
        assert_eq!(of(&["127.0.0.1"], true, true), Some(Exposure::Guarded));
        assert_eq!(of(&["127.0.0.1"], false, true), Some(Exposure::Open));
    }
}
