//! The reason why one connection did or did not get an event. Pure.

use campanile_messages::link::Gap;
use campanile_messages::{Audience, Position};

use super::facts::Facts;
use super::gaps::Loss;
use super::listening::{Listening, PastOutcome};
use crate::resume::{Lost, ReplayStart};

/// The event that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Where it stands in the log.
    pub position: Position,
    /// Who it was for.
    pub audience: Audience,
    /// Whether it was for all of them but this connection.
    pub is_excluded: bool,
}

/// What became of an event at a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The kernel has taken its last byte.
    Written,
    /// It waits in the outbox, at most behind so many bytes.
    Waiting {
        /// How many bytes are in front of it, at most.
        behind_bytes: u64,
        /// Whether it surely waits; otherwise it may be written, and other messages wait.
        is_certain: bool,
    },
    /// The worker has not come to it yet.
    OnItsWay {
        /// How far the worker has come.
        reached: u64,
    },
    /// The client waits for what it missed or asked for, and the event may be among that.
    AwaitsReplay,
    /// It ended before it was greeted.
    NeverGreeted {
        /// The close code; 0 for none.
        code: u16,
        /// Whether the event came after that.
        is_later: bool,
    },
    /// It joined the group after the event; `None` if its join is not confirmed yet.
    JoinedLater(Option<u64>),
    /// It had left the group before the event.
    LeftEarlier(u64),
    /// It was never in the group, or is another user.
    NeverListened,
    /// It was not there yet; `None` if it is not greeted yet.
    ConnectedLater(Option<u64>),
    /// It was not there yet, and says that it has the events up to this position.
    ContinuedLater(u64),
    /// It had ended before.
    ClosedBefore {
        /// The close code; 0 for none.
        code: u16,
        /// The last sequence that it was handed.
        last: u64,
    },
    /// It ended with the event in its outbox.
    ClosedWhileWaiting {
        /// The close code; 0 for none.
        code: u16,
        /// How many bytes were not written.
        unsent_bytes: u64,
        /// Whether it surely waited; otherwise it may have been written.
        is_certain: bool,
    },
    /// It was not there, and got the event when it came back.
    Recovered(PastOutcome),
    /// It asked for the event when it came back, and did not get it.
    NotRecovered(Lost),
    /// It was there, and its gateway lost the event.
    LostByGateway(Gap),
    /// It was there, and it is not known any more whether its gateway lost the event.
    LossForgotten,
    /// The event was for all but this connection.
    Excluded,
    /// The position is of another log than what is known of the connection.
    OtherLog,
    /// What would decide is not known any more.
    Forgotten,
}

/// How many bytes were put into an outbox after an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueuedAfter {
    /// So many at least.
    pub bytes: u64,
    /// Whether every event that was put there is among them.
    pub is_complete: bool,
}

/// Computes the verdict. `queued_after` says how much was put into the outbox after a sequence; it is called only
/// if something waits.
pub fn judge(
    subject: &Subject,
    facts: &Facts,
    queued_after: impl FnOnce(u64) -> QueuedAfter,
) -> Verdict {
    let Subject { position, ref audience, is_excluded } = *subject;
    let sequence = position.sequence;
    let known = &facts.known;
    if is_excluded {
        return Verdict::Excluded;
    }
    if known.first.is_pending() {
        return match facts.is_ended {
            true => {
                let is_later = known.epoch != position.epoch || sequence > known.last;
                Verdict::NeverGreeted { code: known.end.code(), is_later }
            }
            false => not_greeted(position, audience, facts),
        };
    }
    if known.epoch != position.epoch {
        return Verdict::OtherLog;
    }
    let (mut missed, mut is_awaited) = (None, false);
    for stay in facts.stays(audience) {
        is_awaited |= stay.awaits.is_some_and(|start| may_be_in(start, position));
        let Some(after) = stay.after else { continue };
        if stay.contains(sequence) {
            if stay.left.is_none() && sequence > known.last {
                return not_handed_over(sequence, facts);
            }
            match lost(facts) {
                None => return handed_over(Verdict::Written, sequence, facts, queued_after),
                lost => missed = lost,
            }
        } else if stay.is_restarted && sequence <= after {
            missed = lost(facts);
        }
        let asked = stay.continued.filter(|past| past.asked_for(position));
        match asked.map(|past| past.outcome) {
            Some(PastOutcome::Lost(lost)) => missed = Some(Verdict::NotRecovered(lost)),
            Some(got) if stay.is_join => {
                // Live events with higher positions were put into the outbox before it.
                return handed_over(Verdict::Recovered(got), after, facts, |after| QueuedAfter {
                    is_complete: false,
                    ..queued_after(after)
                });
            }
            Some(got) => {
                return handed_over(Verdict::Recovered(got), sequence, facts, queued_after);
            }
            None => {}
        }
    }
    match missed {
        _ if is_awaited && !facts.is_ended => Verdict::AwaitsReplay,
        Some(missed) => missed,
        None => not_listening(position, audience, facts),
    }
}

/// What became of an event of which it is not known any more who it was for, if that does not matter.
pub fn judge_for_anybody(position: Position, facts: &Facts) -> Option<Verdict> {
    let known = &facts.known;
    let joins = known.groups.iter().map(|(_, listening)| listening);
    let joins = joins.chain(facts.left_groups.iter().map(|left| &left.listening));
    let has_asked = joins.filter_map(Listening::continued).any(|past| past.asked_for(position));
    let is_any_unknown = known.groups_left_out > 0 || position.sequence <= facts.left_dropped;
    // It may have asked for earlier events of a group.
    if has_asked || is_any_unknown || known.epoch != position.epoch {
        return None;
    }
    // No other audience gets more.
    let subject = Subject { position, audience: Audience::Everyone, is_excluded: false };
    let verdict = judge(&subject, facts, |_| QueuedAfter { bytes: 0, is_complete: false });
    match verdict {
        Verdict::NeverGreeted { .. }
        | Verdict::ConnectedLater(Some(_))
        | Verdict::ContinuedLater(_)
        | Verdict::ClosedBefore { .. }
        | Verdict::NotRecovered(_)
        | Verdict::LostByGateway(_) => Some(verdict),
        _ => None,
    }
}

/// What became of an event at a connection that was there, if its gateway has not got it.
fn lost(facts: &Facts) -> Option<Verdict> {
    match facts.loss {
        Loss::No => None,
        Loss::Among(lost) => Some(Verdict::LostByGateway(lost.gap)),
        Loss::Forgotten => Some(Verdict::LossForgotten),
    }
}

/// It lives, and is not greeted yet.
fn not_greeted(position: Position, audience: &Audience, facts: &Facts) -> Verdict {
    let known = &facts.known;
    let sequence = position.sequence;
    let is_of_this_log = known.epoch == position.epoch;
    let mut stays = facts.stays(audience).filter(|stay| stay.left.is_none());
    let Some(stay) = stays.next() else { return not_listening(position, audience, facts) };
    match stay.awaits {
        Some(start) if may_be_in(start, position) => Verdict::AwaitsReplay,
        // Otherwise, any event may be among it.
        Some(ReplayStart::After(since)) => Verdict::ContinuedLater(since.sequence),
        _ if is_of_this_log && sequence > known.last => Verdict::OnItsWay { reached: known.last },
        _ => Verdict::ConnectedLater(None),
    }
}

/// Whether an event may be among what a client has asked for and not got yet.
fn may_be_in(start: ReplayStart, position: Position) -> bool {
    match start {
        ReplayStart::After(since) if since.epoch == position.epoch => {
            since.sequence < position.sequence
        }
        ReplayStart::After(_) | ReplayStart::History(_) => true,
    }
}

/// It listens, and the event is beyond what it was handed.
fn not_handed_over(sequence: u64, facts: &Facts) -> Verdict {
    let known = &facts.known;
    let code = known.end.code();
    match facts.is_ended {
        false => Verdict::OnItsWay { reached: known.last },
        true if known.overrun_by == Some(sequence) => {
            let unsent_bytes = known.end.unsent_bytes;
            Verdict::ClosedWhileWaiting { code, unsent_bytes, is_certain: true }
        }
        true => Verdict::ClosedBefore { code, last: known.last },
    }
}

/// It was put into the outbox. Whether it has left depends on what waits there, and on how much of that came
/// after it.
fn handed_over(
    otherwise: Verdict,
    sequence: u64,
    facts: &Facts,
    queued_after: impl FnOnce(u64) -> QueuedAfter,
) -> Verdict {
    let end = facts.known.end;
    let (code, unsent_bytes) = (end.code(), end.unsent_bytes);
    let up_to = facts.known.written_up_to.filter(|_| facts.is_ended);
    if unsent_bytes == 0 || up_to.is_some_and(|up_to| sequence <= up_to) {
        return otherwise;
    }
    let QueuedAfter { bytes, is_complete } = queued_after(sequence);
    let behind_bytes = unsent_bytes.saturating_sub(bytes);
    // All of that may be other messages that came later, as far as there were any.
    let other_bytes = if end.other_bytes == u16::MAX { u64::MAX } else { end.other_bytes.into() };
    let is_certain = is_complete && behind_bytes > other_bytes && facts.is_order_known(sequence);
    match behind_bytes {
        0 => otherwise,
        _ if facts.is_ended => Verdict::ClosedWhileWaiting { code, unsent_bytes, is_certain },
        _ => Verdict::Waiting { behind_bytes, is_certain },
    }
}

/// It was not handed the event, and did not ask for it.
fn not_listening(position: Position, audience: &Audience, facts: &Facts) -> Verdict {
    let sequence = position.sequence;
    let known = &facts.known;
    let first = facts.first();
    let is_group = matches!(audience, Audience::Group(_));
    // It may have asked for the event with a join that is forgotten, unless those are older than the connection.
    let is_any_forgotten = first.after.is_none_or(|after| after <= facts.left_dropped);
    if is_group && sequence <= facts.left_dropped && is_any_forgotten {
        return Verdict::Forgotten;
    }
    if !first.is_restarted && first.after.is_some_and(|after| sequence <= after) {
        let since = first.continued.filter(|past| !matches!(past.outcome, PastOutcome::History));
        return match since.and_then(|past| past.since_in(position.epoch)) {
            Some(since) if sequence <= since => Verdict::ContinuedLater(since),
            _ => Verdict::ConnectedLater(first.after),
        };
    }
    let has_left_out = is_group && known.groups_left_out > 0;
    let lefts = facts.stays(audience).filter_map(|stay| stay.left);
    if let Some(left) = lefts.filter(|left| *left < sequence).max() {
        // It may have come back since; that was later than the event.
        return Verdict::LeftEarlier(left);
    }
    let joined = facts.stays(audience).filter_map(|stay| stay.after).min();
    let is_listener = facts.stays(audience).next().is_some();
    // What it was handed last is noted with its own events, and once a second: a later event may be older than its end.
    // So this is said only of what it may have listened to.
    if facts.is_ended && sequence > known.last && (is_listener || has_left_out) {
        return Verdict::ClosedBefore { code: known.end.code(), last: known.last };
    }
    match is_listener {
        true => Verdict::JoinedLater(joined),
        false if has_left_out => Verdict::Forgotten,
        false => Verdict::NeverListened,
    }
}

impl Verdict {
    /// The fixed word.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Waiting { .. } | Self::OnItsWay { .. } | Self::AwaitsReplay => "waiting",
            Self::JoinedLater(_) | Self::LeftEarlier(_) | Self::NeverListened => "not_listening",
            Self::ConnectedLater(_)
            | Self::ContinuedLater(_)
            | Self::NeverGreeted { is_later: false, .. } => "connected_later",
            Self::ClosedBefore { .. } | Self::NeverGreeted { is_later: true, .. } => {
                "closed_before"
            }
            Self::ClosedWhileWaiting { .. } => "closed_while_waiting",
            Self::Recovered(_) => "recovered_by_replay",
            Self::NotRecovered(_) | Self::LostByGateway(_) => "not_recovered",
            Self::Excluded => "excluded",
            Self::OtherLog | Self::Forgotten | Self::LossForgotten => "not_kept_any_more",
        }
    }
}

#[cfg(test)]
mod tests;
