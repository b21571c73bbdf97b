//! The header of a frame from a client, RFC 6455 section 5.2:
//!
//! ```text
//! fin, 3 reserved bits, opcode | masked, length: 7 bits, or 126 and 16 bits, or 127 and 64 bits | mask
//! ```

use super::Violation;
use super::encode::Opcode;

/// The longest header from a client: two bytes, a 64-bit length, a mask.
const MAX_HEADER_BYTES: usize = 14;

/// What a frame says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The frame is the last of its message.
    pub fin: bool,
    /// What it is.
    pub opcode: Opcode,
    /// What its payload is masked with.
    pub mask: [u8; 4],
    /// How long its payload is, in bytes.
    pub len: usize,
}

/// A header that may come in pieces.
#[derive(Debug, Default)]
pub struct PartialHeader {
    bytes: [u8; MAX_HEADER_BYTES],
    len: u8,
}

impl PartialHeader {
    /// Takes bytes from the front of the input until the header is complete; answers it and the
    /// rest, or `None` if it is not complete.
    ///
    /// # Errors
    /// A [`Violation`], as early as the bytes allow.
    pub fn collect<'a>(
        &mut self,
        input: &'a mut [u8],
    ) -> Result<Option<(Header, &'a mut [u8])>, Violation> {
        let before = usize::from(self.len);
        let taken = input.len().min(MAX_HEADER_BYTES - before);
        self.bytes[before..before + taken].copy_from_slice(&input[..taken]);
        match Header::parse(&self.bytes[..before + taken])? {
            Some((header, header_len)) => Ok(Some((header, &mut input[header_len - before..]))),
            None => {
                self.len = u8::try_from(before + taken).expect("at most 14");
                Ok(None)
            }
        }
    }
}

impl Header {
    /// Reads a header and its length; `None` if it is not complete.
    fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, Violation> {
        let Some(&first) = bytes.first() else { return Ok(None) };
        if first & 0x70 != 0 {
            return Err(Violation::ReservedBit);
        }
        let opcode = Opcode::from_bits(first & 0x0f)?;
        let Some(&second) = bytes.get(1) else { return Ok(None) };
        if second & 0x80 == 0 {
            return Err(Violation::Unmasked);
        }
        let (len, at) = match second & 0x7f {
            126 => match bytes[2..].first_chunk::<2>() {
                None => return Ok(None),
                Some(len) => (u64::from(u16::from_be_bytes(*len)), 4),
            },
            127 => match bytes[2..].first_chunk::<8>() {
                None => return Ok(None),
                Some(len) => (u64::from_be_bytes(*len), 10),
            },
            len => (u64::from(len), 2),
        };
        let shortest = match len {
            0..=125 => 2,
            126..=0xffff => 4,
            _ => 10,
        };
        if at != shortest || len > i64::MAX as u64 {
            return Err(Violation::LongLength);
        }
        let Some(mask) = bytes[at..].first_chunk::<4>() else { return Ok(None) };
        // A length beyond the address space is beyond every limit too.
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        Ok(Some((Self { fin: first & 0x80 != 0, opcode, mask: *mask, len }, at + 4)))
    }
}

impl Opcode {
    fn from_bits(bits: u8) -> Result<Self, Violation> {
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
