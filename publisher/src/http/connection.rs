//! A caller's TCP connection, as actix-http reads it: one request at a time, and none before the
//! answer to the one before it was taken. Who waits for the caller can see that it has closed its
//! side. A caller that does not take what it is sent loses the connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep, sleep_until};
use tracing::debug;

use crate::courier::Presence;
use crate::http::HttpError;
use crate::http::inbound::Inbound;
use crate::http::patience::Patience;
use crate::http::turn::Turn;

/// How much is read at once while heads are looked for: most are smaller.
const READ_BYTES: usize = 2 << 10;

/// How many reads in a row may pass nothing on before others have their turn, the writing of this
/// connection's own answers among them. Else a caller that sends without a pause would use up what
/// Tokio lets a task do at once, and nothing but reading would ever be done for it.
const READS: usize = 16;

/// How long a caller that is refused may take to read why. What it has sent and nobody reads would
/// else reset the connection, and the answer with it.
const LAST_WORD_LIMIT: Duration = Duration::from_secs(1);

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
    patience: Patience,
    /// Runs while something waits to be taken by the caller.
    patience_timer: Option<Pin<Box<Sleep>>>,
    /// The next request waits until what was sent has been taken.
    holds_back: bool,
    /// No request has come yet.
    is_fresh: bool,
    /// The body of the request under way is broken.
    is_broken: bool,
    has_ended: bool,
}

impl CallerStream {
    /// Nothing was read yet. The first head must be there within `head_limit`, and each later one
    /// as long after its first byte. What the caller is sent it must take within `silence_limit`; see
    /// [`Patience`].
    pub fn new(tcp: TcpStream, head_limit: Duration, silence_limit: Duration) -> Self {
        Self {
            tcp,
            inbound: Inbound::default(),
            ready: Bytes::new(),
            presence: Presence::default(),
            turn: Turn::default(),
            head_limit,
            head_timer: None,
            last_word_timer: None,
            patience: Patience::new(silence_limit),
            patience_timer: None,
            holds_back: false,
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
        // The clock says it too: a timer says nothing to a task that has done much in its turn.
        timer.as_mut().poll(cx).is_ready() || timer.deadline().into_std() <= Instant::now()
    }

    /// Some of what actix-http has for the caller was taken, or all.
    fn took(&mut self, bytes: usize, is_all: bool, cx: &mut Context<'_>) {
        self.patience.took(bytes, is_all);
        if is_all {
            self.patience_timer = None;
            self.turn.all_taken();
            if std::mem::take(&mut self.holds_back) {
                cx.waker().wake_by_ref();
            }
        }
    }

    /// Whether nothing was taken for too long; where not, the task is woken when it may be so.
    fn is_given_up(&mut self, cx: &mut Context<'_>) -> bool {
        // The clock says it, as in `is_late`.
        while let Some(until) = self.patience.wait(Instant::now()) {
            let until = until.into();
            let timer = self.patience_timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
            if timer.deadline() != until {
                timer.as_mut().reset(until);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return false;
            }
        }
        true
    }
}

impl AsyncRead for CallerStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // What is read may be held back, and no bytes would mean the end.
        let mut reads = 0;
        loop {
            self.holds_back = self.patience.is_waiting();
            if !self.holds_back && self.turn.take_answered(cx.waker()) {
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
            if reads == READS {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            reads += 1;
            let mut raw = [0; READ_BYTES];
            let mut raw = ReadBuf::new(&mut raw);
            let mut passed_on = Vec::new();
            let is_pending = match self.poll_tcp(cx, &mut raw)? {
                Poll::Ready(()) => {
                    self.inbound.receive(raw.filled(), &mut passed_on);
                    false
                }
                Poll::Pending => true,
            };
            // What may still be a head is read to its end, which is near, as long as more of it is
            // there already: a busy publisher must not find a caller slow.
            if (is_pending || self.inbound.is_dropping()) && self.is_late(cx) {
                let limit = self.head_limit;
                self.inbound.refuse(HttpError::SlowHead { limit }, &mut passed_on);
            } else if is_pending {
                return Poll::Pending;
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
        let written = Pin::new(&mut self.tcp).poll_write(cx, buf);
        match written {
            Poll::Ready(Ok(bytes)) => self.took(bytes, bytes == buf.len(), cx),
            Poll::Pending if self.is_given_up(cx) => {
                debug!("a connection ends: its caller does not take what it is sent");
                // Where it fails, the system goes on sending what it holds.
                let _ = SockRef::from(&self.tcp).set_linger(Some(Duration::ZERO));
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            _ => {}
        }
        written
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

#[cfg(test)]
mod tests;
