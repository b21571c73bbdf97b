//! Accepts connections on a thread of its own, and gives each to the worker with the fewest.
//!
//! It asks the kernel for nothing but the connections: in an event loop, each would be registered
//! there and taken out again on its way to the loop of its worker.

use std::io::{self, PipeReader, PipeWriter};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use campanile_channel::watchdog::Pulse;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{SocketFlags, acceptfrom_with};
use tokio::sync::mpsc::UnboundedSender;
use tracing::{error, warn};

use crate::entrance::health::Health;
use crate::entrance::seats::{Seat, Seats};

/// How long the loop rests when the process has no file descriptors left.
const FULL_PAUSE: Duration = Duration::from_millis(100);

/// How often it is said that there are none.
const FULL_AGAIN: Duration = Duration::from_secs(60);

/// After connections the thread rests so long: those of a storm are accepted together, which costs a
/// sleep and a wake for all of them instead of each.
const PACE: Duration = Duration::from_millis(1);

/// So many connections are accepted before it is looked whether that is to end.
const AT_ONCE: usize = 1_024;

/// How many connections over the limit may be on their way to an answer; more are closed without
/// one.
const MAX_REFUSALS: usize = 64;

/// How many times in a round of accepting a connection over the limit waits for [`PACE`] until the
/// doors have come to those before it.
const MAX_WAITS: usize = 20;

/// How many connections over the limit each door answers at a time. For one more, the one that has
/// been there for longest goes: silent clients must not keep health checks out. Half of those above,
/// so that there are always some for newcomers.
pub fn refusals_at_a_door(doors: usize) -> usize {
    (MAX_REFUSALS / 2 / doors).max(1)
}

/// A connection on its way to a worker.
pub struct Arrival {
    /// It does not block.
    pub socket: TcpStream,
    pub peer: SocketAddr,
    /// Whether it may stay.
    pub admission: Admission,
}

/// Whether there is a seat for a connection.
pub enum Admission {
    /// There is.
    Seated(Seat),
    /// There is none; the seat is one of those for refusals.
    Full(Seat),
}

/// The thread, until it is stopped.
pub struct Acceptor {
    thread: JoinHandle<()>,
    /// Closed to stop the thread.
    running: PipeWriter,
}

impl Acceptor {
    /// Accepts from listeners that do not block, for one door a worker.
    ///
    /// # Errors
    /// What the system answers.
    pub fn start(
        listeners: Vec<TcpListener>,
        seats: Seats,
        doors: Vec<UnboundedSender<Arrival>>,
        max_connections: usize,
        health: Health,
        pulse: Pulse,
    ) -> io::Result<Self> {
        let (stopped, running) = io::pipe()?;
        let thread = thread::Builder::new().name("acceptor".to_owned()).spawn(move || {
            let refusals = Seats::new(doors.len());
            let hall = Hall { seats, refusals, doors, max_connections, health };
            hall.accept_until(&listeners, &stopped, &pulse);
        })?;
        Ok(Self { thread, running })
    }

    /// Accepts no more, and closes the listeners.
    pub fn stop(self) {
        drop(self.running);
        // A panic has ended the process.
        let _ = self.thread.join();
    }
}

/// Where connections wait to be seated.
struct Hall {
    seats: Seats,
    refusals: Seats,
    doors: Vec<UnboundedSender<Arrival>>,
    max_connections: usize,
    /// While the gateway shuts down nobody is seated.
    health: Health,
}

impl Hall {
    fn accept_until(&self, listeners: &[TcpListener], stopped: &PipeReader, pulse: &Pulse) {
        let mut told_full = None::<Instant>;
        loop {
            let mut ready = vec![PollFd::new(stopped, PollFlags::IN)];
            ready.extend(listeners.iter().map(|listener| PollFd::new(listener, PollFlags::IN)));
            let waits = pulse.enter_kernel();
            let polled = poll(&mut ready, None);
            drop(waits);
            match polled {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    error!(%error, "cannot wait for connections");
                    thread::sleep(FULL_PAUSE);
                }
            }
            if !ready[0].revents().is_empty() {
                return;
            }
            // Each is asked, also behind one that failed.
            let failed = listeners
                .iter()
                .fold(None, |failed, listener| failed.or(self.accept_some(listener).err()));
            let Some(error) = failed else {
                thread::sleep(PACE);
                continue;
            };
            if told_full.is_none_or(|told| told.elapsed() > FULL_AGAIN) {
                warn!(%error, connections = self.seats.taken(), "cannot accept, trying again");
                told_full = Some(Instant::now());
            }
            thread::sleep(FULL_PAUSE);
        }
    }

    /// Accepts the connections that wait.
    fn accept_some(&self, listener: &TcpListener) -> io::Result<()> {
        let mut waits = MAX_WAITS;
        for _ in 0..AT_ONCE {
            match accept(listener) {
                Ok((socket, peer)) => {
                    let mut admitted = self.admit();
                    while admitted.is_none() && waits > 0 {
                        waits -= 1;
                        thread::sleep(PACE);
                        admitted = self.admit();
                    }
                    if let Some((worker, admission)) = admitted {
                        // A door is closed only when its thread ends, with the process.
                        let _ = self.doors[worker].send(Arrival { socket, peer, admission });
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if is_about_one_connection(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// A seat, or one of those for refusals, and whose it is.
    fn admit(&self) -> Option<(usize, Admission)> {
        let max = if self.health.is_draining() { 0 } else { self.max_connections };
        let seated = self.seats.take(max);
        let seated = seated.map(|(worker, seat)| (worker, Admission::Seated(seat)));
        let full = || self.refusals.take(MAX_REFUSALS).map(|(w, seat)| (w, Admission::Full(seat)));
        seated.or_else(full)
    }
}

/// Accepts a connection that does not block.
fn accept(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let (socket, peer) = acceptfrom_with(listener, flags)?;
    let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
    // A listener of TCP accepts nothing without an address of the internet.
    Ok((socket.into(), peer.ok_or(io::ErrorKind::ConnectionAborted)?))
}

/// `accept` also reports errors of the connection that it would have accepted.
fn is_about_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}
