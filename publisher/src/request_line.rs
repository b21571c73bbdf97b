//! Escapes in request lines what people type and URLs do not allow, before actix-http refuses it
//! without a word: `curl 'http://host:4237/?content=안녕'` sends raw UTF-8. Pure.
//!
//! Only request lines are changed. Where a body may follow a head, everything after it passes as it
//! is: nothing here knows where that body ends.

/// The names that announce a body, in lower case.
const BODY_HEADERS: [&[u8]; 3] = [b"content-length", b"transfer-encoding", b"upgrade"];

/// How much of a header line is looked at: the longest of [`BODY_HEADERS`].
const LOOK_BYTES: usize = 17;

/// Reads one connection's bytes as they come.
#[derive(Debug)]
pub struct RequestLines {
    place: Place,
    /// The beginning of the current header line, in lower case.
    line: Vec<u8>,
    body_follows: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    RequestLine,
    Header,
    /// For the rest of the connection.
    Body,
}

impl Default for RequestLines {
    fn default() -> Self {
        Self { place: Place::RequestLine, line: Vec::new(), body_follows: false }
    }
}

impl RequestLines {
    /// There are no more request lines to look for.
    pub fn is_over(&self) -> bool {
        self.place == Place::Body
    }

    /// Adds `input` to `output`, with what needs it escaped: at most three times as long.
    pub fn escape(&mut self, mut input: &[u8], output: &mut Vec<u8>) {
        while !input.is_empty() {
            if self.place == Place::Body {
                return output.extend_from_slice(input);
            }
            let newline = input.iter().position(|&byte| byte == b'\n');
            let (piece, rest) = input.split_at(newline.map_or(input.len(), |at| at + 1));
            input = rest;
            match self.place {
                Place::RequestLine => piece.iter().for_each(|&byte| push_escaped(byte, output)),
                Place::Header | Place::Body => {
                    output.extend_from_slice(piece);
                    let room = LOOK_BYTES - self.line.len();
                    let begin = &piece[..piece.len().min(room)];
                    self.line.extend(begin.iter().map(u8::to_ascii_lowercase));
                }
            }
            if newline.is_some() {
                self.end_line();
            }
        }
    }

    fn end_line(&mut self) {
        match self.place {
            Place::RequestLine => self.place = Place::Header,
            Place::Header if matches!(&*self.line, b"\n" | b"\r\n") => {
                self.place = if self.body_follows { Place::Body } else { Place::RequestLine };
            }
            Place::Header => {
                self.body_follows |= BODY_HEADERS.iter().any(|name| self.line.starts_with(name));
            }
            Place::Body => {}
        }
        self.line.clear();
    }
}

fn push_escaped(byte: u8, output: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    // A `#` would end the URL, and what stands behind it would be lost in silence.
    if byte.is_ascii() && !b"\"#<>\\^`{|}".contains(&byte) {
        output.push(byte);
    } else {
        let digits = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
        output.extend_from_slice(&[b'%', digits[0], digits[1]]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn escaped(pieces: &[&[u8]]) -> Vec<u8> {
        let mut lines = RequestLines::default();
        let mut output = Vec::new();
        for piece in pieces {
            lines.escape(piece, &mut output);
        }
        output
    }

    fn text(input: &str) -> String {
        String::from_utf8(escaped(&[input.as_bytes()])).expect("a text")
    }

    #[test]
    fn what_urls_do_not_allow_is_escaped_and_the_rest_is_as_it_was() {
        assert_eq!(text("GET /?content=é HTTP/1.1\r\n"), "GET /?content=%C3%A9 HTTP/1.1\r\n");
        assert_eq!(text("GET /?a={\"b\"}#c H\r\n"), "GET /?a=%7B%22b%22%7D%23c H\r\n");
        let plain = "GET /?a=%20+~!$&'()*,;=:@[]-._ HTTP/1.1\r\nHost: é\r\n\r\n";
        assert_eq!(text(plain), plain);
    }

    #[test]
    fn every_request_line_of_a_connection_is_escaped_as_long_as_there_are_no_bodies() {
        assert_eq!(
            text("G é\r\nA: é\r\n\r\nG é\n\nG é\n"),
            "G %C3%A9\r\nA: é\r\n\r\nG %C3%A9\n\nG %C3%A9\n"
        );
    }

    #[test]
    fn bodies_and_what_follows_them_pass_as_they_are() {
        for header in ["Content-Length: 9", "transfer-ENCODING: chunked", "Upgrade: x"] {
            let rest = format!("{header}\r\nA: b\r\n\r\né\n\r\n\r\né\r\n");
            assert_eq!(text(&format!("P é\r\n{rest}")), format!("P %C3%A9\r\n{rest}"));
        }
    }

    proptest! {
        #[test]
        fn where_the_bytes_are_cut_makes_no_difference(
            input in "([GPé] [/?é\"]{0,3}\r?\n(Host: é\r?\n|content-length: 1\r?\n|A:\r\n)?\r?\n){0,4}",
            cuts in prop::collection::vec(0usize..60, 0..6),
        ) {
            let bytes = input.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            prop_assert_eq!(escaped(&pieces), escaped(&[bytes]));
        }
    }
}
