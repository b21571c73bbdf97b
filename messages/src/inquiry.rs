//! What operators ask about a running cluster, and what its processes answer. A publisher asks, because
//! operators talk to publishers; the broker passes the question on and answers it, too.
//!
//! Questions and answers travel as the contents of [`ToBroker::Ask`](crate::ToBroker::Ask) and its
//! relatives: MessagePack in which fields have their names. A reader ignores fields that it does not know,
//! and gives those that are missing their defaults, so both may grow. A process that does not understand a
//! question says so with [`Answer::NotUnderstood`].

mod connections;
mod count;
mod summary;
pub mod trace;

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use count::count;

use crate::{Address, Content, Position, UserName};

pub use connections::{
    ConnectionEnd, ConnectionSummary, ConnectionsSummary, DisconnectedSummary,
    MAX_GROUPS_BYTES_OF_MANY, MAX_GROUPS_BYTES_OF_ONE, MAX_LISTED_CONNECTIONS, MAX_LISTED_ENDED,
};
pub use summary::{
    BrokerSummary, BrokerTotals, CountsByWord, GatewaySummary, GatewayTotals, HistogramSummary,
    LinkSummary, LogSummary, MAX_LISTED_LINKS, MAX_REFUSED_PUSHES, PublisherSummary,
    PublisherTotals, PushCount, RefusedPush, Summary, UsageSummary, WorkerSummary,
};
pub use trace::{EndedClient, Traced, TracedEvent};

/// The most bytes of a packed question or answer. What would be larger has to be left out, and the answer
/// has to say so.
pub const MAX_PACKED_BYTES: usize = 256 << 10;

/// What an operator wants to know, or to have done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Question {
    /// How the process fares. The answer is [`Answer::Summary`].
    Summary,
    /// What became of an event.
    Trace {
        /// The event.
        position: Position,
        /// The connection that may have got it; `None` for all of them together.
        at: Option<Address>,
        /// What the broker has said about it; without it, gateways say of the connection what holds whoever
        /// the event was for.
        event: Option<TracedEvent>,
    },
    /// Which connection continued where another one has ended.
    Continued(EndedClient),
    /// What there is to know about a connection. The answer is [`Answer::Connections`] with one, or none.
    Connection(Address),
    /// The connections of a user. The answer is [`Answer::Connections`].
    User(UserName),
    /// The connections that ended last, without their groups. The answer is [`Answer::Connections`], the newest
    /// first.
    Ended {
        /// How many, at most [`MAX_LISTED_ENDED`].
        last: u16,
    },
    /// Connections shall be closed. The answer is [`Answer::Disconnected`], when they have ended.
    Disconnect {
        /// Which ones.
        whom: Whom,
        /// Whether the clients may come back at once (close code 1001), or must not (4403).
        may_return: bool,
        /// A sentence for the clients and the log.
        reason: String,
        /// Who wants it, for the log.
        #[serde(default)]
        by: String,
    },
}

/// Some connections of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Whom {
    /// A single one.
    Connection(Address),
    /// All of a user.
    User(UserName),
}

impl fmt::Display for Whom {
    /// Writes them for the log. A user's name is escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection(at) => write!(f, "connection {at}"),
            Self::User(user) => write!(f, "user {:?}", &**user),
        }
    }
}

/// What a process answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The process does not know such questions.
    NotUnderstood,
    /// The process answers too many questions already.
    Busy,
    /// Of the broker: the gateway of the worker that was asked for has no link now, and may come back.
    Away,
    /// The process has nothing to say about it.
    Nothing,
    /// The answer to [`Question::Summary`].
    Summary(Summary),
    /// The answer to [`Question::Connection`], [`Question::User`] and [`Question::Ended`].
    Connections(ConnectionsSummary),
    /// The answer to [`Question::Disconnect`].
    Disconnected(DisconnectedSummary),
    /// The answer to [`Question::Trace`].
    Trace(Box<Traced>),
}

/// Packs a question or an answer. `None` if it is larger than [`MAX_PACKED_BYTES`].
pub fn pack<T: Serialize>(value: &T) -> Option<Content> {
    let bytes = rmp_serde::to_vec_named(value).ok()?;
    (bytes.len() <= MAX_PACKED_BYTES).then(|| Content::Binary(bytes.into()))
}

/// Reads a question or an answer. `None` if it is too large or not understood.
pub fn unpack<T: DeserializeOwned>(content: &Content) -> Option<T> {
    let bytes = content.as_bytes();
    if bytes.len() > MAX_PACKED_BYTES || count(bytes) > MAX_VALUES {
        return None;
    }
    let mut deserializer = rmp_serde::Deserializer::new(&bytes[..]);
    deserializer.set_max_depth(MAX_DEPTH);
    let value = T::deserialize(&mut deserializer).ok()?;
    deserializer.get_ref().is_empty().then_some(value)
}

/// How much memory a packed question or answer takes at least, in bytes, once it is read: a value of one byte
/// may become many.
pub fn weight(content: &Content) -> usize {
    let bytes = content.as_bytes();
    bytes.len().max(count(bytes) * LEAST_BYTES_OF_VALUE)
}

/// The most values in a packed question or answer. The largest answers have half as many.
const MAX_VALUES: usize = 1 << 16;

const LEAST_BYTES_OF_VALUE: usize = 16;

/// How deep a packed value may be nested.
const MAX_DEPTH: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Audience, ConnectionId, WorkerId};

    #[test]
    fn what_is_packed_is_unpacked() {
        let at = Address { worker: WorkerId(1), connection: ConnectionId(2) };
        let position = Position { epoch: 3, sequence: 4 };
        let event = TracedEvent { audience: Audience::Everyone, except: Some(at) };
        for question in [
            Question::Summary,
            Question::Trace { position, at: Some(at), event: None },
            Question::Trace { position, at: None, event: Some(event) },
            Question::Connection(at),
            Question::User(UserName::new("u").expect("a user")),
            Question::Ended { last: 50 },
            Question::Disconnect {
                whom: Whom::Connection(at),
                may_return: true,
                reason: "moved".to_owned(),
                by: "key:ops".to_owned(),
            },
        ] {
            assert_eq!(unpack(&pack(&question).expect("small")), Some(question));
        }
        let worker = WorkerSummary { id: WorkerId(1), connections: 7, outbox_bytes: 8 };
        let closed = CountsByWord::from([("1000".to_owned(), 9)]);
        let gateway = GatewaySummary {
            workers: vec![worker],
            totals: GatewayTotals { closed, ..GatewayTotals::default() },
            ..GatewaySummary::default()
        };
        let answer = Answer::Summary(Summary::Gateway(Box::new(gateway)));
        assert_eq!(unpack(&pack(&answer).expect("small")), Some(answer));
    }

    #[test]
    fn later_releases_may_add_fields_and_questions() {
        #[derive(Serialize)]
        struct Later {
            version: &'static str,
            workers: Vec<()>,
            colour: &'static str,
        }
        #[derive(Serialize)]
        enum Question {
            Weather { tomorrow: bool },
        }
        let later = Later { version: "9", workers: vec![], colour: "red" };
        let read = unpack::<GatewaySummary>(&pack(&later).expect("small"));
        assert_eq!(read.map(|summary| summary.version), Some("9".to_owned()));
        #[derive(Serialize)]
        struct Earlier {}
        let read = unpack::<GatewaySummary>(&pack(&Earlier {}).expect("small"));
        assert_eq!(read, Some(GatewaySummary::default()));
        let weather = pack(&Question::Weather { tomorrow: true }).expect("small");
        assert_eq!(unpack::<super::Question>(&weather), None);
    }

    #[test]
    fn what_ended_is_asked_in_bytes_that_stay() {
        let packed = pack(&Question::Ended { last: 50 }).expect("small");
        assert_eq!(&packed.as_bytes()[..], b"\x81\xa5Ended\x81\xa4last\x32");
        // The end of a connection, as an earlier release says it.
        let end = Content::Binary(b"\x82\xa4code\xcd\x03\xe8\xabunix_millis\x07"[..].into());
        let read = ConnectionEnd { code: 1000, unix_millis: 7, cause: String::new() };
        assert_eq!(unpack(&end), Some(read));
    }

    #[test]
    fn many_small_values_are_not_taken_for_a_small_answer() {
        let values = |count: usize| {
            let list = [&[0xdd][..], &u32::to_be_bytes(count as u32)].concat();
            Content::Binary([list, vec![0x80; count]].concat().into())
        };
        #[derive(Debug, PartialEq, Deserialize)]
        struct Nothing {}
        let read = |count| unpack::<Vec<Nothing>>(&values(count)).map(|list| list.len());
        assert_eq!(read(MAX_VALUES - 1), Some(MAX_VALUES - 1));
        assert_eq!(read(MAX_VALUES), None);
        assert!(weight(&values(1_000)) > 16_000);
    }

    #[test]
    fn hostile_bytes_are_not_understood() {
        let deep = Content::Binary(vec![0x91; 100_000].into());
        assert_eq!(unpack::<Question>(&deep), None);
        let large = Content::Binary(vec![0; MAX_PACKED_BYTES + 1].into());
        assert_eq!(unpack::<Question>(&large), None);
        assert_eq!(pack(&"x".repeat(MAX_PACKED_BYTES)), None);
        // An array that claims four thousand million elements.
        let claim = Content::Binary(vec![0xdd, 0xff, 0xff, 0xff, 0xff].into());
        assert_eq!(unpack::<Vec<u64>>(&claim), None);
    }
}
