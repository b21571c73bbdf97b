//! Which of a worker's connections listen to which audiences. Pure: the registry's core.
//!
//! A connection is attached, and joins groups, at once. It listens only when the broker has confirmed the
//! interest, and the events that it missed are found. Until then, each of these steps is pending under
//! its ticket.

mod positions;

use std::collections::{BTreeMap, HashMap, HashSet};

use campanile_messages::{Audience, ConnectionId, UserName};
use slab::Slab;

use crate::report::{Change, Resume, StepTicket};
use crate::resume::{Lost, ReplayStart, Resumed, Since};
use crate::trace::listening::Listening;

/// The connections of one worker, called members. `T` is what the owner keeps for each of them.
#[derive(Debug)]
pub struct Subscriptions<T> {
    members: Slab<Member<T>>,
    slots: HashMap<ConnectionId, usize>,
    /// The slots of the listeners of each audience. [`Audience::Everyone`] has no entry, because all
    /// members belong to it.
    listeners: HashMap<Audience, HashSet<usize>>,
    /// The steps that wait only for the broker's confirmation.
    pending: BTreeMap<StepTicket, PendingStep>,
    /// The steps that wait for missed or earlier events, too.
    resuming: HashMap<StepTicket, (ConnectionId, ReplayStart)>,
    /// The sequence that the deliveries have reached: who begins to listen does so after it.
    reached: u64,
    max_groups: usize,
}

#[derive(Debug)]
struct Member<T> {
    data: T,
    /// Since when it listens; until its attach is complete, the ticket of that.
    listening: Listening,
    /// What it listens to, besides everyone.
    memberships: Vec<Membership>,
}

#[derive(Debug)]
struct Membership {
    audience: Audience,
    /// Since when it counts; until its join or attach is complete, the ticket of that.
    listening: Listening,
}

#[derive(Debug)]
struct PendingStep {
    connection: ConnectionId,
    /// Whether the client sent a string that is not a position.
    is_malformed: bool,
}

/// A step of a connection; each has its own ticket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The connection was attached. It is to be greeted, and listens to everyone and its first groups.
    Attach(ConnectionId),
    /// The connection has joined an audience.
    Join(ConnectionId, Audience),
}

impl Step {
    /// The connection that has taken the step.
    pub fn connection(&self) -> ConnectionId {
        let (Self::Attach(connection) | Self::Join(connection, _)) = *self;
        connection
    }
}

/// What has to be reported to the bridge after a step of one connection.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// At most one change per audience.
    pub changes: Vec<Change>,
    /// The missed or earlier events that the connection waits for.
    pub resume: Option<Resume>,
    /// The tickets of its unanswered resumes that it no longer waits for.
    pub gone: Vec<StepTicket>,
}

/// The state of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The connection is not greeted yet.
    Pending,
    /// The connection is greeted, and a join is pending.
    Joining,
    /// The connection listens to everything that it has asked for.
    Settled,
}

/// The result of a join.
#[derive(Debug, PartialEq, Eq)]
pub enum Joining {
    /// The join waits for its confirmation.
    Begun(Changed),
    /// The same join waits already, and will be confirmed once.
    Repeated,
    /// The connection listens to this audience already.
    Already,
    /// The connection is in as many groups as it may.
    TooMany,
    /// There is no such connection.
    Gone,
}

impl<T> Member<T> {
    fn standing(&self) -> Standing {
        let is_joining = || self.memberships.iter().any(|joined| joined.listening.is_pending());
        match self.listening.is_pending() {
            true => Standing::Pending,
            false if is_joining() => Standing::Joining,
            false => Standing::Settled,
        }
    }
}

impl<T> Subscriptions<T> {
    /// Starts without members. Each may be in up to `max_groups` groups.
    pub fn new(max_groups: usize) -> Self {
        Self {
            members: Slab::new(),
            slots: HashMap::new(),
            listeners: HashMap::new(),
            pending: BTreeMap::new(),
            resuming: HashMap::new(),
            reached: 0,
            max_groups,
        }
    }

    /// Attaches a connection, which listens to everyone and to `audiences`. These must be distinct.
    pub fn attach(
        &mut self,
        id: ConnectionId,
        audiences: Vec<Audience>,
        since: Option<Since>,
        data: T,
        ticket: StepTicket,
    ) -> Changed {
        let listening = Listening::Awaits(ticket);
        let begin = |audience| Membership { audience, listening: Listening::Awaits(ticket) };
        let memberships: Vec<_> = audiences.into_iter().map(begin).collect();
        let changes: Vec<_> = all_of(&memberships).map(|audience| (audience, 1)).collect();
        let slot = self.members.insert(Member { data, listening, memberships });
        self.slots.insert(id, slot);
        let all = || changes.iter().map(|(audience, _)| audience.clone()).collect();
        let resume = self.begin(ticket, id, since, all);
        Changed { changes, resume, gone: Vec::new() }
    }

    /// Lets a connection join one more audience.
    pub fn join(
        &mut self,
        id: ConnectionId,
        audience: Audience,
        since: Option<Since>,
        ticket: StepTicket,
    ) -> Joining {
        let Some(&slot) = self.slots.get(&id) else {
            return Joining::Gone;
        };
        let memberships = &mut self.members[slot].memberships;
        match memberships.iter().find(|membership| membership.audience == audience) {
            Some(joined) if joined.listening.is_pending() => Joining::Repeated,
            Some(_) => Joining::Already,
            None if groups_of(memberships) >= self.max_groups => Joining::TooMany,
            None => {
                let listening = Listening::Awaits(ticket);
                memberships.push(Membership { audience: audience.clone(), listening });
                let resume = self.begin(ticket, id, since, || vec![audience.clone()]);
                Joining::Begun(Changed { changes: vec![(audience, 1)], resume, gone: Vec::new() })
            }
        }
    }

    fn begin(
        &mut self,
        ticket: StepTicket,
        connection: ConnectionId,
        since: Option<Since>,
        audiences: impl FnOnce() -> Vec<Audience>,
    ) -> Option<Resume> {
        let start = match since {
            Some(Since::At(since)) => ReplayStart::After(since),
            Some(Since::History(history)) => ReplayStart::History(history),
            None | Some(Since::Malformed) => {
                let is_malformed = since.is_some();
                self.pending.insert(ticket, PendingStep { connection, is_malformed });
                return None;
            }
        };
        self.resuming.insert(ticket, (connection, start));
        Some(Resume { ticket, start, audiences: audiences() })
    }

    /// Lets a connection leave an audience, which also ends a pending join. `None` if it did not listen
    /// to the audience and no join was pending.
    pub fn leave(&mut self, id: ConnectionId, audience: &Audience) -> Option<Changed> {
        let slot = *self.slots.get(&id)?;
        let member = &mut self.members[slot];
        let is_it = |membership: &Membership| membership.audience == *audience;
        let place = member.memberships.iter().position(is_it)?;
        let left = member.memberships.swap_remove(place);
        let awaited = left.listening.ticket().filter(|_| left.listening != member.listening);
        let gone = awaited.filter(|ticket| self.forget(*ticket)).into_iter().collect();
        self.stop_listening(slot, audience);
        Some(Changed { changes: vec![(left.audience, -1)], resume: None, gone })
    }

    /// Forgets a connection. Changes nothing if it is forgotten already.
    pub fn detach(&mut self, id: ConnectionId) -> Changed {
        let Some(slot) = self.slots.remove(&id) else {
            return Changed::default();
        };
        let Member { listening, memberships, .. } = self.members.remove(slot);
        let joins = memberships.iter().filter_map(|joined| joined.listening.ticket());
        let awaited = listening.ticket().into_iter().chain(joins);
        let gone = awaited.filter(|ticket| self.forget(*ticket)).collect();
        memberships.iter().for_each(|left| self.stop_listening(slot, &left.audience));
        if self.members.is_empty() {
            // The memory for a storm of connections is released when all have left.
            self.members.shrink_to_fit();
            self.slots.shrink_to_fit();
            self.listeners.shrink_to_fit();
        }
        let changes = all_of(&memberships).map(|audience| (audience, -1)).collect();
        Changed { changes, resume: None, gone }
    }

    /// Completes the steps that the broker has confirmed, up to a ticket, except for those that wait for
    /// missed or earlier events. Returns at most `max` of them, each with the reply to a malformed
    /// position, if the client sent one. If `max` are returned, there may be more.
    pub fn confirm(&mut self, up_to: StepTicket, max: usize) -> Vec<(Step, Option<Resumed>)> {
        let mut done = Vec::new();
        while done.len() < max
            && let Some(entry) = self.pending.first_entry().filter(|entry| *entry.key() <= up_to)
        {
            let (ticket, PendingStep { connection, is_malformed }) = entry.remove_entry();
            let resumed = is_malformed.then_some(Err(Lost::Malformed));
            done.push((self.complete(connection, ticket), resumed));
        }
        done
    }

    /// Completes a step whose missed or earlier events are found, or known to be lost. `None` if the
    /// connection is gone, or has left the group.
    pub fn resume(&mut self, ticket: StepTicket) -> Option<(Step, ReplayStart)> {
        let (connection, start) = self.resuming.remove(&ticket)?;
        Some((self.complete(connection, ticket), start))
    }

    /// Completes a step: from here on, the connection listens to what it asked for with this ticket.
    fn complete(&mut self, connection: ConnectionId, ticket: StepTicket) -> Step {
        let slot = self.slots[&connection];
        let member = &mut self.members[slot];
        let mut step = Step::Attach(connection);
        let attaches = member.listening.ticket() == Some(ticket);
        let is_meant = |joined: &&mut Membership| joined.listening.ticket() == Some(ticket);
        for membership in member.memberships.iter_mut().filter(is_meant) {
            self.listeners.entry(membership.audience.clone()).or_default().insert(slot);
            if attaches {
                membership.listening = Listening::WithConnection;
            } else {
                membership.listening = Listening::After(self.reached);
                step = Step::Join(connection, membership.audience.clone());
            }
        }
        if attaches {
            member.listening = Listening::After(self.reached);
        }
        step
    }

    /// Calls `act` once for each connection that listens to an audience.
    pub fn for_each_listener(&self, audience: &Audience, mut act: impl FnMut(usize, &T)) {
        if matches!(audience, Audience::Everyone) {
            for (slot, member) in &self.members {
                if !member.listening.is_pending() {
                    act(slot, &member.data);
                }
            }
            return;
        }
        for &slot in self.listeners.get(audience).into_iter().flatten() {
            let member = &self.members[slot];
            // A join is not confirmed before the attach, but the attach may still wait for events.
            if !member.listening.is_pending() {
                act(slot, &member.data);
            }
        }
    }

    /// Returns the connection with this id, once it is greeted.
    pub fn get(&self, id: ConnectionId) -> Option<&T> {
        let member = &self.members[*self.slots.get(&id)?];
        (!member.listening.is_pending()).then_some(&member.data)
    }

    /// The same, to change it.
    pub fn get_mut(&mut self, id: ConnectionId) -> Option<&mut T> {
        let member = &mut self.members[*self.slots.get(&id)?];
        (!member.listening.is_pending()).then_some(&mut member.data)
    }

    /// The same, even if the connection is not greeted yet.
    pub fn known(&self, id: ConnectionId) -> Option<&T> {
        Some(&self.members[*self.slots.get(&id)?].data)
    }

    /// Returns what a connection listens to, besides everyone, or will once that is confirmed.
    pub fn audiences_of(&self, id: ConnectionId) -> impl Iterator<Item = &Audience> {
        let member = self.slots.get(&id).map(|slot| &self.members[*slot]);
        member.into_iter().flat_map(|member| &member.memberships).map(|joined| &joined.audience)
    }

    /// Returns the user that a connection is, if it is one.
    pub fn user(&self, id: ConnectionId) -> Option<&UserName> {
        self.audiences_of(id).find_map(|audience| match audience {
            Audience::User(user) => Some(user),
            Audience::Everyone | Audience::Group(_) => None,
        })
    }

    /// Returns the connections of a user, also those that are not greeted yet.
    pub fn of_user(&self, user: &UserName) -> Vec<&T> {
        let audience = Audience::User(user.clone());
        let is_awaited =
            |joined: &Membership| joined.audience == audience && joined.listening.is_pending();
        let pending = self.pending.values().map(|step| step.connection);
        let resuming = self.resuming.values().map(|(connection, _)| *connection);
        let coming = pending.chain(resuming).filter_map(|connection| self.slots.get(&connection));
        let coming: HashSet<_> =
            coming.filter(|slot| self.members[**slot].memberships.iter().any(is_awaited)).collect();
        let there = self.listeners.get(&audience).into_iter().flatten();
        there.chain(coming).map(|slot| &self.members[*slot].data).collect()
    }

    /// Returns the connection in a slot that was passed to
    /// [`for_each_listener`](Self::for_each_listener)'s `act`.
    pub fn in_slot(&self, slot: usize) -> Option<&T> {
        self.members.get(slot).map(|member| &member.data)
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.members.len()
    }

    /// The state of a connection; one that is gone counts as pending.
    pub fn standing(&self, id: ConnectionId) -> Standing {
        self.slots.get(&id).map_or(Standing::Pending, |slot| self.members[*slot].standing())
    }

    /// Returns every connection with its state.
    pub fn all_mut(&mut self) -> impl Iterator<Item = (&mut T, Standing)> {
        self.members.iter_mut().map(|(_, member)| {
            let standing = member.standing();
            (&mut member.data, standing)
        })
    }

    /// Forgets a pending step. Returns whether it waited for missed or earlier events.
    fn forget(&mut self, awaited: StepTicket) -> bool {
        self.pending.remove(&awaited);
        self.resuming.remove(&awaited).is_some()
    }

    fn stop_listening(&mut self, slot: usize, audience: &Audience) {
        if let Some(listeners) = self.listeners.get_mut(audience) {
            listeners.remove(&slot);
            if listeners.is_empty() {
                self.listeners.remove(audience);
            }
        }
    }
}

/// How many groups a member is in. The user that it is does not count.
fn groups_of(memberships: &[Membership]) -> usize {
    let is_group = |membership: &&Membership| matches!(membership.audience, Audience::Group(_));
    memberships.iter().filter(is_group).count()
}

/// The audiences of a member, everyone first.
fn all_of(memberships: &[Membership]) -> impl Iterator<Item = Audience> {
    let others = memberships.iter().map(|membership| membership.audience.clone());
    std::iter::once(Audience::Everyone).chain(others)
}

#[cfg(test)]
mod tests;
