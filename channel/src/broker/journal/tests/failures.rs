//! Steps that fail.

use std::io::ErrorKind;

use super::super::files::trace::{self, Step};
use super::*;

/// Everything that can be done to an open directory, until something fails. Returns the last block that was
/// acknowledged.
fn everything(segments: &mut Segments) -> (u64, Result<(), JournalError>) {
    let mut last = 0;
    let done = (|| {
        for number in 1..=2 {
            segments.append(number, &block(number), true)?;
            last = number;
        }
        segments.roll(3)?;
        segments.add_state(b"what follows from all ", false)?;
        segments.append(3, &block(3), false)?;
        last = 3;
        segments.add_state(b"blocks before 3", true)?;
        segments.trim(3)
    })();
    (last, done)
}

#[test]
fn a_step_that_fails_is_never_repeated_and_the_rest_is_refused() {
    for durability in [Durability::Disk, Durability::Written] {
        let mut failed = Vec::new();
        for after in 0.. {
            let dir = temp();
            let (mut segments, _) = open(dir.path(), durability);
            trace::fail(after, ErrorKind::Other);
            let (last, done) = everything(&mut segments);
            let Some(steps) = trace::failed() else {
                done.unwrap();
                break;
            };
            failed.push(steps[steps.len() - 1]);
            let error = done.unwrap_err();
            assert!(matches!(error, JournalError::Io { .. }), "{error}");
            trace::record();
            for again in [
                segments.append(last + 1, &block(last + 1), true),
                segments.roll(last + 1),
                segments.add_state(b"more", true),
                segments.trim(3),
                segments.begin_epoch(99, 9, b""),
                segments.close(),
            ] {
                assert!(matches!(again, Err(JournalError::Stopped { .. })), "{again:?}");
            }
            assert_eq!(trace::take(), [], "after {steps:?}");
            let (_, log) = open(dir.path(), durability);
            let end = log.after + log.blocks.len() as u64;
            assert!(end == last || end == last + 1, "{end} of {last} after {steps:?}");
        }
        for kind in [Step::Create, Step::Write, Step::Sync, Step::Rename, Step::Remove] {
            assert!(failed.contains(&kind), "{kind:?}");
        }
        assert!(failed.len() > 20, "{failed:?}");
    }
}

#[test]
fn a_start_that_fails_loses_nothing() {
    let (image, log) = populated();
    for after in 0.. {
        let dir = image.restore();
        trace::fail(after, ErrorKind::Other);
        let opened = try_open(dir.path(), Durability::Disk).map(drop);
        if trace::failed().is_none() {
            opened.unwrap();
            break;
        }
        opened.unwrap_err();
        assert_eq!(open(dir.path(), Durability::Disk).1, log);
    }
}

#[test]
fn an_orderly_stop_that_fails_is_a_crash() {
    for after in 0.. {
        let dir = temp();
        let (mut segments, _) = open(dir.path(), Durability::Disk);
        append(&mut segments, 1..=2);
        trace::fail(after, ErrorKind::Other);
        let closed = segments.close();
        if trace::failed().is_none() {
            closed.unwrap();
            break;
        }
        closed.unwrap_err();
        assert_eq!(open(dir.path(), Durability::Disk).1.blocks, [1, 2]);
    }
}

#[test]
fn a_failure_is_called_what_it_is() {
    for (kind, sentence) in [
        (ErrorKind::StorageFull, "is full; make room and start the broker again"),
        (ErrorKind::QuotaExceeded, "is full; make room and start the broker again"),
        (ErrorKind::ReadOnlyFilesystem, "is not writable: "),
        (ErrorKind::Other, "cannot be used: "),
    ] {
        let dir = temp();
        let (mut segments, _) = open(dir.path(), Durability::Disk);
        trace::fail(1, kind);
        let error = segments.append(1, &block(1), false).unwrap_err();
        assert_eq!(trace::failed(), Some(vec![Step::Write, Step::Sync]));
        assert!(error.to_string().contains(sentence), "{error}");
    }
}
