//! pure: message sets of the formats v0 and v1 (magic 0 and 1): reading, building and conversion to older formats.
//!
//! ```text
//! 0 offset i64 | 8 size i32 | 12 crc-32 u32, of all that follows | 16 magic i8 | 17 attributes i8
//! 18 timestamp i64, in v1 only | key: length i32, bytes | value: length i32, bytes
//! ```
//! Compressed messages are the value of another message, their wrapper, whose offset is that of the last message in it. Offsets
//! in a v0 wrapper are absolute; offsets in a v1 wrapper are relative to the first message (KIP-31, KIP-32).

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

/// Magic of format v0, which has no timestamps.
pub const MAGIC_V0: i8 = 0;
/// Magic of format v1, which has timestamps.
pub const MAGIC_V1: i8 = 1;

/// Bytes of the offset and the size before a message.
const OVERHEAD: usize = 12;
const CHECKED_FROM: usize = 16;
const COMPRESSION_MASK: u8 = 0x07;
const LOG_APPEND_TIME: u8 = 0x08;

/// One message of a set: a record, or the wrapper of compressed records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    pub offset: Offset,
    pub magic: i8,
    /// Codec of the messages in `value`, if this is a wrapper.
    pub compression: Compression,
    /// Whether the timestamp is the broker's append time.
    pub log_append_time: bool,
    /// -1 in format v0.
    pub timestamp: Timestamp,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
}

/// Reads the message at the front of `rest` and verifies its checksum.
///
/// Errors: `Short` if it is incomplete, `Size` for a negative size, `Magic` for another format, `Checksum`, `Message` for
/// lengths that do not fit, `CompressionKind` for an unknown codec.
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

/// Reads a length and as many bytes. The inner `None` is null, the outer `None` means that the bytes are incomplete.
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
    /// The compressed content of this wrapper, as the codec reads it.
    fn packed(&self) -> Result<Cow<'_, [u8]>, BatchError> {
        let packed = self
            .value
            .ok_or(BatchError::Message("a wrapper without content"))?;
        match self.compression {
            // zstd was added after these formats and is not allowed in them.
            Compression::Zstd => Err(BatchError::CompressionKind(Compression::Zstd.id())),
            Compression::Lz4 if self.magic == MAGIC_V0 => {
                Ok(Cow::Owned(lz4_frame::mend_checksum(packed)))
            }
            _ => Ok(Cow::Borrowed(packed)),
        }
    }

    /// The record of a message in this wrapper. `shift` is added to the message's offset.
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

    /// Passes this record, or each record in this wrapper, to `each`. Offsets are those in the messages, as the producer set
    /// them. Only one message of a wrapper is held at a time, and its decompression is [spent](crate::base::work_pool::spend)
    /// for.
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

    /// Passes this record, or each record in this wrapper, to `each`, with absolute offsets.
    ///
    /// Errors: those of [`read_message`], of decompression and of `each`, `Message` for a wrapper in a wrapper.
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

/// The offset of the last message in `set`.
fn last_offset(set: &[u8]) -> Result<Offset, BatchError> {
    let mut rest = set;
    let mut last = None;
    while !rest.is_empty() {
        last = Some(read_message(&mut rest)?.offset);
    }
    last.ok_or(BatchError::Message(NO_MESSAGES))
}

const NO_MESSAGES: &str = "a wrapper without messages";

/// Reads a whole message into `message`, without validating it; `false` at the end of `plain`. The memory for it grows with the
/// bytes that are read, not with the size that the message declares.
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
