//! Whose directory it is.

use super::*;

fn marker(dir: &Path, text: impl AsRef<[u8]>) {
    fs::write(dir.join(MARKER), text).unwrap();
}

#[test]
fn a_new_directory_is_made_and_marked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/b");
    drop(Directory::take(&path).unwrap());
    let text = fs::read_to_string(path.join(MARKER)).unwrap();
    assert_eq!(text, "campanile data directory, format 3\n");
    drop(Directory::take(&path).unwrap());
}

#[test]
fn a_file_is_not_a_directory() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = Directory::take(file.path()).unwrap_err();
    assert!(matches!(error, JournalError::NotADirectory { .. }), "{error}");
    let below = Directory::take(&file.path().join("below")).unwrap_err();
    assert!(matches!(below, JournalError::CannotCreate { .. }), "{below}");
}

#[test]
fn a_directory_that_cannot_be_created_is_named() {
    let error = Directory::take(Path::new("/proc/campanile/data")).unwrap_err();
    assert!(matches!(error, JournalError::CannotCreate { .. }), "{error}");
    let error = error.to_string();
    assert!(error.contains("/proc/campanile/data cannot be created: "), "{error}");
}

#[test]
fn a_foreign_directory_is_refused_and_not_touched() {
    for (name, content) in [
        ("notes.txt", &b"mine"[..]),
        ("version", b"FJL\x03"),
        // Our name with another content.
        (MARKER, b"a campanile is a tower"),
        (MARKER, &[0xff, 0xfe]),
    ] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(name), content).unwrap();
        let error = Directory::take(dir.path()).unwrap_err();
        assert!(matches!(error, JournalError::Foreign { .. }), "{error}");
        let entries: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
        assert_eq!(entries.len(), 1, "{name}");
        assert_eq!(fs::read(dir.path().join(name)).unwrap(), content);
    }
}

#[test]
fn an_empty_marker_among_other_files_is_not_ours() {
    let dir = tempfile::tempdir().unwrap();
    marker(dir.path(), "");
    fs::write(dir.path().join("other"), "x").unwrap();
    let error = Directory::take(dir.path()).unwrap_err();
    assert!(matches!(error, JournalError::Foreign { .. }), "{error}");
    assert_eq!(fs::read(dir.path().join(MARKER)).unwrap(), b"");
}

#[test]
fn an_unfinished_marker_is_written_again() {
    for text in ["", "campanile d", "campanile data directory, format "] {
        let dir = tempfile::tempdir().unwrap();
        marker(dir.path(), text);
        drop(Directory::take(dir.path()).unwrap());
        let text = fs::read_to_string(dir.path().join(MARKER)).unwrap();
        assert_eq!(text, "campanile data directory, format 3\n");
    }
}

#[test]
fn a_newer_format_is_refused_by_its_number() {
    let dir = tempfile::tempdir().unwrap();
    marker(dir.path(), "campanile data directory, format 12\n");
    let error = Directory::take(dir.path()).unwrap_err();
    assert!(matches!(error, JournalError::NewerFormat { found: 12, known: 3, .. }), "{error}");
    let written_by = "it was written by a later release of Campanile";
    assert!(error.to_string().contains(written_by), "{error}");
}

#[test]
fn older_formats_are_refused_and_not_touched() {
    for found in 1..=2 {
        let dir = tempfile::tempdir().unwrap();
        let text = format!("campanile data directory, format {found}\n");
        marker(dir.path(), &text);
        let error = Directory::take(dir.path()).unwrap_err();
        assert!(
            matches!(error, JournalError::OlderFormat { found: f, .. } if f == found),
            "{error}"
        );
        assert_eq!(fs::read_to_string(dir.path().join(MARKER)).unwrap(), text);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}

#[test]
fn two_brokers_cannot_use_one_directory() {
    let dir = tempfile::tempdir().unwrap();
    let first = Directory::take(dir.path()).unwrap();
    let error = Directory::take(dir.path()).unwrap_err();
    assert!(matches!(error, JournalError::InUse { .. }), "{error}");
    drop(first);
    drop(Directory::take(dir.path()).unwrap());
}
