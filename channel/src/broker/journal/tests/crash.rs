//! Crashes of the process and of the host at every byte of every step.

use super::super::files::trace::{self, Op};
use super::disk::{Crash, Disk};
use super::*;

/// What has to be there from a step on.
#[derive(Debug, Clone, Copy, Default)]
struct Promise {
    /// The number of steps after which it holds.
    after: usize,
    /// The last block that was acknowledged.
    last: u64,
    /// The last block that is on disk whatever happens.
    synced: u64,
    /// The first block that may be missing because its segment was deleted, without a number before it.
    trimmed: u64,
    epoch: u64,
}

/// Does something to a directory, and returns what the disk was before, each step, and each promise.
struct Story {
    dir: TempDir,
    begin: Disk,
    durability: Durability,
    promises: Vec<Promise>,
}

impl Story {
    fn new(durability: Durability, begin: &Image) -> Self {
        let dir = begin.restore();
        trace::record();
        let begin = Disk::of(dir.path());
        Self {
            dir,
            begin,
            durability,
            promises: vec![Promise { epoch: EPOCH, ..Promise::default() }],
        }
    }

    fn promise(&mut self, change: impl FnOnce(&mut Promise)) {
        let mut promise = *self.promises.last().unwrap();
        promise.after = trace::recorded();
        change(&mut promise);
        if self.durability == Durability::Disk {
            promise.synced = promise.last;
        }
        self.promises.push(promise);
    }

    fn append(&mut self, segments: &mut Segments, numbers: std::ops::RangeInclusive<u64>) {
        for number in numbers {
            append(segments, number..=number);
            self.promise(|promise| promise.last = number);
        }
    }

    /// Interrupts it everywhere, and checks what is found. Returns in how many ways.
    fn check(self) -> usize {
        let ops = trace::take();
        let (mut disk, mut crashes) = (self.begin.clone(), 0);
        for index in 0..=ops.len() {
            let op = ops.get(index);
            let moments = op.map_or_else(|| vec![disk.clone()], |op| disk.during(op));
            let promise =
                self.promises.iter().rev().find(|promise| promise.after <= index).unwrap();
            let next = self.promises.iter().find(|promise| promise.after > index);
            for (byte, moment) in moments.iter().enumerate() {
                let what = format!("step {index}, {op:?}, byte {byte}");
                let image = moment.after(Crash::OfProcess);
                self.check_one(&image, BOOT, promise.last, (promise, next), &what);
                for crash in Crash::OF_HOSTS {
                    let image = moment.after(crash);
                    let what = format!("{what}, {crash:?}");
                    self.check_one(&image, Some(2), promise.synced, (promise, next), &what);
                    crashes += 1;
                }
                crashes += 1;
            }
            if let Some(op) = op {
                disk.apply(op);
            }
        }
        assert!(ops.contains(&Op::SyncNames));
        drop(self.dir);
        crashes
    }

    fn check_one(
        &self,
        image: &Image,
        boot: Option<u128>,
        last: u64,
        (promise, next): (&Promise, Option<&Promise>),
        what: &str,
    ) {
        let dir = image.restore();
        for round in 1..=2 {
            let opened = open_in_boot(dir.path(), self.durability, boot);
            let (segments, found) = opened.unwrap_or_else(|error| panic!("{what}: {error}"));
            let log = Log::of(found);
            let end = log.after + log.blocks.len() as u64;
            let next = next.unwrap_or(promise);
            assert!(end >= last, "{what}, round {round}: {end} of {last}");
            assert!(end <= promise.last.max(next.last), "{what}: {end}");
            assert!(log.after <= promise.trimmed.max(next.trimmed), "{what}: after {}", log.after);
            assert!([promise.epoch, next.epoch].contains(&log.epoch), "{what}: {}", log.epoch);
            let expected = (log.after > 0).then(|| state(log.after + 1));
            assert_eq!(log.state, expected, "{what}");
            let has_ended = boot == BOOT || self.durability == Durability::Disk;
            assert!(!has_ended || log.renewal.is_none(), "{what}: {:?}", log.renewal);
            assert!(round == 1 || log.renewal.is_some() || log.torn_bytes == 0, "{what}");
            drop(segments);
        }
        let left = Image::of(dir.path());
        assert!(left.0.iter().all(|(name, _)| !name.ends_with(".new")), "{what}: {:?}", left.0);
    }
}

/// A directory with a marker and nothing else.
fn marked() -> Image {
    let marker = b"campanile data directory, format 3\n".to_vec();
    Image(vec![("campanile".to_owned(), marker)])
}

/// A directory that a broker has opened, appended three blocks to, and left.
fn begun(durability: Durability) -> Image {
    let dir = temp();
    let (mut segments, _) = open(dir.path(), durability);
    append(&mut segments, 1..=3);
    segments.roll(4).unwrap();
    segments.add_state(&state(4), true).unwrap();
    append(&mut segments, 4..=5);
    segments.close().unwrap();
    Image::of(dir.path())
}

#[test]
fn a_start_is_interrupted_anywhere() {
    for durability in MODES {
        let story = Story::new(durability, &marked());
        let (segments, _) = open(story.dir.path(), durability);
        drop(segments);
        if durability == Durability::Disk {
            assert!(story.check() > 500);
        } else {
            trace::take();
        }
    }
}

#[test]
fn appends_and_a_roll_are_interrupted_anywhere() {
    for durability in [Durability::Disk, Durability::Written] {
        let mut story = Story::new(durability, &begun(durability));
        story.promise(|promise| (promise.last, promise.synced) = (5, 5));
        let (mut segments, _) = open(story.dir.path(), durability);
        story.append(&mut segments, 6..=8);
        segments.append(9, &block(9), true).unwrap();
        story.promise(|promise| (promise.last, promise.synced) = (9, 9));
        segments.roll(10).unwrap();
        story.append(&mut segments, 10..=10);
        segments.add_state(&state(10), true).unwrap();
        story.append(&mut segments, 11..=11);
        segments.roll(12).unwrap();
        story.promise(|promise| promise.synced = 11);
        story.append(&mut segments, 12..=12);
        segments.close().unwrap();
        story.promise(|promise| promise.synced = 12);
        assert!(story.check() > 2_000);
    }
}

#[test]
fn a_trim_is_interrupted_anywhere() {
    let mut story = Story::new(Durability::Disk, &begun(Durability::Disk));
    story.promise(|promise| promise.last = 5);
    let (mut segments, _) = open(story.dir.path(), Durability::Disk);
    roll(&mut segments, 6);
    story.append(&mut segments, 6..=6);
    story.promise(|promise| promise.after = trace::recorded());
    segments.trim(5).unwrap();
    story.promise(|promise| promise.trimmed = 3);
    segments.trim(6).unwrap();
    story.promise(|promise| promise.trimmed = 5);
    assert!(story.check() > 500);
}

#[test]
fn a_new_epoch_begins_as_a_whole_or_not_at_all() {
    for unfinished in [false, true] {
        let mut story = Story::new(Durability::Disk, &begun(Durability::Disk));
        story.promise(|promise| promise.last = 5);
        let (mut segments, _) = open(story.dir.path(), Durability::Disk);
        if unfinished {
            segments.roll(6).unwrap();
            segments.add_state(b"a part", false).unwrap();
        }
        story.promise(|_| ());
        segments.begin_epoch(99, 7, &state(7)).unwrap();
        // No block has this number, but the log ends before the next one.
        story.promise(|promise| {
            (promise.last, promise.trimmed, promise.epoch) = (6, 6, 99);
        });
        story.append(&mut segments, 7..=7);
        assert!(story.check() > 500);
    }
}
