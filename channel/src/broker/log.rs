//! The log: keeps the recent events of one epoch, bounded in bytes and age, and knows what of
//! which audience it has dropped. Pure: times are those of the broker's clock.

use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::time::Duration;

use campanile_messages::link::Want;
use campanile_messages::{Audience, EncodedFrame, Event, FromBroker, Position};

use super::record::{Record, Trim};
use super::trimmed::Trimmed;

/// What an event costs besides its content and the name of its audience: the entry (twice, for the
/// room that a growing queue reserves), the head of its frame, its place in the index, and the
/// allocations' own.
const ENTRY_OVERHEAD_BYTES: usize = 640;

/// What each event counts besides its content where a gateway says how many bytes are of use: as much
/// as it counts for its clients.
pub const EACH_BYTES: u64 = 64;

/// The most events that are dropped for their age in one turn, some 60 ms of work; the next turn takes
/// the others.
const MAX_EXPIRED: usize = 50_000;

/// The most audiences whose last dropped event is remembered.
const MAX_TRIMMED: usize = 1 << 16;

/// What a log is opened with.
#[derive(Debug)]
pub struct Opening {
    /// Random; another one whenever continuity cannot be proven.
    pub epoch: u64,
    /// The last sequence that was ever given.
    pub head: u64,
    /// Up to which sequence events of audiences without an entry in `trimmed` may be lost.
    pub floor: u64,
    /// The last dropped sequence of audiences.
    pub trimmed: Vec<(Audience, u64)>,
    /// The bound on what is kept, in bytes, with what it costs to keep it.
    pub max_bytes: usize,
    /// How long an event is kept.
    pub max_age: Duration,
    /// Nothing is too old before: gateways must have had time to come back, however long ago an
    /// earlier broker ended.
    pub keep_until: Duration,
}

/// The recent events of one epoch, in order. Their sequences are dense.
#[derive(Debug)]
pub struct Log {
    epoch: u64,
    head: u64,
    entries: VecDeque<Entry>,
    /// The sequences that are kept of each audience, oldest first. Never empty.
    by_audience: HashMap<Audience, VecDeque<u64>>,
    trimmed: Trimmed,
    kept_bytes: usize,
    max_bytes: usize,
    max_age: Duration,
    keep_until: Duration,
}

/// An event as it is kept: encoded once, for live links and for those that come back.
#[derive(Debug)]
pub struct Entry {
    /// Who it is for.
    pub audience: Audience,
    /// The frame that hands it to a gateway.
    pub frame: EncodedFrame,
    content_bytes: usize,
    at: Duration,
}

impl Entry {
    fn cost_bytes(&self) -> usize {
        cost_bytes(&self.audience, self.content_bytes)
    }
}

/// What is kept of one audience of a want.
#[derive(Debug, PartialEq, Eq)]
pub struct Past {
    /// Which audience.
    pub audience: Audience,
    /// Events up to this sequence may be lost.
    pub expired: u64,
    /// All events above this sequence are in `events`.
    pub complete_after: u64,
    /// The newest events with their sequences, oldest first.
    pub events: Vec<(u64, EncodedFrame)>,
}

impl Log {
    /// An empty log that goes on where an earlier one stood.
    pub fn new(opening: Opening) -> Self {
        let Opening { epoch, head, floor, trimmed, max_bytes, max_age, keep_until } = opening;
        let mut log = Self {
            epoch,
            head,
            entries: VecDeque::new(),
            by_audience: HashMap::new(),
            trimmed: Trimmed::new(floor, MAX_TRIMMED),
            kept_bytes: 0,
            max_bytes,
            max_age,
            keep_until,
        };
        let mut trimmed = trimmed;
        trimmed.sort_by_key(|(_, sequence)| *sequence);
        for (audience, sequence) in trimmed {
            log.trimmed.note(audience, sequence);
        }
        log
    }

    /// An empty log of another epoch with the same bounds, whose sequences go on above `head`.
    pub fn begin_epoch(&self, epoch: u64, head: u64) -> Self {
        let Self { max_bytes, max_age, keep_until, .. } = *self;
        let trimmed = Vec::new();
        Self::new(Opening { epoch, head, floor: head, trimmed, max_bytes, max_age, keep_until })
    }

    /// Where the log ends.
    pub fn head(&self) -> Position {
        Position { epoch: self.epoch, sequence: self.head }
    }

    /// The sequence before the oldest event that is kept.
    pub fn tail(&self) -> u64 {
        self.head - self.entries.len() as u64
    }

    /// Keeps the event that comes next, and answers its frame.
    ///
    /// # Panics
    /// If its sequence is not the next.
    pub fn append(&mut self, record: &Record) -> EncodedFrame {
        assert_eq!(record.sequence, self.head + 1, "the log is dense");
        self.head = record.sequence;
        let (audience, content) = (record.audience.clone(), record.content.clone());
        let content_bytes = content.as_bytes().len();
        let Record { sequence, except, .. } = *record;
        let event = Event { sequence, audience: audience.clone(), except, content };
        let frame = FromBroker::Event(event).encode();
        self.by_audience.entry(audience.clone()).or_default().push_back(record.sequence);
        let entry = Entry { audience, frame: frame.clone(), content_bytes, at: record.at };
        self.kept_bytes += entry.cost_bytes();
        self.entries.push_back(entry);
        frame
    }

    /// The kept events above a sequence, in order.
    pub fn after(&self, sequence: u64) -> impl Iterator<Item = &Entry> {
        let skip = sequence.saturating_sub(self.tail());
        self.entries.iter().skip(usize::try_from(skip).unwrap_or(usize::MAX))
    }

    /// Up to which sequence events of an audience may be lost.
    pub fn lost_up_to(&self, audience: &Audience) -> u64 {
        self.trimmed.lost_up_to(audience)
    }

    /// The newest kept events that a want asks for, over all its audiences: up to the first with
    /// which they pass `max_bytes`, each event counted with [`EACH_BYTES`] more, and at least one.
    /// Also returns what they count.
    pub fn past(&self, want: &Want, max_bytes: u64) -> (Vec<Past>, u64) {
        let tail = self.tail();
        let mut pasts = Vec::with_capacity(want.audiences.len());
        // The newest event of each audience that was not looked at yet, the newest of all on top.
        let mut newest = BinaryHeap::new();
        for (place, audience) in want.audiences.iter().enumerate() {
            let expired = self.lost_up_to(audience);
            let complete_after = want.since.max(expired);
            let (audience, events) = (audience.clone(), Vec::new());
            let kept = self.by_audience.get(&audience).map_or(0, VecDeque::len);
            pasts.push(Past { audience, expired, complete_after, events });
            newest
                .extend(self.event_of(&pasts[place], kept).map(|sequence| (sequence, place, kept)));
        }
        let (mut bytes, mut events) = (0, 0);
        while let Some((sequence, place, kept)) = newest.pop() {
            if sequence <= pasts[place].complete_after {
                continue;
            }
            let entry = &self.entries[(sequence - tail - 1) as usize];
            pasts[place].events.push((sequence, entry.frame.clone()));
            bytes += entry.content_bytes as u64 + EACH_BYTES;
            events += 1;
            if bytes > max_bytes && events > 1 {
                let cut =
                    |past: &mut Past| past.complete_after = past.complete_after.max(sequence - 1);
                pasts.iter_mut().for_each(cut);
                break;
            }
            newest
                .extend(self.event_of(&pasts[place], kept - 1).map(|next| (next, place, kept - 1)));
        }
        pasts.iter_mut().for_each(|past| past.events.reverse());
        (pasts, bytes)
    }

    /// The last of the first `kept` events of an audience.
    fn event_of(&self, past: &Past, kept: usize) -> Option<u64> {
        self.by_audience.get(&past.audience)?.get(kept.checked_sub(1)?).copied()
    }

    /// Drops what is too much, and of what is too old as much as one turn takes, and notes it in
    /// `trim`. Called now and then too, so that an idle log gives its memory back.
    pub fn trim(&mut self, now: Duration, trim: &mut Trim) {
        let may_expire = now >= self.keep_until;
        let least_len = self.entries.len().saturating_sub(MAX_EXPIRED);
        while let Some(oldest) = self.entries.front()
            && (self.kept_bytes > self.max_bytes
                || may_expire && self.entries.len() > least_len && oldest.at + self.max_age <= now)
        {
            self.kept_bytes -= oldest.cost_bytes();
            let sequence = self.tail() + 1;
            let audience = self.entries.pop_front().expect("there is an oldest").audience;
            if let Some(kept) = self.by_audience.get_mut(&audience) {
                kept.pop_front();
                if kept.is_empty() {
                    self.by_audience.remove(&audience);
                }
            }
            trim.last.push((audience.clone(), sequence));
            trim.evicted.extend(self.trimmed.note(audience, sequence));
        }
        trim.floor = self.trimmed.floor();
        if self.entries.capacity() > 4 * self.entries.len() {
            self.entries.shrink_to(2 * self.entries.len());
        }
        if self.by_audience.capacity() > 4 * self.by_audience.len() {
            self.by_audience.shrink_to(2 * self.by_audience.len());
        }
    }
}

/// What it costs to keep an event.
pub fn cost_bytes(audience: &Audience, content_bytes: usize) -> usize {
    // The name stands in the entry, in the index and in the frame.
    content_bytes + 3 * audience.name().len() + ENTRY_OVERHEAD_BYTES
}

#[cfg(test)]
mod tests;
