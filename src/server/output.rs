//! Queue of encoded answers that a connection writes to its socket. On a plain connection, bytes go out in vectored writes and
//! record data by sendfile. Through TLS, bytes and pieces of files are encrypted in chunks; a piece of a file ends at a page
//! boundary.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use crate::base::file_range::FileRange;
use crate::host::file::Reach;
use crate::host::socket::Socket;
use crate::transport::stream::{Session, Stream};
use crate::wire::codec::Part;

/// Largest number of buffers in one vectored write.
const SLICES_MAX: usize = 32;
/// Page size of files, in bytes. Through TLS, a piece of a file that does not fit into a chunk ends at a multiple of this.
const PAGE: u64 = 4 << 10;
/// Bytes that one connection encrypts before its task yields to others.
const SEALED_MAX: usize = 512 << 10;

/// Parts of answers that wait to be written, in order.
#[derive(Debug, Default)]
pub struct Output {
    parts: VecDeque<Part>,
    /// Total length of the parts that hold bytes, in bytes.
    memory: usize,
    /// Whether the socket has taken bytes since the last call of [`Output::has_moved`].
    moved: bool,
    /// Bytes of the file part at the front that are known to be in the page cache.
    cached: usize,
}

/// Why [`Output::write`] returned.
#[derive(Debug, PartialEq)]
pub enum Written {
    Everything,
    /// The connection has used up its share, though the socket may take more.
    Enough,
    /// The next part is not in the page cache. The caller has it read from the disk before the next write.
    Until(FileRange),
}

impl Output {
    pub fn push(&mut self, parts: Vec<Part>) {
        for part in parts {
            self.memory += in_memory(&part);
            if !part.is_empty() {
                self.parts.push_back(part);
            }
        }
    }

    /// Bytes that wait in memory. Parts in files do not count.
    pub fn memory(&self) -> usize {
        self.memory
    }

    /// Whether the socket has taken bytes since the last call.
    pub fn has_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Notes that the first `len` bytes of the file part at the front have been read into the page cache. The next write sends
    /// them without another look at the cache.
    pub fn warmed(&mut self, len: usize) {
        self.cached = len;
    }

    /// Writes as much as the socket takes now.
    ///
    /// Errors: `WouldBlock` when the socket is full.
    pub fn write(&mut self, stream: &mut Stream) -> io::Result<Written> {
        match stream {
            Stream::Plain(tcp) => self.write_plain(tcp),
            Stream::Tls(tcp, session) => self.write_sealed(tcp, session),
        }
    }

    /// Encrypts the next chunk only when the socket has taken the one before. A connection with a slow reader therefore holds
    /// at most one encrypted chunk.
    fn write_sealed(&mut self, tcp: &Socket, session: &mut Session) -> io::Result<Written> {
        let mut sealed = 0;
        loop {
            session.flush(tcp)?;
            if self.parts.is_empty() {
                session.rest();
                return Ok(Written::Everything);
            }
            if sealed >= SEALED_MAX {
                return Ok(Written::Enough);
            }
            let (len, cold) = session.seal(|room| self.gather(room))?;
            if let Some(cold) = cold.filter(|_| len == 0) {
                return Ok(Written::Until(cold));
            }
            sealed += len;
        }
    }

    /// Moves bytes from the front of the queue into `room`. Gives the number of bytes moved, and the file part that must be
    /// read from the disk first, if there is one.
    fn gather(&mut self, room: &mut [u8]) -> io::Result<(usize, Option<FileRange>)> {
        let mut filled = 0;
        while let Some(front) = self.parts.front()
            && let Some(space) = room.get_mut(filled..)
            && !space.is_empty()
        {
            let taken = match front {
                Part::Bytes(bytes) => {
                    let len = bytes.len().min(space.len());
                    space[..len].copy_from_slice(&bytes[..len]);
                    len
                }
                Part::File(range) => {
                    let (len, reach) = match self.cached {
                        0 => (range.len, Reach::Cache),
                        cached => (range.len.min(cached), Reach::Disk),
                    };
                    let len = to_whole_pages(range.position, len, space.len());
                    if len == 0 {
                        break;
                    }
                    match range.file.read_at(&mut space[..len], range.position, reach) {
                        // The file was truncated while it was being sent, so the answer cannot be completed.
                        Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                        Ok(read) => read,
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                            return Ok((filled, Some(range.clone())));
                        }
                        Err(error) => return Err(error),
                    }
                }
            };
            filled += taken;
            self.advance(taken);
        }
        Ok((filled, None))
    }

    fn write_plain(&mut self, stream: &Socket) -> io::Result<Written> {
        while let Some(front) = self.parts.front() {
            let written = match front {
                Part::Bytes(_) => self.write_bytes(stream)?,
                Part::File(range) => {
                    if self.cached == 0 {
                        self.cached = range.cached();
                    }
                    if self.cached == 0 {
                        return Ok(Written::Until(range.clone()));
                    }
                    let len = range.len.min(self.cached);
                    stream.send_file(&range.file, range.position, len)?
                }
            };
            if written == 0 {
                // The file was truncated while it was being sent, so the answer cannot be completed.
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.advance(written);
        }
        Ok(Written::Everything)
    }

    fn write_bytes(&self, stream: &Socket) -> io::Result<usize> {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let mut count = 0;
        for (slice, part) in slices.iter_mut().zip(&self.parts) {
            let Part::Bytes(bytes) = part else { break };
            *slice = IoSlice::new(bytes);
            count += 1;
        }
        // With more parts to follow, the kernel holds the packet back (`MSG_MORE`). A header in a packet of its own would wake
        // the client twice.
        stream.send(&slices[..count], count < self.parts.len())
    }

    fn advance(&mut self, mut written: usize) {
        self.moved = true;
        while written > 0
            && let Some(front) = self.parts.front_mut()
        {
            let len = front.len();
            self.memory -= in_memory(front).min(written);
            if written >= len {
                written -= len;
                self.parts.pop_front();
                self.cached = 0;
                continue;
            }
            match front {
                Part::Bytes(bytes) => drop(bytes.split_to(written)),
                Part::File(range) => {
                    range.position += written as u64;
                    range.len -= written;
                    self.cached = self.cached.saturating_sub(written);
                }
            }
            written = 0;
        }
    }
}

/// Number of bytes of a part that are in memory.
pub fn in_memory(part: &Part) -> usize {
    match part {
        Part::Bytes(bytes) => bytes.len(),
        Part::File(_) => 0,
    }
}

/// Number of bytes, of `len` bytes at `position` in a file, that go into `room`. If not all of them fit, the piece ends at a
/// page boundary.
fn to_whole_pages(position: u64, len: usize, room: usize) -> usize {
    if len <= room {
        return len;
    }
    let end = position + room as u64;
    (end - end % PAGE).saturating_sub(position) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_to_the_end_of_a_page() {
        assert_eq!(to_whole_pages(100, 50, 60), 50);
        assert_eq!(to_whole_pages(100, 90_000, 65_536), 65_436);
        assert_eq!(to_whole_pages(65_536, 90_000, 65_536), 65_536);
        assert_eq!(to_whole_pages(65_536, 90_000, 65_400), 61_440);
        assert_eq!(to_whole_pages(4_000, 90_000, 50), 0);
    }
}
