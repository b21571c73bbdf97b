//! What both sides say of themselves when a link begins.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Number;
use crate::{InstanceId, Position, WorkerId};

/// Who calls. The rest of an [`Offer`](crate::hello::Offer) is not the business of the link's owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The caller's process, from its start to its end.
    pub instance: InstanceId,
    /// What the process is.
    pub role: Role,
}

/// What a process at the other end of a broker's link is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// It holds client connections.
    Gateway {
        /// How many workers it has, at least 1.
        workers: u16,
        /// The ids that its workers hold from an earlier link: none, or exactly one per worker.
        held: Vec<WorkerId>,
    },
    /// It accepts pushes.
    Publisher {
        /// Every `Publish` below this number has its answer, or nobody waits for the answer any more.
        unanswered: Number,
    },
}

/// How durable an event is before anybody sees it and before its publisher gets an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Durability {
    /// On disk: it survives a loss of power.
    Disk,
    /// Handed to the operating system: it survives the end of the broker's process.
    Written,
    /// In the broker's memory only.
    Memory,
}

impl Durability {
    /// The word in receipts and for the flag `--durability`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Written => "written",
            Self::Memory => "memory",
        }
    }
}

/// What a caller needs to begin. The rest of a [`HelloAnswer`](crate::hello::HelloAnswer) is not the
/// business of the link's owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// Where the log ends now. All sequences on this link belong to this position's epoch.
    pub head: Position,
    /// How durable an accepted event is.
    pub durability: Durability,
    /// The ids of the gateway's workers: those that they held, or new ones. Empty for a publisher.
    pub workers: Vec<WorkerId>,
    /// Which log the broker writes to. `None` from an earlier release, whose log is always its own.
    #[serde(default)]
    pub log: Option<LogIdentity>,
}

/// Which log a broker writes to. Two brokers with equal identities write to one log.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LogIdentity {
    /// Who else may write to it.
    pub kind: LogKind,
    /// Which one of its kind it is.
    pub id: LogId,
}

/// Who writes to a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LogKind {
    /// This broker alone. The id is random: drawn with the data directory, or at the start of a broker
    /// without one.
    Own,
    /// Any number of brokers. The id is the name of the log and when it was created.
    Shared,
}

/// The longest [`LogId`], in bytes.
pub const MAX_LOG_ID_BYTES: usize = 255;

/// The id of a log: 1 to [`MAX_LOG_ID_BYTES`] bytes of text. Its parts have a meaning only to the brokers that
/// write to the log.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct LogId(String);

/// A text that is not the id of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a log id of {len_bytes} bytes; accepted are 1 to {MAX_LOG_ID_BYTES}")]
pub struct InvalidLogId {
    /// How long it is.
    pub len_bytes: usize,
}

impl LogIdentity {
    /// The identity of the log of a single broker.
    pub fn own(random: u64) -> Self {
        Self { kind: LogKind::Own, id: LogId(format!("{random:016x}")) }
    }
}

impl TryFrom<String> for LogId {
    type Error = InvalidLogId;

    fn try_from(text: String) -> Result<Self, InvalidLogId> {
        match text.len() {
            1..=MAX_LOG_ID_BYTES => Ok(Self(text)),
            len_bytes => Err(InvalidLogId { len_bytes }),
        }
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
