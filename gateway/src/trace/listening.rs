//! From which position on a connection listens. It is kept per connection and per membership, where it takes
//! no more than what it replaces: the ticket of a step that is not confirmed yet.

use campanile_messages::Position;

use crate::report::StepTicket;
use crate::resume::{Lost, ReplayStart};

/// Since when a connection listens, or one of its memberships counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listening {
    /// It does not, until the step with this ticket is complete.
    Awaits(StepTicket),
    /// A membership: since the connection listens.
    WithConnection,
    /// Since after this sequence.
    After(u64),
    /// A connection that had listened to another log: to this one since after this sequence. What came before
    /// in this log did not reach anybody.
    Restarted(u64),
    /// The same, and before that, earlier events were asked for.
    Continued(Box<Continued>),
}

/// How a client continued, or what it got of the past.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Continued {
    /// Where the earlier events began; `None` if the client sent something that is not a position.
    pub since: Option<Position>,
    /// It listens after this sequence; the earlier events end there.
    pub at: u64,
    /// What it got.
    pub outcome: PastOutcome,
}

/// What a client got of the events before it began to listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PastOutcome {
    /// All that it had missed.
    Replayed,
    /// As many as it had asked for.
    History,
    /// None of them.
    Lost(Lost),
}

impl Listening {
    /// The ticket of the step that it waits for.
    pub fn ticket(&self) -> Option<StepTicket> {
        match self {
            Self::Awaits(ticket) => Some(*ticket),
            _ => None,
        }
    }

    /// After which sequence it listens; `None` if it does not yet, or has no start of its own.
    pub fn after(&self) -> Option<u64> {
        match self {
            Self::Awaits(_) | Self::WithConnection => None,
            Self::After(after) | Self::Restarted(after) => Some(*after),
            Self::Continued(past) => Some(past.at),
        }
    }

    /// What it asked for of the past, and got.
    pub fn continued(&self) -> Option<&Continued> {
        match self {
            Self::Continued(past) => Some(past),
            _ => None,
        }
    }

    /// Whether it waits for its step.
    pub fn is_pending(&self) -> bool {
        matches!(self, Self::Awaits(_))
    }
}

impl Continued {
    /// Whether an event was among those that were asked for.
    pub fn asked_for(&self, position: Position) -> bool {
        // After a position of another log, or none at all, all that came before is missing.
        let is_after = self.since_in(position.epoch).is_none_or(|since| since < position.sequence);
        is_after && position.sequence <= self.at
    }

    /// The sequence in the log with this epoch after which the earlier events begin; `None` if the client's
    /// position belongs to another log, as one does that this log has not come to.
    pub fn since_in(&self, epoch: u64) -> Option<u64> {
        let is_other = self.outcome == PastOutcome::Lost(Lost::EpochChanged);
        let since = self.since.filter(|since| since.epoch == epoch && !is_other);
        since.map(|since| since.sequence)
    }

    /// What to keep of a step that is complete at `at`. `begins` is where the client's stream begins, if it
    /// was told; `start` is what it asked for.
    pub fn new(start: ReplayStart, begins: Position, at: u64, outcome: PastOutcome) -> Self {
        let since = match start {
            ReplayStart::After(since) => since,
            ReplayStart::History(_) => begins,
        };
        Self { since: Some(since), at, outcome }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_takes_no_more_memory_than_a_ticket() {
        assert_eq!(size_of::<Listening>(), size_of::<Option<StepTicket>>());
    }

    #[test]
    fn a_client_asks_for_what_is_between_its_position_and_its_start() {
        let at = |epoch, sequence| Position { epoch, sequence };
        let continued = |since| Continued { since, at: 9, outcome: PastOutcome::Replayed };
        let asked = |since, sequence| continued(since).asked_for(at(1, sequence));
        assert_eq!([5, 6, 9, 10].map(|p| asked(Some(at(1, 5)), p)), [false, true, true, false]);
        assert!(asked(Some(at(2, 5)), 5) && asked(None, 1) && !asked(None, 10));
        let outcome = PastOutcome::Lost(Lost::EpochChanged);
        let ahead = Continued { since: Some(at(1, 99)), at: 9, outcome };
        assert_eq!([1, 9, 10].map(|p| ahead.asked_for(at(1, p))), [true, true, false]);
    }
}
