//! The header of a frame, RFC 6455 section 5.2. Pure.
//!
//! ```text
//! fin, 3 reserved bits, opcode | masked, length: 7 bits, or 126 and 16 bits, or 127 and 64 bits | mask
//! ```

use super::encode::MAX_CONTROL_BYTES;
use super::{Opcode, Violation};

/// The longest header: two bytes, a 64-bit length, and a mask.
const MAX_HEADER_BYTES: usize = 14;

/// Which end of the connection sent a frame. A client masks all its frames, a server none of them (RFC
/// 6455 section 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The end that opened the connection.
    Client,
    /// The end that accepted the connection.
    Server,
}

/// The header of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Whether the frame is the last one of its message.
    pub fin: bool,
    /// The kind of the frame.
    pub opcode: Opcode,
    /// The mask of the payload. Zeros for a server's frame, which leave the payload unchanged.
    pub mask: [u8; 4],
    /// The length of the payload in bytes.
    pub len: usize,
}

/// How much a client may send in one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The largest message in bytes, all fragments together.
    pub max_message_bytes: usize,
    /// The most fragments of one message. At least 1.
    pub max_fragments: u32,
}

/// A message whose last frame has not come yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unfinished {
    /// The length of its payload so far.
    pub len_bytes: usize,
    /// The number of its frames so far.
    pub fragments: u32,
}

/// The part of a client's header that has come so far.
#[derive(Debug, Default)]
pub(super) struct PartialHeader {
    bytes: [u8; MAX_HEADER_BYTES],
    len: u8,
}

impl PartialHeader {
    /// Takes bytes from the front of the input until the header is complete. Returns the header and the
    /// rest of the input, or `None` if it is not complete.
    ///
    /// # Errors
    /// A [`Violation`], as early as possible.
    pub(super) fn collect<'a>(
        &mut self,
        input: &'a mut [u8],
    ) -> Result<Option<(Header, &'a mut [u8])>, Violation> {
        let before = usize::from(self.len);
        let taken = input.len().min(MAX_HEADER_BYTES - before);
        self.bytes[before..before + taken].copy_from_slice(&input[..taken]);
        match Header::parse(&self.bytes[..before + taken], Role::Client)? {
            Some((header, header_len)) => Ok(Some((header, &mut input[header_len - before..]))),
            None => {
                self.len = u8::try_from(before + taken).expect("at most 14");
                Ok(None)
            }
        }
    }
}

impl Header {
    /// Reads the header at the start of `bytes`, which `from` has sent. Returns it with its own length in
    /// bytes, or `None` if it is not complete.
    ///
    /// # Errors
    /// A [`Violation`], as early as possible. [`check`](Self::check) finds further ones.
    pub fn parse(bytes: &[u8], from: Role) -> Result<Option<(Self, usize)>, Violation> {
        let Some(&first) = bytes.first() else { return Ok(None) };
        if first & 0x70 != 0 {
            return Err(Violation::ReservedBit);
        }
        let opcode = Opcode::from_bits(first & 0x0f)?;
        let Some(&second) = bytes.get(1) else { return Ok(None) };
        match (from, second & 0x80 != 0) {
            (Role::Client, false) => return Err(Violation::Unmasked),
            (Role::Server, true) => return Err(Violation::Masked),
            (Role::Client, true) | (Role::Server, false) => {}
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
        let (mask, header_len) = match from {
            Role::Server => ([0; 4], at),
            Role::Client => match bytes[at..].first_chunk::<4>() {
                None => return Ok(None),
                Some(mask) => (*mask, at + 4),
            },
        };
        // A length that exceeds the address space also exceeds every limit.
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        Ok(Some((Self { fin: first & 0x80 != 0, opcode, mask, len }, header_len)))
    }

    /// Checks a frame before its payload is there: whether it fits to the unfinished message, if there is
    /// one, and whether it is within the limits.
    ///
    /// # Errors
    /// A [`Violation`].
    pub fn check(&self, unfinished: Option<Unfinished>, limits: Limits) -> Result<(), Violation> {
        if self.opcode.is_control() {
            return match self.fin {
                false => Err(Violation::FragmentedControl),
                true if self.len > MAX_CONTROL_BYTES => Err(Violation::LongControl),
                true => Ok(()),
            };
        }
        match (self.opcode, unfinished) {
            (Opcode::Continuation, None) => return Err(Violation::LoneContinuation),
            (Opcode::Continuation, Some(_)) | (_, None) => {}
            (_, Some(_)) => return Err(Violation::Interleaved),
        }
        let Unfinished { len_bytes, fragments } =
            unfinished.unwrap_or(Unfinished { len_bytes: 0, fragments: 0 });
        if self.len > limits.max_message_bytes.saturating_sub(len_bytes) {
            return Err(Violation::TooBig);
        }
        if fragments >= limits.max_fragments {
            return Err(Violation::TooManyFragments);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn clients_mask_their_frames_and_servers_do_not() {
        let whole = Header { fin: true, opcode: Opcode::Text, mask: [0; 4], len: 2 };
        assert_eq!(Header::parse(b"\x81\x02hi", Role::Server), Ok(Some((whole, 2))));
        assert_eq!(Header::parse(b"\x81\x02hi", Role::Client), Err(Violation::Unmasked));
        let masked = Header { mask: *b"mask", ..whole };
        assert_eq!(Header::parse(b"\x81\x82mask..", Role::Client), Ok(Some((masked, 6))));
        assert_eq!(Header::parse(b"\x81\x82mask..", Role::Server), Err(Violation::Masked));
    }

    #[test]
    fn a_header_is_complete_with_its_last_byte() {
        for (from, bytes, len) in [
            (Role::Server, &b"\x82\x7d"[..], 125),
            (Role::Server, b"\x02\x7e\x00\x7e", 126),
            (Role::Server, b"\x82\x7f\0\0\0\0\0\x01\0\0", 65_536),
            (Role::Client, b"\x82\xfdmask", 125),
            (Role::Client, b"\x82\xfe\xff\xffmask", 65_535),
            (Role::Client, b"\x82\xff\0\0\0\0\0\x01\0\0mask", 65_536),
        ] {
            for cut in 0..bytes.len() {
                assert_eq!(Header::parse(&bytes[..cut], from), Ok(None), "{bytes:x?} cut at {cut}");
            }
            let (header, header_len) = Header::parse(bytes, from).expect("valid").expect("whole");
            assert_eq!((header.len, header_len), (len, bytes.len()), "{bytes:x?}");
            assert_eq!(header.fin, bytes[0] & 0x80 != 0);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_no_part_of_a_header_is_one(
            bytes in prop::collection::vec(any::<u8>(), 0..20),
            is_client: bool,
        ) {
            let from = if is_client { Role::Client } else { Role::Server };
            if let Ok(Some((_, header_len))) = Header::parse(&bytes, from) {
                prop_assert!((2..=MAX_HEADER_BYTES).contains(&header_len));
                for cut in 0..header_len {
                    prop_assert_eq!(Header::parse(&bytes[..cut], from), Ok(None));
                }
            }
        }
    }
}
