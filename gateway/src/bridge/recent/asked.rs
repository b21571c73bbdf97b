//! What the recent events tell those who ask what became of one.

use campanile_messages::Audience;

use super::{Recent, Tail};
use crate::dialects::Framed;
use crate::trace::verdict::QueuedAfter;

/// How many events are looked at for one connection.
const MAX_LOOKED_AT: usize = 100_000;

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
