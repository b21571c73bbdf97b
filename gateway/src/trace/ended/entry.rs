//! A connection that has ended, in the few bytes in which it is kept. Pure.

use std::time::{Duration, Instant};

use campanile_edge::Peer;
use campanile_messages::{Audience, ConnectionId};

use super::{ConnectionEnd, EndedConnection, GROUP_BYTES, KeptGroups};
use crate::dialects::Dialect;
use crate::trace::listening::Listening;
use crate::websocket::CloseCause;

/// What a box costs in addition to what is in it, with what the allocator rounds up.
const BOX_BYTES: usize = 16;

/// A connection as it is kept. Ten thousand of them stay when all clients have left, so it is small.
#[derive(Debug)]
pub(super) struct EndedEntry {
    pub(super) connection: ConnectionId,
    /// What is kept of its address.
    pub(super) peer: Peer,
    /// `None` if it had no user and no groups, and there is nothing to say of how it began.
    more: Option<Box<More>>,
    /// Since after which sequence it listened, if that is all there is to say.
    after: u64,
    pub(super) last: u64,
    /// How far before `last` everything was surely written, as [`not_written`] packs it; [`UNKNOWN`] for
    /// none.
    not_written: u32,
    /// In microseconds since the start, as `ended`.
    opened: u64,
    pub(super) ended: u64,
    sent_bytes: u64,
    /// At most what fits into the type.
    unsent_bytes: u32,
    other_bytes: u16,
    cause: Option<CloseCause>,
    /// The place of its epoch in the list of epochs.
    pub(super) log: u16,
    dialect: Dialect,
    /// Whether it was closed because the event after `last` did not fit into its outbox.
    pub(super) is_overrun: bool,
}

/// What only some of the connections have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct More {
    user: Option<Box<str>>,
    groups: KeptGroups,
    /// Since when it listened, unless that is just since after a sequence.
    first: Option<Box<Listening>>,
    groups_left_out: u32,
}

const UNKNOWN: u32 = u32::MAX;

/// Marks a distance that is counted in whole blocks of the log, each of which has this many sequences.
const IN_BLOCKS: u32 = 1 << 31;
const BLOCK: u64 = 1 << 16;

/// Packs the distance between two sequences. A long one is rounded up to whole blocks: then less was surely
/// written, which is true as well.
fn not_written(last: u64, written_up_to: Option<u64>) -> u32 {
    let Some(distance) = written_up_to.map(|up_to| last.saturating_sub(up_to)) else {
        return UNKNOWN;
    };
    match u32::try_from(distance) {
        Ok(distance) if distance < IN_BLOCKS => distance,
        _ => match u32::try_from(distance.div_ceil(BLOCK)) {
            Ok(blocks) if blocks < IN_BLOCKS - 1 => IN_BLOCKS | blocks,
            _ => UNKNOWN,
        },
    }
}

/// The sequence up to which everything was surely written.
fn written_up_to(last: u64, not_written: u32) -> Option<u64> {
    let distance = match not_written {
        UNKNOWN => return None,
        ..IN_BLOCKS => u64::from(not_written),
        _ => u64::from(not_written & !IN_BLOCKS) * BLOCK,
    };
    Some(last.saturating_sub(distance))
}

/// A moment in microseconds since the start.
pub(super) fn since(started: Instant, moment: Instant) -> u64 {
    moment.saturating_duration_since(started).as_micros() as u64
}

impl EndedEntry {
    /// Packs a connection; `log` is the place of its epoch.
    pub(super) fn pack(connection: EndedConnection, started: Instant, log: u16) -> Self {
        let EndedConnection { user, groups, groups_left_out, .. } = connection;
        let (after, first) = match connection.first {
            Listening::After(after) => (after, None),
            first => (0, Some(Box::new(first))),
        };
        let groups_left_out = u32::try_from(groups_left_out).unwrap_or(u32::MAX);
        let more = More { user, groups, first, groups_left_out };
        let mut entry = Self {
            connection: connection.connection,
            peer: Peer::of(connection.address),
            more: (more != More::default()).then(|| Box::new(more)),
            after,
            last: connection.last,
            not_written: not_written(connection.last, connection.written_up_to),
            opened: since(started, connection.opened),
            ended: since(started, connection.ended),
            sent_bytes: 0,
            unsent_bytes: 0,
            other_bytes: 0,
            cause: None,
            log,
            dialect: connection.dialect,
            is_overrun: connection.overrun_by.is_some(),
        };
        entry.set_end(connection.end);
        entry
    }

    /// The connection as it was packed, with the epoch that is at the place `log`.
    pub(super) fn unpack(&self, started: Instant, epoch: u64) -> EndedConnection {
        let at = |micros| started + Duration::from_micros(micros);
        let More { user, groups, groups_left_out, .. } =
            self.more.as_deref().cloned().unwrap_or_default();
        EndedConnection {
            connection: self.connection,
            address: self.peer.address(),
            user,
            dialect: self.dialect,
            epoch,
            first: self.first().cloned().unwrap_or(Listening::After(self.after)),
            last: self.last,
            written_up_to: written_up_to(self.last, self.not_written),
            overrun_by: self.is_overrun.then_some(self.last + 1),
            groups,
            groups_left_out: groups_left_out as usize,
            opened: at(self.opened),
            ended: at(self.ended),
            end: ConnectionEnd {
                cause: self.cause,
                sent_bytes: self.sent_bytes,
                unsent_bytes: self.unsent_bytes.into(),
                other_bytes: self.other_bytes,
            },
        }
    }

    pub(super) fn note_written(&mut self, up_to: u64) {
        self.not_written = not_written(self.last, Some(up_to));
    }

    pub(super) fn set_end(&mut self, end: ConnectionEnd) {
        let ConnectionEnd { cause, sent_bytes, unsent_bytes, other_bytes } = end;
        (self.cause, self.sent_bytes, self.other_bytes) = (cause, sent_bytes, other_bytes);
        self.unsent_bytes = u32::try_from(unsent_bytes).unwrap_or(u32::MAX);
    }

    /// Since when it listened, unless that is just since `after`.
    pub(super) fn first(&self) -> Option<&Listening> {
        self.more.as_ref()?.first.as_deref()
    }

    fn user(&self) -> Option<&str> {
        self.more.as_ref()?.user.as_deref()
    }

    fn groups(&self) -> &[(Box<str>, Listening)] {
        self.more.as_ref().map_or(&[], |more| &more.groups)
    }

    pub(super) fn belongs_to(&self, audience: &Audience) -> bool {
        match audience {
            Audience::Everyone => true,
            Audience::User(user) => self.user().is_some_and(|own| *own == **user),
            Audience::Group(group) => self.groups().iter().any(|(name, _)| **name == **group),
        }
    }

    pub(super) fn cost_bytes(&self) -> usize {
        let continued = |listening: &Listening| match listening {
            Listening::Continued(_) => 64,
            _ => 0,
        };
        let groups =
            self.groups().iter().map(|(group, l)| GROUP_BYTES + group.len() + continued(l));
        let user = self.user().map_or(0, |user| user.len() + BOX_BYTES);
        let first = self.first().map_or(0, |first| size_of::<Listening>() + continued(first));
        let more = self.more.as_ref().map_or(0, |_| size_of::<More>() + BOX_BYTES);
        size_of::<Self>() + more + groups.sum::<usize>() + user + first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_way_between_two_sequences_is_kept_in_whole_blocks() {
        let last = 0xffff_ffff_ffff;
        let kept = |up_to| written_up_to(last, not_written(last, up_to));
        let exact = last - (1 << 31) + 1;
        assert_eq!([None, Some(last), Some(exact)].map(kept), [None, Some(last), Some(exact)]);
        // More than 32,768 blocks before: some more of that block counts as not written.
        let before = 70_000 << 16;
        assert_eq!(kept(Some(last - before)), Some(last - before));
        assert_eq!(kept(Some(last - before - 1)), Some(last - before - BLOCK));
        assert_eq!(written_up_to(5, not_written(u64::MAX, Some(0))), None);
        assert_eq!(written_up_to(last, not_written(1 << 47, Some((1 << 16) - 1))), None);
    }

    #[test]
    fn an_entry_takes_little_memory() {
        // This is all that is kept of a connection without a user, groups and a position to continue from. It
        // takes 800 kB for 10,000 of them, which is what a gateway keeps when all of its clients have left.
        assert!(size_of::<EndedEntry>() <= 80, "{}", size_of::<EndedEntry>());
        // A size class of the allocator.
        assert!(size_of::<More>() <= 48, "{}", size_of::<More>());
    }
}
