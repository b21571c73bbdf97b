//! The reason why one connection did or did not get an event. Pure.

use std::fmt;

use campanile_messages::link::Gap;
use campanile_messages::{Audience, Position};

use super::facts::Facts;
use super::listening::PastOutcome;
use crate::dialects::Dialect;
use crate::resume::Lost;
use crate::websocket::CloseCode;

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
        /// Whether it surely waits; otherwise it may be written.
        is_certain: bool,
    },
    /// The worker has not come to it yet.
    OnItsWay {
        /// How far the worker has come.
        reached: u64,
    },
    /// The connection waits for its greeting, and will then get what it missed.
    AwaitsReplay,
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
    if let Some(lost) = facts.gap
        && facts.stays(audience).any(|stay| {
            stay.left.is_none() && stay.after.is_some_and(|after| after <= lost.until.sequence)
        })
    {
        return Verdict::LostByGateway(lost.gap);
    }
    if known.first.is_pending() {
        return match (facts.is_ended, facts.awaits_past) {
            (true, _) => Verdict::ClosedBefore { code: known.end.code, last: known.last },
            (false, true) => Verdict::AwaitsReplay,
            (false, false) => Verdict::ConnectedLater(None),
        };
    }
    if known.epoch != position.epoch {
        return Verdict::OtherLog;
    }
    let mut not_recovered = None;
    for stay in facts.stays(audience) {
        let Some(after) = stay.after else { continue };
        if after < sequence && stay.left.is_none_or(|left| sequence <= left) {
            return match stay.left {
                None if sequence > known.last => not_handed_over(sequence, facts),
                _ => handed_over(Verdict::Written, sequence, facts, queued_after),
            };
        }
        let asked = stay.continued.filter(|past| past.asked_for(position));
        match asked.map(|past| past.outcome) {
            Some(PastOutcome::Lost(lost)) => not_recovered = Some(Verdict::NotRecovered(lost)),
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
    not_recovered.unwrap_or_else(|| not_listening(sequence, audience, facts))
}

/// It listens, and the event is beyond what it was handed.
fn not_handed_over(sequence: u64, facts: &Facts) -> Verdict {
    let known = &facts.known;
    let code = known.end.code;
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
    let (code, unsent_bytes) = (end.code, end.unsent_bytes);
    let closed = |is_certain| Verdict::ClosedWhileWaiting { code, unsent_bytes, is_certain };
    if unsent_bytes == 0 {
        return otherwise;
    }
    if let Some(up_to) = facts.known.written_up_to.filter(|_| facts.is_ended) {
        return if sequence <= up_to { otherwise } else { closed(true) };
    }
    let QueuedAfter { bytes, is_complete: is_certain } = queued_after(sequence);
    match unsent_bytes.saturating_sub(bytes) {
        0 => otherwise,
        _ if facts.is_ended => closed(is_certain),
        behind_bytes => Verdict::Waiting { behind_bytes, is_certain },
    }
}

/// It was not handed the event, and did not ask for it.
fn not_listening(sequence: u64, audience: &Audience, facts: &Facts) -> Verdict {
    let known = &facts.known;
    let first = facts.first();
    if first.after.is_some_and(|after| sequence <= after) {
        let since = first.continued.filter(|past| !matches!(past.outcome, PastOutcome::History));
        return match since.and_then(|past| past.since).map(|since| since.sequence) {
            Some(since) if sequence <= since => Verdict::ContinuedLater(since),
            _ => Verdict::ConnectedLater(first.after),
        };
    }
    if facts.is_ended && sequence > known.last {
        return Verdict::ClosedBefore { code: known.end.code, last: known.last };
    }
    let is_group = matches!(audience, Audience::Group(_));
    let has_left_out = is_group && known.groups_left_out > 0;
    if is_group && sequence <= facts.left_dropped {
        return Verdict::Forgotten;
    }
    let lefts = facts.stays(audience).filter_map(|stay| stay.left);
    if let Some(left) = lefts.filter(|left| *left < sequence).max() {
        // It may have come back since; that was later than the event.
        return Verdict::LeftEarlier(left);
    }
    let joined = facts.stays(audience).filter_map(|stay| stay.after).min();
    match facts.stays(audience).next() {
        Some(_) => Verdict::JoinedLater(joined),
        None if has_left_out => Verdict::Forgotten,
        None => Verdict::NeverListened,
    }
}

impl Verdict {
    /// The fixed word.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Waiting { .. } | Self::OnItsWay { .. } | Self::AwaitsReplay => "waiting",
            Self::JoinedLater(_) | Self::LeftEarlier(_) | Self::NeverListened => "not_listening",
            Self::ConnectedLater(_) | Self::ContinuedLater(_) => "connected_later",
            Self::ClosedBefore { .. } => "closed_before",
            Self::ClosedWhileWaiting { .. } => "closed_while_waiting",
            Self::Recovered(_) => "recovered_by_replay",
            Self::NotRecovered(_) | Self::LostByGateway(_) => "not_recovered",
            Self::Excluded => "excluded",
            Self::OtherLog | Self::Forgotten => "not_kept_any_more",
        }
    }

    /// The same as a sentence, for an event of this log to a connection of this dialect.
    pub fn sentence(self, subject: &Subject, dialect: Dialect) -> String {
        let said = Sentence { verdict: self, subject }.to_string();
        match dialect.has_positions() {
            true => said,
            // What such a client has seen of it is known by nobody else.
            false => format!(
                "{said} (a client of the plain dialect gets no positions, so it cannot ask for what it missed)"
            ),
        }
    }
}

struct Sentence<'a> {
    verdict: Verdict,
    subject: &'a Subject,
}

impl fmt::Display for Sentence<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Subject { position, audience, .. } = self.subject;
        let at = |sequence| Position { epoch: position.epoch, sequence };
        match self.verdict {
            Verdict::Written => {
                f.write_str("the kernel of the gateway's host has taken all of it for this connection")
            }
            Verdict::Waiting { behind_bytes, is_certain: true } => write!(
                f,
                "it is in the outbox of this connection, behind at most {behind_bytes} bytes that the \
                 client has not read yet"
            ),
            Verdict::Waiting { behind_bytes, is_certain: false } => write!(
                f,
                "it may be in the outbox of this connection, in which {behind_bytes} bytes wait, or be \
                 written: the gateway does not keep enough events any more to tell"
            ),
            Verdict::OnItsWay { reached } => write!(
                f,
                "the gateway has not handed it to this connection yet: its worker has come to {}",
                at(reached)
            ),
            Verdict::AwaitsReplay => f.write_str(
                "the connection is not greeted yet: its gateway is looking for the events that it missed",
            ),
            Verdict::JoinedLater(None) => {
                write!(f, "the connection's join of {} is not confirmed yet", Shown(audience))
            }
            Verdict::JoinedLater(Some(joined)) => write!(
                f,
                "the connection joined {} later, after position {}",
                Shown(audience),
                at(joined)
            ),
            Verdict::LeftEarlier(left) => write!(
                f,
                "the connection had left {} before, at position {}",
                Shown(audience),
                at(left)
            ),
            Verdict::NeverListened => {
                write!(f, "the connection never listened to {}", Shown(audience))
            }
            Verdict::ConnectedLater(None) => {
                f.write_str("the connection is not greeted yet: it gets later events only")
            }
            Verdict::ConnectedLater(Some(first)) => write!(
                f,
                "the connection was opened later: it listens after position {}",
                at(first)
            ),
            Verdict::ContinuedLater(since) => write!(
                f,
                "the connection was opened later, by a client that said it had everything up to {}",
                at(since)
            ),
            Verdict::ClosedBefore { code, last } => write!(
                f,
                "the connection had ended before, {}: the last position that it was handed is {}",
                Ended(code),
                at(last)
            ),
            Verdict::ClosedWhileWaiting { code, unsent_bytes, is_certain } => write!(
                f,
                "the connection ended, {}, while {unsent_bytes} bytes waited in its outbox, {}",
                Ended(code),
                match is_certain {
                    true => "with this event among them",
                    false => "perhaps with this event among them: too few events are kept to tell",
                }
            ),
            Verdict::Recovered(PastOutcome::History) => f.write_str(
                "the connection was opened later, and got the event among the earlier ones that it asked for",
            ),
            Verdict::Recovered(_) => f.write_str(
                "the client had missed it, and got it when it came back with its position",
            ),
            Verdict::NotRecovered(lost) => write!(
                f,
                "the client had missed it, and could not get it when it came back: {} ({})",
                why(lost),
                lost.word()
            ),
            Verdict::LostByGateway(gap) => write!(
                f,
                "the gateway lost it while it had no link to the broker, and has told its clients that events \
                 may be missing: {} ({})",
                why(gap.into()),
                Lost::from(gap).word()
            ),
            Verdict::Excluded => f.write_str("the event was for everybody else but this connection"),
            Verdict::OtherLog => f.write_str(
                "the position belongs to another log than what is known of this connection",
            ),
            Verdict::Forgotten => f.write_str(
                "the connection has joined and left so many groups since that it is not known any more \
                 whether it was in this one",
            ),
        }
    }
}

fn why(lost: Lost) -> &'static str {
    match lost {
        Lost::EpochChanged => "the broker has begun another log",
        Lost::Expired => "the broker did not keep it any more",
        Lost::TooFar => "it had missed more bytes than are sent to one client",
        Lost::Malformed => "what it sent was not a position",
    }
}

/// How a connection ended.
struct Ended(u16);

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("without a close code"),
            code if code == CloseCode::TooSlow.code() => {
                write!(f, "closed with {code} because its client reads too slowly")
            }
            code => write!(f, "closed with {code}"),
        }
    }
}

/// An audience with its name in quotes, because clients choose names.
struct Shown<'a>(&'a Audience);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Audience::Everyone => f.write_str("everyone"),
            Audience::Group(group) => write!(f, "the group {:?}", &**group),
            Audience::User(user) => write!(f, "the user {:?}", &**user),
        }
    }
}

#[cfg(test)]
mod tests;
