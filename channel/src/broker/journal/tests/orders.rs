//! What is ordered, in and out of turn.

use super::*;

#[test]
fn a_block_out_of_sequence_is_not_written() {
    let dir = temp();
    let (mut segments, _) = open(dir.path(), Durability::Disk);
    let error = segments.append(2, &block(2), false).unwrap_err();
    assert!(matches!(error, JournalError::OutOfSequence { expected: 1, found: 2, .. }), "{error}");
    segments.roll(2).unwrap_err();
    segments.begin_epoch(99, 1, b"").unwrap_err();
    append(&mut segments, 1..=1);
    segments.append(1, &block(1), false).unwrap_err();
    segments.close().unwrap();
    assert_eq!(open(dir.path(), Durability::Disk).1.blocks, [1]);
}

#[test]
fn orders_that_make_no_sense_are_refused_and_do_no_harm() {
    let dir = temp();
    let (mut segments, _) = open(dir.path(), Durability::Disk);
    let misused = |done: Result<(), JournalError>| {
        assert!(matches!(done, Err(JournalError::Misused { .. })), "{done:?}");
    };
    misused(segments.append(1, b"", false));
    misused(segments.add_state(b"x", true));
    append(&mut segments, 1..=1);
    segments.roll(2).unwrap();
    append(&mut segments, 2..=2);
    misused(segments.roll(3));
    segments.add_state(&state(2), false).unwrap();
    misused(segments.roll(3));
    segments.add_state(b"", true).unwrap();
    misused(segments.add_state(b"x", true));
    roll(&mut segments, 3);
    segments.trim(2).unwrap();
    segments.close().unwrap();
    let (_, log) = open(dir.path(), Durability::Disk);
    assert_eq!((log.state, log.blocks), (Some(state(2)), vec![2]));
}

#[test]
fn segments_are_deleted_only_as_far_as_there_is_a_snapshot() {
    let dir = temp();
    let (mut segments, _) = open(dir.path(), Durability::Disk);
    append(&mut segments, 1..=3);
    roll(&mut segments, 4);
    append(&mut segments, 4..=6);
    let names = |dir: &Path| {
        let names = Image::of(dir).0.into_iter().map(|(name, _)| name);
        names.filter(|name| name.starts_with('0')).collect::<Vec<_>>()
    };
    segments.trim(3).unwrap();
    assert_eq!(names(dir.path()), [log(1), log(4), snapshot(4)]);
    segments.roll(7).unwrap();
    append(&mut segments, 7..=9);
    segments.trim(9).unwrap();
    assert_eq!(names(dir.path()), [log(4), snapshot(4), log(7)]);
    // It has none after a crash either, and the next start needs the segment before it.
    drop(segments);
    let (mut segments, found) = open(dir.path(), Durability::Disk);
    assert_eq!((found.after, found.blocks.len()), (3, 6));
    segments.trim(9).unwrap();
    roll(&mut segments, 10);
    segments.trim(u64::MAX).unwrap();
    assert_eq!(names(dir.path()), [log(10), snapshot(10)]);
    assert_eq!(segments.segment_bytes(), 52);
    drop(segments);
    let (_, log) = open(dir.path(), Durability::Disk);
    assert_eq!((log.state, log.after, log.blocks), (Some(state(10)), 9, vec![]));
}

#[test]
fn a_large_block_and_a_large_snapshot_are_found_again() {
    let dir = temp();
    let (mut segments, _) = open(dir.path(), Durability::Disk);
    let (large, content) = (vec![5; 17 << 20], vec![6; (3 << 20) + 1]);
    segments.append(1, &large, false).unwrap();
    segments.roll(2).unwrap();
    segments.append(2, &large, false).unwrap();
    segments.add_state(&content, true).unwrap();
    segments.trim(2).unwrap();
    drop(segments);
    let (_, found) = try_open(dir.path(), Durability::Disk).unwrap();
    assert!(found.state == Some(content));
    let blocks: Vec<_> = found.blocks.map(Result::unwrap).collect();
    assert!(blocks == [(2, large.into())]);
}

#[test]
fn a_directory_in_use_is_refused() {
    let dir = temp();
    let (mut segments, _) = open(dir.path(), Durability::Disk);
    let error = try_open(dir.path(), Durability::Disk).err().unwrap();
    assert!(matches!(error, JournalError::InUse { .. }), "{error}");
    append(&mut segments, 1..=1);
    drop(segments);
    assert_eq!(open(dir.path(), Durability::Disk).1.blocks, [1]);
}

#[test]
fn a_log_in_memory_or_in_a_kernel_that_ended_has_to_begin_anew() {
    for (durability, boot) in [(Durability::Memory, BOOT), (Durability::Written, Some(2))] {
        let dir = temp();
        let (mut segments, _) = open(dir.path(), durability);
        append(&mut segments, 1..=2);
        segments.append(3, &block(3), true).unwrap();
        let id = segments.log_id();
        drop(segments);
        for _ in 0..2 {
            // If the old epoch is drawn again, it is not used.
            let (mut segments, found) = open_in_boot(dir.path(), durability, boot).unwrap();
            let log = Log::of(found);
            assert_eq!((log.epoch, log.blocks), (EPOCH, vec![1, 2, 3]));
            assert_eq!(log.renewal, Some(Renewal { epoch: NEW_EPOCH, first: 5 }));
            // Until it has begun nothing else is possible, also for the next broker.
            let error = segments.append(4, &block(4), false).unwrap_err();
            assert!(matches!(error, JournalError::Misused { .. }), "{error}");
            segments.close().unwrap();
        }
        let (mut segments, _) = open_in_boot(dir.path(), durability, boot).unwrap();
        segments.begin_epoch(NEW_EPOCH, 5, &state(5)).unwrap();
        append(&mut segments, 5..=6);
        assert_eq!(segments.log_id(), id);
        segments.close().unwrap();
        let log = open(dir.path(), durability).1;
        assert_eq!((log.epoch, log.renewal, log.after), (NEW_EPOCH, None, 4));
        assert_eq!((log.state, log.blocks), (Some(state(5)), vec![5, 6]));
    }
}

#[test]
fn a_synced_block_is_on_disk_in_every_mode() {
    use super::super::files::trace::{self, Op};
    for durability in MODES {
        let dir = temp();
        let (mut segments, _) = open(dir.path(), durability);
        trace::record();
        segments.append(1, &block(1), true).unwrap();
        assert!(trace::take().iter().any(|op| matches!(op, Op::Sync(_))), "{durability:?}");
        trace::record();
        segments.append(2, &block(2), false).unwrap();
        let is_synced = trace::take().iter().any(|op| matches!(op, Op::Sync(_)));
        assert_eq!(is_synced, durability == Durability::Disk, "{durability:?}");
    }
}

#[test]
fn other_files_are_not_touched() {
    let dir = temp();
    drop(open(dir.path(), Durability::Disk));
    for name in ["broker.log", "1.log", "notes.new", "00000000000000000x01.log"] {
        fs::write(dir.path().join(name), "mine").unwrap();
    }
    let before = Image::of(dir.path());
    drop(open(dir.path(), Durability::Disk));
    let mut after = Image::of(dir.path());
    *after.file("mark") = before.clone().file("mark").clone();
    assert_eq!(after, before);
}

#[test]
fn a_directory_is_known_again_by_what_the_system_says() {
    let dir = temp();
    let (mut segments, _) = Segments::open(dir.path(), Durability::Written, || EPOCH).unwrap();
    append(&mut segments, 1..=2);
    assert_eq!((segments.dir(), segments.last()), (dir.path(), 2));
    drop(segments);
    let (_, found) = Segments::open(dir.path(), Durability::Written, || NEW_EPOCH).unwrap();
    let log = Log::of(found);
    assert_eq!((log.epoch, log.renewal, log.blocks), (EPOCH, None, vec![1, 2]));
}
