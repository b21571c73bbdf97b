//! A broker with proposals, and the list of what it should have staged.

use super::{
    Audience, BTreeSet, Block, Duration, Entry, Here, InstanceId, Known, KnownKey, KnownNumber,
    Ledger, MAX_BLOCK_BYTES, MAX_IDS, Number, Proposals, Publish, REPEAT_BYTES, Refusal, TOO_MANY,
    Taken, Verdict, content,
};
use crate::broker::ledger::block::Push;
use crate::broker::ledger::digest::Digest;
use crate::broker::log::cost_bytes;
use crate::broker::repeat_key::RepeatKey;

/// A push that was staged and has no outcome.
pub struct Open {
    publisher: InstanceId,
    number: Number,
    id: Option<(RepeatKey, Digest)>,
    content: u8,
    repeated_by: BTreeSet<(InstanceId, Number)>,
    at: Duration,
    others: usize,
}

pub struct Broker {
    producer: InstanceId,
    pub proposals: Proposals,
    pub ledger: Ledger,
    /// How many blocks of the log it has applied.
    pub applied: usize,
    /// How many of those were of the other broker.
    others: usize,
    pub open: Vec<Open>,
    /// How many of the first open ones are in flight.
    flying: usize,
    is_flying: bool,
    /// The block in flight, until it is in the log.
    pub block: Option<Block>,
}

impl Broker {
    pub fn new(producer: InstanceId) -> Self {
        Self {
            producer,
            proposals: Proposals::new(producer, MAX_IDS),
            ledger: Ledger::new(7, 0),
            applied: 0,
            others: 0,
            open: Vec::new(),
            flying: 0,
            is_flying: false,
            block: None,
        }
    }

    pub fn take(&mut self, publish: Publish, content: u8, now: Duration) {
        let (publisher, number, id) = (publish.publisher, publish.number, publish.key());
        let taken = self.proposals.take(publish, &self.ledger, false, now);
        assert_eq!(taken, self.expected(publisher, number, id, content, now));
    }

    fn expected(
        &mut self,
        publisher: InstanceId,
        number: Number,
        id: Option<(RepeatKey, Digest)>,
        content: u8,
        now: Duration,
    ) -> Taken {
        match self.ledger.known_number(publisher, number) {
            KnownNumber::Accepted(first) => return Taken::Repeated { first },
            KnownNumber::Settled => return TOO_MANY,
            KnownNumber::New => {}
        }
        let numbered = (publisher, number);
        if self.open.iter().any(|open| (open.publisher, open.number) == numbered) {
            return Taken::Staged;
        }
        if let Some((key, digest)) = &id {
            match self.ledger.known_id(key, *digest, now) {
                KnownKey::Accepted(first) => return Taken::Repeated { first },
                KnownKey::Taken => return Taken::Refused(Refusal::IdTaken),
                KnownKey::New => {}
            }
            let has_key = |open: &&mut Open| open.id.as_ref().is_some_and(|(its, _)| its == key);
            match self.open.iter_mut().find(has_key) {
                Some(open) if open.content == content => {
                    open.repeated_by.insert(numbered);
                    return Taken::Staged;
                }
                Some(_) => return Taken::Refused(Refusal::IdTaken),
                None => {}
            }
            let staged = self.open.iter().filter(|open| open.id.is_some()).count();
            if staged + self.ledger.answering_ids().all >= MAX_IDS {
                return Taken::Refused(Refusal::IdsFull);
            }
        }
        let (repeated_by, at, others) = (BTreeSet::new(), now, self.others);
        self.open.push(Open { publisher, number, id, content, repeated_by, at, others });
        Taken::Staged
    }

    pub fn form(&mut self, now: Duration) {
        let mut known = Vec::new();
        let block = self.proposals.form(&self.ledger, now, &mut known);
        if self.is_flying {
            assert_eq!((block, known), (None, vec![]));
            return;
        }
        let mut known = known.into_iter().peekable();
        let mut pushes = block.iter().flat_map(pushes).peekable();
        // Together, they are the first of the open ones, in order.
        while let Some(open) = self.open.get(self.flying) {
            let numbered = (open.publisher, open.number);
            if let Some(known) = known.next_if(|known| number_of(known) == numbered) {
                self.check_known(open, known, now);
                self.open.remove(self.flying);
            } else if pushes.next_if(|push| (push.publisher, push.number) == numbered).is_some() {
                self.check_unknown(open, now);
                self.flying += 1;
            } else {
                let block = block.as_ref().expect("something fits into every block");
                let len = block.len_bytes() + content(open.content).as_bytes().len() + 100;
                assert!(len > MAX_BLOCK_BYTES, "there is room for {numbered:?}");
                break;
            }
        }
        assert!(known.next().is_none() && pushes.next().is_none());
        drop(pushes);
        if let Some(block) = &block {
            assert!(block.entries.len() == 1 || block.len_bytes() <= MAX_BLOCK_BYTES);
            assert_eq!(Block::decode(block.encode()).as_ref(), Ok(block));
        }
        self.is_flying = block.is_some();
        self.block = block;
    }

    pub fn beat(&mut self, now: Duration) {
        let beat = self.proposals.beat(&self.ledger, now);
        assert_eq!(beat.is_none(), self.is_flying);
        if beat.is_some() {
            (self.block, self.is_flying) = (beat, true);
        }
    }

    /// Applies the next block of the log.
    pub fn land(&mut self, block: Block, came: Duration) {
        self.applied += 1;
        let entries = block.entries.clone();
        let is_own = block.producer == self.producer;
        self.others += usize::from(!is_own);
        let mut applied = self.ledger.apply(self.applied as u64, came, 0, block);
        let here = self.proposals.landed(&mut applied);
        match applied.verdict {
            Verdict::Counts if is_own => {
                assert_eq!((here.len(), applied.decided.len()), (entries.len(), entries.len()));
                entries.iter().zip(here).for_each(|(entry, here)| self.answer(entry, here));
                (self.flying, self.is_flying) = (0, false);
            }
            Verdict::Stale(_) | Verdict::TooEarly(_) if is_own => {
                assert_eq!(here, []);
                (self.flying, self.is_flying) = (0, false);
            }
            _ => assert_eq!(here, []),
        }
    }

    /// Checks what has to be true at any time.
    pub fn check(&self) {
        let cost_bytes = |open: &Open| {
            let content_bytes = content(open.content).as_bytes().len();
            let repeats_bytes = REPEAT_BYTES * open.repeated_by.len();
            cost_bytes(&Audience::Everyone, content_bytes, 0) + repeats_bytes
        };
        let staged_bytes = self.open.iter().map(cost_bytes).sum::<usize>();
        assert_eq!(self.proposals.staged_bytes(), staged_bytes);
    }

    fn answer(&mut self, entry: &Entry, here: Option<Here>) {
        let Entry::Push(push) = entry else {
            assert_eq!(here, None);
            return;
        };
        let open = self.open.remove(0);
        assert_eq!((push.publisher, push.number), (open.publisher, open.number));
        assert_eq!(here.unwrap().repeated_by, open.repeated_by);
    }

    fn check_unknown(&self, open: &Open, now: Duration) {
        assert_eq!(self.ledger.known_number(open.publisher, open.number), KnownNumber::New);
        assert!([None, Some(KnownKey::New)].contains(&self.known_id(open, now)));
        assert!(!self.is_late(open, now));
    }

    fn check_known(&self, open: &Open, known: Known, now: Duration) {
        let number = self.ledger.known_number(open.publisher, open.number);
        let id = self.known_id(open, now);
        let here = match known {
            Known::Repeated { first, here, .. } => {
                let is_number = number == KnownNumber::Accepted(first);
                assert!(is_number || id == Some(KnownKey::Accepted(first)));
                here
            }
            Known::Refused { refusal: Refusal::IdTaken, here, .. } => {
                assert_eq!(id, Some(KnownKey::Taken));
                here
            }
            Known::Refused { refusal, here, .. } => {
                assert_eq!(refusal, Refusal::TooManyUnanswered);
                assert!(number == KnownNumber::Settled || self.is_late(open, now));
                here
            }
        };
        assert_eq!(here.repeated_by, open.repeated_by);
    }

    fn known_id(&self, open: &Open, now: Duration) -> Option<KnownKey> {
        open.id.as_ref().map(|(key, digest)| self.ledger.known_id(key, *digest, now))
    }

    fn is_late(&self, open: &Open, now: Duration) -> bool {
        now - open.at > Duration::from_secs(60) && self.others > open.others
    }
}

fn pushes(block: &Block) -> impl Iterator<Item = &Push> {
    block.entries.iter().filter_map(|entry| match entry {
        Entry::Push(push) => Some(push),
        Entry::Workers { .. } => None,
    })
}

fn number_of(known: &Known) -> (InstanceId, Number) {
    match known {
        Known::Repeated { publisher, number, .. } | Known::Refused { publisher, number, .. } => {
            (*publisher, *number)
        }
    }
}
