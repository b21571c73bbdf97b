//! The head of an HTTP/1 request, read strictly. Pure.

use std::borrow::Cow;

/// The largest head that is accepted, in bytes.
pub const MAX_HEAD_BYTES: usize = 16 << 10;

/// The most headers that are accepted. Browsers send about 20.
const MAX_HEADERS: usize = 64;

/// Why bytes are not the head of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// More than [`MAX_HEAD_BYTES`], or more than 64 headers.
    #[error("the request line and headers take more than 16 KiB or 64 lines")]
    TooLarge,
    /// Not HTTP/1.
    #[error("not an HTTP/1 request: {0}")]
    NotHttp(#[from] httparse::Error),
}

/// Method, target and headers of one request, borrowed from the bytes that a client sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head<'a> {
    /// As it was sent: methods are case-sensitive.
    pub method: &'a str,
    /// The part of the target before the `?`.
    pub path: &'a str,
    /// The part of the target after the `?`, still percent-encoded; empty if there is none.
    pub query: &'a str,
    /// 0 for HTTP/1.0, 1 for HTTP/1.1.
    pub minor_version: u8,
    /// The host in the target, if that is in absolute form.
    pub authority: Option<&'a str>,
    /// Names as they were sent, and values without white space around them.
    headers: Vec<(&'a str, Cow<'a, str>)>,
}

impl<'a> Head<'a> {
    /// Reads a head from the start of `bytes`. Returns it with its length, or `None` if it is not
    /// complete.
    ///
    /// # Errors
    /// See [`HeadError`].
    pub fn parse(bytes: &'a [u8]) -> Result<Option<(Self, usize)>, HeadError> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        let len = match request.parse(bytes) {
            Ok(httparse::Status::Complete(len)) if len <= MAX_HEAD_BYTES => len,
            Ok(httparse::Status::Partial) if bytes.len() < MAX_HEAD_BYTES => return Ok(None),
            Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(HeadError::TooLarge),
            Err(error) => return Err(error.into()),
        };
        let target = request.path.expect("set by a complete parse");
        let (authority, target) = split_authority(target);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        // `http://host?query` has an empty path, which means the root.
        let path = if path.is_empty() { "/" } else { path };
        let head = Self {
            method: request.method.expect("set by a complete parse"),
            path,
            query,
            minor_version: request.version.expect("set by a complete parse"),
            authority,
            headers: request
                .headers
                .iter()
                .map(|header| (header.name, value(header.value)))
                .collect(),
        };
        Ok(Some((head, len)))
    }

    /// A head that another parser has read. `query` is empty if there is none, and `minor_version` is 0
    /// for HTTP/1.0.
    pub fn from_parts(
        method: &'a str,
        path: &'a str,
        query: &'a str,
        minor_version: u8,
        headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Self {
        let headers = headers.into_iter().map(|(name, bytes)| (name, value(bytes))).collect();
        Self { method, path, query, minor_version, authority: None, headers }
    }

    /// All values of a header, in their order. Names are compared without regard to case.
    pub fn all(&self, name: &str) -> impl DoubleEndedIterator<Item = &str> + Clone {
        let named = self.headers.iter().filter(move |(other, _)| other.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_ref())
    }

    /// The value of a header that must not be repeated; `None` if it is repeated or missing.
    pub fn one(&self, name: &str) -> Option<&str> {
        let mut values = self.all(name);
        values.next().filter(|_| values.next().is_none())
    }

    /// Whether a comma-separated header contains a token, ignoring case.
    pub fn lists(&self, name: &str, token: &str) -> bool {
        self.listed(name).any(|listed| listed.eq_ignore_ascii_case(token))
    }

    /// The parts of a comma-separated header. They may be empty.
    pub fn listed(&self, name: &str) -> impl Iterator<Item = &str> + Clone {
        self.all(name).flat_map(|value| value.split(',')).map(str::trim)
    }
}

/// The value of a header as a string. Bytes that are not UTF-8 become U+FFFD.
fn value(bytes: &[u8]) -> Cow<'_, str> {
    match str::from_utf8(bytes) {
        Ok(value) => Cow::Borrowed(value.trim()),
        Err(_) => Cow::Owned(String::from_utf8_lossy(bytes).trim().to_owned()),
    }
}

/// Splits a target in absolute form into the host and the rest. Every server must accept that form (RFC
/// 9112 section 3.2.2), and some websocket clients send the whole URL.
fn split_authority(target: &str) -> (Option<&str>, &str) {
    let absolute = target.split_once("://").filter(|(scheme, _)| {
        ["http", "https", "ws", "wss"].iter().any(|known| scheme.eq_ignore_ascii_case(known))
    });
    match absolute {
        None => (None, target),
        Some((_, rest)) => {
            let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
            (Some(authority), rest)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_head_is_read_and_what_follows_is_left() {
        let bytes = b"GET /events?group=a HTTP/1.1\r\nHost: h\r\nConnection: a\r\nconnection: B, c\r\n\r\nrest";
        let (head, len) = Head::parse(bytes).expect("well-formed").expect("complete");
        assert_eq!(&bytes[len..], b"rest");
        assert_eq!((head.method, head.path, head.query), ("GET", "/events", "group=a"));
        assert_eq!(head.one("host"), Some("h"));
        assert_eq!(head.one("connection"), None);
        assert!(head.lists("connection", "b") && head.lists("connection", "C"));
        assert_eq!(head.listed("connection").collect::<Vec<_>>(), ["a", "B", "c"]);
    }

    #[test]
    fn a_head_of_parts_is_the_same_as_one_that_was_parsed() {
        let bytes = b"GET /stream?a=b HTTP/1.0\r\nA:  b \r\nC: \xff\r\n\r\n";
        let headers: [(&str, &[u8]); 2] = [("A", b" b "), ("C", b"\xff")];
        let head = Head::from_parts("GET", "/stream", "a=b", 0, headers);
        assert_eq!(Head::parse(bytes), Ok(Some((head, bytes.len()))));
    }

    #[test]
    fn a_target_may_name_its_scheme_and_host_in_any_case() {
        for (target, authority, path, query) in [
            ("http://h:1/a?b=c", Some("h:1"), "/a", "b=c"),
            ("HTTP://h/?group=a", Some("h"), "/", "group=a"),
            ("ws://h/?group=a", Some("h"), "/", "group=a"),
            ("WsS://h:443?group=/", Some("h:443"), "/", "group=/"),
            ("https://h", Some("h"), "/", ""),
            ("http://?a", Some(""), "/", "a"),
            ("*", None, "*", ""),
            ("/http://h/", None, "/http://h/", ""),
            ("/?u=http://h/", None, "/", "u=http://h/"),
            ("ftp://h/", None, "ftp://h/", ""),
        ] {
            let bytes = format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n");
            let (head, _) = Head::parse(bytes.as_bytes()).expect("well-formed").expect("complete");
            let read = (head.authority, head.path, head.query);
            assert_eq!(read, (authority, path, query), "{target}");
        }
    }

    #[test]
    fn an_incomplete_head_is_not_an_error_until_it_is_too_large() {
        let mut bytes = b"GET / HTTP/1.1\r\nX: ".to_vec();
        assert_eq!(Head::parse(&bytes), Ok(None));
        bytes.resize(MAX_HEAD_BYTES, b'x');
        assert_eq!(Head::parse(&bytes), Err(HeadError::TooLarge));
    }

    #[test]
    fn too_many_headers_and_other_protocols_are_refused() {
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(65));
        assert_eq!(Head::parse(many.as_bytes()), Err(HeadError::TooLarge));
        for bytes in
            [&b"\x16\x03\x01\x02\x00\x01\x00"[..], b"PRI * HTTP/2.0\r\n\r\n", b"\0\0\0\x01\x80"]
        {
            let read = Head::parse(bytes);
            assert!(matches!(read, Err(HeadError::NotHttp(_))), "{bytes:?}: {read:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic_the_parser(bytes: Vec<u8>) {
            let _ = Head::parse(&bytes);
        }
    }
}
