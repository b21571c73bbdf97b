//! Snapshots: everything that a ledger knows as bytes, made in turns while later blocks are applied. Pure.
//!
//! ```text
//! version u8 | epoch, last block, its time, its print, start, next worker, floor, number of ids: u64 each
//! | sections: tag u8, count u32, that many records | 0 u8 | xxh3 of all before u64
//!
//! 1 producer    instance u64, number u64, time u64
//! 2 publisher   instance u64, last heard of u64, marks: count u32, each unanswered u64, block u64, time u64
//! 3 trimmed     kind u8, length u8, name, sequence u64
//! 4 id          length u16, key, digest (16 bytes), sequence u64, time u64
//! 5 number      publisher u64, number u64, sequence u64, time u64; some may be there twice
//! ```
//! Numbers are big-endian, times are milliseconds of log time. Sections may come several times.

mod reading;

use std::sync::{Arc, Weak};

use bytes::BufMut;
use campanile_messages::{Audience, InstanceId};
use xxhash_rust::xxh3::Xxh3;

use self::tag::{ID, NUMBER, PRODUCER, PUBLISHER, TRIMMED};
use super::ids::KnownId;
use super::numbers::AcceptedNumber;
use super::{Ledger, millis};

pub use self::reading::{SnapshotError, read};

/// The version of the format.
const VERSION: u8 = 1;

mod tag {
    pub const END: u8 = 0;
    pub const PRODUCER: u8 = 1;
    pub const PUBLISHER: u8 = 2;
    pub const TRIMMED: u8 = 3;
    pub const ID: u8 = 4;
    pub const NUMBER: u8 = 5;
}

/// A snapshot that is being made of a ledger. What it still needs is not forgotten until it is done or dropped.
pub struct Snapshot {
    /// The ledger has the other end. `None` when it is done.
    hold: Option<Arc<()>>,
    /// The head of the ledger when it began. It has nothing that came later.
    head: u64,
    checksum: Xxh3,
    part: Part,
}

/// What comes next.
enum Part {
    /// The bytes are ready; these audiences lost events.
    Head {
        bytes: Vec<u8>,
        trimmed: Vec<(Audience, u64)>,
        ids: (u64, u64),
    },
    Trimmed {
        trimmed: std::vec::IntoIter<(Audience, u64)>,
        ids: (u64, u64),
    },
    Ids {
        next: u64,
        end: u64,
    },
    /// The numbers behind this one.
    Numbers {
        after: Option<(InstanceId, AcceptedNumber)>,
    },
    /// The numbers that the ledger would have forgotten by now, from this place on.
    Held {
        from: usize,
    },
    End,
}

/// The ledger's end of a snapshot.
#[derive(Debug, Default)]
pub struct Hold(Weak<()>);

impl Hold {
    /// Whether a snapshot is being made.
    pub fn is_held(&self) -> bool {
        self.0.strong_count() > 0
    }
}

impl Snapshot {
    /// Begins a snapshot of a ledger as it is now, with the last dropped sequences of audiences beside it, and the
    /// sequence up to which others may have lost events. One that was being made before comes to nothing.
    pub fn begin(ledger: &mut Ledger, trimmed: Vec<(Audience, u64)>, floor: u64) -> Self {
        let hold = Arc::new(());
        let head = ledger.head();
        ledger.hold = Hold(Arc::downgrade(&hold));
        ledger.ids.is_held = true;
        ledger.numbers.hold(head);
        let places = ledger.ids.places();
        let ids = (places.start, places.end);
        let bytes = head_bytes(ledger, floor, ids.1 - ids.0);
        let part = Part::Head { bytes, trimmed, ids };
        Self { hold: Some(hold), head, checksum: Xxh3::new(), part }
    }

    /// Whether the last piece was returned.
    pub fn is_done(&self) -> bool {
        self.hold.is_none() && matches!(self.part, Part::End)
    }

    /// Returns the next piece, for which at most `max_entries` (at least 1) are looked at; `None` if the snapshot is
    /// done, or comes to nothing because the ledger began a new epoch or another snapshot.
    pub fn next_piece(&mut self, ledger: &Ledger, max_entries: usize) -> Option<Vec<u8>> {
        let hold = self.hold.as_ref()?;
        if !Weak::ptr_eq(&ledger.hold.0, &Arc::downgrade(hold)) {
            self.hold = None;
            return None;
        }
        let mut piece = Vec::new();
        let next = match std::mem::replace(&mut self.part, Part::End) {
            Part::Head { bytes, trimmed, ids } => {
                piece = bytes;
                Part::Trimmed { trimmed: trimmed.into_iter(), ids }
            }
            Part::Trimmed { mut trimmed, ids } => {
                section(&mut piece, TRIMMED, trimmed.by_ref().take(max_entries), put_trimmed);
                match trimmed.len() {
                    0 => Part::Ids { next: ids.0, end: ids.1 },
                    _ => Part::Trimmed { trimmed, ids },
                }
            }
            Part::Ids { next, end } => {
                let up_to = end.min(next.saturating_add(max_entries as u64));
                let known = (next..up_to).filter_map(|place| ledger.ids.place(place));
                section(&mut piece, ID, known, put_id);
                if up_to < end {
                    Part::Ids { next: up_to, end }
                } else {
                    Part::Numbers { after: None }
                }
            }
            Part::Numbers { after } => {
                let (mut last, mut looked_at) = (after, 0);
                let numbers = ledger.numbers.after(after).take(max_entries).inspect(|number| {
                    last = Some(*number);
                    looked_at += 1;
                });
                let numbers = numbers.filter(|(_, number)| number.sequence <= self.head);
                section(&mut piece, NUMBER, numbers, put_number);
                if looked_at < max_entries {
                    Part::Held { from: 0 }
                } else {
                    Part::Numbers { after: last }
                }
            }
            Part::Held { from } => {
                let held = ledger.numbers.held().get(from..).unwrap_or_default();
                section(&mut piece, NUMBER, held.iter().copied().take(max_entries), put_number);
                if held.len() > max_entries {
                    Part::Held { from: from + max_entries }
                } else {
                    Part::End
                }
            }
            Part::End => {
                piece.put_u8(tag::END);
                self.checksum.update(&piece);
                piece.put_u64(self.checksum.digest());
                self.hold = None;
                return Some(piece);
            }
        };
        self.part = next;
        self.checksum.update(&piece);
        Some(piece)
    }
}

/// Writes what is small.
fn head_bytes(ledger: &Ledger, floor: u64, ids: u64) -> Vec<u8> {
    let last = ledger.last;
    let mut bytes = vec![VERSION];
    let head = [ledger.epoch, last.block, millis(last.at), last.print, ledger.start];
    for value in head.into_iter().chain([ledger.next_worker, floor, ids]) {
        bytes.put_u64(value);
    }
    section(&mut bytes, PRODUCER, ledger.producers.iter(), |bytes, (producer, last)| {
        bytes.put_u64(producer.0);
        bytes.put_u64(last.number);
        bytes.put_u64(last.at_millis);
    });
    section(&mut bytes, PUBLISHER, ledger.numbers.publishers(), |bytes, publisher| {
        let (publisher, heard_millis, marks) = publisher;
        bytes.put_u64(publisher.0);
        bytes.put_u64(heard_millis);
        bytes.put_u32(u32::try_from(marks.len()).unwrap_or(u32::MAX));
        for mark in marks {
            bytes.put_u64(mark.unanswered);
            bytes.put_u64(mark.block);
            bytes.put_u64(mark.at_millis);
        }
    });
    bytes
}

/// Writes a section, if there is anything for it.
fn section<T>(
    bytes: &mut Vec<u8>,
    tag: u8,
    records: impl Iterator<Item = T>,
    mut put: impl FnMut(&mut Vec<u8>, T),
) {
    let start = bytes.len();
    bytes.put_u8(tag);
    bytes.put_u32(0);
    let count = records.map(|record| put(bytes, record)).fold(0u32, |count, ()| count + 1);
    match count {
        0 => bytes.truncate(start),
        _ => bytes[start + 1..start + 5].copy_from_slice(&count.to_be_bytes()),
    }
}

fn put_trimmed(bytes: &mut Vec<u8>, (audience, sequence): (Audience, u64)) {
    let name = audience.name();
    bytes.put_u8(match audience {
        Audience::Everyone => 0,
        Audience::Group(_) => 1,
        Audience::User(_) => 2,
    });
    // A name has at most 255 bytes.
    bytes.put_u8(name.len() as u8);
    bytes.put_slice(name.as_bytes());
    bytes.put_u64(sequence);
}

fn put_id(bytes: &mut Vec<u8>, known: &KnownId) {
    let key = known.key.as_str().as_bytes();
    // A key has at most 512 bytes.
    bytes.put_u16(key.len() as u16);
    bytes.put_slice(key);
    bytes.put_slice(&known.digest);
    bytes.put_u64(known.sequence);
    bytes.put_u64(known.at_millis);
}

fn put_number(bytes: &mut Vec<u8>, (publisher, number): (InstanceId, AcceptedNumber)) {
    bytes.put_u64(publisher.0);
    bytes.put_u64(number.number);
    bytes.put_u64(number.sequence);
    bytes.put_u64(number.at_millis);
}

#[cfg(test)]
mod tests;
