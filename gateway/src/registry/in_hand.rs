//! What a registry has taken from its deliveries and has not performed.

use std::collections::VecDeque;

use crate::delivery::{Deliveries, Delivery};

/// Takes more only when all of it is done.
#[derive(Debug)]
pub struct InHand {
    deliveries: Deliveries,
    taken: VecDeque<Delivery>,
}

impl InHand {
    pub fn new(deliveries: Deliveries) -> Self {
        Self { deliveries, taken: VecDeque::new() }
    }

    /// The next in order; `None` if there is nothing to do.
    pub fn next(&mut self) -> Option<Delivery> {
        if self.taken.is_empty() {
            self.taken = self.deliveries.take().into();
        }
        self.taken.pop_front()
    }

    /// Whether the one behind the next is an event for many, too.
    pub fn is_event_next(&self) -> bool {
        matches!(self.taken.front(), Some(Delivery::Event(_)))
    }

    /// What is left of a delivery, to be done before any other.
    pub fn put_back(&mut self, rest: Delivery) {
        self.taken.push_front(rest);
    }

    /// The last one is performed. `true` if with it there is room again where there was none, so
    /// that the bridge must be told.
    pub fn performed(&mut self) -> bool {
        self.taken.is_empty() && self.deliveries.performed()
    }
}
