//! How the front door answers a request that it does not let in.

use std::ops::RangeInclusive;

use bytes::Bytes;
use campanile_edge::pages::{NotAllowed, Reader};
use campanile_edge::websocket::HandshakeError;
use campanile_edge::{Action, Crowded, HeadError};

use crate::access::Rejection;
use crate::websocket::CloseCode;

/// How long the client of an event stream waits before it tries again, if there is no room or no
/// broker, in milliseconds. Each client gets a random time from this range, so that a refused crowd
/// does not come back all at once.
pub const COME_BACK_MILLIS: RangeInclusive<u32> = 3_000..=8_000;

/// A short answer of the front door: usually an HTTP error, with a sentence that says what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The status code of HTTP.
    pub status: u16,
    /// What is wrong, in one word for programs: the `code` of an `error` in `campanile.v1`.
    pub code: &'static str,
    /// The headers that only this refusal has, each with its line end.
    headers: &'static str,
    sentence: Box<str>,
    /// The group that the client may not listen to, if that is all that is wrong.
    pub(crate) group: Option<Box<str>>,
    /// Whether the log has to say so: this is no answer to a health check, and it was not logged before.
    pub(crate) is_news: bool,
    /// The request was a HEAD: the answer has no body, but the `Content-Length` of one.
    is_for_head: bool,
    /// The sentence quotes the name of a parameter, which may be a token in a wrong place.
    quotes_name: bool,
}

/// The codes of refusals after which a client should come back later.
const TOO_MANY_CONNECTIONS: &str = "too_many_connections";
const RATE_LIMITED: &str = "rate_limited";
const TOO_MANY_UNAUTHENTICATED: &str = "too_many_unauthenticated";
const GATEWAY_FULL: &str = "gateway_full";

const TEXT: &str = "Content-Type: text/plain; charset=utf-8\r\n";

const INSUFFICIENT_SCOPE: &str = "WWW-Authenticate: Bearer error=\"insufficient_scope\"\r\n\
     Content-Type: text/plain; charset=utf-8\r\n";

/// The headers of an answer that may be different a moment later.
const UNCACHED_TEXT: &str = "Content-Type: text/plain; charset=utf-8\r\n\
     Cache-Control: no-store\r\nAllow: GET, HEAD, OPTIONS\r\n";

impl Refusal {
    fn new(status: u16, code: &'static str, headers: &'static str, sentence: String) -> Self {
        let (sentence, group, is_for_head) = (sentence.into(), None, false);
        Self {
            status,
            code,
            headers,
            sentence,
            quotes_name: false,
            group,
            is_news: true,
            is_for_head,
        }
    }

    /// 400 with the code `bad_request`.
    pub fn bad(sentence: &str) -> Self {
        Self::coded("bad_request", sentence)
    }

    /// 400 with another code.
    pub fn coded(code: &'static str, sentence: &str) -> Self {
        Self::new(400, code, TEXT, sentence.to_owned())
    }

    /// 401 or 403, or 503 while there are no keys: the client is not let in. It gets the standard word only; the cause is for the log.
    pub(crate) fn rejected(rejection: &Rejection) -> Self {
        let code = rejection.word();
        let (status, headers, sentence) = match (rejection, code) {
            (Rejection::NoToken, _) => (
                401,
                "WWW-Authenticate: Bearer\r\nContent-Type: text/plain; charset=utf-8\r\n",
                "this gateway needs a token, for example in the header Authorization: Bearer TOKEN",
            ),
            (Rejection::NoKeysYet, _) => (
                503,
                "Retry-After: 1\r\nContent-Type: text/plain; charset=utf-8\r\n",
                "this gateway has no keys for tokens yet: try again, or try another",
            ),
            (Rejection::UserDenied, _) => {
                (403, INSUFFICIENT_SCOPE, "this user is not allowed to connect")
            }
            (_, "expired") => (
                401,
                "WWW-Authenticate: Bearer error=\"expired\"\r\n\
                 Content-Type: text/plain; charset=utf-8\r\n",
                "the token has expired: get a new one and come back",
            ),
            _ => (
                401,
                "WWW-Authenticate: Bearer error=\"invalid_token\"\r\n\
                 Content-Type: text/plain; charset=utf-8\r\n",
                "the token is not valid: the gateway's log says why",
            ),
        };
        Self::new(status, code, headers, sentence.to_owned())
    }

    /// 403: only a cookie says who the client is, and any page could have made a browser send it.
    pub(crate) fn cookie_of_a_stranger() -> Self {
        Self::forbidden(
            "origin_not_allowed",
            "a cookie with a token is accepted only from pages of the gateway's --allow-origin"
                .to_owned(),
        )
    }

    /// 400: the query has a token, which could end up in logs.
    pub(crate) fn token_in_url() -> Self {
        Self::bad(
            "parameter token: a token in the URL is accepted on loopback only, or with the gateway's \
             --token-in-url",
        )
    }

    /// 503: as many clients that have not sent their token yet as the gateway holds.
    pub(crate) fn too_many_unauthenticated() -> Self {
        let headers = "Retry-After: 1\r\nContent-Type: text/plain; charset=utf-8\r\n";
        let sentence = "too many clients have not sent their token yet: try again later";
        Self::new(503, TOO_MANY_UNAUTHENTICATED, headers, sentence.to_owned())
    }

    fn forbidden(code: &'static str, sentence: String) -> Self {
        Self::new(403, code, TEXT, sentence)
    }

    /// 403: the client has no right to what it asks for.
    pub(crate) fn not_allowed(action: Action<'_>) -> Self {
        let sentence = format!("this client is not allowed to {action}");
        let group = match action {
            Action::Subscribe { group } => Some(group.into()),
            _ => None,
        };
        Self { group, ..Self::new(403, "not_allowed", INSUFFICIENT_SCOPE, sentence) }
    }

    /// 404 with the code `not_found`.
    pub fn not_found(sentence: &str) -> Self {
        Self::new(404, "not_found", TEXT, sentence.to_owned())
    }

    /// 404 for a websocket at another path than `/`.
    pub(crate) fn no_websocket_at(path: &str) -> Self {
        if path == "/events" {
            return Self::not_found(
                "no websocket at /events: websockets are at /, event streams at /events without the \
                 headers of an upgrade",
            );
        }
        let path: String = path.chars().take(100).collect();
        Self::not_found(&format!("no websocket at {path:?}: websockets are at /"))
    }

    /// 405 for a path that accepts GET only; `accepted` says so in words.
    pub fn method(method: &str, accepted: &str) -> Self {
        let headers = "Allow: GET\r\nContent-Type: text/plain; charset=utf-8\r\n";
        Self::new(405, "method_not_allowed", headers, format!("method {method}: {accepted}"))
    }

    /// 405 for a health check with another method than GET, HEAD or OPTIONS.
    pub(crate) fn health_method(method: &str) -> Self {
        let sentence = format!("method {method}: accepted are GET, HEAD and OPTIONS");
        Self::new(405, "method_not_allowed", UNCACHED_TEXT, sentence)
    }

    /// 408: the head of the request did not arrive in time.
    pub(crate) fn timeout() -> Self {
        Self::new(408, "timeout", TEXT, "the request did not arrive in time".to_owned())
    }

    fn websocket_version(sentence: String) -> Self {
        let headers = "Sec-WebSocket-Version: 13\r\nUpgrade: websocket\r\n\
             Content-Type: text/plain; charset=utf-8\r\n";
        Self::new(426, "websocket_version", headers, sentence)
    }

    /// 503: there has been no link to the broker yet, or none for too long.
    pub(crate) fn no_broker() -> Self {
        let headers = "Retry-After: 1\r\nContent-Type: text/plain; charset=utf-8\r\n";
        let sentence =
            "this gateway has no link to its broker: try again, or try another".to_owned();
        Self::new(503, "no_broker", headers, sentence)
    }

    /// 503: as many connections as `--max-connections` allows.
    pub(crate) fn full() -> Self {
        let headers = "Retry-After: 10\r\nContent-Type: text/plain; charset=utf-8\r\n";
        let sentence = "this gateway has reached its limit of connections: try another".to_owned();
        Self::new(503, GATEWAY_FULL, headers, sentence)
    }

    /// 503: as many connections of this user as `--max-connections-per-user` allows.
    pub(crate) fn crowded_user(max: u32) -> Self {
        let headers = "Retry-After: 10\r\nContent-Type: text/plain; charset=utf-8\r\n";
        let sentence = format!(
            "too many connections of this user: at most {max} at a time are accepted (the gateway's \
             --max-connections-per-user)"
        );
        Self::new(503, TOO_MANY_CONNECTIONS, headers, sentence)
    }

    /// 200 with an instruction to come back after `retry_millis`: an `EventSource` gives up for good on
    /// any other status.
    pub(crate) fn come_back(retry_millis: u32) -> Self {
        let headers = "Content-Type: text/event-stream\r\nCache-Control: no-store\r\n";
        Self::new(200, "come_back", headers, format!("retry: {retry_millis}\n"))
    }

    /// 204: the answer to a preflight request for an event stream.
    pub(crate) fn preflight() -> Self {
        let headers = "Access-Control-Allow-Methods: GET\r\n\
             Access-Control-Allow-Headers: authorization, cache-control, last-event-id\r\n\
             Access-Control-Max-Age: 5\r\n";
        Self::new(204, "preflight", headers, String::new())
    }

    /// The answer to a health check: 200 `ok`, or 503 with the word that says what is missing.
    pub(crate) fn health(hindrance: Option<&'static str>) -> Self {
        let (status, word) = hindrance.map_or((200, "ok"), |word| (503, word));
        let health = Self::new(status, word, UNCACHED_TEXT, word.to_owned());
        Self { is_news: false, ..health }
    }

    /// 200 without a body: the answer to `OPTIONS /`, which is HAProxy's default health check.
    pub(crate) fn options() -> Self {
        let options = Self::new(200, "options", "Allow: GET, HEAD, OPTIONS\r\n", String::new());
        Self { is_news: false, ..options }
    }

    /// The same refusal for a request with this method: to a HEAD, it has no body.
    pub(crate) fn for_method(mut self, method: &str) -> Self {
        self.is_for_head = method == "HEAD";
        self
    }

    /// How a websocket is closed that opens only to be refused: because the same request would be refused
    /// again, or because the page of a browser must learn why. `None` if the status refuses it.
    pub(crate) fn close_code(&self) -> Option<CloseCode> {
        match (self.status, self.code) {
            (401, _) => Some(CloseCode::NoValidToken),
            (403, "not_allowed") => Some(CloseCode::NotAllowed),
            (400 | 403 | 404, _) => Some(CloseCode::PolicyViolation),
            (_, "no_keys") => Some(CloseCode::NoKeys),
            (_, TOO_MANY_UNAUTHENTICATED) => Some(CloseCode::TooManyUnauthenticated),
            _ => self.is_one_of_many().then_some(CloseCode::RateLimited),
        }
    }

    /// Whether there is no room for the client, so that there may be many more like it.
    pub(crate) fn is_one_of_many(&self) -> bool {
        matches!(
            self.code,
            TOO_MANY_CONNECTIONS | TOO_MANY_UNAUTHENTICATED | RATE_LIMITED | GATEWAY_FULL
        )
    }

    /// What is wrong, for people to read.
    pub fn sentence(&self) -> &str {
        &self.sentence
    }

    /// The same refusal, whose sentence quotes the name of a parameter as the client has sent it.
    pub(crate) fn quoting_name(self) -> Self {
        Self { quotes_name: true, ..self }
    }

    /// What is wrong, for the log.
    pub(crate) fn for_log(&self) -> &str {
        if self.quotes_name {
            return "a parameter is unknown, or its name is not UTF-8, percent-encoded";
        }
        &self.sentence
    }

    /// The whole response, after which the connection ends. `reader` is the web page that may read it.
    pub fn response(&self, reader: Option<Reader<'_>>) -> Bytes {
        let Self { status, headers, sentence, is_for_head, .. } = self;
        let phrase = match status {
            200 => "OK",
            204 => "No Content",
            400 => "Bad Request",
            401 => "Unauthorized",
            403 => "Forbidden",
            404 => "Not Found",
            405 => "Method Not Allowed",
            408 => "Request Timeout",
            426 => "Upgrade Required",
            429 => "Too Many Requests",
            431 => "Request Header Fields Too Large",
            _ => "Service Unavailable",
        };
        let connection = if *status == 426 { "close, Upgrade" } else { "close" };
        let cors = reader.map_or(String::new(), |reader| reader.headers() + "Vary: Origin\r\n");
        let body = if sentence.is_empty() { String::new() } else { format!("{sentence}\n") };
        let length = match status {
            204 => String::new(),
            _ => format!("Content-Length: {}\r\n", body.len()),
        };
        let body = if *is_for_head { "" } else { &*body };
        format!(
            "HTTP/1.1 {status} {phrase}\r\nConnection: {connection}\r\n{headers}{cors}{length}\r\n\
             {body}"
        )
        .into()
    }
}

impl From<HeadError> for Refusal {
    fn from(error: HeadError) -> Self {
        match error {
            HeadError::TooLarge => Self::new(431, "large_head", TEXT, error.to_string()),
            HeadError::NotHttp(_) => Self::bad(&error.to_string()),
        }
    }
}

impl From<Crowded> for Refusal {
    /// 503 for too many connections, 429 for too many new ones.
    fn from(crowded: Crowded) -> Self {
        match crowded {
            Crowded::Connections { .. } => Self::new(
                503,
                TOO_MANY_CONNECTIONS,
                "Retry-After: 10\r\nContent-Type: text/plain; charset=utf-8\r\n",
                format!("{crowded} (the gateway's --max-connections-per-address)"),
            ),
            Crowded::Arrivals { .. } => Self::new(
                429,
                RATE_LIMITED,
                "Retry-After: 1\r\nContent-Type: text/plain; charset=utf-8\r\n",
                format!("{crowded} (the gateway's --max-handshakes-per-second-per-address)"),
            ),
        }
    }
}

impl From<HandshakeError> for Refusal {
    fn from(error: HandshakeError) -> Self {
        match error {
            HandshakeError::Method { method } => {
                Self::method(&method, "a websocket opens with GET")
            }
            HandshakeError::Version => Self::websocket_version(error.to_string()),
            _ => Self::bad(&error.to_string()),
        }
    }
}

impl From<NotAllowed> for Refusal {
    fn from(error: NotAllowed) -> Self {
        match error {
            NotAllowed::Proxy { .. } => Self::forbidden(
                "proxy_not_allowed",
                format!(
                    "{error}, and this gateway is open to its own host only: configure token keys \
                     ([[tokens.keys]] in the settings file), or start it with --open if everybody whom \
                     the proxy lets through may do anything"
                ),
            ),
            NotAllowed::Host { .. } => Self::forbidden(
                "host_not_allowed",
                format!(
                    "{error}: accepted are loopback names such as localhost and 127.0.0.1, and \
                     those of the gateway's --allow-host"
                ),
            ),
            NotAllowed::Origin { .. } => Self::forbidden(
                "origin_not_allowed",
                format!("{error}: accepted are those of the gateway's --allow-origin"),
            ),
        }
    }
}

#[cfg(test)]
mod tests;
