//! What the caller has to change in a push, or in a batch.

use campanile_messages::ids::InvalidId;
use campanile_messages::name::InvalidName;
use campanile_messages::{ConnectionId, WorkerId};

use super::item::error::ItemError;
use super::query::KNOWN;
use super::shown::Shown;

/// A push that cannot be made as it is. A repeat of the same gets the same answer.
///
/// Its text is the sentence that the caller reads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    /// No parameter `content` and no body.
    #[error(
        "content is missing: give what to push as the parameter content, or as the body of a POST"
    )]
    NoContent,
    /// Nothing to push.
    #[error("content is empty: give at least one byte")]
    EmptyContent,
    /// A POST with a body that is the content, and a parameter `content` too.
    #[error(
        "content is given twice: as a parameter of the URL, and a POST has it as its body; leave the parameter out, or use GET"
    )]
    TwoContents,
    /// Half an address.
    #[error(
        "{given} is given without {missing}: one connection is addressed by the two of them together"
    )]
    HalfAddress {
        /// The id that is there.
        given: &'static str,
        /// The id that is not.
        missing: &'static str,
    },
    /// Something else than a decimal number below 2^53.
    #[error("{parameter} is {value}, which is {reason}: a decimal number below 2^53 is accepted")]
    NoId {
        /// Which id.
        parameter: &'static str,
        /// What was given.
        value: Shown,
        /// What is wrong with it.
        reason: InvalidId,
    },
    /// A group and a connection.
    #[error(
        "to_group and to_worker_id exclude each other: give one audience, or none to push to \
         everyone"
    )]
    TwoAudiences,
    /// Out of the rules for names of groups and for ids of pushes.
    #[error(
        "{given} is {value}: {reason}; 1 to 255 bytes of UTF-8 without control characters are \
         accepted"
    )]
    NoName {
        /// The parameter or the header.
        given: &'static str,
        /// What was given.
        value: Shown,
        /// What is wrong with it.
        reason: InvalidName,
    },
    /// Two ids for one push.
    #[error(
        "id is {parameter} and the header Idempotency-Key is {header}: give one of them, or the same \
         twice"
    )]
    TwoIds {
        /// The id of the URL or the form.
        parameter: Shown,
        /// The id of the header.
        header: Shown,
    },
    /// The promise of an id needs the log, and a push to one connection is not in it.
    #[error(
        "a push to one connection takes no id: leave out id and the header Idempotency-Key, or push \
         to a group"
    )]
    IdForConnection,
    /// An exception from an audience of one.
    #[error(
        "a push to one connection leaves nobody out: except_worker_id and except_connection_id (in \
         an item: except) are accepted in a push to everyone or to a group"
    )]
    ExceptForConnection,
    /// Nothing that can be waited for.
    #[error("wait is {value}: accepted and delivered are accepted")]
    NoWait {
        /// What was given.
        value: Shown,
    },
    /// No duration, or out of range.
    #[error(
        "timeout is {value}: a duration with its unit from 1ms to 30s is accepted, such as 500ms or \
         5s"
    )]
    NoTimeout {
        /// What was given.
        value: Shown,
    },
    /// The same parameter twice.
    #[error("{parameter} is given more than once: give it once")]
    Repeated {
        /// Which one.
        parameter: &'static str,
    },
    /// A parameter of another API, or of another version of this one.
    #[error("{name} is no parameter: {known} are accepted", known = KNOWN)]
    UnknownParameter {
        /// Its name.
        name: Shown,
    },
    /// `%` without two hexadecimal digits.
    #[error(
        "the parameter {name} has a malformed percent escape in {value}: % must be followed by two \
         hexadecimal digits, a percent sign itself is %25"
    )]
    MalformedEscape {
        /// The parameter's name, as it was sent.
        name: Shown,
        /// Where it is malformed.
        value: Shown,
    },
    /// A parameter that is not UTF-8.
    #[error("the parameter {name} is {value}, which is not UTF-8: send UTF-8, percent-encoded")]
    ParameterNotUtf8 {
        /// The parameter's name.
        name: Shown,
        /// The decoded bytes.
        value: Shown,
    },
    /// A text body that is not UTF-8.
    #[error(
        "content is not UTF-8 from byte {at} on: send UTF-8, or binary content with the header \
         Content-Type: application/octet-stream"
    )]
    BodyNotUtf8 {
        /// The first byte that does not belong.
        at: usize,
    },
    /// A form body that has no `content`, as `curl -d` sends it.
    #[error(
        "content is missing: the body was sent as a form and has no parameter content; to push the \
         body as it is, send it with the header Content-Type: text/plain (curl --data-binary \
         'hello' -H 'Content-Type: text/plain')"
    )]
    FormWithoutContent,
    /// Larger than the publisher takes.
    #[error("content is too large: at most {max_bytes} bytes are accepted")]
    TooLarge {
        /// The limit.
        max_bytes: usize,
    },
    /// An item that is no push.
    #[error(transparent)]
    Item(#[from] ItemError),
    /// A batch of which not even the items can be told apart.
    #[error("the batch is no JSON, nothing of it was pushed: {reason}")]
    BatchMalformed {
        /// What the reader of JSON says; nothing in it is of the caller's making.
        reason: String,
    },
    /// A batch in another encoding.
    #[error("the batch is not UTF-8 from byte {at} on, nothing of it was pushed: send UTF-8")]
    BatchNotUtf8 {
        /// The first byte that does not belong.
        at: usize,
    },
    /// JSON, but no array.
    #[error(
        "the batch is {value}, nothing of it was pushed: a JSON array of items is accepted, or with \
         Content-Type: application/x-ndjson one item a line"
    )]
    NoArray {
        /// What it is.
        value: Shown,
    },
    /// More items than a batch may have.
    #[error(
        "the batch has more than {max_items} items, nothing of it was pushed: send several batches"
    )]
    TooManyItems {
        /// The limit.
        max_items: usize,
    },
    /// A batch whose body is larger than the publisher takes.
    #[error(
        "the batch is too large, nothing of it was pushed: at most {max_bytes} bytes are accepted, \
         send several batches"
    )]
    BatchTooLarge {
        /// The limit.
        max_bytes: usize,
    },
    /// The id has been given to something else.
    #[error(
        "id is {id}, under which another content, another kind of it (text or binary), another \
         audience or another exception from it was pushed before, nothing was accepted: give each \
         push its own id, and repeat it unchanged"
    )]
    IdTaken {
        /// The id of the push.
        id: Shown,
    },
    /// No live worker has this id.
    #[error("to_worker_id is {0}: no worker of the cluster has this id (its connections are gone)")]
    UnknownWorker(WorkerId),
    /// The worker has no such connection.
    #[error("to_connection_id is {0}: the worker has no such connection (it is gone)")]
    UnknownConnection(ConnectionId),
    /// It ended too early.
    #[error("to_connection_id is {0}: the connection ended before the content was written to it")]
    NotWritten(ConnectionId),
}
