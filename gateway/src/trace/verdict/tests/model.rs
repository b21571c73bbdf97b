//! Compares verdicts with a naive model, which records each event at each connection.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::*;
use crate::registry::subscriptions::{Joining, Step, Subscriptions};
use crate::resume::Since;
use crate::trace::ended::keep_groups;
use crate::trace::gaps::Gaps;
use crate::trace::left_groups::LeftGroups;

/// The bytes of each event.
const LEN: u64 = 10;

const EPOCH: u64 = 1;

#[derive(Debug, Clone)]
enum Act {
    /// To everyone (0) or a group, except one connection.
    Event(usize, Option<usize>),
    /// With which groups, and how far back its client continues.
    Attach(bool, bool, Option<u64>),
    Join(usize, bool, Option<u64>),
    Leave(usize, bool),
    /// A connection gets something that is not an event of the log, of so many bytes.
    Other(usize, u64),
    /// The kernel takes some bytes.
    Write(usize, u64),
    End(usize),
    /// The gateway loses so many events, to everyone or a group.
    Gap(usize, u64),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let connection = 0..4usize;
    let back = || prop::option::weighted(0.4, 0..6u64);
    let act = prop_oneof![
        8 => (0..3usize, prop::option::weighted(0.1, connection.clone()))
            .prop_map(|(to, except)| Act::Event(to, except)),
        2 => (any::<bool>(), any::<bool>(), back()).prop_map(|(a, b, since)| Act::Attach(a, b, since)),
        3 => (connection.clone(), any::<bool>(), back()).prop_map(|(c, g, since)| Act::Join(c, g, since)),
        2 => (connection.clone(), any::<bool>()).prop_map(|(c, g)| Act::Leave(c, g)),
        2 => (connection.clone(), prop_oneof![9 => 1..40u64, 1 => Just(1 << 17)])
            .prop_map(|(c, bytes)| Act::Other(c, bytes)),
        4 => (connection.clone(), 1..50u64).prop_map(|(c, bytes)| Act::Write(c, bytes)),
        1 => connection.prop_map(Act::End),
        1 => (0..3usize, 1..4u64).prop_map(|(to, events)| Act::Gap(to, events)),
    ];
    prop::collection::vec(act, 1..60)
}

fn audience(number: usize) -> Audience {
    match number {
        0 => Audience::Everyone,
        number => Audience::Group(GroupName::new(name(number == 2)).expect("a name")),
    }
}

fn name(is_other: bool) -> &'static str {
    if is_other { "b" } else { "a" }
}

/// What really became of an event at a connection.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    Queued {
        is_replay: bool,
    },
    Written {
        is_replay: bool,
    },
    /// The connection was there when the gateway lost it.
    Lost,
}

#[derive(Default)]
struct Client {
    /// The length of each message, and which event it is.
    outbox: VecDeque<(u64, Option<u64>)>,
    /// Of the first in the outbox.
    begun: u64,
    /// What was ever queued besides events.
    other_bytes: u64,
    fates: BTreeMap<u64, Fate>,
    /// Whether a join replayed events behind later ones, so that less can be known.
    is_disordered: bool,
    ended: Option<Facts>,
}

impl Client {
    fn queue(&mut self, sequence: u64, is_replay: bool) {
        self.outbox.push_back((LEN, Some(sequence)));
        self.fates.entry(sequence).or_insert(Fate::Queued { is_replay });
    }

    fn unsent_bytes(&self) -> u64 {
        self.outbox.iter().map(|(len, _)| len).sum::<u64>() - self.begun
    }

    fn write(&mut self, bytes: u64) {
        let mut bytes = bytes.min(self.unsent_bytes()) + self.begun;
        while let Some((len, sequence)) = self.outbox.pop_front_if(|(len, _)| *len <= bytes) {
            bytes -= len;
            if let Some(sequence) = sequence
                && let Some(Fate::Queued { is_replay }) = self.fates.get(&sequence).copied()
            {
                self.fates.insert(sequence, Fate::Written { is_replay });
            }
        }
        self.begun = bytes;
    }
}

struct World {
    log: Vec<(Audience, Option<usize>)>,
    subscriptions: Subscriptions<usize>,
    left_groups: LeftGroups,
    gaps: Gaps,
    clients: Vec<Client>,
    ticket: u64,
}

fn id(client: usize) -> ConnectionId {
    ConnectionId(client as u64)
}

impl World {
    fn head(&self) -> u64 {
        self.log.len() as u64
    }

    fn act(&mut self, act: &Act) {
        match *act {
            Act::Event(to, except) => {
                self.log.push((audience(to), except));
                let sequence = self.head();
                let mut listeners = Vec::new();
                self.subscriptions
                    .for_each_listener(&audience(to), |_, client| listeners.push(*client));
                for client in listeners.into_iter().filter(|client| Some(*client) != except) {
                    self.clients[client].queue(sequence, false);
                }
                self.subscriptions.reach(sequence);
            }
            Act::Attach(a, b, back) => {
                let client = self.clients.len();
                self.clients.push(Client::default());
                let groups = [(a, 1), (b, 2)].into_iter().filter(|(is_in, _)| *is_in);
                let groups: Vec<_> = groups.map(|(_, group)| audience(group)).collect();
                self.ticket += 1;
                let since = back.map(|back| self.since(back));
                self.subscriptions.attach(id(client), groups.clone(), since, client, self.ticket);
                self.complete(client, since, [&[Audience::Everyone], &groups[..]].concat());
            }
            Act::Join(client, is_other, back) => {
                let Some(known) = self.clients.get_mut(client) else { return };
                let group = Audience::Group(GroupName::new(name(is_other)).expect("a name"));
                known.is_disordered |= back.is_some();
                self.ticket += 1;
                let since = back.map(|back| self.since(back));
                let joining =
                    self.subscriptions.join(id(client), group.clone(), since, self.ticket);
                if matches!(joining, Joining::Begun(_)) {
                    self.complete(client, since, vec![group]);
                }
            }
            Act::Leave(client, is_other) => {
                let group = Audience::Group(GroupName::new(name(is_other)).expect("a name"));
                let mut joined = self.subscriptions.memberships(id(client));
                let listening =
                    joined.find(|(of, _)| **of == group).map(|(_, since)| since.clone());
                drop(joined);
                if let Some(listening) = listening {
                    let (group, left) = (name(is_other).into(), self.head());
                    self.left_groups.note(LeftGroup {
                        connection: id(client),
                        group,
                        listening,
                        left,
                    });
                }
                self.subscriptions.leave(id(client), &group);
            }
            Act::Other(client, bytes) => {
                let client = self.clients.get_mut(client).filter(|client| client.ended.is_none());
                if let Some(client) = client {
                    client.outbox.push_back((bytes, None));
                    client.other_bytes += bytes;
                }
            }
            Act::Write(client, bytes) => {
                let client = self.clients.get_mut(client).filter(|client| client.ended.is_none());
                if let Some(client) = client {
                    client.write(bytes);
                }
            }
            Act::End(client) => {
                if let Some(mut facts) = self.facts(client) {
                    facts.is_ended = true;
                    self.clients[client].ended = Some(facts);
                    self.subscriptions.detach(id(client));
                }
            }
            Act::Gap(to, events) => {
                let after = self.head();
                self.log.extend((0..events).map(|_| (audience(to), None)));
                let lost = after + 1..=self.head();
                let mut listeners = Vec::new();
                self.subscriptions
                    .for_each_listener(&audience(to), |_, client| listeners.push(*client));
                for client in listeners {
                    let lost = lost.clone().map(|sequence| (sequence, Fate::Lost));
                    self.clients[client].fates.extend(lost);
                }
                let (gap, until) = (Gap::Expired, at(self.head()));
                self.gaps.note(LostEvents { gap, after: Some(after), until, at: Instant::now() });
                self.subscriptions.reach(self.head());
            }
        }
    }

    fn since(&self, back: u64) -> Since {
        Since::At(at(self.head().saturating_sub(back)))
    }

    /// Completes a step at once, as the registry does.
    fn complete(&mut self, client: usize, since: Option<Since>, audiences: Vec<Audience>) {
        let Some(Since::At(since)) = since else {
            self.subscriptions.confirm(self.ticket, usize::MAX);
            return;
        };
        let (step, _): (Step, _) = self.subscriptions.resume(self.ticket).expect("it waits");
        let at = self.head();
        let mut missed = (since.sequence + 1..=at).map(super::at);
        let is_lost = missed.any(|position| self.gaps.loss(position, None) != Loss::No);
        let outcome = match is_lost {
            true => PastOutcome::Lost(Lost::Expired),
            false => PastOutcome::Replayed,
        };
        self.subscriptions.note_continued(&step, Continued { since: Some(since), at, outcome });
        if is_lost {
            return;
        }
        for sequence in since.sequence + 1..=at {
            let (audience, except) = &self.log[sequence as usize - 1];
            if audiences.contains(audience) && *except != Some(client) {
                self.clients[client].queue(sequence, true);
            }
        }
    }

    fn facts(&self, client: usize) -> Option<Facts> {
        let known = self.clients.get(client)?;
        if let Some(ended) = &known.ended {
            let mut facts = ended.clone();
            facts.left_groups = self.left_groups.of(id(client)).cloned().collect();
            return Some(facts);
        }
        let (_, first) = self.subscriptions.since(id(client))?;
        let joined = self.subscriptions.memberships(id(client));
        let (groups, _) = keep_groups(joined.map(|(of, since)| (of.name(), since)), usize::MAX);
        let mut facts = super::facts();
        facts.known.connection = id(client);
        facts.known.first = first.clone();
        facts.known.groups = groups;
        facts.known.last = self.head();
        facts.known.end.unsent_bytes = known.unsent_bytes();
        facts.known.end.other_bytes = u16::try_from(known.other_bytes).unwrap_or(u16::MAX);
        facts.left_groups = self.left_groups.of(id(client)).cloned().collect();
        Some(facts)
    }

    fn queued_after(&self, client: usize, facts: &Facts, sequence: u64) -> QueuedAfter {
        let audiences = facts.audiences();
        let bytes_of = |(audience, since): &(Audience, u64)| {
            let events = sequence.max(*since) + 1..=facts.known.last;
            let is_sent = |sequence: &u64| {
                let (of, except) = &self.log[*sequence as usize - 1];
                let loss = self.gaps.loss(at(*sequence), None);
                of == audience && *except != Some(client) && loss == Loss::No
            };
            events.filter(is_sent).count() as u64 * LEN
        };
        QueuedAfter { bytes: audiences.iter().map(bytes_of).sum(), is_complete: true }
    }

    fn check(&self) -> Result<(), TestCaseError> {
        for (client, known) in self.clients.iter().enumerate() {
            let mut facts = self.facts(client).expect("it is known");
            for (place, (audience, except)) in self.log.iter().enumerate() {
                let sequence = place as u64 + 1;
                let (position, is_excluded) =
                    (Position { epoch: EPOCH, sequence }, *except == Some(client));
                facts.loss = self.gaps.loss(position, None);
                let subject = Subject { position, audience: audience.clone(), is_excluded };
                let verdict =
                    judge(&subject, &facts, |after| self.queued_after(client, &facts, after));
                let reason = verdict.reason();
                let waiting = if facts.is_ended { "closed_while_waiting" } else { "waiting" };
                let got = |is_replay| if is_replay { "recovered_by_replay" } else { "written" };
                // With other messages in its outbox, it is not always known whether the event is written.
                let is_open = match verdict {
                    Verdict::Waiting { is_certain, .. } => !is_certain,
                    Verdict::ClosedWhileWaiting { is_certain, .. } => !is_certain,
                    _ => false,
                };
                let fits = match known.fates.get(&sequence) {
                    Some(Fate::Written { .. }) if is_open && known.other_bytes > 0 => true,
                    Some(Fate::Written { .. }) if reason == waiting && !is_open => false,
                    _ if is_excluded => reason == "excluded",
                    None => !["written", "recovered_by_replay", waiting].contains(&reason),
                    Some(Fate::Lost) => reason == "not_recovered",
                    Some(Fate::Queued { .. }) => reason == waiting,
                    // An event may be replayed again with a later join.
                    Some(Fate::Written { is_replay }) if known.is_disordered => {
                        reason == waiting || reason == got(*is_replay) || reason == got(!is_replay)
                    }
                    Some(Fate::Written { is_replay }) => {
                        let has_left = facts.left_groups.iter().any(|left| left.left >= sequence);
                        reason == got(*is_replay) || has_left && reason == waiting
                    }
                };
                let fate = known.fates.get(&sequence);
                prop_assert!(fits, "{fate:?} at {client} of {sequence}: {verdict:?}, {facts:?}");
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_verdict_contradicts_a_record_of_everything(acts in acts()) {
        let mut world = World {
            log: Vec::new(),
            subscriptions: Subscriptions::new(9),
            left_groups: LeftGroups::default(),
            gaps: Gaps::default(),
            clients: Vec::new(),
            ticket: 0,
        };
        for act in &acts {
            world.act(act);
        }
        world.check()?;
    }
}
