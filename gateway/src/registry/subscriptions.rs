//! Who of a worker's connections listens to what. Pure: the registry's core.
//!
//! A connection is attached and joins groups at once, but listens only from the moment when the
//! broker has confirmed the interest, and what it has missed was found: until then each step is
//! pending under its ticket.

use std::collections::{BTreeMap, HashMap, HashSet};

use campanile_messages::{Audience, ConnectionId, GroupName};
use slab::Slab;

use crate::resume::{Lost, Resumed, Since, Start};

/// A worker's own number for a step that the broker is to confirm; tickets grow.
pub type Ticket = u64;

/// How the number of connections that listen to an audience changes.
pub type Change = (Audience, i32);

impl<T> Member<T> {
    fn standing(&self) -> Standing {
        match self.awaits {
            Some(_) => Standing::Pending,
            None if self.groups.iter().any(|group| group.awaits.is_some()) => Standing::Joining,
            None => Standing::Settled,
        }
    }
}

/// The members of one worker. `T` is whatever its owner keeps for each connection.
#[derive(Debug)]
pub struct Subscriptions<T> {
    members: Slab<Member<T>>,
    slots: HashMap<ConnectionId, usize>,
    /// Confirmed members only.
    groups: HashMap<GroupName, HashSet<usize>>,
    /// Steps that the broker has not confirmed.
    pending: BTreeMap<Ticket, Pending>,
    /// Steps that it has, and for which is looked what was missed.
    resuming: HashMap<Ticket, (ConnectionId, Start)>,
    max_groups: usize,
}

#[derive(Debug)]
struct Member<T> {
    data: T,
    /// The ticket of its attach, until that is confirmed.
    awaits: Option<Ticket>,
    groups: Vec<Membership>,
}

#[derive(Debug)]
struct Membership {
    group: GroupName,
    /// The ticket of its join, until that is confirmed.
    awaits: Option<Ticket>,
}

#[derive(Debug)]
struct Pending {
    connection: ConnectionId,
    since: Option<Since>,
}

/// What a ticket stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The connection is to be greeted; it listens to everyone and the groups it came with.
    Attach(ConnectionId),
    /// The connection listens to the group.
    Join(ConnectionId, GroupName),
}

/// Something that the broker has confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Confirmed {
    /// The step is done; for a client that wanted to go on somewhere, whether it does.
    Done(Step, Option<Resumed>),
    /// What was missed is to be found; then the step is [resumed](Subscriptions::resume).
    Missed {
        /// The step's.
        ticket: Ticket,
        /// From here on.
        start: Start,
        /// Of these.
        audiences: Vec<Audience>,
    },
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Joining {
    /// It waits for its confirmation.
    Begun(Change),
    /// It waits already, and is confirmed once.
    Repeated,
    /// The connection listens to this group already.
    Already,
    /// It listens to as many groups as it may.
    TooMany,
    /// There is no such connection.
    Gone,
}

impl<T> Subscriptions<T> {
    /// No members yet; each may have up to `max_groups` groups.
    pub fn new(max_groups: usize) -> Self {
        Self {
            members: Slab::new(),
            slots: HashMap::new(),
            groups: HashMap::new(),
            pending: BTreeMap::new(),
            resuming: HashMap::new(),
            max_groups,
        }
    }

    /// A connection comes, with groups that must be distinct.
    pub fn attach(
        &mut self,
        id: ConnectionId,
        groups: Vec<GroupName>,
        since: Option<Since>,
        data: T,
        ticket: Ticket,
    ) -> Vec<Change> {
        let awaits = Some(ticket);
        let groups: Vec<_> = groups.into_iter().map(|group| Membership { group, awaits }).collect();
        let changes = changes(&groups, 1);
        let slot = self.members.insert(Member { data, awaits, groups });
        self.slots.insert(id, slot);
        self.pending.insert(ticket, Pending { connection: id, since });
        changes
    }

    /// A connection wants to listen to one more group.
    pub fn join(
        &mut self,
        id: ConnectionId,
        group: GroupName,
        since: Option<Since>,
        ticket: Ticket,
    ) -> Joining {
        let Some(&slot) = self.slots.get(&id) else {
            return Joining::Gone;
        };
        let memberships = &mut self.members[slot].groups;
        match memberships.iter().find(|membership| membership.group == group) {
            Some(Membership { awaits: None, .. }) => Joining::Already,
            Some(_) => Joining::Repeated,
            None if memberships.len() >= self.max_groups => Joining::TooMany,
            None => {
                memberships.push(Membership { group: group.clone(), awaits: Some(ticket) });
                self.pending.insert(ticket, Pending { connection: id, since });
                Joining::Begun((Audience::Group(group), 1))
            }
        }
    }

    /// A connection no longer wants to listen to a group; a join of it that waits is forgotten.
    /// `None` if it did not listen and did not wait.
    pub fn leave(&mut self, id: ConnectionId, group: &GroupName) -> Option<Change> {
        let slot = *self.slots.get(&id)?;
        let member = &mut self.members[slot];
        let place = member.groups.iter().position(|membership| membership.group == *group)?;
        let left = member.groups.swap_remove(place);
        if left.awaits != member.awaits {
            self.forget(left.awaits);
        }
        self.remove_from_group(slot, group);
        Some((Audience::Group(left.group), -1))
    }

    /// A connection is gone. Does nothing for one that is gone already.
    pub fn detach(&mut self, id: ConnectionId) -> Vec<Change> {
        let Some(slot) = self.slots.remove(&id) else {
            return Vec::new();
        };
        let member = self.members.remove(slot);
        self.forget(member.awaits);
        for membership in &member.groups {
            self.forget(membership.awaits);
            self.remove_from_group(slot, &membership.group);
        }
        if self.members.is_empty() {
            // A storm of connections must not keep its room when all have left.
            self.members.shrink_to_fit();
            self.slots.shrink_to_fit();
            self.groups.shrink_to_fit();
        }
        changes(&member.groups, -1)
    }

    /// The broker knows of every step up to this ticket. Those that have missed nothing are done.
    /// Returns at most `max` of them; as many as that mean that there may be more.
    pub fn confirm(&mut self, up_to: Ticket, max: usize) -> Vec<Confirmed> {
        let mut confirmed = Vec::new();
        while confirmed.len() < max
            && let Some(entry) = self.pending.first_entry().filter(|entry| *entry.key() <= up_to)
        {
            let (ticket, Pending { connection, since }) = entry.remove_entry();
            match since {
                Some(Since::At(since)) => {
                    confirmed.push(self.look_back(ticket, connection, Start::Behind(since)));
                }
                Some(Since::History(history)) => {
                    confirmed.push(self.look_back(ticket, connection, Start::History(history)));
                }
                Some(Since::Malformed) => {
                    let step = self.complete(connection, ticket);
                    confirmed.push(Confirmed::Done(step, Some(Err(Lost::Malformed))));
                }
                None => confirmed.push(Confirmed::Done(self.complete(connection, ticket), None)),
            }
        }
        confirmed
    }

    /// What was missed behind a position is found, or known to be lost: the step is done. `None` if
    /// the connection or its join is gone.
    pub fn resume(&mut self, ticket: Ticket) -> Option<(Step, Start)> {
        let (connection, start) = self.resuming.remove(&ticket)?;
        Some((self.complete(connection, ticket), start))
    }

    fn look_back(&mut self, ticket: Ticket, connection: ConnectionId, start: Start) -> Confirmed {
        self.resuming.insert(ticket, (connection, start));
        let audiences = self.audiences_of(connection, ticket);
        Confirmed::Missed { ticket, start, audiences }
    }

    fn audiences_of(&self, connection: ConnectionId, ticket: Ticket) -> Vec<Audience> {
        let member = &self.members[self.slots[&connection]];
        let everyone = (member.awaits == Some(ticket)).then_some(Audience::Everyone);
        let groups = member.groups.iter().filter(|membership| membership.awaits == Some(ticket));
        let groups = groups.map(|membership| Audience::Group(membership.group.clone()));
        everyone.into_iter().chain(groups).collect()
    }

    /// From here on what awaits this ticket counts.
    fn complete(&mut self, connection: ConnectionId, ticket: Ticket) -> Step {
        let slot = self.slots[&connection];
        let member = &mut self.members[slot];
        let mut step = Step::Attach(connection);
        let attaches = member.awaits.take_if(|awaited| *awaited == ticket).is_some();
        for membership in member.groups.iter_mut().filter(|m| m.awaits == Some(ticket)) {
            membership.awaits = None;
            self.groups.entry(membership.group.clone()).or_default().insert(slot);
            if !attaches {
                step = Step::Join(connection, membership.group.clone());
            }
        }
        step
    }

    /// Calls `act` for each confirmed connection that listens to an audience, once.
    pub fn for_each_listener(&self, audience: &Audience, mut act: impl FnMut(usize, &T)) {
        match audience {
            Audience::Everyone => {
                for (slot, member) in &self.members {
                    if member.awaits.is_none() {
                        act(slot, &member.data);
                    }
                }
            }
            Audience::Group(group) => {
                for &slot in self.groups.get(group).into_iter().flatten() {
                    let member = &self.members[slot];
                    // A join may be confirmed in the same breath as the attach, never before it.
                    if member.awaits.is_none() {
                        act(slot, &member.data);
                    }
                }
            }
            // No connection belongs to a user yet.
            Audience::User(_) => {}
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

    /// Whether a connection is here and not greeted yet.
    pub fn is_pending(&self, id: ConnectionId) -> bool {
        self.slots.get(&id).is_some_and(|slot| self.members[*slot].awaits.is_some())
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

    fn forget(&mut self, awaited: Option<Ticket>) {
        if let Some(ticket) = awaited {
            self.pending.remove(&ticket);
            self.resuming.remove(&ticket);
        }
    }

    fn remove_from_group(&mut self, slot: usize, group: &GroupName) {
        if let Some(members) = self.groups.get_mut(group) {
            members.remove(&slot);
            if members.is_empty() {
                self.groups.remove(group);
            }
        }
    }
}

fn changes(groups: &[Membership], by: i32) -> Vec<Change> {
    let groups = groups.iter().map(|membership| Audience::Group(membership.group.clone()));
    std::iter::once(Audience::Everyone).chain(groups).map(|audience| (audience, by)).collect()
}

#[cfg(test)]
mod tests;
