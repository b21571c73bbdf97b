//! An open data directory: blocks are appended to its newest segment.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use campanile_messages::Durability;
use tracing::warn;

use super::blocks::Blocks;
use super::continuity::{self, Broken};
use super::directory::{Directory, DirectoryIdentity};
use super::files::remove;
use super::header::Kind;
use super::mark::{LogMark, MarkFile};
use super::run::Run;
use super::segment::Segment;
use super::snapshot_file::SnapshotWriter;
use super::{JournalError, opening};

/// What was found at the start.
#[derive(Debug)]
pub struct Found {
    /// The epoch of what was found.
    pub epoch: u64,
    /// What has to begin instead, because it cannot be proven that the log is complete; `None` if it
    /// continues. What was found is then only good for the worker ids that were given out.
    pub renewal: Option<Renewal>,
    /// What follows from all blocks up to `after`; `None` if there were none.
    pub state: Option<Vec<u8>>,
    /// The number of the block before the first one of `blocks`, or 0.
    pub after: u64,
    /// The number of the last one of `blocks`, or `after`.
    pub last: u64,
    /// The blocks, in order and without a gap, as they were appended.
    pub blocks: Blocks,
    /// How many bytes of an unfinished write were cut off. None of them was acknowledged.
    pub torn_bytes: u64,
}

/// The epoch that has to begin, with [`Segments::begin_epoch`], before anything else is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renewal {
    pub epoch: u64,
    /// The number of its first block. One number is skipped.
    pub first: u64,
}

/// An open data directory. If it is dropped without [`Segments::close`], it is as after a crash of the
/// process.
pub struct Segments {
    newest: Segment,
    /// The first blocks of all segments, and whether there is a snapshot beside each.
    firsts: BTreeMap<u64, bool>,
    snapshot: Expected,
    mark: MarkFile,
    run: Run,
    is_outdated: bool,
    failed: bool,
    // Dropped last, because it holds the lock.
    directory: Directory,
}

/// Whether there has to be a snapshot beside the newest segment.
enum Expected {
    Nothing,
    First,
    More(Box<SnapshotWriter>),
}

impl Segments {
    /// Opens a data directory, or makes a new one. From then on it is marked as not cleanly stopped.
    /// `random` makes a new epoch if one is needed.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn open(
        dir: &Path,
        durability: Durability,
        random: impl FnMut() -> u64,
    ) -> Result<(Self, Found), JournalError> {
        Self::open_in(dir, durability, opening::boot(), Directory::identity, random)
    }

    /// Like [`Segments::open`], in a given boot of the host, and with a given way to recognise copies.
    pub(super) fn open_in(
        dir: &Path,
        durability: Durability,
        boot: Option<u128>,
        identify: impl FnOnce(&Directory) -> io::Result<DirectoryIdentity>,
        mut random: impl FnMut() -> u64,
    ) -> Result<(Self, Found), JournalError> {
        let directory = Directory::take(dir)?;
        let io = |error| JournalError::io(dir, error);
        let identity = identify(&directory).map_err(io)?;
        let mark = MarkFile::read(&directory.mark()).map_err(io)?;
        let mut listing = directory.list().map_err(io)?;
        let mut run = opening::find_run(&directory, &mut listing, mark, || {
            let (log_id, epoch, oldest, last) = (rand::random(), random(), 1, 0);
            // The first run begins as if one before it had ended cleanly.
            Run { durability, clean: true, boot, directory: identity, log_id, epoch, oldest, last }
        })?;
        let found = opening::inspect(&directory, &mut listing, &run)?;
        let newest =
            found.newest().ok_or_else(|| JournalError::damaged(dir, "it has no segment"))?;
        let now = Run { durability, clean: false, boot, directory: identity, ..run.clone() };
        let broken = continuity::broken(&run, &now);
        let torn_bytes =
            opening::check_end(&directory, newest, (mark, &run), (boot, broken.is_none()))?;
        opening::report(&directory, mark, found.last, torn_bytes);
        let newest = Segment::open(&newest.0, &newest.1).map_err(io)?;
        let cut = if broken.is_none() { newest.cut() } else { newest.sync() };
        cut.map_err(io)?;
        opening::tidy(&directory, &listing, &run)?;
        let (epoch, last) = (run.epoch, found.last);
        let renewal = broken.map(|broken| {
            let (epoch, first) = (opening::another(run.epoch, random), renewed_first(mark, last));
            warn!(
                dir = %dir.display(),
                "it cannot be proven that the log of the last broker is complete: {}; its events and \
                 idempotency keys are forgotten, and a new epoch begins",
                broken.sentence()
            );
            Renewal { epoch, first }
        });
        run = Run { last, ..now };
        if broken == Some(Broken::Copied) {
            // The original of a copy may be in use, so the copy is another log from now on.
            run.log_id = rand::random();
        }
        if broken.is_none() {
            run.leave(&directory).map_err(io)?;
        }
        let synced = LogMark { synced: last, written: last, boot };
        let mark = MarkFile::start(&directory.mark(), synced).map_err(io)?;
        directory.sync().map_err(io)?;
        let snapshots = &listing.snapshots;
        let firsts = listing.segments.range(run.oldest..);
        let segments = Self {
            newest,
            firsts: firsts.map(|first| (*first, snapshots.contains(first))).collect(),
            snapshot: Expected::Nothing,
            mark,
            is_outdated: broken.is_some(),
            failed: false,
            directory,
            run,
        };
        let after = segments.run.oldest - 1;
        let blocks = Blocks::new(dir.to_owned(), found.segments);
        let state = found.snapshot;
        Ok((segments, Found { epoch, renewal, state, after, last, blocks, torn_bytes }))
    }

    pub fn dir(&self) -> &Path {
        self.directory.path()
    }

    /// The random id of the log, which no other directory has.
    pub fn log_id(&self) -> u64 {
        self.run.log_id
    }

    /// The number of the last block, or 0.
    pub fn last(&self) -> u64 {
        self.newest.next() - 1
    }

    /// How long the newest segment is.
    pub fn segment_bytes(&self) -> u64 {
        self.newest.len_bytes()
    }

    /// Appends the next block, which is not empty and shorter than 4 GiB, as durable as the mode says, and
    /// on disk if it is to be `synced`. What a block has in it is not looked at: whoever appends it encodes
    /// it, so that nothing else needs to.
    ///
    /// # Errors
    /// See [`JournalError`]. After an error nothing more is appended. As after a crash, this block may or
    /// may not be there at the next start.
    pub fn append(&mut self, number: u64, block: &[u8], synced: bool) -> Result<(), JournalError> {
        self.expect(number)?;
        self.refuse(block.is_empty(), "an empty block was to be stored")?;
        self.refuse(u32::try_from(block.len()).is_err(), "a block of 4 GiB was to be stored")?;
        self.attempt(|this| {
            this.newest.append(block)?;
            let synced = synced || this.run.durability == Durability::Disk;
            if synced {
                this.newest.sync()?;
            }
            if synced || this.run.durability == Durability::Written {
                this.mark.note(number, synced)?;
            }
            Ok(())
        })
    }

    /// Begins a new segment with the next block, `first`. All blocks before it are on disk then, in any
    /// mode, so that only the newest segment can have an end that is not whole. It needs a snapshot before
    /// the segments before it can be deleted, and before the next one can be begun.
    ///
    /// # Errors
    /// See [`Segments::append`].
    pub fn roll(&mut self, first: u64) -> Result<(), JournalError> {
        self.expect(first)?;
        let waits = !matches!(self.snapshot, Expected::Nothing);
        self.refuse(waits, "a segment was to be begun before the last one had its snapshot")?;
        self.attempt(|this| {
            this.newest.sync()?;
            this.mark.note(first - 1, true)?;
            let head = opening::head(Kind::Segment, &this.run, first);
            let segment = Segment::create(&this.directory.segment(first), head)?;
            segment.settle()?;
            this.directory.sync()?;
            this.newest = segment;
            this.firsts.insert(first, false);
            this.snapshot = Expected::First;
            Ok(())
        })
    }

    /// Adds to the snapshot of what follows from all blocks before the newest segment. It may come in pieces,
    /// between blocks, after [`Segments::roll`]. It is on disk, as a whole, after the last one.
    ///
    /// # Errors
    /// See [`Segments::append`].
    pub fn add_state(&mut self, piece: &[u8], is_last: bool) -> Result<(), JournalError> {
        let surprises = matches!(self.snapshot, Expected::Nothing);
        self.refuse(surprises, "a snapshot was to be stored that no segment waits for")?;
        self.attempt(|this| {
            let first = this.newest.first();
            let mut writer = match std::mem::replace(&mut this.snapshot, Expected::Nothing) {
                Expected::More(writer) => *writer,
                _ => {
                    let head = opening::head(Kind::Snapshot, &this.run, first);
                    SnapshotWriter::create(&this.directory.snapshot(first), head)?
                }
            };
            writer.add(piece)?;
            if !is_last {
                this.snapshot = Expected::More(writer.into());
                return Ok(());
            }
            writer.finish()?;
            this.directory.sync()?;
            this.firsts.insert(first, true);
            Ok(())
        })
    }

    /// Deletes segments whose blocks are all below `needed`, as far as there is a snapshot to begin with
    /// instead.
    ///
    /// # Errors
    /// See [`Segments::append`].
    pub fn trim(&mut self, needed: u64) -> Result<(), JournalError> {
        self.refuse(false, "")?;
        let with_snapshot = self.firsts.range(..=needed).rev().find(|(_, has)| **has);
        let oldest = with_snapshot.map_or(self.run.oldest, |(first, _)| *first);
        if oldest <= self.run.oldest {
            return Ok(());
        }
        self.attempt(|this| {
            this.run.oldest = oldest;
            this.run.last = this.mark.synced();
            this.run.leave(&this.directory)?;
            this.forget_segments()
        })
    }

    /// Begins a new epoch with block `first`, and a snapshot of what remains: all blocks before it are gone.
    /// At least one number is skipped, so that no block of the old epoch can be taken for one of the new. It is on disk in any mode, as a whole or not at all.
    ///
    /// # Errors
    /// See [`Segments::append`].
    pub fn begin_epoch(
        &mut self,
        epoch: u64,
        first: u64,
        state: &[u8],
    ) -> Result<(), JournalError> {
        if self.failed {
            return Err(self.stopped());
        }
        let expected = self.newest.next() + 1;
        if first < expected {
            let dir = self.dir().to_owned();
            return Err(JournalError::OutOfSequence { dir, expected, found: first });
        }
        self.attempt(|this| {
            if let Expected::More(writer) = std::mem::replace(&mut this.snapshot, Expected::Nothing)
            {
                writer.discard()?;
            }
            let run = Run { epoch, oldest: first, last: first - 1, ..this.run.clone() };
            let head = |kind| opening::head(kind, &run, first);
            let path = this.directory.snapshot(first);
            let mut writer = SnapshotWriter::create(&path, head(Kind::Snapshot))?;
            writer.add(state)?;
            writer.finish()?;
            let segment = Segment::create(&this.directory.segment(first), head(Kind::Segment))?;
            this.directory.sync()?;
            // From here on it has begun: a segment without its name gets it at the next start.
            run.leave(&this.directory)?;
            segment.settle()?;
            this.directory.sync()?;
            this.run = run;
            this.newest = segment;
            this.firsts.insert(first, true);
            this.is_outdated = false;
            this.mark.note(first - 1, true)?;
            this.forget_segments()?;
            opening::show_log_id(&this.directory, &this.run)
        })
    }

    /// Makes everything durable, and marks the directory as cleanly stopped.
    ///
    /// # Errors
    /// See [`JournalError`]. The directory is then left as after a crash.
    pub fn close(mut self) -> Result<(), JournalError> {
        self.attempt(|this| {
            this.newest.sync()?;
            if this.is_outdated {
                return Ok(());
            }
            this.mark.note(this.last(), true)?;
            this.run = Run { clean: true, last: this.last(), ..this.run.clone() };
            this.run.leave(&this.directory)
        })
    }

    /// Deletes the segments before the oldest one that is needed.
    fn forget_segments(&mut self) -> io::Result<()> {
        let needed = self.firsts.split_off(&self.run.oldest);
        for first in std::mem::replace(&mut self.firsts, needed).into_keys() {
            remove(&self.directory.segment(first))?;
            remove(&self.directory.snapshot(first))?;
        }
        Ok(())
    }

    fn expect(&self, block: u64) -> Result<(), JournalError> {
        self.refuse(false, "")?;
        let expected = self.newest.next();
        if block == expected {
            return Ok(());
        }
        Err(JournalError::OutOfSequence { dir: self.dir().to_owned(), expected, found: block })
    }

    fn refuse(&self, is_wrong: bool, what: &'static str) -> Result<(), JournalError> {
        let misused = |what| Err(JournalError::Misused { dir: self.dir().to_owned(), what });
        match () {
            () if self.failed => Err(self.stopped()),
            () if self.is_outdated => misused("a new epoch did not begin first"),
            () if is_wrong => misused(what),
            () => Ok(()),
        }
    }

    fn stopped(&self) -> JournalError {
        JournalError::Stopped { dir: self.dir().to_owned() }
    }

    /// Does something that can fail. Nothing is done after that has failed once, or has panicked.
    fn attempt(
        &mut self,
        act: impl FnOnce(&mut Self) -> io::Result<()>,
    ) -> Result<(), JournalError> {
        if self.failed {
            return Err(self.stopped());
        }
        self.failed = true;
        act(self).map_err(|error| JournalError::io(self.dir(), error))?;
        self.failed = false;
        Ok(())
    }
}

/// The number of the first block of a new epoch: above all that may have been given out.
fn renewed_first(mark: Option<LogMark>, last: u64) -> u64 {
    mark.map_or(last, |mark| mark.written.max(last)) + 2
}
