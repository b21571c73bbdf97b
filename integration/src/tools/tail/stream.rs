//! Reads server-sent events. Pure.
//!
//! Source: <https://html.spec.whatwg.org/multipage/server-sent-events.html>.

use std::time::Duration;

/// The most bytes of a line, and of a block. A content of 16 MiB in base64 is shorter.
const MAX_BLOCK_BYTES: usize = 32 << 20;

/// What an event stream says at a time.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Block {
    /// Its name; empty for an event with text.
    pub name: String,
    /// The id, if it has one.
    pub id: Option<String>,
    /// The lines of its data, if there are any.
    pub data: Option<String>,
    /// How long to wait before coming back.
    pub retry: Option<Duration>,
}

/// Why a stream cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// A line or a block is longer than [`MAX_BLOCK_BYTES`].
    #[error("it has an event of more than {MAX_BLOCK_BYTES} bytes")]
    TooLarge,
    /// A line is not UTF-8.
    #[error("it is not UTF-8")]
    NotUtf8,
}

/// A reader of one stream. A block that is cut off at its end is dropped.
#[derive(Debug, Default)]
pub struct Reader {
    /// What came and was not read yet.
    input: Vec<u8>,
    /// Where the first line of it begins.
    start: usize,
    /// How much of it has no end of a line.
    looked_at: usize,
    block: Block,
    block_bytes: usize,
}

impl Reader {
    /// Takes the next bytes of the stream.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.input.drain(..self.start);
        self.looked_at -= self.start;
        self.start = 0;
        self.input.extend_from_slice(bytes);
    }

    /// The next block that is complete; `None` if more has to be fed first.
    ///
    /// # Errors
    /// If the stream cannot be read. It must not be read on.
    pub fn next(&mut self) -> Result<Option<Block>, StreamError> {
        while let Some(length) = self.input[self.looked_at..].iter().position(|b| *b == b'\n') {
            let end = self.looked_at + length;
            let line = self.input[self.start..end].strip_suffix(b"\r");
            let line = line.unwrap_or(&self.input[self.start..end]);
            let line = std::str::from_utf8(line).map_err(|_| StreamError::NotUtf8)?;
            self.block_bytes += line.len();
            let is_end = line.is_empty();
            if !is_end {
                add(&mut self.block, line);
            }
            self.start = end + 1;
            self.looked_at = self.start;
            if self.block_bytes > MAX_BLOCK_BYTES {
                return Err(StreamError::TooLarge);
            }
            if is_end {
                self.block_bytes = 0;
                let block = std::mem::take(&mut self.block);
                if block != Block::default() {
                    return Ok(Some(block));
                }
            }
        }
        self.looked_at = self.input.len();
        match self.looked_at - self.start > MAX_BLOCK_BYTES {
            true => Err(StreamError::TooLarge),
            false => Ok(None),
        }
    }
}

/// Adds a line to a block. Unknown fields and comments are ignored.
fn add(block: &mut Block, line: &str) {
    let (field, value) = line.split_once(':').unwrap_or((line, ""));
    let value = value.strip_prefix(' ').unwrap_or(value);
    match field {
        "event" => value.clone_into(&mut block.name),
        "id" => block.id = Some(value.to_owned()),
        "retry" => block.retry = value.parse().ok().map(Duration::from_millis),
        "data" => match &mut block.data {
            Some(data) => {
                data.push('\n');
                data.push_str(value);
            }
            None => block.data = Some(value.to_owned()),
        },
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "retry: 1482\n\nevent: sync\r\nid: a-1\ndata: {}\n\n:\n\nid: a-2\n\n\
                          id: a-3\ndata:  two\ndata:\ndata: lines\nfoo: x\n\ndata: cut off\n";

    fn text(name: &str, id: &str, data: Option<&str>) -> Block {
        let (name, id) = (name.to_owned(), Some(id.to_owned()));
        Block { name, id, data: data.map(str::to_owned), retry: None }
    }

    #[test]
    fn blocks_are_the_same_however_the_bytes_arrive() {
        let expected = [
            Block { retry: Some(Duration::from_millis(1_482)), ..Block::default() },
            text("sync", "a-1", Some("{}")),
            text("", "a-2", None),
            text("", "a-3", Some(" two\n\nlines")),
        ];
        for size in 1..STREAM.len() {
            let (mut reader, mut blocks) = (Reader::default(), Vec::new());
            for bytes in STREAM.as_bytes().chunks(size) {
                reader.feed(bytes);
                while let Some(block) = reader.next().expect("well-formed") {
                    blocks.push(block);
                }
            }
            assert_eq!(blocks, expected, "in pieces of {size}");
        }
    }

    #[test]
    fn a_stream_without_an_end_is_an_error() {
        let mebibyte = vec![b'x'; 1 << 20];
        let mut line = Reader::default();
        let mut read = || {
            line.feed(&mebibyte);
            line.next()
        };
        assert_eq!((0..=32).find_map(|_| read().err()), Some(StreamError::TooLarge));
        let mut lines = Reader::default();
        let mut read = || {
            lines.feed(b"data: ");
            lines.feed(&mebibyte);
            lines.feed(b"\n");
            lines.next()
        };
        assert_eq!((0..=32).find_map(|_| read().err()), Some(StreamError::TooLarge));
        let mut strange = Reader::default();
        strange.feed(b"data: \xff\n\n");
        assert_eq!(strange.next(), Err(StreamError::NotUtf8));
    }
}
