//! Frames from the server: whole, unmasked, and shared by every connection that receives them.
//!
//! ```text
//! 0x80 | opcode, length (7 bits, or 126 and 16 bits, or 127 and 64 bits, big-endian), payload
//! ```

use bytes::{BufMut, Bytes, BytesMut};

use super::CloseCode;

/// The longest payload of a control frame, RFC 6455 section 5.5.
pub const MAX_CONTROL_BYTES: usize = 125;

const FIN: u8 = 0x80;

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

/// A whole message in one frame.
pub fn frame(opcode: Opcode, payload: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(10 + payload.len());
    frame.put_u8(FIN | opcode as u8);
    match payload.len() {
        len @ 0..=125 => frame.put_u8(len as u8),
        len @ 126..=0xffff => {
            frame.put_u8(126);
            frame.put_u16(len as u16);
        }
        len => {
            frame.put_u8(127);
            frame.put_u64(len as u64);
        }
    }
    frame.put_slice(payload);
    frame.freeze()
}

/// The Close frame of a code.
pub fn close(code: CloseCode) -> Bytes {
    close_with(code.code(), code.reason())
}

/// A Close frame with any code; the reason is cut to what fits.
pub fn close_with(code: u16, reason: &str) -> Bytes {
    let mut payload = code.to_be_bytes().to_vec();
    let end = reason.floor_char_boundary(MAX_CONTROL_BYTES - payload.len());
    payload.extend_from_slice(&reason.as_bytes()[..end]);
    frame(Opcode::Close, &payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_takes_the_shortest_form() {
        assert_eq!(&frame(Opcode::Text, b"hi")[..], b"\x81\x02hi");
        assert_eq!(&frame(Opcode::Binary, &[0; 125])[..2], b"\x82\x7d");
        assert_eq!(&frame(Opcode::Text, &[0; 126])[..4], b"\x81\x7e\x00\x7e");
        assert_eq!(&frame(Opcode::Text, &[0; 65_535])[..4], b"\x81\x7e\xff\xff");
        let long = frame(Opcode::Text, &[0; 65_536]);
        assert_eq!(&long[..10], b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00");
        assert_eq!(long.len(), 65_546);
    }

    #[test]
    fn a_close_frame_carries_its_code_and_a_reason_that_fits() {
        assert_eq!(&close(CloseCode::TooSlow)[..4], b"\x88\x19\x0f\xa1");
        let cut = close_with(1000, &"é".repeat(100));
        assert_eq!(cut[1], 124);
        assert!(std::str::from_utf8(&cut[4..]).is_ok());
    }
}
