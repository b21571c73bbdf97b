//! The steps of opening a data directory. Until everything was checked, nothing is changed in it.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tracing::warn;

use super::JournalError;
use super::directory::{Directory, Listing};
use super::files::{name, remove, rename, replace, unfinished};
use super::header::{FileHead, HEAD_BYTES, Kind};
use super::mark::LogMark;
use super::run::Run;
use super::segment::{self, Extent, Segment, Unreadable};
use super::snapshot_file;

/// What was found in a directory that is whole.
pub struct Inspected {
    /// The segments that are needed, from the oldest one, which has a snapshot unless it begins the log.
    pub segments: VecDeque<(PathBuf, Extent)>,
    /// The content of that snapshot.
    pub snapshot: Option<Vec<u8>>,
    /// The number of the last block.
    pub last: u64,
}

impl Inspected {
    /// The newest segment.
    pub fn newest(&self) -> Option<&(PathBuf, Extent)> {
        self.segments.back()
    }
}

/// Makes the log of a new directory, or returns what the last broker has left. `run` is what a broker
/// leaves that did not do anything.
///
/// # Errors
/// See [`JournalError`].
pub fn find_run(
    directory: &Directory,
    listing: &mut Listing,
    mark: Option<LogMark>,
    run: impl FnOnce() -> Run,
) -> Result<Run, JournalError> {
    if let Some(run) = Run::read(directory)? {
        return Ok(run);
    }
    let io = |error| JournalError::io(directory.path(), error);
    let first = directory.segment(1);
    let is_new = mark.is_none()
        && listing.snapshots.is_empty()
        && match listing.segments.iter().collect::<Vec<_>>()[..] {
            [] => true,
            [1] => fs::metadata(&first).map_err(io)?.len() <= HEAD_BYTES as u64,
            _ => false,
        };
    if !is_new {
        return Err(JournalError::damaged(directory.path(), "its file run is missing"));
    }
    let run = run();
    let head = head(Kind::Segment, &run, 1);
    Segment::create(&first, head).and_then(|segment| segment.settle()).map_err(io)?;
    directory.sync().map_err(io)?;
    run.leave(directory).map_err(io)?;
    listing.segments.insert(1);
    Ok(run)
}

/// The head of a new file of the log.
pub fn head(kind: Kind, run: &Run, first: u64) -> FileHead {
    FileHead { kind, epoch: run.epoch, log_id: run.log_id, first, salt: rand::random() }
}

/// Checks everything that is needed.
///
/// # Errors
/// See [`JournalError`].
pub fn inspect(
    directory: &Directory,
    listing: &mut Listing,
    run: &Run,
) -> Result<Inspected, JournalError> {
    let dir = directory.path();
    let oldest = directory.segment(run.oldest);
    if !listing.segments.contains(&run.oldest) && listing.unfinished.contains(&unfinished(&oldest))
    {
        // A new epoch has begun, and its segment was not named yet.
        let renamed = rename(&unfinished(&oldest), &oldest).and_then(|()| directory.sync());
        renamed.map_err(|error| JournalError::io(dir, error))?;
        listing.segments.insert(run.oldest);
    }
    if !listing.segments.contains(&run.oldest) {
        return Err(missing(directory, &oldest));
    }
    let unreadable = |path: &PathBuf| {
        let file = name(path);
        move |error| match error {
            Unreadable::Io(error) => JournalError::io(dir, error),
            Unreadable::Damaged(what) => {
                JournalError::damaged(dir, format!("its file {file} {what}"))
            }
        }
    };
    let mut segments = VecDeque::<(PathBuf, Extent)>::new();
    let mut next = run.oldest;
    for first in listing.segments.range(run.oldest..) {
        let path = directory.segment(*first);
        if let Some((before, extent)) = segments.back()
            && *first != next
        {
            let what = format!(
                "its file {} ends with block {} at byte {}, but its file {} begins with block {first}",
                name(before),
                next - 1,
                extent.end,
                name(&path)
            );
            return Err(JournalError::damaged(dir, what));
        }
        let extent = segment::inspect(&path, head(Kind::Segment, run, *first));
        let extent = extent.map_err(unreadable(&path))?;
        next = extent.next;
        let (end, is_newest) = (extent.end, Some(first) == listing.segments.last());
        if end < extent.len_bytes && !is_newest {
            // There was an fsync of a segment before the next one was made.
            let what = format!("its file {} has no whole block at byte {end}", name(&path));
            return Err(JournalError::damaged(dir, what));
        }
        segments.push_back((path, extent));
    }
    let mut content = None;
    for first in listing.snapshots.range(run.oldest..) {
        let path = directory.snapshot(*first);
        if !listing.segments.contains(first) {
            continue;
        }
        let mut bytes = Vec::new();
        let is_wanted = *first == run.oldest;
        let take = |piece: &[u8]| {
            if is_wanted {
                bytes.extend_from_slice(piece);
            }
        };
        let found = snapshot_file::inspect(&path, head(Kind::Snapshot, run, *first), take);
        found.map_err(unreadable(&path))?;
        if is_wanted {
            content = Some(bytes);
        }
    }
    if content.is_none() && run.oldest > 1 {
        return Err(missing(directory, &directory.snapshot(run.oldest)));
    }
    Ok(Inspected { segments, snapshot: content, last: next - 1 })
}

fn missing(directory: &Directory, path: &Path) -> JournalError {
    JournalError::damaged(directory.path(), format!("its file {} is missing", name(path)))
}

/// Checks that nothing is missing that was acknowledged, and returns how many bytes come behind the last
/// block. `continues` says whether blocks are appended behind it.
///
/// # Errors
/// [`JournalError::Lost`] if something was acknowledged that is not there, [`JournalError::Damaged`] if
/// that is not known.
pub fn check_end(
    directory: &Directory,
    (path, extent): &(PathBuf, Extent),
    (mark, run): (Option<LogMark>, &Run),
    (boot, continues): (Option<u128>, bool),
) -> Result<u64, JournalError> {
    let dir = directory.path();
    let (file, at, found) = (name(path), extent.end, extent.next - 1);
    let acknowledged = mark.map_or(0, |mark| mark.acknowledged(boot)).max(run.last);
    if found < acknowledged {
        return Err(JournalError::Lost { dir: dir.to_owned(), file, at, found, acknowledged });
    }
    let torn_bytes = extent.len_bytes - extent.end;
    if torn_bytes == 0 {
        return Ok(0);
    }
    if mark.is_none() {
        let what = format!(
            "its file {file} has no whole block at byte {at}, and the mark that would say whether one was \
             acknowledged is not valid"
        );
        return Err(JournalError::damaged(dir, what));
    }
    let goes_on =
        continues && segment::goes_on(path, extent).map_err(|e| JournalError::io(dir, e))?;
    if goes_on {
        let what = format!("its file {file} has no whole block at byte {at}, but one behind that");
        return Err(JournalError::damaged(dir, what));
    }
    Ok(torn_bytes)
}

/// Removes what a broker that was interrupted did not remove or finish, and makes the id of the log
/// readable for people.
///
/// # Errors
/// See [`JournalError`].
pub fn tidy(directory: &Directory, listing: &Listing, run: &Run) -> Result<(), JournalError> {
    let io = |error| JournalError::io(directory.path(), error);
    for path in &listing.unfinished {
        remove(path).map_err(io)?;
    }
    for first in listing.segments.range(..run.oldest) {
        remove(&directory.segment(*first)).map_err(io)?;
    }
    for first in &listing.snapshots {
        if *first < run.oldest || !listing.segments.contains(first) {
            remove(&directory.snapshot(*first)).map_err(io)?;
        }
    }
    show_log_id(directory, run).map_err(io)
}

/// Writes the id of the log as 16 hexadecimal digits and a newline. It is only read by people.
///
/// # Errors
/// An error of the system.
pub fn show_log_id(directory: &Directory, run: &Run) -> io::Result<()> {
    let (path, text) = (directory.log_id(), format!("{:016x}\n", run.log_id));
    if fs::read(&path).is_ok_and(|found| found == text.as_bytes()) {
        return Ok(());
    }
    replace(&path, text.as_bytes())
}

/// Says in the log of the process what is noteworthy about the end of the log.
pub fn report(directory: &Directory, mark: Option<LogMark>, last: u64, torn_bytes: u64) {
    let dir = directory.path().display();
    if mark.is_none() && last > 0 {
        warn!(%dir, "the data directory has no valid mark: a new one is made");
    }
    if torn_bytes > 0 {
        warn!(
            %dir,
            bytes = torn_bytes,
            "the last broker did not finish its last write, which was not acknowledged and is cut off"
        );
    }
}

/// A random epoch other than this one.
pub fn another(epoch: u64, mut random: impl FnMut() -> u64) -> u64 {
    loop {
        let drawn = random();
        if drawn != epoch {
            return drawn;
        }
    }
}

/// The id of this boot of the host; `None` if the system does not say.
pub fn boot() -> Option<u128> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    u128::from_str_radix(&text.trim().replace('-', ""), 16).ok()
}
