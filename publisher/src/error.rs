//! Why a push is not answered `ok`.

use std::time::Duration;

use actix_web::http::StatusCode;
use campanile_messages::ids::InvalidId;
use campanile_messages::name::InvalidName;
use campanile_messages::{ConnectionId, WorkerId};

use crate::budget::UsedUp;
use crate::http::inflate::InvalidCompression;
use crate::push::item::error::ItemError;
use crate::push::query::KNOWN;
use crate::push::shown::Shown;

/// What a caller does about a push for an audience of which nobody knows.
const UNKNOWN: &str = "it is unknown whether the content was delivered; repeat with the same id \
                       (without an id, a repeat may deliver it twice)";

/// The same about a push for one connection, which has no id.
const UNKNOWN_TO_ONE: &str = "it is unknown whether the content was delivered; to one connection \
                              there is no id to repeat it with, and a repeat may deliver it twice";

/// The subprotocols of the publish stream, for the sentence about another.
const SUBPROTOCOLS: &str = "campanile.publish.v1.json and campanile.publish.v1.msgpack";

/// The methods of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Methods {
    /// Of `/`.
    Push,
    /// Of `/batch`.
    Batch,
    /// Of `/stream`.
    Stream,
    /// Of `/position`.
    Position,
    /// Of `/health/live` and `/health/ready`.
    Health,
}

impl Methods {
    /// As the header `Allow` has them.
    pub fn allow(self) -> &'static str {
        match self {
            Self::Push => "GET, HEAD, POST, OPTIONS",
            Self::Health => "GET, HEAD, OPTIONS",
            Self::Batch => "POST, OPTIONS",
            Self::Stream | Self::Position => "GET, OPTIONS",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Push => "GET or POST",
            Self::Health => "GET, HEAD or OPTIONS, which ask how the publisher is",
            Self::Batch => "POST",
            Self::Stream => "GET, as websockets do",
            Self::Position => "GET",
        }
    }
}

/// Every answer that is not a success. Its text is the sentence the caller reads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
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
    /// A header that cannot be honoured.
    #[error("the header {header} is {value}: {accepted}")]
    BadHeader {
        /// Which header.
        header: &'static str,
        /// What was sent.
        value: Shown,
        /// What would be honoured.
        accepted: &'static str,
    },
    /// A GET whose body would be ignored.
    #[error("a GET takes its content as the parameter content: send a body with POST")]
    BodyOfGet,
    /// The body ended early or is not what its headers say.
    #[error("the body is broken: {reason}")]
    BrokenBody {
        /// What is wrong.
        reason: Shown,
    },
    /// A compressed body that is not what its `Content-Encoding` says.
    #[error("the body cannot be inflated, as its Content-Encoding says: {0}")]
    InvalidCompression(#[from] InvalidCompression),
    /// A compression that is not known, or several.
    #[error(
        "the header Content-Encoding is {value}: one of gzip, deflate and identity is accepted, or \
         no such header"
    )]
    UnknownEncoding {
        /// What was sent.
        value: Shown,
    },
    /// The body took too long.
    #[error("the body was not there after {} s", limit.as_secs_f32())]
    SlowBody {
        /// How long it may take.
        limit: Duration,
    },
    /// Larger than the publisher takes.
    #[error("content is too large: at most {max_bytes} bytes are accepted")]
    TooLarge {
        /// The limit.
        max_bytes: usize,
    },
    /// Bytes that are not a request.
    #[error("the request is not HTTP/1: {reason}; plain HTTP/1.1 is accepted on this port")]
    NotHttp {
        /// What is wrong.
        reason: String,
    },
    /// An HTTP/1.1 request that does not say whom it asks (RFC 9112, 3.2).
    #[error("the header Host is missing: a request of HTTP/1.1 has one")]
    NoHost,
    /// A body whose end cannot be told.
    #[error("the header Content-Length is missing: a POST of HTTP/1.0 has one")]
    PostWithoutLength,
    /// More than the publisher reads before it knows what is asked.
    #[error(
        "the request has more than {max_headers} headers, or they are larger than {max_bytes} bytes \
         together: fewer and smaller ones are accepted"
    )]
    HeadTooLarge {
        /// How many there may be.
        max_headers: usize,
        /// How large they may be together.
        max_bytes: usize,
    },
    /// The head took too long.
    #[error("the head of the request was not there after {} s", limit.as_secs_f32())]
    SlowHead {
        /// How long it may take.
        limit: Duration,
    },
    /// A target that is no path.
    #[error(
        "the URL is {target}: a path, or a URL that begins with http:// or https://, is accepted"
    )]
    NoTarget {
        /// What was asked for.
        target: Shown,
    },
    /// A target that is longer than the publisher reads.
    #[error(
        "the URL is too long: at most {max_bytes} bytes are accepted, escapes included; push a \
         larger content with POST, as the body"
    )]
    UrlTooLong {
        /// The limit.
        max_bytes: usize,
    },
    /// Another path.
    #[error(
        "nothing is at {path}: push to /, to /batch or over a websocket at /stream; /position is where the \
         log ends"
    )]
    NotFound {
        /// The path that was asked for.
        path: Shown,
    },
    /// Another method than those of the path.
    #[error("the method {method} does not push: use {}", methods.words())]
    MethodNotAllowed {
        /// The method.
        method: Shown,
        /// Those that would.
        methods: Methods,
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
    /// Parameters where there are none.
    #[error("the URL has the parameters {query}: {path} takes none, each item has its own fields")]
    NoParameters {
        /// What was given.
        query: Shown,
        /// Where.
        path: &'static str,
    },
    /// The same where there are no items either.
    #[error("the URL has the parameters {query}: {path} takes none")]
    NoQuery {
        /// What was given.
        query: Shown,
        /// Where.
        path: &'static str,
    },
    /// A plain request for the publish stream.
    #[error("/stream is a websocket (RFC 6455): open it with a websocket client")]
    NotAWebsocket,
    /// A websocket handshake that cannot be answered.
    #[error("the websocket handshake is broken: {reason}")]
    BadHandshake {
        /// What is wrong.
        reason: &'static str,
    },
    /// No subprotocol that is known.
    #[error("the subprotocol is {value}: {known} are accepted, none is the first", known = SUBPROTOCOLS)]
    UnknownSubprotocol {
        /// What was offered.
        value: Shown,
    },
    /// A request that a browser marks as coming from another site, without saying which.
    #[error(
        "the header Sec-Fetch-Site is {site}: a page of another site may not push without naming \
         itself, as links, images and forms do; let it push with fetch, from an origin that the \
         publisher's --allow-origin names"
    )]
    StrangersPage {
        /// What the browser says about the page.
        site: Shown,
    },
    /// A foreign or malformed name for a service on loopback.
    #[error(
        "the header Host is {host}: as it listens on loopback only, this publisher is asked by \
         localhost, 127.0.0.1 or [::1]; the publisher's --allow-host names others that may be used"
    )]
    HostNotAllowed {
        /// By which name it was asked.
        host: Shown,
    },
    /// A page of an origin that is not allowed.
    #[error(
        "pages of the origin {origin} may not push: the publisher's --allow-origin names those that \
         may"
    )]
    OriginNotAllowed {
        /// The page's origin.
        origin: Shown,
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
    /// No link to the broker in time.
    #[error("the broker was out of reach for {} s, nothing was sent: try again", waited.as_secs_f32())]
    NoBroker {
        /// How long the push waited.
        waited: Duration,
    },
    /// No link to the broker in time, for a caller that pushes nothing.
    #[error("the broker was out of reach for {} s: try again", waited.as_secs_f32())]
    NoBrokerToAsk {
        /// How long the caller waited.
        waited: Duration,
    },
    /// The broker was there and did not tell where the log ends.
    #[error(
        "the broker did not say within {} s where the log ends: try again", waited.as_secs_f32()
    )]
    NoHead {
        /// How long the caller waited.
        waited: Duration,
    },
    /// As many callers as may wait for the broker's answer.
    #[error("too many callers wait to hear where the log ends: try again")]
    TooManyAskers,
    /// The link was full all the time.
    #[error(
        "the broker took nothing more for {} s, nothing was sent: try again", waited.as_secs_f32()
    )]
    BrokerBusy {
        /// How long the push waited.
        waited: Duration,
    },
    /// The broker knows as many ids as it can.
    #[error(
        "the broker remembers as many ids of pushes as it may (the channel's --max-ids), nothing was \
         accepted: try again"
    )]
    IdsFull,
    /// The broker keeps as many numbers of this publisher as it does of any.
    #[error(
        "too many pushes of this publisher wait for the broker's answer, nothing was accepted: try \
         again"
    )]
    TooManyUnanswered,
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
    /// The broker goes.
    #[error("the broker is shutting down, nothing was accepted: try again")]
    BrokerShuttingDown,
    /// The connection's gateway has no link to the broker now.
    #[error(
        "to_worker_id is {0}: the gateway of this worker is out of the broker's reach, nothing was \
         sent: try again"
    )]
    GatewayAway(WorkerId),
    /// Too many bytes on their way.
    #[error("{0}, nothing was sent: try again")]
    TooMuchPending(#[from] UsedUp),
    /// It may wait for the answer still, or have given up: then it must not find its push sent later.
    #[error(
        "the caller closed its side of the connection while its push waited for the broker, nothing \
         was sent: try again"
    )]
    CallerGone,
    /// This process goes.
    #[error("the publisher is shutting down, nothing was sent: try again")]
    ShuttingDown,
    /// The broker was told and did not answer in time.
    #[error("the broker did not answer within {} s: {unknown}", waited.as_secs_f32(), unknown = UNKNOWN)]
    Unanswered {
        /// How long the publisher waited.
        waited: Duration,
    },
    /// The broker was told, and the one that is there now does not know what it accepted.
    #[error("the broker lost its memory before it answered: {unknown}", unknown = UNKNOWN)]
    MemoryLost,
    /// The broker was told, and nobody said in time that the connection's gateway wrote it.
    #[error(
        "to_worker_id is {worker}: the gateway of this worker did not confirm within {} s: {unknown}",
        waited.as_secs_f32(),
        unknown = UNKNOWN_TO_ONE
    )]
    Unconfirmed {
        /// The connection's worker.
        worker: WorkerId,
        /// How long the publisher waited.
        waited: Duration,
    },
    /// The broker may or may not have been told about a push to one connection.
    #[error("the link to the broker broke before it answered: {unknown}", unknown = UNKNOWN_TO_ONE)]
    LinkLost,
    /// The broker may or may not have been told, and this process can not wait for the answer.
    #[error("the publisher ended before the broker answered: {unknown}", unknown = UNKNOWN)]
    PublisherEnded,
}

impl ApiError {
    /// The status that goes with the sentence.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NoContent
            | Self::EmptyContent
            | Self::TwoContents
            | Self::HalfAddress { .. }
            | Self::NoId { .. }
            | Self::TwoAudiences
            | Self::NoName { .. }
            | Self::TwoIds { .. }
            | Self::IdForConnection
            | Self::ExceptForConnection
            | Self::NoWait { .. }
            | Self::NoTimeout { .. }
            | Self::Repeated { .. }
            | Self::UnknownParameter { .. }
            | Self::MalformedEscape { .. }
            | Self::ParameterNotUtf8 { .. }
            | Self::BodyNotUtf8 { .. }
            | Self::FormWithoutContent
            | Self::BadHeader { .. }
            | Self::BodyOfGet
            | Self::NotHttp { .. }
            | Self::NoHost
            | Self::PostWithoutLength
            | Self::NoTarget { .. }
            | Self::Item(_)
            | Self::BatchMalformed { .. }
            | Self::BatchNotUtf8 { .. }
            | Self::NoArray { .. }
            | Self::NoParameters { .. }
            | Self::NoQuery { .. }
            | Self::BadHandshake { .. }
            | Self::UnknownSubprotocol { .. }
            | Self::InvalidCompression(_)
            | Self::BrokenBody { .. } => StatusCode::BAD_REQUEST,
            Self::UnknownEncoding { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::OriginNotAllowed { .. }
            | Self::StrangersPage { .. }
            | Self::HostNotAllowed { .. } => StatusCode::FORBIDDEN,
            Self::NotFound { .. }
            | Self::UnknownWorker(_)
            | Self::UnknownConnection(_)
            | Self::NotWritten(_) => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::SlowBody { .. } | Self::SlowHead { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::HeadTooLarge { .. } => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::TooLarge { .. }
            | Self::TooManyItems { .. }
            | Self::BatchTooLarge { .. }
            | Self::UrlTooLong { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NotAWebsocket => StatusCode::UPGRADE_REQUIRED,
            Self::NoBroker { .. }
            | Self::NoBrokerToAsk { .. }
            | Self::TooManyAskers
            | Self::BrokerBusy { .. }
            | Self::IdsFull
            | Self::TooManyUnanswered
            | Self::BrokerShuttingDown
            | Self::GatewayAway(_)
            | Self::TooMuchPending(_)
            | Self::CallerGone
            | Self::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
            Self::IdTaken { .. } => StatusCode::CONFLICT,
            Self::Unanswered { .. }
            | Self::MemoryLost
            | Self::NoHead { .. }
            | Self::Unconfirmed { .. }
            | Self::LinkLost
            | Self::PublisherEnded => StatusCode::GATEWAY_TIMEOUT,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_never_sent_is_503() {
        let limit = Duration::from_secs(5);
        assert_eq!(ApiError::NoBroker { waited: limit }.status(), 503);
        assert_eq!(ApiError::Unanswered { waited: limit }.status(), 504);
        assert_eq!(ApiError::LinkLost.status(), 504);
        assert_eq!(ApiError::MemoryLost.status(), 504);
        assert_eq!(ApiError::PublisherEnded.status(), 504);
    }
}
