//! A socket over TLS. What leaves the outbox is sealed at once; slices share a record where they fit.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use campanile_channel::tls::sealed;
use campanile_edge::tls::MAX_PLAINTEXT_BYTES;
use rustix::net::SendFlags;

use super::{Socket, SocketPhase, SocketState, WRITE_SLICES, join};

thread_local! {
    /// The plaintext of one record, shared by all connections of a thread.
    static RECORD: RefCell<Vec<u8>> = RefCell::new(vec![0; MAX_PLAINTEXT_BYTES]);
}

impl Socket {
    /// Seals a slice and writes it at once, where the outbox is empty.
    pub(super) fn seal_now(&self, state: &mut SocketState, slice: &Bytes) {
        let SocketState { outbox, tls: Some(tls), .. } = state else { return };
        if !tls.unsent().is_empty() {
            // The driver waits already until the stream is writable.
            return outbox.pass(slice, 0);
        }
        let part = &slice[..slice.len().min(MAX_PLAINTEXT_BYTES)];
        let send =
            |sealed: &[u8]| Ok(rustix::net::send(&self.stream, sealed, SendFlags::NOSIGNAL)?);
        match sealed::write(tls, part, send) {
            Ok(()) => {
                outbox.pass(slice, part.len());
                if state.has_unsent() {
                    self.driver.wake();
                }
            }
            Err(_) => self.break_off(state),
        }
    }

    /// Reads what the peer has sealed. Returns `Ok(0)` when it has closed its direction.
    pub(super) fn poll_read_sealed(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut state = self.lock();
            let Some(tls) = &mut state.tls else { return Poll::Ready(Ok(0)) };
            let taken = tls.take(buffer);
            if taken > 0 || tls.is_ended() {
                return Poll::Ready(Ok(taken));
            }
            ready!(self.stream.poll_read_ready(cx))?;
            let read = sealed::read(&self.stream, tls);
            let is_answered = tls.unsent().is_empty();
            match read {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Ok(1..) => {}
                result => {
                    // The peer gets its alert, if there is room for it.
                    let _ = sealed::flush(&self.stream, tls);
                    return Poll::Ready(result);
                }
            }
            self.note_heard();
            drop(state);
            if !is_answered {
                self.poll_flush(cx)?;
            }
        }
    }

    /// Seals what waits and writes it. Slices leave together in one record where they fit.
    pub(super) fn write_sealed(&self, state: &mut SocketState) -> io::Result<()> {
        loop {
            let SocketState { outbox, tls: Some(tls), .. } = state else { return Ok(()) };
            match sealed::flush(&self.stream, tls) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                result => result?,
            }
            if outbox.is_empty() || state.phase == SocketPhase::Held {
                state.resolve_waiters();
                return Ok(());
            }
            let mut slices = [IoSlice::new(&[]); WRITE_SLICES];
            let filled = outbox.slices(&mut slices);
            let send = |sealed: &[u8]| self.stream.try_write(sealed);
            let len_bytes = match &slices[..filled] {
                [slice, rest @ ..] if rest.is_empty() || slice.len() >= MAX_PLAINTEXT_BYTES => {
                    let part = &slice[..slice.len().min(MAX_PLAINTEXT_BYTES)];
                    sealed::write(tls, part, send)?;
                    part.len()
                }
                slices => RECORD.with_borrow_mut(|record| {
                    let len_bytes = join(slices, record);
                    sealed::write(tls, &record[..len_bytes], send).map(|()| len_bytes)
                })?,
            };
            outbox.advance(len_bytes);
            state.resolve_waiters();
        }
    }
}
