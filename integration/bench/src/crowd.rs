//! Many clients on one thread. They connect, listen, answer pings, and check what they receive.

mod client;
mod returns;
mod stream;

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use socket2::{Domain, Socket, Type};

use crate::limits;
use crate::poll::Poll;
use crate::stop::Stop;
use crate::tls::Trust;
use crate::wire::{self, Speech};

use client::{Client, Tally};
pub use returns::Returns;
use stream::Stream;

/// How many connections from one source address to one target are left to the system's choice of ports.
const PER_SOURCE: usize = 20_000;

/// How many handshakes are in progress at a time.
const WINDOW: usize = 1_000;

/// If nothing new comes for this long, what is awaited is lost, and the benchmark fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often to check whether the benchmark is to end.
const GLANCE: Duration = Duration::from_millis(100);

/// Where and how clients connect.
#[derive(Debug, Clone)]
pub struct Door {
    pub address: SocketAddr,
    /// The value of the `Host` header.
    pub host: String,
    /// Path and query, unless a client asks for others.
    pub target: String,
    pub speech: Speech,
    /// Whether the server sends a greeting, and a client listens only from then on.
    pub greets: bool,
    /// How clients trust it, if it speaks TLS.
    pub tls: Option<Trust>,
}

/// The clients, and what all of them have received.
pub struct Crowd {
    poll: Poll,
    clients: Vec<Client>,
    buffer: Vec<u8>,
    stop: Stop,
    /// How many connections this process may hold.
    room: usize,
    heard: Tally,
    /// When each content was sent whose latency is measured; the first one has the number `sent_from`.
    sent: Vec<Instant>,
    sent_from: u64,
}

impl Crowd {
    pub fn new(stop: Stop, room: usize) -> anyhow::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            clients: Vec::new(),
            buffer: vec![0; 64 << 10],
            stop,
            room,
            heard: Tally::default(),
            sent: Vec::new(),
            sent_from: 0,
        })
    }

    /// What was received so far.
    pub fn heard(&mut self) -> &mut Tally {
        &mut self.heard
    }

    /// How many clients there are.
    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// How many clients have resumed a session of TLS.
    pub fn resumed(&self) -> usize {
        self.clients.iter().filter(|client| client.socket.is_resumed()).count()
    }

    /// Connects `count` clients, and waits until all of them listen.
    ///
    /// # Errors
    /// If the system or the server does not allow it.
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
    /// If the system or the server does not allow it.
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

    /// A client that has sent its request, for this place among the others.
    fn open(&self, place: usize, door: &Door, target: &str) -> anyhow::Result<Client> {
        let socket = self.dial(door.address, None)?;
        let tls = door.tls.as_ref().map(Trust::connection).transpose()?;
        let mut stream = Stream::new(socket, tls);
        stream.write_all(&wire::request(door.speech, &door.host, target))?;
        stream.set_nonblocking()?;
        self.poll.add(&stream, place as u64, false)?;
        // Without a greeting, a client counts as listening after its handshake.
        Ok(Client::new(stream, door.speech, !door.greets))
    }

    /// Connects clients that never read, with small receive buffers.
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
            .with_context(|| limits::explain(self.clients.len(), self.room))?;
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

    /// Measures the latency of the contents from `number` on. [`sent`](Self::sent) must be called for
    /// each of them.
    pub fn time_from(&mut self, number: u64) {
        self.sent_from = number;
        self.sent.clear();
        self.heard.latencies.clear();
    }

    /// Notes that the next content is sent now.
    pub fn sent(&mut self) {
        self.sent.push(Instant::now());
    }

    /// Listens until the clients have received this many contents in total.
    ///
    /// # Errors
    /// If nothing comes for 20 s, a connection ends, or a content comes twice or out of order.
    pub fn listen_until(&mut self, contents: u64) -> anyhow::Result<()> {
        self.wait_until(|heard| heard.contents >= contents)?;
        let Tally { contents: heard, misplaced, .. } = self.heard;
        ensure!(misplaced == 0, "{misplaced} contents came twice or out of order");
        ensure!(heard == contents, "{heard} contents came, and {contents} were sent");
        Ok(())
    }

    /// Listens for this time, at least once.
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
            // Pings do not count.
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

    /// Reads what has arrived.
    fn step(&mut self, limit: Duration) -> anyhow::Result<()> {
        self.listen_once(limit)?;
        let Self { heard, clients, .. } = self;
        if heard.ended > 0 {
            let why = heard.reason.map_or(String::new(), |code| format!(" ({code})"));
            bail!("{} of {} connections were ended by the server{why}", heard.ended, clients.len());
        }
        Ok(())
    }

    /// Reads what has arrived, and returns the places of the clients whose connections have ended.
    fn listen_once(&mut self, limit: Duration) -> anyhow::Result<Vec<usize>> {
        let Self { poll, clients, buffer, heard, sent, sent_from, stop, .. } = self;
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

    /// Ends all connections without a close frame.
    pub fn leave(&mut self) {
        self.clients.clear();
        self.heard = Tally::default();
    }
}

/// The source address for the next connection, if the default one has no more ports: loopback has many
/// addresses.
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
