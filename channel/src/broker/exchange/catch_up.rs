//! What a gateway gets of the past: when its stream begins, and when it asks for more.

use std::collections::HashMap;

use campanile_messages::link::{Gap, Want};
use campanile_messages::{Audience, FromBroker, Position};

use super::{Effect, Exchange};
use crate::broker::conversation::Conversation;
use crate::broker::log::Past;
use crate::broker::routing::LinkNumber;

impl Exchange {
    pub(super) fn attach(
        &mut self,
        link: LinkNumber,
        cursor: Option<Position>,
        effects: &mut Vec<Effect>,
    ) {
        let head = self.log.head();
        let at = |sequence| Position { sequence, ..head };
        let (from, gap) = match cursor {
            None => (head, None),
            Some(cursor) if cursor.epoch != head.epoch => {
                // Everything in this log is new to the gateway.
                (at(self.log.tail()), Some(Gap::EpochChanged))
            }
            Some(cursor) if cursor.sequence > head.sequence => {
                return effects.push(Effect::BeginEpoch);
            }
            Some(cursor) => {
                let lost = |audience| self.log.lost_up_to(audience);
                let lost = self.routing.audiences(link).map(lost).max().unwrap_or(0);
                let gap = (lost > cursor.sequence).then_some(Gap::Expired);
                (at(lost.max(cursor.sequence)), gap)
            }
        };
        let frames = self
            .log
            .after(from.sequence)
            .filter(|entry| self.routing.wants(link, &entry.audience))
            .map(|entry| entry.frame.clone())
            .collect();
        self.routing.go_live(link);
        effects.push(Effect::Send { link, message: FromBroker::Attached { from, gap } });
        effects.push(Effect::Replay { link, frames });
        effects.extend(self.confirmation(link));
    }

    /// The confirmation of a link's interest, if the link is attached: from now on every event that is
    /// accepted reaches it.
    pub(super) fn confirmation(&mut self, link: LinkNumber) -> Option<Effect> {
        let head = self.log.head().sequence;
        let peer = self.links.get_mut(&link)?;
        match peer.conversation {
            Conversation::Gateway { attached: true, revision: Some(revision) } => {
                peer.known_head = head;
                Some(Effect::Send { link, message: FromBroker::Confirmed { revision, head } })
            }
            _ => None,
        }
    }

    /// The answer to a `Fetch`. It contains the frames that the log keeps, and no event twice, even if
    /// several wants ask for it.
    pub(super) fn fetch(
        &self,
        link: LinkNumber,
        number: u64,
        wants: &[Want],
        max_bytes: u64,
    ) -> Effect {
        let mut frames = Vec::new();
        let mut complete = HashMap::<Audience, u64>::new();
        let (mut served, mut sent_bytes) = (0, 0);
        for want in wants {
            if served > 0 && sent_bytes > max_bytes {
                break;
            }
            served += 1;
            let (pasts, bytes) = self.log.past(want, max_bytes);
            sent_bytes += bytes;
            for Past { audience, expired, complete_after, mut events } in pasts {
                let before = complete.entry(audience.clone()).or_insert(u64::MAX);
                events.retain(|(sequence, _)| sequence <= before);
                let complete_after = complete_after.min(*before);
                *before = complete_after;
                let count = u32::try_from(events.len()).expect("the log is bounded");
                let past = FromBroker::Past { audience, events: count, expired, complete_after };
                frames.push(past.encode());
                frames.extend(events.into_iter().map(|(_, frame)| frame));
            }
        }
        frames.push(FromBroker::Fetched { number, served }.encode());
        Effect::Replay { link, frames }
    }
}
