//! The limits of one publish stream. Pure.

use super::StreamFormat;

/// How large a message may be besides its content.
pub(super) const FIELDS_BYTES: usize = 4 << 10;

/// The limits of one stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StreamLimits {
    /// The most items without an answer.
    pub(crate) max_items: usize,
    /// The most bytes of these. An idle stream accepts one item of any size.
    pub(crate) max_bytes: usize,
    /// The most bytes of one content.
    pub(crate) max_content_bytes: usize,
}

impl StreamLimits {
    /// The most bytes of one message.
    pub(super) fn max_message_bytes(self, format: StreamFormat) -> usize {
        match format {
            // Every byte may be escaped.
            StreamFormat::Json => self.max_content_bytes * 6 + FIELDS_BYTES,
            StreamFormat::MessagePack => self.max_content_bytes + FIELDS_BYTES,
        }
    }
}
