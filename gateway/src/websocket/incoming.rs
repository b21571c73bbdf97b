//! The stream of messages that a client sends. It yields text and binary messages. It answers pings and
//! Close frames itself, closes a client that breaks the protocol, and completes every close. Where a
//! dialect is one-way, it drops all input and only notices the end of the connection.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use campanile_edge::websocket::{self, Decoder, Limits, Message, Opcode, Violation};
use futures_util::Stream;

use crate::connection::line::Line;
use crate::connection::socket::{Ending, Unsent};

/// How many bytes one read asks for: enough for many small messages, and few enough for the messages
/// that a client could make of them to stay in memory until they are handled.
const READ_BYTES: usize = 16 << 10;

thread_local! {
    /// Shared by all connections of a thread: an idle connection needs no read buffer.
    static READ_BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// Reads messages from a socket until its end.
#[derive(Debug)]
pub struct Incoming {
    line: Line,
    /// `None`: what the client sends is dropped.
    decoder: Option<Box<Decoder>>,
    messages: VecDeque<Message>,
    /// How the client broke the protocol after `messages`, which are still handled.
    violation: Option<Violation>,
    phase: Phase,
    flush_limit: Duration,
}

#[derive(Debug)]
enum Phase {
    Open,
    Ending(Ending),
    Over,
}

impl Incoming {
    /// Reads a socket whose handshake is done; `early` holds the bytes that followed the request's
    /// head. After a close, what still waits for the client may take up to `flush_limit` to leave.
    pub fn new(line: Line, limits: Limits, mut early: Vec<u8>, flush_limit: Duration) -> Self {
        let mut incoming = Self::dropping(line, flush_limit);
        incoming.decoder = Some(Box::new(Decoder::new(limits)));
        incoming.take_in(&mut early);
        incoming
    }

    /// Drops everything that the client sends, and yields nothing.
    pub fn dropping(line: Line, flush_limit: Duration) -> Self {
        Self {
            line,
            decoder: None,
            messages: VecDeque::new(),
            violation: None,
            phase: Phase::Open,
            flush_limit,
        }
    }

    fn take_in(&mut self, bytes: &mut [u8]) {
        if let Some(decoder) = &mut self.decoder {
            self.violation = decoder.feed(bytes, &mut self.messages).err();
        }
    }

    /// Handles control frames, and returns the next text or binary message; `None` if there is none.
    fn next_data(&mut self) -> Option<Message> {
        while let Some(message) = self.messages.pop_front() {
            match message {
                Message::Ping(payload) => self.answer(websocket::frame(Opcode::Pong, &payload)),
                Message::Pong => {}
                Message::Close(code) => {
                    let payload = code.map(u16::to_be_bytes);
                    let payload = payload.as_ref().map_or(&[][..], |code| &code[..]);
                    self.line.socket.close(websocket::frame(Opcode::Close, payload), Unsent::Flush);
                }
                data => return Some(data),
            }
        }
        // An idle connection must not keep the memory of its busiest moment.
        self.messages = VecDeque::new();
        None
    }

    fn answer(&self, pong: Bytes) {
        self.line.settle(self.line.socket.send_control(&pong));
    }
}

impl Stream for Incoming {
    type Item = Message;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        loop {
            match &mut self.phase {
                Phase::Over => return Poll::Ready(None),
                Phase::Ending(ending) => {
                    ready!(Pin::new(ending).poll(cx));
                    self.phase = Phase::Over;
                    continue;
                }
                Phase::Open => {}
            }
            if let Some(message) = self.next_data() {
                return Poll::Ready(Some(message));
            }
            if let Some(violation) = self.violation.take() {
                let last = websocket::close(violation.close_code(), &violation.to_string());
                self.line.socket.close(last, Unsent::Flush);
            }
            if !self.line.socket.is_open() {
                let ending = Ending::new(self.line.socket.clone(), self.flush_limit);
                self.phase = Phase::Ending(ending);
                continue;
            }
            let socket = self.line.socket.clone();
            let read = READ_BUFFER.with_borrow_mut(|buffer| {
                let read = ready!(socket.poll_read(cx, buffer));
                if let Ok(len @ 1..) = read {
                    self.take_in(&mut buffer[..len]);
                }
                Poll::Ready(read)
            });
            match ready!(read) {
                Ok(1..) => {}
                Ok(0) | Err(_) => {
                    // The client is gone without a close, so nobody would read ours.
                    self.line.socket.abort();
                    self.phase = Phase::Over;
                }
            }
        }
    }
}
