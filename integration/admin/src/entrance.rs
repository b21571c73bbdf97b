//! Who is connected, from which address: the connections of one address are bounded, and idle ones give way.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::seats::{Seats, Taken};

/// Admits connections. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Entrance(Arc<Mutex<Seats<Arc<Notify>>>>);

/// A connection, which is counted for its address until this is dropped.
#[derive(Debug)]
pub struct Seat {
    entrance: Entrance,
    from: SocketAddr,
    number: u64,
    /// Notified when it has to end, because another one has got its place.
    leave: Arc<Notify>,
}

/// A request of a connection, which is not idle until this is dropped.
#[derive(Debug)]
pub struct Turn {
    entrance: Entrance,
    from: SocketAddr,
    /// Whether the connection is not idle any more after it.
    is_endless: bool,
}

impl Entrance {
    /// Admits a new connection. If its address has as many as it may, the one that is idle for the longest ends.
    ///
    /// # Errors
    /// Its address has as many as it may, and none of them is idle.
    pub fn admit(&self, from: SocketAddr) -> io::Result<Seat> {
        let leave = Arc::new(Notify::new());
        let taken = self.lock().take(from, Arc::clone(&leave)).map_err(io::Error::other)?;
        let Taken { number, evicted } = taken;
        if let Some(evicted) = evicted {
            evicted.notify_one();
        }
        Ok(Seat { entrance: self.clone(), from, number, leave })
    }

    /// A request of a connection begins.
    pub fn begin(&self, from: SocketAddr) -> Turn {
        self.lock().begin(from);
        Turn { entrance: self.clone(), from, is_endless: false }
    }

    fn lock(&self) -> MutexGuard<'_, Seats<Arc<Notify>>> {
        // Every change is complete before anything can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Does something with the connection, unless it has to end before that is done.
    pub async fn during<T>(&self, doing: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.leave.notified() => None,
            done = doing => Some(done),
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.entrance.lock().leave(self.from, self.number);
    }
}

impl Turn {
    /// The connection has become something else, such as a websocket: it is never idle again.
    pub fn keep(mut self) {
        self.is_endless = true;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.is_endless {
            self.entrance.lock().end(self.from);
        }
    }
}
