//! Requests of foreign pages, as browsers mark them (<https://www.w3.org/TR/fetch-metadata/>). Pure.
//!
//! CORS decides whether a page may read an answer, but not whether its request has an effect: an
//! `<img src="http://127.0.0.1:4237/?content=hi">` in any page is a push. So before a request may have
//! an effect, what the browser says about the page is checked.

use std::net::IpAddr;

use crate::AllowOrigins;

impl AllowOrigins {
    /// Whether a request may have an effect, by the values of its headers `Sec-Fetch-Site` and
    /// `Origin`; `listens_on` is the service's own address.
    ///
    /// Each `Origin` must be allowed in any case. If they are, a request without `Sec-Fetch-Site` may
    /// have an effect, because callers other than browsers do not send that header (and browsers do not
    /// send it to an `http:` address off loopback). So may requests with `none` (the user typed the URL)
    /// or `same-origin`. Any other value needs an `Origin`, even if every origin is allowed.
    pub fn admits<'a>(
        &self,
        sites: impl IntoIterator<Item = &'a str>,
        origins: impl IntoIterator<Item = &'a str>,
        listens_on: IpAddr,
    ) -> bool {
        let mut origins = origins.into_iter().peekable();
        let names_origin = origins.peek().is_some();
        let is_stranger =
            |site: &str| !matches!(site.trim(), "none" | "same-origin") && !names_origin;
        origins.all(|origin| self.allowed(origin.trim(), listens_on).is_some())
            && !sites.into_iter().any(is_stranger)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const EVERYWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    const PAGE: &str = "http://127.0.0.1:4236";
    const STRANGER: &str = "https://evil.example";

    fn admits(allowed: &AllowOrigins, site: Option<&str>, origin: Option<&str>) -> bool {
        allowed.admits(site, origin, LOOPBACK)
    }

    #[test]
    fn callers_other_than_browsers_pass() {
        for allowed in [AllowOrigins::Local, AllowOrigins::Any, AllowOrigins::Only(Vec::new())] {
            assert!(admits(&allowed, None, None));
            assert!(allowed.admits([], [], EVERYWHERE));
        }
    }

    #[test]
    fn typed_urls_and_the_same_origin_pass() {
        for site in ["none", "same-origin", " none "] {
            assert!(admits(&AllowOrigins::Local, Some(site), None), "{site}");
            assert!(admits(&AllowOrigins::Local, Some(site), Some(PAGE)), "{site}");
        }
    }

    #[test]
    fn another_site_needs_an_allowed_origin() {
        for site in ["same-site", "cross-site", "", "None", "of-the-future"] {
            for allowed in [AllowOrigins::Local, AllowOrigins::Any] {
                assert!(!admits(&allowed, Some(site), None), "{site}");
                assert!(admits(&allowed, Some(site), Some(PAGE)), "{site}");
            }
            assert!(!admits(&AllowOrigins::Local, Some(site), Some(STRANGER)), "{site}");
            assert!(admits(&AllowOrigins::Any, Some(site), Some("null")), "{site}");
        }
    }

    #[test]
    fn an_origin_that_is_not_allowed_is_always_refused() {
        let local = AllowOrigins::Local;
        for origin in [STRANGER, "null", "", "http://localhost.evil.example"] {
            for site in [None, Some("none"), Some("same-origin"), Some("cross-site")] {
                assert!(!admits(&local, site, Some(origin)), "{site:?} {origin}");
            }
        }
        assert!(!local.admits([], [PAGE], EVERYWHERE));
        assert!(!local.admits([], [PAGE, STRANGER], LOOPBACK));
        assert!(!local.admits(["none", "cross-site"], [], LOOPBACK));
        let only: AllowOrigins = "https://app.example".parse().expect("a list");
        assert!(only.admits(["cross-site"], ["https://app.example"], EVERYWHERE));
        assert!(!only.admits(["cross-site"], [PAGE], LOOPBACK));
    }
}
