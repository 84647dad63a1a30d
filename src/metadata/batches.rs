//! pure: metadata records in Kafka's record batches, as in the metadata log and its snapshots.

use std::path::Path;

use bytes::Bytes;

use crate::base::ids::{LeaderEpoch, Offset};
use crate::base::time::Timestamp;
use crate::log::append::DECOMPRESSED_MAX;
use crate::log::error::{StorageError, malformed};
use crate::metadata::record::Record;
use crate::wire::batch::builder::BatchBuilder;
use crate::wire::batch::header::BatchHeader;
use crate::wire::batch::record::{decompressed, records};
use crate::wire::codec::{DecodeError, EncodeError, Writer};
use crate::wire::message::Message;

/// A batch of records, which are committed together; `first` is the offset of the first one.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    pub first: Offset,
    pub epoch: LeaderEpoch,
    pub records: Vec<Record>,
}

impl Batch {
    /// The records with their offsets.
    pub fn numbered(&self) -> impl Iterator<Item = (Offset, &Record)> {
        (self.first..).zip(&self.records)
    }

    /// Whether the batch consists of NoOpRecords.
    pub fn says_nothing(&self) -> bool {
        let mut records = self.records.iter();
        records.all(|record| matches!(record, Record::NoOp(_)))
    }
}

/// Encodes records as a batch, beginning at a level of `metadata.version`; returns the bytes and the level after the batch.
pub fn data_batch(
    records: &[Record],
    mut level: i16,
    now: Timestamp,
) -> Result<(Bytes, i16), EncodeError> {
    let mut builder = BatchBuilder::default();
    for record in records {
        level = record.metadata_version().unwrap_or(level);
        builder.push(now, None, Some(&record.encode(level)?));
    }
    Ok((builder.build(), level))
}

/// Builder of a batch with one control record of the quorum.
pub fn control_batch(
    kind: u8,
    value: &impl Message,
    now: Timestamp,
) -> Result<BatchBuilder, EncodeError> {
    let mut writer = Writer::default();
    value.write(&mut writer, 0)?;
    let mut builder = BatchBuilder::default().control();
    builder.push(now, Some(&[0, 0, 0, kind]), Some(&writer.into_bytes()));
    Ok(builder)
}

/// An entry of the metadata log, or of a snapshot.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    Data(Batch),
    /// A control record of the quorum: its type and its value.
    Control(u8, Bytes),
}

impl Piece {
    /// Calls `apply` for every metadata record; a control record has none.
    pub fn each_record(&self, mut apply: impl FnMut(&Record, Offset)) {
        if let Self::Data(batch) = self {
            for (offset, record) in batch.numbered() {
                apply(record, offset);
            }
        }
    }
}

/// Calls `take` for every entry in `bytes`, which were read from `path`; returns the offset after the last whole batch.
pub fn pieces(
    path: &Path,
    bytes: &Bytes,
    mut take: impl FnMut(Piece) -> Result<(), DecodeError>,
) -> Result<Offset, StorageError> {
    let mut rest = bytes.clone();
    let mut end = 0;
    while let Ok(header) = BatchHeader::parse(&rest)
        && header.size() <= rest.len()
    {
        let batch = rest.split_to(header.size());
        let wrong = |what: String| {
            malformed(
                path,
                format!("the batch at offset {}: {what}", header.base_offset),
            )
        };
        header
            .verify(&batch)
            .map_err(|error| wrong(error.to_string()))?;
        end = header.next_offset();
        let body = decompressed(&header, &batch, DECOMPRESSED_MAX)
            .map_err(|error| wrong(error.to_string()))?;
        let mut data = Batch {
            first: header.base_offset,
            epoch: header.leader_epoch,
            records: Vec::new(),
        };
        for (expected, record) in (header.base_offset..).zip(records(&header, &body)) {
            let record = record.map_err(|error| wrong(error.to_string()))?;
            let value = body.slice_ref(record.value.unwrap_or_default());
            if header.is_control() {
                let kind = record.key.and_then(|key| key.get(3)).copied();
                take(Piece::Control(kind.unwrap_or_default(), value))
                    .map_err(|error| wrong(error.to_string()))?;
                continue;
            }
            if record.offset != expected {
                return Err(wrong(format!("offset {expected} is missing in it")));
            }
            let decoded = Record::decode(value).map_err(|error| wrong(error.to_string()))?;
            data.records.push(decoded);
        }
        if !header.is_control() {
            take(Piece::Data(data)).map_err(|error| wrong(error.to_string()))?;
        }
    }
    Ok(end)
}

/// Calls `apply` for every metadata record in `bytes`, which were read from `path`; returns the offset after the last whole
/// batch.
pub fn fold(
    path: &Path,
    bytes: &Bytes,
    mut apply: impl FnMut(&Record, Offset),
) -> Result<Offset, StorageError> {
    pieces(path, bytes, |piece| {
        piece.each_record(&mut apply);
        Ok(())
    })
}

/// Holds records of a metadata transaction back until the transaction ends, so that either all of them are applied or none
/// (KIP-868).
#[derive(Debug, Default)]
pub struct Transactions {
    open: Option<Vec<(Record, Offset)>>,
}

impl Transactions {
    /// Calls `apply` for the record, or, at the end of a transaction, for the records held back.
    pub fn pass(
        &mut self,
        record: &Record,
        offset: Offset,
        mut apply: impl FnMut(&Record, Offset),
    ) {
        match record {
            Record::BeginTransaction(_) => self.open = Some(Vec::new()),
            Record::AbortTransaction(_) => self.open = None,
            Record::EndTransaction(_) => {
                for (record, offset) in self.open.take().into_iter().flatten() {
                    apply(&record, offset);
                }
            }
            record => match &mut self.open {
                Some(held) => held.push((record.clone(), offset)),
                None => apply(record, offset),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::record::schema::{
        AbortTransactionRecord, BeginTransactionRecord, EndTransactionRecord, NoOpRecord,
        ProducerIdsRecord,
    };

    fn ids(next: i64) -> Record {
        let record = ProducerIdsRecord {
            next_producer_id: next,
            ..Default::default()
        };
        record.into()
    }

    #[test]
    fn a_transaction_counts_as_a_whole_or_not_at_all() {
        let begin = || Record::from(BeginTransactionRecord::default());
        let end = || Record::from(EndTransactionRecord {});
        let abort = || Record::from(AbortTransactionRecord::default());
        let log = [
            ids(0),
            begin(),
            ids(1),
            ids(2),
            end(),
            begin(),
            ids(3),
            abort(),
            ids(4),
            begin(),
            ids(5),
        ];
        let mut transactions = Transactions::default();
        let mut seen = Vec::new();
        for (offset, record) in (10..).zip(&log) {
            transactions.pass(record, offset, |record, offset| {
                seen.push((record.clone(), offset));
            });
        }
        let expected = [(0, 10), (1, 12), (2, 13), (4, 18)];
        assert_eq!(seen, expected.map(|(next, offset)| (ids(next), offset)));
    }

    #[test]
    fn only_no_ops_say_nothing() {
        let batch = |records: Vec<Record>| Batch {
            first: 0,
            epoch: 1,
            records,
        };
        let no_op = || Record::from(NoOpRecord {});
        assert!(batch(vec![no_op(), no_op()]).says_nothing());
        assert!(!batch(vec![no_op(), ids(1)]).says_nothing());
    }
}
