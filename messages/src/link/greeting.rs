//! What both sides say of themselves when a link begins.

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
}
