//! The ids of workers, connections and processes.

use std::fmt;
use std::num::IntErrorKind;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Ids are below 2^53, so that a JavaScript number can hold each of them exactly.
pub const ID_LIMIT: u64 = 1 << 53;

/// Why a string is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// It is empty, or has characters other than the digits 0 to 9.
    #[error("not a decimal number")]
    NotDecimal,
    /// It is 2^53 or more.
    #[error("not below 2^53")]
    TooLarge,
}

fn parse_id(text: &str) -> Result<u64, InvalidId> {
    // `u64::from_str` would accept a leading plus.
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(InvalidId::NotDecimal);
    }
    match text.parse::<u64>() {
        Ok(id) if id < ID_LIMIT => Ok(id),
        Ok(_) => Err(InvalidId::TooLarge),
        Err(error) if *error.kind() == IntErrorKind::PosOverflow => Err(InvalidId::TooLarge),
        Err(_) => Err(InvalidId::NotDecimal),
    }
}

macro_rules! decimal_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                parse_id(text).map(Self)
            }
        }
    };
}

decimal_id! {
    /// A worker of a gateway. Unique in the cluster, never given to another worker, below 2^53.
    WorkerId
}

decimal_id! {
    /// A connection of a worker. Never given to another connection of that worker, below 2^53.
    ConnectionId
}

/// Identifies a connection in the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Address {
    /// The worker that holds the connection.
    pub worker: WorkerId,
    /// The connection's id at that worker.
    pub connection: ConnectionId,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.worker, self.connection)
    }
}

/// Identifies a gateway or publisher process from its start to its end. It is drawn at random at the
/// start, so that the broker can tell a process that returns from a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InstanceId(pub u64);

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_digits_below_the_limit_are_an_id() {
        assert_eq!("0".parse(), Ok(WorkerId(0)));
        assert_eq!("9007199254740991".parse(), Ok(ConnectionId(ID_LIMIT - 1)));
    }

    #[test]
    fn other_strings_are_not_ids() {
        for text in ["", "-1", "+1", " 1", "1 ", "0x1", "1.0", "１"] {
            assert_eq!(text.parse::<WorkerId>(), Err(InvalidId::NotDecimal), "{text:?}");
        }
        for text in ["9007199254740992", "18446744073709551616", "99999999999999999999999"] {
            assert_eq!(text.parse::<WorkerId>(), Err(InvalidId::TooLarge), "{text:?}");
        }
    }
}
