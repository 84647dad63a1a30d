//! pure: message sets, the two formats before batches (magic 0 and 1), read, built and converted.
//!
//! ```text
//! 0 offset i64 | 8 size i32 | 12 crc-32 u32, of all that follows | 16 magic i8 | 17 attributes i8
//! 18 timestamp i64, in v1 only | key: length i32, bytes | value: length i32, bytes
//! ```
//! Compressed messages are the value of another message, their wrapper, whose offset is that of the last of them. Inside
//! of a v0 wrapper offsets are absolute, inside of a v1 wrapper they count from the first (KIP-31, KIP-32).

mod convert;
mod lz4_frame;
#[cfg(test)]
pub(crate) mod recordings;
mod search;
mod set_builder;
#[cfg(test)]
mod tests;

pub use convert::{Downgrade, downgrade};
pub use set_builder::SetBuilder;

use std::borrow::Cow;

use super::BatchError;
use super::compression::Compression;
use crate::base::ids::Offset;
use crate::base::time::Timestamp;

/// Message format v0 has no timestamps.
pub const MAGIC_V0: i8 = 0;
/// Message format v1 has.
pub const MAGIC_V1: i8 = 1;

/// Offset and size.
const OVERHEAD: usize = 12;
const CHECKED_FROM: usize = 16;
const COMPRESSION_MASK: u8 = 0x07;
const LOG_APPEND_TIME: u8 = 0x08;

/// One message as it stands in a set: a record, or the wrapper of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    pub offset: Offset,
    pub magic: i8,
    /// Of what `value` holds, when this is a wrapper.
    pub compression: Compression,
    /// Whether the timestamp is the broker's.
    pub log_append_time: bool,
    /// -1 in format v0.
    pub timestamp: Timestamp,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
}

/// Reads the message at the front of `rest` and checks its checksum.
///
/// Errors: `Short` when it is cut, `Magic` for another format, `Checksum`, `Message` for lengths that do not fit.
pub fn read_message<'a>(rest: &mut &'a [u8]) -> Result<Message<'a>, BatchError> {
    let short = || BatchError::Short(rest.len());
    let offset = i64::from_be_bytes(*rest.first_chunk().ok_or_else(short)?);
    let size = rest.get(8..OVERHEAD).and_then(|size| size.first_chunk());
    let size = i32::from_be_bytes(*size.ok_or_else(short)?);
    let size = usize::try_from(size).map_err(|_| BatchError::Size(size))?;
    let (whole, tail) = rest
        .split_at_checked(OVERHEAD.saturating_add(size))
        .ok_or_else(short)?;
    let [_, crc @ ..] = whole
        .get(OVERHEAD - 1..CHECKED_FROM)
        .and_then(|bytes| bytes.first_chunk::<5>())
        .ok_or_else(short)?;
    let checked = whole.get(CHECKED_FROM..).unwrap_or_default();
    let (stored, found) = (u32::from_be_bytes(*crc), crc32fast::hash(checked));
    let (magic, attributes, mut body) = match checked {
        [magic, attributes, body @ ..] => (*magic as i8, *attributes, body),
        _ => return Err(BatchError::Short(whole.len())),
    };
    if !(MAGIC_V0..=MAGIC_V1).contains(&magic) {
        return Err(BatchError::Magic(magic));
    }
    if stored != found {
        return Err(BatchError::Checksum { stored, found });
    }
    let timestamp = if magic == MAGIC_V0 {
        -1
    } else {
        let (timestamp, after) = body
            .split_first_chunk()
            .ok_or(BatchError::Message("its timestamp is cut"))?;
        body = after;
        i64::from_be_bytes(*timestamp)
    };
    let key = read_bytes(&mut body).ok_or(BatchError::Message("its key does not fit"))?;
    let value = read_bytes(&mut body).ok_or(BatchError::Message("its value does not fit"))?;
    if !body.is_empty() {
        return Err(BatchError::Message("bytes remain after its value"));
    }
    *rest = tail;
    Ok(Message {
        offset,
        magic,
        compression: Compression::from_id(attributes & COMPRESSION_MASK)?,
        log_append_time: magic > MAGIC_V0 && attributes & LOG_APPEND_TIME != 0,
        timestamp,
        key,
        value,
    })
}

/// A length and as many bytes; the inner `None` is null, the outer one means that they do not fit.
fn read_bytes<'a>(bytes: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let (length, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    let length = i32::from_be_bytes(*length);
    if length < 0 {
        return (length == -1).then_some(None);
    }
    let (head, tail) = bytes.split_at_checked(length as usize)?;
    *bytes = tail;
    Some(Some(head))
}

impl Message<'_> {
    /// The set of messages inside of a wrapper, at most `limit` bytes.
    fn unpack(&self, limit: usize) -> Result<Vec<u8>, BatchError> {
        self.compression.decompress(&self.packed()?, limit)
    }

    /// What the codec reads.
    fn packed(&self) -> Result<Cow<'_, [u8]>, BatchError> {
        let packed = self
            .value
            .ok_or(BatchError::Message("a wrapper without content"))?;
        match self.compression {
            // The codec came after these formats.
            Compression::Zstd => Err(BatchError::CompressionKind(Compression::Zstd.id())),
            Compression::Lz4 if self.magic == MAGIC_V0 => {
                Ok(Cow::Owned(lz4_frame::mend_checksum(packed)))
            }
            _ => Ok(Cow::Borrowed(packed)),
        }
    }

    /// Shows this record, or the records inside of this wrapper, with their own offsets and times.
    ///
    /// Errors: those of [`read_message`] and of decompression, `Message` for a wrapper in a wrapper; `each`'s own.
    pub fn each_record<E: From<BatchError>>(
        &self,
        limit: usize,
        mut each: impl FnMut(Message<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.compression == Compression::None {
            return each(*self);
        }
        let plain = self.unpack(limit)?;
        let shift = if self.magic == MAGIC_V0 {
            0
        } else {
            self.offset.saturating_sub(last_offset(&plain)?)
        };
        let mut rest = &plain[..];
        while !rest.is_empty() {
            let inner = read_message(&mut rest)?;
            if inner.compression != Compression::None || inner.magic != self.magic {
                return Err(
                    BatchError::Message("a wrapper in a wrapper, or of another format").into(),
                );
            }
            each(Message {
                offset: inner.offset.saturating_add(shift),
                timestamp: if self.log_append_time {
                    self.timestamp
                } else {
                    inner.timestamp
                },
                log_append_time: self.log_append_time,
                ..inner
            })?;
        }
        Ok(())
    }
}

/// The offset of the last message of a set, which need not be checked yet.
fn last_offset(set: &[u8]) -> Result<Offset, BatchError> {
    let mut rest = set;
    let mut last = None;
    while !rest.is_empty() {
        last = Some(read_message(&mut rest)?.offset);
    }
    last.ok_or(BatchError::Message("a wrapper without messages"))
}
