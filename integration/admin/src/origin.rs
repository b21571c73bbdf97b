//! Whether a request that changes something, or opens a websocket, comes from a page of this listener. Pure.
//!
//! A browser says with `Origin` which page a request is from, and always does so with a POST, a DELETE and a
//! websocket. Its cookies go along with requests of other ports of the same host, so they prove nothing about
//! the page.

/// What a request says about where it comes from.
#[derive(Debug, Clone, Copy, Default)]
pub struct Marks<'a> {
    /// The values of `Origin`.
    pub origins: &'a [&'a str],
    /// The values of `Host`.
    pub hosts: &'a [&'a str],
    /// Whether it has the cookie of a session.
    pub has_cookie: bool,
    /// Whether it has a key in `Authorization`, which no page of another origin can send.
    pub has_key: bool,
    /// Whether a browser has marked it with `Sec-Fetch-Site`.
    pub is_of_browser: bool,
}

impl Marks<'_> {
    /// Whether a change may be made. Without an `Origin`, only callers other than browsers may, which have no
    /// cookie.
    pub fn may_change(&self) -> bool {
        match self.origins {
            [] => !self.has_cookie && !self.is_of_browser,
            _ => self.is_own(),
        }
    }

    /// Whether a websocket may be opened. Without an `Origin`, only a caller with a key may.
    pub fn may_open(&self) -> bool {
        match self.origins {
            [] => self.has_key && !self.has_cookie,
            _ => self.is_own(),
        }
    }

    /// Whether there is one origin, which is that of the host that the request is for. A proxy in front may
    /// have changed `http` to `https`.
    fn is_own(&self) -> bool {
        let (&[origin], &[host]) = (self.origins, self.hosts) else { return false };
        let authority = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
        !host.is_empty() && authority.is_some_and(|own| own.eq_ignore_ascii_case(host))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &[&str] = &["127.0.0.1:4246"];

    #[test]
    fn only_the_origin_of_the_same_host_and_port_is_its_own() {
        let allowed = |origins: &[&str]| {
            let marks = Marks { origins, hosts: HOST, has_cookie: true, ..Marks::default() };
            assert_eq!(marks.may_change(), marks.may_open(), "{origins:?}");
            marks.may_change()
        };
        for own in ["http://127.0.0.1:4246", "https://127.0.0.1:4246"] {
            assert!(allowed(&[own]), "{own}");
        }
        for foreign in [
            "",
            "null",
            "http://127.0.0.1",
            "http://127.0.0.1:4236",
            "http://localhost:4246",
            "http://evil.example",
            "http://127.0.0.1:4246.evil.example",
            "http://evil.example/127.0.0.1:4246",
            "http://evil@127.0.0.1:4246",
            "ftp://127.0.0.1:4246",
            "127.0.0.1:4246",
        ] {
            assert!(!allowed(&[foreign]), "{foreign}");
        }
        assert!(!allowed(&["http://127.0.0.1:4246", "http://evil.example"]));
        for hosts in [&[][..], &[""], &["127.0.0.1:4246", "127.0.0.1:4246"]] {
            let marks = Marks { origins: &["http://127.0.0.1:4246"], hosts, ..Marks::default() };
            assert!(!marks.may_change(), "{hosts:?}");
        }
        let nameless = Marks { origins: &["http://"], hosts: &[""], ..Marks::default() };
        assert!(!nameless.may_change());
    }

    #[test]
    fn without_an_origin_only_callers_other_than_browsers_pass() {
        let curl = Marks { hosts: HOST, ..Marks::default() };
        assert!(curl.may_change() && !curl.may_open());
        let with_key = Marks { has_key: true, ..curl };
        assert!(with_key.may_change() && with_key.may_open());
        let with_cookie = Marks { has_cookie: true, ..with_key };
        assert!(!with_cookie.may_change() && !with_cookie.may_open());
        assert!(!Marks { is_of_browser: true, ..curl }.may_change());
    }
}
