//! A caller's TCP connection, as actix-http reads it: one request at a time, and who waits for the
//! caller can see that it has closed its side.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use crate::ApiError;
use crate::cut::Cut;
use crate::inbound::Inbound;
use crate::turn::Turn;

/// How much is read at once while heads are looked for: most are smaller.
const READ_BYTES: usize = 2 << 10;

/// How long a caller that is refused may take to read why. What it has sent and nobody reads would
/// else reset the connection, and the answer with it.
const LAST_WORD_LIMIT: Duration = Duration::from_secs(1);

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
    inbound: Inbound,
    /// Passed on by `inbound` and not taken yet: at most a head and three times [`READ_BYTES`].
    ready: Bytes,
    presence: Presence,
    turn: Turn,
    head_limit: Duration,
    /// Runs while a head is awaited that must come in time.
    head_timer: Option<Pin<Box<Sleep>>>,
    last_word_timer: Option<Pin<Box<Sleep>>>,
    /// No request has come yet.
    is_fresh: bool,
    /// The body of the request under way is broken.
    is_broken: bool,
    has_ended: bool,
}

impl CallerStream {
    /// Nothing was read yet. The first head must be there within `head_limit`, and each later one
    /// as long after its first byte.
    pub fn new(tcp: TcpStream, head_limit: Duration) -> Self {
        Self {
            tcp,
            inbound: Inbound::default(),
            ready: Bytes::new(),
            presence: Presence::default(),
            turn: Turn::default(),
            head_limit,
            head_timer: None,
            last_word_timer: None,
            is_fresh: true,
            is_broken: false,
            has_ended: false,
        }
    }

    /// Shared with this stream.
    pub fn presence(&self) -> Presence {
        self.presence.clone()
    }

    /// Shared with this stream, for the handlers of its requests.
    pub fn turn(&self) -> Turn {
        self.turn.clone()
    }

    fn poll_tcp(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = ready!(Pin::new(&mut self.tcp).poll_read(cx, buf));
        if read.is_err() || buf.filled().len() == before && buf.remaining() > 0 {
            self.presence.end();
            self.has_ended = true;
        }
        Poll::Ready(read)
    }

    /// Reads a body, which is passed on as it is, straight to where it is wanted.
    fn poll_body(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut read = ReadBuf::new(buf.initialize_unfilled());
        ready!(self.poll_tcp(cx, &mut read))?;
        let taken = self.inbound.receive_body(read.filled());
        buf.advance(taken);
        self.report();
        Poll::Ready(Ok(()))
    }

    /// Tells the handler what is wrong, if anything is.
    fn report(&mut self) {
        if let Some(error) = self.inbound.take_refusal() {
            self.turn.refuse(error);
        }
        if let Some(error) = self.inbound.take_broken() {
            self.is_broken = true;
            self.turn.break_off(error);
        }
    }

    fn pass_on(&mut self, passed_on: Vec<u8>) {
        if !passed_on.is_empty() {
            self.is_fresh = false;
            self.ready = passed_on.into();
        }
        self.report();
    }

    /// Whether the head that is awaited did not come in time.
    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.is_fresh && !self.inbound.is_in_head() {
            self.head_timer = None;
            return false;
        }
        let limit = self.head_limit;
        let timer = self.head_timer.get_or_insert_with(|| Box::pin(sleep(limit)));
        timer.as_mut().poll(cx).is_ready()
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
        loop {
            if self.turn.take_answered(cx.waker()) {
                if self.is_broken {
                    // Nothing that could be read is behind it.
                    self.has_ended = true;
                }
                let mut passed_on = self.ready.to_vec();
                self.inbound.answered(&mut passed_on);
                self.pass_on(passed_on);
            }
            if !self.ready.is_empty() {
                break;
            }
            if self.has_ended {
                return match self.inbound.has_waiting() {
                    true => Poll::Pending,
                    false => Poll::Ready(Ok(())),
                };
            }
            if self.inbound.is_body() {
                let before = buf.filled().len();
                ready!(self.poll_body(cx, buf))?;
                match buf.filled().len() > before {
                    true => return Poll::Ready(Ok(())),
                    false => continue,
                }
            }
            if !self.inbound.wants_more() {
                return Poll::Pending;
            }
            let mut raw = [0; READ_BYTES];
            let mut raw = ReadBuf::new(&mut raw);
            let mut passed_on = Vec::new();
            match self.poll_tcp(cx, &mut raw)? {
                Poll::Ready(()) => self.inbound.receive(raw.filled(), &mut passed_on),
                Poll::Pending if self.is_late(cx) => {
                    let limit = self.head_limit;
                    self.inbound.refuse(ApiError::SlowHead { limit }, &mut passed_on);
                }
                Poll::Pending => return Poll::Pending,
            }
            self.pass_on(passed_on);
        }
        let taken = self.ready.len().min(buf.remaining());
        buf.put_slice(&self.ready[..taken]);
        self.ready.advance(taken);
        if self.ready.is_empty() {
            // An idle connection must not keep the memory.
            self.ready = Bytes::new();
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
        ready!(Pin::new(&mut self.tcp).poll_shutdown(cx))?;
        if !self.inbound.leaves_unread() {
            return Poll::Ready(Ok(()));
        }
        let Self { tcp, last_word_timer, .. } = &mut *self;
        let timer = last_word_timer.get_or_insert_with(|| Box::pin(sleep(LAST_WORD_LIMIT)));
        while timer.as_mut().poll(cx).is_pending() {
            let mut dropped = [0; READ_BYTES];
            let mut dropped = ReadBuf::new(&mut dropped);
            match Pin::new(&mut *tcp).poll_read(cx, &mut dropped) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) if !dropped.filled().is_empty() => {}
                Poll::Ready(_) => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}
