//! pure: batches that decompress to more than the cleaner holds in memory. Their records pass through a window twice: once to
//! decide which records stay, and once to write them. Between the passes one bit is kept for each record.

use std::io::{self, Write as _};

use bytes::Bytes;

use super::key_map::{KeyHash, KeyHasher, KeyMap};
use crate::base::ids::Offset;
use crate::base::time::Timestamp;
use crate::log::append::DECOMPRESSED_MAX;
use crate::wire::batch::BatchError;
use crate::wire::batch::builder::BatchBuilder;
use crate::wire::batch::compression::{Levels, Packer};
use crate::wire::batch::header::{BatchHeader, HEADER_SIZE};
use crate::wire::batch::record_stream::{RecordStream, Sink, StreamFault, Window};
use crate::wire::batch::varint;

/// Limits of growth: a batch that grows to more than this multiple of its size when it is compressed again, plus `GROWTH_FREE`
/// bytes, is left unchanged.
const GROWTH_MAX: usize = 4;
const GROWTH_FREE: usize = 1 << 20;

/// Properties of a record that decide whether it stays.
#[derive(Clone, Copy, Debug)]
pub(super) struct Glimpse {
    pub(super) key: Option<KeyHash>,
    pub(super) offset: Offset,
    pub(super) is_tombstone: bool,
}

/// Calls `see` for each record of a batch, in order.
pub(super) fn each_record(
    header: &BatchHeader,
    batch: &[u8],
    map: &KeyMap,
    mut see: impl FnMut(Glimpse),
) -> Result<(), BatchError> {
    walk(header, batch, &mut |stream| {
        let mut key = map.hasher();
        let outline = stream.show(&mut key)?;
        see(Glimpse {
            key: outline.has_key.then(|| key.finish()),
            offset: offset_of(header, outline.offset_delta),
            is_tombstone: outline.is_tombstone,
        });
        Ok(())
    })
}

/// The batch with the records that stay, or the unchanged batch if the result would be too large.
pub(super) fn rebuild(
    header: &BatchHeader,
    batch: &Bytes,
    horizon: Option<Timestamp>,
    stays: &Bits,
) -> Result<Bytes, BatchError> {
    let codec = header.compression()?;
    let mut copier = Copier {
        header,
        builder: BatchBuilder::like(header, horizon),
        packer: Packer::new(codec, Levels::default())?,
        stays: false,
        head: Vec::new(),
        most: batch.len() * GROWTH_MAX + GROWTH_FREE,
    };
    let mut index = 0;
    let copied = walk(header, batch, &mut |stream| {
        copier.stays = stays.get(index);
        index += 1;
        stream.show(&mut copier).map(drop)
    });
    match copied {
        Err(BatchError::DecompressedTooLarge(_)) if copier.packer.packed_len() > copier.most => {
            return Ok(batch.clone());
        }
        copied => copied?,
    }
    let body = copier.packer.finish()?;
    Ok(copier.builder.build_around(codec, &body))
}

type Step<'a> = dyn FnMut(&mut RecordStream<'_, &mut dyn io::Read>) -> Result<(), StreamFault> + 'a;

/// Calls `step` for each record.
fn walk(header: &BatchHeader, batch: &[u8], step: &mut Step<'_>) -> Result<(), BatchError> {
    let packed = batch.get(HEADER_SIZE..).unwrap_or_default();
    header
        .compression()?
        .unpack(packed, DECOMPRESSED_MAX, |plain| {
            let mut window = Window::default();
            let mut stream = RecordStream::new(plain as &mut dyn io::Read, &mut window);
            for index in 0..header.record_count {
                step(&mut stream).map_err(|fault| match fault {
                    StreamFault::Record(what) => BatchError::Record { index, what },
                    StreamFault::Codec(error) => error.into(),
                })?;
            }
            match stream.is_at_end()? {
                true => Ok(()),
                false => Err(BatchError::TrailingBytes(1)),
            }
        })
}

fn offset_of(header: &BatchHeader, delta: i32) -> Offset {
    header.base_offset.saturating_add(i64::from(delta))
}

impl Sink for KeyHasher {
    fn key(&mut self, piece: &[u8]) {
        self.write(piece);
    }
}

/// Copies the records that stay.
struct Copier<'a> {
    header: &'a BatchHeader,
    builder: BatchBuilder,
    packer: Packer,
    /// Whether the current record stays.
    stays: bool,
    head: Vec<u8>,
    most: usize,
}

impl Sink for Copier<'_> {
    fn begin(&mut self, timestamp_delta: i64, rest: usize) -> io::Result<()> {
        if !self.stays {
            return Ok(());
        }
        if self.packer.packed_len() > self.most {
            return Err(io::Error::other(BatchError::DecompressedTooLarge(
                self.most,
            )));
        }
        let timestamp = if self.header.is_log_append_time() {
            self.header.max_timestamp
        } else {
            self.header.base_timestamp.wrapping_add(timestamp_delta)
        };
        let delta = self.builder.count_in(timestamp);
        let mut body = vec![0];
        varint::write_i64(&mut body, delta);
        self.head.clear();
        varint::write_i32(&mut self.head, (body.len() + rest) as i32);
        self.head.extend_from_slice(&body);
        self.packer.write_all(&self.head)
    }

    fn rest(&mut self, piece: &[u8]) -> io::Result<()> {
        match self.stays {
            true => self.packer.write_all(piece),
            false => Ok(()),
        }
    }
}

/// A vector of bits.
#[derive(Debug, Default)]
pub(super) struct Bits {
    words: Vec<u64>,
    len: usize,
}

impl Bits {
    pub(super) fn push(&mut self, bit: bool) {
        if self.len.is_multiple_of(64) {
            self.words.push(0);
        }
        if let Some(last) = self.words.last_mut() {
            *last |= u64::from(bit) << (self.len % 64);
        }
        self.len += 1;
    }

    fn get(&self, place: usize) -> bool {
        self.words
            .get(place / 64)
            .is_some_and(|word| word >> (place % 64) & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::chance::Chance;
    use crate::wire::batch::compression::Compression;
    use crate::wire::batch::record::{decompressed, records};

    const CODECS: [Compression; 5] = [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ];

    /// A batch with records of many sizes; one key does not fit into the window.
    fn batch(codec: Compression) -> Bytes {
        let mut builder = BatchBuilder::new(codec).at(1_000, 3);
        let values = [0, 1, 100, 70_000, 65_000, 3];
        for (index, size) in (0..).zip(values) {
            let key = vec![index as u8; if index == 2 { 150_000 } else { 9 }];
            let value = vec![7; size];
            builder.push_with_headers(
                index * 2,
                5_000 + i64::from(index),
                (index != 4).then_some(&key[..]),
                (index != 1).then_some(&value[..]),
                [(&b"h"[..], Some(&value[..]))].into_iter(),
            );
        }
        builder.build()
    }

    #[test]
    fn what_is_seen_in_a_window_is_what_is_there() {
        let map = KeyMap::new(&Chance::default(), 1_000, 0.9, 9).unwrap();
        for codec in CODECS {
            let batch = batch(codec);
            let header = BatchHeader::parse(&batch).unwrap();
            let body = decompressed(&header, &batch, usize::MAX >> 1).unwrap();
            let expected: Vec<_> = records(&header, &body)
                .flatten()
                .map(|record| {
                    let key = record.key.map(|key| map.hash(key));
                    (key, record.offset, record.value.is_none())
                })
                .collect();
            let mut seen = Vec::new();
            each_record(&header, &batch, &map, |one| {
                seen.push((one.key, one.offset, one.is_tombstone));
            })
            .unwrap();
            assert_eq!(seen, expected, "{}", codec.name());
        }
    }

    #[test]
    fn what_is_rebuilt_through_a_window_is_what_is_rebuilt_at_once() {
        for codec in CODECS {
            for horizon in [None, Some(9_000_000)] {
                let batch = batch(codec);
                let header = BatchHeader::parse(&batch).unwrap();
                let body = decompressed(&header, &batch, usize::MAX >> 1).unwrap();
                let mut at_once = BatchBuilder::like(&header, horizon);
                let mut stays = Bits::default();
                for (index, record) in records(&header, &body).flatten().enumerate() {
                    stays.push(index % 2 == 0);
                    if index % 2 == 0 {
                        at_once.copy(&header, &record);
                    }
                }
                let at_once = at_once.build();
                let through = rebuild(&header, &batch, horizon, &stays).unwrap();
                let plain = |batch: &Bytes| {
                    let header = BatchHeader::parse(batch).unwrap();
                    header.verify(batch).unwrap();
                    (
                        decompressed(&header, batch, usize::MAX >> 1).unwrap(),
                        header.max_timestamp,
                        header.last_offset_delta,
                        header.record_count,
                        header.delete_horizon(),
                    )
                };
                assert!(plain(&through) == plain(&at_once), "{}", codec.name());
            }
        }
    }
}
