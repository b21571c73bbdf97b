//! The blocks that were found at the start, read from disk while they are asked for.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::PathBuf;

use bytes::Bytes;

use super::JournalError;
use super::files::name;
use super::record::{Next, Records};
use super::segment::{self, Extent};

/// Reads the blocks in order, each once, with its number. One is in memory at a time. They have to be read
/// before segments are deleted; what is appended meanwhile is not among them.
#[derive(Debug)]
pub struct Blocks {
    dir: PathBuf,
    segments: VecDeque<(PathBuf, Extent)>,
    records: Option<Records<BufReader<File>>>,
    left: u64,
}

impl Blocks {
    pub(super) fn new(dir: PathBuf, segments: VecDeque<(PathBuf, Extent)>) -> Self {
        let left = segments.iter().map(|(_, extent)| extent.next - extent.head.first).sum();
        Self { dir, segments, records: None, left }
    }

    /// How many blocks come.
    pub fn left(&self) -> u64 {
        self.left
    }

    fn advance(&mut self) -> Result<Option<(u64, Bytes)>, JournalError> {
        let io = |dir: &PathBuf| {
            let dir = dir.clone();
            move |error: io::Error| JournalError::io(&dir, error)
        };
        while let Some((path, extent)) = self.segments.front() {
            let records = match &mut self.records {
                Some(records) => records,
                none => none.insert(segment::read(path, extent).map_err(io(&self.dir))?),
            };
            let mut block = Vec::new();
            match records.next(&mut block).map_err(io(&self.dir))? {
                Next::Record { number } => {
                    self.left -= 1;
                    return Ok(Some((number, block.into())));
                }
                Next::End => {
                    self.records = None;
                    self.segments.pop_front();
                }
                Next::Broken => {
                    let (file, at) = (name(path), records.at());
                    let what =
                        format!("its file {file} has changed at byte {at} since it was read");
                    return Err(JournalError::damaged(&self.dir, what));
                }
            }
        }
        Ok(None)
    }
}

impl Iterator for Blocks {
    type Item = Result<(u64, Bytes), JournalError>;

    /// Returns the next block. After an error there are no more.
    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance();
        if next.is_err() {
            self.segments.clear();
            self.left = 0;
        }
        next.transpose()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, usize::try_from(self.left).ok())
    }
}
