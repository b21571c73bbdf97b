//! What a frame is. Pure.

use super::Violation;

/// What a frame is, RFC 6455 section 5.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// Goes on with a message.
    Continuation = 0x0,
    /// UTF-8.
    Text = 0x1,
    /// Any bytes.
    Binary = 0x2,
    /// The last frame of its direction.
    Close = 0x8,
    /// Wants a pong with the same payload.
    Ping = 0x9,
    /// Answers a ping, or none.
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
