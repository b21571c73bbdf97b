//! One client's TCP stream and what waits to be written to it. Everybody on the connection's
//! worker may add output; one task, the owner of its reads, drives it to its end.
//!
//! This is the seam under the outbox: write these shared slices, tell when the stream is writable,
//! close. It knows nothing of websockets. It is also the gate before the greeting: until the first
//! message is there, nothing leaves but the head of the response and control frames.

mod ending;

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use campanile_channel::{Full, Outbox};
use futures_util::task::AtomicWaker;
use rustix::io::Errno;
use rustix::net::SendFlags;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

pub use ending::Ending;

/// How many slices one `writev` takes.
const WRITE_SLICES: usize = 64;

/// Slices that have no more bytes than this together are copied and written as one: the kernel has
/// less to do for a `send` than for a `writev`.
const JOIN_BYTES: usize = 1 << 10;

/// A client's stream and its outbox.
#[derive(Debug)]
pub struct Socket {
    stream: TcpStream,
    state: Mutex<SocketState>,
    /// Wakes the task that reads, when there is something for it to finish.
    driver: AtomicWaker,
    opened: Instant,
    /// Nanoseconds from `opened` to the last byte that came. In anything coarser, a quick answer
    /// would seem to be older than its question.
    heard_nanos: AtomicU64,
}

#[derive(Debug)]
struct SocketState {
    outbox: Outbox,
    phase: SocketPhase,
    /// Who waits for the greeting: told when it is sent, dropped when there will be none.
    awaits_greeting: Option<oneshot::Sender<()>>,
    /// Who waits until the outbox has written up to a place, in order.
    waiting: Vec<WriteWaiter>,
    /// More waited than its bound.
    is_overrun: bool,
}

/// Is told when the outbox has written up to its place.
#[derive(Debug)]
struct WriteWaiter {
    place: u64,
    done: oneshot::Sender<()>,
}

/// In order; an earlier one never comes again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum SocketPhase {
    /// Nothing is written, so that the head leaves together with the greeting.
    Held,
    /// The head may leave, and what comes before the greeting is dropped.
    Ungreeted,
    Open,
    /// The last slice is queued; what comes is dropped.
    Closing,
    /// All is sent, and the sending direction closed.
    Lingering,
    /// Nothing can be sent or read.
    Broken,
}

/// What a `send` did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// Queued as the first: somebody must [`flush`](Socket::flush).
    First,
    /// Queued behind others: whoever flushes those flushes this.
    Behind,
    /// The connection is ending; dropped.
    Ending,
}

/// What becomes of that which waits when a connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsent {
    /// It is sent before the last slice.
    Flush,
    /// It is dropped, save a frame that has begun.
    Drop,
}

impl Socket {
    /// Takes a stream over; up to `max_outbox_bytes` may wait for it.
    pub fn new(stream: TcpStream, max_outbox_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            stream,
            state: Mutex::new(SocketState {
                outbox: Outbox::new(max_outbox_bytes),
                phase: SocketPhase::Open,
                awaits_greeting: None,
                waiting: Vec::new(),
                is_overrun: false,
            }),
            driver: AtomicWaker::new(),
            opened: Instant::now(),
            heard_nanos: AtomicU64::new(0),
        })
    }

    /// Queues a slice without writing it, unless the bound is reached: whether a peer is too slow
    /// is judged only after the kernel was offered all that waits.
    ///
    /// # Errors
    /// [`Full`] if the bound is reached even so; the peer should be closed.
    pub fn send(&self, slice: &Bytes) -> Result<Sent, Full> {
        let mut state = self.lock();
        if state.phase != SocketPhase::Open {
            return Ok(Sent::Ending);
        }
        self.queue(&mut state, slice)
    }

    fn queue(&self, state: &mut SocketState, slice: &Bytes) -> Result<Sent, Full> {
        let mut first = state.outbox.is_empty();
        if state.outbox.push(slice.clone()).is_err() {
            if self.write(state).is_err() {
                self.break_off(state);
                return Ok(Sent::Ending);
            }
            first = state.outbox.is_empty();
            if let Err(full) = state.outbox.push(slice.clone()) {
                state.is_overrun = true;
                return Err(full);
            }
        }
        Ok(if first { Sent::First } else { Sent::Behind })
    }

    /// Writes as much of the outbox as the kernel takes at once; the rest follows when it takes
    /// more.
    pub fn flush(&self) {
        let mut state = self.lock();
        match self.write(&mut state) {
            Ok(()) if state.outbox.is_empty() && state.phase <= SocketPhase::Open => {}
            Ok(()) => self.driver.wake(),
            Err(_) => self.break_off(&mut state),
        }
    }

    /// Like [`send`](Self::send) and [`flush`](Self::flush). A slice before which nothing waits is
    /// not queued at all, if the kernel takes it.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_now(&self, slice: &Bytes) -> Result<(), Full> {
        let mut state = self.lock();
        if state.phase != SocketPhase::Open {
            return Ok(());
        }
        if !state.outbox.is_empty() {
            // Whoever let something wait there flushes this, too.
            return self.queue(&mut state, slice).map(drop);
        }
        // Not through the runtime, whose record of this stream is cold in a broadcast to thousands:
        // the driver finds out there by itself when the stream is full.
        match rustix::net::send(&self.stream, slice, SendFlags::NOSIGNAL) {
            Ok(written) => {
                state.outbox.pass(slice, written);
                if written < slice.len() {
                    self.driver.wake();
                }
            }
            Err(Errno::WOULDBLOCK) => {
                state.outbox.pass(slice, 0);
                self.driver.wake();
            }
            Err(_) => self.break_off(&mut state),
        }
        Ok(())
    }

    /// Like [`send_now`](Self::send_now), for what may also leave before the greeting.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_control(&self, slice: &Bytes) -> Result<(), Full> {
        let mut state = self.lock();
        if state.phase >= SocketPhase::Open {
            drop(state);
            return self.send_now(slice);
        }
        self.queue(&mut state, slice)?;
        drop(state);
        self.flush();
        Ok(())
    }

    /// Closes the gate before the greeting. Queues the head of the response, and writes nothing until
    /// [`greet`](Self::greet), [`release`](Self::release) or [`close`](Self::close): it leaves together
    /// with what follows.
    pub fn hold(&self, head: Bytes) {
        let mut state = self.lock();
        state.outbox.force(head);
        state.phase = SocketPhase::Held;
    }

    /// Writes the head, which does not wait for the greeting any longer.
    pub fn release(&self) {
        let mut state = self.lock();
        if state.phase == SocketPhase::Held {
            state.phase = SocketPhase::Ungreeted;
            drop(state);
            self.flush();
        }
    }

    /// Writes the first message and opens the gate for others. Does nothing if the connection was
    /// greeted, or is ending.
    pub fn greet(&self, first: Bytes) {
        let mut state = self.lock();
        if state.phase < SocketPhase::Open {
            state.outbox.force(first);
            state.phase = SocketPhase::Open;
            if let Some(waits) = state.awaits_greeting.take() {
                let _ = waits.send(());
            }
            drop(state);
            self.flush();
        }
    }

    /// Resolves once the connection was greeted, or never will be: whatever ends it resolves this, too.
    /// `None`: it was already. One caller at a time may wait.
    pub fn greeted(&self) -> Option<oneshot::Receiver<()>> {
        let mut state = self.lock();
        if state.phase >= SocketPhase::Open {
            return None;
        }
        let (waits, greeted) = oneshot::channel();
        state.awaits_greeting = Some(waits);
        Some(greeted)
    }

    /// Queues slices whatever the bound says, for what is bounded by other means, and writes what the
    /// kernel takes. They do not count for what comes behind them.
    pub fn replay(&self, slices: impl IntoIterator<Item = Bytes>) {
        let mut state = self.lock();
        if state.phase == SocketPhase::Open {
            slices.into_iter().for_each(|slice| state.outbox.force(slice));
            state.outbox.exempt();
            drop(state);
            self.flush();
        }
    }

    /// Resolves to `true` once all that is queued now has entered the kernel, to `false` if the
    /// connection ends before. `None`: it has already.
    pub fn written(&self) -> Option<oneshot::Receiver<()>> {
        let mut state = self.lock();
        if state.outbox.is_empty() {
            return None;
        }
        let (done, written) = oneshot::channel();
        let place = state.outbox.written_bytes() + state.outbox.queued_bytes() as u64;
        if state.phase == SocketPhase::Open {
            state.waiting.push(WriteWaiter { place, done });
        }
        Some(written)
    }

    /// Sends `last` as the last slice, then closes the sending direction, then waits for the peer's
    /// end. The first close counts, any other is ignored.
    pub fn close(&self, last: Bytes, waiting: Unsent) {
        let mut state = self.lock();
        if state.phase > SocketPhase::Open {
            return;
        }
        // What is held back includes the answer to the handshake.
        if waiting == Unsent::Drop && state.phase != SocketPhase::Held {
            state.outbox.discard_unbegun();
            state.waiting = Vec::new();
        }
        state.outbox.force(last);
        state.phase = SocketPhase::Closing;
        state.awaits_greeting = None;
        drop(state);
        self.flush();
        self.driver.wake();
    }

    /// Ends the connection at once, whatever waits.
    pub fn abort(&self) {
        self.break_off(&mut self.lock());
    }

    /// Whether no close has begun.
    pub fn is_open(&self) -> bool {
        self.lock().phase <= SocketPhase::Open
    }

    /// Whether more waited for the peer than may.
    pub fn is_overrun(&self) -> bool {
        self.lock().is_overrun
    }

    /// What all that waits costs, what was replayed included.
    pub fn held_bytes(&self) -> usize {
        self.lock().outbox.held_bytes()
    }

    /// Whether nothing waits to be written.
    pub fn is_flushed(&self) -> bool {
        self.lock().outbox.is_empty()
    }

    /// When the last byte came from the peer, or the connection was opened.
    pub fn heard(&self) -> Instant {
        self.opened + Duration::from_nanos(self.heard_nanos.load(Ordering::Relaxed))
    }

    /// Reads what has come. Only the task that drives the connection calls this; it is woken for
    /// output too. `Ok(0)`: the peer has closed its direction.
    ///
    /// # Errors
    /// The connection is over.
    pub fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.driver.register(cx.waker());
        self.poll_flush(cx)?;
        loop {
            ready!(self.stream.poll_read_ready(cx))?;
            match self.stream.try_read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => {
                    let heard_nanos = self.opened.elapsed().as_nanos() as u64;
                    self.heard_nanos.store(heard_nanos, Ordering::Relaxed);
                    return Poll::Ready(result);
                }
            }
        }
    }

    /// Writes what waits, and arranges to be woken for the rest.
    fn poll_flush(&self, cx: &mut Context<'_>) -> io::Result<()> {
        loop {
            let mut state = self.lock();
            if state.phase == SocketPhase::Broken {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            self.write(&mut state)?;
            if state.phase == SocketPhase::Held {
                return Ok(());
            }
            if state.outbox.is_empty() {
                if state.phase == SocketPhase::Closing {
                    state.phase = SocketPhase::Lingering;
                    SockRef::from(&self.stream).shutdown(Shutdown::Write)?;
                }
                return Ok(());
            }
            drop(state);
            match self.stream.poll_write_ready(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(ready) => ready?,
            }
        }
    }

    fn write(&self, state: &mut SocketState) -> io::Result<()> {
        while !state.outbox.is_empty() && state.phase != SocketPhase::Held {
            let mut slices = [IoSlice::new(&[]); WRITE_SLICES];
            let filled = state.outbox.slices(&mut slices);
            let written = match &slices[..filled] {
                [slice] => self.stream.try_write(slice),
                slices if state.outbox.queued_bytes() <= JOIN_BYTES => {
                    let mut joined = [0; JOIN_BYTES];
                    let len_bytes = join(slices, &mut joined);
                    self.stream.try_write(&joined[..len_bytes])
                }
                slices => self.stream.try_write_vectored(slices),
            };
            let written = match written {
                Ok(written) => written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            state.outbox.advance(written);
            let reached = state.outbox.written_bytes();
            let done = state.waiting.partition_point(|waiter| waiter.place <= reached);
            for waiter in state.waiting.drain(..done) {
                let _ = waiter.done.send(());
            }
        }
        Ok(())
    }

    fn break_off(&self, state: &mut SocketState) {
        state.phase = SocketPhase::Broken;
        state.awaits_greeting = None;
        state.waiting = Vec::new();
        self.driver.wake();
    }

    fn lock(&self) -> MutexGuard<'_, SocketState> {
        // Every change of the state is complete before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Copies slices one behind the other, and returns how many bytes they have together.
///
/// # Panics
/// If they have more than there is room for.
fn join(slices: &[IoSlice<'_>], joined: &mut [u8]) -> usize {
    slices.iter().fold(0, |from, slice| {
        let to = from + slice.len();
        joined[from..to].copy_from_slice(slice);
        to
    })
}

#[cfg(test)]
mod tests;
