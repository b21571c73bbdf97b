//! The log: keeps the recent events of one epoch, bounded in bytes and age, and knows for each audience
//! what it has dropped. Pure: times are those of the broker's clock.

use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::time::Duration;

use campanile_messages::link::Want;
use campanile_messages::{Audience, EncodedFrame, Event, FromBroker, Position};

use super::record::{Record, Trim};
use super::trimmed::Trimmed;

/// How many bytes an event takes in addition to its content and the name of its audience: the entry
/// (twice, because a growing queue reserves that much), the head of its frame, its place in the index,
/// and the overhead of the allocations.
const ENTRY_OVERHEAD_BYTES: usize = 640;

/// How many bytes each event counts in addition to its content against the bound of a `Fetch`: as many
/// as it counts for the clients of a gateway.
const EACH_BYTES: u64 = 64;

/// The most events that are dropped for their age in one turn, which takes about 60 ms. The rest follow
/// in the next turns.
const MAX_EXPIRED: usize = 50_000;

/// The most audiences whose last dropped event is remembered.
const MAX_TRIMMED: usize = 1 << 16;

/// What a log begins with.
#[derive(Debug)]
pub struct Opening {
    /// Random. A new epoch begins whenever it cannot be proven that the log continues.
    pub epoch: u64,
    /// The last sequence that was ever given to an event.
    pub head: u64,
    /// Audiences without an entry in `trimmed` may have lost events up to this sequence.
    pub floor: u64,
    /// The last dropped sequence of each audience that lost events.
    pub trimmed: Vec<(Audience, u64)>,
    /// How much memory the events may take, in bytes.
    pub max_bytes: usize,
    /// How long an event is kept.
    pub max_age: Duration,
    /// Before this time no event is too old, so that gateways can come back, however long ago an earlier
    /// broker ended.
    pub keep_until: Duration,
}

/// The recent events of one epoch, in order. Sequences grow, and there may be gaps between them.
#[derive(Debug)]
pub struct Log {
    epoch: u64,
    head: u64,
    entries: VecDeque<LogEntry>,
    /// How many events were dropped.
    dropped: u64,
    /// The events that are kept for each audience, oldest first: each by how many events of all audiences
    /// were appended before it, so that it is found without a search. No queue is empty.
    by_audience: HashMap<Audience, VecDeque<u64>>,
    trimmed: Trimmed,
    kept_bytes: usize,
    max_bytes: usize,
    max_age: Duration,
    keep_until: Duration,
}

/// An event as the log keeps it: encoded once, for live links and for gateways that come back.
#[derive(Debug)]
pub struct LogEntry {
    sequence: u64,
    /// Who it is for.
    pub audience: Audience,
    /// The frame for gateways.
    pub frame: EncodedFrame,
    content_bytes: usize,
    /// The length of the user's name.
    from_bytes: u8,
    /// To how many gateways it was sent; a number beyond the type's is cut.
    gateways: u16,
    /// How many connections listened, as gateways had reported; a number beyond the type's is cut.
    matched: u32,
    at: Duration,
}

impl LogEntry {
    /// When it was accepted.
    pub fn at(&self) -> Duration {
        self.at
    }

    /// To how many gateways it was sent, and how many connections listened as these had reported.
    pub fn reach(&self) -> (u16, u32) {
        (self.gateways, self.matched)
    }

    fn cost_bytes(&self) -> usize {
        cost_bytes(&self.audience, self.content_bytes, usize::from(self.from_bytes))
    }
}

/// The kept events of one audience of a want.
#[derive(Debug, PartialEq, Eq)]
pub struct Past {
    /// The audience that the events are for.
    pub audience: Audience,
    /// Events up to this sequence may be lost.
    pub expired: u64,
    /// Every event above this sequence is in `events`.
    pub complete_after: u64,
    /// The newest events with their sequences, oldest first.
    pub events: Vec<(u64, EncodedFrame)>,
}

/// How much of the log was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Looked {
    /// The contents of the events, and 64 bytes for each of them.
    pub bytes: u64,
    /// How many events.
    pub events: usize,
}

impl Log {
    /// An empty log that continues an earlier one.
    pub fn new(opening: Opening) -> Self {
        let Opening { epoch, head, floor, trimmed, max_bytes, max_age, keep_until } = opening;
        let mut log = Self {
            epoch,
            head,
            entries: VecDeque::new(),
            dropped: 0,
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

    /// An empty log of another epoch with the same bounds, whose sequences continue above `head`.
    pub fn begin_epoch(&self, epoch: u64, head: u64) -> Self {
        let Self { max_bytes, max_age, keep_until, .. } = *self;
        let trimmed = Vec::new();
        Self::new(Opening { epoch, head, floor: head, trimmed, max_bytes, max_age, keep_until })
    }

    /// Where the log ends.
    pub fn head(&self) -> Position {
        Position { epoch: self.epoch, sequence: self.head }
    }

    /// The sequence before that of the oldest event that is kept; the [`head`](Self::head) if none is.
    pub fn tail(&self) -> u64 {
        self.entries.front().map_or(self.head, |oldest| oldest.sequence - 1)
    }

    /// How many events are kept.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no event is kept.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How much memory the events take, in bytes.
    pub fn kept_bytes(&self) -> usize {
        self.kept_bytes
    }

    /// How much memory they may take, in bytes.
    pub fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    /// When the oldest of them was accepted.
    pub fn oldest_at(&self) -> Option<Duration> {
        self.entries.front().map(|entry| entry.at)
    }

    /// Adds the next event, and returns its frame.
    ///
    /// # Panics
    /// If its sequence is not above the head.
    pub fn append(&mut self, record: &Record) -> EncodedFrame {
        assert!(
            record.sequence > self.head,
            "{} is not above the head, {}",
            record.sequence,
            self.head
        );
        self.head = record.sequence;
        let (audience, content) = (record.audience.clone(), record.content.clone());
        let content_bytes = content.as_bytes().len();
        let Record { sequence, except, .. } = *record;
        let from = record.from.clone();
        // A name has at most 255 bytes.
        let from_bytes = from.as_ref().map_or(0, |user| user.len() as u8);
        let event = Event { sequence, audience: audience.clone(), except, content, from };
        let frame = FromBroker::Event(event).encode();
        let appended = self.dropped + self.entries.len() as u64;
        self.by_audience.entry(audience.clone()).or_default().push_back(appended);
        let at = record.at;
        let gateways = u16::try_from(record.gateways).unwrap_or(u16::MAX);
        let matched = u32::try_from(record.matched).unwrap_or(u32::MAX);
        let entry = LogEntry {
            sequence,
            audience,
            frame: frame.clone(),
            content_bytes,
            from_bytes,
            gateways,
            matched,
            at,
        };
        self.kept_bytes += entry.cost_bytes();
        self.entries.push_back(entry);
        frame
    }

    /// Moves the head to where the log ends now, if it is beyond its last event.
    pub fn advance(&mut self, head: u64) {
        self.head = self.head.max(head);
    }

    /// The kept events above a sequence, in order.
    pub fn after(&self, sequence: u64) -> impl Iterator<Item = &LogEntry> {
        let seen = self.entries.partition_point(|entry| entry.sequence <= sequence);
        self.entries.range(seen..)
    }

    /// The event with this sequence, if it is kept.
    pub fn entry(&self, sequence: u64) -> Option<&LogEntry> {
        let place = self.entries.binary_search_by_key(&sequence, |entry| entry.sequence).ok()?;
        self.entries.get(place)
    }

    /// The sequence up to which events of an audience may be lost.
    pub fn lost_up_to(&self, audience: &Audience) -> u64 {
        self.trimmed.lost_up_to(audience)
    }

    /// The newest kept events of all audiences of a want, up to and including the first event with which
    /// they exceed `max_bytes`, and at least one event. Each event counts 64 bytes more than its content.
    /// Also returns how much was looked at. `max_bytes` above the bound of the log is taken for that bound.
    pub fn past(&self, want: &Want, max_bytes: u64) -> (Vec<Past>, Looked) {
        let max_bytes = max_bytes.min(self.max_bytes as u64);
        let mut pasts = Vec::with_capacity(want.audiences.len());
        // For each audience the newest event that was not looked at yet, the newest of all on top.
        let mut newest = BinaryHeap::new();
        for (place, audience) in want.audiences.iter().enumerate() {
            let expired = self.lost_up_to(audience);
            let complete_after = want.since.max(expired);
            let (audience, events) = (audience.clone(), Vec::new());
            let kept = self.by_audience.get(&audience).map_or(0, VecDeque::len);
            pasts.push(Past { audience, expired, complete_after, events });
            newest.extend(self.event_of(&pasts[place], kept).map(|event| (event, place, kept)));
        }
        let (mut bytes, mut events) = (0, 0);
        while let Some((event, place, kept)) = newest.pop() {
            let entry = &self.entries[event];
            let sequence = entry.sequence;
            if sequence <= pasts[place].complete_after {
                continue;
            }
            pasts[place].events.push((sequence, entry.frame.clone()));
            bytes += entry.content_bytes as u64 + EACH_BYTES;
            events += 1;
            // There are no more events than entries, unless an audience is named several times.
            if bytes > max_bytes && events > 1 || events > self.entries.len() {
                let cut =
                    |past: &mut Past| past.complete_after = past.complete_after.max(sequence - 1);
                pasts.iter_mut().for_each(cut);
                break;
            }
            newest
                .extend(self.event_of(&pasts[place], kept - 1).map(|next| (next, place, kept - 1)));
        }
        pasts.iter_mut().for_each(|past| past.events.reverse());
        (pasts, Looked { bytes, events })
    }

    /// The place of the `kept`th of the events that are kept for an audience.
    fn event_of(&self, past: &Past, kept: usize) -> Option<usize> {
        let appended = *self.by_audience.get(&past.audience)?.get(kept.checked_sub(1)?)?;
        usize::try_from(appended - self.dropped).ok()
    }

    /// Drops events that exceed the bound, and as many expired ones as fit into one turn, and notes them
    /// in `trim`. Has to be called regularly, so that an idle log frees its memory.
    pub fn trim(&mut self, now: Duration, trim: &mut Trim) {
        let may_expire = now >= self.keep_until;
        let least_len = self.entries.len().saturating_sub(MAX_EXPIRED);
        while let Some(oldest) = self.entries.front()
            && (self.kept_bytes > self.max_bytes
                || may_expire && self.entries.len() > least_len && oldest.at + self.max_age <= now)
        {
            self.kept_bytes -= oldest.cost_bytes();
            let LogEntry { sequence, audience, .. } =
                self.entries.pop_front().expect("there is an oldest");
            self.dropped += 1;
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

/// How many bytes it takes to keep an event.
pub fn cost_bytes(audience: &Audience, content_bytes: usize, from_bytes: usize) -> usize {
    // The name is in the entry, in the index and in the frame.
    content_bytes + from_bytes + 3 * audience.name().len() + ENTRY_OVERHEAD_BYTES
}

#[cfg(test)]
mod tests;
