//! What the front door answers to a request that it does not let in.

use std::ops::RangeInclusive;

use bytes::Bytes;

/// When an event stream for which there is no room or no broker is worth another try. Each client
/// gets its own time out of these, or a refused crowd would come back in step.
pub const COME_BACK_MILLIS: RangeInclusive<u32> = 3_000..=8_000;

/// An HTTP error with a sentence that says what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status, 4xx or 5xx.
    pub status: u16,
    /// Headers of this refusal alone, each with its line end.
    headers: &'static str,
    sentence: String,
}

impl Refusal {
    /// 400.
    pub fn bad(sentence: &str) -> Self {
        Self { status: 400, headers: "", sentence: sentence.to_owned() }
    }

    /// 405.
    pub fn method(method: &str, accepted: &str) -> Self {
        let sentence = format!("method {method}: {accepted}");
        Self { status: 405, headers: "Allow: GET\r\n", sentence }
    }

    /// 408.
    pub fn timeout() -> Self {
        let sentence = "the request did not arrive in time".to_owned();
        Self { status: 408, headers: "", sentence }
    }

    /// 426.
    pub fn websocket_version() -> Self {
        let sentence = "Sec-WebSocket-Version must be 13".to_owned();
        let headers = "Sec-WebSocket-Version: 13\r\nUpgrade: websocket\r\n";
        Self { status: 426, headers, sentence }
    }

    /// 431.
    pub fn large_head() -> Self {
        let sentence = "the request line and headers take more than 16 KiB or 64 lines".to_owned();
        Self { status: 431, headers: "", sentence }
    }

    /// 503: there has been no broker yet, or none for long.
    pub fn no_broker() -> Self {
        let sentence = "this gateway has no link to its broker, try again or another".to_owned();
        Self { status: 503, headers: "Retry-After: 1\r\n", sentence }
    }

    /// 503: `--max-connections`.
    pub fn full() -> Self {
        let sentence = "this gateway has as many connections as it takes, try another".to_owned();
        Self { status: 503, headers: "Retry-After: 10\r\n", sentence }
    }

    /// 200, and come back after a time out of [`COME_BACK_MILLIS`]: an `EventSource` gives up for
    /// good on any other status.
    pub fn come_back(retry_millis: u32) -> Self {
        let sentence = format!("retry: {retry_millis}\n");
        let headers = "Content-Type: text/event-stream\r\nCache-Control: no-store\r\n";
        Self { status: 200, headers, sentence }
    }

    /// 204: a page may open an event stream.
    pub fn preflight() -> Self {
        let headers = "Access-Control-Allow-Methods: GET\r\n\
             Access-Control-Allow-Headers: cache-control, last-event-id\r\n\
             Access-Control-Max-Age: 5\r\n";
        Self { status: 204, headers, sentence: String::new() }
    }

    /// The whole response; the connection ends after it. `allow_origin` is the value of
    /// `Access-Control-Allow-Origin`, if it is to have one.
    pub fn response(&self, allow_origin: Option<&str>) -> Bytes {
        let Self { status, headers, sentence } = self;
        let phrase = match status {
            200 => "OK",
            204 => "No Content",
            400 => "Bad Request",
            405 => "Method Not Allowed",
            408 => "Request Timeout",
            426 => "Upgrade Required",
            431 => "Request Header Fields Too Large",
            _ => "Service Unavailable",
        };
        let connection = if *status == 426 { "close, Upgrade" } else { "close" };
        let allow = allow_origin.map_or(String::new(), |origin| {
            format!("Access-Control-Allow-Origin: {origin}\r\nVary: Origin\r\n")
        });
        let body = match status {
            204 => "\r\n".to_owned(),
            200 => format!("Content-Length: {}\r\n\r\n{sentence}\n", sentence.len() + 1),
            _ => format!(
                "Content-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\r\n{sentence}\n",
                sentence.len() + 1
            ),
        };
        format!("HTTP/1.1 {status} {phrase}\r\nConnection: {connection}\r\n{headers}{allow}{body}")
            .into()
    }
}

#[cfg(test)]
mod tests {
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
            &Refusal::come_back(5000).response(Some("http://h"))[..],
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/event-stream\r\n\
              Cache-Control: no-store\r\nAccess-Control-Allow-Origin: http://h\r\nVary: Origin\r\n\
              Content-Length: 13\r\n\r\nretry: 5000\n\n"
        );
    }
}
