//! How many bytes of content may be on their way through this process, in which state, and for whom.
//! Pure. Nobody waits for room: what does not fit is refused.
//!
//! ```text
//! --max-pending  ├──────────────── whole pushes, under way to the broker ────────────────┤
//!                ├─── half of it: bodies and messages still being read ──┤
//! of one address ├─ a quarter: still being read ─┤
//!                ├─────────────── three quarters: all together ──────────────┤
//! of one stream  ├─ an eighth ─┤   beyond it, the stream is not read
//! ```
//!
//! The answer to a batch counts instead of its pushes until the caller has read it.
//!
//! So whatever one address does, a quarter of the room is left for the others. And however many callers
//! send bodies without an end, half of the room is left for whole pushes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use campanile_edge::Peer;

/// What is still being read may take half of the whole. The rest is left for whole pushes.
const UNFINISHED_PART: usize = 2;

/// What one address has sent without an end may take a quarter: 16 MiB by default, which is two of the
/// largest batches at a time.
const UNFINISHED_PART_OF_PEER: usize = 4;

/// One address leaves a quarter to the others. It is no more than that, because one address may be a
/// proxy in front of all callers.
const PART_FOR_OTHERS: usize = 4;

/// One stream may take an eighth: 8 MiB by default. Six full streams are the share of one address.
const STREAM_PART: usize = 8;

/// How much of an unfinished body or message is not counted. It is about as much as the buffers of any
/// HTTP connection, and like them it is bounded by the number of connections. So there is room for small
/// pushes, however many bodies have no end.
pub const FREE_BYTES: usize = 16 << 10;

/// The bounds in bytes, of all and of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shares {
    whole_bytes: usize,
    unfinished_bytes: usize,
    unfinished_bytes_of_peer: usize,
    bytes_of_peer: usize,
    bytes_of_stream: usize,
}

impl Shares {
    /// Divides `whole_bytes`. Even if these are few, a share has room for one content of
    /// `max_content_bytes`, and for a body of `max_body_bytes` if that leaves a quarter for others.
    pub fn of(whole_bytes: usize, max_content_bytes: usize, max_body_bytes: usize) -> Self {
        let bytes_for_others = whole_bytes / PART_FOR_OTHERS;
        let one_content = max_content_bytes.min(whole_bytes);
        let one_body = max_body_bytes.min(whole_bytes - bytes_for_others).max(one_content);
        Self {
            whole_bytes,
            unfinished_bytes: one_body.max(whole_bytes / UNFINISHED_PART),
            unfinished_bytes_of_peer: one_body.max(whole_bytes / UNFINISHED_PART_OF_PEER),
            bytes_of_peer: one_content.max(whole_bytes - bytes_for_others),
            bytes_of_stream: whole_bytes / STREAM_PART,
        }
    }

    /// How many bytes one stream may have under way before reading from it stops.
    pub fn bytes_of_stream(&self) -> usize {
        self.bytes_of_stream
    }
}

/// The bound that leaves no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UsedUp {
    /// Of all callers together.
    #[error(
        "too much content is on its way through this publisher (at most {max_bytes} bytes, its \
         --max-pending)"
    )]
    Whole {
        /// The bound in bytes.
        max_bytes: usize,
    },
    /// Of one address.
    #[error(
        "too much content from your address is on its way through this publisher (at most \
         {max_bytes} bytes of one address)"
    )]
    OfPeer {
        /// The bound in bytes.
        max_bytes: usize,
    },
    /// Of what is still being read.
    #[error(
        "too much content that has not arrived completely is held by this publisher (at most \
         {max_bytes} bytes)"
    )]
    Unfinished {
        /// The bound in bytes.
        max_bytes: usize,
    },
    /// Of what is still being read from one address.
    #[error(
        "too much content from your address that has not arrived completely is held by this \
         publisher (at most {max_bytes} bytes of one address)"
    )]
    UnfinishedOfPeer {
        /// The bound in bytes.
        max_bytes: usize,
    },
}

/// Bytes by the state of what they belong to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Held {
    /// Of bodies and messages that have not arrived completely.
    unfinished: usize,
    /// Of whole pushes without an answer.
    under_way: usize,
}

impl Held {
    fn total(self) -> Option<usize> {
        self.unfinished.checked_add(self.under_way)
    }

    /// Returns the sum with `new` in place of `old`; `None` if it overflows.
    fn replaced(self, old: Self, new: Self) -> Option<Self> {
        Some(Self {
            unfinished: (self.unfinished - old.unfinished).checked_add(new.unfinished)?,
            under_way: (self.under_way - old.under_way).checked_add(new.under_way)?,
        })
    }
}

/// What all callers hold.
#[derive(Debug)]
struct Counts {
    shares: Shares,
    all: Held,
    /// Only those that hold something, which bounds the map.
    peers: HashMap<Peer, Held>,
}

impl Counts {
    /// Replaces `old`, a part of what `peer` holds, by `new`. Only growth can be refused; then nothing
    /// changes.
    fn change(&mut self, peer: Peer, old: Held, new: Held) -> Result<(), UsedUp> {
        let Shares { whole_bytes, unfinished_bytes, unfinished_bytes_of_peer, .. } = self.shares;
        let bytes_of_peer = self.shares.bytes_of_peer;
        let whole = UsedUp::Whole { max_bytes: whole_bytes };
        let before = self.peers.get(&peer).copied().unwrap_or_default();
        let all = self.all.replaced(old, new).ok_or(whole)?;
        let of_peer = before.replaced(old, new).ok_or(whole)?;
        if new.unfinished > old.unfinished {
            if of_peer.unfinished > unfinished_bytes_of_peer {
                return Err(UsedUp::UnfinishedOfPeer { max_bytes: unfinished_bytes_of_peer });
            }
            if all.unfinished > unfinished_bytes {
                return Err(UsedUp::Unfinished { max_bytes: unfinished_bytes });
            }
        }
        if new.total() > old.total() {
            if of_peer.total().is_none_or(|total| total > bytes_of_peer) {
                return Err(UsedUp::OfPeer { max_bytes: bytes_of_peer });
            }
            if all.total().is_none_or(|total| total > whole_bytes) {
                return Err(whole);
            }
        }
        self.all = all;
        if of_peer == Held::default() {
            self.peers.remove(&peer);
        } else if of_peer != before {
            self.peers.insert(peer, of_peer);
        }
        Ok(())
    }
}

/// A count of bytes that all threads share. Clones are the same count.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Mutex<Counts>>);

/// Bytes taken from a [`Budget`] for a peer; given back on drop.
#[derive(Debug)]
pub struct Reserved {
    counts: Arc<Mutex<Counts>>,
    peer: Peer,
    held: Held,
}

impl Budget {
    /// Starts with nothing taken.
    pub fn new(shares: Shares) -> Self {
        let counts = Counts { shares, all: Held::default(), peers: HashMap::new() };
        Self(Arc::new(Mutex::new(counts)))
    }

    /// Returns an empty reservation for a peer; see [`Reserved::grow`] and [`Reserved::hold`].
    pub fn reserve(&self, peer: Peer) -> Reserved {
        Reserved { counts: self.0.clone(), peer, held: Held::default() }
    }

    /// Returns the bounds.
    pub fn shares(&self) -> Shares {
        lock(&self.0).shares
    }

    /// How many bytes are taken.
    pub fn used_bytes(&self) -> usize {
        let all = lock(&self.0).all;
        all.unfinished + all.under_way
    }
}

impl Reserved {
    /// Reserves `bytes`, in all, for what is still being read. [`FREE_BYTES`] of them are not counted.
    ///
    /// # Errors
    /// The bound that leaves no room. What was reserved before stays reserved.
    pub fn hold(&mut self, bytes: usize) -> Result<(), UsedUp> {
        self.become_held(Held { unfinished: bytes.saturating_sub(FREE_BYTES), ..self.held })
    }

    /// Notes that what was being read has arrived completely, and reserves `bytes` for the pushes in it.
    ///
    /// # Errors
    /// The bound that leaves no room. What was reserved before stays reserved.
    pub fn arrived(&mut self, bytes: usize) -> Result<(), UsedUp> {
        let under_way = self.held.under_way.saturating_add(bytes);
        self.become_held(Held { unfinished: 0, under_way })
    }

    /// Reserves `bytes` more for whole pushes.
    ///
    /// # Errors
    /// The bound that leaves no room. Then nothing is added.
    pub fn grow(&mut self, bytes: usize) -> Result<(), UsedUp> {
        self.become_held(Held { under_way: self.held.under_way.saturating_add(bytes), ..self.held })
    }

    /// Gives back `bytes` of whole pushes, which have their answers.
    ///
    /// # Panics
    /// If fewer were reserved.
    pub fn shrink(&mut self, bytes: usize) {
        let under_way = self.held.under_way.checked_sub(bytes);
        let under_way = under_way.expect("no more is given back than was taken");
        self.become_held(Held { under_way, ..self.held }).expect("only growth is refused");
    }

    /// Gives back all but `bytes` of what is reserved for whole pushes.
    pub fn shrink_to(&mut self, bytes: usize) {
        self.shrink(self.held.under_way.saturating_sub(bytes));
    }

    /// Moves everything to a new reservation, and leaves this one empty.
    pub fn take(&mut self) -> Self {
        let held = std::mem::take(&mut self.held);
        Self { counts: self.counts.clone(), peer: self.peer, held }
    }

    fn become_held(&mut self, held: Held) -> Result<(), UsedUp> {
        lock(&self.counts).change(self.peer, self.held, held)?;
        self.held = held;
        Ok(())
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let given_back = self.become_held(Held::default());
        debug_assert_eq!(given_back, Ok(()), "only growth is refused");
    }
}

fn lock(counts: &Mutex<Counts>) -> MutexGuard<'_, Counts> {
    // Every change is complete before anything can panic.
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
