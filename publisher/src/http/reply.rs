//! The replies: receipts, answers to preflights, and sentences that say what to do.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use actix_web::body::{BodySize, MessageBody};
use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, ContentType, HeaderName, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use bytes::Bytes;
use campanile_channel::incident;
use campanile_channel::publishing::Receipt;
use campanile_edge::{Incidents, Meter, prefers_json};
use serde_json::json;

use super::{rate_fields, status, wording};
use crate::budget::Reserved;
use crate::courier::Unavailable;
use crate::courier::error::seconds;
use crate::courier::health::Readiness;
use crate::error::{Answered, ApiError};
use crate::http::HttpError;
use crate::http::counted_body::CountedBody;
use crate::http::methods::Methods;
use crate::http::turn::Turn;
use crate::push::BadRequest;
use crate::push::batch::BatchFormat;

/// The request headers that a page may set.
const ALLOWED_HEADERS: &str = "authorization, content-type, accept, idempotency-key, traceparent";

/// How long a browser may remember a preflight: the default of Chromium.
const PREFLIGHT_SECONDS: &str = "5";

/// When to try again after a 503. The link comes back within a second after its broker.
const RETRY_AFTER_SECONDS: &str = "1";

/// Replies to a push.
pub(crate) fn receipt(receipt: &Receipt, request: &HttpRequest) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    if !wants_json(request) {
        return response.content_type(ContentType::plaintext()).body("ok");
    }
    let mut body = Vec::new();
    wording::receipt_json(receipt, &mut body);
    response.content_type(ContentType::json()).body(body)
}

/// Replies to a batch. `reserved` has room for the body.
pub(crate) fn batch(
    format: BatchFormat,
    answers: &[Answered],
    reserved: Reserved,
    turn: Turn,
) -> HttpResponse {
    let body = CountedBody::new(wording::batch::body(format, answers), reserved, turn);
    HttpResponse::Ok().content_type(format.media_type()).body(body)
}

/// Replies with the methods of a path, also for the preflight of a page.
pub(crate) fn methods(methods: Methods, unread: Payload) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::ALLOW, methods.allow()))
        .insert_header((header::ACCESS_CONTROL_ALLOW_METHODS, methods.allow()))
        .insert_header((header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS))
        .insert_header((header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_SECONDS))
        .body(LastWord { text: Some(Bytes::new()), _unread: unread })
}

/// Replies to a health check.
pub(crate) fn health(readiness: Readiness, unread: Payload) -> HttpResponse {
    let mut response = match readiness {
        Readiness::Ready => HttpResponse::Ok(),
        _ => HttpResponse::ServiceUnavailable(),
    };
    response
        .content_type(ContentType::plaintext())
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::ALLOW, Methods::Health.allow()));
    response.body(LastWord { text: Some(readiness.word().into()), _unread: unread })
}

/// Logs why a request of `peer` is refused.
pub(crate) fn log_refusal(incidents: &Incidents, error: &ApiError, peer: Option<SocketAddr>) {
    let status = status(error).as_u16();
    let name = match status {
        400 => "bad_request",
        401 => "no_valid_key",
        403 => "not_allowed",
        404 => "not_found",
        408 => "timeout",
        413 => "too_large",
        429 => "too_many_pushes",
        503 => "unavailable",
        504 => "unknown",
        _ => "refused",
    };
    let error = match error {
        // The path may be a key in the wrong place.
        ApiError::Http(HttpError::NotFound { .. } | HttpError::NoTarget { .. }) => {
            "there is nothing at its URL".to_owned()
        }
        _ => error.for_log().to_string(),
    };
    let (address, peer) = (peer.map(|peer| peer.ip()), peer.map(tracing::field::display));
    incident!(incidents, info, name, address, peer, status, error, "not pushed");
}

/// Replies with the sentence of an error.
pub(crate) fn refusal(error: &ApiError, request: &HttpRequest, unread: Payload) -> HttpResponse {
    let status = status(error);
    let mut response = HttpResponseBuilder::new(status);
    match status {
        StatusCode::SERVICE_UNAVAILABLE => {
            response.insert_header((header::RETRY_AFTER, RETRY_AFTER_SECONDS));
        }
        StatusCode::TOO_MANY_REQUESTS => {
            if let ApiError::Unavailable(Unavailable::TooOften { wait, .. }) = error {
                response.insert_header((header::RETRY_AFTER, seconds(*wait)));
            }
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            if let Some(challenge) = challenge(error) {
                response.insert_header((header::WWW_AUTHENTICATE, challenge));
            }
        }
        StatusCode::UPGRADE_REQUIRED => {
            response.insert_header((header::UPGRADE, "websocket"));
            response.insert_header((header::SEC_WEBSOCKET_VERSION, "13"));
        }
        _ => {}
    }
    if let ApiError::Http(HttpError::UnknownEncoding { .. }) = error {
        // RFC 9110, 15.5.16.
        response.insert_header((header::ACCEPT_ENCODING, "gzip, deflate"));
    }
    if let ApiError::Http(HttpError::MethodNotAllowed { methods, .. }) = error {
        response.insert_header((header::ALLOW, methods.allow()));
    }
    let text = if wants_json(request) {
        response.content_type(ContentType::json());
        json!({ "error": error.to_string() }).to_string()
    } else {
        response.content_type(ContentType::plaintext());
        format!("{error}\n")
    };
    response.body(LastWord { text: Some(text.into()), _unread: unread })
}

/// Returns the value of `WWW-Authenticate` (RFC 6750, section 3); `None` if a key would not help.
fn challenge(error: &ApiError) -> Option<String> {
    let refused = match error {
        ApiError::Http(HttpError::NoKey { .. }) => String::new(),
        ApiError::Http(HttpError::UnknownKey) => ", error=\"invalid_token\"".to_owned(),
        ApiError::BadRequest(BadRequest::NotAllowed { scope }) => {
            let scope = scope_token(scope);
            format!(", error=\"insufficient_scope\", scope=\"{scope}\"")
        }
        _ => return None,
    };
    Some(format!("Bearer realm=\"campanile\"{refused}"))
}

/// Escapes what the grammar of a scope does not allow, with `%` as in a URL.
fn scope_token(scope: &str) -> String {
    let mut token = String::with_capacity(scope.len());
    for byte in scope.bytes() {
        match byte {
            b'!' | b'#'..=b'$' | b'&'..=b'[' | b']'..=b'~' => token.push(char::from(byte)),
            // Writing to a string cannot fail.
            _ => drop(write!(token, "%{byte:02X}")),
        }
    }
    token
}

/// Adds what a key may still push, where it has a rate.
pub(crate) fn add_rate(response: &mut HttpResponse, meter: &Meter) {
    let fields = [
        ("ratelimit-policy", rate_fields::policy(meter.rate())),
        ("ratelimit", rate_fields::limit(meter, Instant::now())),
    ];
    for (name, value) in fields {
        let value = HeaderValue::try_from(value).expect("digits and ASCII letters");
        response.headers_mut().insert(HeaderName::from_static(name), value);
    }
}

/// Adds the header by which a browser knows whether a page may read the reply.
pub(crate) fn let_page_read(response: &mut HttpResponse, allowed: Option<&str>) {
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    if let Some(Ok(origin)) = allowed.map(HeaderValue::from_str) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
}

/// Whether the caller prefers JSON to plain text.
pub(crate) fn wants_json(request: &HttpRequest) -> bool {
    let accept = request.headers().get_all(header::ACCEPT);
    prefers_json(accept.filter_map(|value| str::from_utf8(value.as_bytes()).ok()))
}

/// The body of a reply that keeps the request's unread body. If that were dropped, actix-http would read a
/// chunked body to its end, however long it is. While it is kept, the connection is closed after the
/// reply.
struct LastWord {
    text: Option<Bytes>,
    _unread: Payload,
}

impl MessageBody for LastWord {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        match &self.text {
            Some(text) => BodySize::Sized(text.len() as u64),
            None => BodySize::None,
        }
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Poll::Ready(self.text.take().map(Ok))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_names_the_missing_scope_in_its_grammar() {
        let missing = |scope: &str| BadRequest::NotAllowed { scope: scope.to_owned() }.into();
        let said = challenge(&missing("group:chat/7")).expect("a challenge");
        let expected = "Bearer realm=\"campanile\", error=\"insufficient_scope\"";
        assert_eq!(said, format!("{expected}, scope=\"group:chat/7\""));
        let odd = challenge(&missing("group:a \"b\\%\u{e9}")).expect("a challenge");
        assert_eq!(odd, format!("{expected}, scope=\"group:a%20%22b%5C%25%C3%A9\""));
        let unknown = challenge(&HttpError::UnknownKey.into()).expect("a challenge");
        assert_eq!(unknown, "Bearer realm=\"campanile\", error=\"invalid_token\"");
        assert_eq!(challenge(&HttpError::BodyOfGet.into()), None);
    }
}
