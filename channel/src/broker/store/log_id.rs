//! The id of a broker's own log: a random number, kept in the file `log-id` of the data directory as 16
//! hexadecimal digits and a newline. It distinguishes two logs, so a copy of a directory gets another one;
//! a new epoch does not.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use super::StoreError;

const FILE: &str = "log-id";
const NEW_FILE: &str = "log-id.new";

/// Sixteen digits and a newline.
const LEN_BYTES: usize = 17;

/// The id that the directory has; `None` in a new one, and in one of an earlier release.
///
/// # Errors
/// The file has something else in it, or an error of the system.
pub fn find(dir: &Path) -> Result<Option<u64>, StoreError> {
    let io = |error| StoreError::io(dir, error);
    let file = match File::open(dir.join(FILE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(io)?,
    };
    let mut text = Vec::new();
    file.take(LEN_BYTES as u64 + 1).read_to_end(&mut text).map_err(io)?;
    let id = read(&text).map(Some);
    id.ok_or_else(|| StoreError::damaged(dir, format!("its file {FILE} has no log id")))
}

/// Gives the directory another id, as a whole or not at all. It is on disk when this returns.
///
/// # Errors
/// An error of the system.
pub fn renew(dir: &Path) -> io::Result<u64> {
    let id = rand::random();
    let mut file = File::create(dir.join(NEW_FILE))?;
    file.write_all(format!("{id:016x}\n").as_bytes())?;
    file.sync_all()?;
    fs::rename(dir.join(NEW_FILE), dir.join(FILE))?;
    File::open(dir)?.sync_all()?;
    Ok(id)
}

fn read(text: &[u8]) -> Option<u64> {
    let digits = text.strip_suffix(b"\n")?;
    let is_id = text.len() == LEN_BYTES && digits.iter().all(u8::is_ascii_hexdigit);
    let digits = str::from_utf8(digits).ok().filter(|_| is_id)?;
    u64::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_keeps_its_id_until_that_is_renewed() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(find(dir.path()).unwrap(), None);
        let first = renew(dir.path()).unwrap();
        assert_eq!(find(dir.path()).unwrap(), Some(first));
        let second = renew(dir.path()).unwrap();
        assert_ne!(second, first);
        assert_eq!(find(dir.path()).unwrap(), Some(second));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_with_anything_else_is_damage() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["", "\n", "00000000000000ab", "+0000000000000ab\n", "00000000000000abc\n"] {
            fs::write(dir.path().join(FILE), text).unwrap();
            let error = find(dir.path()).unwrap_err();
            assert!(error.to_string().contains("its file log-id has no log id"), "{error}");
        }
    }
}
