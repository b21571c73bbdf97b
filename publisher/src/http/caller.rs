//! Who may ask at all: refuses what a browser sends for the page of a stranger.

use actix_web::HttpRequest;
use actix_web::http::header::{self, HeaderName, HeaderValue};

use super::Front;
use crate::http::HttpError;
use crate::push::shown::Shown;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

impl Front {
    /// Refuses a request by a foreign name, and one that a browser marks as coming from the page of
    /// a stranger. Callers other than browsers send no such marks.
    ///
    /// The name is that of `Host`, also where the request line has another: a browser that was made
    /// to take a foreign name for this host has it in `Host`, and never in the request line.
    pub(super) fn check_caller(&self, request: &HttpRequest) -> Result<(), HttpError> {
        let hosts = texts(request, &header::HOST);
        if !self.config.allow_hosts.admits(hosts.iter().map(|host| &**host), self.listens_on) {
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

    /// What `Access-Control-Allow-Origin` tells the page that asks; `None` if it may not read.
    pub(super) fn origin<'a>(&self, request: &'a HttpRequest) -> Option<&'a str> {
        let origin = request.headers().get(header::ORIGIN)?.to_str().ok()?;
        self.config.allow_origins.allowed(origin, self.listens_on)
    }
}

/// The values of a header; what is not UTF-8 in them is replaced, and means nothing to any rule.
fn texts<'a>(request: &'a HttpRequest, name: &HeaderName) -> Vec<std::borrow::Cow<'a, str>> {
    let values = request.headers().get_all(name);
    values.map(|value| String::from_utf8_lossy(value.as_bytes())).collect()
}

fn shown(request: &HttpRequest, name: &HeaderName) -> Shown {
    let values = request.headers().get_all(name).map(HeaderValue::as_bytes);
    Shown::from(&*values.collect::<Vec<_>>().join(&b", "[..]))
}
