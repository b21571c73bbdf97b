//! The frames that wait to be written on a link.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::{Bytes, BytesMut};
use campanile_messages::hello::{Feature, Features};
use campanile_messages::{ContentKind, EncodedFrame, ToBroker};
use tokio::sync::Notify;

use super::outbox::{Full, Outbox};

/// Small frames that are sent together are joined up to this size.
const JOINED_BYTES: usize = 16 << 10;

/// An empty list of events with more room than this is freed.
const KEPT_ENDS: usize = 1 << 10;

/// The sending side of a link. Whoever holds it adds frames, and the link's task writes them. Clones
/// share one queue.
#[derive(Debug, Clone)]
pub struct Outbound(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<OutboundState>,
    changed: Notify,
    /// What both ends can do, as soon as that is agreed.
    features: OnceLock<Features>,
}

#[derive(Debug)]
struct OutboundState {
    /// Without a bound of its own: `max_bytes` is the bound, and forced frames do not count.
    outbox: Outbox,
    max_bytes: usize,
    /// Where the last forced frame ends, counted from the beginning of the stream.
    forced_until: u64,
    phase: LinkPhase,
    /// Where the events end that wait, counted from the beginning of the stream. They are only counted.
    event_ends: VecDeque<u64>,
}

impl OutboundState {
    /// How much waits up to the end of the last forced frame.
    fn forced_bytes(&self) -> usize {
        let forced = self.forced_until.saturating_sub(self.outbox.written_bytes());
        usize::try_from(forced).unwrap_or(usize::MAX)
    }

    /// How much waits behind the last forced frame.
    fn counted_bytes(&self) -> usize {
        self.outbox.queued_bytes().saturating_sub(self.forced_bytes())
    }

    fn force(&mut self, frame: &EncodedFrame) {
        self.add(frame);
        self.forced_until = self.outbox.written_bytes() + self.outbox.queued_bytes() as u64;
    }

    /// The frame that was added last is that of an event.
    fn mark_event(&mut self) {
        self.event_ends.push_back(self.outbox.written_bytes() + self.outbox.queued_bytes() as u64);
    }

    /// Forgets the events that are written.
    fn forget_written(&mut self) {
        let written = self.outbox.written_bytes();
        while self.event_ends.pop_front_if(|end| *end <= written).is_some() {}
        if self.event_ends.is_empty() && self.event_ends.capacity() > KEPT_ENDS {
            self.event_ends = VecDeque::new();
        }
    }

    fn add(&mut self, frame: &EncodedFrame) {
        self.outbox.force(frame.head.clone());
        if let Some(content) = &frame.content {
            self.outbox.force(content.clone());
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LinkPhase {
    Open,
    /// What waits is written, then the link ends.
    Finishing,
    /// The link ends at once.
    Cut,
}

/// What the writer of a link has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WriterStep {
    /// Something waits to be written.
    Write,
    /// Nothing waits, and more may come.
    Wait,
    /// Everything is written, and nothing more comes.
    End,
    /// The link ends without its last frames.
    Cut,
}

impl Outbound {
    /// An empty queue for up to `max_bytes`.
    pub fn new(max_bytes: usize) -> Self {
        let state = OutboundState {
            outbox: Outbox::new(usize::MAX),
            max_bytes,
            forced_until: 0,
            phase: LinkPhase::Open,
            event_ends: VecDeque::new(),
        };
        Self(Arc::new(Shared {
            state: Mutex::new(state),
            changed: Notify::new(),
            features: OnceLock::new(),
        }))
    }

    /// Notes what both ends can do. Only the first call counts.
    pub(crate) fn agree(&self, features: Features) {
        let _ = self.0.features.set(features);
    }

    /// Whether a message that needs this feature may be sent: a peer that does not know the message
    /// would end the link. Until something is agreed, only messages that need no feature may be sent.
    pub fn may_carry(&self, needed: Option<Feature>) -> bool {
        match self.0.features.get() {
            Some(features) => features.allow(needed),
            None => needed.is_none(),
        }
    }

    /// Queues a frame. On a link that is ending the frame is dropped: the owner learns of that end
    /// elsewhere.
    ///
    /// # Errors
    /// [`Full`] if something waits already and the frame would pass the bound. Nothing was queued then,
    /// and the owner should [`cut`](Self::cut) the link.
    pub fn send(&self, frame: &EncodedFrame) -> Result<(), Full> {
        self.send_marked(None, frame, |_| ())
    }

    /// Like [`send`](Self::send), for the frame of an event, which [`waiting`](Self::waiting) counts. A small
    /// frame may be queued directly before it; both are queued, or none.
    ///
    /// # Errors
    /// [`Full`], as there.
    pub fn send_event(
        &self,
        before: Option<&EncodedFrame>,
        frame: &EncodedFrame,
    ) -> Result<(), Full> {
        self.send_marked(before, frame, OutboundState::mark_event)
    }

    /// Like [`send`](Self::send), with a bound of its own instead of that of the queue.
    ///
    /// # Errors
    /// [`Full`]. Nothing was queued then, and the link is as good as before.
    pub fn send_within(&self, max_bytes: usize, frame: &EncodedFrame) -> Result<(), Full> {
        let mut state = self.lock();
        if state.phase == LinkPhase::Open {
            let queued_bytes = state.counted_bytes();
            if queued_bytes + frame.len_bytes() > max_bytes {
                return Err(Full { queued_bytes, max_bytes });
            }
            state.add(frame);
            self.0.changed.notify_one();
        }
        Ok(())
    }

    /// How many bytes may wait to be written.
    pub fn max_bytes(&self) -> usize {
        self.lock().max_bytes
    }

    fn send_marked(
        &self,
        before: Option<&EncodedFrame>,
        frame: &EncodedFrame,
        mark: impl FnOnce(&mut OutboundState),
    ) -> Result<(), Full> {
        let mut state = self.lock();
        if state.phase == LinkPhase::Open {
            let queued_bytes = state.counted_bytes();
            if queued_bytes > 0 && queued_bytes + frame.len_bytes() > state.max_bytes {
                return Err(Full { queued_bytes, max_bytes: state.max_bytes });
            }
            if let Some(before) = before {
                state.add(before);
            }
            state.add(frame);
            mark(&mut state);
            self.0.changed.notify_one();
        }
        Ok(())
    }

    /// Queues many frames. The queue stays locked until the returned value is dropped.
    pub fn sending(&self) -> Sending<'_> {
        Sending { shared: &self.0, state: self.lock(), joined: BytesMut::new() }
    }

    /// Queues a frame even past the bound, for frames that are bounded elsewhere. Neither this frame
    /// nor what waits before it counts against the bound of the frames behind it.
    pub fn force(&self, frame: &EncodedFrame) {
        let mut state = self.lock();
        if state.phase == LinkPhase::Open {
            state.force(frame);
            self.0.changed.notify_one();
        }
    }

    /// Queues frames that belong together like [`force`](Self::force), unless earlier forced frames
    /// wait and everything that waits takes more than `max_held_bytes` of memory: then the peer asks
    /// for more than it reads.
    ///
    /// # Errors
    /// [`Full`]. Nothing was queued then, and the owner should [`cut`](Self::cut) the link.
    pub fn force_all(&self, frames: &[EncodedFrame], max_held_bytes: usize) -> Result<(), Full> {
        self.force_marked(frames, max_held_bytes, |_| ())
    }

    /// Like [`force_all`](Self::force_all), for frames of events.
    ///
    /// # Errors
    /// [`Full`], as there.
    pub fn force_events(&self, frames: &[EncodedFrame], max_held_bytes: usize) -> Result<(), Full> {
        self.force_marked(frames, max_held_bytes, OutboundState::mark_event)
    }

    fn force_marked(
        &self,
        frames: &[EncodedFrame],
        max_held_bytes: usize,
        mark: impl Fn(&mut OutboundState),
    ) -> Result<(), Full> {
        let mut state = self.lock();
        if state.phase == LinkPhase::Open {
            let held_bytes = state.outbox.held_bytes();
            if state.forced_bytes() > 0 && held_bytes > max_held_bytes {
                return Err(Full { queued_bytes: held_bytes, max_bytes: max_held_bytes });
            }
            for frame in frames {
                state.force(frame);
                mark(&mut state);
            }
            self.0.changed.notify_one();
        }
        Ok(())
    }

    /// How many bytes wait to be written, forced ones included.
    pub fn queued_bytes(&self) -> usize {
        self.lock().outbox.queued_bytes()
    }

    /// How many events and how many bytes wait to be written.
    pub fn waiting(&self) -> (usize, usize) {
        let mut state = self.lock();
        state.forget_written();
        (state.event_ends.len(), state.outbox.queued_bytes())
    }

    /// How many bytes were written since the link began, and where those that wait end.
    pub fn progress(&self) -> (u64, u64) {
        let state = self.lock();
        let written = state.outbox.written_bytes();
        (written, written + state.outbox.queued_bytes() as u64)
    }

    /// Accepts no more frames, writes those that wait, then ends the link.
    pub fn finish(&self) {
        self.end(LinkPhase::Finishing);
    }

    /// Ends the link at once and drops what waits.
    pub fn cut(&self) {
        self.end(LinkPhase::Cut);
    }

    fn end(&self, phase: LinkPhase) {
        let mut state = self.lock();
        if state.phase != LinkPhase::Cut {
            state.phase = phase;
        }
        self.0.changed.notify_one();
    }

    /// What the writer of the link has to do.
    pub(super) fn next_step(&self) -> WriterStep {
        let state = self.lock();
        match state.phase {
            LinkPhase::Cut => WriterStep::Cut,
            _ if !state.outbox.is_empty() => WriterStep::Write,
            LinkPhase::Open => WriterStep::Wait,
            LinkPhase::Finishing => WriterStep::End,
        }
    }

    /// Waits until the next step may be another one. Only the writer of the link waits for it, so one
    /// call of `notify_one` always reaches it.
    pub(super) async fn changed(&self) {
        self.0.changed.notified().await;
    }

    /// Calls `write` with the queue, which is locked in the meantime.
    pub(super) fn write<T>(&self, write: impl FnOnce(&mut Outbox) -> T) -> T {
        let mut state = self.lock();
        let written = write(&mut state.outbox);
        state.forget_written();
        written
    }

    fn lock(&self) -> MutexGuard<'_, OutboundState> {
        // A panic cannot leave a change of the state half done.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Queues many frames and joins the small ones; see [`Outbound::sending`].
#[derive(Debug)]
pub struct Sending<'a> {
    shared: &'a Shared,
    state: MutexGuard<'a, OutboundState>,
    /// Small frames that enter the queue when there are enough of them, or when this is dropped.
    joined: BytesMut,
}

impl Sending<'_> {
    /// Queues a message and its content, as [`Outbound::send`] does, and right before it a `first` message
    /// that belongs to it: both or none.
    ///
    /// # Errors
    /// [`Full`], as there.
    pub fn send(
        &mut self,
        first: Option<ToBroker>,
        head: &ToBroker<ContentKind>,
        content: &Bytes,
    ) -> Result<(), Full> {
        if self.state.phase != LinkPhase::Open {
            return Ok(());
        }
        let queued_bytes = self.state.counted_bytes() + self.joined.len();
        let start = self.joined.len();
        if let Some(first) = first {
            let EncodedFrame { head, content } = first.encode();
            debug_assert!(content.is_none(), "a first message with a large content");
            self.joined.extend_from_slice(&head);
        }
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

#[cfg(test)]
mod tests;
