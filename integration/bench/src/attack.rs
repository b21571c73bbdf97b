//! An attacker: a thread that opens connections at a fixed rate, of which none will ever be a client.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::io::Errno;
use socket2::{Domain, Socket, Type};

/// New connections per second.
pub const RATE: u64 = 2_000;

/// How many connections are held at a time, so that each lasts for half a second, if the server lets it.
pub const HELD: usize = 1_000;

/// An attack that nobody ends is over after this time.
const LONGEST: Duration = Duration::from_secs(120);

/// The attacker sleeps for this long, then opens all connections that are due.
const PACE: Duration = Duration::from_millis(1);

/// Where it comes from: not the address of honest clients, so that limits per address tell them apart.
const SOURCE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 66);

/// What every other connection sends. It is neither HTTP nor TLS from its first byte on.
const GARBAGE: &[u8] = &[0; 64];

/// An attack that is under way. It ends soon after this is dropped.
pub struct Attack {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<anyhow::Result<Attacked>>>,
}

/// What an attack has done.
#[derive(Debug, Clone, Copy)]
pub struct Attacked {
    /// Connections that it has opened.
    pub opened: u64,
    /// How many of these the server ended, or answered, before the attacker let go of them.
    pub ended: u64,
    pub took: Duration,
}

impl Attack {
    /// Opens [`RATE`] connections per second from now on. One half sends garbage, the other one nothing.
    ///
    /// # Errors
    /// If the system has no thread for it.
    pub fn start(to: SocketAddr) -> anyhow::Result<Self> {
        let is_over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&is_over);
        let thread = thread::Builder::new().name("attacker".to_owned());
        let thread = thread.spawn(move || attack(to, &seen))?;
        Ok(Self { is_over, thread: Some(thread) })
    }

    /// Ends it.
    ///
    /// # Errors
    /// If this process could not open the connections.
    ///
    /// # Panics
    /// If the attacker has panicked.
    pub fn end(mut self) -> anyhow::Result<Attacked> {
        self.is_over.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("an attack ends once");
        thread.join().expect("the attacker does not panic")
    }
}

impl Drop for Attack {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

fn attack(to: SocketAddr, is_over: &AtomicBool) -> anyhow::Result<Attacked> {
    let begun = Instant::now();
    let mut held: VecDeque<TcpStream> = VecDeque::with_capacity(HELD);
    let (mut opened, mut ended) = (0, 0);
    while !is_over.load(Ordering::Relaxed) && begun.elapsed() < LONGEST {
        // What it was too late for, it makes up for.
        let due = (begun.elapsed().as_secs_f64() * RATE as f64) as u64;
        while opened < due && !is_over.load(Ordering::Relaxed) {
            if held.len() == HELD {
                ended += u64::from(held.pop_front().is_some_and(was_ended));
            }
            let socket = open(to, opened.is_multiple_of(2))
                .with_context(|| format!("the attacker cannot connect to {to}"))?;
            held.push_back(socket);
            opened += 1;
        }
        thread::sleep(PACE);
    }
    let took = begun.elapsed();
    ended += held.into_iter().map(|socket| u64::from(was_ended(socket))).sum::<u64>();
    Ok(Attacked { opened, ended, took })
}

/// A connection that has begun. If the server is too busy for it, it waits in the kernel, and its
/// garbage is not sent.
fn open(to: SocketAddr, is_noisy: bool) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    // It ends with a reset, so that its port is free again at once.
    socket.set_linger(Some(Duration::ZERO))?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((SOURCE, 0)).into())?;
    match socket.connect(&to.into()) {
        Err(error) if Errno::from_io_error(&error) != Some(Errno::INPROGRESS) => return Err(error),
        _ => {}
    }
    if is_noisy {
        // The server may have ended it already.
        let _ = socket.send(GARBAGE);
    }
    Ok(socket.into())
}

/// Whether the server has answered, or ended the connection.
fn was_ended(socket: TcpStream) -> bool {
    match socket.peek(&mut [0; 1]) {
        Ok(_) => true,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn an_attack_keeps_its_rate_and_notes_what_was_ended() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        rustix::net::listen(&listener, 4_096).expect("room for all that wait");
        let attack = Attack::start(listener.local_addr().expect("bound")).expect("a thread");
        let mut accepted: Vec<TcpStream> = Vec::new();
        for _ in 0..400 {
            let (socket, peer) = listener.accept().expect("a connection");
            assert_eq!(peer.ip(), SOURCE);
            accepted.push(socket);
        }
        let is_noisy = |mut socket: &TcpStream| {
            socket.set_nonblocking(true).expect("a socket");
            socket.read(&mut [1; 2 * GARBAGE.len()]).is_ok_and(|read| read == GARBAGE.len())
        };
        let noisy = accepted.iter().filter(|socket| is_noisy(socket)).count();
        assert!((150..=250).contains(&noisy), "{noisy} of 400 sent garbage");
        drop(accepted.drain(..200));
        let Attacked { opened, ended, took } = attack.end().expect("an attack");
        assert!(took >= Duration::from_millis(200), "{opened} in {took:?}");
        assert!((1..=opened - 200).contains(&ended), "{ended} of {opened} were ended");
        for mut socket in accepted {
            let end = socket.read_to_end(&mut Vec::new()).expect_err("a reset");
            assert_eq!(end.kind(), ErrorKind::ConnectionReset);
        }
    }
}
