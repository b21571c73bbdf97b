//! The stream of messages that a client sends. It yields text and binary messages. It answers pings and
//! Close frames itself, closes a client that breaks the protocol, and completes every close. Where a
//! dialect is one-way, it drops all input and only notices the end of the connection.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use campanile_edge::Rate;
use campanile_edge::websocket::{self, Decoder, Limits, Message, Opcode, Violation};
use futures_util::Stream;
use tokio::sync::watch;

use crate::connection::line::Line;
use crate::connection::pace::{Pace, Paced};
use crate::connection::socket::{Ending, Unsent};
use crate::dialects::RequestError;
use crate::limits::GatewayLimits;
use crate::meters::{ClientLimit, GatewayMeters};
use crate::websocket::close::{CloseCause, CloseCode};

/// How many bytes one read asks for: enough for many small messages, and few enough for the messages
/// that a client could make of them to stay in memory until they are handled.
const READ_BYTES: usize = 16 << 10;

thread_local! {
    /// Shared by all connections of a thread: an idle connection needs no read buffer.
    static READ_BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// What holds for the reading of all clients of a worker.
#[derive(Debug)]
pub struct Terms {
    /// How long what still waits for a client may take to leave after a close.
    flush_limit: Duration,
    limits: watch::Receiver<Arc<GatewayLimits>>,
    meters: GatewayMeters,
}

impl Terms {
    /// After a close, what still waits for a client may take up to `flush_limit` to leave. `limits` has
    /// the rates of messages. `meters` counts what exceeds them.
    pub fn new(
        flush_limit: Duration,
        limits: watch::Receiver<Arc<GatewayLimits>>,
        meters: GatewayMeters,
    ) -> Arc<Self> {
        Arc::new(Self { flush_limit, limits, meters })
    }
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
    pace: Pace,
    terms: Arc<Terms>,
}

#[derive(Debug)]
enum Phase {
    Open,
    Ending(Ending),
    Over,
}

impl Incoming {
    /// Reads a socket whose handshake is done; `early` holds the bytes that followed the request's
    /// head.
    pub fn new(line: Line, limits: Limits, mut early: Vec<u8>, terms: Arc<Terms>) -> Self {
        let mut incoming = Self::dropping(line, terms);
        incoming.decoder = Some(Box::new(Decoder::new(limits)));
        incoming.take_in(&mut early);
        incoming
    }

    /// The same for a client that has yet to say who it is. Its first message may have at most `max_bytes`.
    pub fn unauthenticated(
        line: Line,
        limits: Limits,
        max_bytes: NonZeroU32,
        mut early: Vec<u8>,
        terms: Arc<Terms>,
    ) -> Self {
        let mut incoming = Self::dropping(line, terms);
        incoming.decoder = Some(Box::new(Decoder::new(limits).with_first(max_bytes)));
        incoming.take_in(&mut early);
        incoming
    }

    /// Drops everything that the client sends, and yields nothing.
    pub fn dropping(line: Line, terms: Arc<Terms>) -> Self {
        Self {
            line,
            decoder: None,
            messages: VecDeque::new(),
            violation: None,
            phase: Phase::Open,
            pace: Pace::default(),
            terms,
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
            if !matches!(message, Message::Close(_)) && !self.is_in_time(&message) {
                continue;
            }
            match message {
                Message::Ping(payload) => self.answer(websocket::frame(Opcode::Pong, &payload)),
                Message::Pong => {}
                Message::Close(code) => {
                    let payload = code.map(u16::to_be_bytes);
                    let payload = payload.as_ref().map_or(&[][..], |code| &code[..]);
                    let answer = websocket::frame(Opcode::Close, payload);
                    // Whichever code it had: it is the client's own close.
                    self.line.socket.close(answer, Unsent::Flush, Some(CloseCause::Client));
                }
                data => return Some(data),
            }
        }
        // An idle connection must not keep the memory of its busiest moment.
        self.messages = VecDeque::new();
        None
    }

    /// Counts a message, control frames included. If there are too many, it is refused, and a client that
    /// does not heed that is closed.
    fn is_in_time(&mut self, message: &Message) -> bool {
        let rate = self.terms.limits.borrow().rates.messages;
        let paced = self.pace.count(rate, Instant::now());
        if paced == Paced::InTime {
            return true;
        }
        self.terms.meters.client_limits.count(ClientLimit::Messages);
        match paced {
            Paced::InTime => {}
            Paced::TooSoon if matches!(message, Message::Ping(_) | Message::Pong) => {}
            Paced::TooSoon => {
                let per_second = rate.map_or(0, Rate::per_second);
                let error = RequestError::RateLimited { group: None, what: "messages", per_second };
                self.line.say(self.line.rules().error(&error));
            }
            Paced::GoesOn => {
                self.line.close(CloseCode::RateLimited, Unsent::Flush);
                self.messages = VecDeque::new();
            }
        }
        false
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
                let cause = Some(CloseCause::Violation(violation));
                self.line.socket.close(last, Unsent::Flush, cause);
            }
            if !self.line.socket.is_open() {
                let ending = Ending::new(self.line.socket.clone(), self.terms.flush_limit);
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
