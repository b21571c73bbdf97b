//! How many 64-byte publishes per second one broker accepts, with one gateway and one subscriber that
//! gets them all; beside a bare framed echo of as many bytes, with as many in flight.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::bare::ECHO_LENGTH_BYTES;
use crate::bench::{Bench, in_turn};
use crate::crowd::Crowd;
use crate::process::Process;
use crate::report::Row;
use crate::scenarios::broadcasts::{CONTENT_BYTES, warm_up};
use crate::scenarios::conversation::{Answers, Conversation, Format, message};
use crate::stop::Stop;
use crate::subject::{Shape, Subject};
use crate::{push, wire};

/// The items of one batch.
const BATCH: u64 = 1_000;

#[derive(Default)]
struct Found {
    one_by_one: Vec<f64>,
    batch: Vec<f64>,
    json: Vec<f64>,
    msgpack: Vec<f64>,
}

pub fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let events = if bench.args.quick { 50_000 } else { 300_000 };
    let (mut memory, mut disk, mut echoes) =
        (Found::default(), Found::default(), Echoes::default());
    for run in 0..bench.runs {
        in_turn(
            run,
            || {
                for (on_disk, found) in [(false, &mut memory), (true, &mut disk)] {
                    bench.step(run, if on_disk { "on disk" } else { "in memory" });
                    found.measure(bench, on_disk, events)?;
                }
                Ok(())
            },
            || {
                bench.step(run, "the echo");
                echoes.measure(&bench.stop, events)
            },
        )?;
    }
    let mut rows = Vec::new();
    for (place, found, gate, goal) in
        [("in memory", memory, 0.3, 0.5), ("on disk", disk, 0.1, 0.25)]
    {
        let row =
            |how: &str, runs: &[f64]| Row::alone(format!("accepted, {how}, {place}"), "/s", runs);
        rows.push(row("HTTP one by one", &found.one_by_one));
        rows.push(row(&format!("/batch of {BATCH}"), &found.batch));
        let beside = |how: &str, limit: &str, runs: &[f64], echo: &[f64]| {
            let what = format!("accepted, publish stream in {how}, {place}; limit: {limit}");
            Row::beside(what, "/s", runs, echo)
        };
        let (single, joined) = ("an echo, one send per answer", "an echo that joins its answers");
        rows.push(beside("JSON", single, &found.json, &echoes.json));
        rows.push(beside("MessagePack", single, &found.msgpack, &echoes.msgpack).above(gate, goal));
        rows.push(beside("MessagePack", joined, &found.msgpack, &echoes.joined));
    }
    Ok(rows)
}

impl Found {
    fn measure(&mut self, bench: &Bench, on_disk: bool, events: u64) -> anyhow::Result<()> {
        let mut subject = bench.own(&Shape { on_disk, ..Shape::default() })?;
        let mut crowd = bench.crowd()?;
        warm_up(&mut crowd, &mut subject)?;
        crowd.join(&subject.doors[0], 1, |_| {})?;
        let mut publishing = Publishing { bench, subject, crowd, next: 1 };
        self.one_by_one.push(publishing.one_by_one(events / 100)?);
        self.batch.push(publishing.batches(events / 2)?);
        self.json.push(publishing.stream(Format::Json, events)?);
        self.msgpack.push(publishing.stream(Format::Msgpack, events)?);
        Ok(())
    }
}

/// Messages per second through the bare echo, in all runs.
#[derive(Default)]
struct Echoes {
    json: Vec<f64>,
    msgpack: Vec<f64>,
    /// The echo joins its answers, which are those in MessagePack.
    joined: Vec<f64>,
}

impl Echoes {
    fn measure(&mut self, stop: &Stop, events: u64) -> anyhow::Result<()> {
        self.json.push(echo(stop, &["echo"], Format::Json, events)?);
        self.msgpack.push(echo(stop, &["echo"], Format::Msgpack, events)?);
        self.joined.push(echo(stop, &["echo", "--joined"], Format::Msgpack, events)?);
        Ok(())
    }
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
            // The subscriber reads meanwhile.
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

/// Messages of the same length per second through a bare echo.
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
    Conversation::over(stream, Answers::Echoes)?.run(stop, &messages, |_| Ok(()))
}
