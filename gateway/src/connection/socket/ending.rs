//! Ends a connection: sends the last bytes, then waits until the peer closes its side.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Sleep;

use super::{Socket, SocketPhase};

/// How long a peer may continue to send after the last byte was sent to it. What it sends is read and
/// dropped, because unread input would turn the close into a reset, and the close code would be lost.
const LINGER: Duration = Duration::from_secs(2);

/// A future that ends a closed connection: it flushes, then reads and drops what the peer still sends.
#[derive(Debug)]
pub struct Ending {
    socket: Arc<Socket>,
    /// Limits the flush until the last byte is sent, and then how long the peer may continue to send.
    limit: Pin<Box<Sleep>>,
    lingering: bool,
}

impl Ending {
    /// Ends a socket on which [`Socket::close`] was called. Flushing what still waits may take up to
    /// `flush_limit`.
    pub fn new(socket: Arc<Socket>, flush_limit: Duration) -> Self {
        Self { socket, limit: Box::pin(tokio::time::sleep(flush_limit)), lingering: false }
    }
}

impl Future for Ending {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut dropped = [0; 4096];
        // Checked before the reads: a peer that never stops sending makes them use up the budget of this
        // poll, and then the timer would not fire.
        if self.limit.as_mut().poll(cx).is_ready() {
            self.socket.abort();
            return Poll::Ready(());
        }
        loop {
            // Reads come first, because they also flush.
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
                // The peer sends nothing more, but may still read the rest.
                return self.poll_without_reads(cx);
            }
        }
    }
}

impl Ending {
    fn poll_without_reads(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // A stream at its end stays readable, so polling it again would spin.
        let flushed = self.socket.poll_flush(cx).is_err() || self.socket.is_flushed();
        if !flushed {
            ready!(self.limit.as_mut().poll(cx));
        }
        self.socket.abort();
        Poll::Ready(())
    }
}
