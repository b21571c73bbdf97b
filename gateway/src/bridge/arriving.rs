//! Collects the answer to a fetch as it arrives: for each audience a header, then its events. Pure: a
//! part of the bridge's core.

use std::sync::Arc;

use campanile_messages::{Audience, Event, Position};

use crate::bridge::recent::Past;
use crate::dialects::Framed;

/// Distinguishes fetched events from live ones, and collects them.
#[derive(Debug, Default)]
pub struct Arriving {
    /// What has arrived for an audience, and how many of its events are still to come.
    part: Option<(Audience, Past, u32)>,
    /// Whether a part of an answer has arrived and the rest has not.
    is_answer_begun: bool,
}

/// A fetched event that does not belong where it arrived.
#[derive(Debug, PartialEq, Eq)]
pub struct OutOfOrder {
    /// Its sequence in the log.
    pub sequence: u64,
    /// The audience that it is for.
    pub audience: Audience,
}

impl Arriving {
    /// Expects the next `events` events to be fetched ones of an audience.
    pub fn begin(&mut self, audience: Audience, events: u32, expired: u64, complete_after: u64) {
        self.is_answer_begun = true;
        self.part = Some((audience, Past { expired, complete_after, events: Vec::new() }, events));
    }

    /// Whether the next event belongs to the answer of a fetch.
    pub fn expects_event(&self) -> bool {
        self.part.is_some()
    }

    /// Adds a fetched event.
    ///
    /// # Errors
    /// [`OutOfOrder`] if the event is of another audience, not above the one before it, or beyond the
    /// cursor. Such an event is left out.
    pub fn add(&mut self, event: Event, cursor: Position) -> Result<(), OutOfOrder> {
        let Event { sequence, ref audience, .. } = event;
        let Some((of, past, to_come)) = &mut self.part else { return Ok(()) };
        *to_come -= 1;
        let last = past.events.last().map_or(0, |last: &Arc<Framed>| last.sequence());
        if audience != of || sequence <= last || sequence > cursor.sequence {
            return Err(OutOfOrder { sequence, audience: event.audience });
        }
        past.events.push(Framed::of_event(Position { sequence, ..cursor }, event));
        Ok(())
    }

    /// Returns what the broker has of an audience, once all of it has arrived. If the answer is complete
    /// only after an event beyond the cursor, it counts as complete after the cursor: that event, and all
    /// others after the cursor, are still to come live.
    pub fn take(&mut self, cursor: Position) -> Option<(Audience, Past)> {
        let (audience, mut past, _) = self.part.take_if(|(.., to_come)| *to_come == 0)?;
        past.complete_after = past.complete_after.min(cursor.sequence);
        Some((audience, past))
    }

    /// Whether a part of an answer has arrived and the rest has not. The rest may continue events that
    /// arrived before, so none of those may be dropped yet.
    pub fn is_answer_begun(&self) -> bool {
        self.is_answer_begun
    }

    /// Records that the answer is complete, or that it will not come any more.
    pub fn end(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use campanile_messages::GroupName;

    use super::*;

    const CURSOR: Position = Position { epoch: 1, sequence: 9 };

    fn group(name: &'static str) -> Audience {
        Audience::Group(GroupName::new(name).expect("a name"))
    }

    fn event(sequence: u64, name: &'static str) -> Event {
        Event { sequence, audience: group(name), except: None, content: "x".into(), from: None }
    }

    #[test]
    fn an_audience_is_complete_once_all_its_events_have_come() {
        let mut arriving = Arriving::default();
        assert!(!arriving.expects_event());
        arriving.begin(group("a"), 2, 1, 3);
        assert_eq!(arriving.add(event(4, "a"), CURSOR), Ok(()));
        assert!(arriving.take(CURSOR).is_none() && arriving.expects_event());
        assert_eq!(arriving.add(event(9, "a"), CURSOR), Ok(()));
        let (audience, past) = arriving.take(CURSOR).expect("it is there");
        let sequences: Vec<_> = past.events.iter().map(|event| event.sequence()).collect();
        assert_eq!((audience, past.expired, past.complete_after), (group("a"), 1, 3));
        assert_eq!(sequences, [4, 9]);
        assert!(!arriving.expects_event() && arriving.is_answer_begun());
        arriving.end();
        assert!(!arriving.is_answer_begun());
    }

    #[test]
    fn events_that_are_out_of_order_are_left_out() {
        let mut arriving = Arriving::default();
        arriving.begin(group("a"), 4, 0, 0);
        assert_eq!(arriving.add(event(5, "a"), CURSOR), Ok(()));
        for (sequence, name) in [(5, "a"), (10, "a"), (6, "b")] {
            let left_out = Err(OutOfOrder { sequence, audience: group(name) });
            assert_eq!(arriving.add(event(sequence, name), CURSOR), left_out);
        }
        let (_, past) = arriving.take(CURSOR).expect("four have come");
        assert_eq!(past.events.len(), 1);
    }

    #[test]
    fn a_past_beyond_the_cursor_is_complete_after_the_cursor() {
        let mut arriving = Arriving::default();
        arriving.begin(group("a"), 0, 0, 50);
        assert_eq!(arriving.take(CURSOR).expect("it is there").1.complete_after, 9);
    }
}
