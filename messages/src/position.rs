//! Where an event stands in the broker's log.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A place in the log: the epoch and the sequence within it. Clients get it as an opaque string of the
/// form `{epoch}-{sequence}`, with the epoch as 16 hexadecimal digits.
///
/// Positions of different epochs cannot be compared, so there is no `Ord`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Position {
    /// Random. A new epoch begins whenever it cannot be proven that the log continues.
    pub epoch: u64,
    /// The number of the event, from 1; 0 is the place before the first event.
    pub sequence: u64,
}

/// A string that is not a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a position")]
pub struct InvalidPosition;

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.epoch, self.sequence)
    }
}

impl FromStr for Position {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        let (epoch, sequence) = text.split_once('-').ok_or(InvalidPosition)?;
        let position = Self {
            epoch: u64::from_str_radix(epoch, 16).map_err(|_| InvalidPosition)?,
            sequence: sequence.parse().map_err(|_| InvalidPosition)?,
        };
        // Each position has one string, so that clients may compare strings.
        if position.to_string() == text { Ok(position) } else { Err(InvalidPosition) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_position_is_read_back_from_its_string(epoch: u64, sequence: u64) {
            let position = Position { epoch, sequence };
            prop_assert_eq!(position.to_string().parse(), Ok(position));
        }
    }

    #[test]
    fn other_strings_are_not_positions() {
        for text in [
            "",
            "-",
            "1-1",
            "00000000000000ff-",
            "00000000000000FF-1",
            "0000000000000001-01",
            "0000000000000001-+1",
        ] {
            assert_eq!(text.parse::<Position>(), Err(InvalidPosition), "{text:?}");
        }
    }
}
