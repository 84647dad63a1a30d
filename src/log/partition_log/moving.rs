//! Moving a log to another log directory: copying its records, and replacing the log by the copy.
//!
//! ```text
//! 1. the records of the log are copied part by part, while the log is still written to;
//! 2. the copy is flushed; then appends to the log wait while the rest is copied and flushed: the last records of the log may be
//!    on disk without a flush, and the log is removed now;
//! 3. the log's directory is renamed to `-delete`, and its parent is synced: after a power loss the partition must not exist
//!    twice, on two disks;
//! 4. the copy's directory gets the partition's name;
//! 5. holders of the log use the copy's files from now on.
//! ```
//! A crash before 3 leaves log and copy; copying continues after the next start. A crash between 3 and 4 leaves a complete copy
//! whose directory is already in the metadata, and the next start does 4. Kafka differs: it does 4 before 3, and after a crash
//! between them it refuses to start because the partition exists twice.

use super::following::Replicated;
use super::*;

/// Bytes that are copied while appends to the log wait; the copy's last syncs add to their wait.
const LAST_STRETCH: usize = 1 << 20;

/// Result of one copying step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copied {
    Bytes(usize),
    /// The next records for the copy were deleted from the log: the copy must begin anew at the log start offset.
    Overtaken,
    /// The log was truncated, and the copy was not yet: it may have records that the log has lost.
    Truncated,
}

/// The next records for a copy.
struct Part {
    records: Replicated,
    has_records: bool,
    log_start: Offset,
    /// Number of truncations of the log when the records were located.
    cuts: u64,
}

impl PartitionLog {
    /// Creates an empty copy of this log in another directory.
    pub(in crate::log) fn begin_copy(
        &self,
        path: &Path,
        now: Timestamp,
    ) -> Result<Self, AppendError> {
        let (disk, settings, start, cuts) = self.warmly(|state, reach| {
            let (from, end) = (state.log_start, state.log_end);
            // The log start offset may be inside a batch, which is copied whole, or before the first batch that compaction has
            // kept.
            let first = state.plan_copy(from, end, 1, reach)?;
            let start = first.map_or(from, |plan| plan.base_offset.min(from));
            let settings = Arc::clone(&state.settings);
            Ok((state.disk.clone(), settings, start, state.cuts))
        })?;
        disk.create_dir(path).at("create", path)?;
        dir::write_partition_metadata(disk.dir(path), self.topic_id())?;
        let known = Known {
            clean: true,
            recovery_point: start,
            log_start: Some(start),
        };
        let partition = self.partition.clone();
        let id = self.topic_id();
        let copy = Self::open(disk.dir(path), partition, id, settings, known, start, now)?;
        {
            let mut state = copy.state.lock();
            state.durability.dir_made();
            state.cuts_of_original = cuts;
        }
        Ok(copy)
    }

    /// Whether this copy was truncated whenever its log was.
    pub(in crate::log) fn is_truncated_like(&self, log: &Self) -> bool {
        let cuts = log.cuts();
        self.state.lock().cuts_of_original == cuts
    }

    /// Appends up to about `max_bytes` of missing records to this copy. The log is locked only while they are located.
    pub(in crate::log) fn copy_from(
        &self,
        log: &Self,
        max_bytes: usize,
        now: Timestamp,
    ) -> Result<Copied, AppendError> {
        match self.next_part(log, max_bytes)? {
            Ok(part) => self.take_part(&part, now),
            Err(hindrance) => Ok(hindrance),
        }
    }

    /// Reads the next missing records; the inner error tells why there is no part.
    fn next_part(&self, log: &Self, max_bytes: usize) -> Result<Result<Part, Copied>, AppendError> {
        let (from, agreed) = self.locked(|state| Ok((state.log_end, state.cuts_of_original)))?;
        let (planned, log_start, cuts) = log.warmly(|state, reach| {
            let (log_start, end) = (state.log_start, state.log_end);
            if from > end {
                return Ok((None, log_start, state.cuts));
            }
            let plan = state.plan_copy(from.max(log_start), end, max_bytes, reach)?;
            // The log start offset may be inside the next batch.
            let next = plan.as_ref().map_or(log_start, |plan| plan.base_offset);
            let is_overtaken = from < log_start && from < next;
            Ok(((!is_overtaken).then_some(plan), log_start, state.cuts))
        })?;
        if agreed != cuts {
            return Ok(Err(Copied::Truncated));
        }
        let Some(plan) = planned else {
            return Ok(Err(Copied::Overtaken));
        };
        let read = plan
            .as_ref()
            .map_or(Ok(Bytes::new()), |plan| read(plan, log));
        let records = match read {
            // What should be read is gone; the disk is well.
            Err(_) if log.cuts() != cuts => return Ok(Err(Copied::Truncated)),
            read => log.watch(read)?,
        };
        let has_records = plan.is_some();
        let records = match Replicated::check(records) {
            // Other records are being written there.
            Err(_) if log.cuts() != cuts => return Ok(Err(Copied::Truncated)),
            checked => checked?,
        };
        Ok(Ok(Part {
            records,
            has_records,
            log_start,
            cuts,
        }))
    }

    fn take_part(&self, part: &Part, now: Timestamp) -> Result<Copied, AppendError> {
        {
            let mut copy = self.state.lock();
            copy.check_health()?;
            if copy.cuts_of_original != part.cuts {
                return Ok(Copied::Truncated);
            }
            let appended = copy.append_copied(&part.records, now);
            copy.watch(appended)?;
            if part.has_records {
                copy.high_watermark.set(copy.log_end);
            }
            let log_start = copy.log_start.max(part.log_start.min(copy.log_end));
            copy.begin_at(log_start);
        }
        if part.has_records {
            self.remove_before_start(now)?;
        }
        Ok(Copied::Bytes(part.records.bytes().len()))
    }

    /// Steps 2 to 5: afterwards this log uses the directory of the copy. False if the copy lacks too much; nothing has changed
    /// then.
    ///
    /// `doomed` and `place` are the new names of this log's directory and the copy's.
    pub(in crate::log) fn take_over(
        &self,
        copy: &Self,
        doomed: &Path,
        place: &Path,
        now: Timestamp,
    ) -> Result<bool, AppendError> {
        // No other code holds two turns at a time, so the order of the two locks cannot deadlock.
        let (_turn, _turn_of_copy) = (self.turn.lock(), copy.turn.lock());
        let _moving = Moving::begin(self)?;
        if !self.give_rest(copy, now)? {
            return Ok(false);
        }
        self.give_the_others(copy, now)?;
        // Readers use the copy from now on: the files of the log are renamed next.
        self.change_places(copy);
        let (disk, old) = copy.locked(|state| Ok((state.disk.clone(), state.dir.clone())))?;
        let aside = disk.rename(&old, doomed).at("rename", &old);
        let synced = aside.and_then(|()| match doomed.parent() {
            Some(above) => disk.sync_dir(above).at("sync", above),
            None => Ok(()),
        });
        if synced.is_err() {
            self.change_places(copy);
            self.watch(synced)?;
        }
        if let Err(error) = self.settle_in_turn(place) {
            // The log keeps its directory. If its old name cannot be restored, the directory is marked as failed.
            self.change_places(copy);
            let back = disk.rename(doomed, &old).at("rename", doomed);
            self.watch(back)?;
            return Err(error.into());
        }
        if let Some(above) = place.parent() {
            // A start would do the rename again, but one of an older Apache Kafka would not.
            let named = disk.sync_dir(above).at("sync", above);
            // The log is in its new place even if this sync fails.
            drop(self.watch(named));
        }
        let mut state = self.state.lock();
        // The file names known to be synced, and the files to be deleted, are those of the old directory.
        state.durability.start_changed();
        state.doomed = Vec::new();
        drop(state);
        let mut copied = copy.state.lock();
        copied.gone = true;
        copied.segments.release_files(0);
        Ok(true)
    }

    /// Gives the copy the last missing records if they are few; otherwise returns false.
    fn give_rest(&self, copy: &Self, now: Timestamp) -> Result<bool, AppendError> {
        let (from, cuts) = copy.locked(|state| Ok((state.log_end, state.cuts_of_original)))?;
        // Both turns are held, so neither log is truncated from here on.
        let planned = self.warmly(|state, reach| {
            let end = state.log_end;
            if state.cuts != cuts || from < state.log_start || from > end {
                return Ok(None);
            }
            Ok(Some(state.plan_copy(from, end, LAST_STRETCH, reach)?))
        })?;
        let Some(plan) = planned else {
            return Ok(false);
        };
        if let Some(plan) = plan {
            let rest = Replicated::check(self.watch(read(&plan, self))?)?;
            let mut copied = copy.state.lock();
            let appended = copied.append_copied(&rest, now);
            copied.watch(appended)?;
        }
        // Compaction may have removed the last records.
        let from = copy.reader().log_end();
        let lacking = self.warmly(|state, reach| state.plan_copy(from, state.log_end, 1, reach))?;
        Ok(lacking.is_none())
    }

    /// Copies the state beside the records: offsets, leader epochs and producers. Makes the copy durable.
    fn give_the_others(&self, copy: &Self, now: Timestamp) -> Result<(), StorageError> {
        let (ends, epochs, producers) = {
            let state = self.state.lock();
            let producers = state.producers.to_snapshot();
            (state.watermarks(), state.epochs.clone(), producers)
        };
        let (disk, snapshot, doomed) = copy.locked(|copied| {
            if copied.log_end < ends.log_end {
                // The last records are lost; only an empty segment has the log end offset.
                copied.roll(ends.log_end, now)?;
            }
            copied.log_end = ends.log_end;
            copied.high_watermark.set(ends.high_watermark);
            copied.epochs = epochs;
            copied.durability.epochs_changed();
            copied.begin_at(ends.log_start);
            copied.durability.start_changed();
            let doomed = std::mem::take(&mut copied.doomed);
            let snapshot = copied.snapshot_path(ends.log_end);
            Ok((copied.disk.clone(), snapshot, doomed))
        })?;
        let written = disk.write(&snapshot, &producers).map(drop);
        copy.watch(written.at("write", snapshot))?;
        copy.remove_in_turn(now)?;
        let removed = std::mem::take(&mut copy.state.lock().doomed);
        for path in doomed
            .into_iter()
            .chain(removed)
            .flat_map(|(_, paths)| paths)
        {
            copy.watch(disk.remove_file(&path).at("remove", path))?;
        }
        copy.flush_in_turn(now)
    }

    /// Exchanges the files of two logs.
    fn change_places(&self, other: &Self) {
        let (mut one, mut other) = (self.state.lock(), other.state.lock());
        std::mem::swap(&mut one.dir, &mut other.dir);
        std::mem::swap(&mut one.health, &mut other.health);
        std::mem::swap(&mut one.segments, &mut other.segments);
        std::mem::swap(&mut one.durability, &mut other.durability);
    }

    /// Finishes a move after a crash between steps 3 and 4: gives the complete copy its final directory name.
    pub(in crate::log) fn settle(&self, place: &Path) -> Result<(), StorageError> {
        let _turn = self.turn.lock();
        self.settle_in_turn(place)
    }

    /// The rename happens under the lock, so readers find the files under one name or the other.
    fn settle_in_turn(&self, place: &Path) -> Result<(), StorageError> {
        self.locked(|state| {
            let disk = state.disk.clone();
            disk.rename(&state.dir, place).at("rename", &state.dir)?;
            state.dir = place.to_owned();
            state.segments.have_moved_to(place);
            Ok(())
        })
    }
}

/// Guard that blocks appends to a log during a move.
struct Moving<'a>(&'a PartitionLog);

impl<'a> Moving<'a> {
    fn begin(log: &'a PartitionLog) -> Result<Self, StorageError> {
        log.locked(|state| {
            state.is_moving = true;
            Ok(())
        })?;
        Ok(Self(log))
    }
}

impl Drop for Moving<'_> {
    fn drop(&mut self) {
        self.0.state.lock().is_moving = false;
    }
}

fn read(plan: &ReadPlan, log: &PartitionLog) -> Result<Bytes, StorageError> {
    let Some(range) = &plan.records else {
        return Ok(Bytes::new());
    };
    range.read().at("read", log.partition.to_string())
}

impl State {
    /// The next part of the records from `from` on; `None` if there are none below `end`.
    fn plan_copy(
        &mut self,
        from: Offset,
        end: Offset,
        max_bytes: usize,
        reach: Reach,
    ) -> Result<Option<ReadPlan>, StorageError> {
        let mut plan = ReadPlan {
            watermarks: self.watermarks(),
            records: None,
            magic: MAGIC_V2,
            base_offset: from,
            aborted: None,
        };
        if from < end {
            let mut planner = self.planner(reach);
            planner.plan(from, max_bytes, end, true, &mut plan)?;
        }
        Ok(plan.records.is_some().then_some(plan))
    }

    /// Appends those of the records that the copy does not have.
    fn append_copied(&mut self, records: &Replicated, now: Timestamp) -> Result<(), StorageError> {
        let batches = records.batches();
        let known = batches.partition_point(|batch| batch.span.last_offset < self.log_end);
        self.append_placed(records.bytes(), &batches[known..], now)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::host::disk::Step;
    use crate::log::compaction::Budget;
    use crate::log::failure::FailureChannel;
    use crate::log::tests::watched::{meanwhile, own_disk, watch};
    use crate::wire::batch::builder::BatchBuilder;
    use crate::wire::batch::compression::Compression;
    use crate::wire::batch::legacy::SetBuilder;

    const NOW: Timestamp = 1_000_000;

    fn settings() -> LogSettings {
        LogSettings {
            segment_bytes: 1_000,
            index_interval_bytes: 100,
            ..LogSettings::default()
        }
    }

    fn open(path: &Path, clean: bool) -> PartitionLog {
        let known = Known {
            clean,
            recovery_point: 0,
            log_start: None,
        };
        let partition = TopicPartition::new("t", 0);
        PartitionLog::open(
            own_disk().dir(path),
            partition,
            Uuid([1; 16]),
            settings(),
            known,
            Offset::MAX,
            NOW,
        )
        .unwrap()
    }

    /// All bytes of the log, in order.
    fn bytes(log: &PartitionLog) -> Vec<u8> {
        let mut all = Vec::new();
        let marks = log.reader().watermarks();
        let mut next = marks.log_start;
        while next < marks.log_end {
            let plan = log.reader().read(next, 1, ReadEnd::LogEnd, true).unwrap();
            let batch = read(&plan, log).unwrap();
            if batch.is_empty() {
                break;
            }
            let span = Span::parse(&batch, 0).unwrap();
            all.extend_from_slice(&batch);
            next = span.last_offset + 1;
        }
        all
    }

    fn append(log: &PartitionLog, epoch: LeaderEpoch, builder: BatchBuilder) {
        let batch = builder.build();
        log.append_committed(&batch, epoch, Origin::Internal, NOW)
            .unwrap();
    }

    fn records(value: &str) -> BatchBuilder {
        let mut builder = BatchBuilder::default();
        for _ in 0..3 {
            builder.push(NOW, Some(b"k"), Some(value.repeat(30).as_bytes()));
        }
        builder
    }

    /// A log with messages of both old formats, batches of two epochs, an aborted transaction and an open one.
    fn varied(path: &Path) -> PartitionLog {
        fs::create_dir_all(path).unwrap();
        let mut old = Vec::new();
        for (magic, codec) in [(0, Compression::None), (1, Compression::Lz4)] {
            let mut set = SetBuilder::new(magic, codec, false);
            for offset in 0..3 {
                set.push(offset + 3 * i64::from(magic), NOW, Some(b"k"), Some(b"v"));
            }
            old.extend_from_slice(&set.build());
        }
        fs::write(path.join(file_name(0, ".log")), old).unwrap();
        let log = open(path, false);
        for epoch in 0..8 {
            append(&log, epoch / 4, records(&epoch.to_string()));
        }
        for producer in [7, 8] {
            append(
                &log,
                2,
                records("tx").producer(producer, 0, 0).transactional(),
            );
        }
        let mut marker = BatchBuilder::default()
            .control()
            .producer(7, 0, -1)
            .transactional();
        marker.push(NOW, Some(&[0, 0, 0, 0]), Some(&[0; 6]));
        append(&log, 2, marker);
        log
    }

    fn move_to(log: &PartitionLog, root: &Path, stretch: usize) -> bool {
        let copy = log.begin_copy(&root.join("t-0.x-future"), NOW).unwrap();
        while copy.copy_from(log, stretch, NOW).unwrap() != Copied::Bytes(0) {}
        assert_eq!(copy.reader().lag_behind(log.reader()), 0);
        let (doomed, place) = (root.join("t-0.x-delete"), root.join("moved").join("t-0"));
        fs::create_dir_all(root.join("moved")).unwrap();
        log.take_over(&copy, &doomed, &place, NOW).unwrap()
    }

    #[test]
    fn a_moved_log_is_the_same_log() {
        let root = tempfile::tempdir().unwrap();
        for (round, stretch) in [1, 500, 1 << 20].into_iter().enumerate() {
            let root = root.path().join(round.to_string());
            let log = varied(&root.join("t-0"));
            // The log start offset is in the middle of a batch, as after DeleteRecords.
            log.advance_start(7, NOW).unwrap();
            let before = (
                bytes(&log),
                log.reader().watermarks(),
                log.reader().end_of_epoch(0),
                log.reader().end_of_epoch(1),
            );
            assert!(move_to(&log, &root, stretch));
            let after = |log: &PartitionLog| {
                (
                    bytes(log),
                    log.reader().watermarks(),
                    log.reader().end_of_epoch(0),
                    log.reader().end_of_epoch(1),
                )
            };
            assert_eq!(after(&log), before, "stretches of {stretch}");
            let marks = log.reader().watermarks();
            assert!(marks.last_stable < marks.high_watermark);
            let aborted = log
                .reader()
                .read(30, 1 << 20, ReadEnd::LastStable, true)
                .unwrap()
                .aborted;
            assert_eq!(aborted.unwrap().len(), 1);
            // Appends continue in the new directory, and are found there after a reopen.
            append(&log, 2, records("after"));
            let last = (bytes(&log), log.reader().watermarks().log_end);
            assert!(log.dir().ends_with("moved/t-0") && !root.join("t-0").exists());
            drop(log);
            let log = open(&root.join("moved/t-0"), false);
            log.advance_start(7, NOW).unwrap();
            assert_eq!((bytes(&log), log.reader().watermarks().log_end), last);
            assert_eq!(log.reader().watermarks().last_stable, marks.last_stable);
        }
    }

    /// A power loss removed the last record and left the segment after it.
    #[test]
    fn a_moved_log_ends_where_it_did_though_nothing_is_there() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("t-0");
        fs::create_dir_all(&path).unwrap();
        let log = open(&path, false);
        append(&log, 1, records("a"));
        append(&log, 1, records("b"));
        drop(log);
        fs::write(path.join(file_name(7, ".log")), "").unwrap();
        let log = open(&path, false);
        assert_eq!(log.reader().log_end(), 7);
        let copy = log.begin_copy(&root.path().join("t-0.x-future"), NOW);
        let copy = copy.unwrap();
        while copy.copy_from(&log, 1 << 20, NOW).unwrap() != Copied::Bytes(0) {}
        let (doomed, place) = (
            root.path().join("t-0.x-delete"),
            root.path().join("moved/t-0"),
        );
        fs::create_dir(root.path().join("moved")).unwrap();
        assert!(log.take_over(&copy, &doomed, &place, NOW).unwrap());
        assert_eq!(log.reader().log_end(), 7);
        drop(log);
        let log = open(&root.path().join("moved/t-0"), false);
        assert_eq!(log.reader().log_end(), 7);
        append(&log, 2, records("c"));
        assert_eq!(log.reader().log_end(), 10);
    }

    #[test]
    fn a_log_that_should_move_while_it_is_flushed_or_compacted_breaks_no_directory() {
        for compacts in [false, true] {
            let root = tempfile::tempdir().unwrap();
            let health = |name: &str| {
                let channel = Arc::new(FailureChannel::default());
                Arc::new(DirHealth::new(root.path().join(name), channel))
            };
            let (before, after) = (health("a"), health("b"));
            let log = varied(&root.path().join("a/t-0")).watched(Arc::clone(&before));
            log.update_settings(LogSettings {
                cleanup_compact: true,
                min_cleanable_dirty_ratio: 0.0,
                ..settings()
            });
            let log = Arc::new(log);
            fs::create_dir(root.path().join("b")).unwrap();
            let copy = log
                .begin_copy(&root.path().join("b/t-0.x-future"), NOW)
                .unwrap();
            let copy = copy.watched(Arc::clone(&after));
            while copy.copy_from(&log, 1 << 20, NOW).unwrap() != Copied::Bytes(0) {}
            let end = log.reader().log_end();
            let (moving, path) = (Arc::clone(&log), root.path().to_owned());
            let moves = move || {
                let (doomed, place) = (path.join("a/t-0.x-delete"), path.join("b/t-0"));
                assert!(moving.take_over(&copy, &doomed, &place, NOW).unwrap());
            };
            // The move runs on a thread of its own.
            let mover = Arc::new(Mutex::new(None));
            let (begun, rewrites) = (Arc::clone(&mover), compacts);
            let move_it = move || {
                let moving = std::thread::spawn(moves);
                match rewrites {
                    true => moving.join().unwrap(),
                    // The move waits until the log is flushed.
                    false => *begun.lock() = Some(moving),
                }
            };
            let amidst: fn(&Step<'_>) -> bool = match compacts {
                true => {
                    |step| matches!(step, Step::Create(path, _) if path.ends_with("00000000000000000000.log.cleaned"))
                }
                false => |step| matches!(step, Step::SyncDir(path) if path.ends_with("a/t-0")),
            };
            meanwhile(amidst, move_it);
            let done = match compacts {
                true => log.compact(0, &Budget::of(1 << 16), NOW).map(drop),
                false => log.flush(NOW),
            };
            watch(None);
            let waiting = mover.lock().take();
            waiting
                .into_iter()
                .for_each(|moving| moving.join().unwrap());
            assert!(compacts || done.is_ok(), "{done:?}");
            assert!(log.dir().ends_with("b/t-0"));
            assert!(before.is_online() && after.is_online());
            append(&log, 3, records("after"));
            log.flush(NOW).unwrap();
            assert_eq!(
                (log.reader().log_end(), log.recovery_point()),
                (end + 3, end + 3)
            );
        }
    }

    #[test]
    fn a_copy_that_lacks_too_much_does_not_take_over_and_one_that_was_overtaken_begins_anew() {
        let root = tempfile::tempdir().unwrap();
        let log = varied(&root.path().join("t-0"));
        let copy = log
            .begin_copy(&root.path().join("t-0.x-future"), NOW)
            .unwrap();
        let mut large = settings();
        large.segment_bytes = 4 << 20;
        log.update_settings(large);
        for _ in 0..3 {
            let mut builder = BatchBuilder::default();
            builder.push(NOW, None, Some(&vec![b'x'; LAST_STRETCH]));
            append(&log, 3, builder);
        }
        let (doomed, place) = (root.path().join("t-0.x-delete"), root.path().join("t-0.x"));
        assert!(!log.take_over(&copy, &doomed, &place, NOW).unwrap());
        assert!(root.path().join("t-0").exists() && !place.exists());
        let end = log.reader().log_end();
        log.advance_start(end, NOW).unwrap();
        assert_eq!(copy.copy_from(&log, 1, NOW).unwrap(), Copied::Overtaken);
    }

    /// Records that were read from the log, and truncated there before they are in the copy.
    #[test]
    fn what_was_truncated_meanwhile_does_not_get_into_the_copy() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("t-0")).unwrap();
        let log = open(&root.path().join("t-0"), false);
        (0..4).for_each(|_| append(&log, 1, records("old")));
        let copy = log.begin_copy(&root.path().join("t-0.x-future"), NOW);
        let copy = copy.unwrap();
        let first = copy.next_part(&log, 1).unwrap().unwrap();
        assert!(matches!(copy.take_part(&first, NOW), Ok(Copied::Bytes(bytes)) if bytes > 0));
        let held = copy.reader().log_end();
        // 1. The copy has none of what goes, and the records are in flight.
        let part = copy.next_part(&log, 1 << 20).unwrap().unwrap();
        log.truncate_to(held).unwrap();
        assert_eq!(copy.copy_from(&log, 1, NOW).unwrap(), Copied::Truncated);
        copy.truncate_like(&log, held, false).unwrap();
        append(&log, 2, records("new"));
        assert_eq!(copy.take_part(&part, NOW).unwrap(), Copied::Truncated);
        assert_eq!(copy.reader().log_end(), held);
        while copy.copy_from(&log, 1 << 20, NOW).unwrap() != Copied::Bytes(0) {}
        assert_eq!(bytes(&copy), bytes(&log));
        // 2. The copy was not truncated, as its disk failed.
        log.truncate_to(held).unwrap();
        append(&log, 3, records("newest"));
        append(&log, 3, records("newest"));
        assert!(!copy.is_truncated_like(&log));
        assert_eq!(copy.copy_from(&log, 1, NOW).unwrap(), Copied::Truncated);
        let (doomed, place) = (root.path().join("t-0.x-delete"), root.path().join("t-0.x"));
        assert!(!log.take_over(&copy, &doomed, &place, NOW).unwrap());
        assert!(root.path().join("t-0").exists() && !place.exists());
    }
}
