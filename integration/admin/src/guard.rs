//! Who asks: the part of a request that decides whether it is answered, and the answer if it is not.

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpRequest, HttpResponse};
use campanile_edge::{Keys, PROXY_HEADERS, Principal, bearer};
use tokio::sync::watch;

use crate::access::{Access, Refused, Shown, Wanted};

/// Decides about requests.
#[derive(Debug, Clone)]
pub struct Guard {
    pub(crate) access: Access,
    pub(crate) keys: watch::Receiver<Arc<Keys>>,
}

impl Guard {
    /// Decides whether a request is answered, by the key in its `Authorization`.
    ///
    /// # Errors
    /// The reason why not; [`refusal`] is the answer.
    pub fn check(&self, wanted: Wanted, request: &HttpRequest) -> Result<(), Refused> {
        self.who(wanted, request).map(drop)
    }

    /// Like [`check`](Self::check), and returns who asks: a key, or anyone.
    ///
    /// # Errors
    /// The reason why nobody may.
    pub fn who(&self, wanted: Wanted, request: &HttpRequest) -> Result<Principal, Refused> {
        let headers = request.headers();
        // What is not text is no name of this host.
        let hosts = headers.get_all(header::HOST).map(|host| host.to_str().unwrap_or("?"));
        let hosts: Vec<_> = hosts.collect();
        let proxy = PROXY_HEADERS.into_iter().find(|name| headers.contains_key(*name));
        let key = headers.get(header::AUTHORIZATION).and_then(|value| bearer(value.as_bytes()));
        let shown = Shown { hosts: &hosts, proxy, key };
        self.access.who(wanted, shown, &self.keys.borrow())
    }
}

/// The answer to a request that is refused.
pub fn refusal(refused: &Refused) -> HttpResponse {
    let status = StatusCode::from_u16(refused.status()).unwrap_or(StatusCode::FORBIDDEN);
    let mut response = said(status, &refused.to_string());
    if status == StatusCode::UNAUTHORIZED {
        let bearer = HeaderValue::from_static("Bearer");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, bearer);
    }
    response
}

/// An answer of one sentence.
pub fn said(status: StatusCode, sentence: &str) -> HttpResponse {
    HttpResponse::build(status)
        .content_type("text/plain; charset=utf-8")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(format!("{sentence}\n"))
}
