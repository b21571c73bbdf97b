//! Accepts connections on its own thread, and gives each one to the worker that has the fewest.
//!
//! The thread calls `poll` and `accept` itself. An event loop would register each connection, only to
//! deregister it again before it moves to the event loop of its worker.

use std::io::{self, PipeReader, PipeWriter};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use campanile_channel::incident;
use campanile_channel::watchdog::Pulse;
use campanile_edge::{Bucket, Crowded, Rate};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SocketFlags, acceptfrom_with};
use tokio::sync::mpsc::UnboundedSender;
use tracing::{error, warn};

use crate::config::GatewayConfig;
use crate::entrance::health::Health;
use crate::entrance::refusal::Refusal;
use crate::entrance::seats::{Seat, Seats};
use crate::meters::Limit;

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

/// How many connections that exceed a limit of their address may wait for their answer at a time. Any more
/// are closed without one, and nobody waits for them. They do not count for [`MAX_REFUSALS`], so that a
/// flood from one address does not keep the health checks of a full gateway out.
const MAX_CROWDED: usize = 64;

/// The part of a second whose connections are accepted at once, where their rate is limited.
const BURST_PART: u32 = 10;

/// How many connections over the limit each door answers at a time. When one more arrives, the oldest
/// of them is closed, so that silent clients cannot keep health checks out. All doors together answer
/// half of [`MAX_REFUSALS`], which always leaves some for newcomers.
pub fn refusals_at_a_door(doors: usize) -> usize {
    (MAX_REFUSALS.min(MAX_CROWDED) / 2 / doors).max(1)
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
    /// It exceeds a limit of its address. Its seat is one of those for such connections.
    Crowded(Seat, Crowded),
}

/// What the thread does with a connection.
enum Accepted {
    /// It is for the worker with this index.
    For(usize, Admission),
    /// There is no room for another refusal, but perhaps soon.
    Later,
    /// It is closed.
    Closed,
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
        config: Arc<GatewayConfig>,
        health: Health,
        pulse: Pulse,
    ) -> io::Result<Self> {
        let (stopped, running) = io::pipe()?;
        let thread = thread::Builder::new().name("acceptor".to_owned()).spawn(move || {
            let refusals = Seats::new(doors.len());
            let crowded = Seats::new(doors.len());
            let accepted = Bucket::default();
            let mut hall = Hall { seats, refusals, crowded, doors, config, health, accepted };
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

/// The state of the thread. Each kind of connection has seats of its own, so that a flood of refused ones
/// takes no place from others.
struct Hall {
    seats: Seats,
    refusals: Seats,
    crowded: Seats,
    doors: Vec<UnboundedSender<Arrival>>,
    config: Arc<GatewayConfig>,
    /// While the gateway shuts down, nobody gets a seat.
    health: Health,
    /// How many connections were accepted lately.
    accepted: Bucket,
}

impl Hall {
    fn accept_until(&mut self, listeners: &[TcpListener], stopped: &PipeReader, pulse: &Pulse) {
        let mut logged_full = None::<Instant>;
        let mut first = 0;
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
            // A listener that fails does not keep the others from accepting, nor does one that uses up what
            // may be accepted.
            first = (first + 1) % listeners.len();
            let (mut failed, mut wait) = (None, PACE);
            for listener in listeners.iter().cycle().skip(first).take(listeners.len()) {
                match self.accept_some(listener) {
                    Ok(None) => {}
                    Ok(Some(until_next)) => wait = wait.max(until_next),
                    Err(error) => failed = failed.or(Some(error)),
                }
            }
            let Some(error) = failed else {
                pause(wait, stopped, pulse);
                continue;
            };
            if logged_full.is_none_or(|logged| logged.elapsed() > FULL_AGAIN) {
                warn!(%error, connections = self.seats.taken(), "cannot accept, trying again");
                logged_full = Some(Instant::now());
            }
            thread::sleep(FULL_PAUSE);
        }
    }

    /// Accepts the connections that are waiting, at most [`AT_ONCE`]. Returns how long the next one must
    /// wait, if their rate is limited.
    fn accept_some(&mut self, listener: &TcpListener) -> io::Result<Option<Duration>> {
        let per_second = self.config.limits.borrow().max_handshakes_per_second;
        let rate = (per_second > 0).then(|| Rate::new(per_second, per_second / BURST_PART));
        let mut waits = MAX_WAITS;
        for _ in 0..AT_ONCE {
            let mut accepted = self.accepted;
            let taken = rate.map_or(Ok(()), |rate| accepted.take(rate, Instant::now()));
            if let Err(wait) = taken {
                self.config.meters.limits.count(Limit::Handshakes);
                return Ok(Some(wait));
            }
            match accept(listener) {
                Ok((socket, peer)) => {
                    self.accepted = accepted;
                    self.config.meters.accepted.add(1);
                    let mut admitted = self.admit(peer);
                    while matches!(admitted, Accepted::Later) && waits > 0 {
                        waits -= 1;
                        thread::sleep(PACE);
                        admitted = self.admit(peer);
                    }
                    self.count(&admitted);
                    match admitted {
                        Accepted::For(worker, admission) => {
                            // A door closes only when its thread ends, together with the process.
                            let _ = self.doors[worker].send(Arrival { socket, peer, admission });
                        }
                        Accepted::Later if !self.health.is_draining() => {
                            let reason = "the gateway is full";
                            self.log_closed(Refusal::full().code, peer, reason);
                        }
                        Accepted::Later | Accepted::Closed => {}
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if is_about_one_connection(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Counts the limit that keeps a connection out, if one does.
    fn count(&self, admitted: &Accepted) {
        let is_full = match admitted {
            Accepted::For(_, Admission::Full(_)) | Accepted::Later => true,
            Accepted::For(..) | Accepted::Closed => false,
        };
        if is_full && !self.health.is_draining() {
            self.config.meters.limits.count(Limit::Connections);
        }
    }

    /// Takes a seat for a connection, or one of those for refusals.
    fn admit(&self, peer: SocketAddr) -> Accepted {
        let limits = self.config.limits.borrow().clone();
        let proxies = &limits.addresses.trusted_proxies;
        if self.config.proxy_protocol && !proxies.contain(peer.ip()) {
            let reason = "it does not come from a trusted proxy";
            self.log_closed("no_proxy_header", peer, reason);
            return Accepted::Closed;
        }
        let max = self.config.max_connections.min(limits.max_connections);
        let max = if self.health.is_draining() { 0 } else { max };
        let Some((worker, seat)) = self.seats.take(max) else {
            let refused = self.refusals.take(MAX_REFUSALS);
            return refused.map_or(Accepted::Later, |(worker, seat)| {
                Accepted::For(worker, Admission::Full(seat))
            });
        };
        let Err(crowded) = seat.count_address(peer.ip(), &limits.addresses) else {
            return Accepted::For(worker, Admission::Seated(seat));
        };
        self.config.meters.limits.count((&crowded).into());
        // Over TLS an answer costs a handshake, and these come without a limit.
        if self.config.tls.is_some() && matches!(crowded, Crowded::Arrivals { .. }) {
            self.log_closed(Refusal::from(crowded).code, peer, &crowded.to_string());
            return Accepted::Closed;
        }
        let Some((worker, seat)) = self.crowded.take(MAX_CROWDED) else {
            self.log_closed(Refusal::from(crowded).code, peer, &crowded.to_string());
            return Accepted::Closed;
        };
        Accepted::For(worker, Admission::Crowded(seat, crowded))
    }

    fn log_closed(&self, name: &'static str, peer: SocketAddr, reason: &str) {
        let (incidents, address) = (&self.config.incidents, Some(peer.ip()));
        incident!(incidents, info, name, address, %peer, reason, "closed a connection");
    }
}

/// Waits, but not once the thread has to stop.
fn pause(time: Duration, stopped: &PipeReader, pulse: &Pulse) {
    if time <= PACE {
        return thread::sleep(time);
    }
    let timeout = Timespec::try_from(time).ok();
    let waits = pulse.enter_kernel();
    // If this fails, the loop goes on, and fails again where it says so.
    let _ = poll(&mut [PollFd::new(stopped, PollFlags::IN)], timeout.as_ref());
    drop(waits);
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
