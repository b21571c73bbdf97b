//! Where a gateway itself has lost events, because its link was away for too long or the log is another one.
//! Pure.

use std::collections::VecDeque;
use std::time::Instant;

use campanile_messages::Position;
use campanile_messages::link::Gap;

/// How many gaps are remembered.
const MAX_GAPS: usize = 64;

/// Events that no connection of a gateway got, if it was there then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LostEvents {
    /// Why.
    pub gap: Gap,
    /// The last sequence before them; `None` if the log was another one then.
    pub after: Option<u64>,
    /// Where the stream continued.
    pub until: Position,
    /// When that was.
    pub at: Instant,
}

impl LostEvents {
    /// Whether an event is among them.
    pub fn contain(&self, position: Position) -> bool {
        position.epoch == self.until.epoch
            && position.sequence <= self.until.sequence
            && self.after.is_none_or(|after| position.sequence > after)
    }
}

/// The last gaps.
#[derive(Debug, Default)]
pub struct Gaps(VecDeque<LostEvents>);

impl Gaps {
    /// Notes a gap.
    pub fn note(&mut self, lost: LostEvents) {
        if self.0.len() == MAX_GAPS {
            self.0.pop_front();
        }
        self.0.push_back(lost);
    }

    /// The gap in which an event was lost for those who were there.
    pub fn with(&self, position: Position) -> Option<LostEvents> {
        self.0.iter().find(|lost| lost.contain(position)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_lost_between_two_positions_or_before_another_log() {
        let at = |epoch, sequence| Position { epoch, sequence };
        let (mut gaps, now) = (Gaps::default(), Instant::now());
        gaps.note(LostEvents { gap: Gap::Expired, after: Some(3), until: at(1, 7), at: now });
        gaps.note(LostEvents { gap: Gap::EpochChanged, after: None, until: at(2, 4), at: now });
        let found = |position| gaps.with(position).map(|lost| lost.gap);
        let expired = Some(Gap::Expired);
        assert_eq!([3, 4, 7, 8].map(|p| found(at(1, p))), [None, expired, expired, None]);
        assert_eq!(
            [1, 4, 5].map(|p| found(at(2, p))),
            [Some(Gap::EpochChanged), Some(Gap::EpochChanged), None]
        );
        (0..1_000).for_each(|n| {
            gaps.note(LostEvents {
                gap: Gap::Expired,
                after: Some(n),
                until: at(3, n + 1),
                at: now,
            });
        });
        assert_eq!(gaps.0.len(), MAX_GAPS);
    }
}
