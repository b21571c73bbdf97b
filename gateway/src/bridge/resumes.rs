//! Clients that come back, on their way to what they have missed: what this gateway does not have
//! is asked of the broker, once for all clients that lack the same. Pure: a part of the bridge's
//! core.
//!
//! ```text
//! add ──▶ ready ──judge──▶ all is there, or lost: answered
//!           ▲                │ something is unknown
//!           └── fetched ◀── waits for the want that asks for it
//! ```
//!
//! What is fetched for one client may not be kept until it is judged again, if others fetch much.
//! So a client waits `MAX_WAITS` times, and then it has missed too much. A client that has missed
//! too much is known to have as soon as the first events past the bound are here.
//!
//! Bounded by the connections: each has one, which is added when its interest was confirmed. One
//! fetch is under way at a time, of at most `MAX_FETCHED` audiences or one client's.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use campanile_messages::link::Want;
use campanile_messages::{Audience, Position};

use crate::bridge::recent::{Missed, Recent};
use crate::delivery::{Found, Outcome};
use crate::registry::subscriptions::Ticket;
use crate::resume::{Lost, Start};

/// How many audiences are fetched at a time: the next are asked for when these are here.
const MAX_FETCHED: usize = 1_000;

/// How many clients are put off before the caller can look at the clock.
const JUDGED_AT_ONCE: usize = 1_000;

/// How often a client waits for fetches before it is told that it has missed too much.
const MAX_WAITS: u32 = 3;

/// A client that comes back, or one of its groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resume {
    /// Which worker's, from 0.
    pub worker: usize,
    /// The worker's own number for it.
    pub ticket: Ticket,
    /// Where it goes on, or what it asks for as a new listener.
    pub start: Start,
    /// What it listens to.
    pub audiences: Vec<Audience>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Resumes {
    ready: VecDeque<Waiter>,
    /// By the place of the want that each waits for.
    waiting: BTreeMap<u64, Vec<Waiter>>,
    /// The wants that the broker is or will be asked for: by what they ask for, in order.
    asked: HashMap<Box<[Audience]>, Asked>,
    /// Not sent yet, by their places, which count up.
    queue: VecDeque<(u64, Want)>,
    last_place: u64,
    last_number: u64,
    fetching: Option<Fetching>,
}

#[derive(Debug, Clone, Copy)]
struct Asked {
    place: u64,
    since: u64,
}

/// A fetch that is under way.
#[derive(Debug)]
struct Fetching {
    number: u64,
    wants: VecDeque<(u64, Want)>,
    /// Those that somebody has listened to ever since.
    audiences: HashSet<Audience>,
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

    /// The next client that can be answered; `None` also where many had to wait for a fetch, though
    /// others may be ready. `cursor` is the last position of the stream; a client that has missed more
    /// than `max_bytes` is told so.
    pub fn judge(
        &mut self,
        recent: &Recent,
        cursor: Position,
        max_bytes: usize,
    ) -> Option<(Resume, Outcome)> {
        for _ in 0..JUDGED_AT_ONCE {
            let Waiter { resume, waits } = self.ready.pop_front()?;
            let Position { epoch, sequence } = match resume.start {
                Start::Behind(since) => since,
                Start::History(history) => {
                    let max_events = history.max_events();
                    let (found, unknown) = recent.history(max_events, &resume.audiences, max_bytes);
                    // A new listener has missed nothing: where too much is fetched for others, it
                    // begins with what is there.
                    if unknown.is_empty() || waits == MAX_WAITS {
                        return Some((resume, Ok(found)));
                    }
                    self.wait(resume, waits, 0, unknown);
                    continue;
                }
            };
            if epoch != cursor.epoch || sequence > cursor.sequence {
                return Some((resume, Err(Lost::EpochChanged)));
            }
            match recent.missed(sequence, &resume.audiences, max_bytes) {
                Missed::Events(events) => {
                    return Some((resume, Ok(Found { events, is_complete: true })));
                }
                Missed::Lost(lost) => return Some((resume, Err(lost))),
                Missed::Unknown(_) if waits == MAX_WAITS => {
                    return Some((resume, Err(Lost::TooFar)));
                }
                Missed::Unknown(audiences) => self.wait(resume, waits, sequence, audiences),
            }
        }
        None
    }

    /// Asks for what a client lacks, the events of these audiences above a sequence.
    fn wait(&mut self, resume: Resume, waits: u32, since: u64, audiences: Vec<Audience>) {
        let place = self.ask(since, audiences);
        self.waiting.entry(place).or_default().push(Waiter { resume, waits: waits + 1 });
    }

    /// What to ask the broker for, under which number; `None` while it is being asked.
    pub fn fetch(&mut self) -> Option<(u64, Vec<Want>)> {
        if self.fetching.is_some() {
            return None;
        }
        let mut wants = VecDeque::new();
        let mut audiences = HashSet::new();
        while let Some((_, want)) = self.queue.front()
            && (wants.is_empty() || audiences.len() + want.audiences.len() <= MAX_FETCHED)
        {
            audiences.extend(want.audiences.iter().cloned());
            wants.extend(self.queue.pop_front());
        }
        if wants.is_empty() {
            return None;
        }
        self.last_number += 1;
        let number = self.last_number;
        let asked = wants.iter().map(|(_, want)| want.clone()).collect();
        self.fetching = Some(Fetching { number, wants, audiences });
        Some((number, asked))
    }

    /// Whether somebody may wait for what the fetch under way brings of an audience.
    pub fn is_fetched(&self, audience: &Audience) -> bool {
        self.fetching.as_ref().is_some_and(|fetching| fetching.audiences.contains(audience))
    }

    /// The broker has answered the first `served` wants: those who waited for them are ready. The
    /// others are asked for again.
    pub fn fetched(&mut self, number: u64, served: usize) {
        let Some(mut fetching) = self.fetching.take_if(|fetching| fetching.number == number) else {
            return;
        };
        // A broker that serves none would be asked for ever.
        let served = served.clamp(1, fetching.wants.len());
        for (place, want) in fetching.wants.drain(..served) {
            self.forget(place, &want);
            self.ready.extend(self.waiting.remove(&place).into_iter().flatten());
        }
        for (place, want) in fetching.wants.into_iter().rev() {
            if self.waiting.contains_key(&place) {
                self.queue.push_front((place, want));
            } else {
                self.forget(place, &want);
            }
        }
    }

    /// Nobody listens to these any more, so those who wait for them are gone. What a fetch brings of
    /// them is of no use: their later events do not come.
    pub fn withdraw(&mut self, audiences: &[Audience]) {
        if self.ready.is_empty() && self.asked.is_empty() && self.fetching.is_none() {
            return;
        }
        let withdrawn: HashSet<_> = audiences.iter().collect();
        let stays =
            |audiences: &[Audience]| !audiences.iter().any(|audience| withdrawn.contains(audience));
        self.ready.retain(|waiter| stays(&waiter.resume.audiences));
        self.waiting.retain(|_, waiters| {
            waiters.retain(|waiter| stays(&waiter.resume.audiences));
            !waiters.is_empty()
        });
        self.asked.retain(|audiences, _| stays(audiences));
        self.queue.retain(|(_, want)| stays(&want.audiences));
        if let Some(fetching) = &mut self.fetching {
            fetching.audiences.retain(|audience| !withdrawn.contains(audience));
        }
    }

    /// What was asked for does not come any more: all are judged again.
    pub fn link_lost(&mut self) {
        let waiting = std::mem::take(&mut self.waiting).into_values().flatten();
        self.ready.extend(waiting.map(|waiter| Waiter::new(waiter.resume)));
        self.asked.clear();
        self.queue.clear();
        self.fetching = None;
    }

    /// The place of a want that brings these audiences' events above a sequence. A client that lacks
    /// the same waits for the same want, as long as that can still be widened or is wide enough.
    fn ask(&mut self, since: u64, mut audiences: Vec<Audience>) -> u64 {
        audiences.sort_unstable();
        let audiences = audiences.into_boxed_slice();
        if let Some(asked) = self.asked.get_mut(&audiences) {
            if asked.since <= since {
                return asked.place;
            }
            let in_queue = self.queue.binary_search_by_key(&asked.place, |(place, _)| *place);
            if let Ok(at) = in_queue {
                self.queue[at].1.since = since;
                asked.since = since;
                return asked.place;
            }
        }
        self.last_place += 1;
        let place = self.last_place;
        self.queue.push_back((place, Want { since, audiences: audiences.to_vec() }));
        self.asked.insert(audiences, Asked { place, since });
        place
    }

    /// A want is no longer under way; a later one may ask for the same.
    fn forget(&mut self, place: u64, want: &Want) {
        if self.asked.get(&*want.audiences).is_some_and(|asked| asked.place == place) {
            self.asked.remove(&*want.audiences);
        }
    }
}

#[cfg(test)]
mod tests;
