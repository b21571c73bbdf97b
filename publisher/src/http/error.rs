//! What is wrong with a request as HTTP, whatever it would push: its head, method, path or headers, the
//! way its body comes, a websocket handshake, and who asks.

use std::time::Duration;

use super::inflate::InvalidCompression;
use super::methods::Methods;
use crate::push::shown::Shown;

/// The subprotocols of the publish stream, for the sentence about another.
const SUBPROTOCOLS: &str = "campanile.publish.v1.json and campanile.publish.v1.msgpack";

/// A request that is refused before a push is read from it.
///
/// Its text is the sentence that the caller reads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
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
}
