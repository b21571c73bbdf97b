//! The vocabulary of a resume: where a client wants to continue, and whether it could. Pure.

use campanile_messages::Position;
use campanile_messages::link::Gap;

use crate::history::History;

/// Where a client asks its stream to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// After this position.
    At(Position),
    /// The client sent a string that is not a position.
    Malformed,
    /// The client is new, and first gets some earlier events.
    History(History),
}

/// Where a client's missed or earlier events begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplayStart {
    /// After a position, for a client that has seen everything up to it.
    After(Position),
    /// As far back as a new listener asks for.
    History(History),
}

impl Since {
    /// Reads a position; any other string is [`Malformed`](Self::Malformed).
    pub fn read(text: &str) -> Self {
        text.parse().map_or(Self::Malformed, Self::At)
    }
}

/// Why a client cannot get the events that it missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// Its position belongs to another log, or is ahead of this one.
    EpochChanged,
    /// The broker has already dropped events after its position.
    Expired,
    /// It has missed more bytes than are sent to one client.
    TooFar,
    /// It sent a string that is not a position.
    Malformed,
}

impl Lost {
    /// The reason that a client gets in a message.
    pub fn word(self) -> &'static str {
        match self {
            Self::EpochChanged => "epoch_changed",
            Self::Expired => "expired",
            Self::TooFar => "too_far",
            Self::Malformed => "malformed",
        }
    }
}

impl From<Gap> for Lost {
    fn from(gap: Gap) -> Self {
        match gap {
            Gap::EpochChanged => Self::EpochChanged,
            Gap::Expired => Self::Expired,
        }
    }
}

/// Whether a client gets everything that it missed, or why it does not.
pub type Resumed = Result<(), Lost>;
