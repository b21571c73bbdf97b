//! What is wrong with the bytes of a block.

use super::MAX_ENCODED_BYTES;

/// Why bytes are not a block.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// It was written by a later release.
    #[error("a block of format version {version}, but this release reads version {reads}")]
    Newer {
        /// The version of the block.
        version: u8,
        /// The version that this release reads.
        reads: u8,
    },
    /// It is longer than any block. Nothing of it was read.
    #[error("a block of {len_bytes} bytes, but the largest has {MAX_ENCODED_BYTES}")]
    TooLong {
        /// The length of the block.
        len_bytes: usize,
    },
    /// It ends too early.
    #[error("a block that ends in the middle: byte {at} is missing")]
    Incomplete {
        /// The offset of the first byte that is missing.
        at: usize,
    },
    /// It goes on after the end of its last content.
    #[error("a block with {extra_bytes} bytes after its end")]
    Trailing {
        /// How many bytes there are after the end.
        extra_bytes: usize,
    },
    /// Something in it is not as any release writes it.
    #[error("a block with a wrong {what} at byte {at}")]
    Malformed {
        /// Which part of the block it is.
        what: &'static str,
        /// The offset behind that part.
        at: usize,
    },
}
