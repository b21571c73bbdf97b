//! What the front door answers to a request that it does not let in.

use bytes::Bytes;

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

    /// 503: there has been no broker yet.
    pub fn no_broker() -> Self {
        let sentence = "this gateway has not reached its broker yet, try again".to_owned();
        Self { status: 503, headers: "Retry-After: 1\r\n", sentence }
    }

    /// 503: `--max-connections`.
    pub fn full() -> Self {
        let sentence = "this gateway has as many connections as it takes, try another".to_owned();
        Self { status: 503, headers: "Retry-After: 10\r\n", sentence }
    }

    /// The whole response; the connection ends after it.
    pub fn response(&self) -> Bytes {
        let Self { status, headers, sentence } = self;
        let phrase = match status {
            400 => "Bad Request",
            405 => "Method Not Allowed",
            408 => "Request Timeout",
            426 => "Upgrade Required",
            431 => "Request Header Fields Too Large",
            _ => "Service Unavailable",
        };
        let connection = if *status == 426 { "close, Upgrade" } else { "close" };
        format!(
            "HTTP/1.1 {status} {phrase}\r\nConnection: {connection}\r\n{headers}\
             Content-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\r\n{sentence}\n",
            sentence.len() + 1
        )
        .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_a_whole_response_that_ends_the_connection() {
        assert_eq!(
            &Refusal::no_broker().response()[..],
            b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\n\
              Content-Type: text/plain; charset=utf-8\r\nContent-Length: 55\r\n\r\n\
              this gateway has not reached its broker yet, try again\n"
        );
    }
}
