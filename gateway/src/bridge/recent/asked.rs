//! What the recent events tell those who ask what became of one.

use campanile_messages::Audience;

use super::Recent;
use crate::dialects::Framed;

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
    ) -> u64 {
        let (mut bytes, mut left) = (0, MAX_LOOKED_AT);
        for (audience, since) in audiences {
            let Some(tail) = self.tails.get(audience) else { continue };
            let first = tail.seen(sequence.max(*since));
            for kept in tail.events.range(first..tail.seen(last).max(first)) {
                if bytes >= enough || left == 0 {
                    return bytes;
                }
                left -= 1;
                bytes += len_bytes(&kept.event);
            }
        }
        bytes
    }
}
