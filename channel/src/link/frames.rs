//! Reads the frames of a link.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use campanile_messages::frame::{MAX_FRAME_BYTES, take_frame};
use tokio::time::{Instant, timeout, timeout_at};

use super::halves::ReadHalf;
use super::{LinkError, SILENCE_LIMIT};

/// How much one read asks for: room for a thousand small frames.
const READ_BYTES: usize = 64 << 10;

/// Reads whole frames from a link.
#[derive(Debug)]
pub(crate) struct FrameReader {
    half: ReadHalf,
    buffer: BytesMut,
    /// When the read began that has brought no byte so far.
    silent_since: Option<Instant>,
}

impl FrameReader {
    pub(crate) fn new(half: ReadHalf) -> Self {
        Self { half, buffer: BytesMut::new(), silent_since: None }
    }

    /// Waits for the next frame and returns it with all others that came along, without their
    /// lengths. Between two calls nothing is read, so a busy owner slows its peer down. The future may
    /// be dropped: nothing is lost.
    ///
    /// # Errors
    /// [`LinkError::Closed`], [`LinkError::Io`], [`LinkError::Decode`] for a length over
    /// [`MAX_FRAME_BYTES`], and [`LinkError::Silent`] if no byte came for [`SILENCE_LIMIT`]. Whole
    /// frames before the error are returned first.
    pub(crate) async fn next_batch(&mut self) -> Result<Vec<Bytes>, LinkError> {
        let mut frames = vec![self.frame(MAX_FRAME_BYTES).await?];
        // An error stays in the buffer for the next call.
        while let Ok(Some(frame)) = take_frame(&mut self.buffer, MAX_FRAME_BYTES) {
            frames.push(frame);
        }
        Ok(frames)
    }

    /// Like [`next_batch`](Self::next_batch), but waits for at most `limit`: `None` if no whole frame
    /// came in that time. The peer's silence is counted across calls.
    ///
    /// # Errors
    /// See [`next_batch`](Self::next_batch).
    pub(crate) async fn next_batch_within(
        &mut self,
        limit: Duration,
    ) -> Result<Option<Vec<Bytes>>, LinkError> {
        timeout(limit, self.next_batch()).await.ok().transpose()
    }

    /// Like [`frame`](Self::frame), for a peer that has not sent anything yet: no buffer is
    /// allocated while it is silent.
    ///
    /// # Errors
    /// See [`next_batch`](Self::next_batch).
    pub(crate) async fn first_frame(&mut self, max_bytes: usize) -> Result<Bytes, LinkError> {
        self.half.readable().await?;
        self.frame(max_bytes).await
    }

    /// Waits for one frame of at most `max_bytes`. What comes after it stays in the buffer.
    ///
    /// # Errors
    /// See [`next_batch`](Self::next_batch).
    pub(crate) async fn frame(&mut self, max_bytes: usize) -> Result<Bytes, LinkError> {
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

    /// Reads and drops everything up to the end of the stream. Closing a socket with unread input would
    /// reset the connection, and what was written last would be lost.
    pub(crate) async fn discard(mut self) {
        self.buffer = BytesMut::with_capacity(READ_BYTES);
        while matches!(self.half.read_buf(&mut self.buffer).await, Ok(1..)) {
            self.buffer.clear();
        }
    }
}
