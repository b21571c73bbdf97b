//! What is wrong with a request as HTTP, whatever it pushes: its head, method, path, headers or body, a
//! websocket handshake, or the page and host that it comes from.

use std::time::Duration;

use campanile_edge::websocket::HandshakeError;

use super::inflate::InvalidCompression;
use super::methods::Methods;
use crate::push::shown::Shown;

/// The subprotocols of the publish stream, for the sentence about an unknown one.
const SUBPROTOCOLS: &str = "campanile.publish.v1.json and campanile.publish.v1.msgpack";

/// Why a request is refused before a push is read from it.
///
/// The `Display` string is the sentence that the caller reads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// A header whose value is not supported.
    #[error("the header {header} is {value}: {accepted}")]
    BadHeader { header: &'static str, value: Shown, accepted: &'static str },
    /// A header that would mean two things.
    #[error("the header {header} is given more than once: send it once")]
    RepeatedHeader { header: &'static str },
    /// A GET with a body, which would be ignored.
    #[error("a GET has its content in the parameter content: send a body with POST")]
    BodyOfGet,
    /// The caller ended the connection, or at least its side of it, within the body.
    #[error("the body is broken: the connection ended before it was complete")]
    BodyCutOff,
    /// The body is not what its headers say.
    #[error("the body is broken: {reason}")]
    BrokenBody {
        /// It contains nothing that the caller has sent.
        reason: String,
    },
    /// A compressed body that is not what its `Content-Encoding` says.
    #[error("the body cannot be decompressed as its Content-Encoding says: {0}")]
    InvalidCompression(#[from] InvalidCompression),
    /// An unknown compression, or several at once.
    #[error(
        "the header Content-Encoding is {value}: gzip, deflate or identity is accepted, or no such \
         header"
    )]
    UnknownEncoding { value: Shown },
    #[error("the body had not arrived after {} s", limit.as_secs_f32())]
    SlowBody { limit: Duration },
    #[error("the request is not HTTP/1: {reason}; plain HTTP/1.1 is accepted on this port")]
    NotHttp { reason: String },
    /// A header of the PROXY protocol where none is expected.
    #[error(
        "a PROXY header is where a request should be: with the publisher's --proxy-protocol, one is \
         accepted at the beginning of a connection"
    )]
    ProxyHeader,
    /// A request without a host (RFC 9112, 3.2).
    #[error("the header Host is missing: an HTTP/1.1 request must have one")]
    NoHost,
    /// A body whose end cannot be found.
    #[error("the header Content-Length is missing: an HTTP/1.0 POST must have one")]
    PostWithoutLength,
    #[error(
        "the request has too many or too large headers: at most {max_headers} headers of together \
         {max_bytes} bytes are accepted"
    )]
    HeadTooLarge {
        max_headers: usize,
        /// How large they may be together.
        max_bytes: usize,
    },
    #[error("the head of the request had not arrived after {} s", limit.as_secs_f32())]
    SlowHead { limit: Duration },
    /// A request target that is neither a path nor a URL.
    #[error(
        "the URL is {target}: a path, or a URL that begins with http:// or https://, is accepted"
    )]
    NoTarget { target: Shown },
    #[error(
        "the URL is too long: at most {max_bytes} bytes are accepted, including escapes; push larger \
         content as the body of a POST"
    )]
    UrlTooLong { max_bytes: usize },
    #[error(
        "there is nothing at {path}: push to /, to /batch, or over a websocket at /stream; /position \
         returns the end of the log"
    )]
    NotFound { path: Shown },
    #[error("the method {method} is not supported here: use {}", methods.words())]
    MethodNotAllowed { method: Shown, methods: Methods },
    /// Parameters in the URL of a batch or a stream.
    #[error(
        "the URL has the parameters {query}: {path} takes none, because each item has its own fields"
    )]
    NoParameters { query: Shown, path: &'static str },
    /// Parameters in the URL of a path that has no items either.
    #[error("the URL has the parameters {query}: {path} takes none")]
    NoQuery { query: Shown, path: &'static str },
    /// A request for `/stream` that means no websocket.
    #[error("/stream is a websocket (RFC 6455): open it with a websocket client")]
    NotAWebsocket,
    #[error("the websocket handshake is broken: {0}")]
    Handshake(HandshakeError),
    /// None of the offered subprotocols is known.
    #[error(
        "the subprotocol is {value}: {known} are accepted; without one, the first is spoken",
        known = SUBPROTOCOLS
    )]
    UnknownSubprotocol { value: Shown },
    /// The caller has presented no key, and this publisher has some.
    #[error("a key is needed: send it in the header Authorization: Bearer KEY{}", or_in_url(*in_url))]
    NoKey {
        /// Whether the key may be in the URL, too.
        in_url: bool,
    },
    #[error("this key is not known here: it may be mistyped, or it was removed")]
    UnknownKey,
    /// A key in a URL ends up in the logs of proxies and in the history of browsers.
    #[error(
        "a key in the URL is accepted only where the publisher listens on loopback, or with its \
         --key-in-url: send it in the header Authorization: Bearer KEY"
    )]
    KeyInUrl,
    #[error("the parameter key {reason}")]
    BadKeyInUrl {
        /// It contains nothing that the caller has sent.
        reason: &'static str,
    },
    #[error(
        "the header Authorization and the parameter key have different keys: send only one of them"
    )]
    TwoKeys,
    /// A request that a browser marks as coming from another site, without saying which.
    #[error(
        "the header Sec-Fetch-Site is {site}: a page of another site may not push with a link, an \
         image or a form, which do not say where they come from; push with fetch, from an origin that \
         the publisher's --allow-origin names"
    )]
    StrangersPage { site: Shown },
    /// A proxy passes on what others send to a publisher that is open to its own host only.
    #[error(
        "the header {header} shows that a proxy passes this request on, and this publisher is open to its \
         own host only: configure keys ([[keys]] in the settings file), or start it with --open if \
         everybody whom the proxy lets through may push"
    )]
    ByProxy { header: &'static str },
    /// A foreign or malformed host name, where the publisher listens on loopback.
    #[error(
        "the header Host is {host}: this publisher listens on loopback only and accepts localhost, \
         127.0.0.1, [::1] and the names of its --allow-host"
    )]
    HostNotAllowed { host: Shown },
    /// A page of an origin that is not allowed.
    #[error(
        "pages of the origin {origin} may not push: the publisher's --allow-origin names the origins \
         that may"
    )]
    OriginNotAllowed { origin: Shown },
}

fn or_in_url(in_url: bool) -> &'static str {
    if in_url { ", or as the parameter key of the URL" } else { "" }
}
