//! Where an event stands in the broker's log.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A place in the log: the epoch it belongs to and the sequence within it. To clients it is an
/// opaque string; its form is `{epoch}-{sequence}`, the epoch as 16 hexadecimal digits.
///
/// Positions of different epochs are not comparable, which is why there is no `Ord`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Position {
    /// Random; another one whenever continuity cannot be proven.
    pub epoch: u64,
    /// The number of the event, from 1; 0 is the place before the first.
    pub sequence: u64,
}

/// A text that is no position.
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
        // One place, one text: a client may compare positions as strings.
        if position.to_string() == text { Ok(position) } else { Err(InvalidPosition) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_position_survives_its_text(epoch: u64, sequence: u64) {
            let position = Position { epoch, sequence };
            prop_assert_eq!(position.to_string().parse(), Ok(position));
        }
    }

    #[test]
    fn other_texts_are_no_position() {
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
