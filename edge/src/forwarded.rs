//! Which client a request comes from, behind proxies that say it in `X-Forwarded-For`. Pure.

use std::net::{IpAddr, SocketAddr};

use crate::Networks;

/// Returns the address of the client behind trusted proxies. `peer` is where the connection comes from,
/// and `lines` are the values of `X-Forwarded-For` in their order.
///
/// Each proxy appends the address that it was called from, so the list is read from its end as long as the
/// addresses are those of trusted proxies: whatever the client itself has sent is further to the left, and
/// is not looked at. If a proxy wrote something that is no address, such as `unknown`, the client is that
/// proxy.
pub fn client_behind<'a>(
    peer: IpAddr,
    lines: impl DoubleEndedIterator<Item = &'a str>,
    trusted: &Networks,
) -> IpAddr {
    let mut client = peer.to_canonical();
    let mut entries = lines.rev().flat_map(|line| line.rsplit(','));
    while trusted.contain(client) {
        match entries.next().map(address) {
            Some(Some(address)) => client = address,
            Some(None) | None => break,
        }
    }
    client
}

/// Reads an address, perhaps in brackets, perhaps with a port.
fn address(entry: &str) -> Option<IpAddr> {
    let entry = entry.trim().trim_matches('"');
    let bare = entry.strip_prefix('[').and_then(|entry| entry.strip_suffix(']')).unwrap_or(entry);
    let address = bare.parse::<IpAddr>().ok();
    let address = address.or_else(|| Some(entry.parse::<SocketAddr>().ok()?.ip()));
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn client(peer: &str, lines: &[&str]) -> String {
        let trusted = "10.0.0.0/8,fd00::/8".parse().expect("a list");
        let peer = peer.parse().expect("an address");
        client_behind(peer, lines.iter().copied(), &trusted).to_string()
    }

    #[test]
    fn the_list_is_read_from_its_end_past_trusted_proxies() {
        for (lines, expected) in [
            (&["192.0.2.1"][..], "192.0.2.1"),
            (&["198.51.100.9, 192.0.2.1"], "192.0.2.1"),
            (&["192.0.2.1, 10.0.0.2,10.0.0.3"], "192.0.2.1"),
            (&["198.51.100.9", "192.0.2.1 , 10.0.0.2", "10.0.0.3"], "192.0.2.1"),
            (&["10.0.0.9, 10.0.0.2"], "10.0.0.9"),
            (&[], "10.0.0.1"),
        ] {
            assert_eq!(client("10.0.0.1", lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn a_spoofed_list_does_not_hide_who_sent_it() {
        // The client at 192.0.2.1 sent a list of its own, and the proxy appended the truth.
        for spoofed in
            ["198.51.100.9", "10.0.0.5", "unknown", "", "192.0.2.1, 10.0.0.1", "[", ",,,"]
        {
            assert_eq!(client("10.0.0.1", &[spoofed, "192.0.2.1"]), "192.0.2.1", "{spoofed}");
            let joined = format!("{spoofed}, 192.0.2.1");
            assert_eq!(client("10.0.0.1", &[&joined]), "192.0.2.1", "{spoofed}");
        }
        // Nobody trusts the one who says it.
        assert_eq!(client("192.0.2.1", &["198.51.100.9"]), "192.0.2.1");
        assert_eq!(client("::ffff:192.0.2.1", &["10.0.0.1"]), "192.0.2.1");
    }

    #[test]
    fn addresses_may_have_ports_and_brackets() {
        for (entry, expected) in [
            ("192.0.2.1:8080", "192.0.2.1"),
            ("[2001:db8::1]:8080", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
            ("\"[2001:db8::1]:1\"", "2001:db8::1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
        ] {
            assert_eq!(client("10.0.0.1", &[entry]), expected, "{entry}");
        }
    }

    #[test]
    fn what_is_no_address_ends_at_the_proxy_that_wrote_it() {
        for entry in ["", "unknown", "_hidden", "192.0.2", "192.0.2.1:99999", "[::1", "1.2.3.4 5"] {
            assert_eq!(client("10.0.0.1", &[&format!("192.0.2.1, {entry}")]), "10.0.0.1");
            assert_eq!(client("10.0.0.1", &[&format!("192.0.2.1,{entry},10.0.0.2")]), "10.0.0.2");
        }
    }

    #[test]
    fn a_list_of_a_thousand_is_read() {
        let many = vec!["10.0.0.2"; 1_000].join(",");
        let all = format!("198.51.100.9,192.0.2.1,{many}");
        assert_eq!(client("10.0.0.1", &[&all]), "192.0.2.1");
        assert_eq!(client("10.0.0.1", &[&many]), "10.0.0.2");
    }

    proptest! {
        #[test]
        fn what_a_client_sends_never_changes_the_address(sent: Vec<String>) {
            let lines: Vec<&str> = sent.iter().map(|line| &**line).chain(["192.0.2.1"]).collect();
            prop_assert_eq!(client("fd00::1", &lines), "192.0.2.1");
        }
    }
}
