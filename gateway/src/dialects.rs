//! The dialects, which are the protocols between the gateway and its clients, one file per dialect. Pure.
//!
//! [`Rules`] is all that the rest of the gateway knows of a dialect. A new dialect is a file in this
//! folder, a variant of [`Dialect`], and the line of the [door](crate::entrance::door) that recognises its
//! requests.

pub mod events;
mod framed;
mod plain;
pub(crate) mod publish;
mod request;
mod said;
pub mod v1;

use bytes::Bytes;
use campanile_edge::websocket::{Message, Opcode, frame};
use campanile_messages::link::Gap;
use campanile_messages::{Address, Audience, Content, GroupName, Position, UserName};

use crate::history::SaidHistory;
use crate::resume::Resumed;
use crate::websocket::CloseCode;

pub use framed::Framed;
pub use publish::{Publish, PublishError, RefusedPublish, Tag};
pub use request::{Errors, Request, RequestError};

/// The protocol between the gateway and a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// A websocket that gets a greeting and then contents.
    Plain,
    /// A websocket with JSON messages in both directions, subprotocol `campanile.v1`.
    V1,
    /// An event stream, whose client only listens.
    Events,
}

impl Dialect {
    /// All dialects, in the order of their discriminants.
    pub const ALL: [Self; 3] = [Self::Plain, Self::V1, Self::Events];

    /// What it is called in metrics, in the log, and by operators.
    pub fn word(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::V1 => "v1",
            Self::Events => "events",
        }
    }

    /// The rules of this dialect.
    pub fn rules(self) -> &'static dyn Rules {
        match self {
            Self::Plain => &plain::Plain,
            Self::V1 => &v1::V1,
            Self::Events => &events::Events,
        }
    }

    /// Whether events carry their positions, so that a client can resume. This is asked for each
    /// delivery, so it is not one of the [`Rules`], which are called through a table.
    #[inline]
    pub fn has_positions(self) -> bool {
        match self {
            Self::Plain => false,
            Self::V1 | Self::Events => true,
        }
    }

    /// The subprotocols that a websocket may offer.
    pub fn subprotocols() -> Vec<&'static str> {
        Self::ALL.into_iter().filter_map(|dialect| dialect.rules().subprotocol()).collect()
    }

    /// The dialect of a websocket that offers a subprotocol; `None` for an unknown one.
    pub fn of_subprotocol(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dialect| dialect.rules().subprotocol() == Some(name))
    }
}

/// The content of a client's first message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Greeting<'a> {
    /// The address of the connection.
    pub address: Address,
    /// The position after which its stream begins.
    pub position: Position,
    /// For a client with a position, whether it was resumed.
    pub resumed: Option<Resumed>,
    /// For a new listener that asked for earlier events, what follows.
    pub history: Option<SaidHistory>,
    /// Who the client is, if the gateway knows it.
    pub identity: Option<Identity<'a>>,
}

/// What a client learns of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity<'a> {
    /// The user that it is, if it is one.
    pub user: Option<&'a str>,
    /// How long its token is still valid, in seconds; `None` without a token.
    pub expires_in: Option<u64>,
}

impl<'a> Identity<'a> {
    /// A client that has named its user itself.
    pub fn named(user: &'a str) -> Self {
        Self { user: Some(user), expires_in: None }
    }
}

/// The messages that the gateway sends and reads in one dialect. A method that returns `None` means that
/// the dialect has no such message, so nothing is sent.
pub trait Rules: Sync {
    /// The subprotocol that a websocket offers to get this dialect; `None` for any other way.
    fn subprotocol(&self) -> Option<&'static str> {
        None
    }

    /// Whether everything that the client sends is dropped unread.
    fn is_one_way(&self) -> bool {
        false
    }

    /// Whether a query parameter may replace the header `Last-Event-ID`.
    fn reads_last_event_id(&self) -> bool {
        false
    }

    /// Reads a message of a client; `None` in a dialect whose clients send no messages.
    fn read(&self, _message: &Message) -> Option<Result<Request, RequestError>> {
        None
    }

    /// Frames the greeting, the first message to a client.
    fn greeting(&self, greeting: &Greeting<'_>) -> Bytes;

    /// Frames an event. `logged` has its position and audience; it is `None` for an event for one
    /// connection, which is not in the log. `from` is the user whose client published it, if there is one.
    fn event(
        &self,
        logged: Option<(Position, &Audience)>,
        content: &Content,
        from: Option<&UserName>,
    ) -> Bytes;

    /// Frames the last message to a client that is closed. `group` is the one that it may not listen to, if
    /// that is the reason.
    fn close(&self, code: CloseCode, group: Option<&str>) -> Bytes;

    /// Frames the last message to a client that an operator disconnects, with a reason that is not ours. A
    /// dialect without room for one says the same as for any other cause with this code.
    fn disconnect(&self, code: CloseCode, reason: &str) -> Bytes;

    /// Frames the only message to a client that is refused and must not repeat the same request. `None` if
    /// an HTTP status refuses it instead. `group` is the one that it may not listen to, if that is the reason.
    fn refusal(&self, _code: &str, _sentence: &str, _group: Option<&str>) -> Option<Bytes> {
        None
    }

    /// Frames a ping for a silent client; `None` if its client cannot answer one.
    fn ping(&self) -> Option<Bytes> {
        Some(frame(Opcode::Ping, b""))
    }

    /// Frames a message that keeps a quiet connection alive, at the client and at proxies.
    fn keep_alive(&self) -> Option<Bytes> {
        None
    }

    /// Frames a position up to which nothing is missing.
    fn position(&self, _position: Position) -> Option<Bytes> {
        None
    }

    /// Frames the message that events before a position may be missing.
    fn gap(&self, _gap: Gap, _position: Position) -> Option<Bytes> {
        None
    }

    /// Frames the message that the client listens to a group from here on. Missed events, if the client
    /// asked for them, are sent before it.
    fn joined(&self, _group: &GroupName, _resumed: Option<Resumed>) -> Option<Bytes> {
        None
    }

    /// Frames the message that the client does not listen to a group any more. There is a reason if it did
    /// not ask for that.
    fn left(&self, _group: &GroupName, _reason: Option<&'static str>) -> Option<Bytes> {
        None
    }

    /// Whether a client can send a new token on its connection.
    fn can_renew(&self) -> bool {
        false
    }

    /// Frames the message that the client should send a new token.
    fn token(&self, _expires_in: u64) -> Option<Bytes> {
        None
    }

    /// Frames the answer to a new token.
    fn renewed(&self, _expires_in: u64) -> Option<Bytes> {
        None
    }

    /// Frames the answer to a [ping](Request::Ping).
    fn pong(&self) -> Option<Bytes> {
        None
    }

    /// Frames the answer to a [publish](Request::Publish) that was accepted.
    fn published(&self, _tag: &Tag, _position: Position) -> Option<Bytes> {
        None
    }

    /// Frames the answer to a message that was not accepted.
    fn error(&self, _error: &RequestError) -> Option<Bytes> {
        None
    }
}
