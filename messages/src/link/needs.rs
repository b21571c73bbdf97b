//! Which messages only some releases know.

use super::{FromBroker, ToBroker};
use crate::feature::{CLIENT_PUBLISH, Feature, INQUIRIES, STAMPS, TRACES};

impl<C> ToBroker<C> {
    /// The feature that a broker must have to understand this message; `None` if every broker
    /// understands it. A message that needs a feature may only be sent where
    /// [`Features::allow`](crate::hello::Features::allow) says so.
    pub fn needs(&self) -> Option<Feature> {
        match self {
            Self::Heartbeat
            | Self::Interest { .. }
            | Self::Attach { .. }
            | Self::Fetch { .. }
            | Self::Counted { .. }
            | Self::Delivered { .. }
            | Self::Publish { from: None, .. }
            | Self::Settled { .. }
            | Self::AskHead { .. }
            | Self::Direct { .. } => None,
            Self::Traced { .. } => Some(TRACES),
            Self::Ask { .. } | Self::Told { .. } => Some(INQUIRIES),
            // A broker without it would take the user's key for a backend's.
            Self::Publish { from: Some(_), .. } => Some(CLIENT_PUBLISH),
        }
    }
}

impl<C> FromBroker<C> {
    /// Like [`ToBroker::needs`], for the peer of a broker.
    pub fn needs(&self) -> Option<Feature> {
        match self {
            Self::Heartbeat
            | Self::Confirmed { .. }
            | Self::Attached { .. }
            | Self::Mark { .. }
            | Self::Past { .. }
            | Self::Fetched { .. }
            | Self::Count { .. }
            | Self::Event(_)
            | Self::Deliver { .. }
            | Self::Head { .. }
            | Self::Accepted { .. }
            | Self::Counted { .. }
            | Self::Refused { .. }
            | Self::Answered { .. }
            | Self::Disk { .. }
            | Self::Goodbye { .. } => None,
            Self::Stamp { .. } => Some(STAMPS),
            Self::Traced { .. } => Some(TRACES),
            Self::Asked { .. } | Self::Asking { .. } | Self::Told { .. } => Some(INQUIRIES),
        }
    }
}
