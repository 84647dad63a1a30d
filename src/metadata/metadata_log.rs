//! The metadata log: `__cluster_metadata-0` in a node's metadata directory, with Kafka's batches. Kafka's `KafkaRaftLog`.
//!
//! It knows offsets and epochs, but not the committed offset, which the quorum tracks.

use std::path::PathBuf;

use bytes::Bytes;

use super::batches::{Piece, Transactions, control_batch, data_batch, fold, pieces};
use super::quorum::upkeep::Upkeep;
use crate::base::ids::{LeaderEpoch, Offset, TopicPartition, Uuid};
use crate::base::time::Timestamp;
use crate::host::disk::Dir;
use crate::log::append::Origin;
use crate::log::error::{AppendError, DiskContext, StorageError, malformed};
use crate::log::high_watermark::HighWatermark;
use crate::log::partition_log::following::Replicated;
use crate::log::partition_log::{PartitionLog, ReadEnd};
use crate::log::recovery::Known;
use crate::log::settings::LogSettings;
use crate::metadata::record::Record;
use crate::wire::batch::header::BatchHeader;
use crate::wire::codec::DecodeError;
use crate::wire::message::Message;

/// Bytes of the log that are read at a time at start.
const LOAD_BYTES: usize = 4 << 20;

/// The metadata log of this node.
#[derive(Debug)]
pub struct MetadataLog {
    dir: PathBuf,
    log: PartitionLog,
    /// Level of `metadata.version` at the end of the log; it determines the versions of records.
    level: i16,
}

impl MetadataLog {
    /// Creates the directory, if it is missing, and its `partition.metadata` with the topic id.
    pub fn prepare(dir: Dir<'_>) -> Result<(), StorageError> {
        dir.disk.create_dir(dir.path).at("create", dir.path)?;
        if crate::log::dir::topic_id(dir)?.is_none() {
            // The file is missing or damaged. This node does not need it, but Apache Kafka does not start without it.
            crate::log::dir::write_partition_metadata(dir, Uuid::METADATA_TOPIC)?;
        }
        Ok(())
    }

    /// Opens the log. A log without segments begins at `start`, the end of the newest snapshot.
    pub fn open(
        place: Dir<'_>,
        upkeep: &Upkeep,
        clean: bool,
        start: Option<Offset>,
        now: Timestamp,
    ) -> Result<Self, StorageError> {
        let dir = place.path.to_owned();
        let settings = LogSettings {
            cleanup_delete: false,
            retention_ms: -1,
            segment_bytes: upkeep.segment_bytes,
            segment_ms: upkeep.segment_ms,
            // Deleted at once: the content is in a snapshot, and nothing else reads these files.
            file_delete_delay_ms: 0,
            ..LogSettings::default()
        };
        let known = Known {
            clean,
            recovery_point: 0,
            log_start: start.filter(|_| !has_segment(place)),
        };
        let partition = TopicPartition::new("__cluster_metadata", 0);
        let log = PartitionLog::open(
            place,
            partition,
            Uuid::METADATA_TOPIC,
            settings,
            known,
            HighWatermark::EVERYTHING,
            now,
        )?;
        Ok(Self { dir, log, level: 0 })
    }

    pub fn log_start(&self) -> Offset {
        self.log.reader().log_start()
    }

    pub fn log_end(&self) -> Offset {
        self.log.reader().log_end()
    }

    pub fn latest_epoch(&self) -> Option<LeaderEpoch> {
        self.log.reader().latest_epoch()
    }

    pub fn size(&self) -> u64 {
        self.log.reader().size()
    }

    /// Sets the level of `metadata.version` at the end of the log.
    pub fn written_at(&mut self, level: i16) {
        self.level = level;
    }

    /// Appends records as one batch; returns the offset of the first and the size of the batch in bytes.
    pub fn append(
        &mut self,
        records: &[Record],
        epoch: LeaderEpoch,
        now: Timestamp,
    ) -> Result<(Offset, usize), AppendError> {
        let (bytes, level) = data_batch(records, self.level, now)
            .map_err(|error| malformed(&self.dir, error.to_string()))?;
        let appended = self
            .log
            .append_as_leader(&bytes, epoch, Origin::Internal, now)?;
        self.level = level;
        Ok((appended.first_offset, bytes.len()))
    }

    /// Appends a control record of the quorum.
    pub fn append_control(
        &mut self,
        kind: u8,
        value: &impl Message,
        epoch: LeaderEpoch,
        now: Timestamp,
    ) -> Result<(), StorageError> {
        let batch = control_batch(kind, value, now)
            .map_err(|error| malformed(&self.dir, error.to_string()))?
            .build();
        let appended = self
            .log
            .append_as_leader(&batch, epoch, Origin::Internal, now);
        appended
            .map(drop)
            .map_err(|error| error.into_storage(&self.dir))
    }

    /// Appends whole batches from another member's log, which continue at the end of this one.
    pub fn append_copied(&mut self, batches: &Bytes, now: Timestamp) -> Result<(), StorageError> {
        let appended = Replicated::check(batches.clone()).and_then(|records| {
            let count = records.batches().len();
            self.log.append_as_follower(&records, count, now)
        });
        match appended {
            Ok(Some(_)) => Ok(()),
            Ok(None) => unreachable!("the metadata log never moves to another directory"),
            Err(error) => Err(error.into_storage(&self.dir)),
        }
    }

    /// Truncates the log at an offset.
    pub fn truncate_to(&mut self, end: Offset) -> Result<(), StorageError> {
        self.log.truncate_to(end)?;
        self.show_everything();
        Ok(())
    }

    /// Removes all records; the log continues at `start`. After a crash in between the log has no hole.
    pub fn start_anew_at(&mut self, start: Offset) -> Result<(), StorageError> {
        self.log.start_anew_at(start)?;
        self.show_everything();
        Ok(())
    }

    /// The quorum tracks the committed offset, so readers of the log are not limited.
    fn show_everything(&self) {
        self.log.high_watermark().set(HighWatermark::EVERYTHING);
    }

    /// See [`LeaderEpochs::end_of`](crate::log::leader_epoch::LeaderEpochs::end_of).
    pub fn end_of_epoch(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        self.log.reader().end_of_epoch(epoch)
    }

    /// Calls `take` for entries between two offsets, up to about `LOAD_BYTES`; returns the offset that was reached. `to` is the
    /// end of a batch, or later.
    pub fn pieces(
        &self,
        from: Offset,
        to: Offset,
        take: impl FnMut(Piece) -> Result<(), DecodeError>,
    ) -> Result<Offset, StorageError> {
        let plan = self
            .log
            .reader()
            .read(from, LOAD_BYTES, ReadEnd::LogEnd, true)
            .map_err(|error| malformed(&self.dir, error.to_string()))?;
        let Some(range) = plan.records else {
            return Ok(from);
        };
        let bytes = range.read().at("read", &self.dir)?;
        let bytes = bytes.slice(..below(&bytes, to));
        Ok(pieces(&self.dir, &bytes, take)?.max(from))
    }

    /// Makes everything appended so far durable.
    pub fn sync(&self, now: Timestamp) -> Result<(), StorageError> {
        self.log.flush(now)
    }

    /// Calls `apply` for every record from an offset to the end, except those of metadata transactions that have not ended;
    /// returns the number of bytes read.
    pub fn read(
        &self,
        from: Offset,
        mut apply: impl FnMut(&Record, Offset),
    ) -> Result<u64, StorageError> {
        let mut bytes_read = 0;
        let mut transactions = Transactions::default();
        let mut next = from;
        while next < self.log.reader().log_end() {
            let plan = self
                .log
                .reader()
                .read(next, LOAD_BYTES, ReadEnd::LogEnd, true)
                .map_err(|error| malformed(&self.dir, error.to_string()))?;
            let Some(range) = plan.records else { break };
            bytes_read += range.len as u64;
            let bytes = range.read().at("read", &self.dir)?;
            let read_to = fold(&self.dir, &bytes, |record, offset| {
                if offset >= next {
                    transactions.pass(record, offset, &mut apply);
                }
            })?;
            if read_to <= next {
                break;
            }
            next = read_to;
        }
        if next < self.log.reader().log_end() {
            // An image of only the records before would be a cluster that lacks some of its topics.
            let what = format!(
                "the metadata log ends at {}, but cannot be read from {next} on; 'monedula verify-log' says where it is damaged",
                self.log.reader().log_end()
            );
            return Err(malformed(&self.dir, what));
        }
        Ok(bytes_read)
    }

    /// Removes the segments that end before an offset.
    pub fn advance_start(&mut self, start: Offset, now: Timestamp) -> Result<(), StorageError> {
        self.log.advance_start(start, now)?;
        self.log.remove_doomed(now);
        Ok(())
    }

    /// Closes the log for a clean stop.
    pub fn close(&self) -> Result<(), StorageError> {
        self.log.close()
    }
}

/// Length in bytes of the batches that begin below an offset.
fn below(batches: &[u8], to: Offset) -> usize {
    let mut at = 0;
    while let Some(header) = batches
        .get(at..)
        .and_then(|rest| BatchHeader::parse(rest).ok())
        && header.base_offset < to
    {
        at += header.size();
    }
    at.min(batches.len())
}

fn has_segment(dir: Dir<'_>) -> bool {
    dir.disk.list(dir.path).is_ok_and(|entries| {
        let mut names = entries.iter().filter_map(|entry| entry.text());
        names.any(|name| name.ends_with(".log"))
    })
}
