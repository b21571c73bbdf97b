//! RFC 6455, the server's side. The pure parts: [`handshake`] checks a request, [`decode`] reads
//! what a client sends, [`encode`] makes frames that any number of connections share, [`close`]
//! lists why a connection ends. [`incoming`] joins them to a socket.

pub mod close;
pub mod decode;
pub mod encode;
pub mod handshake;
pub mod header;
pub mod incoming;
pub mod violation;

pub use close::CloseCode;
pub use decode::{Decoder, Limits, Message};
pub use handshake::Upgrade;
pub use incoming::Incoming;
pub use violation::Violation;
