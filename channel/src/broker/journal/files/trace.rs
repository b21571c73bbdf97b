//! Records what a test does to files, and lets a step of it fail.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, IoSlice};
use std::os::unix::fs::MetadataExt as _;

/// Something that was done. Files are known by their inode numbers, because names change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    Create(String, u64),
    Write { id: u64, at: u64, bytes: Vec<u8> },
    SetLen(u64, u64),
    Sync(u64),
    Rename(String, String),
    Remove(String),
    SyncNames,
}

/// The kinds of steps that can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Create,
    Write,
    Sync,
    Rename,
    Remove,
}

#[derive(Debug, Default)]
struct Trace {
    ops: Option<Vec<Op>>,
    /// How many more steps succeed, and how the one after them fails.
    failure: Option<(usize, io::ErrorKind)>,
    steps: Vec<Step>,
}

thread_local! {
    static TRACE: RefCell<Trace> = RefCell::default();
}

/// Records what this thread does from now on.
pub fn record() {
    TRACE.with_borrow_mut(|trace| trace.ops = Some(Vec::new()));
}

/// How much was recorded.
pub fn recorded() -> usize {
    TRACE.with_borrow(|trace| trace.ops.as_ref().map_or(0, Vec::len))
}

/// Ends the recording and returns it.
pub fn take() -> Vec<Op> {
    TRACE.with_borrow_mut(|trace| trace.ops.take()).unwrap_or_default()
}

/// Lets one step of this thread fail, after `after` others. The steps after it succeed.
pub fn fail(after: usize, kind: io::ErrorKind) {
    TRACE.with_borrow_mut(|trace| {
        trace.failure = Some((after, kind));
        trace.steps.clear();
    });
}

/// Lets no step fail any more, and returns the steps since [`fail`], up to the one that failed. `None` if
/// none has.
pub fn failed() -> Option<Vec<Step>> {
    TRACE.with_borrow_mut(|trace| {
        trace.failure.take().is_none().then(|| std::mem::take(&mut trace.steps))
    })
}

pub fn may(step: Step) -> io::Result<()> {
    TRACE.with_borrow_mut(|trace| {
        let Some((left, kind)) = &mut trace.failure else { return Ok(()) };
        trace.steps.push(step);
        if *left > 0 {
            *left -= 1;
            return Ok(());
        }
        let kind = *kind;
        trace.failure = None;
        Err(kind.into())
    })
}

pub fn note(op: Op) {
    TRACE.with_borrow_mut(|trace| {
        if let Some(ops) = &mut trace.ops {
            ops.push(op);
        }
    });
}

pub fn note_written(file: &File, at: u64, slices: &[IoSlice<'_>], written: usize) {
    if TRACE.with_borrow(|trace| trace.ops.is_none()) {
        return;
    }
    let mut bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
    bytes.truncate(written);
    note(Op::Write { id: id(file), at, bytes });
}

pub fn id(file: &File) -> u64 {
    file.metadata().unwrap().ino()
}
