//! The words of a resume: where a client wants to go on, and what came of that. Pure.

use campanile_messages::Position;
use campanile_messages::link::Gap;

use crate::history::History;

/// Where a client wants to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// Behind this position.
    At(Position),
    /// What it named is no position.
    Malformed,
    /// Nowhere: it is new, and first hears this of the past.
    History(History),
}

/// Where what a client hears of the past begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Behind a position, for one that has seen all before.
    Behind(Position),
    /// As far back as a new listener asks for.
    History(History),
}

impl Since {
    /// Reads what a client named.
    pub fn read(text: &str) -> Self {
        text.parse().map_or(Self::Malformed, Self::At)
    }
}

/// Why what a client missed cannot be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// Its position belongs to another log, or is ahead of this one.
    EpochChanged,
    /// Events behind its position are no longer kept.
    Expired,
    /// It has missed more than a client is told.
    TooFar,
    /// What it named is no position.
    Malformed,
}

impl Lost {
    /// The word for it in a message.
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

/// What came of a wish to go on from a position.
pub type Resumed = Result<(), Lost>;
