//! Many clients on one thread: they connect, listen, answer pings, and check what they hear.

mod returns;

use std::io::ErrorKind::{BrokenPipe, ConnectionReset, WouldBlock};
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use campanile_edge::websocket::Opcode;
use socket2::{Domain, Socket, Type};

use super::poll::Poll;
use super::wire::{self, Heard, Speech, Stage};

pub use returns::Returns;

/// So many connections from one address to another are left to the system's choice of ports.
const PER_SOURCE: usize = 20_000;

/// How many handshakes are under way at a time.
const WINDOW: usize = 1_000;

/// A crowd that hears nothing new for this long waits for something that is lost.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often it is looked whether the whole is to end.
const GLANCE: Duration = Duration::from_millis(100);

/// The benchmark was told to end.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// Told when the benchmark is to end. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Ends the benchmark.
    pub fn pull(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// # Errors
    /// [`Interrupted`], once that is so.
    pub fn check(&self) -> anyhow::Result<()> {
        if self.0.load(Ordering::Relaxed) { Err(Interrupted.into()) } else { Ok(()) }
    }
}

/// Where and how clients connect.
#[derive(Debug, Clone)]
pub struct Door {
    pub address: SocketAddr,
    /// What the `Host` header says.
    pub host: String,
    /// Where, unless something else is asked for.
    pub target: String,
    pub speech: Speech,
    /// The server speaks first, and a client listens from then on.
    pub greets: bool,
}

/// The clients, and what they have heard together.
pub struct Crowd {
    poll: Poll,
    clients: Vec<Client>,
    buffer: Vec<u8>,
    stop: Stop,
    heard: Tally,
    /// When the contents were sent whose latency is of interest, from this number on.
    sent: Vec<Instant>,
    sent_from: u64,
}

/// What clients have heard.
#[derive(Debug, Default)]
pub struct Tally {
    /// Clients that listen.
    pub greeted: usize,
    /// Of these, those that were told that all they have missed follows.
    pub recovered: usize,
    /// Contents with a number.
    pub contents: u64,
    pub pings: u64,
    /// Contents that came twice, or after a later one.
    pub misplaced: u64,
    /// Connections that ended, with the last close code or status.
    pub ended: usize,
    pub reason: Option<u16>,
    /// From the sending of a content to its arrival at a client, where that was asked for.
    pub latencies: Vec<Duration>,
}

struct Client {
    socket: TcpStream,
    speech: Speech,
    stage: Stage,
    is_greeted: bool,
    /// The number of the last content.
    last: Option<u64>,
    /// The close code or status that it was last told.
    reason: Option<u16>,
    partial: Vec<u8>,
}

impl Crowd {
    pub fn new(stop: Stop) -> anyhow::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            clients: Vec::new(),
            buffer: vec![0; 64 << 10],
            stop,
            heard: Tally::default(),
            sent: Vec::new(),
            sent_from: 0,
        })
    }

    /// What was heard so far.
    pub fn heard(&mut self) -> &mut Tally {
        &mut self.heard
    }

    /// How many clients there are.
    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// Connects so many clients, and waits until all of them listen.
    ///
    /// # Errors
    /// Where the system or the server does not allow it.
    pub fn join(
        &mut self,
        door: &Door,
        count: usize,
        progress: impl FnMut(usize),
    ) -> anyhow::Result<()> {
        self.connect(door, std::iter::repeat_n(door.target.clone(), count), progress)
    }

    /// Connects one client for each of the targets, and waits until all of them listen.
    ///
    /// # Errors
    /// Where the system or the server does not allow it.
    pub fn connect(
        &mut self,
        door: &Door,
        targets: impl ExactSizeIterator<Item = String>,
        mut progress: impl FnMut(usize),
    ) -> anyhow::Result<()> {
        let (before, wanted) = (self.heard.greeted, targets.len());
        self.clients.reserve_exact(wanted);
        for (begun, target) in targets.enumerate() {
            self.begin(door, &target)?;
            self.wait_until(|heard| heard.greeted + WINDOW > before + begun)?;
            progress(self.heard.greeted - before);
        }
        self.wait_until(|heard| heard.greeted == before + wanted)?;
        progress(wanted);
        Ok(())
    }

    fn begin(&mut self, door: &Door, target: &str) -> anyhow::Result<()> {
        let client = self.open(self.clients.len(), door, target)?;
        self.clients.push(client);
        Ok(())
    }

    /// A client that has sent its request, and will have this place among the others.
    fn open(&self, place: usize, door: &Door, target: &str) -> anyhow::Result<Client> {
        let socket = self.dial(door.address, None)?;
        let request = wire::request(door.speech, &door.host, target);
        (&socket).write_all(&request)?;
        socket.set_nonblocking(true)?;
        self.poll.add(&socket, place as u64, false)?;
        Ok(Client {
            socket,
            speech: door.speech,
            stage: Stage::Head,
            // One that greets nobody is taken to listen after its handshake.
            is_greeted: !door.greets,
            last: None,
            reason: None,
            partial: Vec::new(),
        })
    }

    /// Connects clients that never read, and have little room for what they are sent.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn dial_deaf(&self, door: &Door, count: usize) -> anyhow::Result<Vec<TcpStream>> {
        let dial = |_| {
            let socket = self.dial(door.address, Some(4 << 10))?;
            (&socket).write_all(&wire::request(door.speech, &door.host, &door.target))?;
            Ok(socket)
        };
        (0..count).map(dial).collect()
    }

    fn dial(&self, to: SocketAddr, receive_bytes: Option<usize>) -> anyhow::Result<TcpStream> {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)
            .with_context(|| super::limits::explain(self.clients.len()))?;
        if let Some(bytes) = receive_bytes {
            socket.set_recv_buffer_size(bytes)?;
        }
        if let Some(source) = source(to, self.clients.len()) {
            socket.bind(&SocketAddr::new(source, 0).into())?;
        }
        socket.set_tcp_nodelay(true)?;
        socket.connect(&to.into()).with_context(|| format!("cannot connect to {to}"))?;
        Ok(socket.into())
    }

    /// The contents from `number` on are sent at these times, as they are told; see
    /// [`sent`](Self::sent).
    pub fn time_from(&mut self, number: u64) {
        self.sent_from = number;
        self.sent.clear();
        self.heard.latencies.clear();
    }

    /// The next content is sent now.
    pub fn sent(&mut self) {
        self.sent.push(Instant::now());
    }

    /// Listens until so many contents were heard in all.
    ///
    /// # Errors
    /// If nothing comes any more, a connection ends, or a content comes twice or out of order.
    pub fn listen_until(&mut self, contents: u64) -> anyhow::Result<()> {
        self.wait_until(|heard| heard.contents >= contents)?;
        let Tally { contents: heard, misplaced, .. } = self.heard;
        ensure!(misplaced == 0, "{misplaced} contents came twice or out of order");
        ensure!(heard == contents, "{heard} contents came, and {contents} were sent");
        Ok(())
    }

    /// Listens for a time, whatever comes; once at least.
    ///
    /// # Errors
    /// If a connection ends.
    pub fn listen_for(&mut self, time: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + time;
        loop {
            self.step(until.saturating_duration_since(Instant::now()))?;
            if Instant::now() >= until {
                return Ok(());
            }
        }
    }

    fn wait_until(&mut self, enough: impl Fn(&Tally) -> bool) -> anyhow::Result<()> {
        let mut news = Instant::now();
        while !enough(&self.heard) {
            let before = (self.heard.greeted, self.heard.contents);
            self.step(GLANCE)?;
            // Pings are no news.
            if before != (self.heard.greeted, self.heard.contents) {
                news = Instant::now();
            }
            if news.elapsed() > PATIENCE {
                let Tally { greeted, contents, .. } = self.heard;
                bail!(
                    "nothing came for {} s: {greeted} clients of {} listen, {contents} contents came",
                    PATIENCE.as_secs(),
                    self.clients.len()
                );
            }
        }
        Ok(())
    }

    /// Hears what is there.
    fn step(&mut self, limit: Duration) -> anyhow::Result<()> {
        self.listen_once(limit)?;
        let Self { heard, clients, .. } = self;
        if heard.ended > 0 {
            let why = heard.reason.map_or(String::new(), |code| format!(" ({code})"));
            bail!("{} of {} connections were ended by the server{why}", heard.ended, clients.len());
        }
        Ok(())
    }

    /// Hears what is there, and returns the places of the clients whose connections have ended.
    fn listen_once(&mut self, limit: Duration) -> anyhow::Result<Vec<usize>> {
        let Self { poll, clients, buffer, heard, sent, sent_from, stop } = self;
        stop.check()?;
        let mut ended = Vec::new();
        for token in poll.wait(Some(limit.min(GLANCE)))? {
            let client = &mut clients[token as usize];
            let now = Instant::now();
            let has_ended = client.read(buffer, heard, |number| {
                let at = number.checked_sub(*sent_from).and_then(|at| sent.get(at as usize));
                at.map(|at| now.saturating_duration_since(*at))
            })?;
            if has_ended {
                ended.push(token as usize);
            }
        }
        Ok(ended)
    }

    /// Ends all connections without a word.
    pub fn leave(&mut self) {
        self.clients.clear();
        self.heard = Tally::default();
    }
}

impl Client {
    /// Hears what is there; `true` if that was the end of the connection.
    fn read(
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
            // A server that is gone needs no answer; the next read tells that it is.
            Err(error) if matches!(error.kind(), BrokenPipe | ConnectionReset) => Ok(taken),
            written => written.map(|()| taken),
        }
    }
}

/// From where to connect, when one address has no more ports: loopback has many addresses.
fn source(to: SocketAddr, connected: usize) -> Option<IpAddr> {
    let block = connected / PER_SOURCE;
    let is_loopback = matches!(to.ip(), IpAddr::V4(ip) if ip.is_loopback());
    (is_loopback && block > 0)
        .then(|| Ipv4Addr::new(127, 0, 1 + (block / 250) as u8, 1 + (block % 250) as u8).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_connections_than_ports_come_from_further_addresses() {
        let to: SocketAddr = "127.0.0.1:80".parse().expect("an address");
        assert_eq!(source(to, PER_SOURCE - 1), None);
        assert_eq!(source(to, PER_SOURCE), Some(Ipv4Addr::new(127, 0, 1, 2).into()));
        assert_eq!(source(to, 250 * PER_SOURCE), Some(Ipv4Addr::new(127, 0, 2, 1).into()));
        assert_eq!(source("192.168.1.1:80".parse().expect("an address"), PER_SOURCE), None);
    }
}
