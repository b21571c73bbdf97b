//! A caller's TCP connection, as actix-http reads it: one request at a time, and none before the answer to
//! the previous one was taken. Others can see whether the caller has closed its side. A caller that does
//! not read what it is sent loses the connection.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use campanile_channel::tls::Stream;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep, sleep_until};
use tracing::debug;

use crate::courier::Presence;
use crate::http::HttpError;
use crate::http::entrance::Counted;
use crate::http::inbound::Inbound;
use crate::http::patience::Patience;
use crate::http::turn::Turn;
use crate::meters::Connected;

/// How much is read at once in search of a head. Most heads are smaller.
const READ_BYTES: usize = 2 << 10;

/// How many reads in a row may pass nothing on before others get their turn, including the writing of this
/// connection's own answers. Otherwise a caller that sends without a pause would use up what Tokio lets a
/// task do at once, and nothing but reading would ever be done.
const READS: usize = 16;

/// How long a refused caller may take to read the reason. Without this time, what it has sent and nobody
/// reads would reset the connection, and the answer would be lost.
const LAST_WORD_LIMIT: Duration = Duration::from_secs(1);

/// The connection of one caller.
#[derive(Debug)]
pub struct CallerStream {
    tcp: Stream,
    inbound: Inbound,
    /// What `inbound` has passed on and actix-http has not read: at most a head and three times
    /// [`READ_BYTES`].
    ready: Bytes,
    presence: Presence,
    turn: Turn,
    head_limit: Duration,
    /// Runs while a head must come in time.
    head_timer: Option<Pin<Box<Sleep>>>,
    last_word_timer: Option<Pin<Box<Sleep>>>,
    patience: Patience,
    /// Runs while something waits for the caller to read it.
    patience_timer: Option<Pin<Box<Sleep>>>,
    /// Whether the next request waits until what was sent has been taken.
    holds_back: bool,
    /// Whether no request has come yet.
    is_fresh: bool,
    /// Whether the body of the current request is broken.
    is_broken: bool,
    has_ended: bool,
    /// Counts the connection for its address.
    counted: Option<Counted>,
    /// Counts the connection for operators.
    connected: Option<Connected>,
}

impl CallerStream {
    /// Starts with nothing read. The first head must arrive within `head_limit`, and each later one
    /// within the same time after its first byte. The caller must read what it is sent within
    /// `silence_limit`; see [`Patience`].
    pub fn new(tcp: impl Into<Stream>, head_limit: Duration, silence_limit: Duration) -> Self {
        Self {
            tcp: tcp.into(),
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
            counted: None,
            connected: None,
        }
    }

    /// Holds what counts the connection for its address and for operators, until the connection ends.
    pub fn counted_by(mut self, counted: Option<Counted>, connected: Connected) -> Self {
        (self.counted, self.connected) = (counted, Some(connected));
        self
    }

    /// Returns the presence of the caller, which this stream updates.
    pub fn presence(&self) -> Presence {
        self.presence.clone()
    }

    /// Returns what this stream shares with the handlers of its requests.
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

    /// Reads a body directly into `buf`, because it is passed on as it is.
    fn poll_body(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut read = ReadBuf::new(buf.initialize_unfilled());
        ready!(self.poll_tcp(cx, &mut read))?;
        let taken = self.inbound.receive_body(read.filled());
        buf.advance(taken);
        self.report();
        Poll::Ready(Ok(()))
    }

    /// Passes on to the handler what is wrong, if anything is.
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

    /// Whether the current head did not arrive in time.
    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.is_fresh && !self.inbound.is_in_head() {
            self.head_timer = None;
            return false;
        }
        let limit = self.head_limit;
        let timer = self.head_timer.get_or_insert_with(|| Box::pin(sleep(limit)));
        // The clock is asked, too, because a timer may be silent in a task that has done much in its turn.
        timer.as_mut().poll(cx).is_ready() || timer.deadline().into_std() <= Instant::now()
    }

    /// Notes that the kernel has taken some or all of what actix-http has for the caller.
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

    /// Cuts the connection of a caller that does not read.
    fn give_up(&self) -> io::Error {
        debug!("a connection ends: its caller does not take what it is sent");
        // If this fails, the kernel goes on sending what it holds.
        let _ = SockRef::from(&self.tcp).set_linger(Some(Duration::ZERO));
        io::ErrorKind::TimedOut.into()
    }

    /// Whether nothing was taken for too long. If not, the task is woken when that may be the case.
    fn is_given_up(&mut self, cx: &mut Context<'_>) -> bool {
        // The clock is asked, as in `is_late`.
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
        // What is read may be held back, and returning no bytes would mean the end.
        let mut reads = 0;
        loop {
            self.holds_back = self.patience.is_waiting();
            if !self.holds_back && self.turn.take_answered(cx.waker()) {
                if self.is_broken {
                    // There is nothing behind it that could be read.
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
            let mut raw = [MaybeUninit::uninit(); READ_BYTES];
            let mut raw = ReadBuf::uninit(&mut raw);
            let mut passed_on = Vec::new();
            let is_pending = match self.poll_tcp(cx, &mut raw)? {
                Poll::Ready(()) => {
                    self.inbound.receive(raw.filled(), &mut passed_on);
                    false
                }
                Poll::Pending => true,
            };
            // As long as more bytes are there, what may still become a head is read to its end, which is
            // near: a publisher that is busy must not take a caller for slow.
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
            // An idle connection must not keep memory.
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
            Poll::Ready(Ok(bytes)) => {
                let is_all = bytes == buf.len() && !self.tcp.has_unsent();
                self.took(bytes, is_all, cx);
            }
            Poll::Pending if self.is_given_up(cx) => return Poll::Ready(Err(self.give_up())),
            _ => {}
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.tcp).poll_flush(cx);
        // Without TLS, everything that was written is flushed.
        if self.tcp.is_sealed() {
            match flushed {
                Poll::Ready(Ok(())) => self.took(0, true, cx),
                Poll::Pending if self.is_given_up(cx) => return Poll::Ready(Err(self.give_up())),
                _ => {}
            }
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.tcp).poll_shutdown(cx))?;
        if !self.inbound.leaves_unread() {
            return Poll::Ready(Ok(()));
        }
        let Self { tcp, last_word_timer, .. } = &mut *self;
        let timer = last_word_timer.get_or_insert_with(|| Box::pin(sleep(LAST_WORD_LIMIT)));
        while timer.as_mut().poll(cx).is_pending() {
            let mut dropped = [MaybeUninit::uninit(); READ_BYTES];
            let mut dropped = ReadBuf::uninit(&mut dropped);
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
