//! The journal: where the blocks of the log live. A block is appended, and comes back when it is as durable as
//! was promised. Blocks are bytes here: whoever appends one encodes it, so that the files need no codec, and
//! whoever reads one decodes it.
//!
//! # The directory
//! ```text
//! campanile   the marker: "campanile data directory, format 3"; locked while a broker runs, and used to
//!             recognise a copy of the directory
//! run         what the last broker has left: its durability, where the log begins, and how it ended
//! mark        what was acknowledged, see `mark.rs`
//! log-id      the random id of the log, for people
//! N.log       a segment: the blocks from number N on (20 digits), up to the next segment
//! N.state     a snapshot: what follows from all blocks before N
//! *.new       a file of that name that is not complete
//! ```
//! The oldest segment has a snapshot, unless it begins with block 1. A start reads that snapshot and all
//! blocks behind it. Other segments get theirs while blocks are appended to them; as soon as one has it, the
//! segments before it can be deleted. Other files are not touched.
//!
//! # What happens at one moment
//! `run` is replaced by renaming a file, and so are its neighbours before they are named in it. So a
//! segment or a snapshot that has its name is complete up to its first record, and a start removes what an
//! interrupted step has left: segments before the oldest one in `run`, snapshots without a segment, and
//! unfinished files. A new epoch begins when `run` names it; if its segment did not
//! get its name any more, the next start gives it.
//!
//! # What is checked at the start
//! Nothing is cut off or removed before everything has passed. Each byte that is needed has a checksum, heads
//! say to which log, epoch and place a file belongs, and numbers have no gaps, across all segments. Before a
//! segment is begun there was an fsync of the one before it, so only the newest one can have an end that is
//! not a whole record. That end is the trace of a crash if the mark and `run` prove that nothing in it was
//! acknowledged, and no whole record comes behind it. Everything else is a [`JournalError`]: a broker never
//! continues with fewer blocks or a new epoch instead.
//!
//! A directory that passes may still not be the one that the last broker left, or not all of it
//! (`continuity`): it may be a copy that was restored, or parts of its log may only have been in memory,
//! or in a kernel that was restarted. Then a new epoch has to begin. A copy is recognised by its marker, which
//! is not the file that `run` names. A renamed directory is not a copy. A disk, a volume or a snapshot that was
//! restored as a whole is not detected, nor are files that were copied back into the original directory: the
//! directory has to be removed first.

mod blocks;
mod continuity;
mod directory;
mod error;
mod files;
mod header;
mod mark;
mod opening;
mod record;
mod run;
mod segment;
mod segments;
mod snapshot_file;
#[cfg(test)]
mod tests;

pub use error::JournalError;
pub use segments::{Found, Renewal, Segments};
