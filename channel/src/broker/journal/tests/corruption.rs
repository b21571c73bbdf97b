//! Damaged files: opening is an error that says where, or finds everything. It never finds less, and never
//! panics.

use super::*;

/// Opens a damaged directory twice. Each time everything must be found, or an error that names the file.
/// Returns whether it was everything both times, and checks that nothing is touched if it was not.
fn check(damaged: &Image, expected: &Log, (name, what): (&str, &str)) -> bool {
    let dir = damaged.restore();
    let mut sound = true;
    for round in 1..=2 {
        match try_open(dir.path(), Durability::Disk) {
            Ok((_, found)) => {
                let found = Log { torn_bytes: 0, ..Log::of(found) };
                assert_eq!(found, *expected, "{name} {what}, round {round}");
            }
            Err(error) => {
                sound = false;
                let sentence = error.to_string();
                let is_named = sentence.contains(name);
                // Without its marker a directory is not ours.
                let is_foreign = matches!(
                    error,
                    JournalError::Foreign { .. }
                        | JournalError::OlderFormat { .. }
                        | JournalError::NewerFormat { .. }
                );
                assert!(is_named || is_foreign, "{name} {what}: {sentence}");
                let says_where = sentence.contains("byte") || sentence.contains("missing");
                assert!(says_where || name == "campanile", "{sentence}");
                assert!(Image::of(dir.path()) == *damaged, "{name} {what}: something was touched");
            }
        }
    }
    sound
}

/// Whether there is another copy of everything in a file.
fn is_redundant(name: &str) -> bool {
    ["mark", "log-id"].contains(&name)
}

#[test]
fn every_flipped_bit_is_an_error_or_harmless() {
    let (image, log) = populated();
    for (index, (name, bytes)) in image.0.iter().enumerate() {
        for bit in 0..8 * bytes.len() {
            // Most of the mark are zeros that nobody reads.
            if name == "mark" && bit % 8 > 0 && bit % 4_096 > 400 {
                continue;
            }
            let mut damaged = image.clone();
            damaged.0[index].1[bit / 8] ^= 1 << (bit % 8);
            let sound = check(&damaged, &log, (name, &format!("at bit {bit}")));
            assert_eq!(sound, is_redundant(name), "{name} at bit {bit}");
        }
    }
}

#[test]
fn a_missing_short_or_doubled_file_is_an_error_or_harmless() {
    let (image, log) = populated();
    for (index, (name, bytes)) in image.0.iter().enumerate() {
        // The newest snapshot is not needed while an older one is there.
        let is_spare = *name == snapshot(7);
        // A log that loses its newest segment ends at the one before it.
        let named = if *name == super::log(7) { super::log(4) } else { name.clone() };
        let sound = check(&image.without(name), &log, (&named, "is missing"));
        assert_eq!(sound, is_redundant(name) || is_spare, "without {name}");
        for len in 0..bytes.len() {
            if name == "mark" && len % 64 > 0 {
                continue;
            }
            let mut short = image.clone();
            short.0[index].1.truncate(len);
            let sound = check(&short, &log, (name, &format!("with {len} bytes")));
            assert_eq!(sound, is_redundant(name), "{name} with {len} bytes");
        }
        let mut doubled = image.clone();
        doubled.0[index].1.extend_from_slice(bytes);
        let sound = check(&doubled, &log, (name, "twice"));
        // What comes behind the last block is cut off.
        let is_newest = *name == super::log(7);
        assert_eq!(sound, is_redundant(name) || is_newest, "{name} twice");
    }
}

#[test]
fn swapped_files_and_those_of_other_logs_and_epochs_are_errors() {
    let (image, log) = populated();
    let (other_log, _) = populated();
    let other_epoch = {
        let dir = image.restore();
        let (mut segments, _) = open(dir.path(), Durability::Disk);
        segments.begin_epoch(99, 11, &state(11)).unwrap();
        segments.close().unwrap();
        Image::of(dir.path())
    };
    for (one, other) in [(super::log(4), super::log(7)), (snapshot(4), snapshot(7))] {
        let mut swapped = image.clone();
        let bytes = std::mem::take(swapped.file(&one));
        let bytes = std::mem::replace(swapped.file(&other), bytes);
        *swapped.file(&one) = bytes;
        assert!(!check(&swapped, &log, (&one, "has the name of another file")));
        for (name, foreign) in [(&one, &other_log), (&other, &other_log)] {
            let mut mixed = image.clone();
            *mixed.file(name) = foreign.clone().file(name).clone();
            assert!(!check(&mixed, &log, (name, "belongs to another log")));
        }
    }
    for (name, from) in [(super::log(11), super::log(7)), (snapshot(11), snapshot(7))] {
        let mut mixed = other_epoch.clone();
        *mixed.file(&name) = image.clone().file(&from).clone();
        assert!(!check(&mixed, &log, (&name, "belongs to another epoch")));
    }
    // A segment that comes from nowhere, behind the end.
    let mut more = image.clone();
    let bytes = image.clone().file(&super::log(7)).clone();
    more.0.push((super::log(10), bytes));
    more.0.sort();
    assert!(!check(&more, &log, (&super::log(10), "has the name of another file")));
}

#[test]
fn a_hole_between_segments_is_an_error() {
    let dir = temp();
    let (mut segments, _) = open(dir.path(), Durability::Disk);
    for first in [4, 7, 10] {
        append(&mut segments, first - 3..=first - 1);
        roll(&mut segments, first);
    }
    segments.close().unwrap();
    let image = Image::of(dir.path());
    let error = try_open(image.without(&log(4)).restore().path(), Durability::Disk).err().unwrap();
    let sentence = format!(
        "its file {} ends with block 3 at byte 184, but its file {} begins with block 7",
        log(1),
        log(7)
    );
    assert!(error.to_string().contains(&sentence), "{error}");
    // The oldest segment and its snapshot are named by the file that says which they are.
    let dir = image.restore();
    let (mut segments, _) = open(dir.path(), Durability::Disk);
    segments.trim(7).unwrap();
    drop(segments);
    let image = Image::of(dir.path());
    for name in [log(7), snapshot(7)] {
        let error =
            try_open(image.without(&name).restore().path(), Durability::Disk).err().unwrap();
        assert!(error.to_string().contains(&format!("its file {name} is missing")), "{error}");
    }
}

/// A directory whose last block was written but not acknowledged, and where that block begins.
fn unacknowledged() -> (Image, usize) {
    let dir = temp();
    let (mut segments, _) = open(dir.path(), Durability::Disk);
    append(&mut segments, 1..=2);
    let before = Image::of(dir.path());
    append(&mut segments, 3..=3);
    let mut image = Image::of(dir.path());
    let mut before = before;
    *image.file("mark") = before.file("mark").clone();
    (image, before.file(&log(1)).len())
}

#[test]
fn an_unacknowledged_end_is_cut_off_with_any_hole_in_it() {
    let (image, begin) = unacknowledged();
    let whole = image.clone().file(&log(1)).len();
    assert_eq!(open(image.restore().path(), Durability::Disk).1.blocks, [1, 2, 3]);
    for at in begin..whole {
        let mut torn = image.clone();
        torn.file(&log(1))[at] ^= 0xff;
        let dir = torn.restore();
        let (mut segments, found) = open(dir.path(), Durability::Disk);
        assert_eq!((found.blocks, found.torn_bytes), (vec![1, 2], (whole - begin) as u64));
        // What is appended now comes where the torn block was.
        append(&mut segments, 3..=4);
        drop(segments);
        let again = open(dir.path(), Durability::Disk).1;
        assert_eq!((again.blocks, again.torn_bytes), (vec![1, 2, 3, 4], 0));
    }
    for garbage in [&b"\x01"[..], &[0; 700], &[0xff; 21]] {
        let mut more = image.clone();
        more.file(&log(1)).extend_from_slice(garbage);
        let found = open(more.restore().path(), Durability::Disk).1;
        assert_eq!((found.blocks, found.torn_bytes), (vec![1, 2, 3], garbage.len() as u64));
    }
}

#[test]
fn an_end_that_was_acknowledged_is_not_cut_off() {
    let dir = temp();
    let (mut segments, _) = open(dir.path(), Durability::Written);
    append(&mut segments, 1..=2);
    let begin = Image::of(dir.path()).file(&log(1)).len();
    append(&mut segments, 3..=3);
    let image = Image::of(dir.path());
    for cut in begin..image.clone().file(&log(1)).len() {
        let mut torn = image.clone();
        torn.file(&log(1)).truncate(cut);
        let dir = torn.restore();
        let error = try_open(dir.path(), Durability::Written).err().unwrap();
        assert!(
            matches!(&error, JournalError::Lost { file, at, found: 2, acknowledged: 3, .. }
                if *file == log(1) && *at == begin as u64),
            "{error}"
        );
        assert_eq!(Image::of(dir.path()), torn);
    }
}

#[test]
fn an_end_is_not_cut_off_if_it_is_not_known_or_goes_on() {
    let (image, begin) = unacknowledged();
    // Without the mark it is not known whether it was acknowledged.
    let mut unknown = image.without("mark");
    unknown.file(&log(1)).truncate(begin + 1);
    let error = try_open(unknown.restore().path(), Durability::Disk).err().unwrap();
    assert!(error.to_string().contains("is not valid"), "{error}");
    // A whole block behind it, while the mark knows of none of them.
    let mut damaged = image.clone();
    damaged.file("mark").fill(0);
    let mark = super::super::mark::LogMark { synced: 1, written: 1, boot: BOOT };
    let path = temp();
    drop(super::super::mark::MarkFile::start(&path.path().join("mark"), mark).unwrap());
    *damaged.file("mark") = fs::read(path.path().join("mark")).unwrap();
    damaged.file(&log(1))[begin - 1] ^= 1;
    let error = try_open(damaged.restore().path(), Durability::Disk).err().unwrap();
    assert!(error.to_string().contains("but one behind that"), "{error}");
}

#[test]
fn an_end_that_is_missing_after_an_orderly_stop_is_an_error_without_the_mark() {
    let (image, begin) = unacknowledged();
    let dir = image.restore();
    open(dir.path(), Durability::Disk).0.close().unwrap();
    let mut short = Image::of(dir.path()).without("mark");
    short.file(&log(1)).truncate(begin);
    let error = try_open(short.restore().path(), Durability::Disk).err().unwrap();
    assert!(matches!(error, JournalError::Lost { found: 2, acknowledged: 3, .. }), "{error}");
}

#[test]
fn a_record_that_is_there_twice_is_an_error() {
    let (image, second) = (populated().0, 52 + 20 + block(4).len());
    let mut doubled = image.clone();
    let segment = doubled.file(&log(4));
    let record = segment[52..second].to_vec();
    segment.splice(second..second, record);
    let error = try_open(doubled.restore().path(), Durability::Disk).err().unwrap();
    let sentence = format!("{} has block 4 where block 5 should be, at byte {second}", log(4));
    assert!(error.to_string().contains(&sentence), "{error}");
}
