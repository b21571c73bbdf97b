//! The bytes that a stream has reserved: taken and given back in pieces, not for every push.

use crate::budget::UsedUp;
use crate::courier::answers::Answers;

/// How much is taken at once. A stream takes no more in advance than it already uses.
const PIECE_BYTES: usize = 64 << 10;

/// What is in use, and what is taken in advance.
#[derive(Debug, Default)]
pub(super) struct Allowance {
    spare: usize,
    used: usize,
}

impl Allowance {
    /// Takes bytes into use.
    ///
    /// # Errors
    /// The bound that leaves no room. Then nothing is taken.
    pub(super) fn take(&mut self, bytes: usize, answers: &Answers) -> Result<(), UsedUp> {
        if self.spare < bytes {
            let missing = bytes - self.spare;
            let piece = missing.max(self.used.min(PIECE_BYTES));
            match answers.grow(piece) {
                Ok(()) => self.spare += piece,
                Err(_) => {
                    answers.grow(missing)?;
                    self.spare += missing;
                }
            }
        }
        self.spare -= bytes;
        self.used += bytes;
        Ok(())
    }

    /// Gives bytes back. A part may be kept for later use.
    pub(super) fn give_back(&mut self, bytes: usize, answers: &Answers) {
        self.spare += bytes;
        self.used -= bytes;
        if self.spare > 2 * PIECE_BYTES {
            answers.shrink(self.spare - PIECE_BYTES);
            self.spare = PIECE_BYTES;
        }
    }

    /// Gives back what was taken in advance.
    pub(super) fn settle(&mut self, answers: &Answers) {
        if self.spare > 0 {
            answers.shrink(self.spare);
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
    fn pieces_are_taken_and_given_back_when_nothing_is_under_way() {
        let budget = budget(10 * PIECE_BYTES);
        let (mut allowance, answers) = stream(&budget);
        for _ in 0..3 {
            assert_eq!(allowance.take(1_000, &answers), Ok(()));
        }
        assert_eq!(budget.used_bytes(), 4_000);
        assert_eq!(allowance.take(4 * PIECE_BYTES, &answers), Ok(()));
        allowance.give_back(4 * PIECE_BYTES, &answers);
        assert!(budget.used_bytes() < 3 * PIECE_BYTES);
        allowance.give_back(3_000, &answers);
        allowance.settle(&answers);
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    fn the_last_bytes_of_the_budget_can_be_taken() {
        let budget = budget(2_000);
        let (mut allowance, answers) = stream(&budget);
        assert_eq!(allowance.take(1_500, &answers), Ok(()));
        assert_eq!(allowance.take(501, &answers), Err(UsedUp::OfPeer { max_bytes: 2_000 }));
        assert_eq!(allowance.take(500, &answers), Ok(()));
        assert_eq!(budget.used_bytes(), 2_000);
    }
}
