//! All that is done to files and names while the journal is in use. It is in one place so that tests can
//! record it, and repeat any part of it as a crash would have left it, and let any step fail.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, Write};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// What a name ends with until the file is complete.
pub const UNFINISHED: &str = ".new";

/// A file that is written to. It is at its end, or where it was opened.
#[derive(Debug)]
pub struct WrittenFile {
    file: File,
    at: u64,
}

impl WrittenFile {
    /// Makes an empty file, in place of one with that name.
    ///
    /// # Errors
    /// An error of the system.
    pub fn create(path: &Path) -> io::Result<Self> {
        #[cfg(test)]
        trace::may(trace::Step::Create)?;
        let file = File::create(path)?;
        #[cfg(test)]
        trace::note(trace::Op::Create(name(path), trace::id(&file)));
        Ok(Self { file, at: 0 })
    }

    /// Opens a file that exists, to write from byte `at` on.
    ///
    /// # Errors
    /// An error of the system.
    pub fn open(path: &Path, at: u64) -> io::Result<Self> {
        let mut file = OpenOptions::new().write(true).open(path)?;
        io::Seek::seek(&mut file, io::SeekFrom::Start(at))?;
        Ok(Self { file, at })
    }

    /// Writes all of it, with one system call if the system allows that.
    ///
    /// # Errors
    /// An error of the system. Any part of it may be written then.
    pub fn write(&mut self, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
        #[cfg(test)]
        trace::may(trace::Step::Write)?;
        while !slices.is_empty() {
            match self.file.write_vectored(slices) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    #[cfg(test)]
                    trace::note_written(&self.file, self.at, slices, written);
                    self.at += written as u64;
                    IoSlice::advance_slices(&mut slices, written);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes over what is at a place, without moving.
    ///
    /// # Errors
    /// An error of the system.
    pub fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        #[cfg(test)]
        trace::may(trace::Step::Write)?;
        self.file.write_all_at(bytes, at)?;
        #[cfg(test)]
        trace::note_written(&self.file, at, &[IoSlice::new(bytes)], bytes.len());
        Ok(())
    }

    /// Cuts it off, or adds zeros.
    ///
    /// # Errors
    /// An error of the system.
    pub fn set_len(&self, len: u64) -> io::Result<()> {
        #[cfg(test)]
        trace::may(trace::Step::Write)?;
        self.file.set_len(len)?;
        #[cfg(test)]
        trace::note(trace::Op::SetLen(trace::id(&self.file), len));
        Ok(())
    }

    /// Makes its content and its length durable.
    ///
    /// # Errors
    /// An error of the system. It must not be called again then: the system may forget what it could not
    /// write, and report that only once.
    pub fn sync(&self) -> io::Result<()> {
        #[cfg(test)]
        trace::may(trace::Step::Sync)?;
        self.file.sync_data()?;
        #[cfg(test)]
        trace::note(trace::Op::Sync(trace::id(&self.file)));
        Ok(())
    }
}

/// Opens a file that need not exist, to write to places of it.
///
/// # Errors
/// An error of the system.
pub fn open_or_create(path: &Path) -> io::Result<WrittenFile> {
    match WrittenFile::open(path, 0) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => WrittenFile::create(path),
        opened => opened,
    }
}

/// Renames a file, in place of one with the new name.
///
/// # Errors
/// An error of the system.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(test)]
    trace::may(trace::Step::Rename)?;
    fs::rename(from, to)?;
    #[cfg(test)]
    trace::note(trace::Op::Rename(name(from), name(to)));
    Ok(())
}

/// Removes a file, unless it is missing.
///
/// # Errors
/// An error of the system.
pub fn remove(path: &Path) -> io::Result<()> {
    #[cfg(test)]
    trace::may(trace::Step::Remove)?;
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => {
            #[cfg(test)]
            trace::note(trace::Op::Remove(name(path)));
            done
        }
    }
}

/// Makes the names in a directory durable.
///
/// # Errors
/// An error of the system.
pub fn sync_names(dir: &Path) -> io::Result<()> {
    #[cfg(test)]
    trace::may(trace::Step::Sync)?;
    File::open(dir)?.sync_all()?;
    #[cfg(test)]
    trace::note(trace::Op::SyncNames);
    Ok(())
}

/// Replaces a small file as a whole or not at all. It is on disk when this returns.
///
/// # Errors
/// An error of the system.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = unfinished(path);
    let mut file = WrittenFile::create(&new)?;
    file.write(&mut [IoSlice::new(content)])?;
    file.sync()?;
    rename(&new, path)?;
    sync_names(path.parent().unwrap_or(Path::new(".")))
}

/// The name of a file until it is complete.
pub fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(UNFINISHED);
    name.into()
}

/// The name of a file in its directory.
pub fn name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

#[cfg(test)]
pub mod trace;
