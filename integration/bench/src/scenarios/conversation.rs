//! A connection with many messages in flight: a publish stream, or the bare echo that it stands beside.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use bytes::{Buf as _, BytesMut};
use campanile_edge::websocket::Opcode;

use crate::bare::ECHO_LENGTH_BYTES;
use crate::poll::Poll;
use crate::push;
use crate::scenarios::broadcasts::CONTENT_BYTES;
use crate::stop::Stop;
use crate::wire::{self, Heard, Speech, Stage};

/// How many publishes may be without a receipt at a time.
const IN_FLIGHT: usize = 4_096;

/// Without any receipt for this long, the benchmark fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// The format of the items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Json,
    Msgpack,
}

/// A publish as a frame for the stream.
pub fn message(format: Format, number: u64) -> Vec<u8> {
    let content = wire::numbered(number, CONTENT_BYTES);
    let mut frame = Vec::new();
    match format {
        Format::Json => {
            let item = push::item(&content, None);
            wire::client_frame(&mut frame, Opcode::Text, item.as_bytes());
        }
        Format::Msgpack => {
            // {"content": content}
            let mut item = b"\x81\xa7content\xd9".to_vec();
            item.push(content.len() as u8);
            item.extend_from_slice(content.as_bytes());
            wire::client_frame(&mut frame, Opcode::Binary, &item);
        }
    }
    frame
}

/// What comes back.
pub enum Answers {
    /// Each message, from the bare echo.
    Echoes,
    /// The receipts of a publish stream.
    Receipts,
}

/// A connection on which messages go out, and an answer to each comes back.
pub struct Conversation {
    stream: TcpStream,
    kind: Answers,
    poll: Poll,
    input: BytesMut,
}

impl Conversation {
    pub fn open(publisher: SocketAddr, format: Format) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect(publisher)?;
        let request = wire::request(Speech::Plain, &publisher.to_string(), "/stream");
        let protocol = match format {
            Format::Json => "campanile.publish.v1.json",
            Format::Msgpack => "campanile.publish.v1.msgpack",
        };
        stream.write_all(&request[..request.len() - 2])?;
        stream.write_all(format!("Sec-WebSocket-Protocol: {protocol}\r\n\r\n").as_bytes())?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).context("the publisher closed the connection")?;
            head.extend_from_slice(&byte);
        }
        ensure!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
        Self::over(stream, Answers::Receipts)
    }

    pub fn over(stream: TcpStream, kind: Answers) -> anyhow::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let poll = Poll::new()?;
        poll.add(&stream, 0, false)?;
        Ok(Self { stream, kind, poll, input: BytesMut::with_capacity(256 << 10) })
    }

    /// Sends all messages, with at most 4,096 of them unanswered; returns how many it were per second.
    pub fn run(
        mut self,
        stop: &Stop,
        messages: &[Vec<u8>],
        mut meanwhile: impl FnMut(Duration) -> anyhow::Result<()>,
    ) -> anyhow::Result<f64> {
        let begun = Instant::now();
        let (mut sent, mut answered) = (0, 0);
        let mut output = BytesMut::new();
        let mut news = Instant::now();
        while answered < messages.len() {
            stop.check()?;
            let until = messages.len().min(answered + IN_FLIGHT);
            for message in &messages[sent..until] {
                output.extend_from_slice(message);
            }
            sent = until;
            self.write(&mut output)?;
            self.poll.want_room(&self.stream, 0, !output.is_empty())?;
            self.poll.wait(Some(Duration::from_millis(1)))?.for_each(drop);
            let more = self.answers()?;
            answered += more;
            if more > 0 {
                news = Instant::now();
            }
            ensure!(
                news.elapsed() < PATIENCE,
                "no receipt for {PATIENCE:?}: {answered} of {sent} came"
            );
            meanwhile(Duration::ZERO)?;
        }
        Ok(messages.len() as f64 / begun.elapsed().as_secs_f64())
    }

    fn write(&mut self, output: &mut BytesMut) -> anyhow::Result<()> {
        while !output.is_empty() {
            match self.stream.write(output) {
                Ok(written) => output.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Reads the answers that have arrived, and returns how many they are.
    fn answers(&mut self) -> anyhow::Result<usize> {
        let mut chunk = [0; 64 << 10];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => bail!("the connection was closed"),
                Ok(read) => self.input.extend_from_slice(&chunk[..read]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        match self.kind {
            Answers::Echoes => Ok(self.echoes()),
            Answers::Receipts => self.receipts(),
        }
    }

    fn echoes(&mut self) -> usize {
        let mut count = 0;
        while let Some((length, _)) = self.input.split_first_chunk::<ECHO_LENGTH_BYTES>() {
            let len = ECHO_LENGTH_BYTES + u32::from_be_bytes(*length) as usize;
            if self.input.len() < len {
                break;
            }
            self.input.advance(len);
            count += 1;
        }
        count
    }

    fn receipts(&mut self) -> anyhow::Result<usize> {
        let (mut count, mut bad) = (0, None);
        let taken =
            wire::hear(Speech::Plain, &mut Stage::Body.clone(), &self.input, |heard| match heard {
                Heard::Message(receipt) => {
                    count += 1;
                    // In JSON `"status":200`, in MessagePack the key and an 8-bit number.
                    let accepted = wire::find(receipt, b"status\":200").is_some()
                        || wire::find(receipt, b"status\xcc\xc8").is_some();
                    if !accepted {
                        bad = Some(String::from_utf8_lossy(receipt).into_owned());
                    }
                }
                Heard::Close(code) => bad = Some(format!("close {code}")),
                _ => {}
            });
        self.input.advance(taken?);
        match bad {
            Some(answer) => bail!("a publish was answered {answer}"),
            None => Ok(count),
        }
    }
}
