//! Scanner that reads the batches of a data file in order, and finds the fault where they end.

use std::fmt;
use std::mem;
use std::path::Path;

use bytes::Bytes;

use crate::base::ids::Offset;
use crate::host::disk::Disk;
use crate::host::file::File;
use crate::log::error::{DiskContext, StorageError};
use crate::log::segment::{Span, read_size_for_header};
use crate::wire::batch::header::{BatchHeader, LOG_OVERHEAD, MAGIC_V2};

/// Bytes that are read at a time when a segment is scanned.
const SCAN_BUFFER: usize = 1 << 20;
/// Largest size of a batch in bytes; a larger one ends the scan, because no such batch is ever accepted.
const BATCH_SIZE_MAX: usize = 1 << 30;
/// Position of the format number (magic) in a batch of any format.
const MAGIC_AT: usize = 16;

/// Reason why the batch at a position is not the next one of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// All bytes up to the end of the file are zero.
    Zeros,
    NoBatch,
    /// At least two complete batches of an unknown, later format. They must not be cut off, because a newer program may have
    /// written them. A single one is treated as damage by a crash, unless the stop was clean.
    Newer,
    /// The batch continues after the end of the file.
    Torn,
    Checksum,
    /// The batch's offsets are not above those before it.
    OffsetsBack,
    /// The batch's offsets belong to the next segment.
    BeyondSegment,
    /// The batch is valid, but its offsets are too far from the segment's base offset for the index.
    TooFar,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Zeros => "zeros up to the end of the file",
            Self::NoBatch => "no batch begins here",
            Self::Newer => "batches of an unknown format",
            Self::Torn => "the batch is longer than the file",
            Self::Checksum => "the checksum of the batch does not match",
            Self::OffsetsBack => "the offsets of the batch are not above those before it",
            Self::BeyondSegment => "the offsets of the batch belong to the next segment",
            Self::TooFar => "the offsets of the batch are too far from the segment's first",
        })
    }
}

/// Offsets that the next batch of a segment may have.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    pub base: Offset,
    /// Offset after the previous batch.
    pub next: Offset,
    /// Base offset of the next segment.
    pub below: Option<Offset>,
}

impl Expected {
    /// Reason why a batch cannot be the next one; the checksum is checked only if the bytes are given. Gaps are allowed because
    /// compaction leaves them.
    pub fn judge(&self, span: &Span, batch: Option<&Bytes>) -> Option<Flaw> {
        if span.base_offset < self.next.min(span.last_offset) || span.last_offset < self.next {
            Some(Flaw::OffsetsBack)
        } else if self.below.is_some_and(|below| span.last_offset >= below) {
            Some(Flaw::BeyondSegment)
        } else if batch.is_some_and(|batch| !checksum_holds(span, batch)) {
            Some(Flaw::Checksum)
        } else if span.last_offset - self.base > i64::from(i32::MAX) {
            Some(Flaw::TooFar)
        } else {
            None
        }
    }

    /// Whether the segment has all offsets up to the next segment.
    pub fn is_complete(&self) -> bool {
        self.below == Some(self.next)
    }
}

/// Whether the checksum of a whole batch, or message, is that of its bytes.
pub fn checksum_holds(span: &Span, batch: &Bytes) -> bool {
    if span.magic == MAGIC_V2 {
        return BatchHeader::parse(batch)
            .and_then(|header| header.verify(batch))
            .is_ok();
    }
    // In the old formats a CRC-32 covers all bytes after it.
    let stored = batch
        .get(12..16)
        .map(|crc| u32::from_be_bytes([crc[0], crc[1], crc[2], crc[3]]));
    stored == batch.get(16..).map(crc32fast::hash)
}

/// The bytes of a batch of a later format with the magic replaced by the newest known one; `None` if the magic is not later.
fn as_known(bytes: &[u8]) -> Option<Vec<u8>> {
    let magic = *bytes.get(MAGIC_AT)? as i8;
    let mut known = bytes.to_vec();
    known[MAGIC_AT] = MAGIC_V2 as u8;
    (magic > MAGIC_V2).then_some(known)
}

/// Reads the batches of a data file in order through a large buffer.
pub struct Scanner<'a> {
    disk: &'a Disk,
    file: File,
    path: &'a Path,
    size: u64,
    position: u64,
    buffer: Bytes,
    buffer_at: u64,
}

impl<'a> Scanner<'a> {
    pub fn open(disk: &'a Disk, path: &'a Path, size: u64) -> Result<Self, StorageError> {
        Self::open_at(disk, path, size, 0)
    }

    /// Opens a scanner whose first batch begins at `position`.
    pub fn open_at(
        disk: &'a Disk,
        path: &'a Path,
        size: u64,
        position: u64,
    ) -> Result<Self, StorageError> {
        let file = disk.open(path).at("open", path)?;
        Ok(Self {
            disk,
            file,
            path,
            size,
            position,
            buffer: Bytes::new(),
            buffer_at: 0,
        })
    }

    /// Position of the next batch.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The next batch; `None` at the end of the file or if no batch can begin here.
    pub fn next_batch(&mut self) -> Result<Option<(Span, Bytes)>, StorageError> {
        let Some(span) = self.peek()? else {
            return Ok(None);
        };
        let batch = self.window(span.size)?;
        self.position = span.end();
        Ok(Some((span, batch)))
    }

    /// Position and size of the next batch, without reading its records.
    pub fn next_span(&mut self) -> Result<Option<Span>, StorageError> {
        let span = self.peek()?;
        self.position = span.as_ref().map_or(self.position, Span::end);
        Ok(span)
    }

    fn peek(&mut self) -> Result<Option<Span>, StorageError> {
        let head = self.head()?;
        let span = Span::parse(&head, self.position);
        Ok(span.filter(|span| span.end() <= self.size && span.size <= BATCH_SIZE_MAX))
    }

    fn head(&mut self) -> Result<Bytes, StorageError> {
        self.window(read_size_for_header(self.size - self.position))
    }

    /// Reason why there is no next batch; `None` at the end of the file.
    pub fn flaw(&mut self) -> Result<Option<Flaw>, StorageError> {
        if self.position >= self.size {
            return Ok(None);
        }
        let head = self.head()?;
        if head.len() <= LOG_OVERHEAD || Span::parse(&head, self.position).is_some() {
            return Ok(Some(Flaw::Torn));
        }
        if self.several_are_newer()? {
            return Ok(Some(Flaw::Newer));
        }
        if head.iter().any(|byte| *byte != 0) {
            return Ok(Some(Flaw::NoBatch));
        }
        let from = self.position;
        let mut zeros = true;
        while zeros && self.position < self.size {
            let window = self.window(SCAN_BUFFER)?;
            zeros = !window.is_empty() && window.iter().all(|byte| *byte == 0);
            self.position += window.len() as u64;
        }
        self.position = from;
        Ok(Some(if zeros { Flaw::Zeros } else { Flaw::NoBatch }))
    }

    /// Size of the batch that begins here, if it is a valid batch of v2 except for its magic. The magic is not covered by the
    /// checksum, so the checksum tells a complete batch from garbage.
    pub fn newer(&mut self) -> Result<Option<usize>, StorageError> {
        if self.position >= self.size {
            return Ok(None);
        }
        let head = self.head()?;
        let Some(span) = as_known(&head).and_then(|known| Span::parse(&known, self.position))
        else {
            return Ok(None);
        };
        if span.end() > self.size || span.size > BATCH_SIZE_MAX {
            return Ok(None);
        }
        let batch = as_known(&self.window(span.size)?);
        let whole = batch.is_some_and(|batch| checksum_holds(&span, &Bytes::from(batch)));
        Ok(whole.then_some(span.size))
    }

    /// Whether two batches of a later format follow each other.
    fn several_are_newer(&mut self) -> Result<bool, StorageError> {
        let from = self.position;
        let Some(size) = self.newer()? else {
            return Ok(false);
        };
        self.position += size as u64;
        let second = self.newer();
        self.position = from;
        Ok(second?.is_some())
    }

    /// `len` bytes at the position, or fewer at the end of the file.
    fn window(&mut self, len: usize) -> Result<Bytes, StorageError> {
        let start = (self.position.saturating_sub(self.buffer_at)) as usize;
        if self.position >= self.buffer_at
            && let Some(end) = start
                .checked_add(len)
                .filter(|end| *end <= self.buffer.len())
        {
            return Ok(self.buffer.slice(start..end));
        }
        let wanted = len
            .max(SCAN_BUFFER)
            .min((self.size - self.position) as usize);
        // The memory of the previous window is reused, unless a batch of it is still in use. Otherwise the allocator would
        // return new memory each time, which the kernel has to clear.
        let mut bytes = mem::take(&mut self.buffer)
            .try_into_mut()
            .unwrap_or_default();
        bytes.resize(wanted, 0);
        let read = self
            .disk
            .read_through(&self.file, self.path, &mut bytes, self.position)
            .at("read", self.path)?;
        bytes.truncate(read);
        self.buffer = bytes.freeze();
        self.buffer_at = self.position;
        Ok(self.buffer.slice(..len.min(read)))
    }
}
