//! How many bytes of content may be on their way through this process, as what, and for whom. Pure:
//! nobody waits for room, what finds none is refused.
//!
//! ```text
//! --max-pending  ├──────────────── whole pushes, under way to the broker ────────────────┤
//!                ├─── half of it: bodies and messages still being read ──┤
//! of one address ├─ a quarter: still being read ─┤
//!                ├─────────────── three quarters: all together ──────────────┤
//! of one stream  ├─ an eighth ─┤   past it, the stream is not read on
//! ```
//!
//! The answer of a batch counts in the place of its pushes until the caller has taken it.
//!
//! So whatever one address does, the others find a quarter of the room; and however many send bodies
//! without an end, what is whole finds half of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use campanile_edge::Peer;

/// The part of the whole for what is still being read is half: whole pushes always find the rest.
const UNFINISHED_PART: usize = 2;

/// The part for what one address has sent unfinished is a quarter: 16 MiB of the default, two of the
/// largest batches at a time.
const UNFINISHED_PART_OF_PEER: usize = 4;

/// The part that one address may not take is a quarter. It is small, because one address may be a
/// proxy before all callers.
const PART_FOR_OTHERS: usize = 4;

/// The part of one stream is an eighth: 8 MiB of the default, and six full streams of one address
/// leave their address room for others.
const STREAM_PART: usize = 8;

/// What a connection may hold of an unfinished body or message without being counted: about as much
/// as the buffers of any HTTP connection, and bounded with them by the connections. So small pushes
/// find room however many bodies have no end.
pub const FREE_BYTES: usize = 16 << 10;

/// Who may have how many bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shares {
    whole_bytes: usize,
    unfinished_bytes: usize,
    unfinished_bytes_of_peer: usize,
    bytes_of_peer: usize,
    bytes_of_stream: usize,
}

impl Shares {
    /// The shares of `whole_bytes`. Where these are few, a share still has room for one content of
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

    /// How many bytes one stream may have under way before it is not read on.
    pub fn bytes_of_stream(&self) -> usize {
        self.bytes_of_stream
    }
}

/// Which bound leaves no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UsedUp {
    /// That of all together.
    #[error(
        "too much content is on its way through this publisher (at most {max_bytes} bytes, its \
         --max-pending)"
    )]
    Whole {
        /// The bound.
        max_bytes: usize,
    },
    /// That of one address.
    #[error(
        "too much content from your address is on its way through this publisher (at most \
         {max_bytes} bytes of one address)"
    )]
    OfPeer {
        /// The bound.
        max_bytes: usize,
    },
    /// That of what is still being read.
    #[error(
        "too much content that has not arrived whole is held by this publisher (at most {max_bytes} \
         bytes)"
    )]
    Unfinished {
        /// The bound.
        max_bytes: usize,
    },
    /// That of what is still being read from one address.
    #[error(
        "too much content from your address that has not arrived whole is held by this publisher (at \
         most {max_bytes} bytes of one address)"
    )]
    UnfinishedOfPeer {
        /// The bound.
        max_bytes: usize,
    },
}

/// Bytes by what they belong to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Held {
    /// Bodies and messages whose end has not come.
    unfinished: usize,
    /// Whole pushes whose answer was not given.
    under_way: usize,
}

impl Held {
    fn total(self) -> Option<usize> {
        self.unfinished.checked_add(self.under_way)
    }

    /// The sum in which `new` stands for `old`.
    fn replaced(self, old: Self, new: Self) -> Option<Self> {
        Some(Self {
            unfinished: (self.unfinished - old.unfinished).checked_add(new.unfinished)?,
            under_way: (self.under_way - old.under_way).checked_add(new.under_way)?,
        })
    }
}

/// What everybody holds.
#[derive(Debug)]
struct Counts {
    shares: Shares,
    all: Held,
    /// Who holds nothing is not in it, so it is bounded by those who hold something.
    peers: HashMap<Peer, Held>,
}

impl Counts {
    /// A part of what `peer` holds becomes `new` from `old`, or stays as it is. Only growth is
    /// refused.
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
    /// Nothing is used yet.
    pub fn new(shares: Shares) -> Self {
        let counts = Counts { shares, all: Held::default(), peers: HashMap::new() };
        Self(Arc::new(Mutex::new(counts)))
    }

    /// Takes nothing yet; see [`Reserved::grow`] and [`Reserved::hold`].
    pub fn reserve(&self, peer: Peer) -> Reserved {
        Reserved { counts: self.0.clone(), peer, held: Held::default() }
    }

    /// Who may have how many bytes.
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
    /// What has not arrived whole has `bytes` now; [`FREE_BYTES`] of them are not counted.
    ///
    /// # Errors
    /// Which bound leaves no room; what was taken before stays.
    pub fn hold(&mut self, bytes: usize) -> Result<(), UsedUp> {
        self.become_held(Held { unfinished: bytes.saturating_sub(FREE_BYTES), ..self.held })
    }

    /// All that was held has arrived; as a push, or as pushes, `bytes` of it are under way.
    ///
    /// # Errors
    /// Which bound leaves no room; what was taken before stays.
    pub fn arrived(&mut self, bytes: usize) -> Result<(), UsedUp> {
        let under_way = self.held.under_way.saturating_add(bytes);
        self.become_held(Held { unfinished: 0, under_way })
    }

    /// Whole pushes of `bytes` more are under way.
    ///
    /// # Errors
    /// Which bound leaves no room; no more is taken.
    pub fn grow(&mut self, bytes: usize) -> Result<(), UsedUp> {
        self.become_held(Held { under_way: self.held.under_way.saturating_add(bytes), ..self.held })
    }

    /// Whole pushes of `bytes` have their answers.
    ///
    /// # Panics
    /// If fewer were taken.
    pub fn shrink(&mut self, bytes: usize) {
        let under_way = self.held.under_way.checked_sub(bytes);
        let under_way = under_way.expect("no more is given back than was taken");
        self.become_held(Held { under_way, ..self.held }).expect("only growth is refused");
    }

    /// No more than `bytes` of whole pushes is still of use.
    pub fn shrink_to(&mut self, bytes: usize) {
        self.shrink(self.held.under_way.saturating_sub(bytes));
    }

    /// Takes out all of it; nothing is given back, and what stays here holds nothing.
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
