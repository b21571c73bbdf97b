//! Decompresses request bodies (RFC 9110, 8.4.1) in pieces as they arrive, up to a limit. Pure.

use std::io::{self, BufRead, ErrorKind, Read};

use bytes::{Buf, BytesMut};
use flate2::bufread::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

/// How much is decompressed at once, which takes about a tenth of a millisecond.
pub const PIECE_BYTES: usize = 32 << 10;

/// The memory of a decoder, without its input: its window of 32 KiB and its tables.
pub const DECODER_BYTES: usize = 48 << 10;

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// RFC 1952, with one member or several.
    Gzip,
    /// The zlib format (RFC 1950), or the bare format (RFC 1951) that some senders take it for.
    Deflate,
}

impl Compression {
    /// Returns the compression with this name; `None` if it is unknown.
    pub fn of(name: &str) -> Option<Self> {
        [("gzip", Self::Gzip), ("x-gzip", Self::Gzip), ("deflate", Self::Deflate)]
            .into_iter()
            .find_map(|(known, compression)| {
                name.eq_ignore_ascii_case(known).then_some(compression)
            })
    }

    /// Returns the size of the largest compressed body that is read for a content of up to `max_bytes`.
    /// Content that cannot be compressed grows by 5 bytes per block, a header and a trailer.
    pub fn max_bytes(max_bytes: usize) -> usize {
        max_bytes.saturating_add(max_bytes / 1_024).saturating_add(4 << 10)
    }
}

/// Why a body cannot be decompressed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCompression {
    /// Its end is missing.
    #[error("it is cut off")]
    CutOff,
    /// It or its checksum is wrong.
    #[error("it is corrupt ({reason})")]
    Corrupt {
        /// What the decoder says. It contains nothing that the caller has sent.
        reason: String,
    },
    /// It has ended before the body.
    #[error("there are bytes after its end")]
    TrailingBytes,
}

/// The result of one step.
#[derive(Debug, PartialEq, Eq)]
pub enum Inflated {
    /// There is a piece of the content, of at least one byte and at most [`PIECE_BYTES`].
    Piece,
    /// It needs more of the body.
    Starved,
    /// The whole body was decompressed.
    End,
}

/// Decompresses one body.
#[derive(Debug)]
pub struct Inflate {
    decoder: Decoder,
    /// Whether the decoder has reached the end of its stream.
    has_ended: bool,
}

#[derive(Debug)]
enum Decoder {
    Gzip(Box<MultiGzDecoder<Input>>),
    /// `deflate` whose first two bytes have not arrived yet.
    Unknown(Input),
    Zlib(Box<ZlibDecoder<Input>>),
    Bare(Box<DeflateDecoder<Input>>),
}

/// What has arrived and was not decompressed yet.
#[derive(Debug, Default)]
struct Input {
    bytes: BytesMut,
    is_complete: bool,
}

impl Inflate {
    /// Starts before the first byte.
    pub fn new(compression: Compression) -> Self {
        let input = Input::default();
        let decoder = match compression {
            Compression::Gzip => Decoder::Gzip(Box::new(MultiGzDecoder::new(input))),
            Compression::Deflate => Decoder::Unknown(input),
        };
        Self { decoder, has_ended: false }
    }

    /// Adds the next bytes of the body. If this is only called when [`inflate`](Self::inflate) is starved,
    /// no more is held than these bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.input().bytes.extend_from_slice(bytes);
    }

    /// Notes that the body has no more bytes.
    pub fn complete(&mut self) {
        self.input().is_complete = true;
    }

    /// Adds the next piece of the content.
    ///
    /// # Errors
    /// What is wrong with the body. After that, this must not be called again.
    pub fn inflate(&mut self, content: &mut BytesMut) -> Result<Inflated, InvalidCompression> {
        if !self.has_ended {
            let before = content.len();
            content.resize(before + PIECE_BYTES, 0);
            let read = self.decoder.read(&mut content[before..]);
            content.truncate(before + *read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) => self.has_ended = true,
                Ok(_) => return Ok(Inflated::Piece),
                Err(error) => {
                    return match error.kind() {
                        ErrorKind::WouldBlock => Ok(Inflated::Starved),
                        ErrorKind::UnexpectedEof => Err(InvalidCompression::CutOff),
                        _ => Err(InvalidCompression::Corrupt { reason: error.to_string() }),
                    };
                }
            }
        }
        match self.input() {
            Input { bytes, .. } if !bytes.is_empty() => Err(InvalidCompression::TrailingBytes),
            Input { is_complete: true, .. } => Ok(Inflated::End),
            _ => Ok(Inflated::Starved),
        }
    }

    fn input(&mut self) -> &mut Input {
        match &mut self.decoder {
            Decoder::Gzip(decoder) => decoder.get_mut(),
            Decoder::Unknown(input) => input,
            Decoder::Zlib(decoder) => decoder.get_mut(),
            Decoder::Bare(decoder) => decoder.get_mut(),
        }
    }
}

impl Decoder {
    fn read(&mut self, piece: &mut [u8]) -> io::Result<usize> {
        if let Self::Unknown(input) = self {
            let is_zlib = input.is_zlib()?;
            let input = std::mem::take(input);
            *self = match is_zlib {
                true => Self::Zlib(Box::new(ZlibDecoder::new(input))),
                false => Self::Bare(Box::new(DeflateDecoder::new(input))),
            };
        }
        match self {
            Self::Gzip(decoder) => decoder.read(piece),
            Self::Zlib(decoder) => decoder.read(piece),
            Self::Bare(decoder) => decoder.read(piece),
            Self::Unknown(_) => Err(ErrorKind::WouldBlock.into()),
        }
    }
}

impl Input {
    /// Decides by the header of RFC 1950, section 2.2. No bare stream begins with these bytes: it would
    /// begin with a stored block, and the padding of its first byte would not be zero.
    fn is_zlib(&self) -> io::Result<bool> {
        match self.bytes.first_chunk() {
            Some(&header) => Ok(header[0] & 0x0f == 8 && u16::from_be_bytes(header) % 31 == 0),
            None if self.is_complete => Err(ErrorKind::UnexpectedEof.into()),
            None => Err(ErrorKind::WouldBlock.into()),
        }
    }
}

impl Read for Input {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let taken = available.len().min(buf.len());
        buf[..taken].copy_from_slice(&available[..taken]);
        self.consume(taken);
        Ok(taken)
    }
}

impl BufRead for Input {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match self.bytes.is_empty() && !self.is_complete {
            true => Err(ErrorKind::WouldBlock.into()),
            false => Ok(&self.bytes),
        }
    }

    fn consume(&mut self, len: usize) {
        self.bytes.advance(len);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use proptest::prelude::*;

    use super::*;

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(content).expect("memory");
        encoder.finish().expect("memory")
    }

    fn zlib(content: &[u8], level: u32) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), flate2::Compression::new(level));
        encoder.write_all(content).expect("memory");
        encoder.finish().expect("memory")
    }

    fn bare(content: &[u8], level: u32) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), flate2::Compression::new(level));
        encoder.write_all(content).expect("memory");
        encoder.finish().expect("memory")
    }

    /// Decompresses a body that arrives in pieces.
    fn inflate(
        compression: Compression,
        body: &[u8],
        piece: usize,
    ) -> Result<Vec<u8>, InvalidCompression> {
        let mut inflate = Inflate::new(compression);
        let mut content = BytesMut::new();
        let mut pieces = body.chunks(piece);
        loop {
            match inflate.inflate(&mut content)? {
                Inflated::Piece => {}
                Inflated::End => return Ok(content.into()),
                Inflated::Starved => match pieces.next() {
                    Some(piece) => inflate.feed(piece),
                    None => inflate.complete(),
                },
            }
        }
    }

    #[test]
    fn a_body_is_inflated_however_it_arrives() {
        for content in [&b"hello"[..], &b"x".repeat(200_000), b""] {
            for piece in [1, 2, 7, 1_000_000] {
                let gzipped = inflate(Compression::Gzip, &gzip(content), piece);
                assert_eq!(gzipped.as_deref(), Ok(content));
                for level in [0, 1, 6, 9] {
                    for body in [zlib(content, level), bare(content, level)] {
                        let inflated = inflate(Compression::Deflate, &body, piece);
                        assert_eq!(inflated.as_deref(), Ok(content), "{level}");
                    }
                }
            }
        }
    }

    #[test]
    fn several_members_are_one_content() {
        let body = [gzip(b"a"), gzip(b""), gzip(b"b")].concat();
        for piece in [1, 10, 1_000] {
            assert_eq!(inflate(Compression::Gzip, &body, piece), Ok(b"ab".to_vec()));
        }
    }

    #[test]
    fn a_body_that_is_cut_off_anywhere_is_noticed() {
        let content: Vec<u8> = (0..5_000u32).flat_map(u32::to_be_bytes).collect();
        for (compression, body) in [
            (Compression::Gzip, gzip(&content)),
            (Compression::Deflate, zlib(&content, 6)),
            (Compression::Deflate, bare(&content, 6)),
        ] {
            for len in (0..20).chain(body.len() - 20..body.len()) {
                let cut = inflate(compression, &body[..len], 100);
                assert_eq!(cut, Err(InvalidCompression::CutOff), "{compression:?} {len}");
            }
        }
    }

    #[test]
    fn corrupt_and_trailing_bytes_are_noticed() {
        let corrupt = |result: Result<Vec<u8>, _>| {
            assert!(matches!(result, Err(InvalidCompression::Corrupt { .. })), "{result:?}");
        };
        let mut body = gzip(b"hello");
        let crc = body.len() - 6;
        body[crc] ^= 1;
        corrupt(inflate(Compression::Gzip, &body, 3));
        corrupt(inflate(Compression::Gzip, b"hello, not compressed at all", 100));
        corrupt(inflate(
            Compression::Gzip,
            &[&gzip(b"a")[..], b"garbage that follows"].concat(),
            5,
        ));
        corrupt(inflate(Compression::Deflate, b"\xff\xff\xff", 1));
        for body in [zlib(b"a", 6), bare(b"a", 6)] {
            let more = inflate(Compression::Deflate, &[&body[..], b"x"].concat(), 1);
            assert_eq!(more, Err(InvalidCompression::TrailingBytes));
        }
    }

    #[test]
    fn a_bomb_is_inflated_piece_by_piece() {
        let mut inflate = Inflate::new(Compression::Gzip);
        let bomb = gzip(&vec![0; 32 << 20]);
        assert!(bomb.len() < 64 << 10);
        inflate.feed(&bomb);
        let mut content = BytesMut::new();
        for _ in 0..100 {
            let before = content.len();
            assert_eq!(inflate.inflate(&mut content), Ok(Inflated::Piece));
            assert!(content.len() - before <= PIECE_BYTES);
        }
        assert!(inflate.input().bytes.len() > bomb.len() / 2, "no more was read than was used");
    }

    #[test]
    fn what_cannot_be_compressed_fits_too() {
        for len in [0, 1, 1_000, 1 << 20] {
            let mut noise = 1u64;
            let content: Vec<u8> = (0..len)
                .map(|_| {
                    noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (noise >> 56) as u8
                })
                .collect();
            for body in [gzip(&content), zlib(&content, 0), bare(&content, 1)] {
                assert!(body.len() <= Compression::max_bytes(len), "{} for {len}", body.len());
            }
        }
    }

    proptest! {
        #[test]
        fn no_body_panics_and_pieces_do_not_matter(body: Vec<u8>, piece in 1usize..9) {
            for compression in [Compression::Gzip, Compression::Deflate] {
                let whole = inflate(compression, &body, body.len().max(1));
                let pieces = inflate(compression, &body, piece);
                prop_assert_eq!(pieces.is_ok(), whole.is_ok());
                let begun = [&gzip(b"a")[..10], &body].concat();
                let _ = inflate(compression, &begun, piece);
            }
        }
    }
}
