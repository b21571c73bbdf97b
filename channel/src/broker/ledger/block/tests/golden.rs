//! The bytes of blocks. They are on disks, so they must never change for a version.

use super::*;

#[test]
fn a_block_with_an_entry_of_each_kind() {
    let bytes: Vec<u8> = [
        // Version, length of the head, epoch, producer, number, time, seen.
        &[1][..],
        &[0, 0, 0, 145],
        &[1, 2, 3, 4, 5, 6, 7, 8],
        &[0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18],
        &[9],
        &[0xf0, 0xa2, 0x04],
        &[0x80, 0x01, 0xef, 0xa2, 0x04, 5],
        // Settled.
        &[2],
        &[0, 0, 0, 0, 0, 0, 0, 0xa1, 0xab, 0x02],
        &[0, 0, 0, 0, 0, 0, 0, 0xa3, 0x80, 0x80, 0x01],
        // Entries: a text for everyone, bytes for a group, worker ids.
        &[5],
        &[0x00, 0, 0, 0, 0, 0, 0, 0, 0xa1, 0xac, 0x02, 2],
        b"\x0d\x02\x04news\x02",
        &[0x03, 0xe8, 0x07],
        // An empty text for a user, under a key, with counts, and a number that is two lower.
        b"\x3a\x03\x0242\x07order-1",
        &[7; 16],
        &[0],
        // A text for everyone but one connection, by a user's client.
        &[0xd0, 0, 0, 0, 0, 0, 0, 0, 0xa2, 1],
        b"\x0a\x017\x01order-1",
        &[8; 16],
        &[0x02, 0x81, 0x01],
        b"\x017",
        &[2],
        // The contents.
        b"hi",
        b"\0\xff",
        "é".as_bytes(),
    ]
    .concat();
    assert_eq!(rich().encode(), bytes);
    assert_eq!(Block::decode(bytes.into()), Ok(rich()));
}

#[test]
fn a_beat() {
    let bytes = b"\x01\0\0\0\x17\x01\x02\x03\x04\x05\x06\x07\x08\x11\x12\x13\x14\x15\x16\x17\x18\x01\0\0\0\0\0\0";
    assert_eq!(beat().encode(), &bytes[..]);
    assert_eq!(Block::decode(Bytes::from_static(bytes)), Ok(beat()));
}
