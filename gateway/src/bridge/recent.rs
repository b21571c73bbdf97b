//! The recent events of a gateway, by audience, from which returning clients get what they missed
//! without a question to the broker for each of them. Pure: a part of the bridge's core.
//!
//! For each audience, this keeps all events above a sequence: from the live stream and, for clients that
//! were away for longer, fetched from the broker. Bounded in bytes: the oldest events are dropped first,
//! but later while clients wait for them.

mod asked;

use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;

use campanile_channel::outbox::SLICE_BYTES;
use campanile_messages::Audience;

use crate::delivery::FoundEvents;
use crate::dialects::Framed;
use crate::resume::Lost;

/// What an event costs in addition to its content: its entries here, and the heads of its frames.
const OVERHEAD_BYTES: usize = 512;

/// How often the content of an event is held: once by the event, and once per wire format in use.
const COPIES: usize = 3;

/// How many times the bound is kept while clients wait for a fetch to complete. Otherwise the first
/// events of a fetch would be dropped before its last ones arrive, and be fetched again for ever.
const WHILE_FETCHING: usize = 4;

/// The recent events of a gateway's audiences.
#[derive(Debug)]
pub struct Recent {
    tails: HashMap<Audience, Tail>,
    by_sequence: BTreeMap<u64, Audience>,
    bytes: usize,
    max_bytes: usize,
}

#[derive(Debug)]
struct Tail {
    /// All events above this sequence are kept.
    complete_after: u64,
    /// The broker no longer has events up to this sequence.
    expired: u64,
    events: VecDeque<Kept>,
}

/// An event, and the sum of what it and all events before it in its tail count for a client that missed
/// them. A sum may wrap and start anywhere: only the difference of two sums means something.
#[derive(Debug)]
struct Kept {
    event: Arc<Framed>,
    sum_bytes: u64,
}

/// What the broker has of an audience.
#[derive(Debug)]
pub struct Past {
    /// As in [`FromBroker::Past`](campanile_messages::FromBroker::Past).
    pub expired: u64,
    /// As in [`FromBroker::Past`](campanile_messages::FromBroker::Past).
    pub complete_after: u64,
    /// Oldest first.
    pub events: Vec<Arc<Framed>>,
}

/// The result of looking up the events after a sequence.
#[derive(Debug)]
pub enum Missed {
    /// All events, in order.
    Events(Vec<Arc<Framed>>),
    /// The events cannot be replayed.
    Lost(Lost),
    /// The broker must be asked about these audiences.
    Unknown(Vec<Audience>),
}

impl Recent {
    /// Starts empty. After a [`trim`](Self::trim), at most `max_bytes` are kept.
    pub fn new(max_bytes: usize) -> Self {
        Self { tails: HashMap::new(), by_sequence: BTreeMap::new(), bytes: 0, max_bytes }
    }

    /// Adds an event of the live stream, which had come to the sequence `before`. All later events of its
    /// audience must be added too, until the audience is [forgotten](Self::forget).
    pub fn add(&mut self, before: u64, audience: &Audience, event: Arc<Framed>) {
        let sequence = event.sequence();
        self.bytes += cost_bytes(&event);
        self.by_sequence.insert(sequence, audience.clone());
        let tail = self.tails.entry(audience.clone()).or_insert_with(|| Tail::after(before));
        let before = tail.events.back().map_or(0, |last| last.sum_bytes);
        let sum_bytes = before.wrapping_add(replay_bytes(&event));
        tail.events.push_back(Kept { event, sum_bytes });
    }

    /// Adds what the broker has of an audience. None of the audience's live events since the question
    /// may be missing here, and `complete_after` must not be beyond the last event of the stream.
    pub fn add_past(&mut self, audience: &Audience, past: Past) {
        let Past { expired, complete_after, events } = past;
        let tail = self.tails.entry(audience.clone()).or_insert_with(|| Tail::after(u64::MAX));
        for event in events.into_iter().rev() {
            let sequence = event.sequence();
            if sequence <= tail.complete_after {
                self.bytes += cost_bytes(&event);
                self.by_sequence.insert(sequence, audience.clone());
                let next = tail.events.front();
                let sum_bytes =
                    next.map_or(0, |next| next.sum_bytes.wrapping_sub(replay_bytes(&next.event)));
                tail.events.push_front(Kept { event, sum_bytes });
            }
        }
        tail.complete_after = tail.complete_after.min(complete_after);
        tail.expired = expired;
    }

    /// Returns what a listener to these audiences has missed after `since`. If more than one event was
    /// missed, they may have `max_bytes` together, each counted with [`SLICE_BYTES`] more. Whether they
    /// have more is found without a look at each event.
    pub fn missed(&self, since: u64, audiences: &[Audience], max_bytes: usize) -> Missed {
        let (count, unknown) = match self.survey(since, audiences, max_bytes) {
            Ok(surveyed) => surveyed,
            Err(lost) => return Missed::Lost(lost),
        };
        if !unknown.is_empty() {
            return Missed::Unknown(unknown);
        }
        let mut events = Vec::with_capacity(count);
        for tail in audiences.iter().filter_map(|audience| self.tails.get(audience)) {
            let missed = tail.events.range(tail.seen(since)..);
            events.extend(missed.map(|kept| kept.event.clone()));
        }
        if audiences.len() > 1 {
            events.sort_unstable_by_key(|event| event.sequence());
        }
        Missed::Events(events)
    }

    /// Returns the audiences about which the broker must be asked before [`missed`](Self::missed) knows
    /// the answer. There are none if it knows already, because all events are here or some are lost.
    pub fn unknown(&self, since: u64, audiences: &[Audience], max_bytes: usize) -> Vec<Audience> {
        self.survey(since, audiences, max_bytes).map_or_else(|_| Vec::new(), |(_, unknown)| unknown)
    }

    /// Returns how many of the missed events are here, and the audiences that may have more.
    fn survey(
        &self,
        since: u64,
        audiences: &[Audience],
        max_bytes: usize,
    ) -> Result<(usize, Vec<Audience>), Lost> {
        let mut unknown = Vec::new();
        let (mut count, mut bytes) = (0, 0);
        for audience in audiences {
            let tail = self.tails.get(audience);
            if tail.is_some_and(|tail| since < tail.complete_after && since < tail.expired) {
                return Err(Lost::Expired);
            }
            if tail.is_none_or(|tail| since < tail.complete_after) {
                unknown.push(audience.clone());
            }
            // What is here of an incomplete tail was missed in any case.
            let (tail_count, tail_bytes) = tail.map_or((0, 0), |tail| tail.size_after(since));
            count += tail_count;
            bytes += tail_bytes;
        }
        if count > 1 && bytes > max_bytes as u64 {
            return Err(Lost::TooFar);
        }
        Ok((count, unknown))
    }

    /// Returns the audiences about which the broker must be asked before [`history`](Self::history) is
    /// complete. To be cheap, it returns none if something is here of each audience: whether that is
    /// enough would take a look at the events.
    pub fn unknown_to_history(
        &self,
        max_events: usize,
        audiences: &[Audience],
        max_bytes: usize,
    ) -> Vec<Audience> {
        if audiences.iter().all(|audience| self.tails.contains_key(audience)) {
            return Vec::new();
        }
        self.history(max_events, audiences, max_bytes).1
    }

    /// Returns the earlier events that a new listener to these audiences gets: the newest of all
    /// audiences together, at most `max_events` and `max_bytes` as [`missed`](Self::missed) counts them,
    /// or one event of any size. None is missing between two of them: an event that is kept here is left
    /// out if a later one of another audience is lost. Also returns the audiences of which the broker may
    /// have more that belongs to the answer.
    pub fn history(
        &self,
        max_events: usize,
        audiences: &[Audience],
        max_bytes: usize,
    ) -> (FoundEvents, Vec<Audience>) {
        let mut unknown = Vec::new();
        // Up to this sequence, events of some audience may not be here.
        let (mut floor, mut is_complete) = (0, true);
        // For each audience, the newest event that is not taken yet. The newest of all is on top.
        let mut newest = BinaryHeap::new();
        let tails: Vec<_> = audiences.iter().map(|audience| self.tails.get(audience)).collect();
        for (place, (audience, tail)) in audiences.iter().zip(&tails).enumerate() {
            floor = floor.max(tail.map_or(u64::MAX, |tail| tail.complete_after));
            match tail {
                Some(tail) if tail.complete_after <= tail.expired => {
                    is_complete &= tail.expired == 0;
                }
                _ => unknown.push(audience.clone()),
            }
            newest.extend(tail.and_then(|tail| tail.last_of(tail.events.len(), place)));
        }
        let (mut events, mut bytes) = (Vec::new(), 0);
        while let Some((sequence, place, kept)) = newest.pop()
            && sequence > floor
            && let Some(tail) = tails[place]
        {
            let event = &tail.events[kept].event;
            bytes += replay_bytes(event);
            if events.len() == max_events || bytes > max_bytes as u64 && !events.is_empty() {
                // There are more events than were asked for, whatever the broker has.
                (is_complete, unknown) = (false, Vec::new());
                break;
            }
            events.push(event.clone());
            newest.extend(tail.last_of(kept, place));
        }
        events.reverse();
        is_complete &= unknown.is_empty();
        (FoundEvents { events, is_complete }, unknown)
    }

    /// Drops the oldest events beyond the bound, which is wider while clients wait for the rest of a
    /// fetch.
    pub fn trim(&mut self, is_fetching: bool) {
        let max_bytes = if is_fetching { WHILE_FETCHING * self.max_bytes } else { self.max_bytes };
        while self.bytes > max_bytes
            && let Some((sequence, audience)) = self.by_sequence.pop_first()
        {
            let tail = self.tails.get_mut(&audience).expect("every event is in a tail");
            let oldest =
                tail.events.pop_front().expect("the oldest event is the first of its tail");
            tail.complete_after = sequence;
            self.bytes -= cost_bytes(&oldest.event);
        }
    }

    /// Forgets an audience that has no listeners any more, so that its events no longer come.
    pub fn forget(&mut self, audience: &Audience) {
        for Kept { event, .. } in self.tails.remove(audience).into_iter().flat_map(|t| t.events) {
            self.by_sequence.remove(&event.sequence());
            self.bytes -= cost_bytes(&event);
        }
        if self.tails.capacity() > 4 * self.tails.len() {
            self.tails.shrink_to(2 * self.tails.len());
        }
    }

    /// Forgets everything, because the stream does not continue where it was.
    pub fn clear(&mut self) {
        *self = Self::new(self.max_bytes);
    }
}

impl Tail {
    /// Returns the last of the first `kept` events: its sequence, `whose` tail this is, and its index.
    fn last_of(&self, kept: usize, whose: usize) -> Option<(u64, usize, usize)> {
        let last = kept.checked_sub(1)?;
        Some((self.events.get(last)?.event.sequence(), whose, last))
    }

    fn after(complete_after: u64) -> Self {
        Self { complete_after, expired: 0, events: VecDeque::new() }
    }

    /// How many of the events are not above a sequence.
    fn seen(&self, since: u64) -> usize {
        self.events.partition_point(|kept| kept.event.sequence() <= since)
    }

    /// How many events are above a sequence, and how many bytes they count for a client that missed them.
    fn size_after(&self, since: u64) -> (usize, u64) {
        let seen = self.seen(since);
        let (Some(first), Some(last)) = (self.events.get(seen), self.events.back()) else {
            return (0, 0);
        };
        let before = first.sum_bytes.wrapping_sub(replay_bytes(&first.event));
        (self.events.len() - seen, last.sum_bytes.wrapping_sub(before))
    }
}

/// How many bytes an event that is kept here costs.
fn cost_bytes(event: &Framed) -> usize {
    COPIES * event.len_bytes() + OVERHEAD_BYTES
}

/// How many bytes an event counts for a client that missed it; the broker counts in the same way.
fn replay_bytes(event: &Framed) -> u64 {
    (event.len_bytes() + SLICE_BYTES) as u64
}

#[cfg(test)]
mod tests;
