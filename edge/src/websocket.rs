//! RFC 6455 without IO. [`Upgrade`] checks the opening handshake, [`Decoder`] reads what a client sends,
//! [`frame()`] makes a frame that many connections can share, and [`close_code`] has the close codes.
//! Code with a buffer of its own, or that reads a server's frames, only needs [`Header`].

pub mod close_code;
mod decode;
mod encode;
mod handshake;
mod header;
mod mask;
mod opcode;
mod violation;

pub use decode::{Decoder, Message, closing_code};
pub use encode::{close, frame, put_masked};
pub use handshake::{HandshakeError, Upgrade, accept_key, is_meant, offered};
pub use header::{Header, Limits, Role, Unfinished};
pub use mask::mask;
pub use opcode::Opcode;
pub use violation::Violation;
