//! What both ends of a link do alike: read whole frames, queue frames within a bound, keep the link
//! alive while there is nothing to say.

use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use campanile_messages::frame::{MAX_FRAME_BYTES, take_frame};
use campanile_messages::hello::{Disagreement, Feature, Features};
use campanile_messages::{ContentKind, DecodeError, EncodedFrame, ToBroker};
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

/// Small frames that are sent together are joined up to this size.
const JOINED_BYTES: usize = 16 << 10;

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
    /// The actor of this side has not answered: it hangs.
    #[error("the actor that owns this side has not answered for {} s", .0.as_secs_f32())]
    Unanswered(Duration),
    /// The owner of this side has ended it without waiting.
    #[error("this side cut the link")]
    Cut,
    /// The peer takes less than this side has to send.
    #[error(transparent)]
    Disagreement(#[from] Disagreement),
    /// The broker asks for something that this release does not have.
    #[error(
        "the broker asks for a proof of the cluster's secret by {method:?}, which this release \
         cannot give: link it to a broker that asks for none, or use the broker's release"
    )]
    Challenged {
        /// How it is to be proven.
        method: String,
    },
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
    /// Since when a read has been tried that no byte came of.
    silent_since: Option<Instant>,
}

impl FrameReader {
    /// Reads from the given half of a link.
    pub fn new(half: OwnedReadHalf) -> Self {
        Self { half, buffer: BytesMut::new(), silent_since: None }
    }

    /// Waits for the next frame and answers it with all others that came along, without their
    /// lengths. Between two calls nothing is read, so a busy owner slows its peer down. May be
    /// dropped and called again: nothing is lost.
    ///
    /// # Errors
    /// [`LinkError::Closed`], [`LinkError::Io`], [`LinkError::Decode`] for a length over
    /// [`MAX_FRAME_BYTES`], and [`LinkError::Silent`] if for [`SILENCE_LIMIT`] no byte came. Whole
    /// frames before the error are answered first.
    pub async fn next_batch(&mut self) -> Result<Vec<Bytes>, LinkError> {
        let mut frames = vec![self.next_frame(MAX_FRAME_BYTES).await?];
        // An error stays in the buffer for the next call.
        while let Ok(Some(frame)) = take_frame(&mut self.buffer, MAX_FRAME_BYTES) {
            frames.push(frame);
        }
        Ok(frames)
    }

    /// As [`next_batch`](Self::next_batch), but waits for `limit` at most: `None` if no whole frame came
    /// within it. The silence of the peer is counted over all tries.
    ///
    /// # Errors
    /// As there.
    pub async fn next_batch_within(
        &mut self,
        limit: Duration,
    ) -> Result<Option<Vec<Bytes>>, LinkError> {
        timeout(limit, self.next_batch()).await.ok().transpose()
    }

    /// As [`next_frame`](Self::next_frame), for a peer that has said nothing yet: while it is silent it
    /// costs no buffer.
    ///
    /// # Errors
    /// As [`next_batch`](Self::next_batch).
    pub async fn first_frame(&mut self, max_bytes: usize) -> Result<Bytes, LinkError> {
        self.half.readable().await?;
        self.next_frame(max_bytes).await
    }

    /// Waits for the next frame alone, of at most `max_bytes`.
    ///
    /// # Errors
    /// As [`next_batch`](Self::next_batch).
    pub async fn next_frame(&mut self, max_bytes: usize) -> Result<Bytes, LinkError> {
        loop {
            if let Some(frame) = take_frame(&mut self.buffer, max_bytes)? {
                return Ok(frame);
            }
            if self.buffer.capacity() - self.buffer.len() < READ_BYTES / 4 {
                self.buffer.reserve(READ_BYTES);
            }
            let since = *self.silent_since.get_or_insert_with(Instant::now);
            let read = timeout_at(since + SILENCE_LIMIT, self.half.read_buf(&mut self.buffer));
            let read = read.await;
            self.silent_since = None;
            match read {
                Err(_) => return Err(LinkError::Silent(SILENCE_LIMIT)),
                Ok(Ok(0)) => return Err(LinkError::Closed),
                Ok(result) => result?,
            };
        }
    }

    /// Reads to the end of the stream and keeps nothing: a socket that is closed with unread input
    /// resets the connection, and what was written last is lost.
    pub async fn discard(mut self) {
        self.buffer = BytesMut::with_capacity(READ_BYTES);
        while matches!(self.half.read_buf(&mut self.buffer).await, Ok(1..)) {
            self.buffer.clear();
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
    /// What the peer can do, once that is agreed.
    features: OnceLock<Features>,
}

#[derive(Debug)]
struct State {
    /// Bounded by `max_bytes`, not by itself: what was forced does not count.
    outbox: Outbox,
    max_bytes: usize,
    /// Where in the stream that which was forced ends.
    forced_until: u64,
    phase: Phase,
}

impl State {
    /// What waits behind all that was forced.
    fn counted_bytes(&self) -> usize {
        let forced = self.forced_until.saturating_sub(self.outbox.written_bytes());
        let forced = usize::try_from(forced).unwrap_or(usize::MAX);
        self.outbox.queued_bytes().saturating_sub(forced)
    }

    fn add(&mut self, frame: &EncodedFrame) {
        self.outbox.force(frame.head.clone());
        if let Some(content) = &frame.content {
            self.outbox.force(content.clone());
        }
    }
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
            outbox: Outbox::new(usize::MAX),
            max_bytes,
            forced_until: 0,
            phase: Phase::Open,
        };
        Self(Arc::new(Shared {
            state: Mutex::new(state),
            changed: Notify::new(),
            features: OnceLock::new(),
        }))
    }

    /// What was agreed with the peer. Counts once.
    pub fn agree(&self, features: Features) {
        let _ = self.0.features.set(features);
    }

    /// Whether a message that needs this may be sent on this link: the peer of an older release would
    /// end the link at it. Before anything is agreed, only what needs nothing may be.
    pub fn may_carry(&self, needed: Option<Feature>) -> bool {
        match self.0.features.get() {
            Some(features) => features.allow(needed),
            None => needed.is_none(),
        }
    }

    /// Queues a frame. On a link that is ending it is dropped: its owner is told by other means.
    ///
    /// # Errors
    /// [`Full`] if something waits and the frame would pass the bound, and nothing was queued; the
    /// owner should [`cut`](Self::cut) the link.
    pub fn send(&self, frame: &EncodedFrame) -> Result<(), Full> {
        let mut state = self.lock();
        if state.phase == Phase::Open {
            let queued_bytes = state.counted_bytes();
            if queued_bytes > 0 && queued_bytes + frame.len_bytes() > state.max_bytes {
                return Err(Full { queued_bytes, max_bytes: state.max_bytes });
            }
            state.add(frame);
            self.0.changed.notify_one();
        }
        Ok(())
    }

    /// Queues many frames: locks the queue until it is dropped, and wakes the writer once.
    pub fn sending(&self) -> Sending<'_> {
        Sending { shared: &self.0, state: self.lock(), joined: BytesMut::new() }
    }

    /// Queues a frame whatever the bound says, for what is bounded by other means. It, and what
    /// waits before it, does not count for the frames behind it.
    pub fn force(&self, frame: &EncodedFrame) {
        let mut state = self.lock();
        if state.phase == Phase::Open {
            state.add(frame);
            state.forced_until = state.outbox.written_bytes() + state.outbox.queued_bytes() as u64;
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

/// Queues many frames, small ones joined; see [`Outbound::sending`].
#[derive(Debug)]
pub struct Sending<'a> {
    shared: &'a Shared,
    state: MutexGuard<'a, State>,
    /// Frames that are in the queue as soon as this is full or dropped.
    joined: BytesMut,
}

impl Sending<'_> {
    /// Queues a message and its content, as [`Outbound::send`] does.
    ///
    /// # Errors
    /// [`Full`], and nothing was queued.
    pub fn send(&mut self, head: &ToBroker<ContentKind>, content: &Bytes) -> Result<(), Full> {
        if self.state.phase != Phase::Open {
            return Ok(());
        }
        let queued_bytes = self.state.counted_bytes() + self.joined.len();
        let start = self.joined.len();
        let separate = head.encode_to(content, &mut self.joined);
        let frame_bytes = self.joined.len() - start + separate.as_ref().map_or(0, Bytes::len);
        if queued_bytes > 0 && queued_bytes + frame_bytes > self.state.max_bytes {
            self.joined.truncate(start);
            return Err(Full { queued_bytes, max_bytes: self.state.max_bytes });
        }
        if separate.is_some() || self.joined.len() >= JOINED_BYTES {
            self.queue_joined();
        }
        if let Some(content) = separate {
            self.state.outbox.force(content);
        }
        Ok(())
    }

    fn queue_joined(&mut self) {
        self.state.outbox.force(std::mem::take(&mut self.joined).freeze());
        self.shared.changed.notify_one();
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        self.queue_joined();
    }
}

/// Writes what is queued until the link ends; says `heartbeat` when there is nothing else to say.
/// On return the sending direction is closed.
///
/// # Errors
/// [`LinkError::Io`], and [`LinkError::Cut`] after [`Outbound::cut`]; `Ok` after
/// [`Outbound::finish`].
pub async fn write_out(
    half: OwnedWriteHalf,
    outbound: Outbound,
    heartbeat: EncodedFrame,
) -> Result<(), LinkError> {
    write_to(half, outbound, heartbeat).await
}

/// Where a link's frames are written: a socket, or what stands for one in a test.
trait WriteSide {
    /// Waits until it takes something.
    async fn writable(&self) -> io::Result<()>;

    /// Writes what it takes at once.
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize>;
}

impl WriteSide for OwnedWriteHalf {
    async fn writable(&self) -> io::Result<()> {
        OwnedWriteHalf::writable(self).await
    }

    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.try_write_vectored(slices)
    }
}

/// The only one that waits for `changed`, so that one call of `notify_one` reaches whom it is for: all
/// else that holds an [`Outbound`] only adds to it.
async fn write_to(
    half: impl WriteSide,
    outbound: Outbound,
    heartbeat: EncodedFrame,
) -> Result<(), LinkError> {
    let mut beat_at = Instant::now() + HEARTBEAT;
    loop {
        let phase = {
            let state = outbound.lock();
            match state.phase {
                Phase::Cut => return Err(LinkError::Cut),
                phase if state.outbox.is_empty() => Some(phase),
                _ => None,
            }
        };
        match phase {
            Some(Phase::Open) => {
                if timeout_at(beat_at, outbound.0.changed.notified()).await.is_err() {
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

fn write_some(half: &impl WriteSide, outbox: &mut Outbox) -> io::Result<()> {
    let mut slices = [IoSlice::new(&[]); WRITE_SLICES];
    let filled = outbox.slices(&mut slices);
    match half.try_write(&slices[..filled]) {
        Ok(written) => {
            outbox.advance(written);
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod orders;

#[cfg(test)]
mod tests {
    use campanile_messages::{Address, ConnectionId, Content, WorkerId};

    use super::*;

    fn frame(head: usize, content: usize) -> EncodedFrame {
        EncodedFrame {
            head: Bytes::from(vec![0; head]),
            content: (content > 0).then(|| Bytes::from(vec![0; content])),
        }
    }

    fn full(queued_bytes: usize) -> Result<(), Full> {
        Err(Full { queued_bytes, max_bytes: 100 })
    }

    #[test]
    fn the_bound_counts_heads_and_contents_and_takes_one_frame_of_any_size() {
        let outbound = Outbound::new(100);
        assert_eq!(outbound.send(&frame(10, 500)), Ok(()));
        assert_eq!(outbound.send(&frame(1, 0)), full(510));

        let outbound = Outbound::new(100);
        assert_eq!(outbound.send(&frame(10, 50)), Ok(()));
        assert_eq!(outbound.send(&frame(10, 31)), full(60));
        assert_eq!(outbound.send(&frame(10, 30)), Ok(()));
    }

    #[test]
    fn what_was_forced_leaves_the_bound_to_what_comes_behind_it() {
        let outbound = Outbound::new(100);
        outbound.force(&frame(1_000, 0));
        outbound.force(&frame(1_000, 0));
        assert_eq!(outbound.send(&frame(60, 0)), Ok(()));
        assert_eq!(outbound.send(&frame(60, 0)), full(60));
        outbound.lock().outbox.advance(1_500);
        assert_eq!(outbound.send(&frame(60, 0)), full(60));
        outbound.lock().outbox.advance(530);
        assert_eq!(outbound.send(&frame(60, 0)), Ok(()));
        assert_eq!(outbound.queued_bytes(), 90);
    }

    #[test]
    fn frames_that_are_sent_together_are_the_same_bytes_within_the_same_bound() {
        let publish = |content: &Bytes| {
            let content = Content::Binary(content.clone());
            ToBroker::Direct { number: 1, to: ADDRESS, content }
        };
        let contents: Vec<Bytes> =
            [1, 600, 2, 512, 513, 3].map(|len| Bytes::from(vec![b'x'; len])).into();
        let frames: Vec<_> = contents.iter().map(|content| publish(content).encode()).collect();
        let sum: usize = frames.iter().map(EncodedFrame::len_bytes).sum();

        let apart = Outbound::new(usize::MAX);
        frames.iter().for_each(|frame| apart.force(frame));
        for max_bytes in [sum, sum - 1] {
            let together = Outbound::new(max_bytes);
            let mut sending = together.sending();
            let sent: Vec<_> = contents
                .iter()
                .map(|content| {
                    let head =
                        ToBroker::Direct { number: 1, to: ADDRESS, content: ContentKind::Binary };
                    sending.send(&head, content).is_ok()
                })
                .collect();
            drop(sending);
            let fits = max_bytes == sum;
            assert_eq!(sent, [true, true, true, true, true, fits]);
            let expected = bytes(&apart);
            let last = if fits { 0 } else { frames[5].len_bytes() };
            assert_eq!(bytes(&together), expected[..expected.len() - last]);
        }
    }

    #[test]
    fn a_message_that_needs_a_feature_waits_for_a_peer_that_has_it() {
        let later = Some(Feature("later"));
        let outbound = Outbound::new(100);
        assert!(outbound.may_carry(None) && !outbound.may_carry(later));
        outbound.agree(Features::default());
        assert!(outbound.may_carry(None) && !outbound.may_carry(later));

        let outbound = Outbound::new(100);
        outbound.agree(Features::of([Feature("later")]));
        assert!(outbound.may_carry(None) && outbound.may_carry(later));
    }

    #[test]
    fn a_challenge_that_cannot_be_answered_says_what_is_missing() {
        let error = LinkError::Challenged { method: "hmac".to_owned() };
        assert_eq!(
            error.to_string(),
            "the broker asks for a proof of the cluster's secret by \"hmac\", which this release \
             cannot give: link it to a broker that asks for none, or use the broker's release"
        );
    }

    const ADDRESS: Address = Address { worker: WorkerId(3), connection: ConnectionId(7) };

    /// All that waits.
    fn bytes(outbound: &Outbound) -> Vec<u8> {
        let state = outbound.lock();
        let mut slices = [IoSlice::new(&[]); 100];
        let filled = state.outbox.slices(&mut slices);
        slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect()
    }

    #[test]
    fn a_link_that_ends_takes_no_more_and_a_cut_is_not_undone() {
        let outbound = Outbound::new(100);
        outbound.finish();
        outbound.force(&frame(10, 0));
        assert_eq!(outbound.send(&frame(1_000, 0)), Ok(()));
        assert_eq!(outbound.queued_bytes(), 0);
        outbound.cut();
        outbound.finish();
        assert_eq!(outbound.lock().phase, Phase::Cut);
    }
}
