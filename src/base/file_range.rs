//! Part of a file that will be sent to a socket: record bytes reach a client without being read into this process.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::host::file::{File, Looked, Reach};

/// Number of bytes that are checked, and read into the page cache, at a time.
pub const PIECE: usize = 1 << 20;
/// Distance between two probes of the page cache. The kernel reads ahead in windows of about this size.
const LOOK_EVERY: usize = 256 << 10;
const PAGE: usize = 4 << 10;
/// Buffer size of reads that fill the page cache.
const SCRATCH: usize = 128 << 10;

/// `len` bytes of `file` at `position`. The file stays open, so the bytes of a deleted segment can still be read.
#[derive(Clone, Debug)]
pub struct FileRange {
    pub file: Arc<File>,
    pub position: u64,
    pub len: usize,
}

impl FileRange {
    /// Number of bytes from the start, at most a [`PIECE`], that are probably in the page cache, judged by probes at some
    /// positions. Zero if the first byte is not there. If the file system cannot tell, everything counts as cached.
    pub fn cached(&self) -> usize {
        let piece = self.len.min(PIECE);
        // A range of up to a page needs no second probe.
        let last = piece.checked_sub(1).filter(|last| *last >= PAGE);
        for at in (0..piece).step_by(LOOK_EVERY).chain(last) {
            match self.file.look(&mut [0], self.position + at as u64) {
                Looked::Cold => {
                    // The state between two probes is unknown, because pages may still be on their way from the disk. The
                    // result therefore ends at a cached probe or before it.
                    return (at - at % LOOK_EVERY).saturating_sub(LOOK_EVERY);
                }
                Looked::NobodyKnows => break,
                Looked::Read(_) => {}
            }
        }
        piece
    }

    /// Reads all bytes. Blocks on the disk.
    pub fn read(&self) -> io::Result<Bytes> {
        let mut bytes = BytesMut::zeroed(self.len);
        self.file.read_exact_at(&mut bytes, self.position)?;
        Ok(bytes.freeze())
    }

    /// The first [`PIECE`], and the rest.
    pub fn split(&self) -> (Self, Self) {
        let len = self.len.min(PIECE);
        let [mut first, mut rest] = [self.clone(), self.clone()];
        first.len = len;
        rest.position += len as u64;
        rest.len -= len;
        (first, rest)
    }

    /// Reads all bytes into the page cache. Blocks on the disk. Errors are ignored; the next reader meets them again.
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

    /// Advises the kernel to read the bytes ahead.
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
            // The file system holds its files in memory, so nothing can be evicted.
            assert_eq!(whole.cached(), PIECE);
            return;
        }
        assert_eq!(whole.cached(), 0);
        let (first, rest) = whole.split();
        first.warm();
        assert_eq!((whole.cached(), rest.position), (PIECE, PIECE as u64));
        // The rest has two more pieces; the last one has five bytes.
        let last = rest.split().1.split().1;
        assert_eq!((last.len, last.cached()), (5, 0));
        last.warm();
        assert_eq!(last.cached(), 5);
        assert_eq!(last.split().1.cached(), 0);
    }
}
