//! A caller's TCP connection, as actix-http reads it: request lines are made fit for it, and who
//! waits for the caller can see that it has closed its side.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::cut::Cut;
use crate::request_line::RequestLines;

/// How much is read at once while request lines are looked for: most heads are smaller.
const READ_BYTES: usize = 2 << 10;

/// Whether a caller still has its side of the connection open. One that has not may be gone, or may
/// have said all it wanted to say: TCP does not tell the two apart.
#[derive(Debug, Clone, Default)]
pub struct Presence {
    is_over: Arc<AtomicBool>,
    cut: Cut,
}

impl Presence {
    /// The caller has closed its side.
    pub fn is_over(&self) -> bool {
        // The flag guards no other memory.
        self.is_over.load(Ordering::Relaxed)
    }

    fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// Ends the connection where it waits for the caller to read, as a failed write does.
    pub(crate) fn cut(&self) {
        self.cut.cut();
    }
}

/// The connection of one caller.
#[derive(Debug)]
pub struct CallerStream {
    tcp: TcpStream,
    lines: RequestLines,
    /// Escaped and not taken yet, at most a target and three times [`READ_BYTES`].
    escaped: Bytes,
    presence: Presence,
}

impl CallerStream {
    /// Nothing was read yet.
    pub fn new(tcp: TcpStream) -> Self {
        Self {
            tcp,
            lines: RequestLines::default(),
            escaped: Bytes::new(),
            presence: Presence::default(),
        }
    }

    /// Shared with this stream.
    pub fn presence(&self) -> Presence {
        self.presence.clone()
    }

    fn poll_tcp(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = ready!(Pin::new(&mut self.tcp).poll_read(cx, buf));
        if read.is_err() || buf.filled().len() == before && buf.remaining() > 0 {
            self.presence.end();
        }
        Poll::Ready(read)
    }
}

impl AsyncRead for CallerStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // What is read may be held back, and no bytes would mean the end. Tokio's budget ends the
        // loop where a caller sends faster than it is read.
        while self.escaped.is_empty() {
            if self.lines.is_over() {
                return self.poll_tcp(cx, buf);
            }
            let mut raw = [0; READ_BYTES];
            let mut raw = ReadBuf::new(&mut raw);
            ready!(self.poll_tcp(cx, &mut raw))?;
            if raw.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            let mut escaped = Vec::with_capacity(raw.filled().len());
            self.lines.escape(raw.filled(), &mut escaped);
            self.escaped = escaped.into();
        }
        let taken = self.escaped.len().min(buf.remaining());
        buf.put_slice(&self.escaped[..taken]);
        self.escaped.advance(taken);
        if self.escaped.is_empty() {
            // An idle connection must not keep the memory.
            self.escaped = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for CallerStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.tcp).poll_write(cx, buf) {
            Poll::Pending if self.presence.cut.poll(cx) => {
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            written => written,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}
