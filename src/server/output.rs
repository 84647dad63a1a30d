//! Writing encoded answers to a socket: bytes by vectored writes, record data by sendfile from its file; through TLS in
//! chunks, into which files are read up to whole pages.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use crate::base::file_range::FileRange;
use crate::host::file::Reach;
use crate::host::socket::Socket;
use crate::transport::stream::{Session, Stream};
use crate::wire::codec::Part;

/// Buffers handed to one vectored write.
const SLICES_MAX: usize = 32;
/// Through TLS, parts of files end with a page of the file.
const PAGE: u64 = 4 << 10;
/// Bytes that one connection encrypts before others have their turn.
const SEALED_MAX: usize = 512 << 10;

/// Parts that wait to be written, in order.
#[derive(Debug, Default)]
pub struct Output {
    parts: VecDeque<Part>,
    /// Of the parts that are bytes.
    memory: usize,
    /// Whether the socket took anything since somebody asked.
    moved: bool,
    /// How much of the file in front may be sent without another look at the page cache.
    cached: usize,
}

/// How far writing came.
#[derive(Debug, PartialEq)]
pub enum Written {
    Everything,
    /// Others have their turn; the socket may take more.
    Enough,
    /// The next part must be read from a disk first: whoever sends it waits.
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

    /// How many bytes wait in memory; what waits in files does not count.
    pub fn memory(&self) -> usize {
        self.memory
    }

    /// Whether the socket took anything since this was asked last.
    pub fn has_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Sends the file in front as it is, cold or not: it has been brought into the page cache.
    pub fn warmed(&mut self, len: usize) {
        self.cached = len;
    }

    /// Writes as much as the socket takes now. `WouldBlock` when it takes nothing more.
    pub fn write(&mut self, stream: &mut Stream) -> io::Result<Written> {
        match stream {
            Stream::Plain(tcp) => self.write_plain(tcp),
            Stream::Tls(tcp, session) => self.write_sealed(tcp, session),
        }
    }

    /// A chunk is encrypted when the one before it was taken: a slow reader holds no more than one.
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

    /// Moves what fits into `room`; gives how much that is, and what had to be read from a disk first.
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
                        // A file that was cut while it was being sent: the answer cannot be finished any more.
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
                // A file that was cut while it was being sent: the answer cannot be finished any more.
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
        // What follows goes into the same packet: a header in one of its own would wake the client twice.
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

/// How many bytes of a part are in memory.
pub fn in_memory(part: &Part) -> usize {
    match part {
        Part::Bytes(bytes) => bytes.len(),
        Part::File(_) => 0,
    }
}

/// How much of `len` bytes from `position` goes into `room`: all of them, or else up to the end of a page.
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
