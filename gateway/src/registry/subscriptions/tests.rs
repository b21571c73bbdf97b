use std::collections::BTreeSet;

use campanile_messages::{GroupName, Position, UserName};
use proptest::prelude::*;

use super::*;

fn group(name: &'static str) -> Audience {
    Audience::Group(GroupName::new(name).expect("a name"))
}

fn user(name: &'static str) -> Audience {
    Audience::User(UserName::new(name).expect("a name"))
}

const P: Position = Position { epoch: 7, sequence: 3 };

fn changed(changes: &[Change]) -> Changed {
    Changed { changes: changes.to_vec(), ..Changed::default() }
}

fn begun(audience: Audience) -> Joining {
    Joining::Begun(changed(&[(audience, 1)]))
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
    let news = group("news");
    assert_eq!(
        subscriptions.attach(ConnectionId(1), vec![news.clone()], None, 1, 10),
        changed(&[(Audience::Everyone, 1), (news.clone(), 1)])
    );
    assert!(listeners(&subscriptions, &Audience::Everyone).is_empty());
    assert_eq!(subscriptions.get(ConnectionId(1)), None);
    assert_eq!(subscriptions.confirm(9, usize::MAX), []);
    assert_eq!(subscriptions.confirm(10, usize::MAX), [(Step::Attach(ConnectionId(1)), None)]);
    assert_eq!(listeners(&subscriptions, &news), [1]);
    assert_eq!(subscriptions.get(ConnectionId(1)), Some(&1));
    assert_eq!(
        subscriptions.detach(ConnectionId(1)),
        changed(&[(Audience::Everyone, -1), (news.clone(), -1)])
    );
    assert_eq!(subscriptions.detach(ConnectionId(1)), Changed::default());
    assert!(listeners(&subscriptions, &news).is_empty());
}

#[test]
fn a_rejoin_waits_for_its_own_confirmation() {
    let mut subscriptions = Subscriptions::new(2);
    let id = ConnectionId(1);
    let a = || group("a");
    subscriptions.attach(id, vec![], None, 1, 1);
    subscriptions.confirm(1, usize::MAX);
    assert_eq!(subscriptions.join(id, a(), None, 2), begun(a()));
    assert_eq!(subscriptions.join(id, a(), None, 3), Joining::Repeated);
    assert_eq!(subscriptions.leave(id, &a()), Some(changed(&[(a(), -1)])));
    assert_eq!(subscriptions.join(id, a(), None, 4), begun(a()));
    assert_eq!(subscriptions.confirm(3, usize::MAX), []);
    assert!(listeners(&subscriptions, &a()).is_empty());
    assert_eq!(subscriptions.confirm(4, usize::MAX), [(Step::Join(id, a()), None)]);
    assert_eq!(subscriptions.join(id, a(), None, 5), Joining::Already);
    assert_eq!(listeners(&subscriptions, &a()), [1]);
    assert_eq!(subscriptions.leave(id, &group("b")), None);
}

#[test]
fn the_groups_of_a_connection_are_limited() {
    let mut subscriptions = Subscriptions::new(1);
    subscriptions.attach(ConnectionId(1), vec![group("a")], None, 1, 1);
    assert_eq!(subscriptions.join(ConnectionId(1), group("b"), None, 2), Joining::TooMany);
    assert_eq!(subscriptions.join(ConnectionId(2), group("b"), None, 2), Joining::Gone);
}

#[test]
fn a_user_is_no_group_of_the_same_name_and_does_not_count_as_one() {
    let mut subscriptions = Subscriptions::new(1);
    subscriptions.attach(ConnectionId(1), vec![user("a")], None, 1, 1);
    subscriptions.attach(ConnectionId(2), vec![group("a")], None, 2, 2);
    subscriptions.confirm(2, usize::MAX);
    assert_eq!(listeners(&subscriptions, &user("a")), [1]);
    assert_eq!(listeners(&subscriptions, &group("a")), [2]);
    assert_eq!(subscriptions.user(ConnectionId(1)).map(|user| &**user), Some("a"));
    assert_eq!(subscriptions.user(ConnectionId(2)), None);
    assert_eq!(subscriptions.leave(ConnectionId(1), &group("a")), None);
    assert_eq!(subscriptions.join(ConnectionId(1), group("b"), None, 3), begun(group("b")));
    assert_eq!(subscriptions.join(ConnectionId(1), group("c"), None, 4), Joining::TooMany);
}

#[test]
fn the_connections_of_a_user_are_found_before_they_are_greeted() {
    let mut subscriptions = Subscriptions::new(2);
    let (it, other) = (user("42"), user("43"));
    let past = Some(Since::At(P));
    subscriptions.attach(ConnectionId(1), vec![it.clone()], None, 1, 1);
    subscriptions.attach(ConnectionId(2), vec![other, group("42")], None, 2, 2);
    subscriptions.confirm(2, usize::MAX);
    subscriptions.attach(ConnectionId(3), vec![group("a"), it.clone()], None, 3, 3);
    subscriptions.attach(ConnectionId(4), vec![it], past, 4, 4);
    // A join is pending, too.
    subscriptions.join(ConnectionId(1), group("b"), None, 5);
    let found = |subscriptions: &Subscriptions<u64>, name| {
        let name = UserName::new(name).expect("a name");
        let mut found: Vec<_> = subscriptions.of_user(&name).into_iter().copied().collect();
        found.sort_unstable();
        found
    };
    assert_eq!(found(&subscriptions, "42"), [1, 3, 4], "each once");
    assert_eq!(found(&subscriptions, "43"), [2]);
    subscriptions.detach(ConnectionId(3));
    assert_eq!(found(&subscriptions, "42"), [1, 4]);
    assert!(found(&subscriptions, "44").is_empty());
}

#[test]
fn connections_that_come_and_go_leave_nothing_behind() {
    let mut subscriptions = Subscriptions::new(9);
    let since = |ticket| (ticket % 2 == 0).then_some(Since::At(P));
    for ticket in 0..100 {
        let id = ConnectionId(ticket);
        subscriptions.attach(id, vec![group("a")], since(ticket), 1, 2 * ticket);
        subscriptions.join(id, group("b"), since(ticket), 2 * ticket + 1);
        if ticket % 4 == 1 {
            assert_eq!(subscriptions.confirm(2 * ticket, usize::MAX).len(), 1);
        }
        let gone = subscriptions.detach(id).gone;
        let awaited = if ticket % 2 == 0 { vec![2 * ticket, 2 * ticket + 1] } else { vec![] };
        assert_eq!(gone, awaited);
    }
    assert!(subscriptions.pending.is_empty() && subscriptions.resuming.is_empty());
    assert_eq!(subscriptions.confirm(StepTicket::MAX, usize::MAX), []);
}

#[test]
fn a_connection_listens_once_its_missed_events_are_found() {
    let mut subscriptions = Subscriptions::new(2);
    let id = ConnectionId(1);
    let (news, since) = (group("news"), Some(Since::At(P)));
    let start = ReplayStart::After(P);
    let audiences = vec![Audience::Everyone, news.clone()];
    assert_eq!(
        subscriptions.attach(id, vec![news.clone()], since, 1, 1).resume,
        Some(Resume { ticket: 1, start, audiences })
    );
    assert_eq!(subscriptions.confirm(1, usize::MAX), [], "its missed events are not found yet");
    assert!(listeners(&subscriptions, &news).is_empty());
    assert_eq!(subscriptions.resume(1), Some((Step::Attach(id), start)));
    assert_eq!(subscriptions.resume(1), None);
    assert_eq!(listeners(&subscriptions, &news), [1]);

    let eu = group("eu");
    let Joining::Begun(Changed { resume, .. }) = subscriptions.join(id, eu.clone(), since, 2)
    else {
        panic!("it may join");
    };
    assert_eq!(resume, Some(Resume { ticket: 2, start, audiences: vec![eu.clone()] }));
    assert!(subscriptions.all_mut().all(|(_, standing)| standing == Standing::Joining));
    assert_eq!(subscriptions.confirm(2, usize::MAX), []);
    assert!(listeners(&subscriptions, &eu).is_empty());
    assert_eq!(subscriptions.resume(2), Some((Step::Join(id, eu.clone()), start)));
    assert!(subscriptions.all_mut().all(|(_, standing)| standing == Standing::Settled));
    assert_eq!(listeners(&subscriptions, &eu), [1]);
}

#[test]
fn a_join_that_was_left_in_the_meantime_is_not_resumed() {
    let mut subscriptions = Subscriptions::new(2);
    let id = ConnectionId(1);
    subscriptions.attach(id, vec![], None, 1, 1);
    subscriptions.join(id, group("eu"), Some(Since::At(P)), 2);
    subscriptions.confirm(2, usize::MAX);
    let left = subscriptions.leave(id, &group("eu")).expect("it waited");
    assert_eq!(left.gone, [2]);
    assert_eq!(subscriptions.resume(2), None);
}

#[test]
fn a_malformed_position_is_answered_without_a_resume() {
    let mut subscriptions = Subscriptions::new(2);
    let id = ConnectionId(1);
    let changed = subscriptions.attach(id, vec![], Some(Since::Malformed), 1, 1);
    assert_eq!(changed.resume, None);
    let malformed = Some(Err(Lost::Malformed));
    assert_eq!(subscriptions.confirm(1, usize::MAX), [(Step::Attach(id), malformed)]);
}

#[test]
fn another_log_begins_for_those_who_listen() {
    let mut subscriptions = Subscriptions::new(2);
    let (there, new) = (ConnectionId(1), ConnectionId(2));
    subscriptions.attach(there, vec![group("a")], None, 1, 1);
    subscriptions.confirm(1, usize::MAX);
    subscriptions.join(there, group("b"), None, 2);
    subscriptions.confirm(2, usize::MAX);
    subscriptions.attach(new, vec![], None, 2, 3);
    subscriptions.reach(9);
    subscriptions.restart();
    subscriptions.confirm(3, usize::MAX);
    let since = |id| subscriptions.since(id).map(|(_, listening)| listening.clone());
    let (restarted, after) = (Listening::Restarted(9), Listening::After(9));
    assert_eq!([since(there), since(new)], [Some(restarted), Some(after)]);
    let mut joined = subscriptions.memberships(there);
    assert!(joined.all(|(_, listening)| *listening == Listening::WithConnection));
}

#[derive(Debug, Clone)]
enum Act {
    Attach(u64, Vec<bool>, bool),
    Join(u64, usize, bool),
    Leave(u64, usize),
    Detach(u64),
    Confirm(u64),
    Resume,
}

const NAMES: [&str; 3] = ["a", "b", "c"];

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        (0u64..4, prop::collection::vec(any::<bool>(), 3), any::<bool>())
            .prop_map(|(c, g, m)| Act::Attach(c, g, m)),
        (0u64..4, 0usize..3, any::<bool>()).prop_map(|(c, g, m)| Act::Join(c, g, m)),
        (0u64..4, 0usize..3).prop_map(|(c, g)| Act::Leave(c, g)),
        (0u64..4).prop_map(Act::Detach),
        (0u64..4).prop_map(Act::Confirm),
        Just(Act::Resume),
    ]
}

proptest! {
    /// The model: a flat list of (connection, audience, ticket), and the counts that were reported.
    #[test]
    fn confirmed_members_listen_and_counts_add_up(
        acts in prop::collection::vec(act(), 0..60),
    ) {
        let mut subscriptions = Subscriptions::new(3);
        let mut model: Vec<(u64, Audience, StepTicket)> = Vec::new();
        let mut counts: HashMap<Audience, i32> = HashMap::new();
        let mut confirmed = 0;
        // The steps whose missed events are not found yet.
        let mut missed = BTreeSet::new();
        // A connection id is never used again, so each new one replaces an old one.
        let mut ids = [0, 1, 2, 3];
        for (ticket, act) in (1..).zip(acts) {
            let mut changed = Changed::default();
            match act {
                Act::Attach(c, wanted, has_missed) => {
                    let id = ids[c as usize];
                    if !model.iter().any(|(m, ..)| *m == id) {
                        let groups: Vec<_> = NAMES.iter().zip(wanted).filter(|(_, w)| *w)
                            .map(|(name, _)| group(name)).collect();
                        let since = has_missed.then_some(Since::At(P));
                        let connection = ConnectionId(id);
                        changed = subscriptions.attach(connection, groups.clone(), since, id, ticket);
                        missed.extend(has_missed.then_some(ticket));
                        model.push((id, Audience::Everyone, ticket));
                        model.extend(groups.into_iter().map(|group| (id, group, ticket)));
                    }
                }
                Act::Join(c, g, has_missed) => {
                    let id = ids[c as usize];
                    let since = has_missed.then_some(Since::At(P));
                    let joining =
                        subscriptions.join(ConnectionId(id), group(NAMES[g]), since, ticket);
                    if let Joining::Begun(joined) = joining {
                        missed.extend(has_missed.then_some(ticket));
                        changed = joined;
                        model.push((id, group(NAMES[g]), ticket));
                    }
                }
                Act::Leave(c, g) => {
                    let id = ids[c as usize];
                    let audience = group(NAMES[g]);
                    let left = subscriptions.leave(ConnectionId(id), &audience);
                    changed = left.unwrap_or_default();
                    model.retain(|(m, a, _)| *m != id || *a != audience);
                }
                Act::Detach(c) => {
                    let id = ids[c as usize];
                    changed = subscriptions.detach(ConnectionId(id));
                    model.retain(|(m, ..)| *m != id);
                    ids[c as usize] += 4;
                }
                Act::Confirm(behind) => {
                    confirmed = confirmed.max(ticket.saturating_sub(behind));
                    subscriptions.confirm(confirmed, usize::MAX);
                }
                // The bridge answers the resumes that the broker has confirmed.
                Act::Resume => {
                    for ticket in missed.range(..=confirmed) {
                        let is_there = model.iter().any(|(_, _, t)| t == ticket);
                        prop_assert_eq!(subscriptions.resume(*ticket).is_some(), is_there);
                    }
                    missed = missed.split_off(&(confirmed + 1));
                }
            }
            let resumes = changed.resume.iter().map(|resume| resume.ticket);
            prop_assert!(resumes.eq(missed.get(&ticket).copied()), "every step that missed events has a resume");
            for gone in changed.gone {
                prop_assert!(missed.contains(&gone) && !model.iter().any(|(.., t)| *t == gone));
            }
            for (audience, by) in changed.changes {
                *counts.entry(audience).or_default() += by;
            }
            for audience in std::iter::once(Audience::Everyone)
                .chain(NAMES.map(group))
            {
                let counts_now = |ticket| ticket <= confirmed && !missed.contains(&ticket);
                let is_greeted = |id| {
                    let mut attaches = model.iter().filter(|(m, a, _)| {
                        *m == id && *a == Audience::Everyone
                    });
                    attaches.all(|(.., ticket)| counts_now(*ticket))
                };
                let members = |live: bool| -> Vec<u64> {
                    let mut ids: Vec<_> = model.iter()
                        .filter(|(_, a, _)| *a == audience)
                        .filter(|(id, _, t)| !live || (counts_now(*t) && is_greeted(*id)))
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

#[test]
fn a_member_takes_128_bytes() {
    // Each idle connection has a place in the list of members, which has no other overhead.
    assert!(size_of::<Member<crate::registry::client::Client>>() <= 128);
}
