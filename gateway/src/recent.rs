//! The events that a gateway has received lately, by audience: what clients that come back have
//! missed, without asking the broker for each of them. Pure: a part of the bridge's core.
//!
//! Of each audience this holds all events above a sequence, from the live stream and, where a client
//! was away for longer, from the broker. Bounded in bytes: the oldest events go first, but later
//! while somebody waits for them.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use campanile_messages::Audience;

use crate::delivery::Framed;
use crate::protocol::Lost;

/// What an event costs besides its content: its entries here, and its frames' heads.
const OVERHEAD_BYTES: usize = 512;

/// Each wire format that is in use holds the content once, and so does the event.
const COPIES: usize = 3;

/// While clients wait for the rest of what is fetched for them, so many times the bound are kept:
/// else what came first would be gone when the last is there, and would be fetched again, for ever.
const WHILE_FETCHING: usize = 4;

/// The recent events of a gateway's audiences.
#[derive(Debug)]
pub struct Recent {
    tails: HashMap<Audience, Tail>,
    by_sequence: BTreeMap<u64, Audience>,
    bytes: usize,
    max_bytes: usize,
}

#[derive(Debug)]
struct Tail {
    /// All events above this sequence are here.
    complete_after: u64,
    /// The broker no longer has events up to this sequence.
    expired: u64,
    /// Events up to this sequence are more than a client may miss.
    left_out: u64,
    events: VecDeque<Arc<Framed>>,
}

/// What the broker has of an audience.
#[derive(Debug)]
pub struct Past {
    /// As in [`FromBroker::Past`](campanile_messages::FromBroker::Past).
    pub expired: u64,
    /// As in [`FromBroker::Past`](campanile_messages::FromBroker::Past).
    pub left_out: u64,
    /// Oldest first.
    pub events: Vec<Arc<Framed>>,
}

/// What is known of the events behind a sequence.
#[derive(Debug)]
pub enum Missed {
    /// All of them, in order.
    Events(Vec<Arc<Framed>>),
    /// They cannot be had any more.
    Lost(Lost),
    /// The broker must be asked about these audiences.
    Unknown(Vec<Audience>),
}

impl Recent {
    /// Nothing yet, and at most `max_bytes` after a [`trim`](Self::trim).
    pub fn new(max_bytes: usize) -> Self {
        Self { tails: HashMap::new(), by_sequence: BTreeMap::new(), bytes: 0, max_bytes }
    }

    /// Adds an event of the live stream. All later ones of its audience must be added too, until it
    /// is [forgotten](Self::forget).
    pub fn add(&mut self, sequence: u64, audience: &Audience, event: Arc<Framed>) {
        self.bytes += cost_bytes(&event);
        self.by_sequence.insert(sequence, audience.clone());
        let tail = self.tails.entry(audience.clone()).or_insert_with(|| Tail::after(sequence - 1));
        tail.events.push_back(event);
    }

    /// Adds what the broker has of an audience, of whose live events none was missed since it was
    /// asked.
    pub fn add_past(&mut self, audience: &Audience, past: Past) {
        let Past { expired, left_out, events } = past;
        let tail = self.tails.entry(audience.clone()).or_insert_with(|| Tail::after(u64::MAX));
        for event in events.into_iter().rev() {
            let sequence = event.sequence();
            if sequence <= tail.complete_after {
                self.bytes += cost_bytes(&event);
                self.by_sequence.insert(sequence, audience.clone());
                tail.events.push_front(event);
            }
        }
        tail.complete_after = tail.complete_after.min(left_out);
        (tail.expired, tail.left_out) = (expired, left_out);
    }

    /// What a listener to these audiences has missed that has seen all up to a sequence.
    pub fn missed(&self, since: u64, audiences: &[Audience]) -> Missed {
        let mut unknown = Vec::new();
        let mut lost = None;
        for audience in audiences {
            match self.tails.get(audience) {
                Some(tail) if since >= tail.complete_after => {}
                Some(tail) if since < tail.expired => lost = Some(Lost::Expired),
                Some(tail) if since < tail.left_out => lost = lost.or(Some(Lost::TooFar)),
                _ => unknown.push(audience.clone()),
            }
        }
        if let Some(lost) = lost {
            return Missed::Lost(lost);
        }
        if !unknown.is_empty() {
            return Missed::Unknown(unknown);
        }
        let mut events = Vec::new();
        for tail in audiences.iter().filter_map(|audience| self.tails.get(audience)) {
            let seen = tail.events.partition_point(|event| event.sequence() <= since);
            events.extend(tail.events.range(seen..).cloned());
        }
        if audiences.len() > 1 {
            events.sort_unstable_by_key(|event| event.sequence());
        }
        Missed::Events(events)
    }

    /// Drops the oldest events past the bound, which is wider while clients wait for the rest of
    /// what is fetched for them.
    pub fn trim(&mut self, is_fetching: bool) {
        let max_bytes = if is_fetching { WHILE_FETCHING * self.max_bytes } else { self.max_bytes };
        while self.bytes > max_bytes
            && let Some((sequence, audience)) = self.by_sequence.pop_first()
        {
            let tail = self.tails.get_mut(&audience).expect("an event stands in a tail");
            let event = tail.events.pop_front().expect("an audience's oldest is the oldest");
            tail.complete_after = sequence;
            self.bytes -= cost_bytes(&event);
        }
    }

    /// Nobody listens to an audience any more: its events no longer come.
    pub fn forget(&mut self, audience: &Audience) {
        for event in self.tails.remove(audience).into_iter().flat_map(|tail| tail.events) {
            self.by_sequence.remove(&event.sequence());
            self.bytes -= cost_bytes(&event);
        }
        if self.tails.capacity() > 4 * self.tails.len() {
            self.tails.shrink_to(2 * self.tails.len());
        }
    }

    /// The stream does not go on where it stood.
    pub fn clear(&mut self) {
        *self = Self::new(self.max_bytes);
    }
}

impl Tail {
    fn after(complete_after: u64) -> Self {
        Self { complete_after, expired: 0, left_out: 0, events: VecDeque::new() }
    }
}

fn cost_bytes(event: &Framed) -> usize {
    COPIES * event.len_bytes() + OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use campanile_messages::{Content, GroupName, Position};
    use proptest::prelude::*;

    use super::*;

    fn group(name: u8) -> Audience {
        Audience::Group(GroupName::new(name.to_string()).expect("a name"))
    }

    fn event(sequence: u64, audience: &Audience) -> Arc<Framed> {
        let position = Position { epoch: 1, sequence };
        Framed::new(Some((position, audience.clone())), Content::from("1234"))
    }

    fn sequences(missed: Missed) -> Vec<u64> {
        match missed {
            Missed::Events(events) => events.iter().map(|event| event.sequence()).collect(),
            other => panic!("{other:?}"),
        }
    }

    fn unknown(missed: Missed) -> Vec<Audience> {
        match missed {
            Missed::Unknown(audiences) => audiences,
            other => panic!("{other:?}"),
        }
    }

    fn lost(missed: Missed) -> Lost {
        match missed {
            Missed::Lost(lost) => lost,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_came_live_is_known_from_its_first_event_on() {
        let mut recent = Recent::new(1 << 20);
        let audiences = [group(1), group(2)];
        recent.add(5, &group(1), event(5, &group(1)));
        assert_eq!(unknown(recent.missed(4, &audiences)), [group(2)]);
        recent.add(7, &group(2), event(7, &group(2)));
        recent.add(9, &group(1), event(9, &group(1)));
        assert_eq!(sequences(recent.missed(6, &audiences)), [7, 9]);
        assert_eq!(sequences(recent.missed(4, &audiences[..1])), [5, 9]);
        assert_eq!(unknown(recent.missed(3, &audiences)), audiences);
    }

    #[test]
    fn what_the_broker_has_is_put_in_front_and_what_it_has_not_is_lost() {
        let mut recent = Recent::new(1 << 20);
        recent.add(9, &group(1), event(9, &group(1)));
        let events = [5, 9].map(|sequence| event(sequence, &group(1))).to_vec();
        recent.add_past(&group(1), Past { expired: 2, left_out: 4, events });
        let missed = |since| recent.missed(since, &[group(1)]);
        assert_eq!(sequences(missed(4)), [5, 9]);
        assert_eq!(sequences(missed(7)), [9]);
        assert_eq!(lost(missed(3)), Lost::TooFar);
        assert_eq!(lost(missed(1)), Lost::Expired);
    }

    #[test]
    fn a_quiet_audience_is_asked_about_once() {
        let mut recent = Recent::new(1 << 20);
        recent.add_past(&group(1), Past { expired: 2, left_out: 2, events: vec![] });
        assert!(sequences(recent.missed(2, &[group(1)])).is_empty());
        recent.forget(&group(1));
        assert_eq!(unknown(recent.missed(2, &[group(1)])), [group(1)]);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Live(u8),
        Ask(u8),
        Forget(u8),
        Trim(bool),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0u8..4).prop_map(Step::Live),
            2 => (0u8..4).prop_map(Step::Ask),
            1 => (0u8..4).prop_map(Step::Forget),
            2 => any::<bool>().prop_map(Step::Trim),
        ]
    }

    proptest! {
        /// The model: all events that there ever were, and the audiences that are listened to. What
        /// is answered is always all of them, and the bound holds.
        #[test]
        fn no_answer_has_a_hole(steps in prop::collection::vec(step(), 0..80)) {
            let max_bytes = 6 * (OVERHEAD_BYTES + 12);
            let mut recent = Recent::new(max_bytes);
            let mut all: Vec<(u64, u8)> = Vec::new();
            let mut heard: HashSet<u8> = HashSet::new();
            for step in steps {
                match step {
                    Step::Live(name) => {
                        let sequence = all.len() as u64 + 1;
                        all.push((sequence, name));
                        if heard.contains(&name) {
                            recent.add(sequence, &group(name), event(sequence, &group(name)));
                        }
                    }
                    Step::Ask(name) => {
                        heard.insert(name);
                        let of_it = all.iter().filter(|(_, of)| *of == name);
                        let events = of_it.map(|(s, _)| event(*s, &group(name))).collect();
                        recent.add_past(&group(name), Past { expired: 0, left_out: 0, events });
                    }
                    Step::Forget(name) => {
                        heard.remove(&name);
                        recent.forget(&group(name));
                    }
                    Step::Trim(is_fetching) => {
                        recent.trim(is_fetching);
                        let times = if is_fetching { WHILE_FETCHING } else { 1 };
                        prop_assert!(recent.bytes <= times * max_bytes);
                    }
                }
                let held: usize = recent.tails.values().map(|tail| tail.events.len()).sum();
                prop_assert_eq!(held * (OVERHEAD_BYTES + 12), recent.bytes);
                prop_assert_eq!(held, recent.by_sequence.len());
                for since in 0..=all.len() as u64 {
                    for names in [&[0][..], &[1, 2], &[0, 1, 2, 3]] {
                        let audiences: Vec<_> = names.iter().map(|name| group(*name)).collect();
                        match recent.missed(since, &audiences) {
                            Missed::Lost(lost) => panic!("{lost:?}"),
                            Missed::Unknown(_) => {}
                            missed => {
                                let expected: Vec<_> = all
                                    .iter()
                                    .filter(|(s, name)| *s > since && names.contains(name))
                                    .map(|(sequence, _)| *sequence)
                                    .collect();
                                prop_assert_eq!(sequences(missed), expected);
                            }
                        }
                    }
                }
            }
        }
    }
}
