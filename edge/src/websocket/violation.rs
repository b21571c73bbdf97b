//! How a peer can violate RFC 6455 or a limit, and the close code for that. Pure.

use super::close_code;

/// How a peer violated the protocol or a limit. Nothing more is read from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// One of the reserved bits is set, and no extension was agreed on.
    #[error("a reserved bit is set")]
    ReservedBit,
    /// The opcode has no meaning.
    #[error("opcode {0:#x} is reserved")]
    ReservedOpcode(u8),
    /// A client's frame is not masked.
    #[error("a frame from a client must be masked")]
    Unmasked,
    /// A server's frame is masked.
    #[error("a frame from a server must not be masked")]
    Masked,
    /// The length is written with more bytes than necessary, or is above 2^63.
    #[error("the length is not in its shortest form")]
    LongLength,
    /// A control frame is fragmented.
    #[error("a control frame must not be fragmented")]
    FragmentedControl,
    /// A control frame has more than 125 bytes.
    #[error("a control frame has at most 125 bytes")]
    LongControl,
    /// A continuation comes without a message to continue.
    #[error("a continuation without a message")]
    LoneContinuation,
    /// A new message begins before the last one is complete.
    #[error("a message within a fragmented message")]
    Interleaved,
    /// A close frame has one byte, or a code that must not be sent.
    #[error("a malformed close frame")]
    MalformedClose,
    /// A text message or a close reason is not UTF-8.
    #[error("text is not UTF-8")]
    NotUtf8,
    /// A message exceeds its limit.
    #[error("a message over the limit")]
    TooBig,
    /// A message has too many fragments.
    #[error("a message of too many fragments")]
    TooManyFragments,
}

impl Violation {
    /// The close code with which it is answered.
    pub fn close_code(self) -> u16 {
        match self {
            Self::NotUtf8 => close_code::INVALID_PAYLOAD,
            Self::TooBig | Self::TooManyFragments => close_code::MESSAGE_TOO_BIG,
            _ => close_code::PROTOCOL_ERROR,
        }
    }
}
