//! A compressed body that arrives in pieces: the output comes in pieces of limited size, and is the same
//! however the input is cut.

#![no_main]

use bytes::BytesMut;
use campanile_publisher::http::inflate::{
    Compression, Inflate, Inflated, InvalidCompression, PIECE_BYTES,
};
use libfuzzer_sys::fuzz_target;

/// A decompression bomb is not inflated to its end.
const MAX_BYTES: usize = 1 << 20;

fuzz_target!(|data: &[u8]| {
    let Some((&piece, body)) = data.split_first() else {
        return;
    };
    for compression in [Compression::Gzip, Compression::Deflate] {
        let whole = inflate(compression, body, body.len().max(1));
        let pieces = inflate(compression, body, usize::from(piece).max(1));
        match (whole, pieces) {
            (Ok(whole), Ok(pieces)) => assert_eq!(whole, pieces),
            (Err(_), Err(_)) => {}
            (whole, pieces) => panic!("{whole:?} {pieces:?}"),
        }
    }
});

fn inflate(
    compression: Compression,
    body: &[u8],
    piece: usize,
) -> Result<Option<BytesMut>, InvalidCompression> {
    let mut inflate = Inflate::new(compression);
    let mut content = BytesMut::new();
    let mut pieces = body.chunks(piece);
    loop {
        let before = content.len();
        let inflated = inflate.inflate(&mut content)?;
        assert!(content.len() - before <= PIECE_BYTES);
        match inflated {
            Inflated::Piece if content.len() > MAX_BYTES => return Ok(None),
            Inflated::Piece => assert!(content.len() > before),
            Inflated::End => return Ok(Some(content)),
            Inflated::Starved => match pieces.next() {
                Some(piece) => inflate.feed(piece),
                None => inflate.complete(),
            },
        }
    }
}
