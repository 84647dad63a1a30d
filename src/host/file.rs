//! A file that is open on the disk of a host. It can be read, and has its descriptor for whoever sends it (sendfile); whatever
//! changes it goes through [`Disk`](super::disk::Disk), under the file's path.

use std::io::{self, IoSliceMut};
use std::num::NonZeroU64;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt as _;

use rustix::fs::{Advice, FlockOperation};
use rustix::io::{Errno, ReadWriteFlags};
use rustix::process::{Flock, FlockType};

/// See the module.
#[derive(Debug)]
pub struct File {
    pub(super) file: std::fs::File,
    /// On a simulated disk the page cache has everything, whatever the system's does.
    #[cfg(test)]
    pub(super) is_simulated: bool,
}

/// How far a read may reach. Only those of threads that nobody waits for may wait for a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The page cache; `WouldBlock` for what it lacks.
    Cache,
    Disk,
}

/// What came of a read from the page cache alone.
#[derive(Debug)]
pub enum Looked {
    Read(io::Result<usize>),
    Cold,
    /// A file system that does not know the question is one in memory, or has to be waited for as ever.
    NobodyKnows,
}

impl File {
    /// Bytes in the file.
    pub fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Reads some bytes, as pread does.
    ///
    /// Errors: those of the file; `WouldBlock` if a disk would have to be waited for and must not.
    pub fn read_at(&self, out: &mut [u8], position: u64, reach: Reach) -> io::Result<usize> {
        if reach == Reach::Cache {
            match self.look(out, position) {
                Looked::Read(read) => return read,
                Looked::Cold => return Err(io::ErrorKind::WouldBlock.into()),
                Looked::NobodyKnows => {}
            }
        }
        self.file.read_at(out, position)
    }

    /// Fills `out`; waits for the disk.
    pub fn read_exact_at(&self, out: &mut [u8], position: u64) -> io::Result<()> {
        self.file.read_exact_at(out, position)
    }

    /// Reads what the page cache has.
    pub fn look(&self, out: &mut [u8], position: u64) -> Looked {
        #[cfg(test)]
        if self.is_simulated {
            return Looked::NobodyKnows;
        }
        let mut slices = [IoSliceMut::new(out)];
        match rustix::io::preadv2(&self.file, &mut slices, position, ReadWriteFlags::NOWAIT) {
            Err(Errno::AGAIN) => Looked::Cold,
            Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => Looked::NobodyKnows,
            read => Looked::Read(read.map_err(io::Error::from)),
        }
    }

    /// Sends a stretch to a socket without reading it, as sendfile does; gives how many bytes the socket took.
    pub fn send(&self, socket: BorrowedFd<'_>, position: u64, len: usize) -> io::Result<usize> {
        let mut position = position;
        Ok(rustix::fs::sendfile(
            socket,
            &self.file,
            Some(&mut position),
            len,
        )?)
    }

    /// Tells the system that a stretch will be read soon. A hint: nothing is lost with it.
    pub fn will_be_read(&self, position: u64, len: usize) {
        if let Some(len) = NonZeroU64::new(len as u64) {
            let _ = rustix::fs::fadvise(&self.file, position, Some(len), Advice::WillNeed);
        }
    }

    /// Has the system forget what it has of the file in memory. Whether it does is not told.
    pub fn forget_cached(&self) {
        let _ = rustix::fs::fadvise(&self.file, 0, None, Advice::DontNeed);
    }

    /// Takes the lock of the file, which is held until the file is closed: a POSIX record lock, which a JVM takes too, and an
    /// open file description lock beside it, because record locks do not keep out others of the same process.
    ///
    /// Errors: `WouldBlock` if somebody else has one of the two.
    pub fn lock(&self) -> io::Result<()> {
        let busy = |error: Errno| match error {
            Errno::ACCESS => io::ErrorKind::WouldBlock.into(),
            error => io::Error::from(error),
        };
        rustix::fs::flock(&self.file, FlockOperation::NonBlockingLockExclusive).map_err(busy)?;
        rustix::fs::fcntl_lock(&self.file, FlockOperation::NonBlockingLockExclusive).map_err(busy)
    }

    /// Whether another process has the record lock of the file, as far as the system tells.
    pub fn is_locked_by_others(&self) -> bool {
        let wanted = Flock::from(FlockType::WriteLock);
        matches!(
            rustix::process::fcntl_getlk(&self.file, &wanted),
            Ok(Some(_))
        )
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl io::Read for File {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.file.read(out)
    }
}

/// Test-only: a file that a test has opened itself.
#[cfg(test)]
impl From<std::fs::File> for File {
    fn from(file: std::fs::File) -> Self {
        let is_simulated = false;
        Self { file, is_simulated }
    }
}
