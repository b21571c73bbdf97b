//! Makes request lines fit for actix-http, which refuses them without a word otherwise: it escapes
//! what people type and URLs do not allow (`curl 'http://host:4237/?content=안녕'` sends raw UTF-8),
//! and puts [`OVERLONG`] in the place of a target that is too long. Pure.
//!
//! Only request lines are changed. Where a body may follow a head, everything after it passes as it
//! is: nothing here knows where that body ends.

/// How long a target may be, escaped. Less than the 65,534 bytes of the crate `http`.
pub const MAX_TARGET_BYTES: usize = 60 << 10;

/// Stands for a target over [`MAX_TARGET_BYTES`]. No caller's target reads like this: its `|` would
/// be escaped. (After a body it would not, and whoever sends it there is refused as well.)
pub const OVERLONG: &str = "/|";

/// The names that announce a body, in lower case.
const BODY_HEADERS: [&[u8]; 3] = [b"content-length", b"transfer-encoding", b"upgrade"];

/// How much of a line is looked at: the longest of [`BODY_HEADERS`].
const LOOK_BYTES: usize = 17;

/// Reads one connection's bytes as they come.
#[derive(Debug)]
pub struct RequestLines {
    place: Place,
    /// The beginning of the current method or header line, in lower case.
    line: Vec<u8>,
    /// The current target as far as it is known, escaped; at most [`MAX_TARGET_BYTES`].
    target: Vec<u8>,
    body_follows: bool,
}

/// What the next byte belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Method,
    Target,
    /// A target of which nothing is kept any more.
    RestOfTarget,
    Version,
    Header,
    /// For the rest of the connection.
    Body,
}

impl Default for RequestLines {
    fn default() -> Self {
        Self { place: Place::Method, line: Vec::new(), target: Vec::new(), body_follows: false }
    }
}

impl RequestLines {
    /// There are no more request lines to look for.
    pub fn is_over(&self) -> bool {
        self.place == Place::Body
    }

    /// Adds `input` to `output`, with what needs it escaped: at most three times as long, and a
    /// target that was held back until its end.
    pub fn escape(&mut self, input: &[u8], output: &mut Vec<u8>) {
        for (at, &byte) in input.iter().enumerate() {
            match self.place {
                Place::Body => return output.extend_from_slice(&input[at..]),
                Place::Target | Place::RestOfTarget if matches!(byte, b' ' | b'\n') => {
                    // An idle connection must not keep the memory.
                    output.append(&mut std::mem::take(&mut self.target));
                    output.push(byte);
                    self.place = Place::Version;
                }
                Place::Target => {
                    push_escaped(byte, &mut self.target);
                    if self.target.len() > MAX_TARGET_BYTES {
                        self.target = Vec::new();
                        output.extend_from_slice(OVERLONG.as_bytes());
                        self.place = Place::RestOfTarget;
                    }
                }
                Place::RestOfTarget => {}
                Place::Method | Place::Version => {
                    self.look(byte);
                    push_escaped(byte, output);
                    if self.place == Place::Method && byte == b' ' {
                        self.place = Place::Target;
                    }
                }
                Place::Header => {
                    self.look(byte);
                    output.push(byte);
                }
            }
            if byte == b'\n' {
                self.end_line();
            }
        }
    }

    fn look(&mut self, byte: u8) {
        if self.line.len() < LOOK_BYTES {
            self.line.push(byte.to_ascii_lowercase());
        }
    }

    fn end_line(&mut self) {
        let empty = matches!(&*self.line, b"\n" | b"\r\n");
        match self.place {
            // Empty lines before a request line do not count (RFC 9112, 2.2).
            Place::Method if empty => {}
            Place::Header if empty => {
                self.place = if self.body_follows { Place::Body } else { Place::Method };
            }
            Place::Header => {
                self.body_follows |= BODY_HEADERS.iter().any(|name| self.line.starts_with(name));
            }
            Place::Body => {}
            _ => self.place = Place::Header,
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
    fn a_target_over_the_limit_is_replaced_and_what_follows_it_is_as_it_was() {
        let rest = "HTTP/1.1\r\nHost: x\r\n\r\nGET /é H\n";
        let longest = "a".repeat(MAX_TARGET_BYTES);
        let plain = rest.replace('é', "%C3%A9");
        assert_eq!(text(&format!("GET {longest} {rest}")), format!("GET {longest} {plain}"));
        let replaced = format!("GET {OVERLONG} {plain}");
        assert_eq!(text(&format!("GET {longest}a {rest}")), replaced);
        // 90 KiB once they are escaped.
        assert_eq!(text(&format!("GET {} {rest}", "é".repeat(15 << 10))), replaced);
        assert_eq!(text(&format!("GET {longest}aa\n")), format!("GET {OVERLONG}\n"));
    }

    #[test]
    fn no_target_reads_like_the_one_that_stands_for_those_that_are_too_long() {
        for before in ["", "\r\n", "\n\r\n", "G / H\r\nA: b\r\n\r\n\r\n"] {
            let line = format!("{before}GET {OVERLONG} HTTP/1.1\r\n");
            assert_eq!(text(&line), format!("{before}GET /%7C HTTP/1.1\r\n"));
        }
    }

    #[test]
    fn a_target_is_held_back_until_its_end_and_its_memory_released() {
        let mut lines = RequestLines::default();
        let mut output = Vec::new();
        lines.escape(b"GET /ab", &mut output);
        assert_eq!(output, b"GET ");
        lines.escape(b"c H", &mut output);
        assert_eq!(output, b"GET /abc H");
        assert_eq!(lines.target.capacity(), 0);
        lines.escape(b"\n\n GET ", &mut output);
        lines.escape(&[b'a'; MAX_TARGET_BYTES + 1], &mut output);
        assert_eq!(lines.target.capacity(), 0);
    }

    #[test]
    fn bodies_and_what_follows_them_pass_as_they_are() {
        for header in ["Content-Length: 9", "transfer-ENCODING: chunked", "Upgrade: x"] {
            let rest = format!("{header}\r\nA: b\r\n\r\né\n\r\n\r\né\r\n");
            assert_eq!(text(&format!("P é\r\n{rest}")), format!("P %C3%A9\r\n{rest}"));
        }
    }

    fn pieces(bytes: &[u8], mut cuts: Vec<usize>) -> Vec<&[u8]> {
        cuts.extend([0, bytes.len()]);
        cuts.iter_mut().for_each(|cut| *cut = bytes.len().min(*cut));
        cuts.sort_unstable();
        cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
    }

    proptest! {
        #[test]
        fn where_a_long_target_is_cut_makes_no_difference(
            over in 0..6usize,
            cuts in prop::collection::vec(0..MAX_TARGET_BYTES + 40, 0..6),
        ) {
            let target = "a".repeat(MAX_TARGET_BYTES - 3 + over);
            let input = format!("GET {target} HTTP/1.1\r\n\r\nGET é\n");
            let bytes = input.as_bytes();
            prop_assert_eq!(escaped(&pieces(bytes, cuts)), escaped(&[bytes]));
        }

        #[test]
        fn where_the_bytes_are_cut_makes_no_difference(
            input in "((\r?\n)?[GPé] [/?é\"]{0,3}( H)?\r?\n(Host: é\r?\n|content-length: 1\r?\n|A:\r\n)?\r?\n){0,4}",
            cuts in prop::collection::vec(0usize..60, 0..6),
        ) {
            let bytes = input.as_bytes();
            prop_assert_eq!(escaped(&pieces(bytes, cuts)), escaped(&[bytes]));
        }
    }
}
