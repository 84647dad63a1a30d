//! The disk of a host: the only door to files and directories. Everything that changes a file or makes it durable goes through
//! here, under the file's path; reads go straight to the open [`File`], whose descriptor sockets need too (sendfile).
//!
//! In a build for tests a disk may be simulated. Its files are real, so that every read is; its [`Simulation`] hears of each step
//! before it is taken, and which line of the program takes it: it may refuse the step, cut it short, leave it out, or note what a
//! crash would leave (`log/tests/disk.rs`). In any other build the functions are the calls of the system and nothing else.
//!
//! Whoever lists a directory gets the names in order: a file system has an order of its own, which does not repeat.

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

/// See the module. Cheap to clone: every segment of a log has one.
#[derive(Clone, Debug, Default)]
pub struct Disk(Arc<Files>);

#[derive(Debug, Default)]
struct Files {
    descriptors: Descriptors,
    known: KnownFiles,
    #[cfg(test)]
    simulation: Option<Arc<dyn Simulation>>,
}

/// A directory of a disk.
#[derive(Clone, Copy, Debug)]
pub struct Dir<'a> {
    pub disk: &'a Disk,
    pub path: &'a Path,
}

impl Dir<'_> {
    /// The path of something in the directory.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }
}

/// What a directory has under a name.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    dir: &'a Path,
    name: OsString,
    kind: FileType,
}

/// What is known of a file that is not open.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    pub size: u64,
    pub is_dir: bool,
    pub is_file: bool,
    /// When it was written to last, where the file system tells.
    pub modified: Option<FileTime>,
}

/// How much a file system holds, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    pub total: u64,
    /// What this process may still write.
    pub usable: u64,
}

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
    /// The directory goes, with everything in it.
    RemoveDir(&'a Path),
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

/// Test-only: what becomes of the steps on a disk. May be asked by several threads at once, and amidst an answer.
#[cfg(test)]
pub trait Simulation: std::fmt::Debug + Send + Sync {
    fn before(&self, step: &Step<'_>, site: &'static Location<'static>) -> io::Result<Verdict>;

    /// Something of a file was changed.
    fn changed(&self, _: &File) {}
}

/// Test-only: a disk on which nothing goes wrong, and whose files have the times of a clock.
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

    /// Test-only: a disk on which every step is up to `simulation`.
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

    /// Room for a data file that stays open; `None` where as many do as may.
    pub fn keep_file(&self) -> Option<Held> {
        self.0.descriptors.kept_files.take()
    }

    /// Whether as many data files are open as may stay so.
    pub fn keeps_all_it_may(&self) -> bool {
        self.0.descriptors.kept_files.is_used_up()
    }

    /// Index files in which an entry was looked up lately.
    pub fn known_files(&self) -> &KnownFiles {
        &self.0.known
    }

    /// What a directory has, in the order of the names.
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

    /// What is known of a file, or of what a link leads to.
    pub fn facts(&self, path: &Path) -> io::Result<Facts> {
        Facts::of(path)
    }

    /// Bytes in a file; 0 where there is none.
    pub fn size_of(&self, path: &Path) -> u64 {
        fs::metadata(path).map_or(0, |facts| facts.len())
    }

    /// When a file was written to last, where its file system tells.
    pub fn modified(&self, path: &Path) -> Option<FileTime> {
        self.facts(path).ok()?.modified
    }

    /// Whether there is something of this name, or a link leads to something.
    pub fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    /// Whether there is a directory, or a link leads to one, as far as this process may know.
    pub fn is_dir(&self, path: &Path) -> bool {
        path.is_dir()
    }

    /// The path without links and dots.
    pub fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        fs::canonicalize(path)
    }

    /// Whether this process may read and write a file, or a directory and what is in it.
    pub fn check_use(&self, path: &Path, as_dir: bool) -> io::Result<()> {
        let both = Access::READ_OK | Access::WRITE_OK;
        let access = if as_dir { both | Access::EXEC_OK } else { both };
        Ok(rustix::fs::access(path, access)?)
    }

    /// How much the file system holds on which a directory lies.
    pub fn room(&self, dir: &Path) -> io::Result<Room> {
        let room = rustix::fs::statvfs(dir)?;
        Ok(Room {
            total: room.f_blocks.saturating_mul(room.f_frsize),
            usable: room.f_bavail.saturating_mul(room.f_frsize),
        })
    }

    /// Makes a directory, and those above it that are not there.
    #[cfg_attr(test, track_caller)]
    pub fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.ask(&Step::CreateDir(dir))?;
        fs::create_dir_all(dir)
    }

    /// Opens a file for reading and writing; makes it if need be.
    #[cfg_attr(test, track_caller)]
    pub fn open_or_create(&self, path: &Path) -> io::Result<File> {
        self.ask(&Step::Create(path, false))?;
        Ok(self.opened(open_or_create(path)?))
    }

    /// Opens a file that is there for writing.
    pub fn open_to_write(&self, path: &Path) -> io::Result<File> {
        Ok(self.opened(OpenOptions::new().write(true).open(path)?))
    }

    /// Opens a file that is there for reading and writing.
    pub fn open_to_change(&self, path: &Path) -> io::Result<File> {
        Ok(self.opened(OpenOptions::new().read(true).write(true).open(path)?))
    }

    /// Opens a file for the sake of its lock alone; makes it if need be. What becomes of it is of no matter to what is kept.
    pub fn open_lock(&self, path: &Path) -> io::Result<File> {
        Ok(self.opened(open_or_create(path)?))
    }

    /// Opens a file that is there for reading.
    #[cfg_attr(test, track_caller)]
    pub fn open(&self, path: &Path) -> io::Result<File> {
        self.ask(&Step::Read(path))?;
        Ok(self.opened(fs::File::open(path)?))
    }

    /// An empty file, whatever was there.
    #[cfg_attr(test, track_caller)]
    pub fn create(&self, path: &Path) -> io::Result<File> {
        self.ask(&Step::Create(path, true))?;
        let file = self.opened(fs::File::create(path)?);
        self.changed(&file);
        Ok(file)
    }

    /// Writes all of `parts` from `position` on.
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

    /// A whole small file, not synced.
    #[cfg_attr(test, track_caller)]
    pub fn write(&self, path: &Path, content: &[u8]) -> io::Result<File> {
        let file = self.create(path)?;
        self.write_all_at(&file, path, &mut [IoSlice::new(content)], 0)?;
        Ok(file)
    }

    /// Opens what should be a small file, and may be anything: a pipe would keep its reader waiting for ever.
    ///
    /// Errors: `InvalidData` if it is no file.
    #[cfg_attr(test, track_caller)]
    pub fn open_small(&self, path: &Path) -> io::Result<File> {
        self.ask(&Step::Read(path))?;
        Ok(self.opened(open_small(path)?))
    }

    /// The content of a whole small file.
    ///
    /// Errors: `InvalidData` if it is no file, or has more than `most` bytes.
    #[cfg_attr(test, track_caller)]
    pub fn read(&self, path: &Path, most: u64) -> io::Result<Vec<u8>> {
        self.ask(&Step::Read(path))?;
        read_small(path, most)
    }

    /// The same of one that is text.
    #[cfg_attr(test, track_caller)]
    pub fn read_text(&self, path: &Path, most: u64) -> io::Result<String> {
        String::from_utf8(self.read(path, most)?)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not text in UTF-8"))
    }

    /// Reads from `position` on until `out` is full or the file ends; gives how much that was.
    ///
    /// Errors: with [`Reach::Cache`], `WouldBlock` for what the page cache lacks.
    #[cfg_attr(test, track_caller)]
    pub fn read_within(
        &self,
        file: &File,
        path: &Path,
        out: &mut [u8],
        position: u64,
        reach: Reach,
    ) -> io::Result<usize> {
        self.ask(&Step::Fetch(path, position, out.len()))?;
        let mut filled = 0;
        while filled < out.len() {
            let looked = match reach {
                Reach::Cache => self.ask(&Step::Look(path)).map(drop),
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

    /// The same of a file that is read once, from its beginning to its end, and by nobody who would not wait.
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

    /// Makes a file longer, with zeros, and reserves the room for them where the file system can.
    #[cfg_attr(test, track_caller)]
    pub fn allocate(&self, file: &File, path: &Path, len: u64) -> io::Result<()> {
        if let Verdict::Skip = self.ask(&Step::SetLen(path, len))? {
            return Ok(());
        }
        // Without room, or without a file system that reserves it, the file gets its length only, which is all that Kafka does.
        match rustix::fs::fallocate(&file.file, FallocateFlags::empty(), 0, len) {
            Ok(()) => Ok(()),
            Err(_) => file.file.set_len(len),
        }
    }

    /// Makes the content durable. After an error nobody knows what is: it is never tried again, and the system's memory of the
    /// file goes, so that the next start reads what the disk has. Systems take what they could not write for written: it
    /// would be found whole then, the next sync would succeed without it, and a power cut take it.
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
        // Whether or not it can be done, the sync has failed.
        let _ = self.ask(&Step::Evict(path));
        file.forget_cached();
    }

    /// Makes the names in a directory durable.
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
    /// The name in the directory, where it is text.
    pub fn text(&self) -> Option<&str> {
        self.name.to_str()
    }

    /// The same for whoever keeps it.
    pub fn into_text(self) -> Option<String> {
        self.name.into_string().ok()
    }

    pub fn path(&self) -> PathBuf {
        self.dir.join(&self.name)
    }

    /// Whether it is a directory, or a link that leads to one, as far as this process may know.
    pub fn is_a_dir(&self) -> bool {
        self.kind.is_dir() || self.kind.is_symlink() && self.path().is_dir()
    }

    /// Whether it is a file, or a link that leads to one. Who opens a pipe waits for somebody at its other end.
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

    /// Refuses to make files called `no`, leaves out removals, cuts writes short; notes the rest.
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
        // It is never cold, whatever the page cache of the system has.
        let mut bytes = [0; 5];
        file.forget_cached();
        let read = disk.read_within(&file, &inside("cut"), &mut bytes, 0, Reach::Cache);
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
