//! The deliveries that a registry has taken from its queue and not performed yet.

use std::collections::VecDeque;
use std::time::Instant;

use crate::delivery::{Deliveries, Delivery, Taken};

/// Takes more from the queue only when everything taken before is performed.
#[derive(Debug)]
pub struct InHand {
    deliveries: Deliveries,
    taken: VecDeque<Delivery>,
    /// When the first event of these was received from the broker.
    received: Option<Instant>,
}

impl InHand {
    pub fn new(deliveries: Deliveries) -> Self {
        Self { deliveries, taken: VecDeque::new(), received: None }
    }

    /// Returns the next delivery, in order; `None` if there is none.
    pub fn next(&mut self) -> Option<Delivery> {
        if self.taken.is_empty() {
            let Taken { deliveries, received } = self.deliveries.take();
            (self.taken, self.received) = (deliveries.into(), received);
        }
        self.taken.pop_front()
    }

    /// Whether another event is already there to follow the last delivery.
    pub fn is_event_next(&self) -> bool {
        matches!(self.taken.front(), Some(Delivery::Event(_)))
    }

    /// Puts back the rest of a delivery, to be performed before any other.
    pub fn put_back(&mut self, rest: Delivery) {
        self.taken.push_front(rest);
    }

    /// If everything taken is performed, and with it written: when its first event was received from the
    /// broker. `None` without events, and after the first call.
    pub fn take_written(&mut self) -> Option<Instant> {
        self.received.take_if(|_| self.taken.is_empty())
    }

    /// Records that the last delivery is performed. Returns `true` if the queue had no room before and has
    /// now, so that the bridge must be notified.
    pub fn performed(&mut self) -> bool {
        self.taken.is_empty() && self.deliveries.performed()
    }
}
