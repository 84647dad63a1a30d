//! Open file on the disk of a host. It can be read, and it has a descriptor to send it with (sendfile). Operations that change
//! it go through [`Disk`](super::disk::Disk) and name the file's path.

use std::io::{self, IoSliceMut};
use std::num::NonZeroU64;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt as _;

use rustix::fs::{Advice, FlockOperation};
use rustix::io::{Errno, ReadWriteFlags};
use rustix::process::{Flock, FlockType};

/// An open file. See the module.
#[derive(Debug)]
pub struct File {
    pub(super) file: std::fs::File,
    /// Whether the disk is simulated; then everything counts as cached.
    #[cfg(test)]
    pub(super) is_simulated: bool,
}

/// How far a read may go for its bytes. Only threads that serve no clients may read from a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Only to the page cache; `WouldBlock` if the bytes are not there.
    Cache,
    Disk,
}

/// Result of a read from the page cache.
#[derive(Debug)]
pub enum Looked {
    Read(io::Result<usize>),
    Cold,
    /// The file system does not support such a read. Either it is in memory, or a read may block as usual.
    NobodyKnows,
}

impl File {
    /// Size of the file in bytes.
    pub fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Reads some bytes, like pread.
    ///
    /// Errors: those of the file; `WouldBlock` if `reach` is the page cache and the bytes are not there.
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

    /// Fills `out`. Blocks on the disk.
    pub fn read_exact_at(&self, out: &mut [u8], position: u64) -> io::Result<()> {
        self.file.read_exact_at(out, position)
    }

    /// Reads from the page cache.
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

    /// Sends a part of the file to a socket by sendfile. Gives the number of bytes that the socket took.
    pub fn send(&self, socket: BorrowedFd<'_>, position: u64, len: usize) -> io::Result<usize> {
        let mut position = position;
        Ok(rustix::fs::sendfile(
            socket,
            &self.file,
            Some(&mut position),
            len,
        )?)
    }

    /// Advises the kernel that a part of the file will be read soon.
    pub fn will_be_read(&self, position: u64, len: usize) {
        if let Some(len) = NonZeroU64::new(len as u64) {
            let _ = rustix::fs::fadvise(&self.file, position, Some(len), Advice::WillNeed);
        }
    }

    /// Asks the kernel to drop the file's pages from the page cache. There is no report whether it did.
    pub fn forget_cached(&self) {
        let _ = rustix::fs::fadvise(&self.file, 0, None, Advice::DontNeed);
    }

    /// Locks the file until it is closed. Two locks are taken: a POSIX record lock, which a JVM respects, and a flock, because
    /// record locks do not exclude other parts of the same process.
    ///
    /// Errors: `WouldBlock` if someone else holds one of the two.
    pub fn lock(&self) -> io::Result<()> {
        let busy = |error: Errno| match error {
            Errno::ACCESS => io::ErrorKind::WouldBlock.into(),
            error => io::Error::from(error),
        };
        rustix::fs::flock(&self.file, FlockOperation::NonBlockingLockExclusive).map_err(busy)?;
        rustix::fs::fcntl_lock(&self.file, FlockOperation::NonBlockingLockExclusive).map_err(busy)
    }

    /// Whether another process holds the record lock of the file, as far as the system tells.
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

/// Test-only: a file that a test opened itself.
#[cfg(test)]
impl From<std::fs::File> for File {
    fn from(file: std::fs::File) -> Self {
        let is_simulated = false;
        Self { file, is_simulated }
    }
}
