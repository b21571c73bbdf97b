//! What one worker remembers for those who ask why a client did not get an event. Pure.

use std::time::Instant;

use campanile_messages::link::Gap;
use campanile_messages::{ConnectionId, Position};

use super::ended::EndedConnections;
use super::gaps::{Gaps, LostEvents};
use super::left_groups::LeftGroups;

/// The memory of one worker.
#[derive(Debug)]
pub struct Trail {
    /// The log that the positions of this worker belong to.
    pub epoch: u64,
    /// The groups that connections have left.
    pub left_groups: LeftGroups,
    /// Where this gateway has lost events.
    pub gaps: Gaps,
    /// The connections that ended.
    pub ended: EndedConnections,
    /// The connection that came last: later ids were never given.
    pub newest: ConnectionId,
}

impl Trail {
    /// Starts empty, for one of this many workers.
    pub fn new(workers: usize, now: Instant) -> Self {
        Self {
            epoch: 0,
            left_groups: LeftGroups::default(),
            gaps: Gaps::default(),
            ended: EndedConnections::new(workers, now),
            newest: ConnectionId(0),
        }
    }

    /// Notes that events were lost between the sequence that the stream had `reached` and the position at which it
    /// continues.
    pub fn note_gap(&mut self, gap: Gap, reached: u64, until: Position, at: Instant) {
        let after = (self.epoch == until.epoch).then_some(reached);
        self.gaps.note(LostEvents { gap, after, until, at });
    }

    /// The log is another one, so what has positions of the old one means nothing any more. Connections that
    /// ended say to which log theirs belong.
    pub fn begin_epoch(&mut self, epoch: u64) {
        self.epoch = epoch;
        self.left_groups.clear();
    }
}
