//! The limit of what a server of HTTP can do: one epoll thread that parses the head of each request,
//! reads its body, and answers `ok` with one `send`. It keeps nothing of a connection but its socket
//! and a request that has not arrived whole.

use std::io::{self, Read as _};
use std::net::TcpStream;

use slab::Slab;

use super::{accept, listen, send};
use crate::poll::Poll;

const CALLERS: u64 = u64::MAX;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const LAST_ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";

struct Connection {
    socket: TcpStream,
    partial: Vec<u8>,
}

/// Serves HTTP on a free port.
pub fn serve() -> io::Result<()> {
    let listener = listen("HTTP limit")?;
    listener.set_nonblocking(true)?;
    let mut poll = Poll::new()?;
    poll.add(&listener, CALLERS, false)?;
    let mut connections = Slab::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let ready: Vec<u64> = poll.wait(None)?.collect();
        for token in ready {
            if token == CALLERS {
                while let Some(socket) = accept(&listener)? {
                    let place = connections.vacant_entry();
                    poll.add(&socket, place.key() as u64, false)?;
                    place.insert(Connection { socket, partial: Vec::new() });
                }
            } else if !connections[token as usize].is_open_after_read(&mut buffer) {
                connections.remove(token as usize);
            }
        }
    }
}

impl Connection {
    /// Answers what has arrived; `false` if the connection ends with that.
    fn is_open_after_read(&mut self, buffer: &mut [u8]) -> bool {
        let Self { socket, partial } = self;
        let read = match socket.read(buffer) {
            Ok(0) | Err(_) => return false,
            Ok(read) => &buffer[..read],
        };
        if partial.is_empty() {
            answer(socket, read).inspect(|taken| partial.extend_from_slice(&read[*taken..]))
        } else {
            partial.extend_from_slice(read);
            answer(socket, partial).inspect(|taken| drop(partial.drain(..*taken)))
        }
        .is_some()
    }
}

/// Answers the whole requests at the beginning of `input`, and returns how many bytes they have;
/// `None` if the connection ends.
fn answer(socket: &TcpStream, input: &[u8]) -> Option<usize> {
    let mut taken = 0;
    while let Some(request) = request(&input[taken..])? {
        taken += request.len;
        let bytes = if request.is_last { LAST_ANSWER } else { ANSWER };
        if !send(socket, bytes) || request.is_last {
            return None;
        }
    }
    Some(taken)
}

#[derive(Debug, PartialEq, Eq)]
struct Request {
    /// Of its head and its body, in bytes.
    len: usize,
    /// It says `Connection: close`.
    is_last: bool,
}

/// The request at the beginning of `input`; `Some(None)` until it is whole, `None` if it is none.
fn request(input: &[u8]) -> Option<Option<Request>> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(head_len) = head.parse(input).ok()? else { return Some(None) };
    let (mut body_len, mut is_last) = (0, false);
    for header in head.headers {
        if header.name.eq_ignore_ascii_case("content-length") {
            body_len = str::from_utf8(header.value).ok()?.parse().ok()?;
        } else if header.name.eq_ignore_ascii_case("connection") {
            is_last = header.value.eq_ignore_ascii_case(b"close");
        }
    }
    let request = Request { len: head_len.checked_add(body_len)?, is_last };
    Some(Some(request).filter(|request| request.len <= input.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_taken_with_its_body_once_it_is_whole() {
        let post = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabcGET";
        let request_of = |len: usize| request(&post[..len]).expect("HTTP");
        let whole = post.len() - b"GET".len();
        assert_eq!(request_of(whole), Some(Request { len: whole, is_last: false }));
        assert_eq!(request_of(post.len()), request_of(whole));
        assert!((0..whole).all(|len| request_of(len).is_none()));
        let last = b"GET / HTTP/1.1\r\nconnection: Close\r\n\r\n";
        assert_eq!(request(last), Some(Some(Request { len: last.len(), is_last: true })));
        assert_eq!(request(b"GET\r\n\r\n"), None);
    }
}
