//! What this broker wants to write to the log: the pushes of its links from their arrival until the block that
//! brings them was applied. Pure.
//!
//! ```text
//! take ──▶ staged ──form──▶ in flight ──landed──▶ decided
//!            │  ▲               │
//!            │  └─ stale ───────┘
//!            └─form──▶ known: a repeat, or refused
//! ```
//!
//! Each staged push leaves once: with a block that counts, or as [`Known`]. At most one block is in flight, so the
//! pushes of a publisher stay in order even if a block is formed anew.

mod publish;
mod queue;
mod settling;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::Duration;

use campanile_messages::InstanceId;
use campanile_messages::link::{Number, Refusal};

use self::queue::{Queue, Staged};
use self::settling::Settling;
use super::Ledger;
use super::block::{Block, Entry, MAX_BLOCK_BYTES, MAX_ENTRIES, head_bytes};
use super::decisions::{Applied, Verdict};
use super::ids::KnownKey;
use super::numbers::KnownNumber;

pub use self::publish::{Publish, Trace};

/// How long a push may be staged while other brokers write blocks. Its number may have been accepted at one of them
/// and be forgotten after that.
const STAGED_FOR: Duration = Duration::from_secs(60);

/// Which part of the table of ids the keys of clients may take, so that they leave the rest to backends.
const CLIENTS_PART: usize = 10;

/// What happened to a publish.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is staged, or repeats a staged one.
    Staged,
    /// It repeats an accepted one, which has this sequence.
    Repeated {
        first: u64,
    },
    Refused(Refusal),
}

/// What the links of this broker want to hear of a push.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Here {
    pub count_within_millis: Option<u32>,
    pub trace: Option<Trace>,
    /// Who has repeated it under its key in the meantime. They get the same answer, except if the push itself is
    /// [`Settled`](super::decisions::Decided::Settled): then it was not accepted for them.
    pub repeated_by: BTreeSet<(InstanceId, Number)>,
}

/// A staged push that needs no block.
#[derive(Debug, PartialEq, Eq)]
pub enum Known {
    Repeated { publisher: InstanceId, number: Number, first: u64, here: Here },
    Refused { publisher: InstanceId, number: Number, refusal: Refusal, here: Here },
}

/// What a broker wants to write to the log.
#[derive(Debug)]
pub struct Proposals {
    producer: InstanceId,
    max_ids: usize,
    queue: Queue,
    settling: Settling,
    /// The worker ids to reserve with the next block.
    workers: Option<u64>,
    /// How many blocks were formed.
    formed: u64,
    in_flight: Option<Flight>,
    /// How many own blocks came back. All others that the ledger has applied are of other producers.
    landed: u64,
}

/// A block that was formed and did not come back yet. Its pushes are in the queue.
#[derive(Debug)]
struct Flight {
    number: u64,
    /// Whether its first entry reserves worker ids.
    has_workers: bool,
}

impl Proposals {
    /// Forms the blocks of `producer`, and stages pushes while there are less than `max_ids` keys.
    pub fn new(producer: InstanceId, max_ids: usize) -> Self {
        Self {
            producer,
            max_ids,
            queue: Queue::default(),
            settling: Settling::default(),
            workers: None,
            formed: 0,
            in_flight: None,
            landed: 0,
        }
    }

    /// Stages a publish, if it is not a repeat. A broker that `is_closing` accepts repeats only. `now` is log time.
    pub fn take(
        &mut self,
        publish: Publish,
        ledger: &Ledger,
        is_closing: bool,
        now: Duration,
    ) -> Taken {
        let (publisher, number) = (publish.publisher, publish.number);
        match ledger.known_number(publisher, number) {
            KnownNumber::New => {}
            // Nobody waits for it.
            KnownNumber::Settled => return Taken::Refused(Refusal::TooManyUnanswered),
            KnownNumber::Accepted(first) => return Taken::Repeated { first },
        }
        if self.queue.has_number(publisher, number) {
            return Taken::Staged;
        }
        let id = publish.key();
        if let Some((key, digest)) = &id {
            match ledger.known_id(key, *digest, now) {
                KnownKey::New => {}
                KnownKey::Taken => return Taken::Refused(Refusal::IdTaken),
                KnownKey::Accepted(first) => return Taken::Repeated { first },
            }
            if let Some(taken) = self.queue.repeat(key, *digest, (publisher, number)) {
                return taken;
            }
        }
        if is_closing {
            return Taken::Refused(Refusal::ShuttingDown);
        }
        // A publisher that has news of its answers gets room with the block that brings them.
        if !ledger.room_for(publisher) && !self.settling.has_news(publisher) {
            return Taken::Refused(Refusal::TooManyUnanswered);
        }
        if let Some((key, _)) = &id
            && self.is_full_for(key.is_clients(), ledger)
        {
            return Taken::Refused(Refusal::IdsFull);
        }
        let others = self.others(ledger);
        let (push, here) = publish.into_push(id);
        self.queue.stage(push, here, now, others);
        Taken::Staged
    }

    /// Every push of a publisher below this number has its answer. It goes with the next block, if it is news.
    pub fn settle(&mut self, publisher: InstanceId, unanswered: Number, ledger: &Ledger) {
        if ledger.settled_below(publisher) < unanswered {
            self.settling.note(publisher, unanswered);
        }
    }

    /// Reserves all worker ids below this one with the next block.
    pub fn reserve_workers(&mut self, below: u64) {
        self.workers = self.workers.max(Some(below));
    }

    /// Whether something is staged, and no block in flight.
    pub fn wants_block(&self) -> bool {
        self.in_flight.is_none() && (self.workers.is_some() || self.queue.has_staged())
    }

    /// Forms a block of what is staged, as much as fits. What the ledger has come to know is added to `known`.
    /// `None` if a block is in flight, or nothing is left to write.
    pub fn form(
        &mut self,
        ledger: &Ledger,
        now: Duration,
        known: &mut Vec<Known>,
    ) -> Option<Block> {
        if !self.wants_block() {
            return None;
        }
        let mut entries: Vec<_> =
            self.workers.iter().map(|below| Entry::Workers { below: *below }).collect();
        let mut bytes = head_bytes(self.settling.next_len());
        bytes += entries.iter().map(Entry::len_bytes).sum::<usize>();
        let others = self.others(ledger);
        while let Some(staged) = self.queue.next() {
            if let Some(outcome) = look_up_again(staged, ledger, now, others) {
                known.extend(self.queue.drop_next().map(|staged| outcome.of(staged)));
                continue;
            }
            bytes += staged.len_bytes;
            let is_full = entries.len() >= MAX_ENTRIES || bytes > MAX_BLOCK_BYTES;
            if is_full && !entries.is_empty() {
                break;
            }
            entries.extend(self.queue.fly().map(Entry::Push));
        }
        if entries.is_empty() {
            return None;
        }
        let has_workers = self.workers.take().is_some();
        Some(self.block(ledger, now, entries, has_workers))
    }

    /// Forms a block without entries, unless one is in flight.
    pub fn beat(&mut self, ledger: &Ledger, now: Duration) -> Option<Block> {
        self.in_flight.is_none().then(|| self.block(ledger, now, Vec::new(), false))
    }

    /// A block came back and was applied. Returns what this broker's links want to hear of each entry, in order;
    /// `None` for worker ids. If its producer is to form it anew, its entries are staged again, before all others;
    /// then, and for a block that is not in flight, nothing is returned.
    pub fn landed(&mut self, applied: &mut Applied) -> Vec<Option<Here>> {
        if applied.producer != self.producer {
            return Vec::new();
        }
        self.landed += 1;
        let landed = self.in_flight.take_if(|flight| flight.number == applied.number);
        let Some(Flight { has_workers, .. }) = landed else {
            return Vec::new();
        };
        match &mut applied.verdict {
            Verdict::Stale(block) | Verdict::TooEarly(block) => {
                self.settling.again();
                let entries = std::mem::take(&mut block.entries);
                let mut pushes = Vec::with_capacity(entries.len());
                for entry in entries {
                    match entry {
                        Entry::Push(push) => pushes.push(push),
                        Entry::Workers { below } => self.reserve_workers(below),
                    }
                }
                self.queue.stage_again(pushes);
                Vec::new()
            }
            Verdict::Counts | Verdict::OtherEpoch | Verdict::SecondCopy => {
                self.settling.landed();
                let workers = has_workers.then_some(None);
                workers.into_iter().chain(self.queue.land().map(Some)).collect()
            }
        }
    }

    /// How many bytes are staged or in flight, as the log of recent events counts them.
    pub fn staged_bytes(&self) -> usize {
        self.queue.cost_bytes()
    }

    /// Whether nothing is staged or in flight.
    pub fn is_idle(&self) -> bool {
        self.in_flight.is_none() && self.workers.is_none() && !self.queue.has_staged()
    }

    /// A new epoch begins. What is staged or in flight belongs to the old one and is dropped. Worker ids are still
    /// to be reserved if no block was formed for them.
    pub fn forget(&mut self) {
        self.queue = Queue::default();
        self.settling = Settling::default();
        self.in_flight = None;
    }

    fn block(
        &mut self,
        ledger: &Ledger,
        now: Duration,
        entries: Vec<Entry>,
        has_workers: bool,
    ) -> Block {
        self.formed += 1;
        self.in_flight = Some(Flight { number: self.formed, has_workers });
        let seen = ledger.seen();
        let now = Duration::from_millis(u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
        Block {
            epoch: ledger.epoch(),
            producer: self.producer,
            number: self.formed,
            at: now.max(seen.at),
            seen,
            settled: self.settling.fly(),
            entries,
        }
    }

    /// How many blocks of other producers were applied, from some place of the log on.
    fn others(&self, ledger: &Ledger) -> u64 {
        ledger.seen().block.wrapping_sub(self.landed)
    }

    fn is_full_for(&self, is_clients: bool, ledger: &Ledger) -> bool {
        let (known, staged) = (ledger.answering_ids(), self.queue.ids());
        known.all + staged.all >= self.max_ids
            || is_clients && known.clients + staged.clients >= self.max_ids / CLIENTS_PART
    }
}

/// Why a staged push needs no block.
enum Outcome {
    Repeated(u64),
    Refused(Refusal),
}

impl Outcome {
    fn of(self, Staged { push, here, .. }: Staged) -> Known {
        let (publisher, number) = (push.publisher, push.number);
        match self {
            Self::Repeated(first) => Known::Repeated { publisher, number, first, here },
            Self::Refused(refusal) => Known::Refused { publisher, number, refusal, here },
        }
    }
}

/// Looks a push up as it leaves the queue. `None`: it goes into a block.
fn look_up_again(staged: &Staged, ledger: &Ledger, now: Duration, others: u64) -> Option<Outcome> {
    let push = &staged.push;
    let known = ledger.known_number(push.publisher, push.number);
    if let KnownNumber::Accepted(first) = known {
        return Some(Outcome::Repeated(first));
    }
    let id = push.id.as_ref().map(|(key, digest)| ledger.known_id(key, *digest, now));
    let is_late = staged.others != others && now.saturating_sub(staged.at) > STAGED_FOR;
    match id {
        Some(KnownKey::Accepted(first)) => Some(Outcome::Repeated(first)),
        Some(KnownKey::Taken) => Some(Outcome::Refused(Refusal::IdTaken)),
        // If its number is settled, its publisher has an answer, and only those who repeated it wait.
        _ if known == KnownNumber::Settled || is_late => {
            Some(Outcome::Refused(Refusal::TooManyUnanswered))
        }
        _ => None,
    }
}
