//! Counts to how many of one worker's connections an event was written.
//!
//! Bounded in time, because the publisher says how long it waits; and in number: while `MAX_AWAITED` slow
//! readers are waited for, the count of another event has only what is known at once.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use campanile_messages::ConnectionId;
use campanile_messages::link::Tally;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::connection::socket::Socket;
use crate::dialects::Framed;
use crate::meters::Written;
use crate::registry::batch::{Closed, for_each_receiver};
use crate::registry::client::{Client, WriteOutcome};
use crate::registry::subscriptions::Subscriptions;

/// The most slow readers that the counted events of one worker wait for, each counted once per event.
/// Each takes some 200 bytes.
const MAX_AWAITED: usize = 100_000;

/// The number of slow readers that the counted events of a worker wait for: one per clone.
#[derive(Debug, Clone, Default)]
pub struct Awaited(Rc<()>);

impl Awaited {
    fn is_full(&self) -> bool {
        Rc::strong_count(&self.0) > MAX_AWAITED
    }
}

/// The tally of an event so far, and the listeners to which it is not written yet.
#[derive(Debug, Default)]
pub struct Counting {
    tally: Tally,
    waiting: Vec<SlowReader>,
}

/// A listener in whose outbox the event waits.
#[derive(Debug)]
struct SlowReader {
    written: oneshot::Receiver<()>,
    socket: Arc<Socket>,
    _awaited: Awaited,
}

impl Counting {
    /// Writes an event to its listeners, and adds that to `written`, and those that are closed to `closed`. Returns the tally if the outcome is known for all of them, or if
    /// too many slow readers are waited for already. The `excepted` listener counts as matched, but
    /// nothing is written to it.
    ///
    /// # Errors
    /// A count that waits for slow readers and must be [finished](Self::finish).
    pub fn deliver(
        event: &Framed,
        excepted: Option<ConnectionId>,
        clients: &Subscriptions<Client>,
        awaited: &Awaited,
        written: &mut Written,
        closed: &mut Vec<Closed>,
    ) -> Result<Tally, Self> {
        let mut counting = Self::default();
        let left_out = for_each_receiver(event, excepted, clients, |_, client| {
            if !client.line.socket.is_open() {
                if client.is_first_loss() {
                    closed.push(Closed::at(event, client, false));
                }
                return;
            }
            counting.tally.matched += 1;
            let outcome = client.send_counted(event);
            if matches!(outcome, WriteOutcome::Written | WriteOutcome::Waits(_)) {
                written.add(event.frame(client.line.dialect).len());
            }
            match outcome {
                WriteOutcome::Written => counting.tally.written += 1,
                WriteOutcome::TooSlow => {
                    counting.tally.too_slow += 1;
                    closed.push(Closed::at(event, client, true));
                }
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

    /// Waits until the outcome is known for all listeners, at most for `within`, and returns the tally.
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
