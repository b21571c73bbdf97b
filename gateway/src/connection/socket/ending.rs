//! How a connection ends: after the last byte, its peer's end is waited for.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Sleep;

use super::{Socket, SocketPhase};

/// After the last byte was sent, a peer may go on sending for this long; what it sends is read and
/// dropped, for unread input would turn the close into a reset and the close code would be lost.
const LINGER: Duration = Duration::from_secs(2);

/// Sees a closed connection to its end: flushes, then reads and drops what still comes.
#[derive(Debug)]
pub struct Ending {
    socket: Arc<Socket>,
    /// Until the last byte is sent this limits the flush, then the lingering.
    limit: Pin<Box<Sleep>>,
    lingering: bool,
}

impl Ending {
    /// The end of a socket on which [`Socket::close`] was called. What still waits may take up to
    /// `flush_limit`.
    pub fn new(socket: Arc<Socket>, flush_limit: Duration) -> Self {
        Self { socket, limit: Box::pin(tokio::time::sleep(flush_limit)), lingering: false }
    }
}

impl Future for Ending {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut dropped = [0; 4096];
        // Before the reads: a peer that never stops sending makes them use up all that one poll may
        // do, and then no timer fires.
        if self.limit.as_mut().poll(cx).is_ready() {
            self.socket.abort();
            return Poll::Ready(());
        }
        loop {
            // First of all the reads: they flush.
            let read = self.socket.poll_read(cx, &mut dropped);
            if !self.lingering && self.socket.lock().phase == SocketPhase::Lingering {
                self.lingering = true;
                self.limit.set(tokio::time::sleep(LINGER));
            }
            let over = match read {
                Poll::Ready(Ok(0)) => self.lingering,
                Poll::Ready(ref result) => result.is_err(),
                Poll::Pending => {
                    ready!(self.limit.as_mut().poll(cx));
                    true
                }
            };
            if over {
                self.socket.abort();
                return Poll::Ready(());
            }
            if matches!(read, Poll::Ready(Ok(0))) {
                // The peer sends no more, but may still read what is left for it.
                return self.poll_without_reads(cx);
            }
        }
    }
}

impl Ending {
    fn poll_without_reads(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // A stream at its end is readable for ever: polling it again would spin.
        let flushed = self.socket.poll_flush(cx).is_err() || self.socket.is_flushed();
        if !flushed {
            ready!(self.limit.as_mut().poll(cx));
        }
        self.socket.abort();
        Poll::Ready(())
    }
}
