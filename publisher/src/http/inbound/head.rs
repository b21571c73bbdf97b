//! Reads the head of one request strictly, and writes it anew for actix-http. Pure.

use std::fmt::Write as _;

use super::target::{REFUSED, origin_form};
use crate::http::HttpError;
use crate::http::methods::Methods;
use crate::push::shown::Shown;

/// How many headers a request may have: as many as actix-http reads.
pub const MAX_HEADERS: usize = 96;

/// How large all headers of a request may be together.
pub const MAX_HEADERS_BYTES: usize = 64 << 10;

/// What follows a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// A body of this many bytes, perhaps none.
    Length(u64),
    /// A chunked body.
    Chunked,
    /// Another protocol, up to the end of the connection.
    Websocket,
}

/// A head that can be passed on.
#[derive(Debug, PartialEq, Eq)]
pub struct Head {
    /// The bytes for actix-http. The target is in origin form, or [`REFUSED`].
    pub bytes: Vec<u8>,
    /// What follows it.
    pub framing: Framing,
    /// Whether the connection ends with the answer.
    pub closes: bool,
    /// What is wrong with the target, if it was replaced.
    pub refusal: Option<HttpError>,
}

/// Reads a complete head whose target is already escaped.
///
/// # Errors
/// Why it is not HTTP/1, or why the end of the request cannot be found.
pub fn read(bytes: &[u8]) -> Result<Head, HttpError> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(len)) if len == bytes.len() => {}
        Ok(_) => return Err(HttpError::NotHttp { reason: "its head is malformed".to_owned() }),
        Err(httparse::Error::TooManyHeaders) => return Err(too_large()),
        Err(error) => return Err(HttpError::NotHttp { reason: error.to_string() }),
    }
    let (method, target) = (request.method.unwrap_or_default(), request.path.unwrap_or_default());
    let is_1_1 = request.version == Some(1);
    if method == "CONNECT" {
        let (method, methods) = (method.into(), Methods::Push);
        return Err(HttpError::MethodNotAllowed { method, methods });
    }
    let headers = Headers(request.headers);
    headers.check_host(is_1_1)?;
    let framing = headers.framing(is_1_1)?;
    let length_is_known = headers.all("content-length").next().is_some();
    if !is_1_1 && method == "POST" && !length_is_known && framing != Framing::Websocket {
        return Err(HttpError::PostWithoutLength);
    }
    let closes = headers.lists("connection", "close")
        || !is_1_1 && !headers.lists("connection", "keep-alive")
        || framing == Framing::Websocket;
    let (target, refusal) = match origin_form(target) {
        Some(parts) => (parts, None),
        None => (("", REFUSED), Some(HttpError::NoTarget { target: shown(target) })),
    };
    let mut line = String::with_capacity(bytes.len());
    let minor = u8::from(is_1_1);
    // Writing to a string cannot fail.
    let _ = write!(line, "{method} {}{} HTTP/1.{minor}\r\n", target.0, target.1);
    let mut written = line.into_bytes();
    for header in headers.0.iter().filter(|header| header.is_passed_on()) {
        for part in [header.name.as_bytes(), b": ", header.value, b"\r\n"] {
            written.extend_from_slice(part);
        }
    }
    let end: &[u8] = match (framing, closes) {
        (Framing::Websocket, _) if headers.lists("connection", "upgrade") => {
            b"Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
        }
        (Framing::Websocket, _) => b"Upgrade: websocket\r\nConnection: close\r\n\r\n",
        (_, true) => b"Connection: close\r\n\r\n",
        (_, false) => b"Connection: keep-alive\r\n\r\n",
    };
    written.extend_from_slice(end);
    Ok(Head { bytes: written, framing, closes, refusal })
}

/// Returns the error for a head that is too large.
pub fn too_large() -> HttpError {
    HttpError::HeadTooLarge { max_headers: MAX_HEADERS, max_bytes: MAX_HEADERS_BYTES }
}

struct Headers<'a, 'b>(&'a [httparse::Header<'b>]);

impl Headers<'_, '_> {
    fn all(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        let named = self.0.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
        named.map(|header| header.value.trim_ascii())
    }

    /// Reads a header that decides where the request ends.
    fn one(&self, header: &'static str) -> Result<Option<&[u8]>, HttpError> {
        let mut values = self.all(header);
        let first = values.next();
        match values.next() {
            None => Ok(first),
            Some(_) => Err(HttpError::RepeatedHeader { header }),
        }
    }

    fn lists(&self, name: &str, token: &str) -> bool {
        self.all(name)
            .flat_map(|value| value.split(|&byte| byte == b','))
            .any(|listed| listed.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    }

    fn check_host(&self, is_1_1: bool) -> Result<(), HttpError> {
        match self.one("Host")? {
            None if is_1_1 => Err(HttpError::NoHost),
            _ => Ok(()),
        }
    }

    /// Follows RFC 9112, section 6.3, and refuses what that allows a server to repair.
    fn framing(&self, is_1_1: bool) -> Result<Framing, HttpError> {
        let coding = self.one("Transfer-Encoding")?;
        let length = self.one("Content-Length")?;
        let is_websocket = self.lists("upgrade", "websocket");
        if let Some(coding) = coding {
            let accepted = match coding.eq_ignore_ascii_case(b"chunked") {
                true if !is_1_1 => "HTTP/1.0 has none, send Content-Length",
                true if length.is_some() => "one of it and Content-Length is accepted, not both",
                true if is_websocket => "a websocket handshake has no body",
                true => return Ok(Framing::Chunked),
                false => "only chunked is accepted",
            };
            return Err(bad("Transfer-Encoding", coding, accepted));
        }
        let sent = length.unwrap_or(b"0");
        let length: u64 = match length {
            None => 0,
            Some(digits) => {
                let number = std::str::from_utf8(digits).ok().filter(|text| is_number(text));
                let number = number.and_then(|text| text.parse().ok());
                number.ok_or_else(|| {
                    bad("Content-Length", digits, "a decimal number below 2^64 is accepted")
                })?
            }
        };
        match is_websocket {
            true if length > 0 => {
                Err(bad("Content-Length", sent, "a websocket handshake has no body"))
            }
            true => Ok(Framing::Websocket),
            false => Ok(Framing::Length(length)),
        }
    }
}

/// Shows a target up to its query, which may have secrets in it.
fn shown(target: &str) -> Shown {
    Shown::from(target.split('?').next().unwrap_or_default())
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn bad(header: &'static str, value: &[u8], accepted: &'static str) -> HttpError {
    HttpError::BadHeader { header, value: Shown::from(value), accepted }
}

trait PassedOn {
    fn is_passed_on(&self) -> bool;
}

impl PassedOn for httparse::Header<'_> {
    /// Whether the header is passed on as it is. `Connection` and `Upgrade` are written anew: no protocol
    /// but a websocket is spoken here, and whether the connection is kept is already decided.
    fn is_passed_on(&self) -> bool {
        !["connection", "upgrade"].iter().any(|name| self.name.eq_ignore_ascii_case(name))
    }
}

/// Returns where the head ends, behind its empty line. The first `seen` bytes were searched before.
pub fn end_of_headers(bytes: &[u8], seen: &mut usize) -> Option<usize> {
    if bytes.starts_with(b"\n") {
        return Some(1);
    }
    if bytes.starts_with(b"\r\n") {
        return Some(2);
    }
    let from = *seen;
    *seen = bytes.len().saturating_sub(2);
    let ends = |at: usize| match bytes.get(at + 1..) {
        Some([b'\n', ..]) => Some(at + 2),
        Some([b'\r', b'\n', ..]) => Some(at + 3),
        _ => None,
    };
    let line_ends = bytes[from..].iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    line_ends.map(|(at, _)| from + at).find_map(ends)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentence(head: &str) -> String {
        read(head.as_bytes()).expect_err(head).to_string()
    }

    fn framing(headers: &str) -> Framing {
        let head = format!("POST / HTTP/1.1\r\nHost: h\r\n{headers}\r\n");
        read(head.as_bytes()).expect("fine").framing
    }

    #[test]
    fn a_head_is_written_anew_with_its_target_in_origin_form() {
        let head = b"GET HTTP://h/?a HTTP/1.1\nHost: h\r\nConnection: x, Upgrade\r\nUpgrade: h2c\r\nA:  \xff \r\n\r\n";
        let read = read(head).expect("fine");
        let expected = b"GET /?a HTTP/1.1\r\nHost: h\r\nA: \xff\r\nConnection: keep-alive\r\n\r\n";
        assert_eq!(read.bytes, expected);
        assert_eq!((read.framing, read.closes), (Framing::Length(0), false));
    }

    #[test]
    fn a_websocket_is_passed_on_in_the_one_form_that_is_read_behind() {
        for (headers, connection) in [
            ("Upgrade: WebSocket\r\nConnection: keep-alive, upgrade\r\n", "Upgrade"),
            ("Upgrade: h2c, websocket\r\nConnection: Upgrade, close\r\n", "Upgrade"),
            ("Upgrade: websocket\r\nConnection: keep-alive\r\n", "close"),
            ("Upgrade: websocket\r\n", "close"),
        ] {
            let head = format!("GET /stream HTTP/1.1\r\nHost: h\r\n{headers}A: b\r\n\r\n");
            let read = read(head.as_bytes()).expect("fine");
            let expected = format!(
                "GET /stream HTTP/1.1\r\nHost: h\r\nA: b\r\nUpgrade: websocket\r\n\
                 Connection: {connection}\r\n\r\n"
            );
            assert_eq!(String::from_utf8(read.bytes).expect("a text"), expected);
            assert_eq!((read.framing, read.closes), (Framing::Websocket, true));
        }
    }

    #[test]
    fn the_headers_say_where_a_request_ends() {
        assert_eq!(framing(""), Framing::Length(0));
        assert_eq!(framing("Content-Length: 012\r\n"), Framing::Length(12));
        assert_eq!(framing("transfer-encoding: Chunked\r\n"), Framing::Chunked);
        assert_eq!(framing("Upgrade: WebSocket\r\nContent-Length: 0\r\n"), Framing::Websocket);
        assert_eq!(framing("Upgrade: h2c\r\nContent-Length: 3\r\n"), Framing::Length(3));
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        for (headers, named) in [
            (
                "Content-Length: 1\r\nContent-Length: 1\r\n",
                "Content-Length is given more than once: send",
            ),
            ("Content-Length: 1, 1\r\n", "Content-Length"),
            ("Content-Length: +1\r\n", "Content-Length"),
            ("Content-Length: -1\r\n", "Content-Length"),
            ("Content-Length: 1 1\r\n", "Content-Length"),
            ("Content-Length: 0x1\r\n", "Content-Length"),
            ("Content-Length: 18446744073709551616\r\n", "Content-Length"),
            ("Content-Length:\r\n", "Content-Length"),
            ("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", "Transfer-Encoding"),
            (
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
                "Transfer-Encoding is given more than once: send it once",
            ),
            ("Transfer-Encoding: gzip, chunked\r\n", "Transfer-Encoding"),
            ("Transfer-Encoding: identity\r\n", "Transfer-Encoding"),
            ("Transfer-Encoding: \x0bchunked\r\n", "not HTTP/1"),
            ("Transfer-Encoding : chunked\r\n", "not HTTP/1"),
            ("A: b\r\n Content-Length: 1\r\n", "not HTTP/1"),
            ("A: b\rContent-Length: 1\r\n", "not HTTP/1"),
            ("A\0: b\r\n", "not HTTP/1"),
            ("Host: h\r\n", "Host is given more than once: send it once"),
            ("Upgrade: websocket\r\nTransfer-Encoding: chunked\r\n", "Transfer-Encoding"),
            (
                "Upgrade: websocket\r\nContent-Length: 3\r\n",
                "Content-Length is \"3\": a websocket handshake has no body",
            ),
        ] {
            let said = sentence(&format!("POST / HTTP/1.1\r\nHost: h\r\n{headers}\r\n"));
            assert!(said.contains(named), "{headers}: {said}");
        }
        let old = "POST / HTTP/1.0\r\n";
        assert!(sentence(&format!("{old}\r\n")).contains("Content-Length"));
        let chunked = sentence(&format!("{old}Transfer-Encoding: chunked\r\n\r\n"));
        assert!(chunked.contains("HTTP/1.0"), "{chunked}");
        assert!(sentence("GET / HTTP/1.1\r\n\r\n").contains("Host is missing"));
        assert!(sentence("CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n").contains("CONNECT"));
        let many = "a: b\r\n".repeat(MAX_HEADERS);
        let error = read(format!("GET / HTTP/1.1\r\nHost: h\r\n{many}\r\n").as_bytes());
        assert_eq!(error, Err(too_large()));
    }

    #[test]
    fn version_and_header_say_who_keeps_the_connection() {
        for (version, header, closes) in [
            ("1.1", "", false),
            ("1.1", "Connection: a, CLOSE\r\n", true),
            ("1.1", "Connection: keep-alive\r\nConnection: close\r\n", true),
            ("1.0", "", true),
            ("1.0", "Connection: Keep-Alive\r\n", false),
            ("1.0", "Connection: keep-alive, close\r\n", true),
        ] {
            let head = format!("GET / HTTP/{version}\r\nHost: h\r\n{header}\r\n");
            let read = read(head.as_bytes()).expect("fine");
            assert_eq!(read.closes, closes, "{head}");
        }
    }
}
