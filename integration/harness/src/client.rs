//! Clients and callers of every kind. None of them shares code with the servers.

mod query;

mod http;
mod push_api;

mod block;
mod event_stream;
pub mod raw;
mod websocket;

mod feed;
mod heard;
mod saying;

pub use block::Block;
pub use event_stream::EventStream;
pub use feed::Feed;
pub use heard::{Ended, Heard, Hello, Protocol, Recovery, To};
pub use http::{Answer, HttpConnection, exchange, get, get_json, get_with, post};
pub use push_api::{PushApi, Receipt, receipt};
pub use query::encode;
pub use websocket::{Frame, Websocket, connect, handshake, open as open_websocket};
