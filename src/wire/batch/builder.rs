//! pure: builder for batches that the broker writes: coordinator and metadata records, transaction markers, rewritten batches
//! of compaction, converted messages of old formats.

use std::io::Write as _;

use bytes::Bytes;

use super::compression::{Compression, Levels, Packer};
use super::header::{self, BatchHeader, HEADER_SIZE, LOG_OVERHEAD, MAGIC_V2};
use super::legacy::Message;
use super::record::Record;
use super::varint;
use crate::base::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};
use crate::base::time::Timestamp;

/// Collects records and encodes them as one batch of format v2.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    compression: Compression,
    levels: Levels,
    base_offset: Offset,
    leader_epoch: LeaderEpoch,
    producer: (ProducerId, ProducerEpoch, i32),
    transactional: bool,
    control: bool,
    base_timestamp: Option<Timestamp>,
    max_timestamp: Timestamp,
    count: i32,
    last_offset_delta: i32,
    records: Vec<u8>,
    scratch: Vec<u8>,
    /// Attribute bits for the timestamp type and the delete horizon, which only rewritten batches have.
    further_attributes: i16,
    /// Last offset delta of the original, which a rewritten batch keeps even if its last records were removed.
    kept_last_offset_delta: Option<i32>,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self::new(Compression::None)
    }
}

impl BatchBuilder {
    pub fn new(compression: Compression) -> Self {
        Self {
            compression,
            levels: Levels::default(),
            base_offset: 0,
            leader_epoch: -1,
            producer: (-1, -1, -1),
            transactional: false,
            control: false,
            base_timestamp: None,
            max_timestamp: -1,
            count: 0,
            last_offset_delta: 0,
            records: Vec::new(),
            scratch: Vec::new(),
            further_attributes: 0,
            kept_last_offset_delta: None,
        }
    }

    /// A builder for the replacement of a batch, with the same offsets, producer, codec, attributes. Tombstones and markers may
    /// be removed after `delete_horizon`, if there is one.
    pub fn like(original: &BatchHeader, delete_horizon: Option<Timestamp>) -> Self {
        let mut this = Self::new(original.compression().unwrap_or_default())
            .at(original.base_offset, original.leader_epoch)
            .producer(
                original.producer_id,
                original.producer_epoch,
                original.base_sequence,
            );
        this.transactional = original.is_transactional();
        this.control = original.is_control();
        this.kept_last_offset_delta = Some(original.last_offset_delta);
        this.base_timestamp = delete_horizon;
        this.further_attributes =
            header::further_attributes(original.is_log_append_time(), delete_horizon.is_some());
        if original.is_log_append_time() {
            this.max_timestamp = original.max_timestamp;
        }
        this
    }

    /// A builder for the replacement of a batch whose records are all removed. The maximum timestamp is kept, because the
    /// expiry of the producer's state depends on it.
    pub fn emptied(original: &BatchHeader) -> Self {
        let mut this = Self::like(original, None);
        this.compression = Compression::None;
        this.max_timestamp = original.max_timestamp;
        this
    }

    /// A builder for the replacement of a message of format v0 or v1, or of some messages in a wrapper. The offsets of the
    /// records begin at `base_offset` and span `last_offset_delta`.
    pub fn in_place_of(
        wrapper: &Message<'_>,
        base_offset: Offset,
        last_offset_delta: i32,
        delete_horizon: Option<Timestamp>,
    ) -> Self {
        let mut this = Self::new(wrapper.compression).at(base_offset, -1);
        this.kept_last_offset_delta = Some(last_offset_delta);
        this.base_timestamp = delete_horizon;
        this.further_attributes =
            header::further_attributes(wrapper.log_append_time, delete_horizon.is_some());
        if wrapper.log_append_time {
            this.max_timestamp = wrapper.timestamp;
        }
        this
    }

    /// A builder for an empty batch that keeps only the offset and timestamp of a removed message, so that the log still
    /// reaches that offset.
    pub fn emptied_in_place_of(wrapper: &Message<'_>) -> Self {
        let mut this = Self::in_place_of(wrapper, wrapper.offset, 0, None);
        this.compression = Compression::None;
        this.max_timestamp = wrapper.timestamp;
        this
    }

    pub fn levels(mut self, levels: Levels) -> Self {
        self.levels = levels;
        self
    }

    /// Sets the offset of the first record and the leader epoch. A log overwrites both when it appends the batch.
    pub fn at(mut self, base_offset: Offset, leader_epoch: LeaderEpoch) -> Self {
        (self.base_offset, self.leader_epoch) = (base_offset, leader_epoch);
        self
    }

    pub fn producer(mut self, id: ProducerId, epoch: ProducerEpoch, base_sequence: i32) -> Self {
        self.producer = (id, epoch, base_sequence);
        self
    }

    pub fn transactional(mut self) -> Self {
        self.transactional = true;
        self
    }

    pub fn control(mut self) -> Self {
        self.control = true;
        self
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn count(&self) -> i32 {
        self.count
    }

    /// Size that the batch would have now without compression, in bytes.
    pub fn size(&self) -> usize {
        HEADER_SIZE + self.records.len()
    }

    pub fn push(&mut self, timestamp: Timestamp, key: Option<&[u8]>, value: Option<&[u8]>) {
        self.push_with_headers(self.count, timestamp, key, value, std::iter::empty());
    }

    /// Adds a record with headers. `offset_delta` is its distance from the base offset, and grows from record to record.
    pub fn push_with_headers<'a>(
        &mut self,
        offset_delta: i32,
        timestamp: Timestamp,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    ) {
        let timestamp_delta = self.count_in(timestamp);
        let body = &mut self.scratch;
        body.clear();
        body.push(0);
        varint::write_i64(body, timestamp_delta);
        varint::write_i32(body, offset_delta);
        put_bytes(body, key);
        put_bytes(body, value);
        let mut header_bytes = Vec::new();
        let mut header_count = 0;
        for (key, value) in headers {
            put_bytes(&mut header_bytes, Some(key));
            put_bytes(&mut header_bytes, value);
            header_count += 1;
        }
        varint::write_i32(body, header_count);
        body.extend_from_slice(&header_bytes);
        varint::write_i32(&mut self.records, body.len() as i32);
        self.records.extend_from_slice(body);
        self.last_offset_delta = offset_delta;
    }

    /// Counts a record that the caller encodes; returns the distance of its timestamp from the base timestamp.
    pub fn count_in(&mut self, timestamp: Timestamp) -> i64 {
        let base = *self.base_timestamp.get_or_insert(timestamp);
        self.max_timestamp = self.max_timestamp.max(timestamp);
        self.count += 1;
        timestamp.wrapping_sub(base)
    }

    /// Adds a record of the batch that this one replaces, at its original offset.
    pub fn copy(&mut self, original: &BatchHeader, record: &Record<'_>) {
        self.push_with_headers(
            (record.offset - original.base_offset) as i32,
            record.timestamp,
            record.key,
            record.value,
            record.headers(),
        );
    }

    /// The finished batch. Compression into memory should not fail; if it does, the records stay uncompressed.
    pub fn build(self) -> Bytes {
        let packed = match self.compression {
            Compression::None => None,
            codec => codec.compress(&self.records, self.levels).ok(),
        };
        match packed {
            Some(packed) => self.build_around(self.compression, &packed),
            None => self.build_around(Compression::None, &self.records),
        }
    }

    /// Moves the records that were added since the last call into `packer`, which compresses them while others are added.
    pub fn spill(&mut self, packer: &mut Packer) -> std::io::Result<()> {
        packer.write_all(&self.records)?;
        self.records.clear();
        Ok(())
    }

    /// The batch of all records that were added. `body` is these records, compressed with `codec`.
    pub fn build_around(&self, codec: Compression, body: &[u8]) -> Bytes {
        let (producer_id, producer_epoch, base_sequence) = self.producer;

        let mut out = Vec::with_capacity(HEADER_SIZE + body.len());
        out.extend_from_slice(&self.base_offset.to_be_bytes());
        out.extend_from_slice(&((HEADER_SIZE - LOG_OVERHEAD + body.len()) as i32).to_be_bytes());
        out.extend_from_slice(&self.leader_epoch.to_be_bytes());
        out.push(MAGIC_V2 as u8);
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(
            &(header::attributes(codec, self.transactional, self.control)
                | self.further_attributes)
                .to_be_bytes(),
        );
        let last_offset_delta = self
            .kept_last_offset_delta
            .unwrap_or(self.last_offset_delta);
        out.extend_from_slice(&last_offset_delta.to_be_bytes());
        out.extend_from_slice(&self.base_timestamp.unwrap_or(-1).to_be_bytes());
        out.extend_from_slice(&self.max_timestamp.to_be_bytes());
        out.extend_from_slice(&producer_id.to_be_bytes());
        out.extend_from_slice(&producer_epoch.to_be_bytes());
        out.extend_from_slice(&base_sequence.to_be_bytes());
        out.extend_from_slice(&self.count.to_be_bytes());
        out.extend_from_slice(body);
        header::seal(&mut out);
        Bytes::from(out)
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => {
            varint::write_i32(out, bytes.len() as i32);
            out.extend_from_slice(bytes);
        }
        None => varint::write_i32(out, -1),
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::{decompressed, records};
    use super::*;

    #[test]
    fn what_was_built_is_what_is_read() {
        for codec in [
            Compression::None,
            Compression::Gzip,
            Compression::Snappy,
            Compression::Lz4,
            Compression::Zstd,
        ] {
            let mut builder = BatchBuilder::new(codec).producer(7, 1, 40).transactional();
            builder.push(1000, Some(b"k"), Some(b"v"));
            builder.push(900, None, Some(&[9; 5000]));
            let headers: [(&[u8], Option<&[u8]>); 3] =
                [(b"h", Some(b"1")), (b"h", None), (b"", Some(b""))];
            builder.push_with_headers(2, 1100, Some(b""), None, headers.into_iter());
            let batch = builder.build();

            let header = BatchHeader::parse(&batch).unwrap();
            header.verify(&batch).unwrap();
            assert_eq!(header.size(), batch.len());
            assert_eq!((header.base_timestamp, header.max_timestamp), (1000, 1100));
            assert_eq!(
                (
                    header.last_offset_delta,
                    header.record_count,
                    header.last_sequence()
                ),
                (2, 3, 42)
            );
            assert!(header.is_transactional() && !header.is_control());
            let body = decompressed(&header, &batch, 1 << 20).unwrap();
            let read: Vec<_> = records(&header, &body).collect::<Result<_, _>>().unwrap();
            assert_eq!(read[0].key, Some(&b"k"[..]));
            assert_eq!((read[1].timestamp, read[1].offset), (900, 1));
            assert_eq!(read[2].headers().collect::<Vec<_>>(), headers);
            assert_eq!(read[2].value, None);
        }
    }

    #[test]
    fn times_are_read_as_they_were_written_however_far_apart() {
        let times = [1_700_000_000_000, i64::MIN, i64::MAX, -1, 0];
        let mut builder = BatchBuilder::default();
        for at in times {
            builder.push(at, None, None);
        }
        let batch = builder.build();
        let header = BatchHeader::parse(&batch).unwrap();
        let body = decompressed(&header, &batch, 1 << 20).unwrap();
        let read: Vec<_> = records(&header, &body)
            .map(|record| record.unwrap().timestamp)
            .collect();
        assert_eq!(read, times);
    }
}
