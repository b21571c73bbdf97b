//! Bytes that are no block.

use super::*;

const HEAD_AT: usize = 5;

/// Decodes what is left of a block after a change of its bytes.
fn decode_changed(change: impl FnOnce(&mut Vec<u8>)) -> Result<Block, BlockError> {
    let mut bytes = rich().encode().to_vec();
    change(&mut bytes);
    Block::decode(bytes.into())
}

/// Decodes a block with this head and these contents.
fn decode_parts(head: &[u8], contents: &[u8]) -> Result<Block, BlockError> {
    let length = (head.len() as u32).to_be_bytes();
    Block::decode([&[BLOCK_VERSION], &length[..], head, contents].concat().into())
}

/// The head of a beat without its last byte, which is how many entries there are.
fn before_entries() -> Vec<u8> {
    let bytes = beat().encode();
    bytes[HEAD_AT..bytes.len() - 1].to_vec()
}

/// Decodes a block with these bytes as its entries.
fn decode_entries(count: u8, entries: &[u8], contents: &[u8]) -> Result<Block, BlockError> {
    decode_parts(&[&before_entries(), &[count][..], entries].concat(), contents)
}

fn wrong(result: Result<Block, BlockError>) -> &'static str {
    match result {
        Err(BlockError::Malformed { what, .. }) => what,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_block_of_a_later_version_names_both_versions() {
    let error = decode_changed(|bytes| bytes[0] = 2).unwrap_err();
    assert_eq!(error, BlockError::Newer { version: 2, reads: 1 });
    let sentence = "a block of format version 2, but this release reads version 1";
    assert_eq!(error.to_string(), sentence);
    assert_eq!(wrong(decode_changed(|bytes| bytes[0] = 0)), "version");
    // The version is read first, and the rest only if it is known.
    assert_eq!(Block::decode(Bytes::from_static(&[2])), Err(error));
}

#[test]
fn a_block_that_is_cut_anywhere_is_incomplete() {
    let bytes = rich().encode();
    for at in 0..bytes.len() {
        let cut = Block::decode(bytes.slice(..at));
        assert_eq!(cut, Err(BlockError::Incomplete { at }));
    }
}

#[test]
fn bytes_behind_a_block_are_an_error() {
    for block in [rich(), beat()] {
        let bytes = [&block.encode()[..], b"\0\0"].concat();
        let trailing = Err(BlockError::Trailing { extra_bytes: 2 });
        assert_eq!(Block::decode(bytes.into()), trailing);
    }
    let longer_head = [&before_entries()[..], &[0, 0]].concat();
    assert_eq!(wrong(decode_parts(&longer_head, b"")), "length of its head");
}

#[test]
fn every_flipped_bit_is_an_error_or_another_block() {
    let bytes = rich().encode();
    for bit in 0..bytes.len() * 8 {
        let mut bytes = bytes.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Ok(block) = Block::decode(bytes.clone().into()) {
            assert_ne!(block, rich());
            assert_eq!(block.encode(), bytes);
        }
    }
}

#[test]
fn flags_that_no_release_writes_are_an_error() {
    assert!(decode_entries(1, &[3, 7], b"").is_ok());
    for flag in 2..8 {
        assert_eq!(wrong(decode_entries(1, &[3 | 1 << flag, 7], b"")), "flags");
    }
    // The first push cannot take its publisher from the one before.
    assert_eq!(wrong(decode_entries(1, &[8, 1, 0], b"")), "flags");
    let push = [&[0][..], &[0; 8], &[1, 0]].concat();
    assert!(decode_entries(2, &[&push[..], &[8, 1, 0]].concat(), b"").is_ok());
    assert_eq!(wrong(decode_entries(2, &push.repeat(2), b"")), "publisher");
}

#[test]
fn numbers_with_needless_bytes_are_an_error() {
    let workers = |number: &[u8]| decode_entries(1, &[&[3], number].concat(), b"");
    let largest = [&[0xff; 9][..], &[1]].concat();
    let entries = vec![Entry::Workers { below: u64::MAX }];
    assert_eq!(workers(&largest), Ok(Block { entries, ..beat() }));
    for number in [
        &[0x80, 0][..],
        &[0x81, 0x80, 0],
        &[&[0xff; 9][..], &[2]].concat(),
        &[&[0xff; 9][..], &[0x81, 1]].concat(),
        &[&[0x80; 9][..], &[0]].concat(),
        &[0x80; 30],
        &[0x80],
    ] {
        assert_eq!(wrong(workers(number)), "worker id", "{number:x?}");
    }
}

#[test]
fn a_list_gets_room_for_no_more_than_its_bytes_can_have() {
    let huge = [&[0xff; 9][..], &[1]].concat();
    let entries = |count: &[u8], rest: usize| {
        decode_parts(&[&before_entries(), count, &vec![3; rest]].concat(), b"")
    };
    assert_eq!(wrong(entries(&huge, 100)), "entries");
    assert_eq!(wrong(entries(&[51], 100)), "entries");
    assert!(entries(&[50], 100).is_ok());
    // As many as there are places, and one more.
    assert!(entries(&[0xfe, 0xff, 0x03], 2 * MAX_ENTRIES).is_ok());
    assert_eq!(wrong(entries(&[0xff, 0xff, 0x03], 2 * MAX_ENTRIES + 2)), "entries");
    let mut settled = before_entries();
    settled.pop();
    let settled = [&settled, &huge[..], &[0; 100]].concat();
    assert_eq!(wrong(decode_parts(&settled, b"")), "settled numbers");
}

#[test]
fn names_and_texts_that_break_their_rules_are_an_error() {
    let push = |flags: u8, rest: &[u8], content: &[u8]| {
        decode_entries(1, &[&[flags][..], &[0; 8], &[1], rest].concat(), content)
    };
    assert!(push(1, &[1, b'a', 2], b"hi").is_ok());
    assert_eq!(wrong(push(1, &[0, 2], b"hi")), "group");
    assert_eq!(wrong(push(1, &[1, b'\n', 2], b"hi")), "group");
    assert_eq!(wrong(push(1, &[1, 0xff, 2], b"hi")), "group");
    assert_eq!(wrong(push(1, &[9, b'a', 2], b"hi")), "group");
    assert_eq!(wrong(push(2, &[0, 2], b"hi")), "user");
    assert_eq!(wrong(push(16, &[1, 1, 2], b"hi")), "key");
    assert_eq!(wrong(push(16, &[1, b'a', 2], b"hi")), "digest");
    assert_eq!(wrong(push(128, &[0, 2], b"hi")), "pushing user");
    assert_eq!(wrong(push(0, &[2], b"\xff\xff")), "text");
    assert!(push(4, &[2], b"\xff\xff").is_ok());
}

#[test]
fn what_is_longer_than_any_block_is_not_read() {
    let len_bytes = MAX_ENCODED_BYTES + 1;
    let bytes = vec![BLOCK_VERSION; len_bytes];
    assert_eq!(Block::decode(bytes.into()), Err(BlockError::TooLong { len_bytes }));
    let content = Content::Binary(vec![0; MAX_CONTENT_BYTES + 1].into());
    let Some(Entry::Push(push)) = rich().entries.pop() else { unreachable!() };
    let block = Block { entries: vec![Entry::Push(Push { content, ..push })], ..rich() };
    assert_eq!(wrong(Block::decode(block.encode())), "length of a content");
}
