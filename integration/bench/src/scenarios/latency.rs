//! A push to one connection, from the first byte of its HTTP request to the last byte of its frame,
//! through three processes that have nothing else to do; beside as many bytes through three relays.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use crate::bench::{Bench, in_turn};
use crate::process::Process;
use crate::push;
use crate::report::{Row, percentile};
use crate::stop::Stop;
use crate::subject::Shape;
use crate::wire::{self, Heard, Speech, Stage};

/// How long nothing happens between two pushes, so that the system is idle.
const PAUSE: Duration = Duration::from_millis(1);

const CONTENT: &str = "no.000000000001.................................................";

/// Latencies of one run, in µs.
type Micros = Vec<f64>;

pub fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let pushes = if bench.args.quick { 500 } else { 3_000 };
    let (mut ours, mut limit) = (vec![], vec![]);
    for run in 0..bench.runs {
        let (found, least) = in_turn(
            run,
            || {
                bench.step(run, "ours");
                targeted(bench, pushes)
            },
            || {
                bench.step(run, "three relays");
                relayed(&bench.stop, pushes)
            },
        )?;
        ours.push(found);
        limit.push(least);
    }
    let row = |part: f64| {
        let of = |runs: &[Micros]| runs.iter().map(|run| percentile(run, part)).collect::<Vec<_>>();
        let what = format!("push to one connection, HTTP in to frame out, p{}", part * 100.0);
        Row::beside(what, "µs", &of(&ours), &of(&limit))
    };
    Ok(vec![row(0.50).below(4.0, 2.5), row(0.99).below(6.0, 4.0)])
}

fn targeted(bench: &Bench, pushes: usize) -> anyhow::Result<Micros> {
    let mut subject = bench.own(&Shape::default())?;
    let door = &subject.doors[0];
    let mut client = Listener::connect(door.address, &door.host)?;
    let greeting = client.message()?;
    let number = |name: &str| {
        let rest = greeting.split(name).nth(1).and_then(|rest| rest.split(' ').next());
        rest.map(str::to_owned).with_context(|| format!("no {name} in {greeting:?}"))
    };
    let target = format!(
        "/?to_worker_id={}&to_connection_id={}",
        number("workerID:")?,
        number("connectionID:")?
    );
    let http = subject.pusher.http()?;
    let mut found = Vec::with_capacity(pushes);
    for at in 0..pushes + pushes / 10 {
        bench.stop.check()?;
        thread::sleep(PAUSE);
        let begun = Instant::now();
        http.send(&target, "text/plain", CONTENT.as_bytes())?;
        let message = client.message()?;
        let took = begun.elapsed();
        ensure!(message == CONTENT, "{message:?} came");
        http.answer()?;
        if at >= pushes / 10 {
            found.push(took.as_secs_f64() * 1e6);
        }
    }
    Ok(found)
}

fn relayed(stop: &Stop, pushes: usize) -> anyhow::Result<Micros> {
    let end = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut to = end.local_addr()?;
    // As long as the request of a push.
    let target = "/?to_worker_id=1000000000000000&to_connection_id=1";
    let bytes = push::request(to, target, "Content-Type: text/plain", CONTENT.as_bytes());
    let mut relays = Vec::new();
    for _ in 0..3 {
        let mut relay = Process::start(&["relay", &to.to_string()])?;
        to = relay.address("the relay listens")?;
        relays.push(relay);
    }
    let mut first = TcpStream::connect(to)?;
    first.set_nodelay(true)?;
    let (mut last, _) = end.accept()?;
    let mut buffer = vec![0; bytes.len()];
    let mut found = Vec::with_capacity(pushes);
    for at in 0..pushes + pushes / 10 {
        stop.check()?;
        thread::sleep(PAUSE);
        let begun = Instant::now();
        first.write_all(&bytes)?;
        last.read_exact(&mut buffer)?;
        if at >= pushes / 10 {
            found.push(begun.elapsed().as_secs_f64() * 1e6);
        }
    }
    Ok(found)
}

/// A websocket that blocks until the next message.
struct Listener {
    stream: TcpStream,
    stage: Stage,
    input: Vec<u8>,
}

impl Listener {
    fn connect(address: std::net::SocketAddr, host: &str) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(&wire::request(Speech::Plain, host, "/"))?;
        Ok(Self { stream, stage: Stage::Head, input: Vec::new() })
    }

    fn message(&mut self) -> anyhow::Result<String> {
        loop {
            let mut message = None;
            let taken = wire::hear(Speech::Plain, &mut self.stage, &self.input, |heard| {
                if let Heard::Message(bytes) = heard {
                    message = Some(String::from_utf8_lossy(bytes).into_owned());
                }
            })?;
            self.input.drain(..taken);
            if let Some(message) = message {
                return Ok(message);
            }
            let mut chunk = [0; 4 << 10];
            let read = self.stream.read(&mut chunk).context("no frame came")?;
            ensure!(read > 0, "the gateway closed the connection");
            self.input.extend_from_slice(&chunk[..read]);
        }
    }
}
