//! What is wrong with a push or a batch, so that its caller has to change it.

use campanile_messages::ids::InvalidId;
use campanile_messages::name::InvalidName;
use campanile_messages::{ConnectionId, WorkerId};

use super::item::error::ItemError;
use super::shown::Shown;

/// The names of all parameters, for the sentence about an unknown one.
const KNOWN: &str = "content, to_group, to_user, to_worker_id with to_connection_id, except_worker_id \
     with except_connection_id, id, wait and timeout";

/// What is wrong with a push or a batch. The same request gets the same answer when it is repeated.
///
/// The `Display` string is the sentence that the caller reads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    /// There is neither a parameter `content` nor a body.
    #[error(
        "content is missing: send what to push as the parameter content, or as the body of a POST"
    )]
    NoContent,
    #[error("content is empty: send at least one byte")]
    EmptyContent,
    /// A POST whose body is the content has a parameter `content`, too.
    #[error(
        "content is given twice, as a parameter of the URL and as the body of the POST: leave the \
         parameter out, or use GET"
    )]
    TwoContents,
    /// Only one of the two ids of a connection is given.
    #[error("{given} is given without {missing}: the address of a connection needs both")]
    HalfAddress { given: &'static str, missing: &'static str },
    /// An id that is not a decimal number below 2^53.
    #[error("{parameter} is {value}, which is {reason}: a decimal number below 2^53 is accepted")]
    NoId { parameter: &'static str, value: Shown, reason: InvalidId },
    /// Two of a group, a user and a connection are given.
    #[error("{one} and {other} exclude each other: give one audience, or none to push to everyone")]
    TwoAudiences {
        /// The name of a parameter.
        one: &'static str,
        /// The name of another one.
        other: &'static str,
    },
    /// A group name or an id that breaks the rules for them.
    #[error(
        "{given} is {value}: {reason}; 1 to 255 bytes of UTF-8 without control characters are \
         accepted"
    )]
    NoName { given: &'static str, value: Shown, reason: InvalidName },
    /// A push has two different ids.
    #[error(
        "id is {parameter} and the header Idempotency-Key is {header}: send only one of them, or the \
         same value in both"
    )]
    TwoIds { parameter: Shown, header: Shown },
    /// A repeat is recognised in the log, and a push to one connection is not in it.
    #[error(
        "a push to one connection takes no id: leave out id and the header Idempotency-Key, or push \
         to a group or a user"
    )]
    IdForConnection,
    /// A push to one connection has an exception.
    #[error(
        "a push to one connection cannot leave one out: except_worker_id and except_connection_id (in \
         an item: except) are accepted only in a push to everyone, a group or a user"
    )]
    ExceptForConnection,
    #[error("wait is {value}: it must be \"accepted\" or \"delivered\"")]
    NoWait { value: Shown },
    /// Not a duration, or out of range.
    #[error(
        "timeout is {value}: a duration from 1ms to 30s with its unit is accepted, such as 500ms or \
         5s"
    )]
    NoTimeout { value: Shown },
    #[error("{parameter} is given more than once: send it once")]
    Repeated { parameter: &'static str },
    /// A parameter that this version does not have.
    #[error("{name} is not a parameter: {known} are accepted", known = KNOWN)]
    UnknownParameter { name: Shown },
    /// `%` without two hexadecimal digits.
    #[error(
        "the parameter {name} has a malformed percent escape in {value}: % must be followed by two \
         hexadecimal digits; a percent sign is written %25"
    )]
    MalformedEscape {
        name: Shown,
        /// The value from the malformed escape on.
        value: Shown,
    },
    #[error("the parameter {name} is {value}, which is not UTF-8: send UTF-8, percent-encoded")]
    ParameterNotUtf8 { name: Shown, value: Shown },
    /// A body that is text but not UTF-8.
    #[error(
        "content is not UTF-8 from byte {at} on: send UTF-8, or binary content with the header \
         Content-Type: application/octet-stream"
    )]
    BodyNotUtf8 {
        /// The index of the first byte that is not UTF-8.
        at: usize,
    },
    /// A form body that has no `content`, as `curl -d` sends it.
    #[error(
        "content is missing: the body was sent as a form and has no parameter content; to push the \
         body as it is, send it with the header Content-Type: text/plain (curl --data-binary \
         'hello' -H 'Content-Type: text/plain')"
    )]
    FormWithoutContent,
    #[error("content is too large: at most {max_bytes} bytes are accepted")]
    TooLarge { max_bytes: usize },
    /// What only items can have wrong.
    #[error(transparent)]
    Item(#[from] ItemError),
    /// A batch whose items cannot be found.
    #[error("the batch is not JSON, and nothing of it was pushed: {reason}")]
    BatchMalformed {
        /// What the JSON parser says. It contains nothing that the caller has sent.
        reason: String,
    },
    #[error("the batch is not UTF-8 from byte {at} on, and nothing of it was pushed: send UTF-8")]
    BatchNotUtf8 {
        /// The index of the first byte that is not UTF-8.
        at: usize,
    },
    /// A batch that is JSON, but not an array.
    #[error(
        "the batch is {value}, and nothing of it was pushed: a JSON array of items is accepted, or \
         one item per line with Content-Type: application/x-ndjson"
    )]
    NoArray { value: Shown },
    #[error(
        "the batch has more than {max_items} items, and nothing of it was pushed: send several \
         batches"
    )]
    TooManyItems { max_items: usize },
    #[error(
        "the batch is too large, and nothing of it was pushed: at most {max_bytes} bytes are \
         accepted, so send several batches"
    )]
    BatchTooLarge { max_bytes: usize },
    #[error(
        "id is {id}, under which a push with another content, kind of content (text or binary), \
         audience or exception was accepted before; this one was not accepted: give each push an id \
         of its own, and repeat it unchanged"
    )]
    IdTaken { id: Shown },
    /// The caller's key is not for this.
    #[error("this key lacks the scope {}, which is needed here", Shown::from(&**scope))]
    NotAllowed {
        /// All of it, as the settings of the key would have it.
        scope: String,
    },
    #[error("to_worker_id is {0}: no worker of the cluster has this id (its connections are gone)")]
    UnknownWorker(WorkerId),
    #[error("to_connection_id is {0}: the worker has no such connection (it is gone)")]
    UnknownConnection(ConnectionId),
    /// The connection ended before the content was written to it.
    #[error("to_connection_id is {0}: the connection ended before the content was written to it")]
    NotWritten(ConnectionId),
}
