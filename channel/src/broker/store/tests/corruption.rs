//! Damaged bytes: opening is an error, or finds everything. It never finds less, and never panics.

use super::*;

/// A directory with tables, a journal, trimmed events and ids, and what has to be found in it.
fn populated() -> (Image, Recovered) {
    let dir = temp();
    let (mut store, _) = open(dir.path(), Durability::Disk);
    for sequence in 1_u64..=150 {
        let trim = Trim {
            below: sequence.saturating_sub(100),
            last: vec![(group(sequence % 5), sequence.saturating_sub(101))],
            evicted: vec![],
            floor: sequence / 50,
        };
        let forgotten_ids = if sequence > 20 { vec![key(sequence - 20)] } else { vec![] };
        let changes = Changes {
            ids: vec![known(sequence)],
            forgotten_ids,
            trim: Some(trim),
            ..events(sequence..=sequence, 400)
        };
        store.write(&[changes]).unwrap();
    }
    store.set_next_worker(12).unwrap();
    store.close().unwrap();
    // From now on the journal has no zeros at its end.
    open(dir.path(), Durability::Disk).0.close().unwrap();
    let image = Image::of(dir.path());
    let (_, recovered) = open(image.restore().path(), Durability::Disk);
    assert_eq!(recovered.events.len(), 101);
    (image, recovered)
}

/// Opens a damaged directory twice. Each time everything must be found, or an error. Returns whether it
/// was everything both times.
fn check(damaged: &Image, expected: &Recovered, what: &str) -> bool {
    let dir = damaged.restore();
    let mut sound = true;
    for round in 1..=2 {
        match try_open(dir.path(), Durability::Disk) {
            Ok((_, found)) => {
                let found = Recovered { torn_bytes: 0, ..found };
                assert!(found == *expected, "{what}, round {round}: {} events", found.events.len());
            }
            Err(error) => {
                sound = false;
                assert!(
                    !matches!(error, StoreError::InUse { .. } | StoreError::Full { .. }),
                    "{what}, round {round}: {error}"
                );
            }
        }
    }
    sound
}

fn is_manifest(path: &Path) -> bool {
    path.starts_with("store/keyspaces/1")
        && path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('v'))
}

#[test]
fn a_flipped_byte_is_an_error_or_harmless() {
    let (image, expected) = populated();
    let (mut flips, mut errors) = (0, 0);
    for (index, (path, bytes)) in image.0.iter().enumerate() {
        // Manifests are small, and the engine does not check them itself.
        let samples = if is_manifest(path) { bytes.len() } else { 24 };
        let step = (bytes.len() / samples.max(1)).max(1);
        for at in (index % step..bytes.len()).step_by(step) {
            for mask in [0xff, 1 << (at % 8)] {
                let mut damaged = image.clone();
                damaged.0[index].1[at] ^= mask;
                let what = format!("{} at byte {at} ^ {mask:#x}", path.display());
                flips += 1;
                errors += usize::from(!check(&damaged, &expected, &what));
            }
        }
    }
    // Most bytes on disk belong to rows.
    assert!(errors > flips / 4, "{errors} errors of {flips}");
}

#[test]
fn a_missing_or_empty_file_is_an_error_or_harmless() {
    let (image, expected) = populated();
    for (index, (path, bytes)) in image.0.iter().enumerate() {
        let what = path.display();
        let mut without = image.clone();
        without.0.remove(index);
        // Without the marker, the directory is not ours.
        check(&without, &expected, &format!("without {what}"));
        for len in [0, bytes.len() / 2, bytes.len().saturating_sub(1)] {
            let mut short = image.clone();
            short.0[index].1.truncate(len);
            check(&short, &expected, &format!("{what} with {len} bytes"));
        }
    }
}

#[test]
fn garbage_after_the_journal_is_cut_off() {
    let (image, expected) = populated();
    let (index, _) = image
        .0
        .iter()
        .enumerate()
        .find(|(_, (path, _))| path.extension().is_some_and(|extension| extension == "jnl"))
        .unwrap();
    for garbage in [&b"\x01"[..], b"\x03aaaaaaaaFJL\x03", b"\xff\xff\xff", &[2; 300]] {
        let mut damaged = image.clone();
        damaged.0[index].1.extend_from_slice(garbage);
        let dir = damaged.restore();
        let (_, recovered) = open(dir.path(), Durability::Disk);
        assert_eq!(recovered.torn_bytes, garbage.len() as u64);
        assert_eq!(recovered.events, expected.events);
    }
}

#[test]
fn a_missing_file_is_named() {
    let (mut image, _) = populated();
    // Older manifests may still be there.
    let number = image.file("keyspaces/1/current").first_chunk().copied().unwrap();
    let manifest = format!("keyspaces/1/v{}", u64::from_le_bytes(number));
    for name in ["version", "lock", "keyspaces/0/current", &manifest] {
        let name = Path::new("store").join(name);
        let mut without = image.clone();
        without.0.retain(|(path, _)| *path != name);
        let dir = without.restore();
        let error = try_open(dir.path(), Durability::Disk).err().unwrap();
        let is_named = error.to_string().contains(&format!("{} is missing", name.display()));
        assert!(matches!(error, StoreError::Damaged { .. }) && is_named, "{error}");
    }
}
