//! What the bridge hands to a worker's registry, and how it gets there: a queue bounded in bytes
//! between two threads.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix::Message;
use campanile_messages::link::{Gap, RequestTicket};
use campanile_messages::{ConnectionId, Position};
use tokio::sync::Notify;

use crate::dialects::Framed;
use crate::report::StepTicket;
use crate::resume::Lost;
use crate::websocket::CloseCode;

/// While more than this waits for one registry, the bridge does not read its link.
pub const MAX_BEHIND_BYTES: usize = 4 << 20;

/// What a delivery without content counts, and each with content on top of it.
const OVERHEAD_BYTES: usize = 64;

/// What the bridge and the server tell a registry beside what is in its [`Deliveries`].
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub enum Signal {
    /// There is something in the deliveries.
    Deliver,
    /// Every client is told to go: the gateway shuts down, or has had no broker for too long.
    Drain {
        /// Spread over this time; zero means all at once.
        over: Duration,
        code: CloseCode,
    },
    /// There is a broker again: clients that have not been told to go for lack of one may stay.
    Stay,
}

/// One thing for a registry to do, in the order of the link.
#[derive(Debug, Clone, PartialEq)]
pub enum Delivery {
    /// Send an event to its listeners.
    Event(Arc<Framed>),
    /// Send an event to its listeners, and answer how it fared within this time.
    Counted(RequestTicket, Duration, Arc<Framed>),
    /// Send an event to one connection, and answer.
    Push(RequestTicket, ConnectionId, Arc<Framed>),
    /// The broker has confirmed what the registry asked for up to this ticket, save what is answered
    /// with `Resumed`; the log stood here.
    Confirmed(StepTicket, Position),
    /// The broker has confirmed this step, with which a client came back, or one of its groups, or a new
    /// listener that asked for some of the past: what it has missed or asked for up to here.
    Resumed(StepTicket, ResumeOutcome, Position),
    /// All events up to here have been handed over.
    Mark(Position),
    /// Events before here may be missing.
    Gap(Gap, Position),
}

/// What a client is to hear of the past, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundEvents {
    /// Oldest first.
    pub events: Vec<Arc<Framed>>,
    /// Whether nothing was left out. Always, where a client comes back.
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

/// What a client has missed, or hears as a new listener, or why that cannot be told.
pub type ResumeOutcome = Result<FoundEvents, Lost>;

/// Deliveries on their way to one registry. Clones are the same queue.
#[derive(Debug, Clone, Default)]
pub struct Deliveries(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// Wakes everybody who waits for room: the link and its owner may wait at the same time.
    performed: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<Delivery>,
    waiting_bytes: usize,
    /// What the registry has taken and not performed yet.
    taken_bytes: usize,
}

impl Queue {
    fn is_behind(&self) -> bool {
        self.waiting_bytes + self.taken_bytes > MAX_BEHIND_BYTES
    }
}

impl Deliveries {
    /// Adds one; `true` if the queue was empty, so that the registry must be told.
    pub fn push(&self, delivery: Delivery) -> bool {
        let mut queue = self.lock();
        queue.waiting_bytes += OVERHEAD_BYTES
            + match &delivery {
                Delivery::Event(framed)
                | Delivery::Counted(_, _, framed)
                | Delivery::Push(_, _, framed) => framed.len_bytes(),
                Delivery::Resumed(_, Ok(found), _) => found.len() * OVERHEAD_BYTES,
                _ => 0,
            };
        queue.waiting.push(delivery);
        queue.waiting.len() == 1
    }

    /// Takes everything that waits. It counts until it was [`performed`](Self::performed).
    pub fn take(&self) -> Vec<Delivery> {
        let mut queue = self.lock();
        queue.taken_bytes += std::mem::take(&mut queue.waiting_bytes);
        std::mem::take(&mut queue.waiting)
    }

    /// Everything that was taken is done. Wakes those who wait for room; returns `true` if there
    /// was none before and there is now, so that the bridge must be told.
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
            // Made before the look: it is woken by whatever is performed after that.
            let performed = self.0.performed.notified();
            if !self.is_behind() {
                return;
            }
            performed.await;
        }
    }

    /// Whether everything was taken.
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

    /// One who waits for room, polled by hand.
    struct Waiter<'a> {
        room: Option<Pin<Box<dyn Future<Output = ()> + 'a>>>,
        wakes: Arc<Wakes>,
    }

    impl Waiter<'_> {
        /// Polls, which forgets earlier wakes.
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

    /// Every order of at most eight steps with two who wait.
    #[test]
    fn whoever_waits_for_room_is_woken_when_there_is_some() {
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
                deliveries.push(Delivery::Event(framed.clone()));
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
    fn the_bridge_is_told_once_when_a_registry_has_caught_up() {
        let deliveries = Deliveries::default();
        let large = Content::Binary(Bytes::from(vec![0; MAX_BEHIND_BYTES]));
        assert!(deliveries.push(Delivery::Event(Framed::new(None, large))));
        assert!(!deliveries.push(Delivery::Confirmed(1, Position { epoch: 0, sequence: 0 })));
        assert!(deliveries.is_behind());
        assert_eq!(deliveries.take().len(), 2);
        assert!(deliveries.is_behind(), "what was taken is not done");
        assert!(deliveries.performed());
        assert!(!deliveries.is_behind() && !deliveries.performed());
    }
}
