//! Which earlier events a new listener gets: `since=first` and `last=N`. Pure.
//!
//! Neither is a resume: a new listener has missed nothing, so nothing can be lost. The greeting says how
//! many events follow, and whether there were never any others.

use serde::Serialize;

use crate::entrance::refusal::Refusal;

/// The most events that `last` may ask for.
pub const MAX_LAST: usize = 1_000;

/// Which earlier events a new listener asks for. Of these it gets only the newest ones that fit into
/// [`max_replay_bytes`](crate::GatewayConfig::max_replay_bytes).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum History {
    /// All events that are kept.
    First,
    /// The newest events of all audiences of the connection together, 1 to [`MAX_LAST`].
    Last(usize),
}

impl History {
    /// The most events that the listener gets.
    pub fn max_events(self) -> usize {
        match self {
            Self::First => usize::MAX,
            Self::Last(max) => max,
        }
    }

    /// Reads the value of `last`.
    ///
    /// # Errors
    /// 400 for anything but a decimal number from 1 to [`MAX_LAST`].
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

/// What a greeting says about the earlier events that follow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SaidHistory {
    /// How many events follow.
    pub events: usize,
    /// Whether these are all events that the log ever had for these audiences.
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
