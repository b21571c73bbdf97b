//! The producers of blocks, so that a second copy of a block is recognised. Pure: times are milliseconds of log time.

use std::collections::BTreeMap;

use campanile_messages::InstanceId;

/// How long a producer is remembered after its last block. A copy that comes later is stale.
pub const REMEMBERED_MILLIS: u64 = 3_600_000;

/// How often old producers are looked for.
const SWEEP_MILLIS: u64 = 60_000;

/// The producers that were heard of.
#[derive(Debug, Default)]
pub struct Producers {
    by_instance: BTreeMap<InstanceId, LastBlock>,
    swept_millis: u64,
}

/// The highest number of a producer's blocks, and when the producer was last heard of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastBlock {
    pub number: u64,
    pub at_millis: u64,
}

impl Producers {
    /// Notes a block of a producer. Returns whether its number is above those of all before.
    pub fn note(&mut self, producer: InstanceId, number: u64, now: u64) -> bool {
        let fresh = LastBlock { number, at_millis: now };
        let Some(last) = self.by_instance.get_mut(&producer) else {
            self.by_instance.insert(producer, fresh);
            return true;
        };
        // One that is only still there because nobody has removed it does not count.
        let is_news = number > last.number || is_old(last, now);
        *last = if is_news { fresh } else { LastBlock { at_millis: now, ..*last } };
        is_news
    }

    /// Time has passed. Forgets producers that are old enough; there are few of them.
    pub fn pass(&mut self, now: u64) {
        if now.saturating_sub(self.swept_millis) >= SWEEP_MILLIS {
            self.swept_millis = now;
            self.by_instance.retain(|_, last| !is_old(last, now));
        }
    }

    /// All producers, in order of their ids.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (InstanceId, LastBlock)> {
        self.by_instance.iter().map(|(producer, last)| (*producer, *last))
    }

    /// Adds a producer that an earlier ledger knew.
    pub fn recover(&mut self, producer: InstanceId, last: LastBlock) {
        self.by_instance.insert(producer, last);
    }
}

fn is_old(last: &LastBlock, now: u64) -> bool {
    now.saturating_sub(last.at_millis) >= REMEMBERED_MILLIS
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: InstanceId = InstanceId(1);

    #[test]
    fn a_number_that_does_not_rise_is_no_news() {
        let mut producers = Producers::default();
        let news = [(1, true), (1, false), (3, true), (2, false), (3, false), (4, true)];
        for (number, is_news) in news {
            assert_eq!(producers.note(P, number, 0), is_news, "{number}");
        }
        assert!(producers.note(InstanceId(2), 1, 0));
    }

    #[test]
    fn a_producer_is_forgotten_an_hour_after_its_last_block() {
        let mut producers = Producers::default();
        producers.note(P, 1, 0);
        producers.note(P, 1, 1_000);
        producers.pass(REMEMBERED_MILLIS + 999);
        assert_eq!(producers.iter().len(), 1);
        producers.pass(REMEMBERED_MILLIS + 999 + SWEEP_MILLIS);
        assert_eq!(producers.iter().len(), 0);
    }

    #[test]
    fn whether_a_producer_was_removed_makes_no_difference() {
        let mut producers = Producers::default();
        producers.note(P, 5, 0);
        assert!(producers.note(P, 5, REMEMBERED_MILLIS));
    }
}
