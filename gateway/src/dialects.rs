//! The dialects: how the gateway and its clients talk, one file per dialect. Pure.
//!
//! [`Rules`] is all that the rest of the gateway asks of a dialect. A new dialect is a file in this
//! folder, a variant of [`Dialect`], and the line of the [door](crate::entrance::door) that recognises its
//! requests.

pub mod events;
mod framed;
mod plain;
mod request;
mod said;
pub mod v1;

use bytes::Bytes;
use campanile_edge::websocket::{Message, Opcode, frame};
use campanile_messages::link::Gap;
use campanile_messages::{Address, Audience, Content, GroupName, Position};

use crate::history::SaidHistory;
use crate::resume::Resumed;
use crate::websocket::CloseCode;

pub use framed::Framed;
pub use request::{Errors, Request, RequestError};

/// How the gateway and a client talk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// A websocket: a greeting, then contents.
    Plain,
    /// A websocket: JSON messages both ways, subprotocol `campanile.v1`.
    V1,
    /// An event stream: the client only listens.
    Events,
}

impl Dialect {
    /// Each of them, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Plain, Self::V1, Self::Events];

    /// What is said in this dialect, and how.
    pub fn rules(self) -> &'static dyn Rules {
        match self {
            Self::Plain => &plain::Plain,
            Self::V1 => &v1::V1,
            Self::Events => &events::Events,
        }
    }

    /// Whether events carry their positions, so that a client can go on where it was. Asked for each
    /// delivery, so it is no rule that would have to be called through a table.
    #[inline]
    pub fn has_positions(self) -> bool {
        match self {
            Self::Plain => false,
            Self::V1 | Self::Events => true,
        }
    }

    /// What a websocket may offer.
    pub fn subprotocols() -> Vec<&'static str> {
        Self::ALL.into_iter().filter_map(|dialect| dialect.rules().subprotocol()).collect()
    }

    /// The dialect of a websocket that offers this subprotocol.
    pub fn of_subprotocol(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dialect| dialect.rules().subprotocol() == Some(name))
    }
}

/// What the first message tells a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Greeting {
    /// Who the client is.
    pub address: Address,
    /// Where its stream begins.
    pub position: Position,
    /// For a client that wanted to go on somewhere, whether it does.
    pub resumed: Option<Resumed>,
    /// For a new listener that asked for some of the past, what follows.
    pub history: Option<SaidHistory>,
}

/// What the gateway says in one dialect and reads in it. Where a dialect cannot say something, its
/// clients hear nothing of it.
pub trait Rules: Sync {
    /// The subprotocol that a websocket of this dialect offers.
    fn subprotocol(&self) -> Option<&'static str> {
        None
    }

    /// Whether what the client sends is dropped unread.
    fn is_one_way(&self) -> bool {
        false
    }

    /// Whether the last position may come in a parameter that stands for `Last-Event-ID`.
    fn reads_last_event_id(&self) -> bool {
        false
    }

    /// A message of a client; `None` if nothing that clients say means anything.
    fn read(&self, _message: &Message) -> Option<Result<Request, RequestError>> {
        None
    }

    /// The first message.
    fn greeting(&self, greeting: &Greeting) -> Bytes;

    /// An event; `None` for the place and the audience of one that is for this connection alone,
    /// which has no place in the log.
    fn event(&self, logged: Option<(Position, &Audience)>, content: &Content) -> Bytes;

    /// The last bytes to a client that is closed.
    fn close(&self, code: CloseCode) -> Bytes;

    /// The only message to a client that is not let in: it must not come back with the same request.
    /// `None` where an HTTP status says it.
    fn refusal(&self, _code: &str, _sentence: &str) -> Option<Bytes> {
        None
    }

    /// Asks a silent client for a sign of life; `None` where it cannot give one.
    fn ping(&self) -> Option<Bytes> {
        Some(frame(Opcode::Ping, b""))
    }

    /// Shows a quiet connection's client, and what is on the way, that it is alive.
    fn keep_alive(&self) -> Option<Bytes> {
        None
    }

    /// Nothing is missing up to here.
    fn position(&self, _position: Position) -> Option<Bytes> {
        None
    }

    /// Events may be missing before here.
    fn gap(&self, _gap: Gap, _position: Position) -> Option<Bytes> {
        None
    }

    /// The client listens to the group from here on; what it had missed, if it asked, came before.
    fn joined(&self, _group: &GroupName, _resumed: Option<Resumed>) -> Option<Bytes> {
        None
    }

    /// The client does not listen to the group.
    fn left(&self, _group: &GroupName) -> Option<Bytes> {
        None
    }

    /// The answer to a [ping](Request::Ping).
    fn pong(&self) -> Option<Bytes> {
        None
    }

    /// The answer to a message that was not accepted.
    fn error(&self, _error: &RequestError) -> Option<Bytes> {
        None
    }
}
