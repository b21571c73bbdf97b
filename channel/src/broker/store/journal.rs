//! Reads the engine's journals before the engine does.
//!
//! The engine (fjall 3) silently cuts a journal off at an invalid entry, and refuses one in which a batch
//! fails its checksum. At the end of a journal both can be the trace of a crash, which has to be cut
//! off. In the middle both are damage, and then nothing may be touched. So the batches are counted here
//! first, by the number that each has in its state.
//!
//! ```text
//! batch = 1 items (4 bytes) seqno (8)                                             (little-endian)
//!         { 2 kind (1) compression (1) keyspace (8) key length (2) value length (4)
//!             stored length (4) key value  |  4 keyspace (8) } * items
//!         3 xxh3 of the items (8) "FJL" 3
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use super::rows::{self, STATE_KEY};

/// What is in the journals.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Journals {
    /// The number of the last change in a whole batch; `None` if there is no batch at all.
    pub last_change: Option<u64>,
    /// How many bytes all journals have together.
    pub len_bytes: usize,
    /// What comes after that batch in the newest journal, and is not a batch.
    pub tail: Option<Tail>,
}

/// Bytes at the end of a journal that are not a batch.
#[derive(Debug, PartialEq, Eq)]
pub struct Tail {
    pub path: PathBuf,
    /// Where its last whole batch ends.
    pub from: u64,
    /// Where its last byte that is not zero ends.
    pub to: u64,
}

impl Tail {
    pub fn len_bytes(&self) -> u64 {
        self.to - self.from
    }

    /// Cuts it off, durably.
    ///
    /// # Errors
    /// An error of the system.
    pub fn cut(&self) -> io::Result<()> {
        let file = fs::OpenOptions::new().write(true).open(&self.path)?;
        file.set_len(self.from)?;
        file.sync_all()
    }
}

/// Why the journals cannot be read.
#[derive(Debug)]
pub enum Unreadable {
    /// An error of the system.
    Io(io::Error),
    /// They are damaged in a place where no crash can do it.
    Damaged(String),
}

impl From<io::Error> for Unreadable {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Reads all journals of the engine, and changes nothing.
///
/// # Errors
/// See [`Unreadable`].
pub fn inspect(store: &Path) -> Result<Journals, Unreadable> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(store)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "jnl") {
            let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
            let strange = || Unreadable::Damaged(format!("{} is not a journal", path.display()));
            paths.push((number.ok_or_else(strange)?, path));
        }
    }
    paths.sort();
    let mut journals = Journals::default();
    let mut chain = Chain::default();
    let newest = paths.len().saturating_sub(1);
    for (index, (_, path)) in paths.into_iter().enumerate() {
        let mut bytes = fs::read(&path)?;
        // Journals have zeros at their end. A batch never ends with a zero.
        bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
        journals.len_bytes += bytes.len();
        let place = |at: usize| format!("its journal {} at byte {at}", path.display());
        let from = chain.follow(&bytes).map_err(|at| Unreadable::Damaged(place(at)))?;
        if from == bytes.len() {
            continue;
        }
        if index < newest {
            // The engine makes an fsync of a journal before it begins the next one.
            return Err(Unreadable::Damaged(place(from)));
        }
        journals.tail = Some(Tail { path, from: from as u64, to: bytes.len() as u64 });
    }
    journals.last_change = chain.last_change;
    Ok(journals)
}

/// Checks that batches follow each other without a gap, across all journals.
#[derive(Debug, Default)]
struct Chain {
    last_change: Option<u64>,
    last_seqno: Option<u64>,
}

impl Chain {
    /// Returns where the complete batches of a journal end.
    ///
    /// # Errors
    /// The place of a complete batch that does not follow the one before it.
    fn follow(&mut self, journal: &[u8]) -> Result<usize, usize> {
        let mut rest = journal;
        loop {
            let at = journal.len() - rest.len();
            let Some(batch) = read_batch(&mut rest) else {
                return Ok(at);
            };
            if self.last_seqno.is_some_and(|last| batch.seqno <= last) {
                return Err(at);
            }
            self.last_seqno = Some(batch.seqno);
            if let Some(change) = batch.change {
                if self.last_change.is_some_and(|last| change != last + 1) {
                    return Err(at);
                }
                self.last_change = Some(change);
            }
        }
    }
}

struct Batch {
    seqno: u64,
    change: Option<u64>,
}

/// Takes a complete batch from the front; `None` if there is none.
fn read_batch(rest: &mut &[u8]) -> Option<Batch> {
    let mut ahead = *rest;
    let [1] = take(&mut ahead)? else { return None };
    let items = u32::from_le_bytes(take(&mut ahead)?);
    let mut batch = Batch { seqno: u64::from_le_bytes(take(&mut ahead)?), change: None };
    let body = ahead;
    for _ in 0..items {
        match take(&mut ahead)? {
            [2] => {
                let [kind, _compression] = take(&mut ahead)?;
                let _keyspace: [u8; 8] = take(&mut ahead)?;
                let key_len = u16::from_le_bytes(take(&mut ahead)?);
                let _value_len: [u8; 4] = take(&mut ahead)?;
                let stored_len = u32::from_le_bytes(take(&mut ahead)?);
                let key = take_slice(&mut ahead, usize::from(key_len))?;
                let value = take_slice(&mut ahead, usize::try_from(stored_len).ok()?)?;
                if kind == 0 && key == STATE_KEY {
                    batch.change = rows::state(value).ok().map(|state| state.changes);
                }
            }
            [4] => {
                let _keyspace: [u8; 8] = take(&mut ahead)?;
            }
            _ => return None,
        }
    }
    let body = &body[..body.len() - ahead.len()];
    let [3] = take(&mut ahead)? else { return None };
    let checksum = u64::from_le_bytes(take(&mut ahead)?);
    let whole = &take::<4>(&mut ahead)? == b"FJL\x03" && checksum == xxh3_64(body);
    whole.then(|| {
        *rest = ahead;
        batch
    })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, left) = rest.split_first_chunk()?;
    *rest = left;
    Some(*taken)
}

fn take_slice<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(len)?;
    *rest = left;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use campanile_messages::Durability;

    use super::super::rows::{DirectoryIdentity, Run, StoreState, state_value};
    use super::*;

    /// A batch as the engine writes it, with one other row before the state.
    fn batch(seqno: u64, changes: u64) -> Vec<u8> {
        let directory = DirectoryIdentity { inode: 1, created_nanos: None };
        let run = Run { durability: Durability::Disk, boot: None, directory, clean: false };
        let state = StoreState {
            changes,
            epoch: 1,
            first: 1,
            head: 0,
            floor: 0,
            next_worker: 0,
            run,
            seen: None,
        };
        let mut body = Vec::new();
        for (key, value) in [(&b"\x02k"[..], vec![7; 20]), (&STATE_KEY[..], state_value(&state))] {
            body.extend_from_slice(&[
                2,
                0,
                0,
                1,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                u8::try_from(key.len()).unwrap(),
                0,
            ]);
            let len = u32::try_from(value.len()).unwrap().to_le_bytes();
            body.extend_from_slice(&[len, len].concat());
            body.extend_from_slice(key);
            body.extend_from_slice(&value);
        }
        let head = [&[1, 2, 0, 0, 0], &seqno.to_le_bytes()[..]].concat();
        let end = [&[3], &xxh3_64(&body).to_le_bytes()[..], b"FJL\x03"].concat();
        [head, body, end].concat()
    }

    fn inspected(journals: &[&[Vec<u8>]]) -> Result<(Option<u64>, Option<u64>), String> {
        let dir = tempfile::tempdir().unwrap();
        for (number, batches) in journals.iter().enumerate() {
            let zeros = vec![0; 100];
            let name = dir.path().join(format!("{}.jnl", number + 9));
            fs::write(name, [batches.concat(), zeros].concat()).unwrap();
        }
        match inspect(dir.path()) {
            Ok(found) => Ok((found.last_change, found.tail.map(|tail| tail.len_bytes()))),
            Err(Unreadable::Damaged(what)) => Err(what),
            Err(Unreadable::Io(error)) => panic!("{error}"),
        }
    }

    #[test]
    fn batches_are_counted_across_all_journals() {
        assert_eq!(inspected(&[]), Ok((None, None)));
        assert_eq!(inspected(&[&[]]), Ok((None, None)));
        let (one, two, three) = (batch(5, 1), batch(6, 2), batch(9, 3));
        assert_eq!(inspected(&[&[one, two], &[three], &[]]), Ok((Some(3), None)));
    }

    #[test]
    fn an_incomplete_batch_at_the_end_is_a_tail() {
        let mut torn = batch(6, 2);
        torn.truncate(27);
        assert_eq!(inspected(&[&[batch(5, 1), torn]]), Ok((Some(1), Some(27))));
        let mut flipped = batch(6, 2);
        flipped[40] ^= 1;
        let len = flipped.len() as u64;
        assert_eq!(inspected(&[&[batch(5, 1), flipped]]), Ok((Some(1), Some(len))));
    }

    #[test]
    fn tails_in_older_journals_and_gaps_are_damage() {
        let torn = batch(6, 2)[..27].to_vec();
        inspected(&[&[batch(5, 1), torn], &[batch(7, 2)]]).unwrap_err();
        inspected(&[&[batch(5, 1), batch(6, 3)]]).unwrap_err();
        inspected(&[&[batch(5, 1)], &[batch(6, 3)]]).unwrap_err();
        inspected(&[&[batch(5, 1), batch(5, 2)]]).unwrap_err();
    }

    #[test]
    fn only_journals_are_read_and_have_numbers_for_names() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("version"), "x").unwrap();
        assert_eq!(inspect(dir.path()).unwrap(), Journals::default());
        fs::write(dir.path().join("x.jnl"), "").unwrap();
        assert!(matches!(inspect(dir.path()), Err(Unreadable::Damaged(_))));
    }
}
