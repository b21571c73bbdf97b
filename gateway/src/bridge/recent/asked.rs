//! What the recent events tell those who ask what became of one.

use campanile_messages::Audience;

use super::{Recent, Tail};
use crate::dialects::Framed;
use crate::trace::verdict::QueuedAfter;

/// How many events are looked at for one connection.
const MAX_LOOKED_AT: usize = 10_000;

impl Recent {
    /// Whether an event of an audience came, or was fetched; `None` if that is not known any more.
    pub fn has(&self, audience: &Audience, sequence: u64) -> Option<bool> {
        let tail = self.tails.get(audience)?;
        let kept = tail.events.get(tail.seen(sequence.saturating_sub(1)));
        match kept.is_some_and(|kept| kept.event.sequence() == sequence) {
            true => Some(true),
            false => (tail.complete_after < sequence).then_some(false),
        }
    }

    /// How many bytes the events take that were sent after `sequence`, up to `last`, to a listener to these
    /// audiences, each since after its own sequence. Those that are not kept do not count. Stops when it is
    /// `enough`.
    pub fn bytes_after(
        &self,
        sequence: u64,
        last: u64,
        audiences: &[(Audience, u64)],
        len_bytes: impl Fn(&Framed) -> u64,
        enough: u64,
    ) -> QueuedAfter {
        let (mut bytes, mut left, mut is_complete) = (0, MAX_LOOKED_AT, true);
        for (audience, since) in audiences {
            let after = sequence.max(*since);
            let tail = self.tails.get(audience);
            is_complete &= tail.is_some_and(|tail| tail.complete_after <= after);
            for event in tail.into_iter().flat_map(|tail| tail.between(after, last)) {
                if bytes >= enough || left == 0 {
                    return QueuedAfter { bytes, is_complete: is_complete && left > 0 };
                }
                left -= 1;
                bytes += len_bytes(event);
            }
        }
        QueuedAfter { bytes, is_complete }
    }

    /// Up to which sequence everything was surely written to a listener that was sent events up to `last`, of
    /// which the last `unsent_bytes` were not written; `None` if too few events are kept to tell.
    pub fn written_up_to(
        &self,
        last: u64,
        audiences: &[(Audience, u64)],
        len_bytes: impl Fn(&Framed) -> u64,
        unsent_bytes: u64,
    ) -> Option<u64> {
        let (mut newest, mut left) = (Vec::new(), MAX_LOOKED_AT);
        for (audience, since) in audiences {
            let Some(tail) = self.tails.get(audience) else { continue };
            let mut bytes = 0;
            for event in tail.between(*since, last).rev() {
                if bytes >= unsent_bytes || left == 0 {
                    break;
                }
                left -= 1;
                let len = len_bytes(event);
                bytes += len;
                newest.push((event.sequence(), len));
            }
        }
        newest.sort_unstable();
        let mut bytes = 0;
        let mut newest = newest.into_iter().rev();
        let (sequence, _) = newest.find(|(_, len)| {
            bytes += len;
            bytes >= unsent_bytes
        })?;
        Some(sequence - 1)
    }
}

impl Tail {
    /// The kept events after one sequence, up to and including another one.
    fn between(&self, after: u64, last: u64) -> impl DoubleEndedIterator<Item = &Framed> {
        let first = self.seen(after);
        let range = first..self.seen(last).max(first);
        self.events.range(range).map(|kept| &*kept.event)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use campanile_messages::{GroupName, Position};

    use super::*;

    fn news() -> Audience {
        Audience::Group(GroupName::new("news").expect("a name"))
    }

    /// Events of 10 bytes: to everyone at 3, 5 and 7, to a group at 4 and 6.
    fn recent() -> Recent {
        let mut recent = Recent::new(1 << 20);
        for sequence in 3..8 {
            let audience = if sequence % 2 == 1 { Audience::Everyone } else { news() };
            let logged = (Position { epoch: 1, sequence }, audience.clone());
            let event: Arc<Framed> = Framed::new(Some(logged), "0123456789".into());
            recent.add(sequence - 1, &audience, event);
        }
        recent
    }

    fn len_bytes(event: &Framed) -> u64 {
        event.len_bytes() as u64
    }

    #[test]
    fn whether_an_event_came_is_known_as_long_as_its_audience_is_kept() {
        let recent = recent();
        let has = |sequence| recent.has(&Audience::Everyone, sequence);
        assert_eq!([2, 3, 4, 7].map(has), [None, Some(true), Some(false), Some(true)]);
        assert_eq!(recent.has(&Audience::Group(GroupName::new("x").expect("a name")), 4), None);
    }

    #[test]
    fn what_was_sent_after_an_event_is_counted_for_a_listener() {
        let (recent, all) = (recent(), [(Audience::Everyone, 2), (news(), 5)]);
        let after = |sequence, last| recent.bytes_after(sequence, last, &all, len_bytes, u64::MAX);
        let bytes = |bytes, is_complete| QueuedAfter { bytes, is_complete };
        assert_eq!(after(3, 7), bytes(30, true), "the group at 4 was before the join");
        assert_eq!(after(3, 6), bytes(20, true));
        assert_eq!(after(7, 7), bytes(0, true));
        assert_eq!(after(1, 7), bytes(40, true));
        let earlier = [(Audience::Everyone, 1)];
        assert_eq!(recent.bytes_after(1, 7, &earlier, len_bytes, u64::MAX), bytes(30, false));
        assert_eq!(recent.bytes_after(3, 7, &all, len_bytes, 15).bytes, 20, "that is enough");
    }

    #[test]
    fn the_last_bytes_that_were_sent_are_those_that_wait() {
        let (recent, all) = (recent(), [(Audience::Everyone, 2), (news(), 3)]);
        let up_to = |last, unsent| recent.written_up_to(last, &all, len_bytes, unsent);
        assert_eq!(
            [1, 10, 11, 50].map(|unsent| up_to(7, unsent)),
            [Some(6), Some(6), Some(5), Some(2)]
        );
        assert_eq!((up_to(6, 10), up_to(7, 51)), (Some(5), None));
    }
}
