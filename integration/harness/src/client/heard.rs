//! What a client that can resume receives, in any protocol. Pure.

use std::fmt;
use std::str::FromStr as _;

use campanile_messages::Position;

/// How a client listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// A websocket of `campanile.v1`.
    V1,
    /// Server-sent events, and the position in the URL.
    Events,
    /// Server-sent events, and the position in the header `Last-Event-ID`.
    EventsByHeader,
}

/// One message to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// `welcome` or `sync`.
    Hello(Hello),
    /// An event. `to` is its audience, if the protocol names it.
    Event { id: Option<String>, to: Option<To>, content: String },
    /// A position that a quiet client continues from.
    Mark(String),
    /// Events were lost.
    Gap { reason: String, position: String },
    /// A group was joined.
    Joined { group: String, recovery: Recovery },
    /// Another answer, or something that is not a message of the protocol.
    Other(String),
    /// The last one: how the connection ended.
    Ended(Ended),
}

/// The address of a connection, and where its stream continues from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    pub worker: u64,
    pub connection: u64,
    pub position: String,
    pub recovery: Recovery,
}

/// The result of a resume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recovery {
    NotAsked,
    Recovered,
    /// With this reason.
    NotRecovered(String),
}

/// The audience of an event in `campanile.v1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum To {
    Everyone,
    Group(String),
    Connection,
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// With this close code.
    Closed(u16),
    /// A request that was answered with this status.
    Status(u16),
    /// An event stream that only said when to come back.
    ComeBack,
    /// Without a close code, as every event stream ends.
    Lost,
    /// The client has waited for too long.
    Silent,
    /// The client hung up.
    HungUp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1 => "v1",
            Self::Events => "events",
            Self::EventsByHeader => "events by header",
        })
    }
}

impl Hello {
    /// The position, taken apart.
    pub fn at(&self) -> Position {
        Position::from_str(&self.position).expect("a position")
    }
}
