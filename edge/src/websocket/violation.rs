//! How a peer can break RFC 6455 or a limit, and the close code for each. Pure.

use super::close_code;

/// How a peer broke the protocol or a limit. Nothing more is read from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// One of the reserved bits is set, and no extension was agreed on.
    #[error("a reserved bit is set")]
    ReservedBit,
    /// An opcode without a meaning.
    #[error("opcode {0:#x} is reserved")]
    ReservedOpcode(u8),
    /// A client's frame that is not masked.
    #[error("a frame from a client must be masked")]
    Unmasked,
    /// A server's frame that is masked.
    #[error("a frame from a server must not be masked")]
    Masked,
    /// A length in more bytes than it needs, or over 2^63.
    #[error("the length is not in its shortest form")]
    LongLength,
    /// A control frame in fragments.
    #[error("a control frame must not be fragmented")]
    FragmentedControl,
    /// A control frame of more than 125 bytes.
    #[error("a control frame has at most 125 bytes")]
    LongControl,
    /// A continuation, and nothing to continue.
    #[error("a continuation without a message")]
    LoneContinuation,
    /// A new message within another.
    #[error("a message within a fragmented message")]
    Interleaved,
    /// A close frame with one byte, or with a code that must not be sent.
    #[error("a malformed close frame")]
    MalformedClose,
    /// A text message or close reason that is not UTF-8.
    #[error("text is not UTF-8")]
    NotUtf8,
    /// A message over its limit.
    #[error("a message over the limit")]
    TooBig,
    /// A message of too many fragments.
    #[error("a message of too many fragments")]
    TooManyFragments,
}

impl Violation {
    /// The code of the Close frame that answers it.
    pub fn close_code(self) -> u16 {
        match self {
            Self::NotUtf8 => close_code::INVALID_PAYLOAD,
            Self::TooBig | Self::TooManyFragments => close_code::MESSAGE_TOO_BIG,
            _ => close_code::PROTOCOL_ERROR,
        }
    }
}
