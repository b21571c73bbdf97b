//! Who may push at all: refuses what a browser sends for a page of another site.

use actix_web::HttpRequest;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use campanile_edge::Exposure;

use super::Front;
use crate::http::HttpError;
use crate::push::shown::Shown;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

impl Front {
    /// Refuses what a proxy passes on to a publisher that is open to its own host only, a request with a
    /// foreign host name, and one that a browser marks as coming from a page that may not push. Callers
    /// other than browsers send no such marks.
    ///
    /// The name is the one in `Host`, even if the request line has another one: a browser that was tricked
    /// into taking a foreign name for this host sends it in `Host`, and never in the request line. Where
    /// there are keys, the name does not matter: such a page has none.
    pub(super) fn check_caller(&self, request: &HttpRequest) -> Result<(), HttpError> {
        let exposure = self.exposure();
        if let Some(header) = exposure.refused_for(|name| request.headers().contains_key(name)) {
            return Err(HttpError::ByProxy { header });
        }
        let hosts = texts(request, &header::HOST);
        if exposure.is_open()
            && !self.config.allow_hosts.admits(hosts.iter().map(|host| &**host), self.listens_on)
        {
            return Err(HttpError::HostNotAllowed { host: shown(request, &header::HOST) });
        }
        let sites = texts(request, &SEC_FETCH_SITE);
        let origins = texts(request, &header::ORIGIN);
        let (site, origin) = (sites.iter().map(|s| &**s), origins.iter().map(|o| &**o));
        if self.config.allow_origins.admits(site, origin, self.listens_on) {
            return Ok(());
        }
        Err(match origins.is_empty() {
            true => HttpError::StrangersPage { site: shown(request, &SEC_FETCH_SITE) },
            false => HttpError::OriginNotAllowed { origin: shown(request, &header::ORIGIN) },
        })
    }

    /// Turns the error of a PROXY header into the one that other headers of proxies get, where they are
    /// refused.
    pub(super) fn without_proxy(&self, error: HttpError) -> HttpError {
        match (error, self.exposure()) {
            (HttpError::ProxyHeader, Exposure::Local) if !self.config.proxy_protocol => {
                HttpError::ByProxy { header: "PROXY" }
            }
            (error, _) => error,
        }
    }

    /// Returns how open the publisher is: as soon as there are keys, it is not.
    fn exposure(&self) -> Exposure {
        match self.config.keys.borrow().is_empty() {
            true => self.config.exposure,
            false => Exposure::Guarded,
        }
    }

    /// Returns the value of `Access-Control-Allow-Origin`; `None` if the page may not read the answer.
    pub(super) fn origin<'a>(&self, request: &'a HttpRequest) -> Option<&'a str> {
        let origin = request.headers().get(header::ORIGIN)?.to_str().ok()?;
        self.config.allow_origins.allowed(origin, self.listens_on)
    }
}

/// Returns the values of a header. What is not UTF-8 is replaced, and no rule matches it.
fn texts<'a>(request: &'a HttpRequest, name: &HeaderName) -> Vec<std::borrow::Cow<'a, str>> {
    let values = request.headers().get_all(name);
    values.map(|value| String::from_utf8_lossy(value.as_bytes())).collect()
}

fn shown(request: &HttpRequest, name: &HeaderName) -> Shown {
    let values = request.headers().get_all(name).map(HeaderValue::as_bytes);
    Shown::from(&*values.collect::<Vec<_>>().join(&b", "[..]))
}
