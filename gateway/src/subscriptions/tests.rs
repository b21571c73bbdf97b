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
        (0u64..4, prop::collection::vec(any::<bool>(), 3)).prop_map(|(c, g)| Step::Attach(c, g)),
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
