//! Which web pages and proxies may do what at a service, by the headers of a request. Pure.

use std::net::{IpAddr, Ipv4Addr};

use crate::hosts::Host;
use crate::{AllowHosts, AllowOrigins, Exposure, Head, websocket};

/// How many characters of a host or an origin an error shows.
const MAX_SHOWN_CHARS: usize = 100;

/// Why a request is rejected. At most 100 characters of what the client sent are shown, and escaped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAllowed {
    /// A proxy passes the request on to a service that is open to its own host only.
    #[error("the header {header} shows that a proxy passes this request on")]
    Proxy {
        /// Which header shows it.
        header: &'static str,
    },
    /// The service does not accept this name.
    #[error("host {} is not allowed", shown(.hosts))]
    Host {
        /// The first two hosts in the request.
        hosts: Vec<String>,
    },
    /// The page has an origin that is not in the list.
    #[error("origin {origin:?} is not allowed")]
    Origin {
        /// The first origin in the request that is not allowed.
        origin: String,
    },
}

/// A page that may read an answer (CORS, <https://fetch.spec.whatwg.org/>).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reader<'a> {
    /// The value of `Access-Control-Allow-Origin`.
    origin: &'a str,
    /// Whether the page may send cookies: only an origin that is allowed by name may.
    with_credentials: bool,
}

impl<'a> Reader<'a> {
    /// The page that sent the request, if it may read the answer.
    pub fn of(head: &'a Head<'_>, allowed: &AllowOrigins, listens_on: IpAddr) -> Option<Self> {
        let origin = allowed.allowed(head.one("origin")?, listens_on)?;
        let with_credentials = matches!(allowed, AllowOrigins::Only(_));
        Some(Self { origin, with_credentials })
    }

    /// The CORS headers of the answer, each with its line end.
    pub fn headers(self) -> String {
        let Self { origin, with_credentials } = self;
        let credentials =
            if with_credentials { "Access-Control-Allow-Credentials: true\r\n" } else { "" };
        format!("Access-Control-Allow-Origin: {origin}\r\n{credentials}")
    }
}

/// Rejects what a proxy passes on to a service that is open to its own host only: the proxy would open it
/// to everybody.
///
/// # Errors
/// [`NotAllowed::Proxy`].
pub fn check_proxy(head: &Head<'_>, exposure: Exposure) -> Result<(), NotAllowed> {
    let shown = exposure.refused_for(|name| head.all(name).next().is_some());
    shown.map_or(Ok(()), |header| Err(NotAllowed::Proxy { header }))
}

/// Rejects a request with a host that the service does not accept. A foreign page could make its own name
/// point to a service on loopback (DNS rebinding). Where somebody has to say who they are, it would gain
/// nothing by that, so every host is accepted.
///
/// # Errors
/// [`NotAllowed::Host`].
pub fn check_host(
    head: &Head<'_>,
    allowed: &AllowHosts,
    exposure: Exposure,
    listens_on: IpAddr,
) -> Result<(), NotAllowed> {
    let named = || head.all("host").chain(head.authority);
    if !exposure.is_open() || allowed.admits(named(), listens_on) {
        return Ok(());
    }
    Err(NotAllowed::Host { hosts: named().take(2).map(shorten).collect() })
}

/// Rejects a websocket of a page whose origin is not in the list of allowed ones. Without such a list
/// ([`AllowOrigins::Local`]) every page may open one. A client without an origin always may. So may the
/// service's own page, if it was loaded from an IP address, a loopback name or an allowed host: any other
/// name could be a foreign one that was made to point here.
///
/// # Errors
/// [`NotAllowed::Origin`].
pub fn check_websocket(
    head: &Head<'_>,
    allowed: &AllowOrigins,
    allowed_hosts: &AllowHosts,
    listens_on: IpAddr,
) -> Result<(), NotAllowed> {
    let may = |origin: &&str| {
        allowed.allowed(origin, listens_on).is_some() || is_own(origin, head, allowed_hosts)
    };
    match head.all("origin").find(|origin| !may(origin)) {
        Some(origin) if *allowed != AllowOrigins::Local => {
            Err(NotAllowed::Origin { origin: shorten(origin) })
        }
        _ => Ok(()),
    }
}

/// Whether a cookie of the request may say who the client is. A browser sends cookies whatever page makes it
/// send a request, so the page must be allowed by name, or be the service's own.
///
/// A browser always sends `Origin` with a websocket, and with every request to another origin whose answer
/// the page could read. It does not send it with an event stream of the service's own page. That request says
/// `Sec-Fetch-Site: same-origin`, which no page can set.
pub fn may_use_cookie(
    head: &Head<'_>,
    allowed: &AllowOrigins,
    allowed_hosts: &AllowHosts,
    listens_on: IpAddr,
) -> bool {
    let is_named = |origin: &str| {
        matches!(allowed, AllowOrigins::Only(_)) && allowed.allowed(origin, listens_on).is_some()
    };
    let mut origins = head.all("origin").peekable();
    match origins.peek() {
        Some(_) => origins.all(|origin| is_named(origin) || is_own(origin, head, allowed_hosts)),
        None => !websocket::is_meant(head) && head.one("sec-fetch-site") == Some("same-origin"),
    }
}

/// Whether a page was loaded from this service, under a name that only this service can have.
fn is_own(origin: &str, head: &Head<'_>, allowed_hosts: &AllowHosts) -> bool {
    let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    let (Some(page), Some(host)) = (authority, head.one("host")) else { return false };
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let is_address = Host::read(host).is_some_and(|host| host.is_address());
    page.eq_ignore_ascii_case(host) && (is_address || allowed_hosts.admits([host], loopback))
}

fn shorten(text: &str) -> String {
    text.chars().take(MAX_SHOWN_CHARS).collect()
}

fn shown(hosts: &[String]) -> String {
    let hosts: Vec<String> = hosts.iter().map(|host| format!("{host:?}")).collect();
    hosts.join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const EVERYWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

    fn head(target: &str, lines: &str) -> Head<'static> {
        let bytes = format!("GET {target} HTTP/1.1\r\n{lines}\r\n").leak();
        Head::parse(bytes.as_bytes()).expect("well-formed").expect("complete").0
    }

    #[test]
    fn only_an_origin_allowed_by_name_gets_credentials() {
        let only: AllowOrigins = "https://a.example".parse().expect("a list");
        let from = |origin: &str| head("/", &format!("Origin: {origin}\r\n"));
        let headers = |origin: &str, allowed: &AllowOrigins| {
            Reader::of(&from(origin), allowed, LOOPBACK).map(Reader::headers)
        };
        assert_eq!(
            headers("https://a.example", &only).as_deref(),
            Some(
                "Access-Control-Allow-Origin: https://a.example\r\n\
                 Access-Control-Allow-Credentials: true\r\n"
            )
        );
        assert_eq!(headers("https://b.example", &only), None);
        assert_eq!(
            headers("https://a.example", &AllowOrigins::Any).as_deref(),
            Some("Access-Control-Allow-Origin: *\r\n")
        );
        assert_eq!(
            headers("http://localhost:3", &AllowOrigins::Local).as_deref(),
            Some("Access-Control-Allow-Origin: http://localhost:3\r\n")
        );
        let twice = head("/", "Origin: https://a.example\r\nOrigin: https://a.example\r\n");
        assert_eq!(Reader::of(&twice, &only, LOOPBACK), None);
    }

    #[test]
    fn a_foreign_host_is_rejected_and_shown_escaped() {
        let none = AllowHosts::default();
        let check = |target: &str, lines: &str, on| {
            check_host(&head(target, lines), &none, Exposure::Local, on)
                .map_err(|error| error.to_string())
        };
        let refused = |hosts: &str| Err(format!("host {hosts} is not allowed"));
        assert_eq!(check("/", "Host: localhost:1\r\n", LOOPBACK), Ok(()));
        assert_eq!(check("/", "", LOOPBACK), Ok(()));
        assert_eq!(check("/", "Host: evil.example\r\n", EVERYWHERE), Ok(()));
        assert_eq!(check("/", "Host: evil.example\r\n", LOOPBACK), refused("\"evil.example\""));
        let both = "Host: localhost\r\nHost: evil.example\r\n";
        assert_eq!(check("/", both, LOOPBACK), refused("\"localhost\" and \"evil.example\""));
        assert_eq!(
            check("http://evil.example/", "Host: localhost\r\n", LOOPBACK),
            refused("\"localhost\" and \"evil.example\"")
        );
        assert_eq!(check("http://localhost/", "Host: localhost\r\n", LOOPBACK), Ok(()));
        let long = format!("Host: \t\u{1b}[2J\"{}\r\n", "x".repeat(5_000));
        if let Ok(Some((head, _))) = Head::parse(format!("GET / HTTP/1.1\r\n{long}\r\n").as_bytes())
        {
            let refused =
                check_host(&head, &none, Exposure::Open, LOOPBACK).expect_err("not a host");
            let sentence = refused.to_string();
            assert!(!sentence.contains('\u{1b}') && sentence.len() < 400, "{sentence}");
        }
    }

    #[test]
    fn a_foreign_host_is_accepted_where_somebody_has_to_say_who_they_are() {
        let check = |exposure| {
            let head = head("/", "Host: evil.example\r\n");
            check_host(&head, &AllowHosts::default(), exposure, LOOPBACK).is_ok()
        };
        assert!(check(Exposure::Guarded));
        assert!(!check(Exposure::Local) && !check(Exposure::Open));
    }

    #[test]
    fn only_an_open_service_for_this_host_rejects_what_a_proxy_passes_on() {
        for (line, shown) in [
            ("X-Forwarded-For: 203.0.113.7", Some("X-Forwarded-For")),
            ("x-forwarded-for:", Some("X-Forwarded-For")),
            ("FORWARDED: for=203.0.113.7", Some("Forwarded")),
            ("X-Real-IP: 203.0.113.7", Some("X-Real-IP")),
            ("Via: 1.1 proxy", Some("Via")),
            ("X-Forwarded-Proto: https", None),
            ("Accept: via", None),
        ] {
            let head = head("/", &format!("Host: localhost\r\n{line}\r\n"));
            let rejected = shown.map_or(Ok(()), |header| Err(NotAllowed::Proxy { header }));
            assert_eq!(check_proxy(&head, Exposure::Local), rejected, "{line}");
            assert_eq!(check_proxy(&head, Exposure::Guarded), Ok(()), "{line}");
            assert_eq!(check_proxy(&head, Exposure::Open), Ok(()), "{line}");
        }
    }

    #[test]
    fn a_list_of_origins_applies_to_websockets() {
        let only: AllowOrigins = "https://a.example".parse().expect("a list");
        let may = |allowed: &AllowOrigins, lines: &str| {
            check_websocket(&head("/", lines), allowed, &AllowHosts::default(), LOOPBACK).is_ok()
        };
        let evil = "Host: h:1\r\nOrigin: https://evil.example\r\n";
        assert!(may(&AllowOrigins::Local, evil), "no list is set");
        assert!(may(&AllowOrigins::Any, evil));
        assert!(!may(&only, evil));
        assert!(!may(&AllowOrigins::Only(vec![]), evil));
        assert!(may(&only, "Host: h:1\r\n"));
        assert!(may(&only, "Host: h:1\r\nOrigin: https://a.example\r\n"));
        for own in ["10.0.0.5:1", "localhost:1", "[::1]:1"] {
            assert!(may(&only, &format!("Host: {own}\r\nOrigin: http://{own}\r\n")), "{own}");
        }
        let rebound = "Host: evil.example:1\r\nOrigin: http://evil.example:1\r\n";
        assert!(!may(&only, rebound), "a name that was made to point here");
        for origin in ["null", "", "http://h", "http://h:1/", "http://h:1.evil.example", "h:1"] {
            assert!(!may(&only, &format!("Host: h:1\r\nOrigin: {origin}\r\n")), "{origin}");
        }
        let two = "Host: h\r\nOrigin: https://a.example\r\nOrigin: https://evil.example\r\n";
        assert!(!may(&only, two));
    }

    #[test]
    fn a_cookie_counts_only_from_a_page_that_is_known() {
        let only: AllowOrigins = "https://a.example".parse().expect("a list");
        let may = |allowed: &AllowOrigins, lines: &str| {
            may_use_cookie(&head("/", lines), allowed, &AllowHosts::default(), EVERYWHERE)
        };
        let (named, evil) = ("Origin: https://a.example\r\n", "Origin: https://evil.example\r\n");
        let same_origin = "Sec-Fetch-Site: same-origin\r\n";
        let upgrade = "Upgrade: websocket\r\n";
        assert!(may(&only, named));
        assert!(may(&only, &format!("{named}{upgrade}")));
        assert!(may(&only, same_origin), "an event stream of the service's own page");
        assert!(may(&only, "Host: 10.0.0.5:1\r\nOrigin: http://10.0.0.5:1\r\n"), "its own page");
        assert!(!may(&only, evil));
        assert!(!may(&only, &format!("{named}{evil}")));
        assert!(!may(&only, &format!("{evil}{same_origin}")));
        assert!(!may(&only, &format!("{same_origin}{upgrade}")), "a websocket without an origin");
        assert!(!may(&only, "Host: evil.example\r\nOrigin: http://evil.example\r\n"));
        for lines in ["", "Sec-Fetch-Site: cross-site\r\n", "Sec-Fetch-Site: same-site\r\n"] {
            assert!(!may(&only, lines), "{lines}");
        }
        assert!(!may(&only, "Sec-Fetch-Site: none\r\n"));
        assert!(!may(&AllowOrigins::Any, named), "a list of names is needed");
    }
}
