//! Writes messages, each as one frame. A server's frames are not masked, so all connections that receive
//! a message can share its frame. Pure.
//!
//! ```text
//! 0x80 | opcode, length (7 bits, or 126 and 16 bits, or 127 and 64 bits, big-endian), payload
//! ```

use bytes::{BufMut, Bytes, BytesMut};

use super::Opcode;
use super::mask::mask;

/// The longest payload of a control frame, RFC 6455 section 5.5.
pub(super) const MAX_CONTROL_BYTES: usize = 125;

const FIN: u8 = 0x80;

/// The bit of the second byte that says that a mask follows the length.
const MASKED: u8 = 0x80;

/// A message as one frame of a server.
pub fn frame(opcode: Opcode, payload: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(10 + payload.len());
    put_start(&mut frame, opcode, payload.len(), 0);
    frame.put_slice(payload);
    frame.freeze()
}

/// Appends a message as one frame of a client to `out`. RFC 6455 section 5.3 asks for an unpredictable
/// mask. A mask of zeros leaves the payload unchanged.
pub fn put_masked(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8], with: [u8; 4]) {
    put_start(out, opcode, payload.len(), MASKED);
    out.extend_from_slice(&with);
    let start = out.len();
    out.extend_from_slice(payload);
    mask(&mut out[start..], with, 0);
}

/// Appends everything before the mask.
fn put_start(out: &mut impl BufMut, opcode: Opcode, len: usize, masked: u8) {
    out.put_u8(FIN | opcode as u8);
    match len {
        0..=125 => out.put_u8(masked | len as u8),
        126..=0xffff => {
            out.put_u8(masked | 126);
            out.put_u16(len as u16);
        }
        _ => {
            out.put_u8(masked | 127);
            out.put_u64(len as u64);
        }
    }
}

/// A server's close frame. The reason is shortened if it does not fit.
pub fn close(code: u16, reason: &str) -> Bytes {
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
    fn a_client_masks_its_frames() {
        let mut frames = b"before".to_vec();
        put_masked(&mut frames, Opcode::Text, b"Hello", [0x37, 0xfa, 0x21, 0x3d]);
        // The sample of RFC 6455 section 5.7.
        assert_eq!(&frames[6..], b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
        frames.clear();
        put_masked(&mut frames, Opcode::Pong, b"hi", [0; 4]);
        assert_eq!(frames, b"\x8a\x82\0\0\0\0hi");
        frames.clear();
        put_masked(&mut frames, Opcode::Binary, &[b'x'; 126], [0; 4]);
        assert_eq!(&frames[..8], b"\x82\xfe\x00\x7e\0\0\0\0");
    }

    #[test]
    fn a_close_frame_carries_its_code_and_a_reason_that_fits() {
        assert_eq!(&close(4001, "slow")[..], b"\x88\x06\x0f\xa1slow");
        let cut = close(1000, &"é".repeat(100));
        assert_eq!(cut[1], 124);
        assert!(std::str::from_utf8(&cut[4..]).is_ok());
    }
}
