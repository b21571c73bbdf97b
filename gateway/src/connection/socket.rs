//! One client's TCP stream and its outbox. Everything on the connection's worker may add output; one task,
//! called the driver, reads from the stream and writes what waits until the connection ends.
//!
//! A socket writes shared slices, over TLS or without, waits until the stream is writable, and closes it. It
//! knows nothing of websockets.

mod client;
mod ending;
mod figures;
mod gate;
mod sealing;
mod seen;
mod standing;
mod state;

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use campanile_channel::tls::Stream;
use campanile_channel::{Full, Outbox};
use futures_util::task::AtomicWaker;
use rustix::io::Errno;
use rustix::net::SendFlags;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::websocket::CloseCause;
use client::ClientAddress;
use state::{SocketPhase, SocketState, WriteWaiter};

pub use ending::Ending;

/// The most slices in one `writev`.
const WRITE_SLICES: usize = 64;

/// Slices that have at most this many bytes together are copied and written as one, because a `send`
/// costs the kernel less than a `writev`.
const JOIN_BYTES: usize = 1 << 10;

/// A client's stream and its outbox.
#[derive(Debug)]
pub struct Socket {
    stream: TcpStream,
    state: Mutex<SocketState>,
    /// Wakes the driver when there is output that it has to finish.
    driver: AtomicWaker,
    opened: Instant,
    /// Nanoseconds from `opened` to the last byte that came. With a coarser unit, a quick answer could
    /// seem to be older than the ping before it.
    heard_nanos: AtomicU64,
    client: ClientAddress,
    /// How many bytes were ever queued besides the events of the log; the largest value stands for any more.
    other_bytes: AtomicU16,
    /// How many bytes waited when the outbox exceeded its bound, in the measure of that; 0 if it did not.
    overrun_bytes: AtomicU32,
}

/// What is on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wire {
    Plain,
    Sealed,
}

/// The result of [`Socket::send`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// The slice is the first in the queue: the caller must [`flush`](Socket::flush).
    First,
    /// The slice is queued behind others, and is flushed together with them.
    Behind,
    /// The slice is dropped, because the connection is not greeted yet or is ending.
    Ending,
}

/// What happens to output that waits when a connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsent {
    /// The output is sent before the last slice.
    Flush,
    /// The output is dropped, except for the rest of a frame that is partly written.
    Drop,
}

impl Socket {
    /// Takes over a stream whose client's address does not matter. Up to `max_outbox_bytes` may wait for it.
    pub fn new(stream: impl Into<Stream>, max_outbox_bytes: usize) -> Arc<Self> {
        Self::of_client(stream, max_outbox_bytes, ClientAddress::default())
    }

    /// Takes over the stream of a client.
    pub fn of_client(
        stream: impl Into<Stream>,
        max_outbox_bytes: usize,
        client: impl Into<ClientAddress>,
    ) -> Arc<Self> {
        let (stream, tls) = stream.into().into_parts();
        Arc::new(Self {
            stream,
            state: Mutex::new(SocketState {
                outbox: Outbox::new(max_outbox_bytes),
                phase: SocketPhase::Open,
                waiting: None,
                is_overrun: false,
                cause: None,
                discarded_bytes: 0,
                tls,
            }),
            driver: AtomicWaker::new(),
            opened: Instant::now(),
            heard_nanos: AtomicU64::new(0),
            client: client.into(),
            other_bytes: AtomicU16::new(0),
            overrun_bytes: AtomicU32::new(0),
        })
    }

    /// Queues a slice. It is written at once only if the bound is reached, because a peer counts as too slow
    /// only after the kernel was offered everything that waits.
    ///
    /// # Errors
    /// [`Full`] if the bound is reached nevertheless; the peer should be closed.
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
                let waiting_bytes = u32::try_from(full.queued_bytes).unwrap_or(u32::MAX);
                self.overrun_bytes.store(waiting_bytes, Ordering::Relaxed);
                return Err(full);
            }
        }
        Ok(if first { Sent::First } else { Sent::Behind })
    }

    /// Writes as much of the outbox as the kernel takes now. The driver writes the rest.
    pub fn flush(&self) {
        let mut state = self.lock();
        match self.write(&mut state) {
            Ok(()) if !state.has_unsent() && state.phase <= SocketPhase::Open => {}
            Ok(()) => self.driver.wake(),
            Err(_) => self.break_off(&mut state),
        }
    }

    /// Like [`send`](Self::send) and [`flush`](Self::flush). If nothing waits and the kernel takes the
    /// slice, it is not queued at all. Returns `false` if the slice is dropped, because the connection is not
    /// greeted yet or is ending.
    ///
    /// # Errors
    /// Like [`send`](Self::send).
    pub fn send_now(&self, slice: &Bytes) -> Result<bool, Full> {
        let mut state = self.lock();
        if state.phase != SocketPhase::Open {
            return Ok(false);
        }
        if !state.outbox.is_empty() {
            // It is flushed together with what waits already.
            return self.queue(&mut state, slice).map(|sent| sent != Sent::Ending);
        }
        if state.tls.is_some() {
            self.seal_now(&mut state, slice);
            return Ok(state.phase == SocketPhase::Open);
        }
        // Not through the runtime: in a broadcast to thousands, its record of this stream is not in the
        // CPU's caches. If the stream is full, the driver learns that from the runtime itself.
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
            Err(_) => {
                self.break_off(&mut state);
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Queues slices whatever the bound is, because they are bounded by other means, and writes what the
    /// kernel takes. They do not count for the bound of later output. Returns `false` if they are dropped,
    /// because the connection is ending.
    pub fn replay(&self, slices: impl IntoIterator<Item = Bytes>) -> bool {
        let mut state = self.lock();
        if state.phase == SocketPhase::Open {
            slices.into_iter().for_each(|slice| state.outbox.force(slice));
            state.outbox.exempt();
            drop(state);
            self.flush();
            return true;
        }
        false
    }

    /// Returns a receiver that resolves once the kernel has taken everything that is queued now, and fails
    /// if the connection ends before. `None` if nothing is queued.
    pub fn written(&self) -> Option<oneshot::Receiver<()>> {
        let mut state = self.lock();
        if !state.has_unsent() {
            return None;
        }
        let (done, written) = oneshot::channel();
        let offset = state.outbox.written_bytes() + state.outbox.queued_bytes() as u64;
        if state.phase == SocketPhase::Open {
            state.await_write(WriteWaiter { offset, done });
        }
        Some(written)
    }

    /// Queues `last` as the last slice. When it is sent, the driver closes the sending direction and waits
    /// until the peer closes the other one. Only the first close counts, and its `cause`, which
    /// [`cause`](Self::cause) returns.
    pub fn close(&self, last: Bytes, unsent: Unsent, cause: Option<CloseCause>) {
        let mut state = self.lock();
        if state.phase > SocketPhase::Open {
            return;
        }
        // What is held back includes the response to the handshake.
        if unsent == Unsent::Drop && state.phase != SocketPhase::Held {
            let waited = state.outbox.queued_bytes();
            state.outbox.discard_unbegun();
            let discarded_bytes = waited - state.outbox.queued_bytes();
            state.discarded_bytes = u32::try_from(discarded_bytes).unwrap_or(u32::MAX);
            state.waiting = None;
        }
        self.count_other(last.len());
        state.outbox.force(last);
        state.cause = cause;
        state.phase = SocketPhase::Closing;
        state.forget_greeting();
        drop(state);
        self.flush();
        self.driver.wake();
    }

    /// Ends the connection at once and drops what waits.
    pub fn abort(&self) {
        self.break_off(&mut self.lock());
    }

    /// Reads from the stream, after writing what waits. Only the driver calls this; it is woken for output,
    /// too. Returns `Ok(0)` when the peer has closed its direction.
    ///
    /// # Errors
    /// Any error means that the connection has ended.
    pub fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.driver.register(cx.waker());
        if self.poll_flush(cx)? == Wire::Sealed {
            return self.poll_read_sealed(cx, buffer);
        }
        loop {
            ready!(self.stream.poll_read_ready(cx))?;
            match self.stream.try_read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => {
                    self.note_heard();
                    return Poll::Ready(result);
                }
            }
        }
    }

    fn note_heard(&self) {
        let heard_nanos = self.opened.elapsed().as_nanos() as u64;
        self.heard_nanos.store(heard_nanos, Ordering::Relaxed);
    }

    /// Writes what waits. The driver is woken when the rest can be written.
    fn poll_flush(&self, cx: &mut Context<'_>) -> io::Result<Wire> {
        loop {
            let mut state = self.lock();
            if state.phase == SocketPhase::Broken {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            let wire = if state.tls.is_some() { Wire::Sealed } else { Wire::Plain };
            self.write(&mut state)?;
            if state.phase == SocketPhase::Held {
                return Ok(wire);
            }
            if !state.has_unsent() {
                if state.phase != SocketPhase::Closing {
                    return Ok(wire);
                }
                if let Some(tls) = &mut state.tls {
                    tls.close();
                    if !tls.unsent().is_empty() {
                        continue;
                    }
                }
                state.phase = SocketPhase::Lingering;
                SockRef::from(&self.stream).shutdown(Shutdown::Write)?;
                return Ok(wire);
            }
            drop(state);
            match self.stream.poll_write_ready(cx) {
                Poll::Pending => return Ok(wire),
                Poll::Ready(ready) => ready?,
            }
        }
    }

    fn write(&self, state: &mut SocketState) -> io::Result<()> {
        if state.tls.is_some() {
            return self.write_sealed(state);
        }
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
            state.resolve_waiters();
        }
        Ok(())
    }

    fn break_off(&self, state: &mut SocketState) {
        state.phase = SocketPhase::Broken;
        state.waiting = None;
        self.driver.wake();
    }

    fn lock(&self) -> MutexGuard<'_, SocketState> {
        // Every change of the state is complete before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Copies slices one after the other into `joined` until it is full, and returns how many bytes it
/// holds then.
fn join(slices: &[IoSlice<'_>], joined: &mut [u8]) -> usize {
    slices.iter().fold(0, |from, slice| {
        let len = slice.len().min(joined.len() - from);
        joined[from..from + len].copy_from_slice(&slice[..len]);
        from + len
    })
}

#[cfg(test)]
mod tests;
