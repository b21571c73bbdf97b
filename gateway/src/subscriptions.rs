//! Who of a worker's connections listens to what. Pure: the registry's core.
//!
//! A connection is attached and joins groups at once, but listens only from the moment when the
//! broker has confirmed the interest: until then each step is pending under its ticket.

use std::collections::{BTreeMap, HashMap, HashSet};

use campanile_messages::{Audience, ConnectionId, GroupName};
use slab::Slab;

/// A worker's own number for a step that the broker is to confirm; tickets grow.
pub type Ticket = u64;

/// How the number of connections that listen to an audience changes.
pub type Change = (Audience, i32);

/// The members of one worker. `T` is whatever its owner keeps for each connection.
#[derive(Debug)]
pub struct Subscriptions<T> {
    members: Slab<Member<T>>,
    slots: HashMap<ConnectionId, usize>,
    /// Confirmed members only.
    groups: HashMap<GroupName, HashSet<usize>>,
    pending: BTreeMap<Ticket, ConnectionId>,
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

/// Something that the broker has confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Confirmed {
    /// The connection is to be greeted; it listens to everyone and the groups it came with.
    Attached(ConnectionId),
    /// The connection listens to the group.
    Joined(ConnectionId, GroupName),
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
            max_groups,
        }
    }

    /// A connection comes, with groups that must be distinct.
    pub fn attach(
        &mut self,
        id: ConnectionId,
        groups: Vec<GroupName>,
        data: T,
        ticket: Ticket,
    ) -> Vec<Change> {
        let awaits = Some(ticket);
        let groups: Vec<_> = groups.into_iter().map(|group| Membership { group, awaits }).collect();
        let changes = changes(&groups, 1);
        let slot = self.members.insert(Member { data, awaits, groups });
        self.slots.insert(id, slot);
        self.pending.insert(ticket, id);
        changes
    }

    /// A connection wants to listen to one more group.
    pub fn join(&mut self, id: ConnectionId, group: GroupName, ticket: Ticket) -> Joining {
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
                self.pending.insert(ticket, id);
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

    /// The broker knows of every step up to this ticket; from here on they count.
    pub fn confirm(&mut self, up_to: Ticket) -> Vec<Confirmed> {
        let mut confirmed = Vec::new();
        while let Some(entry) = self.pending.first_entry().filter(|entry| *entry.key() <= up_to) {
            let (ticket, id) = entry.remove_entry();
            let slot = self.slots[&id];
            let member = &mut self.members[slot];
            let attached = member.awaits == Some(ticket);
            if attached {
                member.awaits = None;
                confirmed.push(Confirmed::Attached(id));
            }
            for membership in member.groups.iter_mut().filter(|m| m.awaits == Some(ticket)) {
                membership.awaits = None;
                self.groups.entry(membership.group.clone()).or_default().insert(slot);
                if !attached {
                    confirmed.push(Confirmed::Joined(id, membership.group.clone()));
                }
            }
        }
        confirmed
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

    /// Every connection, with whether it is confirmed.
    pub fn all_mut(&mut self) -> impl Iterator<Item = (&mut T, bool)> {
        self.members.iter_mut().map(|(_, member)| (&mut member.data, member.awaits.is_none()))
    }

    fn forget(&mut self, awaited: Option<Ticket>) {
        if let Some(ticket) = awaited {
            self.pending.remove(&ticket);
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn group(name: &'static str) -> GroupName {
        GroupName::new(name).expect("a name")
    }

    fn listeners(subscriptions: &Subscriptions<u64>, audience: &Audience) -> Vec<u64> {
        let mut listeners = Vec::new();
        subscriptions.for_each_listener(audience, |_, id| listeners.push(*id));
        listeners.sort_unstable();
        listeners
    }

    #[test]
    fn a_connection_listens_once_its_interest_is_confirmed() {
        let mut subscriptions = Subscriptions::new(2);
        let news = Audience::Group(group("news"));
        assert_eq!(
            subscriptions.attach(ConnectionId(1), vec![group("news")], 1, 10),
            [(Audience::Everyone, 1), (news.clone(), 1)]
        );
        assert!(listeners(&subscriptions, &Audience::Everyone).is_empty());
        assert_eq!(subscriptions.get(ConnectionId(1)), None);
        assert_eq!(subscriptions.confirm(9), []);
        assert_eq!(subscriptions.confirm(10), [Confirmed::Attached(ConnectionId(1))]);
        assert_eq!(listeners(&subscriptions, &news), [1]);
        assert_eq!(subscriptions.get(ConnectionId(1)), Some(&1));
        assert_eq!(
            subscriptions.detach(ConnectionId(1)),
            [(Audience::Everyone, -1), (news.clone(), -1)]
        );
        assert_eq!(subscriptions.detach(ConnectionId(1)), []);
        assert!(listeners(&subscriptions, &news).is_empty());
    }

    #[test]
    fn a_join_counts_once_and_a_rejoin_waits_for_its_own_confirmation() {
        let mut subscriptions = Subscriptions::new(2);
        let id = ConnectionId(1);
        let a = || group("a");
        subscriptions.attach(id, vec![], 1, 1);
        subscriptions.confirm(1);
        assert_eq!(subscriptions.join(id, a(), 2), Joining::Begun((Audience::Group(a()), 1)));
        assert_eq!(subscriptions.join(id, a(), 3), Joining::Repeated);
        assert_eq!(subscriptions.leave(id, &a()), Some((Audience::Group(a()), -1)));
        assert_eq!(subscriptions.join(id, a(), 4), Joining::Begun((Audience::Group(a()), 1)));
        assert_eq!(subscriptions.confirm(3), []);
        assert!(listeners(&subscriptions, &Audience::Group(a())).is_empty());
        assert_eq!(subscriptions.confirm(4), [Confirmed::Joined(id, a())]);
        assert_eq!(subscriptions.join(id, a(), 5), Joining::Already);
        assert_eq!(listeners(&subscriptions, &Audience::Group(a())), [1]);
        assert_eq!(subscriptions.leave(id, &group("b")), None);
    }

    #[test]
    fn groups_are_limited() {
        let mut subscriptions = Subscriptions::new(1);
        subscriptions.attach(ConnectionId(1), vec![group("a")], 1, 1);
        assert_eq!(subscriptions.join(ConnectionId(1), group("b"), 2), Joining::TooMany);
        assert_eq!(subscriptions.join(ConnectionId(2), group("b"), 2), Joining::Gone);
    }

    #[test]
    fn connections_that_come_and_go_without_a_broker_leave_nothing_behind() {
        let mut subscriptions = Subscriptions::new(9);
        for ticket in 0..100 {
            let id = ConnectionId(ticket);
            subscriptions.attach(id, vec![group("a")], 1, 2 * ticket);
            subscriptions.join(id, group("b"), 2 * ticket + 1);
            subscriptions.detach(id);
        }
        assert!(subscriptions.pending.is_empty());
        assert_eq!(subscriptions.confirm(Ticket::MAX), []);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Attach(u64, Vec<bool>),
        Join(u64, usize),
        Leave(u64, usize),
        Detach(u64),
        Confirm(u64),
    }

    const NAMES: [&str; 3] = ["a", "b", "c"];

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0u64..4, prop::collection::vec(any::<bool>(), 3))
                .prop_map(|(c, g)| Step::Attach(c, g)),
            (0u64..4, 0usize..3).prop_map(|(c, g)| Step::Join(c, g)),
            (0u64..4, 0usize..3).prop_map(|(c, g)| Step::Leave(c, g)),
            (0u64..4).prop_map(Step::Detach),
            (0u64..4).prop_map(Step::Confirm),
        ]
    }

    proptest! {
        /// The model: a flat list of (connection, audience, ticket), and the reported counts.
        #[test]
        fn confirmed_members_listen_and_counts_add_up(
            steps in prop::collection::vec(step(), 0..60),
        ) {
            let mut subscriptions = Subscriptions::new(3);
            let mut model: Vec<(u64, Audience, Ticket)> = Vec::new();
            let mut counts: HashMap<Audience, i32> = HashMap::new();
            let mut confirmed = 0;
            // A connection id is never used again, so each new one takes the place of an old one.
            let mut ids = [0, 1, 2, 3];
            for (ticket, step) in (1..).zip(steps) {
                let mut changes = Vec::new();
                match step {
                    Step::Attach(c, wanted) => {
                        let id = ids[c as usize];
                        if !model.iter().any(|(m, ..)| *m == id) {
                            let groups: Vec<_> = NAMES.iter().zip(wanted).filter(|(_, w)| *w)
                                .map(|(name, _)| group(name)).collect();
                            changes = subscriptions.attach(ConnectionId(id), groups.clone(), id, ticket);
                            model.push((id, Audience::Everyone, ticket));
                            model.extend(groups.into_iter().map(|g| (id, Audience::Group(g), ticket)));
                        }
                    }
                    Step::Join(c, g) => {
                        let id = ids[c as usize];
                        let joining = subscriptions.join(ConnectionId(id), group(NAMES[g]), ticket);
                        if let Joining::Begun(change) = joining {
                            changes.push(change);
                            model.push((id, Audience::Group(group(NAMES[g])), ticket));
                        }
                    }
                    Step::Leave(c, g) => {
                        let id = ids[c as usize];
                        let audience = Audience::Group(group(NAMES[g]));
                        changes.extend(subscriptions.leave(ConnectionId(id), &group(NAMES[g])));
                        model.retain(|(m, a, _)| *m != id || *a != audience);
                    }
                    Step::Detach(c) => {
                        let id = ids[c as usize];
                        changes = subscriptions.detach(ConnectionId(id));
                        model.retain(|(m, ..)| *m != id);
                        ids[c as usize] += 4;
                    }
                    Step::Confirm(behind) => {
                        confirmed = confirmed.max(ticket.saturating_sub(behind));
                        subscriptions.confirm(confirmed);
                    }
                }
                for (audience, by) in changes {
                    *counts.entry(audience).or_default() += by;
                }
                for audience in std::iter::once(Audience::Everyone)
                    .chain(NAMES.map(|name| Audience::Group(group(name))))
                {
                    let members = |live: bool| -> Vec<u64> {
                        let mut ids: Vec<_> = model.iter()
                            .filter(|(_, a, t)| *a == audience && (!live || *t <= confirmed))
                            .map(|(id, ..)| *id).collect();
                        ids.sort_unstable();
                        ids
                    };
                    prop_assert_eq!(listeners(&subscriptions, &audience), members(true));
                    prop_assert_eq!(
                        counts.get(&audience).copied().unwrap_or_default() as usize,
                        members(false).len()
                    );
                }
            }
        }
    }
}
