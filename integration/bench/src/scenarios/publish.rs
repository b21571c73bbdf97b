//! How many 64-byte publishes a second one broker accepts, with one gateway and one subscriber that
//! hears them all; beside a bare framed echo of as many bytes, as many in flight.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use bytes::{Buf as _, BytesMut};
use campanile_edge::websocket::Opcode;

use crate::bare::ECHO_LENGTH_BYTES;
use crate::bench::Bench;
use crate::crowd::Crowd;
use crate::poll::Poll;
use crate::process::Process;
use crate::push;
use crate::report::Row;
use crate::scenarios::broadcasts::{CONTENT_BYTES, warm_up};
use crate::stop::Stop;
use crate::subject::{Shape, Subject};
use crate::wire::{self, Heard, Speech, Stage};

/// How many publishes have no receipt at a time.
const IN_FLIGHT: usize = 4_096;

/// The items of one batch.
const BATCH: u64 = 1_000;

/// No receipt for so long is the end.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Default)]
struct Found {
    one_by_one: Vec<f64>,
    batch: Vec<f64>,
    json: Vec<f64>,
    msgpack: Vec<f64>,
}

pub fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let events = if bench.args.quick { 50_000 } else { 300_000 };
    let mut memory = Found::default();
    let mut disk = Found::default();
    let (mut echo_json, mut echo_msgpack, mut joined) = (vec![], vec![], vec![]);
    for run in 0..bench.runs {
        for (on_disk, found) in [(false, &mut memory), (true, &mut disk)] {
            bench.step(run, if on_disk { "on disk" } else { "in memory" });
            let mut subject = bench.own(&Shape { on_disk, ..Shape::default() })?;
            let mut crowd = bench.crowd()?;
            warm_up(&mut crowd, &mut subject)?;
            crowd.join(&subject.doors[0], 1, |_| {})?;
            let mut publishing = Publishing { bench, subject, crowd, next: 1 };
            let small = events / 100;
            found.one_by_one.push(publishing.one_by_one(small)?);
            found.batch.push(publishing.batches(events / 2)?);
            found.json.push(publishing.stream(Format::Json, events)?);
            found.msgpack.push(publishing.stream(Format::Msgpack, events)?);
        }
        bench.step(run, "the echo");
        echo_json.push(echo(&bench.stop, &["echo"], Format::Json, events)?);
        echo_msgpack.push(echo(&bench.stop, &["echo"], Format::Msgpack, events)?);
        joined.push(echo(&bench.stop, &["echo", "--joined"], Format::Msgpack, events)?);
    }
    let mut rows = Vec::new();
    for (place, found, gate, goal) in
        [("in memory", memory, 0.3, 0.5), ("on disk", disk, 0.1, 0.25)]
    {
        let row =
            |how: &str, runs: &[f64]| Row::alone(format!("accepted, {how}, {place}"), "/s", runs);
        rows.push(row("HTTP one by one", &found.one_by_one));
        rows.push(row(&format!("/batch of {BATCH}"), &found.batch));
        let beside = |how: &str, runs: &[f64], echo: &[f64]| {
            Row::beside(format!("accepted, publish stream in {how}, {place}"), "/s", runs, echo)
        };
        rows.push(beside("JSON", &found.json, &echo_json));
        rows.push(beside("MessagePack", &found.msgpack, &echo_msgpack).above(gate, goal));
    }
    rows.push(Row::alone("the echo, were it to join its answers", "/s", &joined));
    Ok(rows)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Json,
    Msgpack,
}

struct Publishing<'a> {
    bench: &'a Bench,
    subject: Subject,
    crowd: Crowd,
    /// The number of the next content.
    next: u64,
}

impl Publishing<'_> {
    fn take(&mut self, events: u64) -> std::ops::Range<u64> {
        let first = self.next;
        self.next += events;
        first..self.next
    }

    fn one_by_one(&mut self, events: u64) -> anyhow::Result<f64> {
        let all = self.crowd.heard().contents + events;
        let numbers = self.take(events);
        let begun = Instant::now();
        for number in numbers {
            let content = wire::numbered(number, CONTENT_BYTES);
            self.subject.pusher.http()?.push("/", &content)?;
        }
        let rate = events as f64 / begun.elapsed().as_secs_f64();
        self.crowd.listen_until(all)?;
        Ok(rate)
    }

    fn batches(&mut self, events: u64) -> anyhow::Result<f64> {
        let all = self.crowd.heard().contents + events;
        let numbers = self.take(events);
        let numbers: Vec<u64> = numbers.collect();
        let batches: Vec<String> = numbers
            .chunks(BATCH as usize)
            .map(|chunk| {
                let items =
                    chunk.iter().map(|n| push::item(&wire::numbered(*n, CONTENT_BYTES), None));
                items.collect::<Vec<_>>().join("\n")
            })
            .collect();
        let begun = Instant::now();
        for batch in &batches {
            let http = self.subject.pusher.http()?;
            http.begin_batch(batch)?;
            http.finish_batch(batch.lines().count())?;
            // The subscriber keeps up meanwhile.
            self.crowd.listen_for(Duration::ZERO)?;
        }
        let rate = events as f64 / begun.elapsed().as_secs_f64();
        self.crowd.listen_until(all)?;
        Ok(rate)
    }

    fn stream(&mut self, format: Format, events: u64) -> anyhow::Result<f64> {
        let all = self.crowd.heard().contents + events;
        let publisher = self.subject.pusher.http()?.host();
        let numbers = self.take(events);
        let messages: Vec<Vec<u8>> = numbers.map(|number| message(format, number)).collect();
        let conversation = Conversation::open(publisher, format)?;
        let crowd = &mut self.crowd;
        let rate = conversation.run(&self.bench.stop, &messages, |wait| crowd.listen_for(wait))?;
        self.crowd.listen_until(all)?;
        Ok(rate)
    }
}

/// A publish as the stream takes it, in a frame.
fn message(format: Format, number: u64) -> Vec<u8> {
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

/// As many bytes a second through a bare echo.
fn echo(stop: &Stop, server: &[&str], format: Format, events: u64) -> anyhow::Result<f64> {
    let mut server = Process::start(server)?;
    let stream = TcpStream::connect(server.address("the echo listens")?)?;
    let messages: Vec<Vec<u8>> = (0..events)
        .map(|number| {
            let message = message(format, number);
            let mut frame = ((message.len() - ECHO_LENGTH_BYTES) as u32).to_be_bytes().to_vec();
            frame.extend_from_slice(&message[ECHO_LENGTH_BYTES..]);
            frame
        })
        .collect();
    Conversation::over(stream, Kind::Echo)?.run(stop, &messages, |_| Ok(()))
}

enum Kind {
    Echo,
    Stream,
}

/// A connection on which messages go out, and an answer to each comes back.
struct Conversation {
    stream: TcpStream,
    kind: Kind,
    poll: Poll,
    input: BytesMut,
}

impl Conversation {
    fn open(publisher: SocketAddr, format: Format) -> anyhow::Result<Self> {
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
        Self::over(stream, Kind::Stream)
    }

    fn over(stream: TcpStream, kind: Kind) -> anyhow::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let poll = Poll::new()?;
        poll.add(&stream, 0, false)?;
        Ok(Self { stream, kind, poll, input: BytesMut::with_capacity(256 << 10) })
    }

    /// Sends all messages, never too many ahead of their answers; answers the rate per second.
    fn run(
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

    /// How many answers have come since.
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
            Kind::Echo => Ok(self.echoes()),
            Kind::Stream => self.receipts(),
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
