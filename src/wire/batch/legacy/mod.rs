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
use std::io::{BufRead, BufReader, Read};

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

    /// A message of this wrapper as a record.
    fn inner<'a>(&self, inner: Message<'a>, shift: Offset) -> Result<Message<'a>, BatchError> {
        if inner.compression != Compression::None || inner.magic != self.magic {
            return Err(BatchError::Message(
                "a wrapper in a wrapper, or of another format",
            ));
        }
        Ok(Message {
            offset: inner.offset.saturating_add(shift),
            timestamp: if self.log_append_time {
                self.timestamp
            } else {
                inner.timestamp
            },
            log_append_time: self.log_append_time,
            ..inner
        })
    }

    /// Shows this record, or the records inside of this wrapper, as they come: offsets are those that their producer gave
    /// them. Of a wrapper no more than one message is held at a time, and [spent](crate::base::work_pool::spend) for.
    ///
    /// Errors: those of [`Self::each_record`], and `Exhausted`.
    pub fn each_in_turn<E: From<BatchError>>(
        &self,
        limit: usize,
        mut each: impl FnMut(Message<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.compression == Compression::None {
            return each(*self);
        }
        self.compression.unpack(&self.packed()?, limit, |plain| {
            let mut plain = BufReader::new(plain);
            let mut message = Vec::new();
            let mut is_empty = true;
            while read_whole(&mut plain, &mut message)? {
                is_empty = false;
                self.inner(read_message(&mut &message[..])?, 0)
                    .map_err(E::from)
                    .and_then(&mut each)?;
            }
            match is_empty && self.magic > MAGIC_V0 {
                true => Err(BatchError::Message(NO_MESSAGES).into()),
                false => Ok(()),
            }
        })
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
        let plain = self.compression.decompress(&self.packed()?, limit)?;
        let shift = if self.magic == MAGIC_V0 {
            0
        } else {
            self.offset.saturating_sub(last_offset(&plain)?)
        };
        let mut rest = &plain[..];
        while !rest.is_empty() {
            each(self.inner(read_message(&mut rest)?, shift)?)?;
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
    last.ok_or(BatchError::Message(NO_MESSAGES))
}

const NO_MESSAGES: &str = "a wrapper without messages";

/// Reads a whole message, which need not be good, into `message`; `false` where there is none. Its memory grows with the
/// bytes that come, not with what they promise.
fn read_whole(plain: &mut impl BufRead, message: &mut Vec<u8>) -> Result<bool, BatchError> {
    if plain.fill_buf()?.is_empty() {
        return Ok(false);
    }
    message.clear();
    let short = |message: &Vec<u8>| BatchError::Short(message.len());
    plain.take(OVERHEAD as u64).read_to_end(message)?;
    let size = message.get(8..OVERHEAD).and_then(|size| size.first_chunk());
    let size = i32::from_be_bytes(*size.ok_or_else(|| short(message))?);
    let size = usize::try_from(size).map_err(|_| BatchError::Size(size))?;
    if plain.take(size as u64).read_to_end(message)? < size {
        return Err(short(message));
    }
    Ok(true)
}
