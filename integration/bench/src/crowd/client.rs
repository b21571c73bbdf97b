//! One client of a crowd: it reads what arrives, answers pings, and notes what it receives.

use std::io::ErrorKind::{BrokenPipe, ConnectionReset, WouldBlock};
use std::io::{self, Read as _, Write as _};
use std::time::Duration;

use campanile_edge::websocket::Opcode;

use super::stream::Stream;
use crate::wire::{self, Heard, Speech, Stage};

/// What clients have received.
#[derive(Debug, Default)]
pub struct Tally {
    /// Clients that listen.
    pub greeted: usize,
    /// How many of these were promised everything that they have missed (`recovered: true`).
    pub recovered: usize,
    /// Contents with a number.
    pub contents: u64,
    pub pings: u64,
    /// Contents that came twice, or after a later one.
    pub misplaced: u64,
    /// Connections that ended, with the last close code or status.
    pub ended: usize,
    pub reason: Option<u16>,
    /// From the sending of a content to its arrival at a client, if that is measured.
    pub latencies: Vec<Duration>,
}

/// A connection, and what is known of its client.
pub struct Client {
    pub socket: Stream,
    speech: Speech,
    stage: Stage,
    pub is_greeted: bool,
    /// The number of the last content.
    pub last: Option<u64>,
    /// The last close code or status that it received.
    pub reason: Option<u16>,
    partial: Vec<u8>,
}

impl Client {
    /// A client that has sent its request.
    pub fn new(socket: Stream, speech: Speech, is_greeted: bool) -> Self {
        let (last, reason, partial) = (None, None, Vec::new());
        Self { socket, speech, stage: Stage::Head, is_greeted, last, reason, partial }
    }

    /// Reads what has arrived; `true` if that was the end of the connection.
    pub fn read(
        &mut self,
        buffer: &mut [u8],
        tally: &mut Tally,
        latency: impl Fn(u64) -> Option<Duration>,
    ) -> io::Result<bool> {
        loop {
            let read = match self.socket.read(buffer) {
                Ok(0) => 0,
                Ok(read) => read,
                Err(error) if error.kind() == WouldBlock => return Ok(false),
                Err(error) if error.kind() == ConnectionReset => 0,
                Err(error) => return Err(error),
            };
            if read == 0 {
                tally.ended += 1;
                return Ok(true);
            }
            if self.partial.is_empty() {
                let taken = self.hear(&buffer[..read], tally, &latency)?;
                self.partial.extend_from_slice(&buffer[taken..read]);
            } else {
                let mut input = std::mem::take(&mut self.partial);
                input.extend_from_slice(&buffer[..read]);
                let taken = self.hear(&input, tally, &latency)?;
                self.partial.extend_from_slice(&input[taken..]);
            }
            if read < buffer.len() {
                return Ok(false);
            }
        }
    }

    fn hear(
        &mut self,
        input: &[u8],
        tally: &mut Tally,
        latency: impl Fn(u64) -> Option<Duration>,
    ) -> io::Result<usize> {
        let Self { socket, speech, stage, is_greeted, last, reason, .. } = self;
        let mut answers = Vec::new();
        let taken = wire::hear(*speech, stage, input, |heard| match heard {
            Heard::Head(101 | 200) => tally.greeted += usize::from(*is_greeted),
            Heard::Head(status) => {
                tally.ended += 1;
                tally.reason = Some(status);
                *reason = Some(status);
            }
            Heard::Message(message) if *is_greeted => {
                let Some(number) = wire::number(message) else { return };
                tally.contents += 1;
                tally.misplaced += u64::from(last.is_some_and(|last| number <= last));
                *last = Some(number);
                tally.latencies.extend(latency(number));
            }
            Heard::Message(message) => {
                *is_greeted = true;
                tally.greeted += 1;
                let recovered = wire::find(message, b"\"recovered\":true").is_some();
                tally.recovered += usize::from(recovered);
            }
            Heard::Ping(payload) => {
                tally.pings += 1;
                wire::client_frame(&mut answers, Opcode::Pong, payload);
            }
            Heard::Close(code) => {
                tally.reason = Some(code);
                *reason = Some(code);
                wire::client_frame(&mut answers, Opcode::Close, &code.to_be_bytes());
            }
        });
        let taken = taken.map_err(io::Error::other)?;
        match socket.write_all(&answers) {
            // A server that is gone needs no answer. The next read reports that it is.
            Err(error) if matches!(error.kind(), BrokenPipe | ConnectionReset) => Ok(taken),
            written => written.map(|()| taken),
        }
    }
}
