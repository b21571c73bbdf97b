//! What the bridge hands over to a worker's registry: deliveries, in a queue between two threads that is
//! bounded in bytes, and signals.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use actix::Message;
use campanile_messages::link::{Gap, RequestTicket};
use campanile_messages::{ConnectionId, Position};
use tokio::sync::Notify;

use crate::dialects::Framed;
use crate::report::StepTicket;
use crate::resume::Lost;
use crate::websocket::CloseCode;

/// While more bytes than this wait for one registry, the gateway does not read its link.
pub const MAX_BEHIND_BYTES: usize = 4 << 20;

/// How many bytes a delivery counts in addition to its content.
const OVERHEAD_BYTES: usize = 64;

/// A message of the bridge or the server to a registry, besides its [`Deliveries`].
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub enum Signal {
    /// Deliveries are waiting.
    Deliver,
    /// Close every client, because the gateway shuts down or was without a broker for too long.
    Drain {
        /// The time over which to spread the closes; zero means all at once.
        over: Duration,
        code: CloseCode,
    },
    /// Let the clients stay that are not closed yet, because there is a broker again.
    Stay,
}

/// One task for a registry, in the order of the link.
#[derive(Debug, Clone, PartialEq)]
pub enum Delivery {
    /// Send an event to its listeners.
    Event(Arc<Framed>),
    /// Send an event to its listeners, and report within this time how many it has reached.
    Counted(RequestTicket, Duration, Arc<Framed>),
    /// Send an event to one connection, and report the outcome.
    Direct(RequestTicket, ConnectionId, Arc<Framed>),
    /// Complete the steps up to this ticket, which the broker has confirmed when the log ended at this
    /// position, except for the steps that get a `Resumed`.
    Confirmed(StepTicket, Position),
    /// Complete one step, which the broker has confirmed, with the events up to this position that its
    /// client missed, or asked for as a new listener.
    Resumed(StepTicket, ResumeOutcome, Position),
    /// All events up to this position have been handed over.
    Mark(Position),
    /// Events may be missing.
    Gap {
        /// The reason.
        gap: Gap,
        /// All events up to this position have been handed over.
        cursor: Position,
        /// The position after which the stream continues.
        from: Position,
    },
}

/// Events that a client missed, or asked for as a new listener.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundEvents {
    /// Oldest first.
    pub events: Vec<Arc<Framed>>,
    /// Whether no event was left out. Always `true` for a client that resumes.
    pub is_complete: bool,
}

impl FoundEvents {
    pub fn len(&self) -> usize {
        self.events.len()
    }

    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}

/// The events for a step that waits for some, or why they cannot be sent.
pub type ResumeOutcome = Result<FoundEvents, Lost>;

/// The queue of deliveries to one registry. Clones are the same queue.
#[derive(Debug, Clone, Default)]
pub struct Deliveries(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// Wakes all callers that wait for room.
    performed: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<Delivery>,
    waiting_bytes: usize,
    /// The bytes that the registry has taken and not performed yet.
    taken_bytes: usize,
    /// When the first of the waiting events was received from the broker.
    received: Option<Instant>,
}

/// What a registry takes from its queue at once.
#[derive(Debug, Default)]
pub struct Taken {
    /// In order.
    pub deliveries: Vec<Delivery>,
    /// When the first of the events among them was received from the broker; `None` if there is none.
    pub received: Option<Instant>,
}

impl Queue {
    fn is_behind(&self) -> bool {
        self.waiting_bytes + self.taken_bytes > MAX_BEHIND_BYTES
    }
}

impl Deliveries {
    /// Adds a delivery; `received` is when its batch came from the broker. Returns `true` if the queue was
    /// empty, so that the registry must be woken.
    pub fn push(&self, delivery: Delivery, received: Instant) -> bool {
        let mut queue = self.lock();
        queue.waiting_bytes += OVERHEAD_BYTES
            + match &delivery {
                Delivery::Event(framed)
                | Delivery::Counted(_, _, framed)
                | Delivery::Direct(_, _, framed) => {
                    queue.received.get_or_insert(received);
                    framed.len_bytes()
                }
                Delivery::Resumed(_, Ok(found), _) => found.len() * OVERHEAD_BYTES,
                _ => 0,
            };
        queue.waiting.push(delivery);
        queue.waiting.len() == 1
    }

    /// Takes everything that waits. It counts until it is [`performed`](Self::performed).
    pub fn take(&self) -> Taken {
        let mut queue = self.lock();
        queue.taken_bytes += std::mem::take(&mut queue.waiting_bytes);
        Taken { deliveries: std::mem::take(&mut queue.waiting), received: queue.received.take() }
    }

    /// Records that everything taken is performed. Returns `true` if the queue had no room before and has
    /// some now, so that the bridge must be notified. Callers that wait for room are woken then.
    pub fn performed(&self) -> bool {
        let mut queue = self.lock();
        let was_behind = queue.is_behind();
        queue.taken_bytes = 0;
        let has_room = was_behind && !queue.is_behind();
        drop(queue);
        if has_room {
            self.0.performed.notify_waiters();
        }
        has_room
    }

    /// Whether more than [`MAX_BEHIND_BYTES`] are not performed yet.
    pub fn is_behind(&self) -> bool {
        self.lock().is_behind()
    }

    /// Waits until at most [`MAX_BEHIND_BYTES`] are left. Any number of callers may wait.
    pub async fn has_room(&self) {
        loop {
            // Created before the check, so that no later wake-up is lost.
            let performed = self.0.performed.notified();
            if !self.is_behind() {
                return;
            }
            performed.await;
        }
    }

    /// Whether the queue is empty.
    #[cfg(test)]
    pub fn is_taken(&self) -> bool {
        self.lock().waiting.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Every change of the queue is complete before anything can panic.
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll, Wake, Waker};

    use bytes::Bytes;
    use campanile_messages::Content;

    use super::*;

    #[derive(Debug, Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// A caller that waits for room, polled by hand.
    struct Waiter<'a> {
        room: Option<Pin<Box<dyn Future<Output = ()> + 'a>>>,
        wakes: Arc<Wakes>,
    }

    impl Waiter<'_> {
        /// Polls, and forgets earlier wake-ups.
        fn poll(&mut self, deliveries: &Deliveries) {
            let Some(room) = &mut self.room else { return };
            self.wakes.0.store(0, Ordering::SeqCst);
            let waker = Waker::from(self.wakes.clone());
            let polled = room.as_mut().poll(&mut Context::from_waker(&waker));
            match polled {
                Poll::Pending => assert!(deliveries.is_behind(), "there is room"),
                Poll::Ready(()) => self.room = None,
            }
        }

        fn is_forgotten(&self, was_polled: bool) -> bool {
            was_polled && self.room.is_some() && self.wakes.0.load(Ordering::SeqCst) == 0
        }
    }

    /// Tries every sequence of eight steps, with two callers that wait.
    #[test]
    fn every_caller_that_waits_for_room_is_woken() {
        const STEPS: usize = 6;
        let large = Framed::new(None, Content::Binary(vec![0; MAX_BEHIND_BYTES].into()));
        let small = Framed::new(None, Content::from("hi"));
        for order in 0..STEPS.pow(8) {
            let deliveries = Deliveries::default();
            let mut waiters = [0, 1].map(|_| Waiter {
                room: Some(Box::pin(deliveries.has_room())),
                wakes: Arc::default(),
            });
            let mut was_polled = [false; 2];
            let push = |framed: &Arc<Framed>| {
                deliveries.push(Delivery::Event(framed.clone()), Instant::now());
            };
            for step in 0..8 {
                match order / STEPS.pow(step) % STEPS {
                    0 => push(&large),
                    1 => push(&small),
                    2 => drop(deliveries.take()),
                    3 => drop(deliveries.performed()),
                    waiter => {
                        waiters[waiter - 4].poll(&deliveries);
                        was_polled[waiter - 4] = true;
                    }
                }
                if !deliveries.is_behind() {
                    for (waiter, was_polled) in waiters.iter().zip(was_polled) {
                        assert!(!waiter.is_forgotten(was_polled), "order {order}, step {step}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_bridge_is_notified_once_when_a_registry_caught_up() {
        let deliveries = Deliveries::default();
        let large = Content::Binary(Bytes::from(vec![0; MAX_BEHIND_BYTES]));
        assert!(deliveries.push(Delivery::Event(Framed::new(None, large)), Instant::now()));
        assert!(
            !deliveries
                .push(Delivery::Confirmed(1, Position { epoch: 0, sequence: 0 }), Instant::now())
        );
        assert!(deliveries.is_behind());
        assert_eq!(deliveries.take().deliveries.len(), 2);
        assert!(deliveries.is_behind(), "what was taken is not performed");
        assert!(deliveries.performed());
        assert!(!deliveries.is_behind() && !deliveries.performed());
    }
}
