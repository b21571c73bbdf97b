//! Exactly what one client got. Pure.

use std::time::Duration;

use campanile_messages::Position;

use super::push::Audience;
use crate::client::{Ended, Recovery, To};

/// All that one client got, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transcript {
    /// A description of the client.
    pub who: String,
    /// The groups it listens to.
    pub groups: Vec<u8>,
    pub notes: Vec<Note>,
}

/// One thing that a client got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Since the start of the run.
    pub at: Duration,
    pub entry: TranscriptEntry,
}

/// What a client got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TranscriptEntry {
    /// The transcript continues from here; another one has what was before.
    Start(Position),
    /// The greeting of a connection.
    Hello(Position, Recovery),
    /// An event of the load, and the audience that it names, if the protocol does.
    Event { position: Position, number: u64, to: Option<Audience> },
    /// A position to continue from.
    Mark(Position),
    /// The client was notified that events were lost, and why.
    Gap(String, Position),
    /// The connection ended.
    Ended(Ended),
    /// Something that it should not have got at all.
    Stray(String),
}

impl Transcript {
    /// Whether an event for this audience is for this client.
    pub fn listens_to(&self, audience: Audience) -> bool {
        match audience {
            Audience::Everyone => true,
            Audience::Group(number) => self.groups.contains(&number),
        }
    }
}

impl TranscriptEntry {
    /// Where a client that got this continues from.
    pub fn position(&self) -> Option<Position> {
        match self {
            Self::Start(position)
            | Self::Hello(position, _)
            | Self::Event { position, .. }
            | Self::Mark(position)
            | Self::Gap(_, position) => Some(*position),
            Self::Ended(_) | Self::Stray(_) => None,
        }
    }
}

/// The audience that a message names; `None` if the load has no such audience.
pub fn audience(to: &To) -> Option<Audience> {
    match to {
        To::Everyone => Some(Audience::Everyone),
        To::Group(name) => Audience::of_group(name),
        To::Connection => None,
    }
}
