//! Puts answers into the order of their requests. Pure.

use std::collections::VecDeque;

/// Slots for answers, in the order of the requests. Bounded by whoever opens slots.
#[derive(Debug)]
pub struct InOrder<T> {
    /// The number of the first slot.
    first: u64,
    slots: VecDeque<Slot<T>>,
    held_bytes: usize,
}

#[derive(Debug)]
struct Slot<T> {
    held_bytes: usize,
    answer: Option<T>,
}

impl<T> Default for InOrder<T> {
    fn default() -> Self {
        Self { first: 0, slots: VecDeque::new(), held_bytes: 0 }
    }
}

impl<T> InOrder<T> {
    /// How many slots are open.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether no slot is open.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// How many bytes the open slots hold.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Opens a slot behind the others, which holds `held_bytes`, and returns its number.
    pub fn open(&mut self, held_bytes: usize) -> u64 {
        let number = self.first + self.slots.len() as u64;
        self.held_bytes += held_bytes;
        self.slots.push_back(Slot { held_bytes, answer: None });
        number
    }

    /// Puts an answer into its slot. If the slot is not open any more, the answer is dropped; a second
    /// answer replaces the first.
    pub fn answer(&mut self, number: u64, answer: T) {
        let index = number.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        if let Some(slot) = index.and_then(|index| self.slots.get_mut(index)) {
            slot.answer = Some(answer);
        }
    }

    /// Closes the first slot and returns its answer, if it has one.
    pub fn pop(&mut self) -> Option<T> {
        let answer = self.slots.front_mut()?.answer.take()?;
        let slot = self.slots.pop_front()?;
        self.held_bytes -= slot.held_bytes;
        self.first += 1;
        Some(answer)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_answer_waits_for_those_before_it() {
        let mut order = InOrder::default();
        let [first, second, third] = [1, 2, 3].map(|bytes| order.open(bytes));
        order.answer(third, "third");
        order.answer(second, "second");
        assert_eq!(order.pop(), None);
        order.answer(first, "first");
        assert_eq!(order.pop(), Some("first"));
        assert_eq!((order.len(), order.held_bytes()), (2, 5));
        assert_eq!(order.pop(), Some("second"));
        assert_eq!(order.pop(), Some("third"));
        assert_eq!(order.pop(), None);
        assert_eq!((order.len(), order.held_bytes()), (0, 0));
    }

    #[test]
    fn an_answer_without_an_open_slot_is_dropped() {
        let mut order = InOrder::default();
        order.answer(0, "early");
        let slot = order.open(0);
        order.answer(slot, "once");
        assert_eq!(order.pop(), Some("once"));
        order.answer(slot, "late");
        order.answer(u64::MAX, "never");
        assert_eq!(order.pop(), None);
    }

    proptest! {
        #[test]
        fn every_answer_leaves_once_and_in_order(
            steps in prop::collection::vec(prop::option::of(0usize..8), 0..200),
        ) {
            let mut order = InOrder::default();
            let mut unanswered = Vec::new();
            let mut left = Vec::new();
            let mut opened = 0u64;
            for step in steps {
                match step {
                    None => {
                        prop_assert_eq!(order.open(1), opened);
                        unanswered.push(opened);
                        opened += 1;
                    }
                    Some(index) if index < unanswered.len() => {
                        let number = unanswered.remove(index);
                        order.answer(number, number);
                    }
                    Some(_) => left.extend(std::iter::from_fn(|| order.pop())),
                }
                prop_assert_eq!(order.len() as u64, opened - left.len() as u64);
                prop_assert_eq!(order.held_bytes(), order.len());
            }
            left.extend(std::iter::from_fn(|| order.pop()));
            let first = unanswered.first().copied().unwrap_or(opened);
            prop_assert_eq!(left, (0..first).collect::<Vec<_>>());
        }
    }
}
