//! What blocks come to, from the whole history, which is gone through from its beginning for each block.

use super::*;

/// A fact of the history, and the block that brought it.
#[derive(Debug, Clone)]
enum Fact {
    Accepted { block: u64, sequence: u64, push: Box<Push>, at: Duration },
    Settled { block: u64, publisher: InstanceId, unanswered: Number },
}

/// A block of the log.
#[derive(Debug, Clone)]
pub struct Logged {
    pub number: u64,
    pub at: Duration,
    pub block: Block,
}

#[derive(Debug, Default)]
pub struct Model {
    pub log: Vec<Logged>,
    facts: Vec<Fact>,
}

impl Model {
    pub fn head(&self) -> Seen {
        self.log.last().map_or_else(Seen::default, |last| Seen {
            block: last.number,
            at: last.at,
            print: 0,
        })
    }

    /// What is known about a number from the blocks after one.
    pub fn number(&self, publisher: InstanceId, number: Number, after: u64) -> KnownNumber {
        let mut known = KnownNumber::New;
        for fact in &self.facts {
            match fact {
                Fact::Settled { block, publisher: of, unanswered }
                    if *block > after && *of == publisher && number < *unanswered =>
                {
                    return KnownNumber::Settled;
                }
                Fact::Accepted { block, sequence, push, .. }
                    if *block > after && push.publisher == publisher && push.number == number =>
                {
                    known = KnownNumber::Accepted(*sequence);
                }
                _ => {}
            }
        }
        known
    }

    /// The last acceptance of a key after a block, and when that was.
    pub fn id(&self, key: &RepeatKey, after: u64) -> Option<(u64, Digest, Duration)> {
        self.facts.iter().rev().find_map(|fact| match fact {
            Fact::Accepted { block, sequence, push, at } if *block > after => {
                let (_, digest) = push.id.as_ref().filter(|(of, _)| of == key)?;
                Some((*sequence, *digest, *at))
            }
            _ => None,
        })
    }

    /// Whether a block of this producer with that number or a higher one was there, and the producer not forgotten.
    fn is_second_copy(&self, block: &Block, now: Duration) -> bool {
        let mut of_producer: Vec<&Logged> = Vec::new();
        for logged in &self.log {
            if logged.block.producer == block.producer && logged.block.epoch == EPOCH {
                let is_away = |last: &&Logged| logged.at - last.at >= Duration::from_secs(3_600);
                if of_producer.last().is_some_and(is_away) {
                    of_producer.clear();
                }
                of_producer.push(logged);
            }
        }
        let last = of_producer.last().filter(|last| now - last.at < Duration::from_secs(3_600));
        last.is_some() && of_producer.iter().any(|logged| logged.block.number >= block.number)
    }

    /// Applies a block as a ledger does that knows everything.
    pub fn apply(&mut self, number: u64, at: Duration, block: Block) -> Applied {
        let at = at.max(self.head().at);
        let (producer, its_number) = (block.producer, block.number);
        let is_between = self.log.iter().any(|logged| logged.number > block.seen.block);
        let mut decided = Vec::new();
        let verdict = if block.epoch != EPOCH {
            Verdict::OtherEpoch
        } else if self.is_second_copy(&block, at) {
            Verdict::SecondCopy
        } else if is_between && at > block.seen.at + Duration::from_secs(60) {
            Verdict::Stale(block.clone())
        } else {
            for (publisher, unanswered) in block.settled.iter().copied() {
                self.facts.push(Fact::Settled { block: number, publisher, unanswered });
            }
            for (index, entry) in block.entries.iter().enumerate() {
                let sequence = number * 65_536 + index as u64 + 1;
                decided.push(match entry {
                    Entry::Workers { below } => Decided::Workers { below: *below },
                    Entry::Push(push) => self.decide(number, sequence, push, block.seen.block, at),
                });
            }
            Verdict::Counts
        };
        self.log.push(Logged { number, at, block });
        Applied { verdict, producer, number: its_number, decided }
    }

    fn decide(
        &mut self,
        block: u64,
        sequence: u64,
        push: &Push,
        seen: u64,
        at: Duration,
    ) -> Decided {
        let (publisher, number) = (push.publisher, push.number);
        match self.number(publisher, number, seen) {
            KnownNumber::Settled => return Decided::Settled { publisher, number },
            KnownNumber::Accepted(first) => return Decided::Repeat { publisher, number, first },
            KnownNumber::New => {}
        }
        if let Some((key, digest)) = &push.id
            && let Some((first, of_first, _)) = self.id(key, seen)
        {
            return match of_first == *digest {
                true => Decided::Repeat { publisher, number, first },
                false => Decided::Taken { publisher, number },
            };
        }
        self.facts.push(Fact::Accepted { block, sequence, push: Box::new(push.clone()), at });
        Decided::Accepted { sequence, push: push.clone() }
    }
}
