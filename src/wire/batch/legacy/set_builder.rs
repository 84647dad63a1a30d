//! pure: builder for message sets, for clients that read only old formats and for compacted segments of old formats.

use super::{LOG_APPEND_TIME, MAGIC_V0, MAGIC_V1, Message, OVERHEAD, lz4_frame};
use crate::base::ids::Offset;
use crate::base::time::Timestamp;
use crate::wire::batch::compression::{Compression, Levels};

/// Collects records and encodes them as messages, or as one wrapper if they are compressed.
#[derive(Clone, Debug)]
pub struct SetBuilder {
    magic: i8,
    compression: Compression,
    levels: Levels,
    log_append_time: bool,
    set: Vec<u8>,
    first: Option<Offset>,
    last: Offset,
    max_timestamp: Timestamp,
}

impl SetBuilder {
    /// `magic` is that of format v0 or v1. `compression` is a codec of these formats, which zstd is not.
    pub fn new(magic: i8, compression: Compression, log_append_time: bool) -> Self {
        Self {
            magic,
            compression,
            levels: Levels::default(),
            log_append_time: log_append_time && magic > MAGIC_V0,
            set: Vec::new(),
            first: None,
            last: 0,
            max_timestamp: -1,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    /// Adds a record. Offsets must ascend. Format v0 does not store the timestamp.
    pub fn push(
        &mut self,
        offset: Offset,
        timestamp: Timestamp,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) {
        let first = *self.first.get_or_insert(offset);
        let relative = self.compression != Compression::None && self.magic == MAGIC_V1;
        self.last = offset;
        self.max_timestamp = self.max_timestamp.max(timestamp);
        let message = Message {
            offset: if relative { offset - first } else { offset },
            magic: self.magic,
            compression: Compression::None,
            log_append_time: self.log_append_time,
            timestamp,
            key,
            value,
        };
        write_message(&mut self.set, &message);
    }

    /// The message set; empty if no record was added.
    pub fn build(self) -> Vec<u8> {
        if self.compression == Compression::None || self.set.is_empty() {
            return self.set;
        }
        // Compression into memory should not fail; if it does, the set is returned without a wrapper.
        let Ok(packed) = self.compression.compress(&self.set, self.levels) else {
            return self.set;
        };
        let packed = match self.compression {
            Compression::Lz4 if self.magic == MAGIC_V0 => lz4_frame::break_checksum(packed),
            _ => packed,
        };
        let mut out = Vec::with_capacity(packed.len() + 64);
        let wrapper = Message {
            offset: self.last,
            magic: self.magic,
            compression: self.compression,
            log_append_time: self.log_append_time,
            timestamp: self.max_timestamp,
            key: None,
            value: Some(&packed),
        };
        write_message(&mut out, &wrapper);
        out
    }
}

fn write_message(out: &mut Vec<u8>, message: &Message<'_>) {
    let start = out.len();
    let checked = start + OVERHEAD + 4;
    out.extend_from_slice(&message.offset.to_be_bytes());
    out.extend_from_slice(&[0; 8]);
    out.push(message.magic as u8);
    out.push(message.compression.id() | (u8::from(message.log_append_time) * LOG_APPEND_TIME));
    if message.magic > MAGIC_V0 {
        out.extend_from_slice(&message.timestamp.to_be_bytes());
    }
    for bytes in [message.key, message.value] {
        let length = bytes.map_or(-1, |bytes| bytes.len() as i32);
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(bytes.unwrap_or_default());
    }
    let size = (out.len() - start - OVERHEAD) as i32;
    let crc = crc32fast::hash(&out[checked..]);
    out[start + 8..start + OVERHEAD].copy_from_slice(&size.to_be_bytes());
    out[start + OVERHEAD..checked].copy_from_slice(&crc.to_be_bytes());
}
