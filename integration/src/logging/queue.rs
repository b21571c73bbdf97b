//! The lines that wait for the log's thread, and the count of those that never got there. Pure.

use std::collections::VecDeque;

/// What may wait; a line that does not fit is dropped and counted.
const MAX_BYTES: usize = 1 << 20;

/// What lines of the access log may take of that. They have no rate, so that strangers could fill the queue with
/// them, and no other line would get in.
const MAX_ACCESS_BYTES: usize = MAX_BYTES / 2;

/// The longest line; a longer one is cut.
pub const MAX_LINE_BYTES: usize = 16 << 10;

/// What a line costs besides its bytes.
const LINE_COST_BYTES: usize = 64;

/// Which log a line belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The access log.
    Access,
    /// Everything else.
    Other,
}

/// Lines in the order in which they were logged, at most 1 MiB with 64 bytes for each. At most
/// half of that are lines of the access log.
#[derive(Debug, Default)]
pub struct LogQueue {
    lines: VecDeque<(Kind, Box<[u8]>)>,
    cost_bytes: usize,
    /// What those of the access log cost.
    access_bytes: usize,
    /// How many lines were ever put in.
    pushed: u64,
    /// How many of those are done: written, or dropped because they could not be.
    settled: u64,
    /// How many lines were dropped since the last report.
    dropped: u64,
    /// How many of those were reported before.
    reported: u64,
}

impl LogQueue {
    /// Adds a line, which ends with a line feed; cuts it at [`MAX_LINE_BYTES`]. Where there is no
    /// room for it, it is dropped and counted.
    pub fn push(&mut self, kind: Kind, line: &[u8]) {
        let line = cut(line);
        let cost_bytes = line.len() + LINE_COST_BYTES;
        let access_bytes = if kind == Kind::Access { cost_bytes } else { 0 };
        let is_full = self.cost_bytes + cost_bytes > MAX_BYTES;
        if is_full || self.access_bytes + access_bytes > MAX_ACCESS_BYTES {
            self.dropped += 1;
            return;
        }
        self.cost_bytes += cost_bytes;
        self.access_bytes += access_bytes;
        self.pushed += 1;
        self.lines.push_back((kind, line));
    }

    /// Takes the oldest line out. It is settled later, by [`settle`](Self::settle).
    pub fn pop(&mut self) -> Option<Box<[u8]>> {
        let (kind, line) = self.lines.pop_front()?;
        let cost_bytes = line.len() + LINE_COST_BYTES;
        self.cost_bytes -= cost_bytes;
        if kind == Kind::Access {
            self.access_bytes -= cost_bytes;
        }
        Some(line)
    }

    /// The line that was taken out was written, or could not be.
    pub fn settle(&mut self, is_written: bool) {
        self.settled += 1;
        self.dropped += u64::from(!is_written);
    }

    /// How many lines were dropped since they were last reported.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// How many lines were ever dropped.
    pub fn ever_dropped(&self) -> u64 {
        self.reported + self.dropped
    }

    /// This many dropped lines have been reported.
    pub fn reported(&mut self, lines: u64) {
        self.dropped -= lines;
        self.reported += lines;
    }

    /// The place behind the newest line.
    pub fn end(&self) -> u64 {
        self.pushed
    }

    /// Whether every line before this place is settled.
    pub fn is_settled(&self, place: u64) -> bool {
        self.settled >= place
    }
}

/// A copy of the line; if it is too long, of its beginning.
fn cut(line: &[u8]) -> Box<[u8]> {
    const MARK: &[u8] = b" [cut]\n";
    if line.len() <= MAX_LINE_BYTES {
        return line.into();
    }
    let mut end = MAX_LINE_BYTES - MARK.len();
    // Not in the middle of a character.
    while end > 0 && line[end] & 0xC0 == 0x80 {
        end -= 1;
    }
    [&line[..end], MARK].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_out_in_order_and_settle_one_by_one() {
        let mut queue = LogQueue::default();
        queue.push(Kind::Other, b"one\n");
        let place = queue.end();
        queue.push(Kind::Other, b"two\n");
        assert_eq!(queue.pop().as_deref(), Some(&b"one\n"[..]));
        assert!(!queue.is_settled(place));
        queue.settle(true);
        assert!(queue.is_settled(place) && !queue.is_settled(queue.end()));
        assert_eq!(queue.pop().as_deref(), Some(&b"two\n"[..]));
        queue.settle(false);
        assert!(queue.is_settled(queue.end()));
        assert_eq!(queue.dropped(), 1);
        assert_eq!(queue.pop(), None);
    }

    #[test]
    fn a_full_queue_drops_and_counts_until_there_is_room() {
        let mut queue = LogQueue::default();
        for _ in 0..MAX_BYTES / 1_064 + 10 {
            queue.push(Kind::Other, &[b'x'; 1_000]);
        }
        assert_eq!(queue.end() as usize, MAX_BYTES / 1_064);
        assert_eq!(queue.dropped(), 10);
        queue.reported(10);
        queue.pop();
        queue.push(Kind::Other, &[b'y'; 1_000]);
        assert_eq!((queue.end() as usize, queue.dropped()), (MAX_BYTES / 1_064 + 1, 0));
    }

    #[test]
    fn the_access_log_leaves_half_of_the_queue_to_others() {
        let mut queue = LogQueue::default();
        let most = (MAX_ACCESS_BYTES / 1_064) as u64;
        for _ in 0..2 {
            let before = queue.end();
            for _ in 0..2 * most {
                queue.push(Kind::Access, &[b'x'; 1_000]);
            }
            assert_eq!(queue.end() - before, most);
            // What it drops makes no room, and takes none.
            for _ in 0..most {
                queue.push(Kind::Other, &[b'y'; 1_000]);
            }
            assert_eq!(queue.end() - before, 2 * most);
            while queue.pop().is_some() {}
        }
        for _ in 0..2 * most {
            queue.push(Kind::Other, &[b'y'; 1_000]);
        }
        assert_eq!(queue.end(), 6 * most, "others may have all of it");
        assert_eq!(queue.dropped(), 2 * most);
    }

    #[test]
    fn empty_lines_fill_the_queue_too() {
        let mut queue = LogQueue::default();
        for _ in 0..MAX_BYTES {
            queue.push(Kind::Other, b"\n");
        }
        assert_eq!(queue.end() as usize, MAX_BYTES / 65);
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_between_two_characters() {
        let mut queue = LogQueue::default();
        queue.push(Kind::Other, "é".repeat(MAX_LINE_BYTES).as_bytes());
        let line = queue.pop().expect("it fits");
        let text = std::str::from_utf8(&line).expect("whole characters");
        assert!(text.len() <= MAX_LINE_BYTES && text.len() > MAX_LINE_BYTES - 10);
        assert!(text.ends_with("é [cut]\n"));
    }
}
