//! Finds the end of a chunked body (RFC 9112, 7.1). Pure.

/// How long all chunk extensions and trailers of a body may be together.
const MAX_ASIDE_BYTES: usize = 16 << 10;

/// The position in a chunked body. It is at least as strict as actix-http, which reads the same bytes
/// afterwards, and in the same way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunked {
    next: Next,
    /// How many bytes of the current chunk are missing.
    size: u64,
    aside_bytes: usize,
}

/// What the next byte belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    FirstDigit,
    Digit,
    Space,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// The first byte of a trailer, or the `\r` of the end.
    Trailers,
    Trailer,
    TrailerLf,
    EndLf,
    Over,
}

impl Default for Chunked {
    fn default() -> Self {
        Self { next: Next::FirstDigit, size: 0, aside_bytes: 0 }
    }
}

impl Chunked {
    /// Whether the body is complete.
    pub fn is_over(&self) -> bool {
        self.next == Next::Over
    }

    /// Reads more bytes, and returns how many of them belong to the body.
    ///
    /// # Errors
    /// How many bytes were valid before the first wrong one, and what is wrong with it.
    pub fn read(&mut self, bytes: &[u8]) -> Result<usize, (usize, &'static str)> {
        let mut at = 0;
        while at < bytes.len() && !self.is_over() {
            if self.next == Next::Data {
                let left = usize::try_from(self.size).unwrap_or(usize::MAX);
                let taken = left.min(bytes.len() - at);
                self.size -= taken as u64;
                at += taken;
                if self.size == 0 {
                    self.next = Next::DataCr;
                }
                continue;
            }
            self.next = self.step(bytes[at]).map_err(|reason| (at, reason))?;
            at += 1;
        }
        Ok(at)
    }

    fn step(&mut self, byte: u8) -> Result<Next, &'static str> {
        if matches!(self.next, Next::Space | Next::Extension | Next::Trailers | Next::Trailer) {
            self.aside_bytes += 1;
            if self.aside_bytes > MAX_ASIDE_BYTES {
                return Err("its chunk extensions and trailers are longer than 16 KiB");
            }
        }
        let is_text = byte == b'\t' || !byte.is_ascii_control();
        match (self.next, byte) {
            (Next::FirstDigit | Next::Digit, byte) if byte.is_ascii_hexdigit() => {
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                let before = if self.next == Next::Digit { self.size } else { 0 };
                let size = before.checked_mul(16).ok_or("a chunk's size is too large")?;
                self.size = size + u64::from(digit);
                Ok(Next::Digit)
            }
            (Next::Digit | Next::Space, b' ' | b'\t') => Ok(Next::Space),
            (Next::Digit | Next::Space, b';') => Ok(Next::Extension),
            (Next::Digit | Next::Space | Next::Extension, b'\r') => Ok(Next::SizeLf),
            (Next::Extension, _) if is_text => Ok(Next::Extension),
            (Next::SizeLf, b'\n') if self.size == 0 => Ok(Next::Trailers),
            (Next::SizeLf, b'\n') => Ok(Next::Data),
            (Next::DataCr, b'\r') => Ok(Next::DataLf),
            (Next::DataLf, b'\n') => Ok(Next::FirstDigit),
            (Next::Trailers, b'\r') => Ok(Next::EndLf),
            (Next::Trailer, b'\r') => Ok(Next::TrailerLf),
            (Next::Trailers | Next::Trailer, _) if is_text => Ok(Next::Trailer),
            (Next::TrailerLf, b'\n') => Ok(Next::Trailers),
            (Next::EndLf, b'\n') => Ok(Next::Over),
            (Next::DataCr | Next::DataLf, _) => Err("a chunk is longer than its size says"),
            (Next::Trailers | Next::Trailer | Next::TrailerLf | Next::EndLf, _) => {
                Err("its trailers are malformed")
            }
            _ => Err("a chunk's size is malformed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &[u8]) -> (Result<usize, (usize, &'static str)>, bool) {
        let mut chunked = Chunked::default();
        (chunked.read(body), chunked.is_over())
    }

    #[test]
    fn a_body_ends_after_its_last_chunk_and_trailers() {
        for body in
            ["0\r\n\r\n", "3\r\nabc\r\n0\r\n\r\n", "3;x=\"y\"\r\n\r\n\n\r\n00 \r\nA: b\r\n\r\n"]
        {
            let bytes = [body.as_bytes(), b"GET /"].concat();
            assert_eq!(read(&bytes), (Ok(body.len()), true), "{body:?}");
            let mut by_byte = Chunked::default();
            let taken: usize = bytes.iter().map(|b| by_byte.read(&[*b]).expect("fine")).sum();
            assert_eq!(taken, body.len());
        }
        assert_eq!(read(b"5\r\nab"), (Ok(5), false));
    }

    #[test]
    fn what_is_malformed_is_not_passed_on() {
        for (body, fine) in [
            (&b"\r\n"[..], 0),
            (b"x", 0),
            (b"-1\r\n", 0),
            (b"0x1\r\n", 1),
            (b"3\nabc", 1),
            (b"1\r\nab", 4),
            (b"1\r\na\n", 4),
            (b"1;\x00", 2),
            (b"1;\n", 2),
            (b"0\r\n\n", 3),
            (b"0\r\nA: b\n\r\n", 7),
            (b"0\r\n\rx", 4),
            (b"10000000000000000", 16),
        ] {
            let (read, over) = read(body);
            assert_eq!(read.map_err(|(at, _)| at), Err(fine), "{body:?}");
            assert!(!over);
        }
        let aside = [b"1;".as_slice(), &[b'x'; MAX_ASIDE_BYTES + 1]].concat();
        assert!(read(&aside).0.is_err());
    }
}
