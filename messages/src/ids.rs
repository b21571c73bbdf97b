//! Who is who in a cluster.

use std::fmt;
use std::num::IntErrorKind;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Ids stay below 2^53, so that a JavaScript number holds each of them exactly.
pub const ID_LIMIT: u64 = 1 << 53;

/// Why a text is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// Something else than the digits 0 to 9, or nothing at all.
    #[error("not a decimal number")]
    NotDecimal,
    /// 2^53 or more.
    #[error("not below 2^53")]
    TooLarge,
}

fn parse_id(text: &str) -> Result<u64, InvalidId> {
    // `u64::from_str` would take a leading plus.
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
    /// A worker of a gateway, unique in the cluster and never given to another worker. Below 2^53.
    WorkerId
}

decimal_id! {
    /// A connection of one worker, never given to another connection of it. Below 2^53.
    ConnectionId
}

/// Where one connection is reached: its worker and its number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Address {
    /// The worker that holds the connection.
    pub worker: WorkerId,
    /// The connection's number at that worker.
    pub connection: ConnectionId,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.worker, self.connection)
    }
}

/// One life of a gateway or publisher process: drawn at random when it starts, so that the broker
/// knows a returning link from a new one.
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
    fn anything_else_is_no_id() {
        for text in ["", "-1", "+1", " 1", "1 ", "0x1", "1.0", "１"] {
            assert_eq!(text.parse::<WorkerId>(), Err(InvalidId::NotDecimal), "{text:?}");
        }
        for text in ["9007199254740992", "18446744073709551616", "99999999999999999999999"] {
            assert_eq!(text.parse::<WorkerId>(), Err(InvalidId::TooLarge), "{text:?}");
        }
    }
}
