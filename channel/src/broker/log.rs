//! The log: numbers events and keeps the recent ones, bounded in bytes and age. Pure: times are
//! durations since the broker started.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use campanile_messages::{Audience, Content, EncodedFrame, Event, FromBroker, Position};

/// What an event costs besides its content and the name of its audience: the entry (twice, for the
/// room that a growing queue reserves), the head of its frame, and the allocations' own.
const ENTRY_OVERHEAD_BYTES: usize = 448;

/// There is no room, and nothing may be dropped yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogFull;

/// The recent events of one epoch, in order, with a dense sequence from 1.
#[derive(Debug)]
pub struct Log {
    epoch: u64,
    head: u64,
    entries: VecDeque<Entry>,
    kept_bytes: usize,
    max_bytes: usize,
    max_age: Duration,
}

/// An event as it is kept: encoded once, for live links and for those that come back.
#[derive(Debug)]
pub struct Entry {
    /// Who it is for.
    pub audience: Audience,
    /// The frame that hands it to a gateway.
    pub frame: EncodedFrame,
    cost_bytes: usize,
    at: Duration,
}

/// What a gateway missed.
#[derive(Debug)]
pub struct Missed<E> {
    /// How many events since its cursor are no longer kept.
    pub lost: u64,
    /// Those that are, in order.
    pub entries: E,
}

impl Log {
    /// An empty log. `epoch` is random; `max_bytes` and `max_age` bound what is kept. For the first
    /// `max_age` nothing is dropped, so that gateways of an earlier broker find everything that this
    /// one accepted.
    pub fn new(epoch: u64, max_bytes: usize, max_age: Duration) -> Self {
        Self { epoch, head: 0, entries: VecDeque::new(), kept_bytes: 0, max_bytes, max_age }
    }

    /// Where the log ends.
    pub fn head(&self) -> Position {
        Position { epoch: self.epoch, sequence: self.head }
    }

    /// Numbers an event and keeps it; answers its number and its frame. An event that alone is past
    /// the bound in bytes is numbered and not kept.
    ///
    /// # Errors
    /// [`LogFull`], and the event has no number.
    pub fn append(
        &mut self,
        audience: Audience,
        content: Content,
        now: Duration,
    ) -> Result<(u64, EncodedFrame), LogFull> {
        let cost_bytes = cost_bytes(&audience, &content);
        let may_trim = now >= self.max_age;
        if !may_trim && self.kept_bytes + cost_bytes > self.max_bytes {
            return Err(LogFull);
        }
        let sequence = self.head + 1;
        let event = Event { sequence, audience: audience.clone(), content: own(&content) };
        let frame = FromBroker::Event(event).encode();
        self.head = sequence;
        self.kept_bytes += cost_bytes;
        self.entries.push_back(Entry { audience, frame: frame.clone(), cost_bytes, at: now });
        self.trim(now);
        Ok((sequence, frame))
    }

    /// What came after a cursor. `None` has missed nothing. A cursor of another epoch, or ahead of
    /// the head, has missed all that this log ever had.
    pub fn since(&self, cursor: Option<Position>) -> Missed<impl Iterator<Item = &Entry>> {
        let trimmed = self.head - self.entries.len() as u64;
        let seen = match cursor {
            None => self.head,
            Some(cursor) if cursor.epoch == self.epoch && cursor.sequence <= self.head => {
                cursor.sequence
            }
            Some(_) => 0,
        };
        let skip = usize::try_from(seen.saturating_sub(trimmed)).unwrap_or(usize::MAX);
        Missed { lost: trimmed.saturating_sub(seen), entries: self.entries.iter().skip(skip) }
    }

    /// Drops what is too old or too much. Called now and then too, so that an idle log gives its
    /// memory back.
    pub fn trim(&mut self, now: Duration) {
        // Finds nothing at first: what was accepted then is within the bound, and young.
        while let Some(oldest) = self.entries.front()
            && (self.kept_bytes > self.max_bytes || oldest.at + self.max_age <= now)
        {
            self.kept_bytes -= oldest.cost_bytes;
            self.entries.pop_front();
        }
        if self.entries.capacity() > 4 * self.entries.len() {
            self.entries.shrink_to(2 * self.entries.len());
        }
    }
}

fn cost_bytes(audience: &Audience, content: &Content) -> usize {
    let name_bytes = match audience {
        Audience::Everyone => 0,
        Audience::Group(name) => name.len(),
    };
    // The name stands in the entry and in the frame.
    content.as_bytes().len() + 2 * name_bytes + ENTRY_OVERHEAD_BYTES
}

/// The content in an allocation of its own: what was received is a slice of a read buffer, and the
/// smallest slice would keep that whole buffer, up to a whole large frame, as long as the event.
fn own(content: &Content) -> Content {
    match content {
        Content::Text(text) => Content::Text(ByteString::from(&**text)),
        Content::Binary(bytes) => Content::Binary(Bytes::copy_from_slice(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use campanile_messages::GroupName;
    use proptest::prelude::*;

    use super::*;

    const EPOCH: u64 = 7;
    const AGE: Duration = Duration::from_secs(10);

    fn at(sequence: u64) -> Option<Position> {
        Some(Position { epoch: EPOCH, sequence })
    }

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn frame(sequence: u64, content: &'static str) -> EncodedFrame {
        FromBroker::Event(Event { sequence, audience: Audience::Everyone, content: content.into() })
            .encode()
    }

    fn missed(log: &Log, cursor: Option<Position>) -> (u64, Vec<EncodedFrame>) {
        let missed = log.since(cursor);
        let frames = missed.entries.map(|entry| entry.frame.clone()).collect();
        (missed.lost, frames)
    }

    fn log_of(contents: &[&'static str], now: Duration, max_bytes: usize) -> Log {
        let mut log = Log::new(EPOCH, max_bytes, AGE);
        for content in contents {
            log.append(Audience::Everyone, (*content).into(), now).unwrap();
        }
        log
    }

    #[test]
    fn events_are_numbered_from_1_without_a_gap() {
        let mut log = Log::new(EPOCH, 1 << 20, AGE);
        assert_eq!(Some(log.head()), at(0));
        for sequence in 1..4 {
            let appended = log.append(Audience::Everyone, "x".into(), secs(0));
            assert_eq!(appended, Ok((sequence, frame(sequence, "x"))));
        }
        assert_eq!(Some(log.head()), at(3));
    }

    #[test]
    fn a_cursor_of_this_epoch_misses_what_is_above_it() {
        let log = log_of(&["a", "b"], secs(0), 1 << 20);
        assert_eq!(missed(&log, at(0)), (0, vec![frame(1, "a"), frame(2, "b")]));
        assert_eq!(missed(&log, at(1)), (0, vec![frame(2, "b")]));
        assert_eq!(missed(&log, at(2)), (0, vec![]));
    }

    #[test]
    fn the_first_attach_misses_nothing() {
        let log = log_of(&["a", "b"], secs(0), 1 << 20);
        assert_eq!(missed(&log, None), (0, vec![]));
    }

    #[test]
    fn a_cursor_of_another_epoch_or_ahead_of_the_head_misses_everything() {
        let log = log_of(&["a", "b"], secs(0), 1 << 20);
        let other = Position { epoch: 8, sequence: 1 };
        let all = (0, vec![frame(1, "a"), frame(2, "b")]);
        assert_eq!(missed(&log, Some(other)), all);
        assert_eq!(missed(&log, at(3)), all);
    }

    #[test]
    fn what_was_dropped_is_counted_as_lost() {
        let room_for_one = ENTRY_OVERHEAD_BYTES + 1;
        let log = log_of(&["a", "b", "c"], AGE, room_for_one);
        assert_eq!(missed(&log, at(0)), (2, vec![frame(3, "c")]));
        assert_eq!(missed(&log, at(1)), (1, vec![frame(3, "c")]));
        assert_eq!(missed(&log, at(2)), (0, vec![frame(3, "c")]));
        let other = Position { epoch: 8, sequence: 3 };
        assert_eq!(missed(&log, Some(other)), (2, vec![frame(3, "c")]));
    }

    #[test]
    fn until_gateways_had_time_to_return_a_full_log_refuses_and_drops_nothing() {
        let room_for_one = ENTRY_OVERHEAD_BYTES + 1;
        let mut log = log_of(&["a"], secs(0), room_for_one);
        let just_before = AGE - Duration::from_nanos(1);
        let refused = log.append(Audience::Everyone, "b".into(), just_before);
        assert_eq!(refused, Err(LogFull));
        log.trim(just_before);
        assert_eq!(missed(&log, at(0)), (0, vec![frame(1, "a")]));

        let accepted = log.append(Audience::Everyone, "c".into(), AGE);
        assert_eq!(accepted, Ok((2, frame(2, "c"))));
    }

    #[test]
    fn old_events_are_dropped_and_their_memory_with_them() {
        let mut log = log_of(&["x"; 1_000], secs(1), 1 << 20);
        log.trim(secs(11) - Duration::from_nanos(1));
        assert_eq!(log.since(at(0)).lost, 0);
        log.trim(secs(11));
        assert_eq!(missed(&log, at(0)), (1_000, vec![]));
        assert_eq!(log.kept_bytes, 0);
        assert_eq!(log.entries.capacity(), 0);
    }

    #[test]
    fn an_event_past_the_bound_has_a_number_and_is_not_kept() {
        let mut log = log_of(&["a"], AGE, ENTRY_OVERHEAD_BYTES + 10);
        let (sequence, _) = log.append(Audience::Everyone, "longer than ten".into(), AGE).unwrap();
        assert_eq!(sequence, 2);
        assert_eq!(missed(&log, at(0)), (2, vec![]));
    }

    #[test]
    fn a_kept_content_does_not_pin_the_buffer_it_came_in() {
        for len in [10, 1_000, 100_000] {
            let buffer = Bytes::from(vec![b'x'; 1 << 20]);
            let mut log = Log::new(EPOCH, 1 << 20, AGE);
            let content = Content::Binary(buffer.slice(..len));
            log.append(Audience::Everyone, content, secs(0)).unwrap();
            assert!(buffer.is_unique(), "{len} bytes");
        }
    }

    #[test]
    fn the_overhead_covers_the_entry_and_a_frame_head() {
        assert!(2 * size_of::<Entry>() + 128 <= ENTRY_OVERHEAD_BYTES);
    }

    proptest! {
        /// The model: every event that was ever accepted, and what the rules say about it.
        #[test]
        fn what_is_kept_is_the_newest_within_age_and_bytes(
            steps in prop::collection::vec((0usize..200, 0u64..4, 1u64..30), 0..80),
            max_bytes in 1_000usize..5_000,
        ) {
            let mut log = Log::new(EPOCH, max_bytes, AGE);
            let mut model: Vec<(Duration, usize)> = Vec::new();
            let mut dropped = 0;
            let mut now = Duration::ZERO;
            for (len, wait, cursor) in steps {
                now += secs(wait);
                let name = GroupName::new("g").unwrap();
                let content = Content::Binary(vec![0; len].into());
                let cost = len + 2 + ENTRY_OVERHEAD_BYTES;
                let kept = |model: &[(Duration, usize)], dropped| {
                    model[dropped..].iter().map(|(_, cost)| cost).sum::<usize>()
                };
                let accepted = now >= AGE || kept(&model, dropped) + cost <= max_bytes;
                let answer = log.append(Audience::Group(name), content, now);
                prop_assert_eq!(answer.is_ok(), accepted);
                if accepted {
                    model.push((now, cost));
                    prop_assert_eq!(answer.unwrap().0, model.len() as u64);
                }
                while now >= AGE
                    && dropped < model.len()
                    && (kept(&model, dropped) > max_bytes || model[dropped].0 + AGE <= now)
                {
                    dropped += 1;
                }
                log.trim(now);
                prop_assert_eq!(log.kept_bytes, kept(&model, dropped));
                let cursor = cursor.min(model.len() as u64);
                let missed = log.since(at(cursor));
                prop_assert_eq!(missed.lost, (dropped as u64).saturating_sub(cursor));
                let count = missed.entries.count();
                prop_assert_eq!(count, model.len() - dropped.max(cursor as usize));
            }
        }
    }
}
