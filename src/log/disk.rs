//! The only door from the log to a disk. Everything that changes a file or makes it durable goes through here, under the
//! file's path; reads go straight to the file, whose descriptor sockets need too (sendfile).
//!
//! In a build for tests a thread may put a [`Watcher`] behind the door: it hears of each step before it is taken, may
//! refuse it, cut it short, or note what a crash would leave (`tests/disk.rs`). In any other build the functions are
//! the calls of the system and nothing else.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice};
use std::path::Path;

/// A step that changes what a disk holds, or asks for it.
#[derive(Debug)]
pub enum Step<'a> {
    /// The file exists afterwards; with `true` it is empty.
    Create(&'a Path, bool),
    Write(&'a Path, u64, &'a [IoSlice<'a>]),
    SetLen(&'a Path, u64),
    Sync(&'a Path),
    SyncDir(&'a Path),
    Rename(&'a Path, &'a Path),
    Remove(&'a Path),
    Read(&'a Path),
}

/// What becomes of a step.
#[derive(Debug)]
pub enum Verdict {
    Go,
    /// So many bytes are written, then it fails.
    Partly(usize, io::Error),
}

#[cfg(test)]
pub trait Watcher {
    fn before(&mut self, step: &Step<'_>) -> io::Result<Verdict>;
}

#[cfg(test)]
thread_local! {
    static WATCHER: std::cell::RefCell<Option<Box<dyn Watcher>>> = const { std::cell::RefCell::new(None) };
}

/// Puts a watcher behind the door of this thread, or takes it away.
#[cfg(test)]
pub fn watch(watcher: Option<Box<dyn Watcher>>) {
    WATCHER.with(|slot| *slot.borrow_mut() = watcher);
}

#[cfg(test)]
fn ask(step: &Step<'_>) -> io::Result<Verdict> {
    WATCHER.with(|slot| match slot.borrow_mut().as_mut() {
        Some(watcher) => watcher.before(step),
        None => Ok(Verdict::Go),
    })
}

#[cfg(not(test))]
#[inline(always)]
fn ask(_: &Step<'_>) -> io::Result<Verdict> {
    Ok(Verdict::Go)
}

/// Opens a file for reading and writing; makes it if need be.
pub fn open_or_create(path: &Path) -> io::Result<File> {
    ask(&Step::Create(path, false))?;
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
}

/// Opens a file that is there for writing.
pub fn open_to_write(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).open(path)
}

/// Opens a file that is there for reading.
pub fn open(path: &Path) -> io::Result<File> {
    ask(&Step::Read(path))?;
    File::open(path)
}

/// An empty file, whatever was there.
pub fn create(path: &Path) -> io::Result<File> {
    ask(&Step::Create(path, true))?;
    File::create(path)
}

/// Writes all of `parts` from `position` on.
pub fn write_all_at(
    file: &File,
    path: &Path,
    mut parts: &mut [IoSlice<'_>],
    mut position: u64,
) -> io::Result<()> {
    if let Verdict::Partly(len, error) = ask(&Step::Write(path, position, parts))? {
        let whole: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        std::os::unix::fs::FileExt::write_all_at(file, &whole[..len.min(whole.len())], position)?;
        return Err(error);
    }
    while !parts.is_empty() {
        match rustix::io::pwritev(file, parts, position) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                position += written as u64;
                IoSlice::advance_slices(&mut parts, written);
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// A whole small file, not synced.
pub fn write(path: &Path, content: &[u8]) -> io::Result<File> {
    let file = create(path)?;
    write_all_at(&file, path, &mut [IoSlice::new(content)], 0)?;
    Ok(file)
}

/// The content of a whole small file.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    ask(&Step::Read(path))?;
    fs::read(path)
}

pub fn set_len(file: &File, path: &Path, len: u64) -> io::Result<()> {
    ask(&Step::SetLen(path, len))?;
    file.set_len(len)
}

/// Makes the content durable. After an error nobody knows what is: it is never tried again.
pub fn sync(file: &File, path: &Path) -> io::Result<()> {
    ask(&Step::Sync(path))?;
    file.sync_data()
}

/// Makes the names in a directory durable.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    ask(&Step::SyncDir(dir))?;
    File::open(dir)?.sync_all()
}

pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    ask(&Step::Rename(from, to))?;
    fs::rename(from, to)
}

pub fn remove_file(path: &Path) -> io::Result<()> {
    ask(&Step::Remove(path))?;
    fs::remove_file(path)
}
