//! The positions at which connections began to listen, for those who ask why one did not get an event.

use campanile_messages::{Audience, ConnectionId};

use super::{Step, Subscriptions};
use crate::report::StepTicket;
use crate::resume::ReplayStart;
use crate::trace::listening::{Continued, Listening};

impl<T> Subscriptions<T> {
    /// Notes the sequence that the deliveries have reached.
    #[inline]
    pub fn reach(&mut self, sequence: u64) {
        self.reached = sequence;
    }

    /// The sequence that the deliveries have reached.
    pub fn reached(&self) -> u64 {
        self.reached
    }

    /// Notes what a client got of the past when it completed a step.
    pub fn note_continued(&mut self, step: &Step, continued: Continued) {
        let Some(&slot) = self.slots.get(&step.connection()) else { return };
        let member = &mut self.members[slot];
        let listening = match step {
            Step::Attach(_) => Some(&mut member.listening),
            Step::Join(_, audience) => member
                .memberships
                .iter_mut()
                .find(|joined| joined.audience == *audience)
                .map(|joined| &mut joined.listening),
        };
        if let Some(listening) = listening {
            *listening = Listening::Continued(Box::new(continued));
        }
    }

    /// Lets everybody who listens do so since the position that is reached, because the log is another one.
    pub fn restart(&mut self) {
        for (_, member) in &mut self.members {
            for joined in
                member.memberships.iter_mut().filter(|joined| !joined.listening.is_pending())
            {
                joined.listening = Listening::WithConnection;
            }
            if !member.listening.is_pending() {
                member.listening = Listening::Restarted(self.reached);
            }
        }
    }

    /// A connection, with since when it listens, even if it is not greeted yet.
    pub fn since(&self, id: ConnectionId) -> Option<(&T, &Listening)> {
        let member = &self.members[*self.slots.get(&id)?];
        Some((&member.data, &member.listening))
    }

    /// Every connection with since when it listens.
    pub fn all_since(&self) -> impl Iterator<Item = (&T, &Listening)> {
        self.members.iter().map(|(_, member)| (&member.data, &member.listening))
    }

    /// What a connection listens to besides everyone, with since when.
    pub fn memberships(&self, id: ConnectionId) -> impl Iterator<Item = (&Audience, &Listening)> {
        let member = self.slots.get(&id).map(|slot| &self.members[*slot]);
        let memberships = member.into_iter().flat_map(|member| &member.memberships);
        memberships.map(|joined| (&joined.audience, &joined.listening))
    }

    /// What a connection has asked for of the past and waits for, with the steps for which it did.
    pub fn awaits_past(&self, id: ConnectionId) -> Vec<(StepTicket, ReplayStart)> {
        let first = self.since(id).map(|(_, listening)| listening);
        let joins = self.memberships(id).map(|(_, listening)| listening);
        let tickets = first.into_iter().chain(joins).filter_map(Listening::ticket);
        let mut found: Vec<(StepTicket, ReplayStart)> = Vec::new();
        for ticket in tickets {
            if found.last().is_none_or(|(last, _)| *last != ticket)
                && let Some((_, start)) = self.resuming.get(&ticket)
            {
                found.push((ticket, *start));
            }
        }
        found
    }

    /// Calls `act` for each connection that listens to an audience: with since when the connection listens,
    /// and since when it is in the audience.
    pub fn for_each_listener_since(
        &self,
        audience: &Audience,
        mut act: impl FnMut(&T, &Listening, &Listening),
    ) {
        self.for_each_listener(audience, |slot, data| {
            let Some(member) = self.members.get(slot) else { return };
            let joined = member.memberships.iter().find(|joined| joined.audience == *audience);
            act(
                data,
                &member.listening,
                joined.map_or(&member.listening, |joined| &joined.listening),
            );
        });
    }
}
