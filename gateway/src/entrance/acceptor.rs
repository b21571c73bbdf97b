//! Accepts connections on its own thread, and gives each one to the worker that has the fewest.
//!
//! The thread calls `poll` and `accept` itself. An event loop would register each connection, only to
//! deregister it again before it moves to the event loop of its worker.

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

/// How long the thread pauses when the process has no file descriptors left.
const FULL_PAUSE: Duration = Duration::from_millis(100);

/// The shortest time between two log lines that say so.
const FULL_AGAIN: Duration = Duration::from_secs(60);

/// How long the thread pauses after it has accepted connections. In a storm, many of them are then
/// accepted together, at the cost of one sleep and one wake-up for all of them.
const PACE: Duration = Duration::from_millis(1);

/// How many connections are accepted before checking for shutdown.
const AT_ONCE: usize = 1_024;

/// How many connections over the limit may wait for their answer at a time. Any more are closed
/// without one.
const MAX_REFUSALS: usize = 64;

/// How often, in one round of accepting, the thread pauses for [`PACE`] because there is no room for
/// another refusal, so that the doors can answer the earlier ones.
const MAX_WAITS: usize = 20;

/// How many connections over the limit each door answers at a time. When one more arrives, the oldest
/// of them is closed, so that silent clients cannot keep health checks out. All doors together answer
/// half of [`MAX_REFUSALS`], which always leaves some for newcomers.
pub fn refusals_at_a_door(doors: usize) -> usize {
    (MAX_REFUSALS / 2 / doors).max(1)
}

/// A connection on its way to a worker.
pub struct Arrival {
    /// In non-blocking mode.
    pub socket: TcpStream,
    pub peer: SocketAddr,
    pub admission: Admission,
}

/// Whether a connection may stay.
pub enum Admission {
    /// It may, and this is its seat.
    Seated(Seat),
    /// It may not. Its seat is one of those for refusals.
    Full(Seat),
}

/// The handle of the thread that accepts.
pub struct Acceptor {
    thread: JoinHandle<()>,
    /// Closed to stop the thread.
    running: PipeWriter,
}

impl Acceptor {
    /// Starts to accept from `listeners`, which must be in non-blocking mode; `doors` has one door per
    /// worker.
    ///
    /// # Errors
    /// If the system cannot make a pipe or start a thread.
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

    /// Stops the thread and closes the listeners.
    pub fn stop(self) {
        drop(self.running);
        // A panic of that thread would have ended the process.
        let _ = self.thread.join();
    }
}

/// What the thread knows.
struct Hall {
    seats: Seats,
    refusals: Seats,
    doors: Vec<UnboundedSender<Arrival>>,
    max_connections: usize,
    /// While the gateway shuts down, nobody gets a seat.
    health: Health,
}

impl Hall {
    fn accept_until(&self, listeners: &[TcpListener], stopped: &PipeReader, pulse: &Pulse) {
        let mut logged_full = None::<Instant>;
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
            // A listener that fails does not keep the others from accepting.
            let failed = listeners
                .iter()
                .fold(None, |failed, listener| failed.or(self.accept_some(listener).err()));
            let Some(error) = failed else {
                thread::sleep(PACE);
                continue;
            };
            if logged_full.is_none_or(|logged| logged.elapsed() > FULL_AGAIN) {
                warn!(%error, connections = self.seats.taken(), "cannot accept, trying again");
                logged_full = Some(Instant::now());
            }
            thread::sleep(FULL_PAUSE);
        }
    }

    /// Accepts the connections that are waiting, at most [`AT_ONCE`].
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
                        // A door closes only when its thread ends, together with the process.
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

    /// Takes a seat, or one of those for refusals, and returns it with the index of its worker; `None`
    /// if both are used up.
    fn admit(&self) -> Option<(usize, Admission)> {
        let max = if self.health.is_draining() { 0 } else { self.max_connections };
        let seated = self.seats.take(max);
        let seated = seated.map(|(worker, seat)| (worker, Admission::Seated(seat)));
        let full = || self.refusals.take(MAX_REFUSALS).map(|(w, seat)| (w, Admission::Full(seat)));
        seated.or_else(full)
    }
}

/// Accepts a connection, in non-blocking mode.
fn accept(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let (socket, peer) = acceptfrom_with(listener, flags)?;
    let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
    // A TCP listener accepts nothing that has no IP address.
    Ok((socket.into(), peer.ok_or(io::ErrorKind::ConnectionAborted)?))
}

/// Whether an error of `accept` is one of the connection that it would have returned, and not of the
/// listener.
fn is_about_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}
