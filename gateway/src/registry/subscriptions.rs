//! Who of a worker's connections listens to what. Pure: the registry's core.
//!
//! A connection is attached and joins groups at once, but listens only from the moment when the
//! broker has confirmed the interest, and what it has missed was found: until then each step is
//! pending under its ticket.

use std::collections::{BTreeMap, HashMap, HashSet};

use campanile_messages::{Audience, ConnectionId};
use slab::Slab;

use crate::report::{Change, Resume, StepTicket};
use crate::resume::{Lost, ReplayStart, Resumed, Since};

/// The members of one worker. `T` is whatever its owner keeps for each connection.
#[derive(Debug)]
pub struct Subscriptions<T> {
    members: Slab<Member<T>>,
    slots: HashMap<ConnectionId, usize>,
    /// Confirmed members only. Everyone is not in it: that is all members.
    listeners: HashMap<Audience, HashSet<usize>>,
    /// Steps that wait for the broker's confirmation and nothing else.
    pending: BTreeMap<StepTicket, PendingStep>,
    /// Steps that wait for what was missed, too.
    resuming: HashMap<StepTicket, (ConnectionId, ReplayStart)>,
    max_groups: usize,
}

#[derive(Debug)]
struct Member<T> {
    data: T,
    /// The ticket of its attach, until that is confirmed.
    awaits: Option<StepTicket>,
    /// What it listens to beside everyone.
    memberships: Vec<Membership>,
}

#[derive(Debug)]
struct Membership {
    audience: Audience,
    /// The ticket of its join, until that is confirmed.
    awaits: Option<StepTicket>,
}

#[derive(Debug)]
struct PendingStep {
    connection: ConnectionId,
    /// It wanted to go on at something that is no position.
    is_malformed: bool,
}

/// What a ticket stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The connection is to be greeted; it listens to everyone and what it came with.
    Attach(ConnectionId),
    /// The connection listens to the audience, too.
    Join(ConnectionId, Audience),
}

impl Step {
    /// Whose step it is.
    pub fn connection(&self) -> ConnectionId {
        let (Self::Attach(connection) | Self::Join(connection, _)) = *self;
        connection
    }
}

/// What the bridge is to be told of an act of one connection.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// At most one per audience.
    pub changes: Vec<Change>,
    /// What it wants to hear of the past.
    pub resume: Option<Resume>,
    /// Its earlier resumes that were not answered and are no longer awaited.
    pub gone: Vec<StepTicket>,
}

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is not greeted.
    Pending,
    /// It is, and a join of it is pending.
    Joining,
    /// It listens to all that it wants.
    Settled,
}

/// What came of a join.
#[derive(Debug, PartialEq, Eq)]
pub enum Joining {
    /// It waits for its confirmation.
    Begun(Changed),
    /// It waits already, and is confirmed once.
    Repeated,
    /// The connection listens to this audience already.
    Already,
    /// It listens to as many groups as it may.
    TooMany,
    /// There is no such connection.
    Gone,
}

impl<T> Member<T> {
    fn standing(&self) -> Standing {
        match self.awaits {
            Some(_) => Standing::Pending,
            None if self.memberships.iter().any(|joined| joined.awaits.is_some()) => {
                Standing::Joining
            }
            None => Standing::Settled,
        }
    }
}

impl<T> Subscriptions<T> {
    /// No members yet; each may have up to `max_groups` groups.
    pub fn new(max_groups: usize) -> Self {
        Self {
            members: Slab::new(),
            slots: HashMap::new(),
            listeners: HashMap::new(),
            pending: BTreeMap::new(),
            resuming: HashMap::new(),
            max_groups,
        }
    }

    /// A connection comes, with audiences that must be distinct, besides everyone.
    pub fn attach(
        &mut self,
        id: ConnectionId,
        audiences: Vec<Audience>,
        since: Option<Since>,
        data: T,
        ticket: StepTicket,
    ) -> Changed {
        let awaits = Some(ticket);
        let begin = |audience| Membership { audience, awaits };
        let memberships: Vec<_> = audiences.into_iter().map(begin).collect();
        let changes: Vec<_> = all_of(&memberships).map(|audience| (audience, 1)).collect();
        let slot = self.members.insert(Member { data, awaits, memberships });
        self.slots.insert(id, slot);
        let all = || changes.iter().map(|(audience, _)| audience.clone()).collect();
        let resume = self.begin(ticket, id, since, all);
        Changed { changes, resume, gone: Vec::new() }
    }

    /// A connection wants to listen to one more audience.
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
            Some(Membership { awaits: None, .. }) => Joining::Already,
            Some(_) => Joining::Repeated,
            None if memberships.len() >= self.max_groups => Joining::TooMany,
            None => {
                let awaits = Some(ticket);
                memberships.push(Membership { audience: audience.clone(), awaits });
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

    /// A connection no longer wants to listen to an audience; a join of it that waits is forgotten.
    /// `None` if it did not listen and did not wait.
    pub fn leave(&mut self, id: ConnectionId, audience: &Audience) -> Option<Changed> {
        let slot = *self.slots.get(&id)?;
        let member = &mut self.members[slot];
        let is_it = |membership: &Membership| membership.audience == *audience;
        let place = member.memberships.iter().position(is_it)?;
        let left = member.memberships.swap_remove(place);
        let awaited = left.awaits.filter(|_| left.awaits != member.awaits);
        let gone = awaited.filter(|ticket| self.forget(*ticket)).into_iter().collect();
        self.stop_listening(slot, audience);
        Some(Changed { changes: vec![(left.audience, -1)], resume: None, gone })
    }

    /// A connection is gone. Changes nothing for one that is gone already.
    pub fn detach(&mut self, id: ConnectionId) -> Changed {
        let Some(slot) = self.slots.remove(&id) else {
            return Changed::default();
        };
        let Member { awaits, memberships, .. } = self.members.remove(slot);
        let awaited = awaits.into_iter().chain(memberships.iter().filter_map(|m| m.awaits));
        let gone = awaited.filter(|ticket| self.forget(*ticket)).collect();
        memberships.iter().for_each(|left| self.stop_listening(slot, &left.audience));
        if self.members.is_empty() {
            // A storm of connections must not keep its room when all have left.
            self.members.shrink_to_fit();
            self.slots.shrink_to_fit();
            self.listeners.shrink_to_fit();
        }
        let changes = all_of(&memberships).map(|audience| (audience, -1)).collect();
        Changed { changes, resume: None, gone }
    }

    /// The broker knows of every step up to this ticket. Those that wait for nothing else are done,
    /// each with the answer to a client that named something that is no position. Returns at most
    /// `max` of them; as many as that mean that there may be more.
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

    /// The broker knows of a step, and what was missed is found, or known to be lost: the step is
    /// done. `None` if the connection or its join is gone.
    pub fn resume(&mut self, ticket: StepTicket) -> Option<(Step, ReplayStart)> {
        let (connection, start) = self.resuming.remove(&ticket)?;
        Some((self.complete(connection, ticket), start))
    }

    /// From here on what awaits this ticket counts.
    fn complete(&mut self, connection: ConnectionId, ticket: StepTicket) -> Step {
        let slot = self.slots[&connection];
        let member = &mut self.members[slot];
        let mut step = Step::Attach(connection);
        let attaches = member.awaits.take_if(|awaited| *awaited == ticket).is_some();
        for membership in member.memberships.iter_mut().filter(|m| m.awaits == Some(ticket)) {
            membership.awaits = None;
            self.listeners.entry(membership.audience.clone()).or_default().insert(slot);
            if !attaches {
                step = Step::Join(connection, membership.audience.clone());
            }
        }
        step
    }

    /// Calls `act` for each confirmed connection that listens to an audience, once.
    pub fn for_each_listener(&self, audience: &Audience, mut act: impl FnMut(usize, &T)) {
        if matches!(audience, Audience::Everyone) {
            for (slot, member) in &self.members {
                if member.awaits.is_none() {
                    act(slot, &member.data);
                }
            }
            return;
        }
        for &slot in self.listeners.get(audience).into_iter().flatten() {
            let member = &self.members[slot];
            // A join may be confirmed in the same breath as the attach, never before it.
            if member.awaits.is_none() {
                act(slot, &member.data);
            }
        }
    }

    /// The connection with this id, once it is confirmed.
    pub fn get(&self, id: ConnectionId) -> Option<&T> {
        let member = &self.members[*self.slots.get(&id)?];
        member.awaits.is_none().then_some(&member.data)
    }

    /// The connection in a slot that [`for_each_listener`](Self::for_each_listener) told.
    pub fn in_slot(&self, slot: usize) -> Option<&T> {
        self.members.get(slot).map(|member| &member.data)
    }

    /// How far a connection has come; one that is gone is nowhere.
    pub fn standing(&self, id: ConnectionId) -> Standing {
        self.slots.get(&id).map_or(Standing::Pending, |slot| self.members[*slot].standing())
    }

    /// Every connection, with how far it has come.
    pub fn all_mut(&mut self) -> impl Iterator<Item = (&mut T, Standing)> {
        self.members.iter_mut().map(|(_, member)| {
            let standing = member.standing();
            (&mut member.data, standing)
        })
    }

    /// Whether a resume is forgotten with it.
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

/// What a member listens to, everyone first.
fn all_of(memberships: &[Membership]) -> impl Iterator<Item = Audience> {
    let others = memberships.iter().map(|membership| membership.audience.clone());
    std::iter::once(Audience::Everyone).chain(others)
}

#[cfg(test)]
mod tests;
