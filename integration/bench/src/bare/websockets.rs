//! The limit of what a server of websockets can do: one epoll thread that answers handshakes, and
//! sends what its control connection says with one `send` per client. It keeps nothing of a client but
//! its socket, and closes one that is not ready. A handshake is `accept4`, `epoll_ctl`, `recv` and
//! `send`, as it is at the gateway.

use std::io::{self, Read as _};
use std::net::{TcpListener, TcpStream};

use campanile_edge::websocket::{Opcode, accept_key, frame};
use slab::Slab;

use super::{accept, listen, send};
use crate::poll::Poll;

/// What it says first, as long as a gateway's greeting.
const GREETING: &[u8] = b"workerID:1000000000000000 connectionID:10000 connected\n";

pub const CLIENTS: u64 = u64::MAX;
pub const CONTROL: u64 = u64::MAX - 1;

const KEY: &[u8] = b"\r\nSec-WebSocket-Key: ";

struct Server {
    poll: Poll,
    sockets: Slab<TcpStream>,
    buffer: Vec<u8>,
}

/// Serves websockets on one port. On another one, a single connection says what to send: how many
/// contents, in 4 bytes, then each of them behind its length, in 4 bytes. They are sent together.
pub fn serve() -> io::Result<()> {
    let clients = listen("limit")?;
    let control = listen("control")?;
    clients.set_nonblocking(true)?;
    let mut server = Server { poll: Poll::new()?, sockets: Slab::new(), buffer: vec![0; 64 << 10] };
    server.poll.add(&clients, CLIENTS, false)?;
    let (mut control, _) = control.accept()?;
    server.poll.add(&control, CONTROL, false)?;
    loop {
        let ready: Vec<u64> = server.poll.wait(None)?.collect();
        for token in ready {
            match token {
                CLIENTS => server.accept(&clients)?,
                CONTROL => server.send_to_all(&mut control)?,
                token => server.read(token as usize),
            }
        }
    }
}

impl Server {
    fn accept(&mut self, listener: &TcpListener) -> io::Result<()> {
        while let Some(socket) = accept(listener)? {
            let place = self.sockets.vacant_entry();
            self.poll.add(&socket, place.key() as u64, false)?;
            place.insert(socket);
        }
        Ok(())
    }

    /// Answers a handshake; takes no notice of anything else that a client says.
    fn read(&mut self, place: usize) {
        let Some(socket) = self.sockets.get_mut(place) else { return };
        let is_open = match socket.read(&mut self.buffer) {
            Ok(0) | Err(_) => false,
            Ok(read) => match key(&self.buffer[..read]) {
                Some(key) => send(socket, &welcome(key)),
                None => true,
            },
        };
        if !is_open {
            self.sockets.remove(place);
        }
    }

    fn send_to_all(&mut self, control: &mut TcpStream) -> io::Result<()> {
        let frames = frames(control)?;
        self.sockets.retain(|_, socket| send(socket, &frames));
        Ok(())
    }
}

/// Reads contents, and returns a frame for each of them.
pub fn frames(control: &mut TcpStream) -> io::Result<Vec<u8>> {
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
