//! What both ends of a link do alike: read whole frames, queue frames within a bound, keep the link
//! alive while there is nothing to say.

use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use campanile_messages::frame::{MAX_FRAME_BYTES, take_frame};
use campanile_messages::{DecodeError, EncodedFrame};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};

use crate::outbox::{Full, Outbox};

/// A side that has nothing to say says so this often.
pub const HEARTBEAT: Duration = Duration::from_secs(2);

/// A link on which nothing was heard for this long is over: four heartbeats and some.
pub const SILENCE_LIMIT: Duration = Duration::from_secs(9);

/// How much one read asks for: room for a thousand small frames.
const READ_BYTES: usize = 64 << 10;

/// How many slices one `writev` takes. The kernel's limit is 1,024; past some dozens the call itself
/// no longer counts.
const WRITE_SLICES: usize = 128;

/// Why a link ended or was not made. None of them harms another link.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The peer is gone.
    #[error("the peer closed the link")]
    Closed,
    /// The system says so.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Half-open, stopped, or out of reach.
    #[error("nothing heard for {} s", .0.as_secs_f32())]
    Silent(Duration),
    /// Not our protocol, or a broken peer.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The peer does not take what it is sent.
    #[error("the peer does not drain: {0}")]
    Full(#[from] Full),
    /// The broker ended the link, and said why.
    #[error("the broker says: {0}")]
    Goodbye(String),
}

/// Makes a link's socket ready: no delay, keepalive, and an end to unacknowledged data after
/// [`SILENCE_LIMIT`].
///
/// # Errors
/// What the system answers.
pub fn prepare(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_user_timeout(Some(SILENCE_LIMIT))?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(SILENCE_LIMIT))
}

/// Reads whole frames.
#[derive(Debug)]
pub struct FrameReader {
    half: OwnedReadHalf,
    buffer: BytesMut,
}

impl FrameReader {
    /// Reads from the given half of a link.
    pub fn new(half: OwnedReadHalf) -> Self {
        Self {
            half,
            buffer: BytesMut::new(),
        }
    }

    /// Waits for the next frame and answers it with all others that came along, without their
    /// lengths. Between two calls nothing is read, so a busy owner slows its peer down. May be
    /// dropped and called again: nothing is lost.
    ///
    /// # Errors
    /// [`LinkError::Closed`], [`LinkError::Io`], [`LinkError::Decode`] for a length over
    /// [`MAX_FRAME_BYTES`], and [`LinkError::Silent`] if for [`SILENCE_LIMIT`] no byte came.
    pub async fn next_batch(&mut self) -> Result<Vec<Bytes>, LinkError> {
        let mut frames = Vec::new();
        loop {
            while let Some(frame) = take_frame(&mut self.buffer, MAX_FRAME_BYTES)? {
                frames.push(frame);
            }
            if !frames.is_empty() {
                return Ok(frames);
            }
            if self.buffer.capacity() - self.buffer.len() < READ_BYTES / 4 {
                self.buffer.reserve(READ_BYTES);
            }
            let read = timeout(SILENCE_LIMIT, self.half.read_buf(&mut self.buffer));
            match read.await {
                Err(_) => return Err(LinkError::Silent(SILENCE_LIMIT)),
                Ok(Ok(0)) => return Err(LinkError::Closed),
                Ok(result) => result?,
            };
        }
    }
}

/// The sending side of a link: whoever holds it adds frames, [`write_out`] writes them. Clones are
/// the same queue.
#[derive(Debug, Clone)]
pub struct Outbound(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    outbox: Outbox,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// Write what waits, then end.
    Finishing,
    /// End now.
    Cut,
}

impl Outbound {
    /// An empty queue for up to `max_bytes`.
    pub fn new(max_bytes: usize) -> Self {
        let state = State {
            outbox: Outbox::new(max_bytes),
            phase: Phase::Open,
        };
        Self(Arc::new(Shared {
            state: Mutex::new(state),
            changed: Notify::new(),
        }))
    }

    /// Queues a frame. On a link that is ending it is dropped: its owner is told by other means.
    ///
    /// # Errors
    /// [`Full`], and nothing was queued; the owner should [`cut`](Self::cut) the link.
    pub fn send(&self, frame: &EncodedFrame) -> Result<(), Full> {
        let mut state = self.lock();
        if state.phase == Phase::Open {
            state.outbox.push(frame.head.clone())?;
            // The two slices of a frame stay together, whatever the second does to the bound.
            if let Some(content) = &frame.content {
                state.outbox.force(content.clone());
            }
            self.0.changed.notify_one();
        }
        Ok(())
    }

    /// Queues a frame whatever the bound says, for what is bounded by other means.
    pub fn force(&self, frame: &EncodedFrame) {
        let mut state = self.lock();
        if state.phase == Phase::Open {
            state.outbox.force(frame.head.clone());
            if let Some(content) = &frame.content {
                state.outbox.force(content.clone());
            }
            self.0.changed.notify_one();
        }
    }

    /// How many bytes wait.
    pub fn queued_bytes(&self) -> usize {
        self.lock().outbox.queued_bytes()
    }

    /// Takes no more frames, writes those that wait, then ends the link.
    pub fn finish(&self) {
        self.end(Phase::Finishing);
    }

    /// Ends the link now, whatever waits.
    pub fn cut(&self) {
        self.end(Phase::Cut);
    }

    fn end(&self, phase: Phase) {
        let mut state = self.lock();
        if state.phase != Phase::Cut {
            state.phase = phase;
        }
        self.0.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change of the state is complete before anything can panic.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes what is queued until the link ends; says `heartbeat` when there is nothing else to say.
/// On return the sending direction is closed.
///
/// # Errors
/// [`LinkError::Io`]; `Ok` after [`Outbound::finish`] or [`Outbound::cut`].
pub async fn write_out(
    half: OwnedWriteHalf,
    outbound: Outbound,
    heartbeat: EncodedFrame,
) -> Result<(), LinkError> {
    let mut beat_at = Instant::now() + HEARTBEAT;
    loop {
        let phase = {
            let state = outbound.lock();
            match state.phase {
                Phase::Cut => return Ok(()),
                phase if state.outbox.is_empty() => Some(phase),
                _ => None,
            }
        };
        match phase {
            Some(Phase::Open) => {
                if timeout_at(beat_at, outbound.0.changed.notified())
                    .await
                    .is_err()
                {
                    outbound.force(&heartbeat);
                }
            }
            Some(_) => return Ok(()),
            None => {
                // A peer that takes nothing must not keep us from hearing that the link is cut.
                tokio::select! {
                    ready = half.writable() => ready?,
                    () = outbound.0.changed.notified() => continue,
                }
                write_some(&half, &mut outbound.lock().outbox)?;
                beat_at = Instant::now() + HEARTBEAT;
            }
        }
    }
}

fn write_some(half: &OwnedWriteHalf, outbox: &mut Outbox) -> io::Result<()> {
    let mut slices = [IoSlice::new(&[]); WRITE_SLICES];
    let filled = outbox.slices(&mut slices);
    match half.try_write_vectored(&slices[..filled]) {
        Ok(written) => {
            outbox.advance(written);
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        Err(error) => Err(error),
    }
}
