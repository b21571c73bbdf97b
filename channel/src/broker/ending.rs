//! Why a link of the broker ends, and what follows from that. Pure.

use super::conversation::Violation;
use crate::link::LinkError;

/// Why a link ends. No other link is affected.
#[derive(Debug, thiserror::Error)]
pub enum Ending {
    /// The socket failed, the bytes were wrong, or the peer reads too slowly.
    #[error(transparent)]
    Lost(#[from] LinkError),
    #[error(transparent)]
    Violation(#[from] Violation),
    /// The same process has come back on another socket, so this one may be dead.
    #[error("its process has a newer link")]
    Replaced,
    #[error("a new epoch of the log begins")]
    NewEpoch,
    #[error("the broker is shutting down")]
    ShutDown,
}

impl Ending {
    /// Whether the peer still gets what waits for it, and then the reason. Otherwise nothing more is
    /// written, because the peer is gone or does not read.
    pub fn is_told(&self) -> bool {
        match self {
            Self::Lost(LinkError::Decode(_))
            | Self::Violation(_)
            | Self::NewEpoch
            | Self::ShutDown => true,
            Self::Lost(_) | Self::Replaced => false,
        }
    }

    /// Whether it happens in a healthy cluster.
    pub fn is_ordinary(&self) -> bool {
        match self {
            Self::Lost(LinkError::Closed) | Self::Replaced | Self::NewEpoch | Self::ShutDown => {
                true
            }
            Self::Lost(_) | Self::Violation(_) => false,
        }
    }
}
