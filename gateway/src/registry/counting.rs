//! An event that is counted at one worker: to how many of its listeners it was written.
//!
//! Bounded in time: the publisher says how long it wants to wait; and in number: past
//! `MAX_AWAITED` an event is answered with what is known at once.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use campanile_messages::ConnectionId;
use campanile_messages::link::Tally;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::connection::socket::Socket;
use crate::dialects::Framed;
use crate::registry::batch::for_each_receiver;
use crate::registry::client::{Client, WriteOutcome};
use crate::registry::subscriptions::Subscriptions;

/// How many slow readers counted events wait for at one worker, each counted for each event: some
/// 200 bytes each.
const MAX_AWAITED: usize = 100_000;

/// Counts the slow readers that counted events of a worker wait for. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Awaited(Rc<()>);

impl Awaited {
    fn is_full(&self) -> bool {
        Rc::strong_count(&self.0) > MAX_AWAITED
    }
}

/// What is known of an event, and the listeners that have not read what stands before it.
#[derive(Debug, Default)]
pub struct Counting {
    tally: Tally,
    waiting: Vec<SlowReader>,
}

/// A listener that has not read what stands before an event.
#[derive(Debug)]
struct SlowReader {
    written: oneshot::Receiver<()>,
    socket: Arc<Socket>,
    _awaited: Awaited,
}

impl Counting {
    /// Writes an event to its listeners. How it fared, if that is known of all, or if too many are
    /// waited for already. The one that is left out matches, and is not written to.
    ///
    /// # Errors
    /// What must be [finished](Self::finish).
    pub fn deliver(
        event: &Framed,
        excepted: Option<ConnectionId>,
        clients: &Subscriptions<Client>,
        awaited: &Awaited,
    ) -> Result<Tally, Self> {
        let mut counting = Self::default();
        let left_out = for_each_receiver(event, excepted, clients, |_, client| {
            if !client.line.socket.is_open() {
                return;
            }
            counting.tally.matched += 1;
            match client.send_counted(event) {
                WriteOutcome::Written => counting.tally.written += 1,
                WriteOutcome::TooSlow => counting.tally.too_slow += 1,
                WriteOutcome::Waits(written) if !awaited.is_full() => {
                    let (socket, _awaited) = (client.line.socket.clone(), awaited.clone());
                    counting.waiting.push(SlowReader { written, socket, _awaited });
                }
                WriteOutcome::Waits(_) | WriteOutcome::Gone => {}
            }
        });
        counting.tally.matched += u64::from(left_out);
        if counting.waiting.is_empty() { Ok(counting.tally) } else { Err(counting) }
    }

    /// How it fared, when that is known of all or the time is over.
    pub async fn finish(self, within: Duration) -> Tally {
        let Self { mut tally, waiting } = self;
        let until = Instant::now() + within;
        for SlowReader { written, socket, _awaited } in waiting {
            match timeout_at(until, written).await {
                Ok(Ok(())) => tally.written += 1,
                Ok(Err(_)) if socket.is_overrun() => tally.too_slow += 1,
                Ok(Err(_)) | Err(_) => {}
            }
        }
        tally
    }
}
