//! The only door from the log to a disk. Everything that changes a file or makes it durable goes through here, under the
//! file's path; reads go straight to the file, whose descriptor sockets need too (sendfile).
//!
//! In a build for tests a thread may put a [`Watcher`] behind the door: it hears of each step before it is taken and which
//! line of the program takes it, may refuse it, cut it short, leave it out, or note what a crash would leave
//! (`tests/disk.rs`). In any other build the functions are the calls of the system and nothing else.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
#[cfg(test)]
use std::panic::Location;
use std::path::Path;

use rustix::fs::{FallocateFlags, OFlags};

use super::error::Cold;
use crate::base::file_range::{FileRange, Reach, read_at};

/// A step that changes what a disk holds, or asks for it.
#[derive(Debug)]
pub enum Step<'a> {
    /// The directory exists afterwards.
    CreateDir(&'a Path),
    /// The file exists afterwards; with `true` it is empty.
    Create(&'a Path, bool),
    Write(&'a Path, u64, &'a [IoSlice<'a>]),
    SetLen(&'a Path, u64),
    Sync(&'a Path),
    SyncDir(&'a Path),
    Rename(&'a Path, &'a Path),
    Remove(&'a Path),
    /// What is read from now on is what the disk has.
    Evict(&'a Path),
    Read(&'a Path),
    /// So many bytes of the file are read, from a position on, wherever they are.
    Fetch(&'a Path, u64, usize),
    /// What the page cache has of the file is read; `WouldBlock` says that it has nothing there.
    Look(&'a Path),
}

/// What becomes of a step.
#[derive(Debug)]
pub enum Verdict {
    Go,
    /// So many bytes are written, then it fails.
    Partly(usize, io::Error),
    /// Nothing is done, and nothing is said.
    Skip,
}

#[cfg(test)]
pub trait Watcher {
    fn before(&mut self, step: &Step<'_>, site: &'static Location<'static>) -> io::Result<Verdict>;
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
#[track_caller]
fn ask(step: &Step<'_>) -> io::Result<Verdict> {
    let site = Location::caller();
    WATCHER.with(|slot| match slot.borrow_mut().as_mut() {
        Some(watcher) => watcher.before(step, site),
        None => Ok(Verdict::Go),
    })
}

#[cfg(not(test))]
#[inline(always)]
fn ask(_: &Step<'_>) -> io::Result<Verdict> {
    Ok(Verdict::Go)
}

/// Makes a directory, and those above it that are not there.
#[cfg_attr(test, track_caller)]
pub fn create_dir(dir: &Path) -> io::Result<()> {
    ask(&Step::CreateDir(dir))?;
    fs::create_dir_all(dir)
}

/// Opens a file for reading and writing; makes it if need be.
#[cfg_attr(test, track_caller)]
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
#[cfg_attr(test, track_caller)]
pub fn open(path: &Path) -> io::Result<File> {
    ask(&Step::Read(path))?;
    File::open(path)
}

/// An empty file, whatever was there.
#[cfg_attr(test, track_caller)]
pub fn create(path: &Path) -> io::Result<File> {
    ask(&Step::Create(path, true))?;
    File::create(path)
}

/// Writes all of `parts` from `position` on.
#[cfg_attr(test, track_caller)]
pub fn write_all_at(
    file: &File,
    path: &Path,
    mut parts: &mut [IoSlice<'_>],
    mut position: u64,
) -> io::Result<()> {
    match ask(&Step::Write(path, position, parts))? {
        Verdict::Go => {}
        Verdict::Skip => return Ok(()),
        Verdict::Partly(len, error) => {
            let whole: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
            let some = &whole[..len.min(whole.len())];
            std::os::unix::fs::FileExt::write_all_at(file, some, position)?;
            return Err(error);
        }
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
#[cfg_attr(test, track_caller)]
pub fn write(path: &Path, content: &[u8]) -> io::Result<File> {
    let file = create(path)?;
    write_all_at(&file, path, &mut [IoSlice::new(content)], 0)?;
    Ok(file)
}

/// Opens what should be a small file, and may be anything: a pipe would keep its reader waiting for ever.
///
/// Errors: `InvalidData` if it is no file.
#[cfg_attr(test, track_caller)]
pub fn open_small(path: &Path) -> io::Result<File> {
    ask(&Step::Read(path))?;
    let nonblocking = OFlags::NONBLOCK.bits() as i32;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(nonblocking)
        .open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidData, "it is no file"))
    }
}

/// The content of a whole small file.
///
/// Errors: `InvalidData` if it is no file, or has more than `most` bytes.
#[cfg_attr(test, track_caller)]
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let file = open_small(path)?;
    let len = file.metadata()?.len();
    if len > most {
        let what = format!("it has {len} bytes, more than such a file ever has");
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    let mut content = Vec::with_capacity(len as usize);
    file.take(most).read_to_end(&mut content)?;
    Ok(content)
}

/// The same of one that is text.
#[cfg_attr(test, track_caller)]
pub fn read_text(path: &Path, most: u64) -> io::Result<String> {
    String::from_utf8(read(path, most)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not text in UTF-8"))
}

/// Reads at `position`, within a stretch of the file, until `out` is full or the file ends; gives how much that was.
///
/// Errors: with [`Reach::Cache`], `WouldBlock` with the stretch in it: more of it will be asked for next.
#[cfg_attr(test, track_caller)]
pub fn read_within(
    stretch: &FileRange,
    path: &Path,
    out: &mut [u8],
    position: u64,
    reach: Reach,
) -> io::Result<usize> {
    ask(&Step::Fetch(path, position, out.len()))?;
    let mut filled = 0;
    while filled < out.len() {
        let looked = match reach {
            Reach::Cache => ask(&Step::Look(path)).map(drop),
            Reach::Disk => Ok(()),
        };
        let (rest, position) = (&mut out[filled..], position + filled as u64);
        match looked.and_then(|()| read_at(&stretch.file, rest, position, reach)) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::Error::new(error.kind(), Cold(stretch.clone())));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The same of a file that is read once, from its beginning to its end, and by nobody who would not wait.
#[cfg_attr(test, track_caller)]
pub fn read_through(file: &File, path: &Path, out: &mut [u8], position: u64) -> io::Result<usize> {
    ask(&Step::Fetch(path, position, out.len()))?;
    let mut filled = 0;
    while filled < out.len() {
        match read_at(
            file,
            &mut out[filled..],
            position + filled as u64,
            Reach::Disk,
        ) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg_attr(test, track_caller)]
pub fn set_len(file: &File, path: &Path, len: u64) -> io::Result<()> {
    if let Verdict::Skip = ask(&Step::SetLen(path, len))? {
        return Ok(());
    }
    file.set_len(len)
}

/// Makes a file longer, with zeros, and reserves the room for them where the file system can.
#[cfg_attr(test, track_caller)]
pub fn allocate(file: &File, path: &Path, len: u64) -> io::Result<()> {
    if let Verdict::Skip = ask(&Step::SetLen(path, len))? {
        return Ok(());
    }
    // Without room, or without a file system that reserves it, the file gets its length only, which is all that Kafka does.
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, len) {
        Ok(()) => Ok(()),
        Err(_) => file.set_len(len),
    }
}

/// Makes the content durable. After an error nobody knows what is: it is never tried again, and the system's memory of the
/// file goes, so that the next start reads what the disk has. Systems take what they could not write for written: it
/// would be found whole then, the next sync would succeed without it, and a power cut take it.
#[cfg_attr(test, track_caller)]
pub fn sync(file: &File, path: &Path) -> io::Result<()> {
    match ask(&Step::Sync(path)) {
        Ok(Verdict::Skip) => return Ok(()),
        Ok(_) => {}
        Err(error) => {
            evict(file, path);
            return Err(error);
        }
    }
    file.sync_data().inspect_err(|_| evict(file, path))
}

#[cfg_attr(test, track_caller)]
fn evict(file: &File, path: &Path) {
    // Whether or not it can be done, the sync has failed.
    let _ = ask(&Step::Evict(path));
    let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed);
}

/// Makes the names in a directory durable.
#[cfg_attr(test, track_caller)]
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    if let Verdict::Skip = ask(&Step::SyncDir(dir))? {
        return Ok(());
    }
    File::open(dir)?.sync_all()
}

#[cfg_attr(test, track_caller)]
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    if let Verdict::Skip = ask(&Step::Rename(from, to))? {
        return Ok(());
    }
    fs::rename(from, to)
}

#[cfg_attr(test, track_caller)]
pub fn remove_file(path: &Path) -> io::Result<()> {
    if let Verdict::Skip = ask(&Step::Remove(path))? {
        return Ok(());
    }
    fs::remove_file(path)
}
