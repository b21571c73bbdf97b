//! Why a link of the broker ends, and what follows from that.

use super::conversation::Violation;
use crate::link::LinkError;

/// Why a link ends. None of them is noticed by another link.
#[derive(Debug, thiserror::Error)]
pub enum Ending {
    /// The socket, the bytes, or a peer that does not drain.
    #[error(transparent)]
    Lost(#[from] LinkError),
    /// The peer does not keep to the protocol.
    #[error(transparent)]
    Violation(#[from] Violation),
    /// The same process has come back on another socket; this one may be half-open.
    #[error("its process has a newer link")]
    Replaced,
    /// The log begins anew.
    #[error("a new epoch of the log begins")]
    NewEpoch,
    /// This broker ends.
    #[error("the broker is shutting down")]
    ShutDown,
}

impl Ending {
    /// Whether the peer gets what waits for it and then the reason. To the others nothing more is
    /// written: they are gone, or take nothing.
    pub fn is_told(&self) -> bool {
        match self {
            Self::Lost(LinkError::Decode(_))
            | Self::Violation(_)
            | Self::NewEpoch
            | Self::ShutDown => true,
            Self::Lost(_) | Self::Replaced => false,
        }
    }

    /// Whether it belongs to a cluster's ordinary life.
    pub fn is_ordinary(&self) -> bool {
        match self {
            Self::Lost(LinkError::Closed) | Self::Replaced | Self::NewEpoch | Self::ShutDown => {
                true
            }
            Self::Lost(_) | Self::Violation(_) => false,
        }
    }
}
