//! Clients that come back, on their way to what they have missed: what this gateway does not have is
//! asked of the broker, once an audience, however many clients wait for it. Pure: a part of the
//! bridge's core.
//!
//! ```text
//! add ──▶ ready ──judge──▶ all is there, or lost: answered
//!           ▲                │ something is unknown
//!           └── fetched ◀── waits for the fetches of its audiences
//! ```
//!
//! What is fetched for one client may not be kept until the rest of it is there, if it is much. So a
//! client waits `MAX_WAITS` times, and then it has missed too much.
//!
//! Bounded by the connections: each has one, which is added when its interest was confirmed. One
//! fetch is under way at a time, of at most `MAX_FETCHED` audiences.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use campanile_messages::{Audience, Position};

use crate::delivery::Framed;
use crate::protocol::Lost;
use crate::recent::{Missed, Recent};
use crate::subscriptions::Ticket;

/// How many audiences are fetched at a time: the next are asked for when these are here.
const MAX_FETCHED: usize = 1_000;

/// How often a client waits for fetches before it is told that it has missed too much.
const MAX_WAITS: u32 = 3;

/// A client that comes back, or one of its groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resume {
    /// Which worker's, from 0.
    pub worker: usize,
    /// The worker's own number for it.
    pub ticket: Ticket,
    /// The last position that it has seen.
    pub since: Position,
    /// What it listens to.
    pub audiences: Vec<Audience>,
}

/// What a client that comes back has missed, in order, or why that cannot be told.
pub type Outcome = Result<Vec<Arc<Framed>>, Lost>;

/// See the module.
#[derive(Debug, Default)]
pub struct Resumes {
    ready: VecDeque<Waiter>,
    /// By the place in `asked` of the last audience that each waits for.
    waiting: BTreeMap<u64, Vec<Waiter>>,
    /// Audiences that the broker is or will be asked for, with their places: they count up.
    asked: HashMap<Audience, u64>,
    queue: VecDeque<(u64, Audience)>,
    last_place: u64,
    /// The places up to which a fetch is under way.
    fetching: Option<u64>,
}

#[derive(Debug)]
struct Waiter {
    resume: Resume,
    /// How often it has waited on this link.
    waits: u32,
}

impl Waiter {
    fn new(resume: Resume) -> Self {
        Self { resume, waits: 0 }
    }
}

impl Resumes {
    /// A client comes back whose interest is confirmed.
    pub fn add(&mut self, resume: Resume) {
        self.ready.push_back(Waiter::new(resume));
    }

    /// Nobody can be answered now.
    pub fn is_idle(&self) -> bool {
        self.ready.is_empty()
    }

    /// Clients wait for the answer of the broker.
    pub fn is_fetching(&self) -> bool {
        self.fetching.is_some()
    }

    /// The next client that can be answered. `cursor` is the last position of the stream.
    pub fn judge(&mut self, recent: &Recent, cursor: Position) -> Option<(Resume, Outcome)> {
        while let Some(Waiter { resume, waits }) = self.ready.pop_front() {
            let Position { epoch, sequence } = resume.since;
            if epoch != cursor.epoch || sequence > cursor.sequence {
                return Some((resume, Err(Lost::EpochChanged)));
            }
            match recent.missed(sequence, &resume.audiences) {
                Missed::Events(events) => return Some((resume, Ok(events))),
                Missed::Lost(lost) => return Some((resume, Err(lost))),
                Missed::Unknown(_) if waits == MAX_WAITS => {
                    return Some((resume, Err(Lost::TooFar)));
                }
                Missed::Unknown(audiences) => {
                    let places = audiences.into_iter().map(|audience| self.ask(audience));
                    let last = places.max().unwrap_or(self.last_place);
                    let waiter = Waiter { resume, waits: waits + 1 };
                    self.waiting.entry(last).or_default().push(waiter);
                }
            }
        }
        None
    }

    /// What to ask the broker for, under which number; `None` while it is being asked.
    pub fn fetch(&mut self) -> Option<(u64, Vec<Audience>)> {
        if self.fetching.is_some() || self.queue.is_empty() {
            return None;
        }
        let count = self.queue.len().min(MAX_FETCHED);
        let (places, audiences): (Vec<_>, _) = self.queue.drain(..count).unzip();
        self.fetching = places.last().copied();
        self.fetching.map(|number| (number, audiences))
    }

    /// Whether somebody may wait for what the fetch under way brings of an audience.
    pub fn is_fetched(&self, audience: &Audience) -> bool {
        let place = self.asked.get(audience);
        place.zip(self.fetching).is_some_and(|(place, number)| *place <= number)
    }

    /// The broker has answered: those who waited for that are ready.
    pub fn fetched(&mut self, number: u64) {
        if self.fetching != Some(number) {
            return;
        }
        self.fetching = None;
        self.asked.retain(|_, place| *place > number);
        let still_waiting = self.waiting.split_off(&(number + 1));
        let done = std::mem::replace(&mut self.waiting, still_waiting);
        self.ready.extend(done.into_values().flatten());
    }

    /// Nobody listens to these any more, so those who wait for them are gone. What a fetch brings of
    /// them is of no use: their later events do not come.
    pub fn withdraw(&mut self, audiences: &[Audience]) {
        if self.ready.is_empty() && self.asked.is_empty() {
            return;
        }
        let withdrawn: HashSet<_> = audiences.iter().collect();
        let is_there = |waiter: &Waiter| {
            !waiter.resume.audiences.iter().any(|audience| withdrawn.contains(audience))
        };
        self.ready.retain(is_there);
        self.waiting.values_mut().for_each(|waiters| waiters.retain(is_there));
        self.asked.retain(|audience, _| !withdrawn.contains(audience));
        self.queue.retain(|(_, audience)| !withdrawn.contains(audience));
    }

    /// What was asked for does not come any more: all are judged again.
    pub fn link_lost(&mut self) {
        let waiting = std::mem::take(&mut self.waiting).into_values().flatten();
        self.ready.extend(waiting.map(|waiter| Waiter::new(waiter.resume)));
        self.asked.clear();
        self.queue.clear();
        self.fetching = None;
    }

    fn ask(&mut self, audience: Audience) -> u64 {
        if let Some(place) = self.asked.get(&audience) {
            return *place;
        }
        self.last_place += 1;
        self.queue.push_back((self.last_place, audience.clone()));
        self.asked.insert(audience, self.last_place);
        self.last_place
    }
}

#[cfg(test)]
mod tests {
    use campanile_messages::GroupName;

    use super::*;
    use crate::recent::Past;

    fn group(name: usize) -> Audience {
        Audience::Group(GroupName::new(name.to_string()).expect("a name"))
    }

    fn resume(ticket: Ticket, since: u64, groups: &[usize]) -> Resume {
        let audiences = groups.iter().map(|name| group(*name)).collect();
        Resume { worker: 0, ticket, since: Position { epoch: 1, sequence: since }, audiences }
    }

    const CURSOR: Position = Position { epoch: 1, sequence: 100 };

    fn answered(resumes: &mut Resumes, recent: &Recent) -> Vec<(Ticket, Result<usize, Lost>)> {
        std::iter::from_fn(|| resumes.judge(recent, CURSOR))
            .map(|(resume, outcome)| (resume.ticket, outcome.map(|events| events.len())))
            .collect()
    }

    fn quiet(recent: &mut Recent, audience: &Audience) {
        recent.add_past(audience, Past { expired: 0, left_out: 0, events: vec![] });
    }

    #[test]
    fn an_audience_is_fetched_once_for_all_who_wait_for_it() {
        let (mut resumes, mut recent) = (Resumes::default(), Recent::new(1 << 20));
        for ticket in 0..1_000 {
            resumes.add(resume(ticket, 5, &[1, 2]));
        }
        assert_eq!(answered(&mut resumes, &recent), []);
        assert_eq!(resumes.fetch(), Some((2, vec![group(1), group(2)])));
        resumes.add(resume(1_000, 7, &[2]));
        resumes.add(resume(1_001, 7, &[3]));
        assert_eq!(answered(&mut resumes, &recent), []);
        assert_eq!(resumes.fetch(), None, "one at a time");
        for name in [1, 2] {
            quiet(&mut recent, &group(name));
        }
        resumes.fetched(2);
        assert_eq!(answered(&mut resumes, &recent).len(), 1_001);
        assert_eq!(resumes.fetch(), Some((3, vec![group(3)])));
        quiet(&mut recent, &group(3));
        resumes.fetched(3);
        assert_eq!(answered(&mut resumes, &recent), [(1_001, Ok(0))]);
        assert!(resumes.asked.is_empty() && resumes.waiting.is_empty());
    }

    #[test]
    fn many_audiences_are_fetched_in_parts_and_who_waits_for_the_last_waits_for_all() {
        let (mut resumes, mut recent) = (Resumes::default(), Recent::new(1 << 20));
        let names: Vec<_> = (0..MAX_FETCHED + 1).collect();
        resumes.add(resume(1, 5, &names));
        assert_eq!(answered(&mut resumes, &recent), []);
        for (number, len) in [(MAX_FETCHED as u64, MAX_FETCHED), (MAX_FETCHED as u64 + 1, 1)] {
            let (asked, audiences) = resumes.fetch().expect("something to ask");
            assert_eq!((asked, audiences.len()), (number, len));
            assert_eq!(answered(&mut resumes, &recent), []);
            audiences.iter().for_each(|audience| quiet(&mut recent, audience));
            resumes.fetched(number);
        }
        assert_eq!(answered(&mut resumes, &recent), [(1, Ok(0))]);
    }

    #[test]
    fn a_position_of_another_epoch_or_ahead_of_the_stream_is_lost() {
        let (mut resumes, recent) = (Resumes::default(), Recent::new(1 << 20));
        let other = Position { epoch: 2, sequence: 5 };
        resumes.add(Resume { since: other, ..resume(1, 5, &[1]) });
        resumes.add(resume(2, 101, &[1]));
        let lost = Err(Lost::EpochChanged);
        assert_eq!(answered(&mut resumes, &recent), [(1, lost), (2, lost)]);
    }

    #[test]
    fn what_is_not_kept_until_all_is_there_is_too_far_and_not_asked_for_again_and_again() {
        let (mut resumes, recent) = (Resumes::default(), Recent::new(1 << 20));
        resumes.add(resume(1, 5, &[1]));
        for number in 1..=u64::from(MAX_WAITS) {
            assert_eq!(answered(&mut resumes, &recent), []);
            assert_eq!(resumes.fetch(), Some((number, vec![group(1)])));
            assert!(resumes.is_fetching());
            resumes.fetched(number);
        }
        assert_eq!(answered(&mut resumes, &recent), [(1, Err(Lost::TooFar))]);
        assert_eq!(resumes.fetch(), None);
    }

    #[test]
    fn what_nobody_listens_to_any_more_is_neither_asked_for_nor_taken() {
        let (mut resumes, mut recent) = (Resumes::default(), Recent::new(1 << 20));
        resumes.add(resume(1, 5, &[1]));
        answered(&mut resumes, &recent);
        let asked = resumes.fetch().expect("something to ask");
        resumes.add(resume(2, 5, &[1, 2]));
        resumes.add(resume(3, 5, &[2, 3]));
        resumes.add(resume(4, 5, &[3]));
        answered(&mut resumes, &recent);
        resumes.withdraw(&[group(1)]);
        resumes.withdraw(&[group(2)]);
        assert!(!resumes.is_fetched(&group(1)));
        // Somebody listens again before the answer is there.
        resumes.add(resume(5, 5, &[1]));
        answered(&mut resumes, &recent);
        assert!(!resumes.is_fetched(&group(1)), "by the next fetch");
        resumes.fetched(asked.0);
        let (number, audiences) = resumes.fetch().expect("something to ask");
        assert_eq!(audiences, [group(3), group(1)]);
        for audience in &audiences {
            assert!(resumes.is_fetched(audience));
            quiet(&mut recent, audience);
        }
        resumes.fetched(number);
        assert_eq!(answered(&mut resumes, &recent), [(4, Ok(0)), (5, Ok(0))]);
        assert!(resumes.asked.is_empty() && resumes.waiting.is_empty());
    }

    #[test]
    fn with_the_link_what_was_asked_for_is_asked_again() {
        let (mut resumes, recent) = (Resumes::default(), Recent::new(1 << 20));
        resumes.add(resume(1, 5, &[1]));
        answered(&mut resumes, &recent);
        let asked = resumes.fetch().expect("something to ask");
        resumes.link_lost();
        resumes.fetched(asked.0);
        assert_eq!(answered(&mut resumes, &recent), []);
        assert_eq!(resumes.fetch(), Some((2, vec![group(1)])));
    }
}
