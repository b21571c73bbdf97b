//! Verdicts as sentences. Pure.

use std::fmt;

use campanile_messages::{Audience, Position};

use super::verdict::{Subject, Verdict};
use crate::dialects::Dialect;
use crate::resume::Lost;
use crate::trace::listening::PastOutcome;
use crate::websocket::CloseCode;

impl Verdict {
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
                "it may be in the outbox of this connection, or be written: {behind_bytes} bytes wait there \
                 of which the gateway cannot tell whether they are this event, later ones that it does not \
                 keep, or other messages"
            ),
            Verdict::OnItsWay { reached } => write!(
                f,
                "the gateway has not handed it to this connection yet: its worker has come to {}",
                at(reached)
            ),
            Verdict::AwaitsReplay => f.write_str(
                "the client has asked for earlier events, and its gateway is looking for them",
            ),
            Verdict::NeverGreeted { code, is_later: false } => write!(
                f,
                "the connection had not been greeted when the event came, and never was: it ended, {}",
                Ended(code)
            ),
            Verdict::NeverGreeted { code, is_later: true } => write!(
                f,
                "the connection had ended before, {}: it was never greeted",
                Ended(code)
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
                write!(f, "the connection did not listen to {}", Shown(audience))
            }
            Verdict::ConnectedLater(None) => {
                f.write_str("the connection is not greeted yet: it gets later events only")
            }
            Verdict::ConnectedLater(Some(first)) => write!(
                f,
                "the connection was greeted later: it listens after position {}",
                at(first)
            ),
            Verdict::ContinuedLater(since) => write!(
                f,
                "the connection was greeted later, for a client that said it had everything up to {}",
                at(since)
            ),
            Verdict::ClosedBefore { code, last } => write!(
                f,
                "the connection had ended before its gateway got the event, {}: the last position that it was \
                 handed is {}",
                Ended(code),
                at(last)
            ),
            Verdict::ClosedWhileWaiting { code, unsent_bytes, is_certain } => write!(
                f,
                "the connection ended, {}, while {unsent_bytes} bytes waited in its outbox, {}",
                Ended(code),
                match is_certain {
                    true => "with this event among them",
                    false => {
                        "perhaps with this event among them: they may also be later events that are not kept, \
                         or other messages"
                    }
                }
            ),
            Verdict::Recovered(PastOutcome::History) => f.write_str(
                "the connection was greeted later, and got the event among the earlier ones that it asked for",
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
            Verdict::LossForgotten => f.write_str(
                "the gateway has lost events so often since that it is not known any more whether it got this \
                 one",
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
