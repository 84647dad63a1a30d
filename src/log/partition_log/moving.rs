//! A log on its way to another log directory: what its copy still lacks, and the moment in which the copy takes its place.
//!
//! ```text
//! 1. the copy is given what the log has, stretch by stretch, while the log is written to;
//! 2. it is flushed; then, under the locks of both, the rest is copied and flushed: the log may be on disk though nobody
//!    has flushed it, and it goes now;
//! 3. the log's directory is renamed to `-delete`, and the one above it synced: a power cut must not leave the partition in
//!    both, on two disks;
//! 4. the copy's directory gets the partition's name;
//! 5. whoever holds the log finds the copy's files behind it from now on.
//! ```
//! A crash before 3 leaves both; the copying goes on after the next start. A crash between 3 and 4 leaves a whole copy that
//! the metadata know already, and the next start does 4. Kafka differs: it does 4 before 3, and after a crash between
//! them refuses to start because the partition is there twice.

use super::*;

/// Copied under the locks of a log: what an append waits for at most.
const LAST_STRETCH: usize = 1 << 20;

/// How a stretch of copying ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copied {
    Bytes(usize),
    /// What comes next for the copy was removed from the log: it must begin anew, at the log's start.
    Overtaken,
}

impl PartitionLog {
    /// Makes an empty copy of this log in a directory of its own.
    pub fn begin_copy(&self, path: &Path, now: Timestamp) -> Result<Self, AppendError> {
        let (disk, settings, start) = {
            let mut state = self.state.lock();
            state.check_health()?;
            let (from, end) = (state.log_start, state.log_end);
            // A log may begin inside of a batch, which is copied whole; or before its first one, which compaction has left.
            let first = state.plan_copy(from, end, 1)?;
            let start = first.map_or(from, |plan| plan.base_offset.min(from));
            (state.disk.clone(), state.settings.clone(), start)
        };
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
        copy.state.lock().dir_unsynced = true;
        Ok(copy)
    }

    /// Appends to this copy about `max_bytes` of what it lacks. The log is locked only to find them.
    pub fn copy_from(
        &self,
        log: &Self,
        max_bytes: usize,
        now: Timestamp,
    ) -> Result<Copied, AppendError> {
        let from = self.log_end();
        let (plan, log_start) = {
            let mut state = log.state.lock();
            state.check_health()?;
            let (log_start, end) = (state.log_start, state.log_end);
            if from > end {
                return Ok(Copied::Overtaken);
            }
            let planned = state.plan_copy(from.max(log_start), end, max_bytes);
            let plan = state.watch(planned)?;
            // The log may begin inside of the batch that comes next.
            let next = plan.as_ref().map_or(log_start, |plan| plan.base_offset);
            if from < log_start && from < next {
                return Ok(Copied::Overtaken);
            }
            (plan, log_start)
        };
        let Some(plan) = plan else {
            let mut copy = self.state.lock();
            copy.log_start = copy.log_start.max(log_start.min(copy.log_end));
            return Ok(Copied::Bytes(0));
        };
        let bytes = log.watch(read(&plan, log))?;
        let mut copy = self.state.lock();
        copy.check_health()?;
        let appended = copy.append_copied(&bytes, now).and_then(|()| {
            copy.high_watermark.set(copy.log_end);
            copy.log_start = copy.log_start.max(log_start.min(copy.log_end));
            Ok(copy.drop_segments_before_start(now)?)
        });
        copy.watch(appended)?;
        Ok(Copied::Bytes(bytes.len()))
    }

    /// How many offsets a copy is behind.
    pub fn lag_of(&self, copy: &Self) -> Offset {
        (self.log_end() - copy.log_end()).max(0)
    }

    /// Steps 2 to 5: afterwards this log is where the copy was. False if the copy lacks too much; nothing has changed then.
    ///
    /// `doomed` and `place` are the new names of this log's directory and the copy's.
    pub fn take_over(
        &self,
        copy: &Self,
        doomed: &Path,
        place: &Path,
        now: Timestamp,
    ) -> Result<bool, AppendError> {
        let mut state = self.state.lock();
        // Nobody else holds two of them.
        let mut copied = copy.state.lock();
        state.check_health()?;
        copied.check_health()?;
        let (from, end) = (copied.log_end, state.log_end);
        if from < state.log_start || from > end {
            return Ok(false);
        }
        let planned = state.plan_copy(from, end, LAST_STRETCH);
        if let Some(plan) = state.watch(planned)? {
            let rest = state.watch(read(&plan, self))?;
            let appended = copied.append_copied(&rest, now);
            copied.watch(appended)?;
        }
        if copied.log_end < end && copied.lacks_records(&mut state)? {
            return Ok(false);
        }
        let prepared = copied.become_like(&state, now);
        copied.watch(prepared)?;

        let disk = state.disk.clone();
        let aside = disk.rename(&state.dir, doomed).at("rename", &state.dir);
        state.watch(aside)?;
        if let Some(above) = doomed.parent() {
            let synced = disk.sync_dir(above).at("sync", above);
            state.watch(synced)?;
        }
        if let Err(error) = disk.rename(&copied.dir, place).at("rename", &copied.dir) {
            // The log stays what it was; if even that fails its directory is of no use any more.
            let back = disk.rename(doomed, &state.dir).at("rename", doomed);
            state.watch(back)?;
            return Ok(copied.watch(Err(error))?);
        }
        if let Some(above) = place.parent() {
            // A start would give the copy its name, too, but one of an older Apache Kafka would not.
            let named = disk.sync_dir(above).at("sync", above);
            // The log is there now, whatever that says.
            drop(copied.watch(named));
        }

        copied.segments.reopen_in(disk.dir(place), now);
        std::mem::swap(&mut state.segments, &mut copied.segments);
        state.dir = place.to_owned();
        state.health = copied.health.clone();
        state.recovery_point = copied.recovery_point;
        // The names in the old directory are of no use here.
        state.start_unsynced = true;
        state.names_changed();
        state.epochs_unsynced = true;
        state.doomed = Vec::new();
        copied.gone = true;
        Ok(true)
    }

    /// Gives a copy that is whole its place: step 4, after a crash before it.
    pub fn settle(&self, place: &Path, now: Timestamp) -> Result<(), StorageError> {
        let mut state = self.state.lock();
        state.check_health()?;
        let disk = state.disk.clone();
        let renamed = disk.rename(&state.dir, place).at("rename", &state.dir);
        state.watch(renamed)?;
        state.dir = place.to_owned();
        state.segments.reopen_in(disk.dir(place), now);
        Ok(())
    }
}

fn read(plan: &ReadPlan, log: &PartitionLog) -> Result<Bytes, StorageError> {
    let Some(range) = &plan.records else {
        return Ok(Bytes::new());
    };
    range.read().at("read", log.partition.to_string())
}

impl State {
    /// The stretch of records from `from` on; `None` if there are none below `end`.
    fn plan_copy(
        &mut self,
        from: Offset,
        end: Offset,
        max_bytes: usize,
    ) -> Result<Option<ReadPlan>, StorageError> {
        let mut plan = ReadPlan {
            watermarks: self.watermarks(),
            records: None,
            magic: MAGIC_V2,
            base_offset: from,
            aborted: None,
        };
        if from < end {
            let planned = self.plan(from, max_bytes, end, true, Reach::Disk, &mut plan);
            planned.map_err(|error| match error {
                ReadError::Storage(error) => error,
                refused @ ReadError::OutOfRange { .. } => malformed(&self.dir, refused.to_string()),
            })?;
        }
        Ok(plan.records.is_some().then_some(plan))
    }

    /// Whether `source` has records that this copy lacks. Compaction may have taken those at the end.
    fn lacks_records(&self, source: &mut Self) -> Result<bool, StorageError> {
        let (from, end) = (self.log_end, source.log_end);
        Ok(source.plan_copy(from, end, 1)?.is_some())
    }

    /// Appends whole batches, and messages of the old formats, as they are.
    fn append_copied(&mut self, bytes: &Bytes, now: Timestamp) -> Result<(), AppendError> {
        let corrupt = |what: String| AppendError::refused(ErrorCode::CorruptMessage, what);
        let mut rest = bytes.clone();
        while let Some(span) = Span::parse(&rest, 0) {
            if span.size > rest.len() {
                break;
            }
            let batch = rest.split_to(span.size);
            if span.last_offset < self.log_end {
                continue;
            }
            if span.magic < MAGIC_V2 {
                let offsets = recovery::base_for(&span, &batch)..=span.last_offset;
                self.roll_if_due(span.size, span.max_timestamp, offsets, now)?;
                let interval = u64::from(self.settings.index_interval_bytes);
                self.segments.active_mut().append_raw(&batch, &span, interval)?;
                self.log_end = span.last_offset + 1;
                continue;
            }
            let header = BatchHeader::parse(&batch).map_err(|error| corrupt(error.to_string()))?;
            header
                .verify(&batch)
                .map_err(|error| corrupt(error.to_string()))?;
            let marker = append::transaction_marker(&header, &batch);
            let valid = Valid {
                header,
                bytes: batch,
                log_append_time: None,
                marker,
            };
            self.append(&valid, now)?;
        }
        Ok(())
    }

    /// Gives the copy what is no record: positions, epochs, producers; and makes it durable.
    fn become_like(&mut self, source: &Self, now: Timestamp) -> Result<(), StorageError> {
        self.log_end = source.log_end;
        self.high_watermark.set(source.watermarks().high_watermark);
        self.log_start = source.log_start;
        self.drop_segments_before_start(now)?;
        for path in std::mem::take(&mut self.doomed)
            .into_iter()
            .flat_map(|(_, paths)| paths)
        {
            self.disk.remove_file(&path).at("remove", path)?;
        }
        let active = self.segments.active_mut();
        // It is opened under another name, and what is only in memory would be lost.
        active.seal()?;
        active.aborted.write_pending()?;
        let epochs = self.dir.join(checkpoint::LEADER_EPOCHS);
        checkpoint::write_epochs(&self.disk, &epochs, source.epochs.entries(), false)?;
        let path = self.snapshot_path(self.log_end);
        let written = self.disk.write(&path, &source.producers.to_snapshot());
        written.at("write", path)?;
        self.start_unsynced = true;
        self.names_changed();
        self.flush(now)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io;
    use std::panic::Location;

    use super::*;
    use crate::host::disk::{Simulation, Step, Verdict};
    use crate::log::compaction::Budget;
    use crate::log::failure::FailureChannel;
    use crate::log::tests::watched::{own_disk, watch};
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

    /// Every byte from the start to the end, in order.
    fn bytes(log: &PartitionLog) -> Vec<u8> {
        let mut all = Vec::new();
        let marks = log.watermarks();
        let mut next = marks.log_start;
        while next < marks.log_end {
            let plan = log.read(next, 1, ReadEnd::LogEnd, true).unwrap();
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

    /// A log with messages of both old formats, batches of two epochs, a transaction that was aborted and one that is open.
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
        assert_eq!(log.lag_of(&copy), 0);
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
            // In the middle of a batch, where deleted records may end.
            log.advance_start(7, NOW).unwrap();
            let before = (
                bytes(&log),
                log.watermarks(),
                log.end_of_epoch(0),
                log.end_of_epoch(1),
            );
            assert!(move_to(&log, &root, stretch));
            let after = |log: &PartitionLog| {
                (
                    bytes(log),
                    log.watermarks(),
                    log.end_of_epoch(0),
                    log.end_of_epoch(1),
                )
            };
            assert_eq!(after(&log), before, "stretches of {stretch}");
            let marks = log.watermarks();
            assert!(marks.last_stable < marks.high_watermark);
            let aborted = log
                .read(30, 1 << 20, ReadEnd::LastStable, true)
                .unwrap()
                .aborted;
            assert_eq!(aborted.unwrap().len(), 1);
            // It goes on there, and is found again there.
            append(&log, 2, records("after"));
            let last = (bytes(&log), log.watermarks().log_end);
            assert!(log.dir().ends_with("moved/t-0") && !root.join("t-0").exists());
            drop(log);
            let log = open(&root.join("moved/t-0"), false);
            log.advance_start(7, NOW).unwrap();
            assert_eq!((bytes(&log), log.watermarks().log_end), last);
            assert_eq!(log.watermarks().last_stable, marks.last_stable);
        }
    }

    /// Does something once, before a directory of this name is synced.
    struct Meanwhile<F>(&'static str, Mutex<Option<F>>);

    impl<F> std::fmt::Debug for Meanwhile<F> {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Meanwhile")
        }
    }

    impl<F: FnOnce() + Send> Simulation for Meanwhile<F> {
        fn before(&self, step: &Step<'_>, _: &'static Location<'static>) -> io::Result<Verdict> {
            if let Step::SyncDir(path) = step
                && path.ends_with(self.0)
                && let Some(work) = self.1.lock().take()
            {
                // In a thread that nobody watches.
                std::thread::scope(|scope| scope.spawn(work).join()).unwrap();
            }
            Ok(Verdict::Go)
        }
    }

    #[test]
    fn a_log_that_moves_while_it_is_flushed_or_compacted_breaks_no_directory() {
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
            let end = log.log_end();
            let (moving, path) = (Arc::clone(&log), root.path().to_owned());
            let moves = move || {
                let (doomed, place) = (path.join("a/t-0.x-delete"), path.join("b/t-0"));
                assert!(moving.take_over(&copy, &doomed, &place, NOW).unwrap());
            };
            watch(Some(Arc::new(Meanwhile("a/t-0", Mutex::new(Some(moves))))));
            let done = match compacts {
                true => log.compact(0, &Budget::of(1 << 16), NOW).map(drop),
                false => log.flush(NOW),
            };
            watch(None);
            assert!(compacts || done.is_ok(), "{done:?}");
            assert!(log.dir().ends_with("b/t-0"));
            assert!(before.is_online() && after.is_online());
            append(&log, 3, records("after"));
            log.flush(NOW).unwrap();
            assert_eq!((log.log_end(), log.recovery_point()), (end + 3, end + 3));
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
        let end = log.log_end();
        log.advance_start(end, NOW).unwrap();
        assert_eq!(copy.copy_from(&log, 1, NOW).unwrap(), Copied::Overtaken);
    }
}
