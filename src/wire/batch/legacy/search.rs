//! pure: search for a record in a wrapper, without holding all of the wrapper's decompressed messages.

use std::io::{self, BufRead, BufReader, Read};

use super::*;
use crate::wire::batch::record_stream::Counted;

/// Size of the buffer of decompressed bytes, in bytes.
const WINDOW_SIZE: usize = 64 * 1024;

impl Message<'_> {
    /// Offset and timestamp of the first record for which `wanted` holds: of this message, or of the records in this wrapper.
    /// At most `limit` bytes are decompressed. `count` gets the size of each piece; an error of `count` ends the search.
    ///
    /// A wrapper of format v1 is first read to its end: its records have offsets relative to the first record, and the wrapper
    /// has the offset of the last one.
    ///
    /// Errors: those of [`read_message`] and of decompression, `Message` for a wrapper in a wrapper.
    pub fn find_record(
        &self,
        limit: usize,
        mut wanted: impl FnMut(Offset, Timestamp) -> bool,
        mut count: impl FnMut(usize) -> io::Result<()>,
    ) -> Result<Option<(Offset, Timestamp)>, BatchError> {
        if self.compression == Compression::None {
            let record = (self.offset, self.timestamp);
            return Ok(wanted(record.0, record.1).then_some(record));
        }
        let mut shift = 0;
        if self.magic != MAGIC_V0 {
            let mut last = None;
            self.walk(limit, &mut count, |offset, _| {
                last = Some(offset);
                false
            })?;
            let last = last.ok_or(BatchError::Message("a wrapper without messages"))?;
            shift = self.offset.saturating_sub(last);
        }
        let mut found = None;
        self.walk(limit, &mut count, |offset, timestamp| {
            let record = (offset.saturating_add(shift), timestamp);
            found = wanted(record.0, record.1).then_some(record);
            found.is_some()
        })?;
        Ok(found)
    }

    /// Passes offset and timestamp of the messages in this wrapper to `enough`, with offsets as encoded, until it returns
    /// `true`.
    fn walk(
        &self,
        limit: usize,
        count: impl FnMut(usize) -> io::Result<()>,
        mut enough: impl FnMut(Offset, Timestamp) -> bool,
    ) -> Result<(), BatchError> {
        let packed = self.packed()?;
        let source = self.compression.reader(&packed[..])?.take(limit as u64);
        let mut plain = BufReader::with_capacity(WINDOW_SIZE, Counted { source, count });
        while !plain.fill_buf().map_err(refused)?.is_empty() {
            let (offset, timestamp) = self.skim(&mut plain)?;
            if enough(offset, timestamp) {
                break;
            }
        }
        Ok(())
    }

    /// Reads the next message in this wrapper, with the checks of [`read_message`], without holding the message.
    fn skim(&self, plain: &mut impl BufRead) -> Result<(Offset, Timestamp), BatchError> {
        let mut inner = Inner {
            plain,
            left: CHECKED_FROM,
            hash: crc32fast::Hasher::new(),
        };
        let offset = i64::from_be_bytes(inner.array()?);
        let size = i32::from_be_bytes(inner.array()?);
        let stored = u32::from_be_bytes(inner.array()?);
        inner.left = usize::try_from(size)
            .ok()
            .and_then(|size| size.checked_sub(CHECKED_FROM - OVERHEAD))
            .ok_or(BatchError::Size(size))?;
        inner.hash = crc32fast::Hasher::new();
        let [magic, attributes] = inner.array()?;
        if magic as i8 != self.magic || attributes & COMPRESSION_MASK != 0 {
            return Err(BatchError::Message(
                "a wrapper in a wrapper, or of another format",
            ));
        }
        let mut timestamp = -1;
        if self.magic != MAGIC_V0 {
            timestamp = i64::from_be_bytes(inner.array()?);
        }
        if self.log_append_time {
            timestamp = self.timestamp;
        }
        // Key and value.
        inner.skip_bytes()?;
        inner.skip_bytes()?;
        if inner.left > 0 {
            return Err(BatchError::Message("bytes remain after its value"));
        }
        match inner.hash.finalize() {
            found if found == stored => Ok((offset, timestamp)),
            found => Err(BatchError::Checksum { stored, found }),
        }
    }
}

/// A message that is being read: the number of its bytes that are left, and the checksum of those that were read.
struct Inner<'p, R> {
    plain: &'p mut R,
    left: usize,
    hash: crc32fast::Hasher,
}

impl<R: BufRead> Inner<'_, R> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], BatchError> {
        let mut bytes = [0; N];
        self.left = self.left.checked_sub(N).ok_or(BatchError::Short(N))?;
        self.plain.read_exact(&mut bytes).map_err(refused)?;
        self.hash.update(&bytes);
        Ok(bytes)
    }

    /// Skips a length and as many bytes, or null.
    fn skip_bytes(&mut self) -> Result<(), BatchError> {
        const UNFIT: BatchError = BatchError::Message("its key or its value does not fit");
        let length = i32::from_be_bytes(self.array()?);
        let Ok(mut length) = usize::try_from(length) else {
            return if length == -1 { Ok(()) } else { Err(UNFIT) };
        };
        self.left = self.left.checked_sub(length).ok_or(UNFIT)?;
        while length > 0 {
            let ready = self.plain.fill_buf().map_err(refused)?;
            let seen = &ready[..ready.len().min(length)];
            if seen.is_empty() {
                return Err(UNFIT);
            }
            self.hash.update(seen);
            let seen = seen.len();
            self.plain.consume(seen);
            length -= seen;
        }
        Ok(())
    }
}

fn refused(error: io::Error) -> BatchError {
    BatchError::Decompression(error.to_string())
}
