//! How much of what clients publish may be under way to the broker. What does not fit is refused.
//!
//! A publish counts with its content, its names and [`EACH_BYTES`], from when it is handed in until its
//! answer is written. A gateway or a connection with nothing under way takes one publish of any size,
//! which `--max-message` bounds.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::dialects::PublishError;

/// The most publishes of one connection.
pub const MAX_UNANSWERED: usize = 64;

/// The most bytes of one connection.
pub const MAX_UNANSWERED_BYTES: usize = 1 << 20;

/// How much a publish counts besides its content and its names.
pub const EACH_BYTES: usize = 512;

/// The room of a gateway. Clones share it.
#[derive(Debug, Clone)]
pub struct Room {
    used_bytes: Arc<AtomicUsize>,
    max_bytes: usize,
}

/// What one connection has under way. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct UnderWay(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    publishes: AtomicUsize,
    bytes: AtomicUsize,
}

/// The room of one publish; given back on drop.
#[derive(Debug)]
pub struct Reserved {
    room: Arc<AtomicUsize>,
    of: UnderWay,
    bytes: usize,
}

impl Room {
    /// Starts empty, for up to `max_bytes`.
    pub fn new(max_bytes: usize) -> Self {
        Self { used_bytes: Arc::default(), max_bytes }
    }

    /// Takes room for one publish of a connection with so many bytes of content and names.
    ///
    /// # Errors
    /// There is no room, in the gateway or for this connection. Nothing is taken then.
    pub fn reserve(&self, of: &UnderWay, len_bytes: usize) -> Result<Reserved, PublishError> {
        let bytes = len_bytes + EACH_BYTES;
        // Only the session adds to the counts of its connection, so they cannot grow in between.
        let (publishes, held) =
            (of.0.publishes.load(Ordering::Relaxed), of.0.bytes.load(Ordering::Relaxed));
        if publishes >= MAX_UNANSWERED || publishes > 0 && held + bytes > MAX_UNANSWERED_BYTES {
            let (max, max_bytes) = (MAX_UNANSWERED, MAX_UNANSWERED_BYTES);
            return Err(PublishError::TooManyUnanswered { max, max_bytes });
        }
        let fits = |used: usize| match used {
            0 => Some(bytes),
            used => Some(used + bytes).filter(|sum| *sum <= self.max_bytes),
        };
        // The number guards no other memory.
        let taken = self.used_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
        taken.map_err(|_| PublishError::GatewayBusy)?;
        of.0.publishes.fetch_add(1, Ordering::Relaxed);
        of.0.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(Reserved { room: self.used_bytes.clone(), of: of.clone(), bytes })
    }

    /// How many bytes are taken.
    #[cfg(test)]
    pub fn used_bytes(&self) -> usize {
        self.used_bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.room.fetch_sub(self.bytes, Ordering::Relaxed);
        self.of.0.publishes.fetch_sub(1, Ordering::Relaxed);
        self.of.0.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_has_a_bound_in_number_and_in_bytes() {
        let (room, of) = (Room::new(usize::MAX), UnderWay::default());
        let mut held: Vec<_> = (0..MAX_UNANSWERED).map(|_| room.reserve(&of, 0).unwrap()).collect();
        let (max, max_bytes) = (MAX_UNANSWERED, MAX_UNANSWERED_BYTES);
        let too_many = PublishError::TooManyUnanswered { max, max_bytes };
        assert_eq!(room.reserve(&of, 0).map(drop), Err(too_many.clone()));
        assert!(room.reserve(&UnderWay::default(), 0).is_ok(), "another connection");
        held.pop();
        assert_eq!(room.reserve(&of, MAX_UNANSWERED_BYTES).map(drop), Err(too_many.clone()));
        assert!(room.reserve(&of, 0).is_ok());
        held.clear();
        let large = room.reserve(&of, 2 * MAX_UNANSWERED_BYTES).expect("one of any size");
        assert_eq!(room.reserve(&of, 0).map(drop), Err(too_many));
        drop(large);
        assert_eq!(room.used_bytes(), 0);
    }

    #[test]
    fn all_connections_together_have_a_bound_in_bytes() {
        let room = Room::new(3 * EACH_BYTES);
        let held: Vec<_> =
            (0..3).map(|_| room.reserve(&UnderWay::default(), 0).expect("room")).collect();
        let refused = room.reserve(&UnderWay::default(), 0).map(drop);
        assert_eq!(refused, Err(PublishError::GatewayBusy));
        drop(held);
        assert!(room.reserve(&UnderWay::default(), 4 * EACH_BYTES).is_ok(), "one of any size");
        assert_eq!(room.used_bytes(), 0);
    }
}
