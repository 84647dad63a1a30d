//! The quorum of one: `__cluster_metadata-0` in this node's metadata directory, with Kafka's batches and snapshots.
//!
//! ```text
//! 1. records are appended as one batch; 2. the file is synced; 3. they are committed, and the image shows them.
//! ```
//! After a crash before 2 the batch is there or not, whole or cut off by recovery: nobody was told of it.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::base::ids::{BrokerId, LeaderEpoch, Offset, TopicPartition, Uuid};
use crate::base::time::Timestamp;
use crate::host::disk::Dir;
use crate::host::file_time::FileTime;
use crate::log::append::{DECOMPRESSED_MAX, Origin, SNAPSHOT_FOOTER, control_kind};
use crate::log::checkpoint;
use crate::log::disk;
use crate::log::error::{AppendError, DiskContext, StorageError, malformed};
use crate::log::manager::METADATA_LOG;
use crate::log::partition_log::{PartitionLog, ReadEnd};
use crate::log::recovery::{Known, Scanner};
use crate::log::settings::LogSettings;
use crate::metadata::bootstrap::check_features;
use crate::metadata::image::records::records_of;
use crate::metadata::image::{Delta, Image};
use crate::metadata::quorum::upkeep::{Snapshot, Upkeep};
use crate::metadata::record::Record;
use crate::metadata::record::schema::NoOpRecord;
use crate::wire::batch::builder::BatchBuilder;
use crate::wire::batch::header::{BatchHeader, MAGIC_V2};
use crate::wire::batch::record::{decompressed, records};
use crate::wire::codec::Writer;
use crate::wire::message::Message;
use crate::wire::message::embedded::{
    LeaderChangeMessage, LeaderChangeVoter, SnapshotFooterRecord, SnapshotHeaderRecord,
};

/// Bytes after which a batch of a snapshot is closed.
const SNAPSHOT_BATCH_BYTES: usize = 1 << 20;
/// Bytes of the log read at a time on start.
const LOAD_BYTES: usize = 4 << 20;
/// A batch of metadata is never larger.
const BATCH_BYTES_MAX: u32 = 8 << 20;

/// What Apache Kafka's formatter leaves beside the logs for the first start.
const BOOTSTRAP_CHECKPOINT: &str = "bootstrap.checkpoint";

const LEADER_CHANGE: u8 = 2;
const SNAPSHOT_HEADER: u8 = 3;

/// See the module.
#[derive(Debug)]
pub struct SingleQuorum {
    dir: PathBuf,
    log: PartitionLog,
    epoch: LeaderEpoch,
    upkeep: Upkeep,
    /// Bytes appended since the newest snapshot.
    since_snapshot: u64,
    /// When the oldest record was appended that is in no snapshot.
    oldest_unsaved: Option<Timestamp>,
    /// When the last record was appended that says nothing.
    idle_since: Timestamp,
    /// Of `metadata.version`, in whose record versions is written.
    level: i16,
}

impl SingleQuorum {
    /// Opens the metadata log, folds it, and begins a new epoch as its leader.
    pub fn open(
        place: Dir<'_>,
        node_id: BrokerId,
        clean: bool,
        upkeep: Upkeep,
        now: Timestamp,
    ) -> Result<(Self, Image), StorageError> {
        let Dir { disk, path } = place;
        let dir = path.join(METADATA_LOG);
        let mut image = Image::empty();
        let mut delta = Delta::default();
        if !dir.exists() {
            fs::create_dir_all(&dir).at("create", &dir)?;
        }
        if crate::log::dir::topic_id(&dir)?.is_none() {
            // New, or damaged: this node can do without, but Apache Kafka does not start then.
            crate::log::dir::write_partition_metadata(&dir, Uuid::METADATA_TOPIC)?;
        }
        let snapshot = snapshots(&dir)?.pop();
        if let Some(snapshot) = &snapshot {
            let path = snapshot_path(&dir, snapshot.end, snapshot.epoch);
            let folded = fold_snapshot(&path, |record, _| {
                image.apply(record, snapshot.end - 1, &mut delta)
            });
            named(folded, &dir, &image)?;
            image.offset = image.offset.max(snapshot.end - 1);
            image.epoch = snapshot.epoch;
        }
        let settings = LogSettings {
            cleanup_delete: false,
            max_message_bytes: BATCH_BYTES_MAX,
            retention_ms: -1,
            segment_bytes: upkeep.segment_bytes,
            segment_ms: upkeep.segment_ms,
            // What goes is in a snapshot, and nobody else reads these files.
            file_delete_delay_ms: 0,
            ..LogSettings::default()
        };
        let known = Known {
            clean,
            recovery_point: 0,
            log_start: snapshot
                .as_ref()
                .map(|snapshot| snapshot.end)
                .filter(|_| !has_segment(&dir)),
        };
        let partition = TopicPartition::new("__cluster_metadata", 0);
        let log = PartitionLog::open(
            disk.dir(&dir),
            partition,
            Uuid::METADATA_TOPIC,
            settings,
            known,
            Offset::MAX,
            now,
        )?;
        let loaded = load(&dir, &log, &mut image, &mut delta);
        // Before anything is written.
        let unsaved = named(loaded, &dir, &image)?;

        let epoch = log.latest_epoch().unwrap_or(0).max(image.epoch).max(0) + 1;
        let this = Self {
            dir,
            log,
            epoch,
            upkeep,
            since_snapshot: unsaved,
            oldest_unsaved: (unsaved > 0).then_some(now),
            idle_since: now,
            level: image.metadata_version(),
        };
        this.write_quorum_state(node_id)?;
        this.announce_leader(node_id, now)?;
        image.epoch = epoch;
        image.offset = this.log.log_end() - 1;
        Ok((this, image))
    }

    pub fn epoch(&self) -> LeaderEpoch {
        self.epoch
    }

    pub fn log_end(&self) -> Offset {
        self.log.log_end()
    }

    /// Commits records as one batch; gives the offset of the first. They count only once this has returned.
    pub fn commit(&mut self, batch: &[Record], now: Timestamp) -> Result<Offset, AppendError> {
        let mut builder = BatchBuilder::default();
        let mut level = self.level;
        for record in batch {
            level = record.metadata_version().unwrap_or(level);
            let value = record
                .encode(level)
                .map_err(|error| malformed(&self.dir, error.to_string()))?;
            builder.push(now, None, Some(&value));
        }
        let bytes = builder.build();
        let appended = self
            .log
            .append_alone(&bytes, self.epoch, Origin::Internal, now)?;
        self.level = level;
        self.since_snapshot += bytes.len() as u64;
        self.oldest_unsaved.get_or_insert(now);
        Ok(appended.first_offset)
    }

    /// Makes everything committed so far durable.
    pub fn sync(&self, now: Timestamp) -> Result<(), StorageError> {
        self.log.flush(now)
    }

    /// Milliseconds until a snapshot is due; `None` when only more records can make it so.
    pub fn snapshot_wait(&self, now: Timestamp) -> Option<u64> {
        if self.since_snapshot >= self.upkeep.snapshot_bytes {
            return Some(0);
        }
        self.upkeep.snapshot_wait(self.oldest_unsaved, now)
    }

    /// Milliseconds until a record that says nothing is due; `None` if there are none.
    pub fn idle_wait(&self, now: Timestamp) -> Option<u64> {
        self.upkeep.idle_wait(self.idle_since, now)
    }

    /// Commits a record that says nothing; gives its offset. Nobody is told of it, so it is not synced.
    pub fn idle(&mut self, now: Timestamp) -> Result<Offset, AppendError> {
        self.idle_since = now;
        self.commit(&[Record::NoOp(NoOpRecord {})], now)
    }

    /// Writes a snapshot of `image`, which is the fold of everything committed, and removes what it makes obsolete.
    ///
    /// The snapshot is there first, whole and synced; then older snapshots go, oldest first; then the segments that end
    /// before the oldest remaining one. After a crash between them the rest is removed after the next snapshot.
    pub fn snapshot(&mut self, image: &Image, now: Timestamp) -> Result<(), StorageError> {
        let end = self.log.log_end();
        let content = snapshot_bytes(image, self.epoch, now)?;
        checkpoint::replace(&snapshot_path(&self.dir, end, self.epoch), &content, true)?;
        self.since_snapshot = 0;
        self.oldest_unsaved = None;

        let mut snapshots = snapshots(&self.dir)?;
        let gone = self.upkeep.obsolete(&snapshots, self.log.size(), now);
        for old in snapshots.drain(..gone) {
            let path = snapshot_path(&self.dir, old.end, old.epoch);
            fs::remove_file(&path).at("remove", &path)?;
        }
        if let Some(oldest) = snapshots.first().filter(|_| gone > 0) {
            self.log.advance_start(oldest.end, now)?;
            self.log.remove_doomed(now);
        }
        Ok(())
    }

    /// Closes the log for a clean stop.
    pub fn close(&self) -> Result<(), StorageError> {
        self.log.close()
    }

    fn write_quorum_state(&self, node_id: BrokerId) -> Result<(), StorageError> {
        let text = format!(
            "{{\"clusterId\":\"\",\"leaderId\":{node_id},\"leaderEpoch\":{},\"votedId\":-1,\"appliedOffset\":0,\
             \"currentVoters\":[{{\"voterId\":{node_id}}}],\"data_version\":0}}",
            self.epoch
        );
        checkpoint::replace(&self.dir.join("quorum-state"), text.as_bytes(), true)
    }

    fn announce_leader(&self, node_id: BrokerId, now: Timestamp) -> Result<(), StorageError> {
        let voter = LeaderChangeVoter {
            voter_id: node_id,
            voter_directory_id: Uuid::ZERO,
        };
        let message = LeaderChangeMessage {
            version: 0,
            leader_id: node_id,
            voters: vec![voter.clone()],
            granting_voters: vec![voter],
        };
        let batch = control_batch(LEADER_CHANGE, &message, now)
            .map_err(|what| malformed(&self.dir, what))?
            .build();
        self.log
            .append_alone(&batch, self.epoch, Origin::Internal, now)
            .map_err(|error| match error {
                AppendError::Storage(error) => error,
                refused => malformed(&self.dir, refused.to_string()),
            })?;
        self.log.flush(now)
    }
}

/// Refuses features that are not known. A record that cannot be read is most likely one of theirs, so they are named first.
fn named<T>(folded: Result<T, StorageError>, dir: &Path, image: &Image) -> Result<T, StorageError> {
    match (check_features(image), folded) {
        (Ok(()), folded) => folded,
        (Err(what), Ok(_)) => Err(malformed(dir, what)),
        (Err(what), Err(error)) => {
            Err(malformed(&error.path, format!("{what} ({})", error.source)))
        }
    }
}

/// A batch with one control record of the quorum.
fn control_batch(kind: u8, value: &impl Message, now: Timestamp) -> Result<BatchBuilder, String> {
    let mut writer = Writer::default();
    value
        .write(&mut writer, 0)
        .map_err(|error| error.to_string())?;
    let mut builder = BatchBuilder::default().control();
    builder.push(now, Some(&[0, 0, 0, kind]), Some(&writer.into_bytes()));
    Ok(builder)
}

fn snapshot_bytes(
    image: &Image,
    epoch: LeaderEpoch,
    now: Timestamp,
) -> Result<Vec<u8>, StorageError> {
    let wrong = |what: String| malformed("a metadata snapshot", what);
    let mut out = Vec::new();
    let mut next = 0;
    let mut close = |builder: BatchBuilder| {
        let count = builder.count();
        if count > 0 {
            out.extend_from_slice(&builder.at(next, epoch).build());
            next += i64::from(count);
        }
    };
    let header = SnapshotHeaderRecord {
        version: 0,
        last_contained_log_timestamp: now,
    };
    close(control_batch(SNAPSHOT_HEADER, &header, now).map_err(wrong)?);
    let mut builder = BatchBuilder::default();
    for record in records_of(image) {
        let value = record
            .encode(image.metadata_version())
            .map_err(|error| wrong(error.to_string()))?;
        builder.push(now, None, Some(&value));
        if builder.size() >= SNAPSHOT_BATCH_BYTES {
            close(std::mem::take(&mut builder));
        }
    }
    close(builder);
    close(
        control_batch(SNAPSHOT_FOOTER, &SnapshotFooterRecord { version: 0 }, now).map_err(wrong)?,
    );
    Ok(out)
}

fn snapshot_path(dir: &Path, end: Offset, epoch: LeaderEpoch) -> PathBuf {
    dir.join(format!("{end:020}-{epoch:010}.checkpoint"))
}

/// The snapshots, oldest first, without the one of formatting time at offset 0: it holds no state of the cluster.
fn snapshots(dir: &Path) -> Result<Vec<Snapshot>, StorageError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).at("list", dir)? {
        let entry = entry.at("list", dir)?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let parsed = name.strip_suffix(".checkpoint").and_then(|stem| {
            let (end, epoch) = stem.split_once('-')?;
            Some((
                end.parse::<Offset>().ok()?,
                epoch.parse::<LeaderEpoch>().ok()?,
            ))
        });
        let Some((end, epoch)) = parsed.filter(|(end, _)| *end > 0) else {
            continue;
        };
        let facts = entry.metadata().at("look at", entry.path())?;
        let written = FileTime::among(&facts).and_then(FileTime::millis);
        found.push(Snapshot {
            end,
            epoch,
            bytes: facts.len(),
            written: written.unwrap_or(0),
        });
    }
    found.sort_by_key(|snapshot| (snapshot.end, snapshot.epoch));
    Ok(found)
}

fn has_segment(dir: &Path) -> bool {
    fs::read_dir(dir).is_ok_and(|mut entries| {
        entries.any(|entry| {
            entry.is_ok_and(|entry| entry.path().extension().is_some_and(|kind| kind == "log"))
        })
    })
}

/// Folds the log into the image, from the offset after the image's; gives how many bytes that were.
fn load(
    dir: &Path,
    log: &PartitionLog,
    image: &mut Image,
    delta: &mut Delta,
) -> Result<u64, StorageError> {
    let mut folded = 0;
    let mut pending: Option<Vec<(Record, Offset)>> = None;
    let log_start = log.watermarks().log_start;
    if log_start > image.offset + 1 {
        let what = format!(
            "the metadata log begins at {log_start}, and no snapshot says what was before; take the .checkpoint file \
             from a copy of this directory"
        );
        return Err(malformed(dir, what));
    }
    let mut next = image.offset + 1;
    while next < log.log_end() {
        let plan = log
            .read(next, LOAD_BYTES, ReadEnd::LogEnd, true)
            .map_err(|error| malformed(dir, error.to_string()))?;
        let Some(range) = plan.records else { break };
        folded += range.len as u64;
        let bytes = range.read().at("read", dir)?;
        let read_to = fold(dir, &bytes, |record, offset| {
            if offset < next {
                return;
            }
            // A metadata transaction counts as a whole, or not at all.
            match record {
                Record::BeginTransaction(_) => pending = Some(Vec::new()),
                Record::AbortTransaction(_) => pending = None,
                Record::EndTransaction(_) => {
                    for (record, offset) in pending.take().into_iter().flatten() {
                        image.apply(&record, offset, delta);
                    }
                }
                record => match &mut pending {
                    Some(pending) => pending.push((record.clone(), offset)),
                    None => image.apply(record, offset, delta),
                },
            }
        })?;
        if read_to <= next {
            break;
        }
        next = read_to;
    }
    if next < log.log_end() {
        // What follows would be a cluster without some of its topics.
        let what = format!(
            "the metadata log ends at {}, but cannot be read from {next} on; 'monedula verify-log' says where it is damaged",
            log.log_end()
        );
        return Err(malformed(dir, what));
    }
    Ok(folded)
}

/// The records that a formatter chose for a cluster whose first start is still to come: the features of a release, and SCRAM
/// users. `None` where no formatter wrote any.
pub fn formatted_with(metadata_dir: &Path) -> Result<Option<Vec<Record>>, StorageError> {
    let path = metadata_dir.join(BOOTSTRAP_CHECKPOINT);
    if !path.exists() {
        return Ok(None);
    }
    let mut image = Image::empty();
    let mut records = Vec::new();
    let folded = fold_snapshot(&path, |record, offset| {
        image.apply(record, offset, &mut Delta::default());
        records.push(record.clone());
    });
    named(folded, metadata_dir, &image)?;
    Ok((!image.features.is_empty()).then_some(records))
}

/// Hands every record of a snapshot to `apply`, which is to be forgotten after an error: half of a snapshot would be a cluster
/// without half of its topics.
pub(super) fn fold_snapshot(
    path: &Path,
    mut apply: impl FnMut(&Record, Offset),
) -> Result<(), StorageError> {
    let size = disk::open_small(path)
        .and_then(|file| file.metadata())
        .at("read", path)?
        .len();
    let mut scanner = Scanner::open(path, size)?;
    let mut is_whole = false;
    let mut at = 0;
    // The formats before never had metadata.
    while let Some((span, batch)) = scanner.next_batch()?
        && span.magic == MAGIC_V2
    {
        at = span.end();
        fold(path, &batch, &mut apply)?;
        is_whole = control_kind(&batch) == Some(SNAPSHOT_FOOTER);
    }
    if is_whole && at == size {
        return Ok(());
    }
    let what = format!(
        "this snapshot of the metadata was cut or damaged: what follows byte {at} of {size} is not the rest of one; take it \
         from a copy of this directory"
    );
    Err(malformed(path, what))
}

/// Hands every metadata record in `bytes` to `apply`; gives the offset after the last whole batch.
fn fold(
    path: &Path,
    bytes: &Bytes,
    mut apply: impl FnMut(&Record, Offset),
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
        if header.is_control() {
            continue;
        }
        let body = decompressed(&header, &batch, DECOMPRESSED_MAX)
            .map_err(|error| wrong(error.to_string()))?;
        for record in records(&header, &body) {
            let record = record.map_err(|error| wrong(error.to_string()))?;
            let value = body.slice_ref(record.value.unwrap_or_default());
            let decoded = Record::decode(value).map_err(|error| wrong(error.to_string()))?;
            apply(&decoded, record.offset);
        }
    }
    Ok(end)
}
