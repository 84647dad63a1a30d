//! Files and directories of a host. Every operation that changes a file or makes it durable goes through this module and names
//! the file's path. Reads use the open [`File`], whose descriptor is also needed to send it (sendfile).
//!
//! In test builds a disk may be simulated. Its files are real, so reads are, too. Its `Simulation` is asked before each
//! operation and learns the calling line of the program. It may refuse the operation, cut it short, skip it, or note what a
//! crash would leave (`log/tests/disk.rs`). In all other builds the functions are plain system calls.
//!
//! Directories are listed in the order of names, because the order of a file system is not reproducible.

use std::borrow::Cow;
use std::ffi::OsString;
use std::fs::{self, FileType, OpenOptions};
use std::io::{self, IoSlice, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
#[cfg(test)]
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Access, FallocateFlags, OFlags};

use super::descriptors::{Descriptors, Held};
use super::file::{File, Reach};
use super::file_time::FileTime;
use super::known_files::KnownFiles;

/// Access to the files of a host. Cheap to clone: every segment of a log has a copy.
#[derive(Clone, Debug, Default)]
pub struct Disk(Arc<Files>);

#[derive(Debug, Default)]
struct Files {
    descriptors: Descriptors,
    known: KnownFiles,
    #[cfg(test)]
    simulation: Option<Arc<dyn Simulation>>,
}

/// A file with a path that may be built on each request.
pub trait Named {
    fn path(&self) -> Cow<'_, Path>;
}

impl Named for Path {
    fn path(&self) -> Cow<'_, Path> {
        self.into()
    }
}

/// A directory, with the disk that it is on.
#[derive(Clone, Copy, Debug)]
pub struct Dir<'a> {
    pub disk: &'a Disk,
    pub path: &'a Path,
}

impl Dir<'_> {
    /// Path of a name in the directory.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }
}

/// Entry of a directory.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    dir: &'a Path,
    name: OsString,
    kind: FileType,
}

/// Metadata of a file or directory.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    pub size: u64,
    pub is_dir: bool,
    pub is_file: bool,
    /// Time of the last modification, if the file system has it.
    pub modified: Option<FileTime>,
}

/// Space of a file system, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    pub total: u64,
    /// Space that this process may still use.
    pub usable: u64,
}

/// Operation that changes the content of a disk or reads it.
#[derive(Debug)]
pub enum Step<'a> {
    /// Creates a directory with its parents.
    CreateDir(&'a Path),
    /// Creates a file if it does not exist; with `true`, also truncates it.
    Create(&'a Path, bool),
    Write(&'a Path, u64, &'a [IoSlice<'a>]),
    SetLen(&'a Path, u64),
    Sync(&'a Path),
    SyncDir(&'a Path),
    Rename(&'a Path, &'a Path),
    Remove(&'a Path),
    /// Removes a directory with its content.
    RemoveDir(&'a Path),
    /// Drops a file's pages from the page cache, so that later reads come from the disk.
    Evict(&'a Path),
    Read(&'a Path),
    /// Reads a number of bytes from a position, from the page cache or the disk.
    Fetch(&'a Path, u64, usize),
    /// Reads a file from the page cache; a simulation answers `WouldBlock` for a page that is not cached.
    Look(&'a Path),
}

/// Decision of a simulation about an operation.
#[derive(Debug)]
pub enum Verdict {
    Go,
    /// The number of bytes is written, then the operation fails.
    Partly(usize, io::Error),
    /// The operation is skipped without an error.
    Skip,
}

/// Test-only: decides about the operations on a disk. Several threads may call it at once, and a call may cause another one.
#[cfg(test)]
pub trait Simulation: std::fmt::Debug + Send + Sync {
    fn before(&self, step: &Step<'_>, site: &'static Location<'static>) -> io::Result<Verdict>;

    /// Called after the content of a file was changed.
    fn changed(&self, _: &File) {}
}

/// Test-only: a simulation without faults, in which modification times come from a clock.
#[cfg(test)]
#[derive(Debug)]
pub struct Sound(pub super::clock::Clock);

#[cfg(test)]
impl Simulation for Sound {
    fn before(&self, _: &Step<'_>, _: &'static Location<'static>) -> io::Result<Verdict> {
        Ok(Verdict::Go)
    }

    fn changed(&self, file: &File) {
        FileTime::at(self.0.now()).give_to(file).unwrap();
    }
}

impl Disk {
    pub fn new(descriptors: &Descriptors) -> Self {
        Self(Arc::new(Files {
            descriptors: descriptors.clone(),
            known: KnownFiles::new(descriptors),
            #[cfg(test)]
            simulation: None,
        }))
    }

    /// Test-only: a disk on which `simulation` decides about every operation.
    #[cfg(test)]
    pub fn simulated(descriptors: &Descriptors, simulation: Arc<dyn Simulation>) -> Self {
        Self(Arc::new(Files {
            descriptors: descriptors.clone(),
            known: KnownFiles::new(descriptors),
            simulation: Some(simulation),
        }))
    }

    #[cfg(test)]
    #[track_caller]
    fn ask(&self, step: &Step<'_>) -> io::Result<Verdict> {
        match &self.0.simulation {
            Some(simulation) => simulation.before(step, Location::caller()),
            None => Ok(Verdict::Go),
        }
    }

    #[cfg(not(test))]
    #[inline(always)]
    fn ask(&self, _: &Step<'_>) -> io::Result<Verdict> {
        Ok(Verdict::Go)
    }

    /// Like [`Self::ask`], with the path of the file. Outside of tests the path is not built.
    #[cfg(test)]
    #[track_caller]
    fn ask_of(
        &self,
        file: &(impl Named + ?Sized),
        step: impl for<'a> FnOnce(&'a Path) -> Step<'a>,
    ) -> io::Result<Verdict> {
        self.ask(&step(&file.path()))
    }

    #[cfg(not(test))]
    #[inline(always)]
    fn ask_of(
        &self,
        _: &(impl Named + ?Sized),
        _: impl for<'a> FnOnce(&'a Path) -> Step<'a>,
    ) -> io::Result<Verdict> {
        Ok(Verdict::Go)
    }

    #[cfg(test)]
    fn changed(&self, file: &File) {
        if let Some(simulation) = &self.0.simulation {
            simulation.changed(file);
        }
    }

    #[cfg(not(test))]
    #[inline(always)]
    fn changed(&self, _: &File) {}

    fn opened(&self, file: fs::File) -> File {
        File {
            file,
            #[cfg(test)]
            is_simulated: self.0.simulation.is_some(),
        }
    }

    /// A directory of this disk.
    pub fn dir<'a>(&'a self, path: &'a Path) -> Dir<'a> {
        Dir { disk: self, path }
    }

    /// Reserves a descriptor for a data file that stays open. `None` if the limit is reached.
    pub fn keep_file(&self) -> Option<Held> {
        self.0.descriptors.kept_files.take()
    }

    /// Whether the limit on open data files is reached.
    pub fn keeps_all_it_may(&self) -> bool {
        self.0.descriptors.kept_files.is_used_up()
    }

    /// Cache of index files in which an entry was looked up recently.
    pub fn known_files(&self) -> &KnownFiles {
        &self.0.known
    }

    /// Entries of a directory, in the order of names.
    pub fn list<'a>(&self, dir: &'a Path) -> io::Result<Vec<Entry<'a>>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            entries.push(Entry {
                dir,
                name: entry.file_name(),
                kind: entry.file_type()?,
            });
        }
        entries.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        Ok(entries)
    }

    /// Metadata of a file, or of the target of a symbolic link.
    pub fn facts(&self, path: &Path) -> io::Result<Facts> {
        Facts::of(path)
    }

    /// Size of a file in bytes; 0 if it does not exist.
    pub fn size_of(&self, path: &Path) -> u64 {
        fs::metadata(path).map_or(0, |facts| facts.len())
    }

    /// Time of the last modification, if the file exists and the file system has it.
    pub fn modified(&self, path: &Path) -> Option<FileTime> {
        self.facts(path).ok()?.modified
    }

    /// Whether a file or directory exists. Symbolic links are followed.
    pub fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    /// Whether a directory exists, as far as this process may see. Symbolic links are followed.
    pub fn is_dir(&self, path: &Path) -> bool {
        path.is_dir()
    }

    /// Path without symbolic links and dots.
    pub fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        fs::canonicalize(path)
    }

    /// Checks that this process may read and write a file, or use a directory.
    pub fn check_use(&self, path: &Path, as_dir: bool) -> io::Result<()> {
        let both = Access::READ_OK | Access::WRITE_OK;
        let access = if as_dir { both | Access::EXEC_OK } else { both };
        Ok(rustix::fs::access(path, access)?)
    }

    /// Space of the file system that a directory is on.
    pub fn room(&self, dir: &Path) -> io::Result<Room> {
        let room = rustix::fs::statvfs(dir)?;
        Ok(Room {
            total: room.f_blocks.saturating_mul(room.f_frsize),
            usable: room.f_bavail.saturating_mul(room.f_frsize),
        })
    }

    /// Creates a directory and missing parents.
    #[cfg_attr(test, track_caller)]
    pub fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.ask(&Step::CreateDir(dir))?;
        fs::create_dir_all(dir)
    }

    /// Opens a file for reading and writing. Creates it if it does not exist.
    #[cfg_attr(test, track_caller)]
    pub fn open_or_create(&self, path: &Path) -> io::Result<File> {
        self.ask(&Step::Create(path, false))?;
        Ok(self.opened(open_or_create(path)?))
    }

    /// Opens an existing file for writing.
    pub fn open_to_write(&self, path: &Path) -> io::Result<File> {
        Ok(self.opened(OpenOptions::new().write(true).open(path)?))
    }

    /// Opens an existing file for reading and writing.
    pub fn open_to_change(&self, path: &Path) -> io::Result<File> {
        Ok(self.opened(OpenOptions::new().read(true).write(true).open(path)?))
    }

    /// Opens a file only to lock it. Creates it if it does not exist. A simulation is not asked, because the file holds no
    /// data.
    pub fn open_lock(&self, path: &Path) -> io::Result<File> {
        Ok(self.opened(open_or_create(path)?))
    }

    /// Opens an existing file for reading.
    #[cfg_attr(test, track_caller)]
    pub fn open(&self, path: &Path) -> io::Result<File> {
        self.ask(&Step::Read(path))?;
        Ok(self.opened(fs::File::open(path)?))
    }

    /// Creates a file, or truncates an existing one.
    #[cfg_attr(test, track_caller)]
    pub fn create(&self, path: &Path) -> io::Result<File> {
        self.ask(&Step::Create(path, true))?;
        let file = self.opened(fs::File::create(path)?);
        self.changed(&file);
        Ok(file)
    }

    /// Writes all of `parts`, starting at `position`.
    #[cfg_attr(test, track_caller)]
    pub fn write_all_at(
        &self,
        file: &File,
        path: &Path,
        mut parts: &mut [IoSlice<'_>],
        mut position: u64,
    ) -> io::Result<()> {
        match self.ask(&Step::Write(path, position, parts))? {
            Verdict::Go => {}
            Verdict::Skip => return Ok(()),
            Verdict::Partly(len, error) => {
                let whole: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
                let some = &whole[..len.min(whole.len())];
                std::os::unix::fs::FileExt::write_all_at(&file.file, some, position)?;
                return Err(error);
            }
        }
        while !parts.is_empty() {
            match rustix::io::pwritev(&file.file, parts, position) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    position += written as u64;
                    IoSlice::advance_slices(&mut parts, written);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.changed(file);
        Ok(())
    }

    /// Creates a small file with the given content. It is not synced.
    #[cfg_attr(test, track_caller)]
    pub fn write(&self, path: &Path, content: &[u8]) -> io::Result<File> {
        let file = self.create(path)?;
        self.write_all_at(&file, path, &mut [IoSlice::new(content)], 0)?;
        Ok(file)
    }

    /// Opens a path that should be a small file but may be anything. Opening a pipe does not block.
    ///
    /// Errors: `InvalidData` if it is not a regular file.
    #[cfg_attr(test, track_caller)]
    pub fn open_small(&self, path: &Path) -> io::Result<File> {
        self.ask(&Step::Read(path))?;
        Ok(self.opened(open_small(path)?))
    }

    /// Content of a small file.
    ///
    /// Errors: `InvalidData` if it is not a regular file or is longer than `most` bytes.
    #[cfg_attr(test, track_caller)]
    pub fn read(&self, path: &Path, most: u64) -> io::Result<Vec<u8>> {
        self.ask(&Step::Read(path))?;
        read_small(path, most)
    }

    /// Content of a small text file. See [`Self::read`].
    #[cfg_attr(test, track_caller)]
    pub fn read_text(&self, path: &Path, most: u64) -> io::Result<String> {
        String::from_utf8(self.read(path, most)?)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not text in UTF-8"))
    }

    /// Reads from `position` until `out` is full or the file ends. Gives the number of bytes read.
    ///
    /// Errors: with [`Reach::Cache`], `WouldBlock` if bytes are not in the page cache.
    #[cfg_attr(test, track_caller)]
    pub fn read_within(
        &self,
        file: &File,
        name: &(impl Named + ?Sized),
        out: &mut [u8],
        position: u64,
        reach: Reach,
    ) -> io::Result<usize> {
        self.ask_of(name, |path| Step::Fetch(path, position, out.len()))?;
        let mut filled = 0;
        while filled < out.len() {
            let looked = match reach {
                Reach::Cache => self.ask_of(name, |path| Step::Look(path)).map(drop),
                Reach::Disk => Ok(()),
            };
            let (rest, position) = (&mut out[filled..], position + filled as u64);
            match looked.and_then(|()| file.read_at(rest, position, reach)) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    /// Like [`Self::read_within`], for a file that is read once from start to end on a thread that may block.
    #[cfg_attr(test, track_caller)]
    pub fn read_through(
        &self,
        file: &File,
        path: &Path,
        out: &mut [u8],
        position: u64,
    ) -> io::Result<usize> {
        self.read_within(file, path, out, position, Reach::Disk)
    }

    #[cfg_attr(test, track_caller)]
    pub fn set_len(&self, file: &File, path: &Path, len: u64) -> io::Result<()> {
        if let Verdict::Skip = self.ask(&Step::SetLen(path, len))? {
            return Ok(());
        }
        file.file.set_len(len)?;
        self.changed(file);
        Ok(())
    }

    /// Extends a file with zeros, and reserves the space if the file system can.
    #[cfg_attr(test, track_caller)]
    pub fn allocate(&self, file: &File, path: &Path, len: u64) -> io::Result<()> {
        if let Verdict::Skip = self.ask(&Step::SetLen(path, len))? {
            return Ok(());
        }
        // If the space cannot be reserved, only the length is set, which is all that Kafka does.
        match rustix::fs::fallocate(&file.file, FallocateFlags::empty(), 0, len) {
            Ok(()) => Ok(()),
            Err(_) => file.file.set_len(len),
        }
    }

    /// Makes the content of a file durable.
    ///
    /// Errors: a failed sync is never tried again, because it is unknown which bytes are on the disk. The kernel marks pages
    /// that it could not write as clean: a later sync would succeed without them, and a power cut would lose them. The file's
    /// pages are therefore dropped from the page cache, so that the next start reads what the disk has.
    #[cfg_attr(test, track_caller)]
    pub fn sync(&self, file: &File, path: &Path) -> io::Result<()> {
        match self.ask(&Step::Sync(path)) {
            Ok(Verdict::Skip) => return Ok(()),
            Ok(_) => {}
            Err(error) => {
                self.evict(file, path);
                return Err(error);
            }
        }
        file.file
            .sync_data()
            .inspect_err(|_| self.evict(file, path))
    }

    #[cfg_attr(test, track_caller)]
    fn evict(&self, file: &File, path: &Path) {
        // The sync has failed in any case, whether or not the pages can be dropped.
        let _ = self.ask(&Step::Evict(path));
        file.forget_cached();
    }

    /// Makes the entries of a directory durable.
    #[cfg_attr(test, track_caller)]
    pub fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        if let Verdict::Skip = self.ask(&Step::SyncDir(dir))? {
            return Ok(());
        }
        fs::File::open(dir)?.sync_all()
    }

    #[cfg_attr(test, track_caller)]
    pub fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        if let Verdict::Skip = self.ask(&Step::Rename(from, to))? {
            return Ok(());
        }
        fs::rename(from, to)
    }

    #[cfg_attr(test, track_caller)]
    pub fn remove_file(&self, path: &Path) -> io::Result<()> {
        if let Verdict::Skip = self.ask(&Step::Remove(path))? {
            return Ok(());
        }
        fs::remove_file(path)
    }

    /// Removes a directory and everything in it.
    #[cfg_attr(test, track_caller)]
    pub fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        if let Verdict::Skip = self.ask(&Step::RemoveDir(dir))? {
            return Ok(());
        }
        fs::remove_dir_all(dir)
    }
}

impl Facts {
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let facts = fs::metadata(path)?;
        Ok(Self {
            size: facts.len(),
            is_dir: facts.is_dir(),
            is_file: facts.is_file(),
            modified: FileTime::among(&facts),
        })
    }
}

impl Entry<'_> {
    /// Name, if it is UTF-8.
    pub fn text(&self) -> Option<&str> {
        self.name.to_str()
    }

    /// Owned name, if it is UTF-8.
    pub fn into_text(self) -> Option<String> {
        self.name.into_string().ok()
    }

    pub fn path(&self) -> PathBuf {
        self.dir.join(&self.name)
    }

    /// Whether the entry is a directory or a symbolic link to one, as far as this process may see.
    pub fn is_a_dir(&self) -> bool {
        self.kind.is_dir() || self.kind.is_symlink() && self.path().is_dir()
    }

    /// Whether the entry is a regular file or a symbolic link to one. Other kinds must not be opened: opening a pipe blocks.
    pub fn is_a_file(&self) -> io::Result<bool> {
        Ok(self.kind.is_file() || self.kind.is_symlink() && fs::metadata(self.path())?.is_file())
    }
}

fn open_or_create(path: &Path) -> io::Result<fs::File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
}

/// See [`Disk::open_small`].
fn open_small(path: &Path) -> io::Result<fs::File> {
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

/// See [`Disk::read`].
pub(super) fn read_small(path: &Path, most: u64) -> io::Result<Vec<u8>> {
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

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;
    use crate::host::Host;

    #[test]
    fn a_directory_is_listed_in_the_order_of_the_names() {
        let (root, disk) = (tempfile::tempdir().unwrap(), Disk::default());
        for name in ["b", "c", "a-1", "a"] {
            disk.write(&root.path().join(name), b"x").unwrap();
        }
        disk.create_dir(&root.path().join("d/e")).unwrap();
        std::os::unix::fs::symlink(root.path().join("d"), root.path().join("link")).unwrap();
        std::os::unix::fs::symlink("/nowhere", root.path().join("lost")).unwrap();
        let listed = disk.list(root.path()).unwrap();
        let names: Vec<_> = listed.iter().filter_map(|entry| entry.text()).collect();
        assert_eq!(names, ["a", "a-1", "b", "c", "d", "link", "lost"]);
        let kinds = listed
            .iter()
            .map(|entry| (entry.is_a_dir(), entry.is_a_file().ok()));
        let (file, dir) = ((false, Some(true)), (true, Some(false)));
        assert!(kinds.eq([file, file, file, file, dir, dir, (false, None)]));
        assert!(disk.list(&root.path().join("none")).is_err());
    }

    /// Refuses to create files named `no`, skips removals, cuts writes short, and notes syncs.
    #[derive(Debug, Default)]
    struct Strict(Mutex<Vec<String>>);

    impl Simulation for Strict {
        fn before(&self, step: &Step<'_>, site: &'static Location<'static>) -> io::Result<Verdict> {
            assert_eq!(site.file(), file!());
            match step {
                Step::Create(path, _) if path.ends_with("no") => {
                    Err(io::ErrorKind::StorageFull.into())
                }
                Step::Write(..) => Ok(Verdict::Partly(3, io::ErrorKind::StorageFull.into())),
                Step::Remove(_) => Ok(Verdict::Skip),
                Step::Sync(path) | Step::SyncDir(path) => {
                    self.0.lock().push(path.display().to_string());
                    Ok(Verdict::Go)
                }
                _ => Ok(Verdict::Go),
            }
        }
    }

    #[test]
    fn a_step_on_a_simulated_disk_is_up_to_the_simulation() {
        let (root, strict) = (tempfile::tempdir().unwrap(), Arc::new(Strict::default()));
        let disk = Disk::simulated(&Descriptors::of(32), Arc::clone(&strict) as _);
        let inside = |name: &str| root.path().join(name);
        assert!(disk.create(&inside("no")).is_err());
        assert!(disk.write(&inside("cut"), b"whole").is_err());
        disk.remove_file(&inside("cut")).unwrap();
        assert_eq!(disk.read(&inside("cut"), 10).unwrap(), b"who");
        let file = disk.open_or_create(&inside("cut")).unwrap();
        disk.sync(&file, &inside("cut")).unwrap();
        disk.sync_dir(root.path()).unwrap();
        let synced = [inside("cut"), root.path().to_owned()].map(|path| path.display().to_string());
        assert_eq!(*strict.0.lock(), synced);
        // On a simulated disk, everything counts as cached, whatever the system's page cache holds.
        let mut bytes = [0; 5];
        file.forget_cached();
        let read = disk.read_within(&file, &*inside("cut"), &mut bytes, 0, Reach::Cache);
        assert_eq!((read.unwrap(), &bytes[..3]), (3, &b"who"[..]));
    }

    #[tokio::test(start_paused = true)]
    async fn files_of_a_simulated_host_have_the_times_of_its_clock() {
        let (root, host) = (tempfile::tempdir().unwrap(), Host::simulated(5_000, 1));
        let path = root.path().join("file");
        let file = host.disk.write(&path, b"x").unwrap();
        let written = || host.disk.modified(&path).and_then(FileTime::millis);
        assert_eq!(written(), Some(5_000));
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        assert_eq!(written(), Some(5_000));
        host.disk.set_len(&file, &path, 0).unwrap();
        assert_eq!(written(), Some(7_000));
    }
}
