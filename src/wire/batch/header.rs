//! pure: the header of a batch (the 61 bytes before its records), read and patched in place.
//!
//! ```text
//!  0 base offset i64 | 8 length i32 | 12 leader epoch i32 | 16 magic i8 | 17 crc u32 | 21 attributes i16
//! 23 last offset delta i32 | 27 base timestamp i64 | 35 max timestamp i64 | 43 producer id i64
//! 51 producer epoch i16 | 53 base sequence i32 | 57 record count i32 | 61 records
//! ```

use bytes::BytesMut;

use super::BatchError;
use super::compression::Compression;
use crate::base::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};
use crate::base::time::Timestamp;

/// Bytes of the base offset and the length, with which every message format begins.
pub const LOG_OVERHEAD: usize = 12;
/// Size of a batch's header, in bytes.
pub const HEADER_SIZE: usize = 61;
/// Number of leading bytes that are enough to know the message format.
pub const MAGIC_END: usize = 17;
/// Magic of format v2, which has batches; the formats v0 and v1 have single messages.
pub const MAGIC_V2: i8 = 2;

const LEADER_EPOCH_AT: usize = 12;
const CRC_AT: usize = 17;
/// Position of the first byte under the checksum, which covers everything up to the batch's end.
const CHECKED_FROM: usize = 21;
const ATTRIBUTES_AT: usize = 21;
const MAX_TIMESTAMP_AT: usize = 35;

const COMPRESSION_MASK: i16 = 0x07;
const LOG_APPEND_TIME: i16 = 0x08;
const TRANSACTIONAL: i16 = 0x10;
const CONTROL: i16 = 0x20;
const DELETE_HORIZON: i16 = 0x40;

/// Fields of a batch's header. Nothing in it has been checked against the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    pub base_offset: Offset,
    /// Size of the batch after the length field, in bytes.
    pub length: i32,
    pub leader_epoch: LeaderEpoch,
    pub magic: i8,
    pub crc: u32,
    pub attributes: i16,
    pub last_offset_delta: i32,
    /// Timestamp of the first record, or the delete horizon if the batch has one.
    pub base_timestamp: Timestamp,
    pub max_timestamp: Timestamp,
    pub producer_id: ProducerId,
    pub producer_epoch: ProducerEpoch,
    pub base_sequence: i32,
    pub record_count: i32,
}

impl BatchHeader {
    /// Reads the header at the front of `bytes`, which need not hold the records.
    ///
    /// Errors: `Short` below 61 bytes, `Size` for a length that no batch can have, `Magic` for any format but v2.
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        let Some((head, _)) = bytes.split_first_chunk::<HEADER_SIZE>() else {
            return match bytes.get(16) {
                Some(&magic) if magic as i8 != MAGIC_V2 => Err(BatchError::Magic(magic as i8)),
                _ => Err(BatchError::Short(bytes.len())),
            };
        };
        let magic = head[16] as i8;
        if magic != MAGIC_V2 {
            return Err(BatchError::Magic(magic));
        }
        let header = Self {
            base_offset: i64_at(head, 0),
            length: i32_at(head, 8),
            leader_epoch: i32_at(head, LEADER_EPOCH_AT),
            magic,
            crc: i32_at(head, CRC_AT) as u32,
            attributes: i16_at(head, ATTRIBUTES_AT),
            last_offset_delta: i32_at(head, 23),
            base_timestamp: i64_at(head, 27),
            max_timestamp: i64_at(head, MAX_TIMESTAMP_AT),
            producer_id: i64_at(head, 43),
            producer_epoch: i16_at(head, 51),
            base_sequence: i32_at(head, 53),
            record_count: i32_at(head, 57),
        };
        if header.length < (HEADER_SIZE - LOG_OVERHEAD) as i32 {
            return Err(BatchError::Size(header.length));
        }
        Ok(header)
    }

    /// Size of the whole batch, in bytes.
    pub fn size(&self) -> usize {
        self.length as usize + LOG_OVERHEAD
    }

    pub fn last_offset(&self) -> Offset {
        self.base_offset
            .saturating_add(i64::from(self.last_offset_delta))
    }

    pub fn next_offset(&self) -> Offset {
        self.last_offset().saturating_add(1)
    }

    pub fn compression(&self) -> Result<Compression, BatchError> {
        Compression::from_id((self.attributes & COMPRESSION_MASK) as u8)
    }

    /// Whether the timestamps of the records are the broker's append time instead of the producer's time.
    pub fn is_log_append_time(&self) -> bool {
        self.attributes & LOG_APPEND_TIME != 0
    }

    /// Timestamp of a record whose distance from the base timestamp is `timestamp_delta`.
    pub fn time_of(&self, timestamp_delta: i64) -> Timestamp {
        if self.is_log_append_time() {
            self.max_timestamp
        } else {
            // Wrapping, as the builder computes deltas: a delete horizon may be at any distance from a producer's arbitrary
            // time.
            self.base_timestamp.wrapping_add(timestamp_delta)
        }
    }

    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }

    /// Time after which tombstones and transaction markers of this batch may be removed, if compaction has set one.
    pub fn delete_horizon(&self) -> Option<Timestamp> {
        (self.attributes & DELETE_HORIZON != 0).then_some(self.base_timestamp)
    }

    pub fn has_producer_id(&self) -> bool {
        self.producer_id >= 0
    }

    /// Sequence number of the last record, -1 if the batch has none. Sequence numbers wrap from the largest to 0.
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence < 0 {
            -1
        } else {
            advance_sequence(self.base_sequence, self.last_offset_delta)
        }
    }

    /// Compares the stored checksum with that of `batch`, which is the whole batch. Errors: `Checksum`.
    pub fn verify(&self, batch: &[u8]) -> Result<(), BatchError> {
        let found = crc32c::crc32c(batch.get(CHECKED_FROM..).unwrap_or_default());
        if found == self.crc {
            Ok(())
        } else {
            Err(BatchError::Checksum {
                stored: self.crc,
                found,
            })
        }
    }
}

/// `sequence` plus `by`, wrapping from the largest number to 0.
pub fn advance_sequence(sequence: i32, by: i32) -> i32 {
    ((i64::from(sequence) + i64::from(by)) & i64::from(i32::MAX)) as i32
}

/// Writes the fields that the leader sets: the offset of the first record and the leader's epoch. Neither is under the
/// checksum. `header` is at least the first 16 bytes of a batch.
pub fn stamp(header: &mut [u8], base_offset: Offset, leader_epoch: LeaderEpoch) {
    header[..8].copy_from_slice(&base_offset.to_be_bytes());
    header[LEADER_EPOCH_AT..LEADER_EPOCH_AT + 4].copy_from_slice(&leader_epoch.to_be_bytes());
}

/// Gives a whole batch the timestamp type LogAppendTime with the time `now`, and renews its checksum.
pub fn stamp_append_time(batch: &mut [u8], now: Timestamp) {
    let attributes = i16_at(batch, ATTRIBUTES_AT) | LOG_APPEND_TIME;
    batch[ATTRIBUTES_AT..ATTRIBUTES_AT + 2].copy_from_slice(&attributes.to_be_bytes());
    batch[MAX_TIMESTAMP_AT..MAX_TIMESTAMP_AT + 8].copy_from_slice(&now.to_be_bytes());
    seal(batch);
}

/// Gives a whole batch the timestamp type CreateTime with the maximum timestamp `newest`, and renews its checksum.
pub fn set_max_timestamp(batch: &mut [u8], newest: Timestamp) {
    let attributes = i16_at(batch, ATTRIBUTES_AT) & !LOG_APPEND_TIME;
    batch[ATTRIBUTES_AT..ATTRIBUTES_AT + 2].copy_from_slice(&attributes.to_be_bytes());
    batch[MAX_TIMESTAMP_AT..MAX_TIMESTAMP_AT + 8].copy_from_slice(&newest.to_be_bytes());
    seal(batch);
}

/// The batch with this header and the same records in another codec. `body` is the records compressed with `codec`, `newest`
/// the maximum of their create times.
pub fn repacked(
    header: &[u8; HEADER_SIZE],
    codec: Compression,
    newest: Timestamp,
    body: &[u8],
) -> BytesMut {
    let mut batch = BytesMut::with_capacity(HEADER_SIZE + body.len());
    batch.extend_from_slice(header);
    batch.extend_from_slice(body);
    let length = (batch.len() - LOG_OVERHEAD) as i32;
    batch[8..LOG_OVERHEAD].copy_from_slice(&length.to_be_bytes());
    let attributes = i16_at(&batch, ATTRIBUTES_AT) & !COMPRESSION_MASK | i16::from(codec.id());
    batch[ATTRIBUTES_AT..ATTRIBUTES_AT + 2].copy_from_slice(&attributes.to_be_bytes());
    set_max_timestamp(&mut batch, newest);
    batch
}

/// Writes the checksum of a whole batch into its header.
pub fn seal(batch: &mut [u8]) {
    let crc = crc32c::crc32c(&batch[CHECKED_FROM..]);
    batch[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
}

/// Attribute bits that occur only in batches that a log has stamped or rewritten.
pub(super) fn further_attributes(log_append_time: bool, delete_horizon: bool) -> i16 {
    (if log_append_time { LOG_APPEND_TIME } else { 0 })
        | if delete_horizon { DELETE_HORIZON } else { 0 }
}

/// Attribute bits of a batch to build.
pub(super) fn attributes(compression: Compression, transactional: bool, control: bool) -> i16 {
    i16::from(compression.id())
        | if transactional { TRANSACTIONAL } else { 0 }
        | if control { CONTROL } else { 0 }
}

fn i16_at(bytes: &[u8], at: usize) -> i16 {
    i16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn i32_at(bytes: &[u8], at: usize) -> i32 {
    i32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn i64_at(bytes: &[u8], at: usize) -> i64 {
    (i64::from(i32_at(bytes, at)) << 32) | i64::from(i32_at(bytes, at + 4) as u32)
}
