//! The log of one partition. It has three interfaces:
//!
//! ```text
//! LogReader      read access: positions, ranges of records, producers            everybody
//! LogWriter      appends at the end; it is the lock of the log                   the leader or follower of the partition
//! PartitionLog   everything: opening, flushing, cleaning, moving and closing     the log manager
//!
//! log_start <= last_stable <= high_watermark <= log_end   (Kafka: log start offset, LSO, HW, LEO)
//! ```
//! One mutex protects the state of the log, except for the high watermark, which the code that replicates the log moves. A read is
//! planned with the state locked and returns a range of a file, so that nobody waits for the disk of somebody else. Files are
//! synced, renamed and removed in the turn of the log: the work is listed with the state locked, done without, and recorded
//! afterwards. Each kind of work has a file of its own.

mod cleaning;
mod flushing;
pub mod following;
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
use crate::wire::batch::header::{BatchHeader, HEADER_SIZE, MAGIC_V2};
use crate::wire::error_code::ErrorCode;

/// Number of sealed segments whose files stay open. Files of other segments that were read stay open until the next round of
/// retention.
pub(super) const OPEN_OLD_SEGMENTS: usize = 4;

/// Number of attempts of an append or a read to find its data in the page cache before it reads from the disk.
const LOOKS_MAX: usize = 16;

/// Result of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub first_offset: Offset,
    pub last_offset: Offset,
    /// Time that the broker gave the records, if it did (LogAppendTime).
    pub log_append_time: Option<Timestamp>,
    pub log_start: Offset,
    pub log_end: Offset,
    /// The batch is a duplicate: it was appended earlier, and nothing was written this time.
    pub duplicate: bool,
    /// `flush.messages` requires that the records are [on disk](PartitionLog::flush_up_to) before they become visible.
    pub must_flush: bool,
}

/// How far a reader may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadEnd {
    LogEnd,
    HighWatermark,
    LastStable,
}

/// Positions of a log at one moment.
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

    /// Whether the positions are in the order that every log keeps at all times.
    fn are_in_order(&self) -> bool {
        self.log_start <= self.last_stable
            && self.last_stable <= self.high_watermark
            && self.high_watermark <= self.log_end
    }
}

/// Plan of a read: the records to send.
#[derive(Clone, Debug)]
pub struct ReadPlan {
    pub watermarks: Watermarks,
    /// Complete batches, from the one that contains the requested offset; the last one may be cut off. `None` if there is nothing
    /// to send.
    pub records: Option<FileRange>,
    /// Message format of the first batch.
    pub magic: i8,
    /// Base offset of the first batch, at or below the requested offset.
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

/// A producer, as DescribeProducers shows it.
#[derive(Clone, Debug)]
pub struct ActiveProducer {
    pub producer_id: ProducerId,
    pub state: Producer,
}

/// One log of a partition. Code that only reads or appends uses a [`reader`](PartitionLog::reader) or a
/// [`writer`](PartitionLog::writer).
#[derive(Debug)]
pub struct PartitionLog {
    partition: TopicPartition,
    /// Topic id; not set for a log from the time before topics had ids.
    topic_id: OnceLock<Uuid>,
    /// The log was opened after an unclean stop, so its newest records may be lost.
    recovered: bool,
    high_watermark: HighWatermark,
    state: Locked,
    /// The turn: held while files are synced, renamed or removed without the lock of the state. The turn is taken before the
    /// state is locked. It keeps others from cutting, removing or moving files that were listed for such work.
    turn: Mutex<()>,
}

/// Location of a log at one moment.
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
    /// State of the log directory that contains this log, if known: a log directory fails as a whole.
    health: Option<Arc<DirHealth>>,
    /// Set once the directory was renamed; users of the log must look up the partition again.
    gone: bool,
    /// Set while the log moves to another log directory; appends wait for the log's turn.
    is_moving: bool,
    settings: Arc<LogSettings>,
    segments: Segments,
    epochs: LeaderEpochs,
    producers: ProducerStates,
    log_start: Offset,
    high_watermark: HighWatermark,
    log_end: Offset,
    /// Number of truncations since the log was opened. Work that is planned with the state locked and done without is discarded
    /// if the number has changed meanwhile: the same offsets may hold other records.
    cuts: u64,
    /// For a copy of a log: the `cuts` of that log up to which the copy was truncated too.
    cuts_of_original: u64,
    durability: Durability,
    /// Files of removed segments, with the time of the removal; they are deleted after `file.delete.delay.ms`.
    doomed: Vec<(Timestamp, Vec<PathBuf>)>,
    /// Random delay of the next time-based roll (`segment.jitter.ms`), drawn at the last roll.
    jitter_ms: i64,
}

impl PartitionLog {
    /// Opens the log of a partition, and recovers it if the last stop was not clean. `high_watermark` may be
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
            cuts: 0,
            cuts_of_original: 0,
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

    /// Creates the directory of a new partition.
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

    /// Connects the log with its log directory: disk errors take the whole directory offline, and in an offline directory nothing
    /// is appended.
    pub(in crate::log) fn watched(self, health: Arc<DirHealth>) -> Self {
        self.state.lock().health = Some(health);
        self
    }

    /// Reports an error of work that was done without the lock and without the turn to the log directory. If the log has moved to
    /// another directory since, the error concerns only the old directory, and a file that is missing there is no error.
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

    /// Runs `work` with the state locked, and reports its error to the log directory.
    fn locked<T>(
        &self,
        work: impl FnOnce(&mut State) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let mut state = self.state.lock();
        state.check_health()?;
        let done = work(&mut state);
        state.watch(done)
    }

    /// Returns the result, after reporting an error to the log directory. The state must not be locked by the caller.
    fn watch<T, E: Failure>(&self, result: Result<T, E>) -> Result<T, E> {
        if result.is_ok() {
            return result;
        }
        self.state.lock().watch(result)
    }

    pub fn partition(&self) -> &TopicPartition {
        &self.partition
    }

    /// Whether the log was opened after an unclean stop.
    pub fn was_recovered(&self) -> bool {
        self.recovered
    }

    pub fn topic_id(&self) -> Uuid {
        self.topic_id.get().copied().unwrap_or(Uuid::ZERO)
    }

    /// Whether a log without a topic id may belong to the current topic of its name: its `partition.metadata` is damaged, or the
    /// log is empty. If the file is missing but there are records, a power failure left part of a log that was never flushed, and
    /// the topic may have been created anew since.
    pub fn can_be_of_its_name(&self) -> Result<bool, StorageError> {
        let (disk, dir, end) = {
            let state = self.state.lock();
            (state.disk.clone(), state.dir.clone(), state.log_end)
        };
        Ok(end == 0 || dir::has_partition_metadata(disk.dir(&dir))?)
    }

    /// Writes the topic id into the directory of a log whose own id cannot be read.
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

    /// The high watermark. It is moved by the code that replicates the log, and can be read without a lock.
    pub fn high_watermark(&self) -> &HighWatermark {
        &self.high_watermark
    }

    pub fn recovery_point(&self) -> Offset {
        self.state.lock().durability.recovery_point()
    }

    /// Number of truncations since the log was opened.
    pub(in crate::log) fn cuts(&self) -> u64 {
        self.state.lock().cuts
    }

    /// The log start offset if a checkpoint must store it: it lies inside of the first segment, or a power failure could still
    /// bring back segments before it or remove the segment that begins with it.
    pub(in crate::log) fn log_start_to_remember(&self) -> Option<Offset> {
        let state = self.state.lock();
        let first = state.segments.first().base_offset;
        let named = first >= state.log_start
            && (state.log_start == 0 || !state.durability.is_start_unsynced());
        (!named).then_some(state.log_start)
    }

    /// Whether the state is locked at the moment.
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

    /// Removes producers that have been idle for too long.
    pub(in crate::log) fn expire_producers(&self, now: Timestamp, expiration_ms: i64) {
        self.state.lock().producers.expire(now, expiration_ms);
    }

    /// Renames the directory. The log cannot be used afterwards.
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
    /// Checks that the log was not deleted and that its directory is online. If the log was deleted, clients should look up the
    /// partition again.
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

    /// Returns the result, after reporting an error to the log directory. Errors of a deleted log are not reported: its files
    /// were moved away, which is not a disk error.
    fn watch<T, E: Failure>(&self, result: Result<T, E>) -> Result<T, E> {
        match &self.health {
            Some(health) if !self.gone => health.watch(result),
            _ => result,
        }
    }

    /// Checks what holds whenever the state is not locked. The high watermark is moved without the lock; [`State::watermarks`]
    /// checks it.
    fn invariants(&self) {
        let (active, end) = (self.segments.active(), self.log_end);
        let recovery_point = self.durability.recovery_point();
        assert!(self.log_start <= end, "{self:?}");
        assert!(recovery_point <= end, "{self:?}");
        assert!(active.size == 0 || active.base_offset < end, "{self:?}");
        // A log may have a hundred thousand segments.
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

    /// Directory of the log.
    fn place(&self) -> Dir<'_> {
        self.disk.dir(&self.dir)
    }
}

/// Random share of `segment.jitter.ms` of this log, so that logs that were created together do not roll together.
fn jitter(settings: &LogSettings, partition: &TopicPartition) -> i64 {
    // With a jitter above the age of a segment, each batch would get a segment of its own.
    let most = settings.segment_jitter_ms.min(settings.segment_ms);
    if most <= 0 {
        return 0;
    }
    let hash = crc32c::crc32c(partition.to_string().as_bytes());
    i64::from(hash) % most
}
