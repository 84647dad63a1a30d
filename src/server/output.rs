//! Writing encoded answers to a socket: bytes by vectored writes, record data by sendfile from its file.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::AsFd;

use rustix::net::{SendAncillaryBuffer, SendFlags};
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::base::file_range::FileRange;
use crate::wire::codec::Part;

/// Buffers handed to one vectored write.
const SLICES_MAX: usize = 32;

/// Parts that wait to be written, in order.
#[derive(Debug, Default)]
pub struct Output {
    parts: VecDeque<Part>,
    /// Of the parts that are bytes.
    memory: usize,
    /// How much of the file in front may be sent without another look at the page cache.
    cached: usize,
}

/// How far writing came.
#[derive(Debug, PartialEq)]
pub enum Written {
    Everything,
    /// The next part must be read from a disk first: whoever sends it waits.
    Until(FileRange),
}

impl Output {
    pub fn push(&mut self, parts: Vec<Part>) {
        for part in parts {
            if let Part::Bytes(bytes) = &part {
                self.memory += bytes.len();
            }
            if !part.is_empty() {
                self.parts.push_back(part);
            }
        }
    }

    /// How many bytes wait in memory; what waits in files does not count.
    pub fn memory(&self) -> usize {
        self.memory
    }

    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Sends the file in front as it is, cold or not: it has been brought into the page cache.
    pub fn warmed(&mut self, len: usize) {
        self.cached = len;
    }

    /// Writes as much as the socket takes now. `WouldBlock` when it takes nothing more.
    pub fn write(&mut self, stream: &TcpStream) -> io::Result<Written> {
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
                    let mut offset = range.position;
                    let len = range.len.min(self.cached);
                    stream.try_io(Interest::WRITABLE, || {
                        Ok(rustix::fs::sendfile(
                            stream.as_fd(),
                            &*range.file,
                            Some(&mut offset),
                            len,
                        )?)
                    })?
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

    fn write_bytes(&self, stream: &TcpStream) -> io::Result<usize> {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let mut count = 0;
        for (slice, part) in slices.iter_mut().zip(&self.parts) {
            let Part::Bytes(bytes) = part else { break };
            *slice = IoSlice::new(bytes);
            count += 1;
        }
        // What follows goes into the same packet: a header in one of its own would wake the client twice.
        let mut flags = SendFlags::NOSIGNAL;
        flags.set(SendFlags::MORE, count < self.parts.len());
        stream.try_io(Interest::WRITABLE, || {
            let mut nothing = SendAncillaryBuffer::default();
            Ok(rustix::net::sendmsg(
                stream.as_fd(),
                &slices[..count],
                &mut nothing,
                flags,
            )?)
        })
    }

    fn advance(&mut self, mut written: usize) {
        while written > 0
            && let Some(front) = self.parts.front_mut()
        {
            let len = front.len();
            if let Part::Bytes(_) = front {
                self.memory -= len.min(written);
            }
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
