//! Removing data from a log: records before the log start, segments that are too old or exceed the size limit, and records that
//! compaction removes.

use std::collections::HashMap;

use super::*;
use crate::log::compaction::plan::{self, Plan, Sealed};
use crate::log::compaction::{self, Budget, LastWord, Sources};

/// Number of segments that are taken out of the log at once; appends wait meanwhile.
const SEGMENTS_AT_ONCE: usize = 64;

/// State of a log when its compaction began.
struct Begun {
    place: Place,
    cuts: u64,
}

impl Begun {
    fn of(state: &State) -> Self {
        Self {
            place: Place::of(state),
            cuts: state.cuts,
        }
    }
}

impl PartitionLog {
    /// Moves the log start offset to `offset`, but not beyond the high watermark, and removes segments that lie before it.
    pub fn advance_start(&self, offset: Offset, now: Timestamp) -> Result<Offset, StorageError> {
        {
            let mut state = self.state.lock();
            state.check_health()?;
            if offset <= state.log_start {
                return Ok(state.log_start);
            }
            let log_start = offset.min(state.watermarks().high_watermark);
            state.begin_at(log_start);
        }
        self.remove_before_start(now)?;
        Ok(self.reader().log_start())
    }

    /// Removes segments that are too old or exceed the size limit (`retention.ms`, `retention.bytes`).
    pub(in crate::log) fn retain(&self, now: Timestamp) -> Result<(), StorageError> {
        self.warmly(|state, reach| state.retain(now, reach))?;
        self.remove_before_start(now)
    }

    /// Removes the segments before the log start.
    pub(super) fn remove_before_start(&self, now: Timestamp) -> Result<(), StorageError> {
        if self.state.lock().segments_before_start() == 0 {
            return Ok(());
        }
        let _turn = self.turn.lock();
        self.remove_in_turn(now)
    }

    /// Removes the segments before the log start, for a caller that has the log's turn:
    ///
    /// 1. names are synced: otherwise a power failure could remove old and new segments, and offsets would be assigned twice;
    /// 2. segments before the log start are taken out of the log, as long as their successor existed in step 1;
    /// 3. their files are renamed. After a crash before this step the files remain, below the log start in the checkpoint.
    pub(super) fn remove_in_turn(&self, now: Timestamp) -> Result<(), StorageError> {
        loop {
            let (disk, names, named) = self.locked(|state| {
                let named = state.segments.active().base_offset;
                Ok((state.disk.clone(), state.names(), named))
            })?;
            if let Some(names) = &names {
                self.watch(names.sync(&disk))?;
                self.state.lock().durability.names_synced(names.then);
            }
            loop {
                let (dir, log_start, taken) = self.locked(|state| {
                    let taken = state.take_before_start(named);
                    Ok((state.dir.clone(), state.log_start, taken))
                })?;
                if taken.is_empty() {
                    break;
                }
                let mut removed = Vec::new();
                for segment in &taken {
                    tracing::info!(segment = %segment.path().display(), log_start, "removing a segment");
                    removed.push((now, put_out(segment, &dir)));
                }
                let mut state = self.state.lock();
                // If a segment came back with a torn end, recovery would treat everything after it as lost.
                state.durability.start_changed();
                state.doomed.extend(removed);
            }
            // More segments may have been rolled meanwhile.
            if self.state.lock().segments_before_start() == 0 {
                return Ok(());
            }
        }
    }

    /// Compacts the log if that is due, within `budget`; returns where the next pass begins.
    ///
    /// Segments are read and written without the lock. If retention removed one of them meanwhile, or the log was truncated, the
    /// result is discarded: after a truncation, segments with the same base offsets may have other records.
    pub(in crate::log) fn compact(
        &self,
        first_dirty: Offset,
        budget: &Budget,
        now: Timestamp,
    ) -> Result<Option<Offset>, StorageError> {
        let planned = self.warmly(|state, reach| {
            let planned = state.plan_compaction(first_dirty, now, reach)?;
            Ok(planned.map(|(sources, plan)| (Begun::of(state), sources, plan)))
        })?;
        let Some((begun, sources, plan)) = planned else {
            return Ok(None);
        };
        // A record is removed because of a newer one, which must not be lost in a power failure.
        self.flush_sealed()?;
        let rewritten = match compaction::rewrite(&sources, &plan, budget, now) {
            Ok(rewritten) => rewritten,
            // What was to be read is gone, or other records are there.
            Err(_) if self.cuts() != begun.cuts => return Ok(None),
            // A segment that retention removed meanwhile is not a disk error; the result is discarded.
            Err(error) if error.source.kind() == ErrorKind::NotFound => return Err(error),
            Err(error) => return self.blame(&begun.place, error).map(|()| None),
        };
        let Some(rewritten) = rewritten else {
            return Ok(None);
        };
        for (replaced, segment) in rewritten.segments {
            if !self.swap(&begun, &replaced, segment, now)? {
                return Ok(None);
            }
        }
        Ok(Some(rewritten.first_dirty))
    }

    /// Replaces the segments with the given base offsets by a compacted one: steps 2 to 4 of [`compaction`]. If not all of them
    /// exist any more, or the log was truncated, the files of the compacted segment are removed, and the result is false.
    ///
    /// Readers use the compacted segment before the files of the replaced ones are renamed. Only the files of the compacted
    /// segment are renamed with the state locked.
    fn swap(
        &self,
        begun: &Begun,
        replaced: &[Offset],
        mut cleaned: Segment,
        now: Timestamp,
    ) -> Result<bool, StorageError> {
        let _turn = self.turn.lock();
        let (disk, dir, range) = self.locked(|state| {
            let range = state.range_of(replaced);
            let range = range
                .filter(|_| cleaned.path().starts_with(&state.dir) && state.cuts == begun.cuts);
            Ok((state.disk.clone(), state.dir.clone(), range))
        })?;
        let Some(range) = range else {
            return match recovery::remove_files(&cleaned) {
                Ok(()) => Ok(false),
                Err(error) => self.blame(&begun.place, error).map(|()| false),
            };
        };
        let place = disk.dir(&dir);
        let sync = || self.watch(disk.sync_dir(&dir).at("sync", &dir));
        self.watch(cleaned.change_ending(".cleaned", ".swap"))?;
        // The replaced segments must not be removed before the new one is durable.
        sync()?;
        cleaned.release_file();
        let first = range.start;
        let old = self.state.lock().segments.replace_sealed(range, cleaned);
        let doomed = self.watch(put_aside(place, &old))?;
        sync()?;
        self.locked(|state| state.segments[first].change_ending(".swap", ""))?;
        sync()?;
        self.state.lock().doomed.push((now, doomed));
        Ok(true)
    }

    /// Deletes the files of segments that were removed at least `file.delete.delay.ms` ago.
    pub fn remove_doomed(&self, now: Timestamp) {
        let (disk, due) = {
            let mut state = self.state.lock();
            let delay = state.settings.file_delete_delay_ms;
            let due = state
                .doomed
                .extract_if(.., |(since, _)| has_passed(*since, delay, now));
            let due = due.collect::<Vec<_>>();
            (state.disk.clone(), due)
        };
        let mut left = Vec::new();
        for (since, mut paths) in due {
            paths.retain(|path| match disk.remove_file(path) {
                Ok(()) => false,
                Err(error) if error.kind() == ErrorKind::NotFound => false,
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "cannot remove a deleted segment file yet");
                    true
                }
            });
            if !paths.is_empty() {
                left.push((since, paths));
            }
        }
        if !left.is_empty() {
            // The next round tries again, and finally the next start.
            self.state.lock().doomed.splice(0..0, left);
        }
    }
}

/// Renames the files of a segment before the log start, so that the next start removes them too. A file that cannot be renamed is
/// not part of the log either.
fn put_out(segment: &Segment, dir: &Path) -> Vec<PathBuf> {
    let snapshot = dir.join(file_name(segment.base_offset, ".snapshot"));
    let mut renamed = Vec::new();
    for path in segment.files().into_iter().chain([snapshot]) {
        let deleted = deleted(&path);
        if segment.disk().rename(&path, &deleted).is_ok() {
            renamed.push(deleted);
        }
    }
    renamed
}

/// Renames the files of segments that were replaced by another one. None of these files may remain, nor producer snapshots except
/// the first one.
fn put_aside(place: Dir<'_>, old: &[Segment]) -> Result<Vec<PathBuf>, StorageError> {
    let snapshot = |segment: &Segment| place.join(file_name(segment.base_offset, ".snapshot"));
    let files = old.iter().flat_map(Segment::files);
    let snapshots = old.iter().skip(1).map(snapshot);
    let mut renamed = Vec::new();
    for path in files.chain(snapshots) {
        let deleted = deleted(&path);
        match place.disk.rename(&path, &deleted) {
            Ok(()) => renamed.push(deleted),
            // A segment without aborted transactions has no file for them.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).at("rename", path),
        }
    }
    Ok(renamed)
}

fn deleted(path: &Path) -> PathBuf {
    let mut deleted = path.as_os_str().to_owned();
    deleted.push(".deleted");
    PathBuf::from(deleted)
}

impl State {
    fn retain(&mut self, now: Timestamp, reach: Reach) -> Result<(), StorageError> {
        self.segments.release_files(OPEN_OLD_SEGMENTS + 1);
        if !self.settings.cleanup_delete {
            return Ok(());
        }
        let mut size = self.segments.bytes();
        let mut keep_from = 0;
        for index in 0..self.segments.count() {
            let next_base = self.segments.base_behind(index).unwrap_or(self.log_end);
            let active = index + 1 == self.segments.count();
            let segment = &mut self.segments[index];
            if next_base > self.high_watermark.get() || active && segment.size == 0 {
                break;
            }
            let newest = segment.largest_timestamp(reach)?;
            let too_old = self.settings.retention_ms >= 0
                && now.saturating_sub(newest) > self.settings.retention_ms;
            let too_much = self.settings.retention_bytes >= 0
                && size.saturating_sub(segment.size) >= self.settings.retention_bytes as u64;
            if !too_old && !too_much {
                break;
            }
            size -= segment.size;
            keep_from = index + 1;
        }
        if keep_from == self.segments.count() {
            self.roll(self.log_end, now)?;
        }
        if keep_from > 0 {
            let log_start = self.log_start.max(self.segments[keep_from].base_offset);
            self.begin_at(log_start);
        }
        Ok(())
    }

    fn segments_before_start(&self) -> usize {
        self.segments.index_of(self.log_start)
    }

    /// Takes some segments before the log start out of the log, as long as the base offset of the next one is at or below
    /// `named`.
    fn take_before_start(&mut self, named: Offset) -> Vec<Segment> {
        let before = self.segments.index_of(self.log_start.min(named));
        let taken = self.segments.take_oldest(before.min(SEGMENTS_AT_ONCE));
        if !taken.is_empty() {
            self.durability.start_changed();
        }
        taken
    }

    /// Moves the log start.
    pub(super) fn begin_at(&mut self, log_start: Offset) {
        self.log_start = log_start;
        // Changed in memory only: a file with earlier epochs is not wrong, and the next stop or start of the node shortens it
        // (also Kafka's). Otherwise emptying a hundred logs at once would write and rename a hundred files.
        if self.epochs.truncate_start(log_start) {
            self.durability.epochs_outlived();
        }
    }

    fn plan_compaction(
        &mut self,
        cleaned_to: Offset,
        now: Timestamp,
        reach: Reach,
    ) -> Result<Option<(Sources, Plan)>, StorageError> {
        if !self.settings.cleanup_compact {
            return Ok(None);
        }
        let first_dirty = plan::first_dirty(cleaned_to, self.log_start, self.log_end);
        let mut sealed = Vec::new();
        for index in 0..self.segments.sealed().len() {
            let end_offset = self.segments[index + 1].base_offset;
            let segment = &mut self.segments[index];
            let newest = segment.largest_timestamp(reach)?;
            let asked = end_offset > first_dirty && self.settings.max_compaction_lag_ms < i64::MAX;
            let first = if asked {
                let first = segment.first_timestamp(reach)?;
                segment.release_file();
                first
            } else {
                None
            };
            sealed.push(Sealed {
                base_offset: segment.base_offset,
                end_offset,
                size: segment.size,
                index_sizes: [
                    segment.offsets.len() as u64 * 8,
                    segment.times.len() as u64 * 12,
                ],
                newest,
                first,
            });
        }
        let last_stable = self.watermarks().last_stable;
        let Some(plan) = plan::plan(&sealed, first_dirty, last_stable, &self.settings, now) else {
            return Ok(None);
        };
        let mut aborted: HashMap<ProducerId, Vec<AbortedTransaction>> = HashMap::new();
        for segment in self.segments.iter() {
            for one in segment.aborted.all_within(reach)? {
                aborted.entry(one.producer_id).or_default().push(one);
            }
        }
        let flushed = self.durability.recovery_point();
        let last = |(id, producer): (ProducerId, &Producer)| {
            let ends = || producer.batches.iter().rev().map(|batch| batch.last_offset);
            let newest = ends().next();
            // Kafka differs: the newest batch of all may be lost in a power failure, and then a synced one is the newest.
            let sealed = ends()
                .find(|last_offset| *last_offset < plan.end)
                .filter(|_| newest >= Some(flushed));
            let word = match newest {
                Some(newest) => LastWord::Batch(newest),
                None => LastWord::Markers(producer.epoch),
            };
            let words = [Some(word), sealed.map(LastWord::Batch)];
            words.into_iter().flatten().map(move |word| (id, word))
        };
        let sources = Sources {
            disk: self.disk.clone(),
            dir: self.dir.clone(),
            settings: Arc::clone(&self.settings),
            aborted,
            last_of_producer: self.producers.iter().flat_map(last).collect(),
        };
        Ok(Some((sources, plan)))
    }

    /// Indexes of the sealed segments with these base offsets, if all of them exist.
    fn range_of(&self, bases: &[Offset]) -> Option<Range<usize>> {
        let sealed = self.segments.sealed();
        let first = sealed
            .iter()
            .position(|segment| Some(&segment.base_offset) == bases.first())?;
        let there = sealed[first..].iter().map(|segment| &segment.base_offset);
        let all = there.take(bases.len()).eq(bases);
        all.then(|| first..first + bases.len())
    }
}
