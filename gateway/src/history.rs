//! What a new listener hears of the past: `since=first` and `last=N`. Pure.
//!
//! Neither is a resume: nothing was missed, so nothing can be lost. What is said is how many events
//! follow, and whether they are all that there ever were.

use serde::Serialize;

use crate::entrance::refusal::Refusal;

/// The most events that `last` may ask for.
pub const MAX_LAST: usize = 1_000;

/// How much of the past a new listener asks for. In any case not more bytes than are replayed to a
/// client that comes back; the newest count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum History {
    /// What is kept.
    First,
    /// The newest events of all audiences of the connection together, 1 to [`MAX_LAST`].
    Last(usize),
}

impl History {
    /// How many events it is at most.
    pub fn max_events(self) -> usize {
        match self {
            Self::First => usize::MAX,
            Self::Last(max) => max,
        }
    }

    /// Reads the value of `last`.
    ///
    /// # Errors
    /// 400 for anything else than a decimal number from 1 to [`MAX_LAST`].
    pub fn read_last(value: &str) -> Result<Self, Refusal> {
        let is_decimal = value.bytes().all(|byte| byte.is_ascii_digit());
        match value.parse() {
            Ok(max @ 1..=MAX_LAST) if is_decimal => Ok(Self::Last(max)),
            _ => {
                let value: String = value.chars().take(100).collect();
                Err(Refusal::bad(&format!(
                    "parameter last: {value:?}, a number from 1 to {MAX_LAST} is accepted"
                )))
            }
        }
    }
}

/// What is said of the past that follows a welcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SaidHistory {
    /// How many events follow.
    pub events: usize,
    /// Whether they are all that the log ever had for these audiences.
    pub complete: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_is_a_number_from_1_to_1000() {
        assert_eq!(History::read_last("1"), Ok(History::Last(1)));
        assert_eq!(History::read_last("1000"), Ok(History::Last(1_000)));
        for bad in ["", "0", "1001", "-1", "+1", "1.0", "a", " 1", "99999999999999999999999"] {
            let refusal = History::read_last(bad).expect_err("refused");
            assert_eq!(refusal.status, 400, "{bad}");
        }
    }
}
