//! What the broker knows of one event, for operators.

use std::time::Duration;

use bytes::BytesMut;
use campanile_messages::inquiry::TracedEvent;
use campanile_messages::inquiry::trace::{BrokerTrace, LoggedEvent};
use campanile_messages::{Durability, Event, FromBroker, Position};

use super::Exchange;
use crate::broker::log::LogEntry;
use crate::broker::repeat_key::RepeatKey;

/// How many bytes of a frame are its length.
const LENGTH_BYTES: usize = 4;

impl Exchange {
    /// What is known of an event. `shown` turns a time of the broker's clock into one for people. Links and
    /// gateways are left for the caller to add.
    pub fn trace(&self, position: Position, shown: impl Fn(Duration) -> u64) -> BrokerTrace {
        let head = self.log.head();
        let kept = (position.epoch == head.epoch).then(|| self.log.entry(position.sequence));
        let event = kept.flatten().and_then(|entry| {
            let Event { audience, except, content, from, .. } = read(entry)?;
            let (gateways, matched) = entry.reach();
            let stored = self.stored_times.of(position.sequence).map(&shown);
            let accepted = shown(entry.at());
            let key = self.intake.ids.key_of(position.sequence);
            Some(LoggedEvent {
                traced: TracedEvent { audience, except },
                bytes: content.as_bytes().len() as u64,
                user: from,
                accepted: Some(accepted),
                stored,
                // What has to be on disk first is released in the turn in which that is known.
                released: if self.awaits_disk() { stored } else { Some(accepted) },
                gateways: Some(gateways.into()),
                matched: Some(matched),
                id: key.map(RepeatKey::id).map(str::to_owned),
            })
        });
        BrokerTrace { head: Some(head), tail: self.log.tail(), event, ..BrokerTrace::default() }
    }

    /// Whether nobody sees an event before it is on disk.
    fn awaits_disk(&self) -> bool {
        self.keeps && self.durability != Durability::Memory
    }

    /// Notes when events were on disk, for [`trace`](Self::trace).
    pub fn note_stored(&mut self, up_to: u64, now: Duration) {
        self.stored_times.note(up_to, now);
    }
}

/// Reads an event from the frame in which it is kept.
fn read(entry: &LogEntry) -> Option<Event> {
    let mut frame = BytesMut::from(entry.frame.head.get(LENGTH_BYTES..)?);
    frame.extend_from_slice(entry.frame.content.as_deref().unwrap_or_default());
    match FromBroker::decode(frame.freeze()) {
        Ok(FromBroker::Event(event)) => Some(event),
        _ => None,
    }
}
