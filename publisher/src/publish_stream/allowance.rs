//! A stream's share of the budget: taken and given back in pieces, not for every push.

use crate::budget::UsedUp;
use crate::courier::answers::Answers;

/// How much is taken at once at most; a stream takes in advance no more than it uses already.
const PIECE_BYTES: usize = 64 << 10;

/// What is taken and of no use at the moment, and what is in use.
#[derive(Debug, Default)]
pub(super) struct Allowance {
    spare: usize,
    used: usize,
}

impl Allowance {
    /// Takes so much.
    ///
    /// # Errors
    /// Which bound leaves no room; nothing is taken.
    pub(super) fn take(&mut self, bytes: usize, places: &Answers) -> Result<(), UsedUp> {
        if self.spare < bytes {
            let missing = bytes - self.spare;
            let piece = missing.max(self.used.min(PIECE_BYTES));
            match places.grow(piece) {
                Ok(()) => self.spare += piece,
                Err(_) => {
                    places.grow(missing)?;
                    self.spare += missing;
                }
            }
        }
        self.spare -= bytes;
        self.used += bytes;
        Ok(())
    }

    /// Gives so much back; a part may be kept for what comes.
    pub(super) fn give_back(&mut self, bytes: usize, places: &Answers) {
        self.spare += bytes;
        self.used -= bytes;
        if self.spare > 2 * PIECE_BYTES {
            places.shrink(self.spare - PIECE_BYTES);
            self.spare = PIECE_BYTES;
        }
    }

    /// Keeps nothing.
    pub(super) fn settle(&mut self, places: &Answers) {
        if self.spare > 0 {
            places.shrink(self.spare);
            self.spare = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use campanile_edge::Peer;

    use super::*;
    use crate::budget::{Budget, Shares};
    use crate::courier::Presence;

    fn budget(bytes: usize) -> Budget {
        Budget::new(Shares::of(bytes, bytes, bytes))
    }

    fn stream(budget: &Budget) -> (Allowance, Answers) {
        (Allowance::default(), Answers::new(Presence::default(), budget.reserve(Peer::of(None))))
    }

    #[test]
    fn pieces_are_taken_and_the_rest_is_given_back_when_nothing_is_under_way() {
        let budget = budget(10 * PIECE_BYTES);
        let (mut allowance, places) = stream(&budget);
        for _ in 0..3 {
            assert_eq!(allowance.take(1_000, &places), Ok(()));
        }
        assert_eq!(budget.used_bytes(), 4_000);
        assert_eq!(allowance.take(4 * PIECE_BYTES, &places), Ok(()));
        allowance.give_back(4 * PIECE_BYTES, &places);
        assert!(budget.used_bytes() < 3 * PIECE_BYTES);
        allowance.give_back(3_000, &places);
        allowance.settle(&places);
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    fn the_last_bytes_of_the_budget_are_taken_too_and_no_more() {
        let budget = budget(2_000);
        let (mut allowance, places) = stream(&budget);
        assert_eq!(allowance.take(1_500, &places), Ok(()));
        assert_eq!(allowance.take(501, &places), Err(UsedUp::OfPeer { max_bytes: 2_000 }));
        assert_eq!(allowance.take(500, &places), Ok(()));
        assert_eq!(budget.used_bytes(), 2_000);
    }
}
