//! Writes to many clients at once: an event to all its listeners, and several events with one write per
//! client.

use std::rc::Rc;

use campanile_channel::watchdog::Pulse;
use campanile_messages::{ConnectionId, Position};

use crate::connection::socket::Sent;
use crate::dialects::Framed;
use crate::meters::Written;
use crate::registry::client::Client;
use crate::registry::subscriptions::Subscriptions;

/// A batch is flushed when its events have this many bytes, because they take memory in every outbox
/// while they wait.
const FLUSH_EVERY_BYTES: usize = 128 << 10;

/// How many clients are flushed between two beats of the pulse: some 50 ms, at 128 KiB per client.
const BEAT_EVERY: usize = 1_024;

/// Calls `deliver` for each listener of an event except for the `excepted` connection of this worker.
/// Returns whether that one listens and is open. For an event without an exception, nothing is compared
/// per listener.
pub fn for_each_receiver(
    event: &Framed,
    excepted: Option<ConnectionId>,
    clients: &Subscriptions<Client>,
    mut deliver: impl FnMut(usize, &Client),
) -> bool {
    let Some(audience) = event.audience() else { return false };
    let Some(excepted) = excepted else {
        clients.for_each_listener(audience, deliver);
        return false;
    };
    let mut left_out = false;
    clients.for_each_listener(audience, |slot, client| {
        if client.connection == excepted {
            client.leave_out(event);
            left_out = client.line.socket.is_open();
        } else {
            deliver(slot, client);
        }
    });
    left_out
}

/// The clients that have events in their outboxes which are not flushed yet.
#[derive(Debug)]
pub struct Batch {
    /// The registry's pulse.
    pulse: Rc<Pulse>,
    /// The slots of these clients.
    touched: Vec<usize>,
    /// The bytes of the events, each counted once.
    bytes: usize,
    /// Clients that did not get an event, because they are closed.
    pub closed: Vec<Closed>,
}

/// A client that did not get an event, because it is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed {
    pub connection: ConnectionId,
    /// The position of the first event that it did not get; `None` if that has none.
    pub missed: Option<Position>,
    /// Whether it was closed because this event did not fit into its outbox.
    pub is_overrun: bool,
}

impl Closed {
    /// A client that did not get this event.
    pub fn at(event: &Framed, client: &Client, is_overrun: bool) -> Self {
        Self { connection: client.connection, missed: event.position(), is_overrun }
    }
}

impl Batch {
    /// Starts empty. The pulse beats within a long flush.
    pub fn new(pulse: Rc<Pulse>) -> Self {
        Self { pulse, touched: Vec::new(), bytes: 0, closed: Vec::new() }
    }

    /// Adds an event to the outbox of each of its listeners, where it waits for the next events. Returns how
    /// often it did.
    pub fn deliver(
        &mut self,
        framed: &Framed,
        excepted: Option<ConnectionId>,
        clients: &Subscriptions<Client>,
    ) -> Written {
        let (mut len_bytes, mut written) = (0, Written::default());
        for_each_receiver(framed, excepted, clients, |slot, client| {
            client.note(framed);
            let frame = framed.frame(client.line.dialect);
            len_bytes = len_bytes.max(frame.len());
            match client.line.settle(client.line.socket.send(frame)) {
                Some(Sent::First) => {
                    written.add(frame.len());
                    self.touched.push(slot);
                }
                Some(Sent::Behind) => written.add(frame.len()),
                Some(Sent::Ending) if client.is_first_loss() => {
                    self.closed.push(Closed::at(framed, client, false));
                }
                Some(Sent::Ending) => {}
                None => self.closed.push(Closed::at(framed, client, true)),
            }
        });
        self.bytes += len_bytes;
        if self.bytes >= FLUSH_EVERY_BYTES {
            self.flush(clients);
        }
        written
    }

    /// Sends an event after which there are no others yet, and flushes everything before it. Returns to how
    /// many listeners.
    pub fn deliver_last(
        &mut self,
        framed: &Framed,
        excepted: Option<ConnectionId>,
        clients: &Subscriptions<Client>,
    ) -> Written {
        let mut written = Written::default();
        for_each_receiver(framed, excepted, clients, |_, client| {
            client.note(framed);
            let frame = framed.frame(client.line.dialect);
            match client.line.settle(client.line.socket.send_now(frame)) {
                Some(true) => written.add(frame.len()),
                Some(false) if client.is_first_loss() => {
                    self.closed.push(Closed::at(framed, client, false));
                }
                Some(false) => {}
                None => self.closed.push(Closed::at(framed, client, true)),
            }
        });
        self.flush(clients);
        written
    }

    /// Flushes every client that has events waiting.
    pub fn flush(&mut self, clients: &Subscriptions<Client>) {
        for (index, slot) in self.touched.drain(..).enumerate() {
            if index % BEAT_EVERY == 0 {
                self.pulse.beat();
            }
            if let Some(client) = clients.in_slot(slot) {
                client.line.socket.flush();
            }
        }
        self.bytes = 0;
    }
}
