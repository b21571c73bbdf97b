//! Writes what waits on a link.

use std::io::{self, IoSlice};

use campanile_messages::EncodedFrame;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::time::{Instant, timeout_at};

use super::halves::WriteHalf;
use super::outbound::{Outbound, WriterStep};
use super::outbox::Outbox;
use super::{HEARTBEAT, LinkError};

/// How many slices one `writev` gets. The kernel's limit is 1,024; with more than some dozens, the cost of
/// the call itself no longer matters.
const WRITE_SLICES: usize = 128;

/// How much is sealed at a time on a link over TLS: several records.
const BATCH_BYTES: usize = 64 << 10;

/// Writes what is queued until the link ends, and `heartbeat` when there is nothing else to say. When
/// it returns, the sending direction of the socket is closed.
///
/// # Errors
/// [`LinkError::Io`], and [`LinkError::Cut`] after [`Outbound::cut`]. After [`Outbound::finish`] it
/// returns `Ok`.
pub(crate) async fn write_out(
    half: WriteHalf,
    outbound: Outbound,
    heartbeat: EncodedFrame,
) -> Result<(), LinkError> {
    match half {
        WriteHalf::Plain(half) => write_to(half, outbound, heartbeat).await,
        half => write_sealed(half, outbound, heartbeat).await,
    }
}

/// Writes over TLS, where what was sealed must be written. What the peer has not taken of it is some
/// hundred kB at most.
async fn write_sealed(
    mut half: WriteHalf,
    outbound: Outbound,
    heartbeat: EncodedFrame,
) -> Result<(), LinkError> {
    let mut beat_at = Instant::now() + HEARTBEAT;
    let mut batch = Vec::new();
    loop {
        match outbound.next_step() {
            WriterStep::Cut => return Err(LinkError::Cut),
            WriterStep::End => return Ok(half.close().await?),
            WriterStep::Wait => {
                batch = Vec::new();
                if timeout_at(beat_at, outbound.changed()).await.is_err() {
                    outbound.force(&heartbeat);
                }
            }
            WriterStep::Write => {
                batch.clear();
                outbound.write(|outbox| take_some(outbox, &mut batch));
                tokio::select! {
                    sent = half.send(&batch) => sent?,
                    () = until_cut(&outbound) => return Err(LinkError::Cut),
                }
                beat_at = Instant::now() + HEARTBEAT;
            }
        }
    }
}

/// Moves what waits to `batch`, up to [`BATCH_BYTES`].
fn take_some(outbox: &mut Outbox, batch: &mut Vec<u8>) {
    let mut slices = [IoSlice::new(&[]); WRITE_SLICES];
    let filled = outbox.slices(&mut slices);
    for slice in &slices[..filled] {
        let room = BATCH_BYTES - batch.len();
        batch.extend_from_slice(&slice[..slice.len().min(room)]);
    }
    outbox.advance(batch.len());
}

async fn until_cut(outbound: &Outbound) {
    while outbound.next_step() != WriterStep::Cut {
        outbound.changed().await;
    }
}

/// Where a link's frames are written: a socket, or a test's stand-in for one.
trait WriteSide {
    /// Waits until something can be written.
    async fn writable(&self) -> io::Result<()>;

    /// Writes as much as it can without waiting.
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

async fn write_to(
    half: impl WriteSide,
    outbound: Outbound,
    heartbeat: EncodedFrame,
) -> Result<(), LinkError> {
    let mut beat_at = Instant::now() + HEARTBEAT;
    loop {
        match outbound.next_step() {
            WriterStep::Cut => return Err(LinkError::Cut),
            WriterStep::End => return Ok(()),
            WriterStep::Wait => {
                if timeout_at(beat_at, outbound.changed()).await.is_err() {
                    outbound.force(&heartbeat);
                }
            }
            WriterStep::Write => {
                // The link can be cut even while the peer accepts nothing.
                tokio::select! {
                    ready = half.writable() => ready?,
                    () = outbound.changed() => continue,
                }
                outbound.write(|outbox| write_some(&half, outbox))?;
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
