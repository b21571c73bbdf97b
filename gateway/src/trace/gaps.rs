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
    /// Where the stream continued; the last of them.
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

/// Whether a gateway has lost an event, at the connections that were there then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// It has not.
    No,
    /// With others.
    Among(LostEvents),
    /// The event is so old that this is forgotten.
    Forgotten,
}

/// The last gaps.
#[derive(Debug, Default)]
pub struct Gaps {
    kept: VecDeque<LostEvents>,
    /// Up to this position, gaps are forgotten.
    forgotten: Option<Position>,
}

impl Gaps {
    /// Notes a gap.
    pub fn note(&mut self, lost: LostEvents) {
        if self.kept.len() == MAX_GAPS {
            self.forgotten = self.kept.pop_front().map(|oldest| oldest.until);
        }
        self.kept.push_back(lost);
    }

    /// Whether an event was lost for those who were there, or for one of them that `ended` later.
    pub fn loss(&self, position: Position, ended: Option<Instant>) -> Loss {
        let was_there = |at: Instant| ended.is_none_or(|ended| at < ended);
        // If a log comes back, the last gap in it counts: everybody began anew then.
        let mut last = self.kept.iter().rev();
        if let Some(lost) = last.find(|lost| was_there(lost.at) && lost.contain(position)) {
            return Loss::Among(*lost);
        }
        match self.forgotten {
            Some(Position { epoch, sequence })
                if epoch == position.epoch && position.sequence <= sequence =>
            {
                Loss::Forgotten
            }
            _ => Loss::No,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(epoch: u64, sequence: u64) -> Position {
        Position { epoch, sequence }
    }

    #[test]
    fn an_event_is_lost_between_two_positions_or_before_another_log() {
        let (mut gaps, now) = (Gaps::default(), Instant::now());
        gaps.note(LostEvents { gap: Gap::Expired, after: Some(3), until: at(1, 7), at: now });
        gaps.note(LostEvents { gap: Gap::EpochChanged, after: None, until: at(2, 4), at: now });
        let found = |position| match gaps.loss(position, None) {
            Loss::Among(lost) => Some(lost.gap),
            loss => {
                assert_eq!(loss, Loss::No);
                None
            }
        };
        let expired = Some(Gap::Expired);
        assert_eq!([3, 4, 7, 8].map(|p| found(at(1, p))), [None, expired, expired, None]);
        assert_eq!(
            [1, 4, 5].map(|p| found(at(2, p))),
            [Some(Gap::EpochChanged), Some(Gap::EpochChanged), None]
        );
    }

    #[test]
    fn of_old_events_it_is_forgotten_whether_they_were_lost() {
        let (mut gaps, now) = (Gaps::default(), Instant::now());
        let lost = |n| LostEvents {
            gap: Gap::Expired,
            after: Some(10 * n + 3),
            until: at(3, 10 * n + 7),
            at: now,
        };
        (0..=MAX_GAPS as u64).for_each(|n| gaps.note(lost(n)));
        assert_eq!(gaps.kept.len(), MAX_GAPS);
        let loss = |epoch, sequence| gaps.loss(at(epoch, sequence), None);
        assert_eq!([2, 7].map(|p| loss(3, p)), [Loss::Forgotten; 2]);
        assert_eq!([8, 13].map(|p| loss(3, p)), [Loss::No; 2]);
        assert_eq!(loss(3, 14), Loss::Among(lost(1)));
        assert_eq!(loss(2, 5), Loss::No, "that is another log");
    }

    #[test]
    fn who_had_ended_before_a_log_came_back_lost_nothing_with_it() {
        let (mut gaps, now) = (Gaps::default(), Instant::now());
        let [earlier, later] = [now + Duration::from_secs(1), now + Duration::from_secs(3)];
        let back = now + Duration::from_secs(2);
        let back = LostEvents { gap: Gap::EpochChanged, after: None, until: at(1, 9), at: back };
        gaps.note(back);
        assert_eq!(gaps.loss(at(1, 5), Some(earlier)), Loss::No);
        assert_eq!(gaps.loss(at(1, 5), Some(later)), Loss::Among(back));
    }
}
