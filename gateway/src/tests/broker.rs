//! A naive log, and a naive broker with one link.

use std::collections::{HashMap, VecDeque};

use campanile_messages::link::{Gap, Want, Welcome};
use campanile_messages::{
    Audience, Durability, Event, FromBroker, GroupName, Position, ToBroker, WorkerId,
};

/// How many bytes each event counts for a client that missed it: its content, and as much as a slice of an
/// outbox costs.
pub const EACH_BYTES: u64 = 1 + 64;

pub fn audience(number: usize) -> Audience {
    match number {
        0 => Audience::Everyone,
        number => Audience::Group(GroupName::new(format!("group {number}")).expect("a name")),
    }
}

/// The last number in the block of an event.
pub fn end_of_block(sequence: u64) -> u64 {
    sequence | 0xffff
}

/// A log, and a broker with one link. It gives numbers to events in blocks: the first in a block has the
/// block's number times 65,536 and 1, and the head is at the end of the block.
pub struct Broker {
    pub epoch: u64,
    pub head: u64,
    /// The events that are kept, in order.
    log: Vec<(u64, Audience)>,
    /// The last dropped event of each audience.
    lost: HashMap<Audience, u64>,
    /// Events of any audience up to this sequence may be lost, because they belong to an earlier epoch.
    floor: u64,
    /// All events that were ever published.
    pub all: Vec<(Position, Audience)>,
    interest: HashMap<Audience, u32>,
    revision: Option<u64>,
    is_attached: bool,
    /// The messages that the gateway has not received yet.
    pub sent: VecDeque<FromBroker>,
}

impl Broker {
    pub fn new() -> Self {
        Self {
            epoch: 1,
            head: 0,
            log: Vec::new(),
            lost: HashMap::new(),
            floor: 0,
            all: Vec::new(),
            interest: HashMap::new(),
            revision: None,
            is_attached: false,
            sent: VecDeque::new(),
        }
    }

    pub fn at(&self, sequence: u64) -> Position {
        Position { epoch: self.epoch, sequence }
    }

    fn event(sequence: u64, audience: &Audience) -> FromBroker {
        let (audience, content) = (audience.clone(), "x".into());
        FromBroker::Event(Event { sequence, audience, except: None, content, from: None })
    }

    pub fn lost_up_to(&self, audience: &Audience) -> u64 {
        self.lost.get(audience).copied().unwrap_or(0).max(self.floor)
    }

    /// Publishes events in one block.
    pub fn publish(&mut self, audiences: impl IntoIterator<Item = Audience>) {
        let first = end_of_block(self.head) + 2;
        for (sequence, audience) in (first..).zip(audiences) {
            if self.is_attached && self.interest.contains_key(&audience) {
                self.sent.push_back(Self::event(sequence, &audience));
            }
            self.log.push((sequence, audience.clone()));
            self.all.push((self.at(sequence), audience));
        }
        self.head = end_of_block(first);
    }

    /// Notifies the gateway of where the log ends.
    pub fn mark(&mut self) {
        if self.is_attached {
            self.sent.push_back(FromBroker::Mark { head: self.head });
        }
    }

    /// The sequence up to which a client has got everything that got all but the last `count` events, of any
    /// epoch: that of an event, or the end of its block.
    pub fn before(&self, count: usize) -> u64 {
        match self.all.iter().nth_back(count) {
            None => 0,
            Some(_) if count == 0 => self.head,
            Some((event, _)) if count.is_multiple_of(2) => event.sequence,
            Some((event, _)) => {
                // Others in its block may be later.
                let next = self.all.iter().nth_back(count - 1).map(|(next, _)| next.sequence);
                next.map_or(0, |next| end_of_block(event.sequence).min(next - 1))
            }
        }
    }

    pub fn drop_oldest(&mut self) {
        if !self.log.is_empty() {
            let (sequence, audience) = self.log.remove(0);
            self.lost.insert(audience, sequence);
        }
    }

    pub fn begin_epoch(&mut self) {
        self.epoch += 1;
        self.log.clear();
        self.floor = self.head;
    }

    pub fn welcome(&mut self, workers: usize) -> Welcome {
        self.lose_link();
        let workers = (0..workers as u64).map(WorkerId).collect();
        Welcome { head: self.at(self.head), durability: Durability::Memory, workers, log: None }
    }

    pub fn lose_link(&mut self) {
        self.interest.clear();
        self.revision = None;
        self.is_attached = false;
        self.sent.clear();
    }

    pub fn receive(&mut self, message: ToBroker) {
        match message {
            ToBroker::Interest { revision, changes } => {
                for change in changes {
                    match change.connections {
                        Some(connections) => self.interest.insert(change.audience, connections),
                        None => self.interest.remove(&change.audience),
                    };
                }
                self.revision = Some(revision);
                self.confirm();
            }
            ToBroker::Attach { cursor } => self.attach(cursor),
            ToBroker::Fetch { number, wants, max_bytes } => self.fetch(number, &wants, max_bytes),
            other => panic!("{other:?}"),
        }
    }

    fn confirm(&mut self) {
        if let Some(revision) = self.revision.filter(|_| self.is_attached) {
            self.sent.push_back(FromBroker::Confirmed { revision, head: self.head });
        }
    }

    fn attach(&mut self, cursor: Option<Position>) {
        let (from, gap) = match cursor {
            None => (self.head, None),
            Some(cursor) if cursor.epoch != self.epoch => {
                let tail = self.log.first().map_or(self.head, |(first, _)| first - 1);
                (tail, Some(Gap::EpochChanged))
            }
            Some(cursor) => {
                let lost = self.interest.keys().map(|audience| self.lost_up_to(audience));
                let lost = lost.max().unwrap_or(0);
                let is_lost = lost > cursor.sequence;
                (lost.max(cursor.sequence), is_lost.then_some(Gap::Expired))
            }
        };
        self.is_attached = true;
        self.sent.push_back(FromBroker::Attached { from: self.at(from), gap });
        let kept = self.log.iter().filter(|(sequence, _)| *sequence > from);
        let wanted = kept.filter(|(_, audience)| self.interest.contains_key(audience));
        self.sent.extend(wanted.map(|(sequence, audience)| Self::event(*sequence, audience)));
        self.confirm();
    }

    fn fetch(&mut self, number: u64, wants: &[Want], max_bytes: u64) {
        let (mut answer, mut sent_bytes, mut served) = (Vec::new(), 0, 0);
        for Want { since, audiences } in wants {
            if served > 0 && sent_bytes > max_bytes {
                break;
            }
            served += 1;
            for audience in audiences {
                assert!(self.interest.contains_key(audience), "its later events would not come");
            }
            let after = |audience: &Audience| self.lost_up_to(audience).max(*since);
            let is_wanted = |(sequence, audience): &&(u64, Audience)| {
                audiences.contains(audience) && *sequence > after(audience)
            };
            let missed: Vec<_> = self.log.iter().filter(is_wanted).collect();
            // The newest events, up to the first one that exceeds the bound.
            let fit = (max_bytes / EACH_BYTES) as usize + 1;
            let cut = missed.len().saturating_sub(fit.max(2));
            let cut_after = missed.get(cut).filter(|_| cut > 0).map_or(0, |(first, _)| first - 1);
            let sent = &missed[cut..];
            sent_bytes += sent.len() as u64 * EACH_BYTES;
            for audience in audiences {
                let events = sent.iter().filter(|(_, of)| of == audience);
                let events: Vec<_> = events.map(|(at, of)| Self::event(*at, of)).collect();
                answer.push(FromBroker::Past {
                    audience: audience.clone(),
                    events: events.len() as u32,
                    expired: self.lost_up_to(audience),
                    complete_after: after(audience).max(cut_after),
                });
                answer.extend(events);
            }
        }
        self.sent.extend(answer);
        self.sent.push_back(FromBroker::Fetched { number, served });
    }
}
