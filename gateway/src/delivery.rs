//! What the bridge hands to a worker's registry, and how it gets there: a queue bounded in bytes
//! between two threads.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use campanile_messages::link::{self, Gap};
use campanile_messages::{Address, Audience, ConnectionId, Content, Position, WorkerId};
use tokio::sync::Notify;

use crate::event_stream;
use crate::protocol::{self, Protocol};
use crate::resumes::Outcome;
use crate::subscriptions::Ticket;
use crate::websocket::encode::{Opcode, frame};

/// While more than this waits for one registry, the bridge does not read its link.
pub const MAX_BEHIND_BYTES: usize = 4 << 20;

/// What a delivery without content counts, and each with content on top of it.
const OVERHEAD_BYTES: usize = 64;

/// One thing for a registry to do, in the order of the link.
#[derive(Debug, Clone)]
pub enum Delivery {
    /// Send an event to its listeners.
    Event(Arc<Framed>),
    /// Send an event to its listeners, and answer how it fared within this time.
    Counted(link::Ticket, Duration, Arc<Framed>),
    /// Send an event to one connection, and answer.
    Push(link::Ticket, ConnectionId, Arc<Framed>),
    /// The broker has confirmed what the registry asked for up to this ticket; the log stood here.
    Confirmed(Ticket, Position),
    /// A client that came back, or one of its groups, goes on: what it has missed up to here.
    Resumed(Ticket, Outcome, Position),
    /// All events up to here have been handed over.
    Mark(Position),
    /// Events before here may be missing.
    Gap(Gap, Position),
}

/// An event with the frames that clients receive: each made once, when first needed, and shared by
/// all connections of the process.
#[derive(Debug)]
pub struct Framed {
    /// Where it stands in the log and who it is for; `None` if it is for one connection.
    logged: Option<(Position, Audience)>,
    except: Option<Address>,
    content: Content,
    plain: OnceLock<Bytes>,
    v1: OnceLock<Bytes>,
    stream: OnceLock<Bytes>,
}

impl Framed {
    /// An event that has no frames yet.
    pub fn new(logged: Option<(Position, Audience)>, content: Content) -> Arc<Self> {
        Self::new_except(logged, None, content)
    }

    /// The same, for all of its audience but one connection.
    pub fn new_except(
        logged: Option<(Position, Audience)>,
        except: Option<Address>,
        content: Content,
    ) -> Arc<Self> {
        let (plain, v1, stream) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        Arc::new(Self { logged, except, content, plain, v1, stream })
    }

    /// The connection of a worker that does not get it. `None` for a worker without an id: it has no
    /// connections.
    pub fn except_at(&self, worker: Option<&WorkerId>) -> Option<ConnectionId> {
        self.except.filter(|except| Some(&except.worker) == worker).map(|except| except.connection)
    }

    /// Where it stands in the log; 0 if it is for one connection.
    pub fn sequence(&self) -> u64 {
        self.logged.as_ref().map_or(0, |(position, _)| position.sequence)
    }

    /// Who it is for; `None` if it is for one connection.
    pub fn audience(&self) -> Option<&Audience> {
        self.logged.as_ref().map(|(_, audience)| audience)
    }

    /// The frame for a client.
    pub fn frame(&self, protocol: Protocol) -> &Bytes {
        match protocol {
            Protocol::Plain => self.plain.get_or_init(|| {
                let opcode = match &self.content {
                    Content::Text(_) => Opcode::Text,
                    Content::Binary(_) => Opcode::Binary,
                };
                frame(opcode, self.content.as_bytes())
            }),
            Protocol::V1 => self.v1.get_or_init(|| {
                let logged = self.logged.as_ref().map(|(position, audience)| (*position, audience));
                protocol::event(logged, &self.content)
            }),
            Protocol::Events => self.stream.get_or_init(|| {
                let position = self.logged.as_ref().map(|(position, _)| *position);
                event_stream::event(position, &self.content)
            }),
        }
    }

    /// The length of its content.
    pub fn len_bytes(&self) -> usize {
        self.content.as_bytes().len()
    }
}

/// Deliveries on their way to one registry. Clones are the same queue.
#[derive(Debug, Clone, Default)]
pub struct Deliveries(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    taken: Notify,
}

#[derive(Debug, Default)]
struct State {
    queue: Vec<Delivery>,
    bytes: usize,
}

impl Deliveries {
    /// Adds one; `true` if the queue was empty, so that the registry must be told.
    pub fn push(&self, delivery: Delivery) -> bool {
        let mut state = self.lock();
        state.bytes += OVERHEAD_BYTES
            + match &delivery {
                Delivery::Event(framed)
                | Delivery::Counted(_, _, framed)
                | Delivery::Push(_, _, framed) => framed.len_bytes(),
                Delivery::Resumed(_, Ok(missed), _) => missed.len() * OVERHEAD_BYTES,
                _ => 0,
            };
        state.queue.push(delivery);
        state.queue.len() == 1
    }

    /// Takes all that is there.
    pub fn take(&self) -> Vec<Delivery> {
        let mut state = self.lock();
        state.bytes = 0;
        self.0.taken.notify_one();
        std::mem::take(&mut state.queue)
    }

    /// Whether at most [`MAX_BEHIND_BYTES`] wait.
    pub fn is_behind(&self) -> bool {
        self.lock().bytes > MAX_BEHIND_BYTES
    }

    /// Waits until at most [`MAX_BEHIND_BYTES`] wait. For one waiter.
    pub async fn has_room(&self) {
        while self.is_behind() {
            self.0.taken.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change of the state is complete before anything can panic.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn a_frame_is_made_once_and_shared() {
        let framed = Framed::new(None, "hi".into());
        let first = framed.frame(Protocol::Plain).clone();
        assert_eq!(&first[..], b"\x81\x02hi");
        assert_eq!(framed.frame(Protocol::Plain).as_ptr(), first.as_ptr());
        let binary = Framed::new(None, Content::Binary(Bytes::from_static(b"\xff")));
        assert_eq!(&binary.frame(Protocol::Plain)[..], b"\x82\x01\xff");
    }

    #[test]
    fn a_registry_that_is_behind_holds_the_bridge_back_until_it_takes() {
        let deliveries = Deliveries::default();
        let large = Content::Binary(Bytes::from(vec![0; MAX_BEHIND_BYTES]));
        assert!(deliveries.has_room().now_or_never().is_some());
        assert!(deliveries.push(Delivery::Event(Framed::new(None, large))));
        assert!(!deliveries.push(Delivery::Confirmed(1, Position { epoch: 0, sequence: 0 })));
        assert!(deliveries.has_room().now_or_never().is_none());
        assert_eq!(deliveries.take().len(), 2);
        assert!(deliveries.has_room().now_or_never().is_some());
    }
}
