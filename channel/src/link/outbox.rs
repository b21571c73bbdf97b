//! A queue of bytes on their way to one peer, bounded in bytes. Pure: its owner does the writing.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

/// Something would have passed the bound of a queue; nothing was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{queued_bytes} bytes already wait for the peer, of at most {max_bytes}")]
pub struct Full {
    /// How much waited already, in bytes.
    pub queued_bytes: usize,
    /// The bound in bytes.
    pub max_bytes: usize,
}

/// How much each waiting slice counts on top of its bytes: its place in the queue and its allocation.
/// Without this, a flood of empty pongs would take many times the bound.
pub const SLICE_BYTES: usize = 64;

/// Shared slices that wait to be written, in order.
#[derive(Debug)]
pub struct Outbox {
    queue: VecDeque<Bytes>,
    queued_bytes: usize,
    max_bytes: usize,
    /// Whether the front slice is partly written, so that the rest of it must be written too.
    front_begun: bool,
    /// How many slices at the front do not count, and where in the stream they end. The number is next to the
    /// flag, because each connection keeps an outbox.
    exempt_slices: u32,
    exempt_until: u64,
    written_bytes: u64,
}

impl Outbox {
    /// An empty queue for up to `max_bytes`, where each slice counts [`SLICE_BYTES`] more than its
    /// length. An empty queue always takes one slice, whatever its size.
    pub fn new(max_bytes: usize) -> Self {
        Self {
            queue: VecDeque::new(),
            queued_bytes: 0,
            max_bytes,
            front_begun: false,
            written_bytes: 0,
            exempt_slices: 0,
            exempt_until: 0,
        }
    }

    /// Adds a slice at the end.
    ///
    /// # Errors
    /// [`Full`] if something waits already and the slice would pass the bound.
    pub fn push(&mut self, slice: Bytes) -> Result<(), Full> {
        let cost = self.cost_bytes();
        if cost > 0 && cost + slice.len() + SLICE_BYTES > self.max_bytes {
            return Err(Full { queued_bytes: cost, max_bytes: self.max_bytes });
        }
        self.force(slice);
        Ok(())
    }

    /// Adds a slice even past the bound, for slices that the owner bounds in another way.
    pub fn force(&mut self, slice: Bytes) {
        if !slice.is_empty() {
            self.queued_bytes += slice.len();
            self.queue.push_back(slice);
        }
    }

    /// Notes that the first `written` bytes of a slice were written without being queued, and queues
    /// the rest of it, even past the bound.
    ///
    /// # Panics
    /// If something waits, because the slice has then overtaken it.
    pub fn pass(&mut self, slice: &Bytes, written: usize) {
        assert!(self.is_empty(), "a slice has overtaken {} bytes", self.queued_bytes);
        self.written_bytes += written as u64;
        self.force(slice.slice(written..));
        self.front_begun = written > 0 && written < slice.len();
    }

    /// From now on, nothing that waits at this moment counts against the bound: it is bounded in
    /// another way.
    pub fn exempt(&mut self) {
        // More would take 128 GiB.
        self.exempt_slices = u32::try_from(self.queue.len()).unwrap_or(u32::MAX);
        self.exempt_until = self.written_bytes + self.queued_bytes as u64;
    }

    fn cost_bytes(&self) -> usize {
        let exempt_bytes = self.exempt_until.saturating_sub(self.written_bytes) as usize;
        let counted = self.queue.len() - self.exempt_slices as usize;
        self.queued_bytes.saturating_sub(exempt_bytes) + counted * SLICE_BYTES
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// How many bytes wait to be written.
    pub fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// How many bytes of the last slice wait to be written.
    pub fn last_bytes(&self) -> usize {
        self.queue.back().map_or(0, Bytes::len)
    }

    /// The cost of everything that waits, with [`SLICE_BYTES`] for each slice, exempt ones included.
    pub fn held_bytes(&self) -> usize {
        self.queued_bytes + self.queue.len() * SLICE_BYTES
    }

    /// How many bytes were ever written. The sum of this and [`queued_bytes`](Self::queued_bytes) is the
    /// place in the stream where the last slice ends.
    pub fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    /// Fills `slices` from the front, for a vectored write; returns how many it filled.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (slot, slice) in slices.iter_mut().zip(&self.queue) {
            *slot = IoSlice::new(slice);
            filled += 1;
        }
        filled
    }

    /// Removes the bytes that were written from the front.
    ///
    /// # Panics
    /// If more bytes were written than waited.
    pub fn advance(&mut self, written: usize) {
        assert!(written <= self.queued_bytes, "wrote {written} of {} bytes", self.queued_bytes);
        self.queued_bytes -= written;
        self.written_bytes += written as u64;
        let mut left = written;
        while left > 0 {
            let front = self.queue.front_mut().expect("queued_bytes counts what is queued");
            if left < front.len() {
                front.advance(left);
                self.front_begun = true;
                return;
            }
            left -= front.len();
            self.queue.pop_front();
            self.exempt_slices = self.exempt_slices.saturating_sub(1);
            self.front_begun = false;
        }
        if self.queue.is_empty() {
            // An idle connection must not keep the memory of its busiest moment.
            self.queue = VecDeque::new();
        }
    }

    /// Drops everything that waits except a slice that is partly written: if a frame has begun, the
    /// peer needs the rest of it to read what comes next.
    pub fn discard_unbegun(&mut self) {
        self.queue.truncate(usize::from(self.front_begun));
        self.queue.shrink_to_fit();
        self.queued_bytes = self.queue.front().map_or(0, Bytes::len);
        (self.exempt_slices, self.exempt_until) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(len: usize) -> Bytes {
        Bytes::from(vec![b'x'; len])
    }

    #[test]
    fn an_empty_outbox_takes_one_slice_of_any_size() {
        let mut outbox = Outbox::new(10);
        assert_eq!(outbox.push(bytes(100)), Ok(()));
        assert_eq!(outbox.push(bytes(1)), Err(Full { queued_bytes: 164, max_bytes: 10 }));
        outbox.advance(100);
        assert_eq!(outbox.push(bytes(10)), Ok(()));
    }

    #[test]
    fn only_a_begun_frame_survives_a_discard() {
        let mut outbox = Outbox::new(1_000);
        outbox.push(bytes(10)).expect("room");
        outbox.push(bytes(10)).expect("room");
        outbox.advance(4);
        outbox.discard_unbegun();
        assert_eq!(outbox.queued_bytes(), 6);
        outbox.advance(6);
        assert!(outbox.is_empty());

        outbox.push(bytes(10)).expect("room");
        outbox.discard_unbegun();
        assert!(outbox.is_empty());
        assert_eq!(outbox.queued_bytes(), 0);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Push(Vec<u8>),
        Pass(Vec<u8>, usize),
        Write(usize),
        Exempt,
        Discard,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Step::Push),
            2 => (prop::collection::vec(any::<u8>(), 1..40), 0usize..60)
                .prop_map(|(data, written)| Step::Pass(data, written)),
            3 => (0usize..80).prop_map(Step::Write),
            1 => Just(Step::Exempt),
            1 => Just(Step::Discard),
        ]
    }

    proptest! {
        /// The model is a vector of slices.
        #[test]
        fn bytes_leave_in_the_order_they_came_and_within_the_bound(
            steps in prop::collection::vec(step(), 0..60),
        ) {
            const MAX: usize = 300;
            let mut outbox = Outbox::new(MAX);
            let mut model: Vec<Vec<u8>> = Vec::new();
            let mut begun = false;
            let mut exempt = 0;
            for step in steps {
                match step {
                    Step::Push(data) => {
                        let cost = |data: &Vec<u8>| data.len() + SLICE_BYTES;
                        let waiting: usize = model.iter().skip(exempt).map(cost).sum();
                        let fits = waiting == 0 || waiting + cost(&data) <= MAX;
                        prop_assert_eq!(outbox.push(Bytes::from(data.clone())).is_ok(), fits);
                        if fits && !data.is_empty() {
                            model.push(data);
                        }
                    }
                    Step::Pass(_, _) if !model.is_empty() => {}
                    Step::Pass(data, written) => {
                        let written = written.min(data.len());
                        outbox.pass(&Bytes::from(data.clone()), written);
                        if written < data.len() {
                            model.push(data[written..].to_vec());
                            begun = written > 0;
                        }
                    }
                    Step::Write(at_most) => {
                        let mut slots = [IoSlice::new(&[]); 4];
                        let filled = outbox.slices(&mut slots);
                        let offered: Vec<u8> = slots[..filled].iter().flat_map(|s| s.to_vec()).collect();
                        let expected: Vec<u8> = model.iter().take(4).flatten().copied().collect();
                        prop_assert_eq!(&offered, &expected);
                        let written = at_most.min(offered.len());
                        outbox.advance(written);
                        let mut left = written;
                        while left > 0 {
                            if left < model[0].len() {
                                model[0].drain(..left);
                                begun = true;
                                left = 0;
                            } else {
                                left -= model.remove(0).len();
                                exempt = exempt.saturating_sub(1);
                                begun = false;
                            }
                        }
                    }
                    Step::Exempt => {
                        outbox.exempt();
                        exempt = model.len();
                    }
                    Step::Discard => {
                        exempt = 0;
                        outbox.discard_unbegun();
                        model.truncate(usize::from(begun));
                    }
                }
                let waiting: usize = model.iter().map(Vec::len).sum();
                prop_assert_eq!(outbox.queued_bytes(), waiting);
                prop_assert_eq!(outbox.held_bytes(), waiting + model.len() * SLICE_BYTES);
                prop_assert_eq!(outbox.is_empty(), model.is_empty());
            }
        }
    }
}
