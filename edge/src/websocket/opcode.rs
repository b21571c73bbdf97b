//! The kinds of frames. Pure.

use super::Violation;

/// The kind of a frame, RFC 6455 section 5.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// Continues a message.
    Continuation = 0x0,
    /// Begins a message of UTF-8.
    Text = 0x1,
    /// Begins a message of any bytes.
    Binary = 0x2,
    /// The last frame in its direction.
    Close = 0x8,
    /// Asks for a pong with the same payload.
    Ping = 0x9,
    /// Answers a ping, or comes without one.
    Pong = 0xa,
}

impl Opcode {
    pub(super) fn from_bits(bits: u8) -> Result<Self, Violation> {
        Ok(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xa => Self::Pong,
            reserved => return Err(Violation::ReservedOpcode(reserved)),
        })
    }

    /// Whether this is a close, a ping or a pong.
    pub fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}
