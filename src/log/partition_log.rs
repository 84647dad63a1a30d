//! One partition's log. It has three sides:
//!
//! ```text
//! LogReader      what others see: positions, stretches of files, producers     whoever asks
//! LogWriter      the right to append at the end: the log's lock                whoever leads or follows the partition
//! PartitionLog   all of it: opened, flushed, cleaned, cut, moved and closed    the log manager
//!
//! log_start <= last_stable <= high_watermark <= log_end   (Kafka: log start, LSO, HW, LEO)
//! ```
//! One mutex guards the log but for the high watermark, which whoever replicates the log moves. A read is planned under the mutex and
//! leaves with a stretch of a file; nobody waits for the disk of somebody else. Who syncs, renames or removes files takes the log's
//! turn first, lists under the mutex what there is to do, does it without, and notes it. Each thing that is done with a log has a
//! file of its own.

mod cleaning;
mod flushing;
mod locked;
pub mod lookup;
pub mod moving;
pub mod reader;
mod truncation;
pub mod writer;

use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parking_lot::Mutex;

use locked::{Guard, Locked};

use super::append::{self, DECOMPRESSED_MAX, Origin, Valid};
use super::checkpoint;
use super::dir;
use super::durability::Durability;
use super::error::{AppendError, DiskContext, MayBeCold, ReadError, StorageError, malformed};
use super::failure::{DirHealth, Failure};
use super::high_watermark::HighWatermark;
use super::index::transaction::AbortedTransaction;
use super::leader_epoch::LeaderEpochs;
use super::producer_state::{Admission, Checked, Marker, MarkerRules, Producer, ProducerStates};
use super::recovery::cutting::Cutting;
use super::recovery::{self, Known};
use super::segment::{Segment, Span, file_name, last_modified};
use super::segments::Segments;
use super::settings::LogSettings;
use crate::base::disk_pool::aside;
use crate::base::file_range::FileRange;
use crate::base::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, TopicPartition, Uuid};
use crate::base::time::{Timestamp, has_passed};
use crate::host::disk::{Dir, Disk};
use crate::host::file::{File, Reach};
use crate::wire::batch::header::{BatchHeader, MAGIC_V2};
use crate::wire::error_code::ErrorCode;

/// Sealed segments whose files stay open; those of others that were read do so until the next round of retention.
pub(super) const OPEN_OLD_SEGMENTS: usize = 4;

/// How often an append or a read looks for something in the page cache before it goes to the disk for it.
const LOOKS_MAX: usize = 16;

/// What became of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub first_offset: Offset,
    pub last_offset: Offset,
    /// Set when the broker stamped the records.
    pub log_append_time: Option<Timestamp>,
    pub log_start: Offset,
    pub log_end: Offset,
    /// The batch had been appended before; nothing was written now.
    pub duplicate: bool,
    /// `flush.messages` wants the records [on disk](PartitionLog::flush_up_to) before anybody sees them.
    pub must_flush: bool,
}

/// How far a reader may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadEnd {
    LogEnd,
    HighWatermark,
    LastStable,
}

/// The positions of a log at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermarks {
    pub log_start: Offset,
    pub last_stable: Offset,
    pub high_watermark: Offset,
    pub log_end: Offset,
}

impl Watermarks {
    /// How far a reader may see.
    pub fn at(&self, end: ReadEnd) -> Offset {
        match end {
            ReadEnd::LogEnd => self.log_end,
            ReadEnd::HighWatermark => self.high_watermark,
            ReadEnd::LastStable => self.last_stable,
        }
    }

    /// What holds at each moment of each log.
    fn are_in_order(&self) -> bool {
        self.log_start <= self.last_stable
            && self.last_stable <= self.high_watermark
            && self.high_watermark <= self.log_end
    }
}

/// What a read will send.
#[derive(Clone, Debug)]
pub struct ReadPlan {
    pub watermarks: Watermarks,
    /// Whole batches from the one that holds the offset on; the last may be cut. `None` when there is nothing to send.
    pub records: Option<FileRange>,
    /// The message format of the first batch.
    pub magic: i8,
    /// The offset of the first batch, at or below the one asked for.
    pub base_offset: Offset,
    /// Aborted transactions that a `read_committed` reader must skip; `None` for other readers.
    pub aborted: Option<Vec<AbortedTransaction>>,
}

/// A record found by its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundOffset {
    pub offset: Offset,
    pub timestamp: Timestamp,
    pub leader_epoch: LeaderEpoch,
}

/// A producer as DescribeProducers shows it.
#[derive(Clone, Debug)]
pub struct ActiveProducer {
    pub producer_id: ProducerId,
    pub state: Producer,
}

/// See the module. Whoever only reads or appends has a [`reader`](PartitionLog::reader) or a [`writer`](PartitionLog::writer).
#[derive(Debug)]
pub struct PartitionLog {
    partition: TopicPartition,
    /// Not set while the log is from before topics had ids.
    topic_id: OnceLock<Uuid>,
    /// The log was opened after an unclean stop, so that its newest records may be lost.
    recovered: bool,
    high_watermark: HighWatermark,
    state: Locked,
    /// Held by whoever syncs, renames or removes files without the lock of the state, which is taken after it. So nothing is cut
    /// off, taken away or moved that somebody else has listed.
    turn: Mutex<()>,
}

/// Where a log lay at a moment.
struct Place {
    dir: PathBuf,
    health: Option<Arc<DirHealth>>,
}

impl Place {
    fn of(state: &State) -> Self {
        Self {
            dir: state.dir.clone(),
            health: state.health.clone(),
        }
    }
}

#[derive(Debug)]
struct State {
    disk: Disk,
    dir: PathBuf,
    /// The health of the log directory that this one lies in, where there is one: it fails as a whole.
    health: Option<Arc<DirHealth>>,
    /// Set once the directory has another name: whoever still holds the log must look for the partition again.
    gone: bool,
    /// Set while the log moves to another directory: what is appended waits for the log's turn.
    is_moving: bool,
    settings: Arc<LogSettings>,
    segments: Segments,
    epochs: LeaderEpochs,
    producers: ProducerStates,
    log_start: Offset,
    high_watermark: HighWatermark,
    log_end: Offset,
    durability: Durability,
    /// Removed segments whose files wait for `file.delete.delay.ms`.
    doomed: Vec<(Timestamp, Vec<PathBuf>)>,
    /// Random delay of the next time-based roll (`segment.jitter.ms`), drawn at the last roll.
    jitter_ms: i64,
}

impl PartitionLog {
    /// Opens the directory of a partition, recovering it if the last stop was not clean. `high_watermark` may be
    /// [`HighWatermark::EVERYTHING`].
    pub fn open(
        place: Dir<'_>,
        partition: TopicPartition,
        topic_id: Uuid,
        settings: impl Into<Arc<LogSettings>>,
        known: Known,
        high_watermark: Offset,
        now: Timestamp,
    ) -> Result<Self, StorageError> {
        let settings = settings.into();
        let found = recovery::recover(place, &settings, known, now)?;
        let high_watermark = HighWatermark::new(match high_watermark {
            HighWatermark::EVERYTHING => HighWatermark::EVERYTHING,
            offset => offset.clamp(found.log_start, found.log_end),
        });
        let mut producers = found.producers;
        producers.on_high_watermark(high_watermark.get());
        let jitter_ms = jitter(&settings, &partition);
        let state = State {
            disk: place.disk.clone(),
            dir: place.path.to_owned(),
            health: None,
            gone: false,
            is_moving: false,
            segments: found.segments,
            epochs: found.epochs,
            producers,
            log_start: found.log_start,
            high_watermark: high_watermark.clone(),
            log_end: found.log_end,
            durability: Durability::found(
                found.recovery_point,
                found.epochs_file,
                known.clean,
                now,
            ),
            doomed: Vec::new(),
            jitter_ms,
            settings,
        };
        let known_id = OnceLock::new();
        if !topic_id.is_zero() {
            known_id.set(topic_id).ok();
        }
        Ok(Self {
            partition,
            topic_id: known_id,
            recovered: !known.clean,
            high_watermark,
            state: Locked::new(state),
            turn: Mutex::default(),
        })
    }

    /// Makes the directory of a new partition.
    pub fn create(
        place: Dir<'_>,
        partition: TopicPartition,
        topic_id: Uuid,
        settings: impl Into<Arc<LogSettings>>,
        now: Timestamp,
    ) -> Result<Self, StorageError> {
        let Dir { disk, path } = place;
        disk.create_dir(path).at("create", path)?;
        dir::write_partition_metadata(place, topic_id)?;
        let epochs = path.join(checkpoint::LEADER_EPOCHS);
        disk.write(&epochs, b"0\n0\n").at("write", epochs)?;
        let known = Known {
            clean: true,
            recovery_point: 0,
            log_start: None,
        };
        let log = Self::open(place, partition, topic_id, settings, known, 0, now)?;
        log.state.lock().durability.dir_made();
        Ok(log)
    }

    /// From now on errors of the disk take the whole log directory out of use, and a directory that is out of use
    /// takes no more records.
    pub(in crate::log) fn watched(self, health: Arc<DirHealth>) -> Self {
        self.state.lock().health = Some(health);
        self
    }

    /// Tells the log directory of an error that work without the lock, and without a turn, met. None if the log has moved to
    /// another since: that one knows nothing of it, and what is gone from the first is missed by nobody.
    fn blame(&self, place: &Place, error: StorageError) -> Result<(), StorageError> {
        let state = self.state.lock();
        if state.gone || state.dir == place.dir {
            return state.watch(Err(error));
        }
        if error.source.kind() != ErrorKind::NotFound
            && let Some(health) = &place.health
        {
            drop(health.watch::<(), _>(Err(error)));
        }
        Ok(())
    }

    /// Does something with the lock in hand, and tells the log directory of an error.
    fn locked<T>(
        &self,
        work: impl FnOnce(&mut State) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let mut state = self.state.lock();
        state.check_health()?;
        let done = work(&mut state);
        state.watch(done)
    }

    /// Passes a result on and tells the log directory of an error. The lock must be free.
    fn watch<T, E: Failure>(&self, result: Result<T, E>) -> Result<T, E> {
        if result.is_ok() {
            return result;
        }
        self.state.lock().watch(result)
    }

    pub fn partition(&self) -> &TopicPartition {
        &self.partition
    }

    /// Whether it was opened after a stop that was not clean.
    pub fn was_recovered(&self) -> bool {
        self.recovered
    }

    pub fn topic_id(&self) -> Uuid {
        self.topic_id.get().copied().unwrap_or(Uuid::ZERO)
    }

    /// Whether a log without a topic's id may be that of any topic of its name: its `partition.metadata` is damaged, or
    /// it holds nothing. Where records are but no such file, a power cut has left half of a log that nobody flushed, and
    /// the topic of that name may be another since.
    pub fn can_be_of_its_name(&self) -> Result<bool, StorageError> {
        let (disk, dir, end) = {
            let state = self.state.lock();
            (state.disk.clone(), state.dir.clone(), state.log_end)
        };
        Ok(end == 0 || dir::has_partition_metadata(disk.dir(&dir))?)
    }

    /// Writes the topic's id into the directory of a log whose own cannot be read.
    pub fn identify(&self, topic_id: Uuid) -> Result<(), StorageError> {
        let _turn = self.turn.lock();
        let (disk, dir) = self.locked(|state| Ok((state.disk.clone(), state.dir.clone())))?;
        self.watch(dir::write_partition_metadata(disk.dir(&dir), topic_id))?;
        self.topic_id.set(topic_id).ok();
        Ok(())
    }

    pub fn dir(&self) -> PathBuf {
        self.state.lock().dir.clone()
    }

    /// Up to where the log's records are committed: for whoever replicates the log to move, and to be read without a lock.
    pub fn high_watermark(&self) -> &HighWatermark {
        &self.high_watermark
    }

    pub fn recovery_point(&self) -> Offset {
        self.state.lock().durability.recovery_point()
    }

    /// The log start if a checkpoint must remember it: it lies inside of the first segment, or a power cut could still bring
    /// back segments before it, or take the one that it begins.
    pub(in crate::log) fn log_start_to_remember(&self) -> Option<Offset> {
        let state = self.state.lock();
        let first = state.segments.first().base_offset;
        let named = first >= state.log_start
            && (state.log_start == 0 || !state.durability.is_start_unsynced());
        (!named).then_some(state.log_start)
    }

    /// Whether somebody has the lock that appends need.
    #[cfg(test)]
    pub fn is_locked(&self) -> bool {
        self.state.is_locked()
    }

    pub fn update_settings(&self, settings: impl Into<Arc<LogSettings>>) {
        let settings = settings.into();
        let mut state = self.state.lock();
        state.jitter_ms = jitter(&settings, &self.partition);
        state.settings = settings;
    }

    /// Forgets idle producers.
    pub(in crate::log) fn expire_producers(&self, now: Timestamp, expiration_ms: i64) {
        self.state.lock().producers.expire(now, expiration_ms);
    }

    /// Renames the directory; the log is of no use any more.
    pub(in crate::log) fn rename(&self, to: &Path) -> Result<(), StorageError> {
        let _turn = self.turn.lock();
        let (disk, dir) = self.locked(|state| {
            state.segments.release_files(0);
            state.gone = true;
            Ok((state.disk.clone(), state.dir.clone()))
        })?;
        let renamed = disk.rename(&dir, to).at("rename", dir);
        let mut state = self.state.lock();
        state.gone = renamed.is_ok();
        if state.gone {
            state.dir = to.to_owned();
        }
        state.watch(renamed)
    }
}

impl State {
    /// For those who should look for the partition again where the log is deleted.
    fn check_there(&self) -> Result<(), AppendError> {
        if self.gone {
            return Err(AppendError::refused(
                ErrorCode::NotLeaderOrFollower,
                "the log was deleted",
            ));
        }
        Ok(self.check_health()?)
    }

    fn check_health(&self) -> Result<(), StorageError> {
        if self.gone {
            return Err(malformed(&self.dir, "the log was deleted"));
        }
        self.health.as_ref().map_or(Ok(()), |health| health.check())
    }

    /// Passes a result on and tells the log directory of an error. The files of a deleted log are where nobody looks: that
    /// is no error of a disk.
    fn watch<T, E: Failure>(&self, result: Result<T, E>) -> Result<T, E> {
        match &self.health {
            Some(health) if !self.gone => health.watch(result),
            _ => result,
        }
    }

    /// What holds whenever nobody has the lock. The high watermark is moved by others; [`State::watermarks`] looks at it.
    fn invariants(&self) {
        let (active, end) = (self.segments.active(), self.log_end);
        let recovery_point = self.durability.recovery_point();
        assert!(self.log_start <= end, "{self:?}");
        assert!(recovery_point <= end, "{self:?}");
        assert!(active.size == 0 || active.base_offset < end, "{self:?}");
        // A log may have a hundred thousand of them.
        #[cfg(test)]
        assert!(self.segments.are_in_order(), "{self:?}");
    }

    fn watermarks(&self) -> Watermarks {
        let high_watermark = self.high_watermark.get().min(self.log_end);
        let unstable = self.producers.first_unstable(high_watermark);
        let marks = Watermarks {
            log_start: self.log_start,
            last_stable: unstable
                .unwrap_or(Offset::MAX)
                .min(high_watermark)
                .max(self.log_start),
            high_watermark,
            log_end: self.log_end,
        };
        assert!(marks.are_in_order(), "{}: {marks:?}", self.dir.display());
        marks
    }

    /// Where the log lies.
    fn place(&self) -> Dir<'_> {
        self.disk.dir(&self.dir)
    }
}

/// Each log's own share of `segment.jitter.ms`, so that logs created together do not roll together.
fn jitter(settings: &LogSettings, partition: &TopicPartition) -> i64 {
    // More than a segment's age would make one of each batch.
    let most = settings.segment_jitter_ms.min(settings.segment_ms);
    if most <= 0 {
        return 0;
    }
    let hash = crc32c::crc32c(partition.to_string().as_bytes());
    i64::from(hash) % most
}
