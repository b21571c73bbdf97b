//! The limit of what a server of websockets can do: one epoll thread that answers handshakes, and
//! sends what its control connection says with one `send` per client. It keeps nothing of a client but
//! its socket, and closes one that is not ready. A handshake is `accept4`, `epoll_ctl`, `recv` and
//! `send`, as it is at the gateway.

use std::io::{self, Read as _};
use std::net::TcpStream;

use campanile_edge::websocket::{Opcode, accept_key, frame};
use slab::Slab;

use super::{accept, listen, send};
use crate::poll::Poll;

/// What it says first, as long as a gateway's greeting.
const GREETING: &[u8] = b"workerID:1000000000000000 connectionID:10000 connected\n";

const CLIENTS: u64 = u64::MAX;
const CONTROL: u64 = u64::MAX - 1;

const KEY: &[u8] = b"\r\nSec-WebSocket-Key: ";

/// A client of a bare server.
pub trait Client {
    /// Answers a handshake; takes no notice of anything else that the client says. `false` if it has gone,
    /// or does not take the answer at once.
    fn read(&mut self, buffer: &mut [u8]) -> bool;

    /// Sends frames; `false` if the client does not take all of them at once.
    fn send(&mut self, frames: &[u8]) -> bool;
}

impl Client for TcpStream {
    fn read(&mut self, buffer: &mut [u8]) -> bool {
        match io::Read::read(self, buffer) {
            Ok(0) | Err(_) => false,
            Ok(read) => match key(&buffer[..read]) {
                Some(key) => send(self, &welcome(key)),
                None => true,
            },
        }
    }

    fn send(&mut self, frames: &[u8]) -> bool {
        send(self, frames)
    }
}

/// Serves websockets on one port. On another one, a single connection says what to send: how many
/// contents, in 4 bytes, then each of them behind its length, in 4 bytes. They are sent together.
pub fn serve() -> io::Result<()> {
    serve_to(Ok)
}

/// The same for other clients, which `open` makes of their sockets.
pub fn serve_to<C: Client>(open: impl Fn(TcpStream) -> io::Result<C>) -> io::Result<()> {
    let listener = listen("limit")?;
    let control = listen("control")?;
    listener.set_nonblocking(true)?;
    let (mut poll, mut clients, mut buffer) = (Poll::new()?, Slab::new(), vec![0; 64 << 10]);
    poll.add(&listener, CLIENTS, false)?;
    let (mut control, _) = control.accept()?;
    poll.add(&control, CONTROL, false)?;
    loop {
        let ready: Vec<u64> = poll.wait(None)?.collect();
        for token in ready {
            match token {
                CLIENTS => {
                    while let Some(socket) = accept(&listener)? {
                        let place = clients.vacant_entry();
                        poll.add(&socket, place.key() as u64, false)?;
                        place.insert(open(socket)?);
                    }
                }
                CONTROL => {
                    let frames = frames(&mut control)?;
                    clients.retain(|_, client: &mut C| client.send(&frames));
                }
                token => {
                    let place = token as usize;
                    if clients.get_mut(place).is_some_and(|client| !client.read(&mut buffer)) {
                        clients.remove(place);
                    }
                }
            }
        }
    }
}

/// Reads contents, and returns a frame for each of them.
fn frames(control: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut frames = Vec::new();
    for _ in 0..read_number(control)? {
        let mut content = vec![0; read_number(control)?];
        control.read_exact(&mut content)?;
        frames.extend_from_slice(&frame(Opcode::Text, &content));
    }
    Ok(frames)
}

fn read_number(control: &mut TcpStream) -> io::Result<usize> {
    let mut bytes = [0; 4];
    control.read_exact(&mut bytes)?;
    Ok(u32::from_be_bytes(bytes) as usize)
}

/// The key of a client's handshake, if this is one.
pub fn key(head: &[u8]) -> Option<&str> {
    let at = head.windows(KEY.len()).position(|window| window == KEY)? + KEY.len();
    let len = head[at..].iter().position(|byte| *byte == b'\r')?;
    str::from_utf8(&head[at..at + len]).ok()
}

/// The answer to a handshake, and the greeting.
pub fn welcome(key: &str) -> Vec<u8> {
    let mut bytes = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        accept_key(key)
    )
    .into_bytes();
    bytes.extend_from_slice(&frame(Opcode::Text, GREETING));
    bytes
}
