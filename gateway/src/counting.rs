//! An event that is counted at one worker: to how many of its listeners it was written.
//!
//! Bounded in time: the publisher says how long it wants to wait.

use std::sync::Arc;
use std::time::Duration;

use campanile_messages::ConnectionId;
use campanile_messages::link::Tally;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::client::{Client, Fate, for_each_receiver};
use crate::delivery::Framed;
use crate::socket::Socket;
use crate::subscriptions::Subscriptions;

/// What is known of an event, and the listeners that have not read what stands before it.
#[derive(Debug, Default)]
pub struct Counting {
    tally: Tally,
    waiting: Vec<(oneshot::Receiver<()>, Arc<Socket>)>,
}

impl Counting {
    /// Writes an event to its listeners. The one that is left out matches, and is not written to.
    pub fn deliver(
        event: &Framed,
        excepted: Option<ConnectionId>,
        clients: &Subscriptions<Client>,
    ) -> Self {
        let mut counting = Self::default();
        let left_out = for_each_receiver(event, excepted, clients, |_, client| {
            if !client.socket.is_open() {
                return;
            }
            counting.tally.matched += 1;
            match client.send_counted(event) {
                Fate::Written => counting.tally.written += 1,
                Fate::TooSlow => counting.tally.too_slow += 1,
                Fate::Gone => {}
                Fate::Waits(written) => counting.waiting.push((written, client.socket.clone())),
            }
        });
        counting.tally.matched += u64::from(left_out);
        counting
    }

    /// How it fared, if that is known of all.
    pub fn complete(&self) -> Option<Tally> {
        self.waiting.is_empty().then_some(self.tally)
    }

    /// How it fared, when that is known of all or the time is over.
    pub async fn finish(self, within: Duration) -> Tally {
        let Self { mut tally, waiting } = self;
        let until = Instant::now() + within;
        for (written, socket) in waiting {
            match timeout_at(until, written).await {
                Ok(Ok(())) => tally.written += 1,
                Ok(Err(_)) if socket.is_overrun() => tally.too_slow += 1,
                Ok(Err(_)) | Err(_) => {}
            }
        }
        tally
    }
}
