//! How many connections each address has.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use campanile_edge::{AddressLimits, Crowd, Peer, PerAddress};

/// The most connections of one address at a time, loopback included: whoever comes from there cannot take the
/// seats of all others.
const MAX_PER_ADDRESS: u32 = 64;

/// Counts connections. Clones are the same.
#[derive(Debug, Clone)]
pub struct Entrance {
    crowd: Arc<Mutex<Crowd>>,
    limits: Arc<AddressLimits>,
}

/// A connection, which is counted for its address until this is dropped.
#[derive(Debug)]
pub struct Seat {
    crowd: Arc<Mutex<Crowd>>,
    peer: Option<Peer>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(peer) = self.peer {
            lock(&self.crowd).leave(peer);
        }
    }
}

impl Entrance {
    pub fn new() -> Self {
        let limits = AddressLimits {
            max_connections: PerAddress::set(MAX_PER_ADDRESS),
            max_arrivals_per_second: PerAddress::set(0),
            ..AddressLimits::default()
        };
        Self { crowd: Arc::default(), limits: Arc::new(limits) }
    }

    /// Admits a new connection.
    ///
    /// # Errors
    /// Its address has as many as it may.
    pub fn admit(&self, from: IpAddr) -> io::Result<Seat> {
        let arrived = lock(&self.crowd).arrive(from, &self.limits, Instant::now());
        let peer = arrived.map_err(io::Error::other)?;
        Ok(Seat { crowd: Arc::clone(&self.crowd), peer })
    }
}

fn lock(crowd: &Mutex<Crowd>) -> MutexGuard<'_, Crowd> {
    // Every change is complete before anything can panic.
    crowd.lock().unwrap_or_else(PoisonError::into_inner)
}
