//! A stretch of a file that somebody else will send: how record bytes travel from the log to a socket without being read.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::host::file::{File, Looked, Reach};

/// How much is looked at, and brought into the page cache, at a time.
pub const PIECE: usize = 1 << 20;
/// Bytes from one look to the next: the kernel reads ahead in windows of about this size.
const LOOK_EVERY: usize = 256 << 10;
const PAGE: usize = 4 << 10;
/// Room of the reads that fill the page cache.
const SCRATCH: usize = 128 << 10;

/// `len` bytes of `file` from `position`. Holds the file open, so a segment that is deleted meanwhile stays readable.
#[derive(Clone, Debug)]
pub struct FileRange {
    pub file: Arc<File>,
    pub position: u64,
    pub len: usize,
}

impl FileRange {
    /// How many of the first bytes, at most a [`PIECE`], may be sent without waiting for a disk, as far as some looks tell; 0
    /// where the first look finds nothing. A file system that cannot tell holds everything in memory.
    pub fn cached(&self) -> usize {
        let piece = self.len.min(PIECE);
        // A short stretch has one look: what a page holds comes with it.
        let last = piece.checked_sub(1).filter(|last| *last >= PAGE);
        for at in (0..piece).step_by(LOOK_EVERY).chain(last) {
            match self.file.look(&mut [0], self.position + at as u64) {
                Looked::Cold => {
                    // Between a page that is there and one that is not, nobody knows: it may be on its way.
                    return (at - at % LOOK_EVERY).saturating_sub(LOOK_EVERY);
                }
                Looked::NobodyKnows => break,
                Looked::Read(_) => {}
            }
        }
        piece
    }

    /// Its bytes; waits for the disk.
    pub fn read(&self) -> io::Result<Bytes> {
        let mut bytes = BytesMut::zeroed(self.len);
        self.file.read_exact_at(&mut bytes, self.position)?;
        Ok(bytes.freeze())
    }

    /// The first [`PIECE`], and what follows it.
    pub fn split(&self) -> (Self, Self) {
        let len = self.len.min(PIECE);
        let [mut first, mut rest] = [self.clone(), self.clone()];
        first.len = len;
        rest.position += len as u64;
        rest.len -= len;
        (first, rest)
    }

    /// Brings it into the page cache; waits for the disk. Errors are left to those who read next.
    pub fn warm(&self) {
        let mut scratch = vec![0; self.len.min(SCRATCH)];
        let (mut position, mut left) = (self.position, self.len);
        while left > 0 {
            let room = left.min(scratch.len());
            match self
                .file
                .read_at(&mut scratch[..room], position, Reach::Disk)
            {
                Ok(0) | Err(_) => return,
                Ok(read) => {
                    position += read as u64;
                    left -= read;
                }
            }
        }
    }

    /// Tells the kernel that it will be read soon. A hint: nothing is lost with it.
    pub fn will_be_read(&self) {
        self.file.will_be_read(self.position, self.len);
    }
}

impl PartialEq for FileRange {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.file, &other.file)
            && self.position == other.position
            && self.len == other.len
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSliceMut;
    use std::os::unix::fs::FileExt;

    use rustix::io::{Errno, ReadWriteFlags};

    use super::*;

    #[test]
    fn what_was_evicted_is_seen_and_brought_back() {
        let len = 3 * PIECE + 5;
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&vec![7; len], 0).unwrap();
        file.sync_all().unwrap();
        let whole = FileRange {
            file: Arc::new(file.into()),
            position: 0,
            len,
        };
        assert_eq!(whole.cached(), PIECE);
        whole.file.forget_cached();
        let nowait = rustix::io::preadv2(
            &*whole.file,
            &mut [IoSliceMut::new(&mut [0])],
            0,
            ReadWriteFlags::NOWAIT,
        );
        if nowait == Err(Errno::OPNOTSUPP) {
            // It is in memory, and stays there.
            assert_eq!(whole.cached(), PIECE);
            return;
        }
        assert_eq!(whole.cached(), 0);
        let (first, rest) = whole.split();
        first.warm();
        assert_eq!((whole.cached(), rest.position), (PIECE, PIECE as u64));
        // What lies behind is another piece; the last has five bytes.
        let last = rest.split().1.split().1;
        assert_eq!((last.len, last.cached()), (5, 0));
        last.warm();
        assert_eq!(last.cached(), 5);
        assert_eq!(last.split().1.cached(), 0);
    }
}
