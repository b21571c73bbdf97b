//! A websocket client that can be wrong: raw frames over a blocking socket, as a test wants them. It
//! shares no code with the server.

pub mod stream;

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use super::block::Block;
use crate::deadline::DEADLINE;

pub use stream::Stream;

pub const FIN: u8 = 0x80;
pub const CONTINUATION: u8 = 0x0;
pub const TEXT: u8 = 0x1;
pub const BINARY: u8 = 0x2;
pub const CLOSE: u8 = 0x8;
pub const PING: u8 = 0x9;
pub const PONG: u8 = 0xa;

const MASK: [u8; 4] = [0x9c, 0x01, 0xfe, 0x55];

/// A client's frame: `first` is its first byte, FIN and reserved bits included.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = header(first, payload.len() as u64);
    frame.extend(payload.iter().enumerate().map(|(i, byte)| byte ^ MASK[i % 4]));
    frame
}

/// The header of a masked frame, with its length in the shortest form.
pub fn header(first: u8, len: u64) -> Vec<u8> {
    let mut header = vec![first];
    match len {
        0..=125 => header.push(0x80 | len as u8),
        126..=0xffff => {
            header.push(0xfe);
            header.extend((len as u16).to_be_bytes());
        }
        _ => {
            header.push(0xff);
            header.extend(len.to_be_bytes());
        }
    }
    header.extend(MASK);
    header
}

/// A Close frame with a code and a reason.
pub fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    frame(FIN | CLOSE, &[&code.to_be_bytes(), reason].concat())
}

/// What a server sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawFrame {
    pub first: u8,
    pub payload: Vec<u8>,
}

impl RawFrame {
    pub fn new(opcode: u8, payload: impl Into<Vec<u8>>) -> Self {
        Self { first: FIN | opcode, payload: payload.into() }
    }

    /// The code and the reason of a Close frame; 1005 where there is none.
    pub fn closing(&self) -> (u16, &str) {
        assert_eq!(self.first, FIN | CLOSE, "not a close: {}", self.shown());
        match self.payload.split_first_chunk() {
            None => (1005, ""),
            Some((code, reason)) => {
                (u16::from_be_bytes(*code), str::from_utf8(reason).expect("a reason in UTF-8"))
            }
        }
    }

    fn shown(&self) -> String {
        let start = &self.payload[..self.payload.len().min(60)];
        format!("{:#04x} {:?}", self.first, String::from_utf8_lossy(start))
    }
}

/// One connection.
#[derive(Debug)]
pub struct Client {
    pub stream: TcpStream,
    pub tls: Option<Box<ClientConnection>>,
    unread: Vec<u8>,
}

/// What is read and written: the stream itself, or TLS over it.
trait Wire: Read + Write {}

impl<T: Read + Write> Wire for T {}

impl Client {
    /// A connection on which nothing has been sent.
    pub fn raw(address: SocketAddr) -> Self {
        Self::on(TcpStream::connect(address).expect("the server listens"))
    }

    /// The same from an address of this host, such as 127.0.0.2.
    pub fn raw_from(source: impl Into<IpAddr>, address: SocketAddr) -> Self {
        Self::on(connect_from(source, address).expect("the server listens"))
    }

    fn on(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("a socket");
        stream.set_read_timeout(Some(DEADLINE)).expect("a socket");
        stream.set_write_timeout(Some(DEADLINE)).expect("a socket");
        Self { stream, tls: None, unread: Vec::new() }
    }

    /// A connection over TLS to a server of this name, on which nothing has been sent: the handshake
    /// begins with the first read or write.
    pub fn secure(address: SocketAddr, config: &Arc<ClientConfig>, name: &str) -> Self {
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let tls = ClientConnection::new(config.clone(), name).expect("settings");
        Self { tls: Some(Box::new(tls)), ..Self::raw(address) }
    }

    fn wire(&mut self) -> Box<dyn Wire + '_> {
        match &mut self.tls {
            None => Box::new(&self.stream),
            Some(tls) => Box::new(rustls::Stream::new(&mut **tls, &mut self.stream)),
        }
    }

    /// A websocket without a subprotocol.
    pub fn open(address: SocketAddr) -> Self {
        Self::open_with(address, &request("/", &[]))
    }

    /// A websocket that speaks `campanile.v1`.
    pub fn open_v1(address: SocketAddr, target: &str) -> Self {
        Self::open_with(address, &request(target, &["Sec-WebSocket-Protocol: campanile.v1"]))
    }

    /// A websocket; frames may follow the request.
    pub fn open_with(address: SocketAddr, request: &[u8]) -> Self {
        let mut client = Self::raw(address);
        client.send(request);
        client.upgraded();
        client
    }

    /// Reads the response that opens the websocket.
    pub fn upgraded(&mut self) {
        let head = self.read_head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        // RFC 6455 section 1.3 gives this answer to the key that `request` sends.
        assert!(head.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{head}");
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.wire().write_all(bytes).expect("the server reads");
    }

    /// Sends in pieces, each in a write of its own.
    pub fn send_chopped(&mut self, bytes: &[u8], len: usize) {
        for piece in bytes.chunks(len) {
            self.send(piece);
        }
    }

    /// Sends bytes that nobody may read.
    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.wire().write_all(bytes)
    }

    pub fn shut_down(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            tls.write_tls(&mut self.stream).expect("the server reads");
        }
        self.stream.shutdown(Shutdown::Write).expect("a connected socket");
    }

    /// The next frame, complete.
    pub fn recv(&mut self) -> RawFrame {
        self.fill(2);
        let (len, at) = match self.unread[1] {
            126 => (self.length(2), 4),
            127 => (self.length(8), 10),
            len => (usize::from(len), 2),
        };
        assert!(len < 1 << 31, "a server never masks");
        self.fill(at + len);
        let mut frame: Vec<u8> = self.unread.drain(..at + len).collect();
        RawFrame { first: frame[0], payload: frame.split_off(at) }
    }

    #[track_caller]
    pub fn expect(&mut self, opcode: u8, payload: impl AsRef<[u8]>) {
        let (frame, payload) = (self.recv(), payload.as_ref());
        assert_eq!(frame.first, FIN | opcode, "{}", frame.shown());
        assert!(frame.payload == payload, "another payload: {}", frame.shown());
    }

    /// The next message of `campanile.v1`.
    #[track_caller]
    pub fn json(&mut self) -> serde_json::Value {
        let mut frame = self.recv();
        while frame.first == FIN | PING {
            frame = self.recv();
        }
        assert_eq!(frame.first, FIN | TEXT, "{}", frame.shown());
        serde_json::from_slice(&frame.payload).expect("JSON")
    }

    /// Expects an event of `campanile.v1`: the sequence of its position, and its content.
    #[track_caller]
    pub fn expect_event(&mut self, sequence: u64, content: &str) {
        let event = self.json();
        let id = event["id"].as_str().unwrap_or_default();
        let shown = (id.rsplit_once('-').map(|(_, of)| of), event["content"].as_str());
        let is_it = shown == (Some(&*sequence.to_string()), Some(content));
        let shown: String = event.to_string().chars().take(200).collect();
        assert!(is_it, "not event {sequence}: {shown}");
    }

    /// Sends a message of `campanile.v1`.
    pub fn say(&mut self, message: &serde_json::Value) {
        self.send(&frame(FIN | TEXT, message.to_string().as_bytes()));
    }

    /// Expects a Close frame with this code (1005: without one), then the end of the stream: no
    /// more frames and no reset.
    #[track_caller]
    pub fn expect_close(&mut self, code: u16) {
        let frame = self.recv();
        assert_eq!(frame.closing().0, code, "{}", frame.shown());
        self.expect_end();
    }

    /// The same, with this reason.
    #[track_caller]
    pub fn expect_close_saying(&mut self, code: u16, reason: &str) {
        let frame = self.recv();
        assert_eq!(frame.closing(), (code, reason));
        self.expect_end();
    }

    #[track_caller]
    pub fn expect_end(&mut self) {
        let mut rest = std::mem::take(&mut self.unread);
        self.wire().read_to_end(&mut rest).expect("an end, not a reset");
        assert!(rest.is_empty(), "more: {:?}", String::from_utf8_lossy(&rest));
    }

    /// Expects that nothing comes for a while.
    #[track_caller]
    pub fn expect_silence(&mut self, time: Duration) {
        assert!(self.unread.is_empty(), "{:?}", String::from_utf8_lossy(&self.unread));
        self.stream.set_read_timeout(Some(time)).expect("a socket");
        match self.wire().read(&mut [0; 1]) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            other => panic!("not silent: {other:?}"),
        }
        self.stream.set_read_timeout(Some(DEADLINE)).expect("a socket");
    }

    /// Reads an HTTP response up to the end of its head.
    pub fn read_head(&mut self) -> String {
        self.read_until("\r\n\r\n")
    }

    /// Reads up to and with this string.
    #[track_caller]
    pub fn read_until(&mut self, end: &str) -> String {
        let mut from = 0;
        loop {
            let mut places = self.unread[from..].windows(end.len());
            if let Some(place) = places.position(|window| window == end.as_bytes()) {
                let text = self.unread.drain(..from + place + end.len()).collect();
                return String::from_utf8(text).expect("UTF-8");
            }
            from = self.unread.len().saturating_sub(end.len());
            self.fill(self.unread.len() + 1);
        }
    }

    /// Reads an HTTP response up to the end of the stream: its status, its whole head, its body.
    pub fn response(&mut self) -> (u16, String, String) {
        let head = self.read_head();
        let status = head[9..12].parse().expect("a status");
        let mut body = std::mem::take(&mut self.unread);
        self.wire().read_to_end(&mut body).expect("an end, not a reset");
        (status, head, String::from_utf8(body).expect("UTF-8"))
    }

    /// How long the server takes to end the connection, in whatever way.
    pub fn until_over(&mut self) -> Duration {
        let begun = Instant::now();
        let mut dropped = [0; 4096];
        while matches!(self.wire().read(&mut dropped), Ok(1..)) {}
        begun.elapsed()
    }

    fn length(&mut self, bytes: usize) -> usize {
        self.fill(2 + bytes);
        self.unread[2..2 + bytes].iter().fold(0, |len, byte| len << 8 | usize::from(*byte))
    }

    fn fill(&mut self, len: usize) {
        let mut buffer = [0; 64 << 10];
        while self.unread.len() < len {
            let read = self.wire().read(&mut buffer).expect("the server answers");
            match read {
                0 => {
                    let start = &self.unread[..self.unread.len().min(60)];
                    panic!("the stream ended behind {:?}", String::from_utf8_lossy(start));
                }
                read => self.unread.extend_from_slice(&buffer[..read]),
            }
        }
    }
}

/// Connects from an address of this host.
pub fn connect_from(source: impl Into<IpAddr>, address: SocketAddr) -> io::Result<TcpStream> {
    let source = SocketAddr::new(source.into(), 0);
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(address),
        socket2::Type::STREAM,
        Some(socket2::Protocol::TCP),
    )?;
    socket.bind(&source.into())?;
    socket.connect(&address.into())?;
    Ok(socket.into())
}

/// A handshake for a target, with more headers.
pub fn request(target: &str, headers: &[&str]) -> Vec<u8> {
    let more: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    format!(
        "GET {target} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{more}\r\n"
    )
    .into_bytes()
}
