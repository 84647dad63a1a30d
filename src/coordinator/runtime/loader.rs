//! Loader that rebuilds a shard from its partition's log before the shard may answer requests. It blocks.

use bytes::Bytes;

use super::log::RecordLog;
use super::shard::{Marker, Origin, RawRecord, Shard};
use crate::base::ids::{LeaderEpoch, Offset, PartitionIndex};
use crate::wire::batch::header::{BatchHeader, HEADER_SIZE};
use crate::wire::batch::record::{decompressed, read_raw, records};
use crate::wire::batch::{BatchError, legacy, split_first};
use crate::wire::error_code::ErrorCode;

/// Bytes of batches that are read at a time (Kafka's `offsets.load.buffer.size`).
const READ_BYTES: usize = 5 << 20;
/// Limit of the decompressed size of one batch. Batches written here are usually not compressed; those of Apache Kafka may be.
const DECOMPRESSED_MAX: usize = 64 << 20;

/// Reason why a partition cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("the log cannot be read: {0}")]
    Log(ErrorCode),
    #[error("offset {offset}: {what}")]
    Record { offset: i64, what: String },
}

/// Numbers of records that were loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    pub records: u64,
    /// Records of kinds that this coordinator does not keep.
    pub skipped: u64,
}

/// Applies every record from the start of the log to its current end, as the leader of an epoch.
pub fn load<S: Shard>(
    log: &dyn RecordLog,
    partition: PartitionIndex,
    leader_epoch: LeaderEpoch,
    shard: &mut S,
) -> Result<Loaded, LoadError> {
    let bounds = log.bounds(partition, leader_epoch);
    let (mut from, end) = bounds.map_err(LoadError::Log)?;
    let mut loaded = Loaded::default();
    while from < end {
        let mut chunk = log
            .read(partition, leader_epoch, from, READ_BYTES)
            .map_err(LoadError::Log)?;
        let before = from;
        while let Some(batch) = split_first(&mut chunk) {
            let Ok(header) = BatchHeader::parse(&batch) else {
                // The batch was written by a coordinator of Kafka before 0.11.
                from = replay_old(&batch, from, shard, &mut loaded)?;
                continue;
            };
            if header.next_offset() > from {
                replay(&header, &batch, shard, &mut loaded)?;
                from = header.next_offset();
            }
        }
        if from == before {
            return Err(LoadError::Record {
                offset: from,
                what: "no whole batch is there".to_owned(),
            });
        }
    }
    Ok(loaded)
}

fn replay<S: Shard>(
    header: &BatchHeader,
    batch: &Bytes,
    shard: &mut S,
    loaded: &mut Loaded,
) -> Result<(), LoadError> {
    let wrong = |offset: i64, what: String| LoadError::Record { offset, what };
    if header.is_control() {
        if let Some(marker) = marker(header, batch) {
            shard.apply_marker(marker);
        }
        return Ok(());
    }
    let origin = if header.is_transactional() {
        Origin::Transaction(header.producer_id)
    } else {
        Origin::Plain
    };
    let body = decompressed(header, batch, DECOMPRESSED_MAX)
        .map_err(|error| wrong(header.base_offset, error.to_string()))?;
    for record in records(header, &body) {
        let record = record.map_err(|error| wrong(header.base_offset, error.to_string()))?;
        apply(record.key, record.value, origin, shard, loaded)
            .map_err(|what| wrong(record.offset, what))?;
    }
    Ok(())
}

/// Applies a message of the formats before record batches, or the messages in a compressed wrapper; returns the offset after
/// it.
fn replay_old<S: Shard>(
    message: &Bytes,
    from: Offset,
    shard: &mut S,
    loaded: &mut Loaded,
) -> Result<Offset, LoadError> {
    let wrong = |offset: i64, what: String| LoadError::Record { offset, what };
    let message =
        legacy::read_message(&mut &message[..]).map_err(|error| wrong(from, error.to_string()))?;
    let mut fault = None;
    message
        .each_record(DECOMPRESSED_MAX, |record| {
            if record.offset >= from && fault.is_none() {
                fault = apply(record.key, record.value, Origin::Plain, shard, loaded)
                    .err()
                    .map(|what| wrong(record.offset, what));
            }
            Ok::<(), BatchError>(())
        })
        .map_err(|error| wrong(message.offset, error.to_string()))?;
    match fault {
        Some(fault) => Err(fault),
        None => Ok(from.max(message.offset.saturating_add(1))),
    }
}

fn apply<S: Shard>(
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    origin: Origin,
    shard: &mut S,
    loaded: &mut Loaded,
) -> Result<(), String> {
    let Some(key) = key else {
        return Ok(());
    };
    // Key and value are copied, so that they do not keep the whole batch in memory.
    let raw = RawRecord {
        key: Bytes::copy_from_slice(key),
        value: value.map(Bytes::copy_from_slice),
    };
    loaded.records += 1;
    match S::decode(raw).map_err(|error| error.to_string())? {
        Some(known) => shard.apply(origin, &known),
        None => loaded.skipped += 1,
    }
    Ok(())
}

/// The transaction marker in a control batch: key `version i16, type i16`, value `version i16, epoch i32`.
fn marker(header: &BatchHeader, batch: &[u8]) -> Option<Marker> {
    let mut rest = batch.get(HEADER_SIZE..)?;
    let record = read_raw(&mut rest).ok()?;
    let commit = match record.key?.get(2..4)? {
        [0, 0] => false,
        [0, 1] => true,
        _ => return None,
    };
    let epoch: [u8; 4] = record.value?.get(2..6)?.try_into().ok()?;
    Some(Marker {
        producer_id: header.producer_id,
        producer_epoch: header.producer_epoch,
        coordinator_epoch: i32::from_be_bytes(epoch),
        commit,
    })
}
