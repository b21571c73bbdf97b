//! What a worker knows of one of its connections when somebody asks. Pure.

use campanile_messages::{Audience, GroupName, Position, UserName};

use super::ended::EndedConnection;
use super::gaps::Loss;
use super::left_groups::LeftGroup;
use super::listening::{Continued, Listening, PastOutcome};
use crate::report::StepTicket;
use crate::resume::ReplayStart;

/// What is known of a connection that lives, or ended lately.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The connection. Of one that lives, it says how far it has come until now.
    pub known: EndedConnection,
    /// Whether it has ended.
    pub is_ended: bool,
    /// What it has asked for of the past and waits for, with the steps for which it did.
    pub awaits_past: Vec<(StepTicket, ReplayStart)>,
    /// The groups that it has left.
    pub left_groups: Vec<LeftGroup>,
    /// Up to this sequence, groups that it has left may be forgotten.
    pub left_dropped: u64,
    /// What is known of whether this gateway has lost the event, at connections that were there then.
    pub loss: Loss,
}

/// A time in which a connection listened to an audience.
#[derive(Debug, Clone, Copy)]
pub struct Stay<'a> {
    /// It got the events after this sequence; `None` if it does not listen yet.
    pub after: Option<u64>,
    /// What it waits for of the events before.
    pub awaits: Option<ReplayStart>,
    /// What it got of the events before.
    pub continued: Option<&'a Continued>,
    /// It got the events up to this sequence; `None` if it still listens, or did until it ended.
    pub left: Option<u64>,
    /// Whether that began with a join of its own. What was replayed then came after events with higher positions.
    pub is_join: bool,
    /// Whether the connection was there before the log began that the event is in.
    pub is_restarted: bool,
}

impl Facts {
    /// How the connection listens, or did when it ended.
    pub fn first(&self) -> Stay<'_> {
        self.stay(&Listening::WithConnection, None)
    }

    /// Every time in which it listened to an audience; the present one comes first.
    pub fn stays<'a>(&'a self, audience: &'a Audience) -> impl Iterator<Item = Stay<'a>> {
        let group = match audience {
            Audience::Everyone => None,
            Audience::User(_) => None,
            Audience::Group(group) => Some(&**group),
        };
        let is_listener = match audience {
            Audience::Everyone => true,
            Audience::User(user) => self.known.user.as_deref() == Some(&**user),
            Audience::Group(_) => false,
        };
        let always = is_listener.then(|| self.first());
        let groups = self.known.groups.iter().filter(move |(name, _)| group == Some(&**name));
        let left = self.left_groups.iter().filter(move |left| group == Some(&*left.group));
        let now = groups.map(|(_, listening)| self.stay(listening, None));
        always.into_iter().chain(now).chain(left.map(|d| self.stay(&d.listening, Some(d.left))))
    }

    fn stay<'a>(&'a self, listening: &'a Listening, left: Option<u64>) -> Stay<'a> {
        let (own, is_join) = match listening {
            Listening::WithConnection => (&self.known.first, false),
            own => (own, true),
        };
        let is_restarted = matches!(own, Listening::Restarted(_));
        let awaits = own.ticket().and_then(|ticket| {
            let (_, start) = self.awaits_past.iter().find(|(step, _)| *step == ticket)?;
            Some(*start)
        });
        let (after, continued) = (own.after(), own.continued());
        Stay { after, awaits, continued, left, is_join, is_restarted }
    }

    /// What it listens to at present, or did when it ended, each with the sequence after which it surely got
    /// all events.
    pub fn audiences(&self) -> Vec<(Audience, u64)> {
        let groups = self.known.groups.iter().filter_map(|(name, listening)| {
            let group = GroupName::new(name.to_string()).ok()?;
            Some((Audience::Group(group), self.stay(listening, None).sent_after()?))
        });
        let first = self.first().sent_after();
        let user = self.known.user.as_ref().and_then(|user| UserName::new(user.to_string()).ok());
        let always = std::iter::once(Audience::Everyone).chain(user.map(Audience::User));
        first
            .into_iter()
            .flat_map(|after| always.clone().map(move |a| (a, after)))
            .chain(groups)
            .collect()
    }

    /// Whether all that was put into the outbox behind this event, of which there may be more, came with higher
    /// positions and to the present audiences: no group was left since, or joined with earlier events.
    pub fn is_order_known(&self, sequence: u64) -> bool {
        let is_join_before = |listening: &Listening| match listening {
            Listening::Continued(past) => past.at < sequence,
            _ => true,
        };
        self.left_dropped < sequence
            && self.left_groups.iter().all(|left| left.left < sequence)
            && self.known.groups_left_out == 0
            && self.known.groups.iter().all(|(_, listening)| is_join_before(listening))
    }

    /// The last position that was handed to it.
    pub fn last(&self) -> Position {
        Position { epoch: self.known.epoch, sequence: self.known.last }
    }
}

impl Stay<'_> {
    /// Whether an event is within it.
    pub fn contains(&self, sequence: u64) -> bool {
        self.after.is_some_and(|after| after < sequence)
            && self.left.is_none_or(|left| sequence <= left)
    }

    /// After which sequence all events were sent, or are.
    fn sent_after(self) -> Option<u64> {
        let replayed = self.continued.filter(|past| past.outcome == PastOutcome::Replayed);
        let since = replayed.and_then(|past| past.since).map(|since| since.sequence);
        since.or(self.after)
    }
}
