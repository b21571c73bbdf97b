//! What a gateway gets of the past: when its stream begins, and when it asks for more.

use std::collections::HashMap;

use campanile_messages::link::{Gap, Want};
use campanile_messages::{Audience, FromBroker, Position};

use super::{Effect, Exchange};
use crate::broker::conversation::Conversation;
use crate::broker::log::{Looked, Past};
use crate::broker::routing::LinkNumber;

/// How many events are looked at for one `Fetch` before its further wants have to be asked for again: as
/// many as fit into 1.2 MiB, however small they are.
const MAX_LOOKED: usize = 20_000;

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
        let frames: Vec<_> = self
            .log
            .after(from.sequence)
            .filter(|entry| self.routing.wants(link, &entry.audience))
            .map(|entry| entry.frame.clone())
            .collect();
        self.counts.link_events += frames.len() as u64;
        self.count_gap(gap);
        self.routing.go_live(link);
        effects.push(Effect::Send { link, message: FromBroker::Attached { from, gap } });
        effects.push(Effect::CatchUp { link, frames });
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
    /// several wants ask for it. Its work is bounded: a want is served from the log if less than a bound
    /// was looked at before, and not at all where earlier wants have brought everything.
    pub(super) fn fetch(
        &mut self,
        link: LinkNumber,
        number: u64,
        wants: &[Want],
        max_bytes: u64,
    ) -> Effect {
        let mut frames = Vec::new();
        let mut complete = HashMap::<Audience, u64>::new();
        let (mut served, mut looked, mut replayed) = (0, Looked::default(), 0);
        for want in wants {
            if served > 0 && (looked.bytes > max_bytes || looked.events > MAX_LOOKED) {
                break;
            }
            served += 1;
            let (pasts, at) = match self.covered(want, &complete) {
                Some(pasts) => (pasts, Looked::default()),
                None => self.log.past(want, max_bytes),
            };
            looked.bytes += at.bytes;
            looked.events += at.events;
            for Past { audience, expired, complete_after, mut events } in pasts {
                let before = complete.entry(audience.clone()).or_insert(u64::MAX);
                events.retain(|(sequence, _)| sequence <= before);
                let complete_after = complete_after.min(*before);
                *before = complete_after;
                let count = u32::try_from(events.len()).expect("the log is bounded");
                let past = FromBroker::Past { audience, events: count, expired, complete_after };
                frames.push(past.encode());
                replayed += u64::from(count);
                frames.extend(events.into_iter().map(|(_, frame)| frame));
            }
        }
        frames.push(FromBroker::Fetched { number, served }.encode());
        self.counts.replayed += replayed;
        Effect::Replay { link, frames }
    }

    /// The answer to a want of which earlier wants of the same `Fetch` have brought everything; `None`
    /// if they have not. `complete` says for each audience above which sequence it is complete.
    fn covered(&self, want: &Want, complete: &HashMap<Audience, u64>) -> Option<Vec<Past>> {
        let past = |audience: &Audience| {
            let expired = self.log.lost_up_to(audience);
            let complete_after = want.since.max(expired);
            let is_covered = complete.get(audience).is_some_and(|before| *before <= complete_after);
            let audience = audience.clone();
            is_covered.then(|| Past { audience, expired, complete_after, events: Vec::new() })
        };
        want.audiences.iter().map(past).collect()
    }
}
