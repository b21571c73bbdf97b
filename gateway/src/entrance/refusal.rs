//! What the front door answers to a request that it does not let in.

use std::ops::RangeInclusive;

use bytes::Bytes;
use campanile_edge::HeadError;
use campanile_edge::pages::{NotAllowed, Reader};
use campanile_edge::websocket::HandshakeError;

/// When an event stream for which there is no room or no broker is worth another try. Each client
/// gets its own time out of these, or a refused crowd would come back in step.
pub const COME_BACK_MILLIS: RangeInclusive<u32> = 3_000..=8_000;

/// An HTTP error with a sentence that says what to do, or another short answer of the front door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// What is wrong, in one word for programs: `code` of an `error` in `campanile.v1`.
    pub code: &'static str,
    /// Headers of this refusal alone, each with its line end.
    headers: &'static str,
    sentence: String,
    /// The request was a HEAD: the answer has no body, and says how long it would be.
    is_for_head: bool,
}

const TEXT: &str = "Content-Type: text/plain; charset=utf-8\r\n";

/// For what changes from one moment to the next.
const UNCACHED_TEXT: &str = "Content-Type: text/plain; charset=utf-8\r\n\
     Cache-Control: no-store\r\nAllow: GET, HEAD, OPTIONS\r\n";

impl Refusal {
    fn new(status: u16, code: &'static str, headers: &'static str, sentence: String) -> Self {
        Self { status, code, headers, sentence, is_for_head: false }
    }

    /// 400.
    pub fn bad(sentence: &str) -> Self {
        Self::coded("bad_request", sentence)
    }

    /// 400 with a code of its own.
    pub fn coded(code: &'static str, sentence: &str) -> Self {
        Self::new(400, code, TEXT, sentence.to_owned())
    }

    /// 403.
    fn forbidden(code: &'static str, sentence: String) -> Self {
        Self::new(403, code, TEXT, sentence)
    }

    /// 404.
    pub fn not_found(sentence: &str) -> Self {
        Self::new(404, "not_found", TEXT, sentence.to_owned())
    }

    /// 405.
    pub fn method(method: &str, accepted: &str) -> Self {
        let headers = "Allow: GET\r\nContent-Type: text/plain; charset=utf-8\r\n";
        Self::new(405, "method_not_allowed", headers, format!("method {method}: {accepted}"))
    }

    /// 405 for a health check.
    pub fn health_method(method: &str) -> Self {
        let sentence = format!("method {method}: accepted are GET, HEAD and OPTIONS");
        Self::new(405, "method_not_allowed", UNCACHED_TEXT, sentence)
    }

    /// 408.
    pub fn timeout() -> Self {
        Self::new(408, "timeout", TEXT, "the request did not arrive in time".to_owned())
    }

    /// 426.
    fn websocket_version(sentence: String) -> Self {
        let headers = "Sec-WebSocket-Version: 13\r\nUpgrade: websocket\r\n\
             Content-Type: text/plain; charset=utf-8\r\n";
        Self::new(426, "websocket_version", headers, sentence)
    }

    /// 503: there has been no broker yet, or none for long.
    pub fn no_broker() -> Self {
        let headers = "Retry-After: 1\r\nContent-Type: text/plain; charset=utf-8\r\n";
        let sentence = "this gateway has no link to its broker, try again or another".to_owned();
        Self::new(503, "no_broker", headers, sentence)
    }

    /// 503: `--max-connections`.
    pub fn full() -> Self {
        let headers = "Retry-After: 10\r\nContent-Type: text/plain; charset=utf-8\r\n";
        let sentence = "this gateway has as many connections as it takes, try another".to_owned();
        Self::new(503, "gateway_full", headers, sentence)
    }

    /// 200, and come back after a time out of [`COME_BACK_MILLIS`]: an `EventSource` gives up for
    /// good on any other status.
    pub fn come_back(retry_millis: u32) -> Self {
        let headers = "Content-Type: text/event-stream\r\nCache-Control: no-store\r\n";
        Self::new(200, "come_back", headers, format!("retry: {retry_millis}\n"))
    }

    /// 204: a page may open an event stream.
    pub fn preflight() -> Self {
        let headers = "Access-Control-Allow-Methods: GET\r\n\
             Access-Control-Allow-Headers: cache-control, last-event-id\r\n\
             Access-Control-Max-Age: 5\r\n";
        Self::new(204, "preflight", headers, String::new())
    }

    /// The answer to a health check: 200 `ok`, or 503 and the word that says what is missing.
    pub fn health(hindrance: Option<&'static str>) -> Self {
        let (status, word) = hindrance.map_or((200, "ok"), |word| (503, word));
        Self::new(status, word, UNCACHED_TEXT, word.to_owned())
    }

    /// 200 without a body: what `OPTIONS /` is answered, the default check of HAProxy.
    pub fn options() -> Self {
        Self::new(200, "options", "Allow: GET, HEAD, OPTIONS\r\n", String::new())
    }

    /// The same as the answer to a request with this method: that to a HEAD has no body.
    pub fn to_method(mut self, method: &str) -> Self {
        self.is_for_head = method == "HEAD";
        self
    }

    /// Whether the same request would be refused again, so that its client should not repeat it.
    pub fn is_final(&self) -> bool {
        matches!(self.status, 400 | 403 | 404)
    }

    /// What a reader is told.
    pub fn sentence(&self) -> &str {
        &self.sentence
    }

    /// The whole response; the connection ends after it. `reader` is the page that may read it.
    pub fn response(&self, reader: Option<Reader<'_>>) -> Bytes {
        let Self { status, headers, sentence, is_for_head, .. } = self;
        let phrase = match status {
            200 => "OK",
            204 => "No Content",
            400 => "Bad Request",
            403 => "Forbidden",
            404 => "Not Found",
            405 => "Method Not Allowed",
            408 => "Request Timeout",
            426 => "Upgrade Required",
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
mod tests {
    use campanile_edge::Head;

    use super::*;

    #[test]
    fn a_refusal_is_a_whole_response_that_ends_the_connection() {
        assert_eq!(
            &Refusal::no_broker().response(None)[..],
            b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\n\
              Content-Type: text/plain; charset=utf-8\r\nContent-Length: 61\r\n\r\n\
              this gateway has no link to its broker, try again or another\n"
        );
        assert_eq!(
            &Refusal::come_back(5000).response(None)[..],
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/event-stream\r\n\
              Cache-Control: no-store\r\nContent-Length: 13\r\n\r\nretry: 5000\n\n"
        );
        assert_eq!(
            &Refusal::bad("no").to_method("HEAD").response(None)[..],
            b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\
              Content-Type: text/plain; charset=utf-8\r\nContent-Length: 3\r\n\r\n"
        );
    }

    #[test]
    fn what_is_wrong_with_a_request_has_a_status_and_names_the_flag() {
        let evil = || "evil.example".to_owned();
        let no_http = Head::parse(b"\0").expect_err("not HTTP");
        let cases: [(Refusal, u16, &str, &str); 6] = [
            (HeadError::TooLarge.into(), 431, "large_head", "16 KiB or 64 lines"),
            (no_http.into(), 400, "bad_request", "not an HTTP/1 request"),
            (
                HandshakeError::Method { method: "PUT".to_owned() }.into(),
                405,
                "method_not_allowed",
                "method PUT: a websocket opens with GET",
            ),
            (HandshakeError::Version.into(), 426, "websocket_version", "must be 13"),
            (
                NotAllowed::Host { hosts: vec![evil()] }.into(),
                403,
                "host_not_allowed",
                "host \"evil.example\" is not allowed: accepted are loopback names such as localhost \
                 and 127.0.0.1, and those of the gateway's --allow-host",
            ),
            (
                NotAllowed::Origin { origin: evil() }.into(),
                403,
                "origin_not_allowed",
                "origin \"evil.example\" is not allowed: accepted are those of the gateway's \
                 --allow-origin",
            ),
        ];
        for (refusal, status, code, part) in cases {
            assert_eq!((refusal.status, refusal.code), (status, code));
            assert!(refusal.sentence().contains(part), "{}", refusal.sentence());
        }
    }
}
