//! What goes from a log: records before its start, segments that are too old or too many, records that newer ones replace.

use std::collections::HashMap;

use super::*;
use crate::log::compaction::plan::{self, Plan, Sealed};
use crate::log::compaction::{self, Budget, LastWord, Sources};

/// Segments whose files get other names in one go: appends wait meanwhile.
const SEGMENTS_AT_ONCE: usize = 64;
/// How often names are synced without the lock before it is done with it: each time a segment was rolled meanwhile.
const NAME_SYNCS_MAX: usize = 4;

impl PartitionLog {
    /// Moves the start of the log; whole segments before it go. `offset` is at most the high watermark.
    pub fn advance_start(&self, offset: Offset, now: Timestamp) -> Result<Offset, StorageError> {
        {
            let mut state = self.state.lock();
            state.check_health()?;
            if offset <= state.log_start {
                return Ok(state.log_start);
            }
            state.log_start = offset.min(state.watermarks().high_watermark);
        }
        self.drop_segments_before_start(now)?;
        Ok(self.watermarks().log_start)
    }

    /// Removes segments that are too old or too many, as `retention.ms` and `retention.bytes` say.
    pub fn retain(&self, now: Timestamp) -> Result<(), StorageError> {
        {
            let mut state = self.state.lock();
            state.check_health()?;
            let retained = state.retain(now);
            state.watch(retained)?;
        }
        self.drop_segments_before_start(now)
    }

    /// Removes the segments before the log start: appends need not wait for the disk meanwhile, and not long for the names.
    fn drop_segments_before_start(&self, now: Timestamp) -> Result<(), StorageError> {
        for _ in 0..NAME_SYNCS_MAX {
            let (names, place) = {
                let state = self.state.lock();
                state.check_health()?;
                if state.segments_before_start() == 0 {
                    break;
                }
                (state.names(), Place::of(&state))
            };
            // 1. The newest segment's name: or a power cut could take old and new, and offsets would be given a second time.
            if let Err(error) = names.sync() {
                self.blame(&place, error)?;
                continue;
            }
            // 2. The old segments, if no name has come meanwhile.
            let mut unchanged = {
                let mut state = self.state.lock();
                state.check_health()?;
                state.note_synced(&names)
            };
            let mut changes = names.changes;
            while unchanged {
                let mut state = self.state.lock();
                state.check_health()?;
                unchanged = state.names_changes == changes;
                if unchanged && !state.drop_some_before_start(SEGMENTS_AT_ONCE, now) {
                    return Ok(());
                }
                changes = state.names_changes;
            }
        }
        let mut state = self.state.lock();
        state.check_health()?;
        let dropped = state.drop_segments_before_start(now);
        state.watch(dropped)
    }

    /// Compacts the log if it is due, within `budget`; gives where the next pass begins.
    ///
    /// The segments are read and written without the log's lock. If retention or truncation took one of them meanwhile,
    /// the work is thrown away.
    pub fn compact(
        &self,
        first_dirty: Offset,
        budget: &Budget,
        now: Timestamp,
    ) -> Result<Option<Offset>, StorageError> {
        let place = self.place()?;
        match self.compact_once(first_dirty, budget, now) {
            // What retention takes meanwhile is no error of the disk, and the work is thrown away.
            Err(error) if error.source.kind() == ErrorKind::NotFound => Err(error),
            Err(error) => self.blame(&place, error).map(|()| None),
            done => done,
        }
    }

    /// Deletes the files of segments that were removed `file.delete.delay.ms` ago.
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
            // The next round tries again, and after that the next start.
            self.state.lock().doomed.splice(0..0, left);
        }
    }

    fn compact_once(
        &self,
        first_dirty: Offset,
        budget: &Budget,
        now: Timestamp,
    ) -> Result<Option<Offset>, StorageError> {
        let Some((sources, plan)) = self.state.lock().plan_compaction(first_dirty, now)? else {
            return Ok(None);
        };
        // A record goes because of a newer one, which must not go with the next power cut.
        self.sync_sealed()?;
        let Some(rewritten) = compaction::rewrite(&sources, &plan, budget, now)? else {
            return Ok(None);
        };
        let mut state = self.state.lock();
        for (replaced, segment) in rewritten.segments {
            if !state.swap(&replaced, segment, now)? {
                return Ok(None);
            }
        }
        Ok(Some(rewritten.first_dirty))
    }
}

impl State {
    fn retain(&mut self, now: Timestamp) -> Result<(), StorageError> {
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
            let newest = segment.largest_timestamp()?;
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
            self.log_start = self.log_start.max(self.segments[keep_from].base_offset);
        }
        Ok(())
    }

    fn segments_before_start(&self) -> usize {
        self.segments.index_of(self.log_start)
    }

    pub(super) fn drop_segments_before_start(
        &mut self,
        now: Timestamp,
    ) -> Result<(), StorageError> {
        if self.segments_before_start() > 0 {
            // Or a power cut could take old and new, and offsets would be given a second time.
            self.sync_names()?;
        }
        self.drop_some_before_start(usize::MAX, now);
        Ok(())
    }

    /// The same for at most so many, where the newest one's name is synced. Whether there are more.
    fn drop_some_before_start(&mut self, most: usize, now: Timestamp) -> bool {
        let log_start = self.log_start;
        let before = self.segments_before_start();
        let dropped = before.min(most);
        for segment in self.segments.take_oldest(dropped) {
            let mut paths = Vec::new();
            let snapshot = self.dir.join(file_name(segment.base_offset, ".snapshot"));
            for path in segment.files().into_iter().chain([&*snapshot]) {
                let mut deleted = path.as_os_str().to_owned();
                deleted.push(".deleted");
                let deleted = PathBuf::from(deleted);
                if self.disk.rename(path, &deleted).is_ok() {
                    paths.push(deleted);
                }
            }
            tracing::info!(segment = %segment.path().display(), log_start, "removing a segment");
            self.doomed.push((now, paths));
        }
        if dropped > 0 {
            // If one came back with a torn end, recovery would take everything behind it for lost.
            self.start_unsynced = true;
            self.names_changed();
        }
        // Only in memory: a file with earlier starts says nothing wrong, and the next stop or start of the node cuts it
        // (Kafka's too). A hundred logs that are emptied at once would write and rename a hundred files.
        self.epochs_too_long |= self.epochs.truncate_start(log_start);
        before > dropped
    }

    fn plan_compaction(
        &mut self,
        cleaned_to: Offset,
        now: Timestamp,
    ) -> Result<Option<(Sources, Plan)>, StorageError> {
        if !self.settings.cleanup_compact {
            return Ok(None);
        }
        let first_dirty = plan::first_dirty(cleaned_to, self.log_start, self.log_end);
        let mut sealed = Vec::new();
        for index in 0..self.segments.sealed().len() {
            let end_offset = self.segments[index + 1].base_offset;
            let segment = &mut self.segments[index];
            let newest = segment.largest_timestamp()?;
            let asked = end_offset > first_dirty && self.settings.max_compaction_lag_ms < i64::MAX;
            let first = if asked {
                let first = segment.first_timestamp()?;
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
            for one in segment.aborted.all()? {
                aborted.entry(one.producer_id).or_default().push(one);
            }
        }
        let flushed = self.recovery_point;
        let last = |(id, producer): (ProducerId, &Producer)| {
            let ends = || producer.batches.iter().rev().map(|batch| batch.last_offset);
            let newest = ends().next();
            // Kafka differs: the newest of all may be lost with the next power cut, and then one that is synced is the newest.
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
            settings: self.settings.clone(),
            aborted,
            last_of_producer: self.producers.iter().flat_map(last).collect(),
        };
        Ok(Some((sources, plan)))
    }

    /// Puts a finished segment in the place of those with the given base offsets: steps 2 to 4 of [`compaction`]. False
    /// when they are not all there any more; its files are then removed.
    fn swap(
        &mut self,
        replaced: &[Offset],
        cleaned: Segment,
        now: Timestamp,
    ) -> Result<bool, StorageError> {
        let sealed = self.segments.sealed();
        let first = sealed
            .iter()
            .position(|segment| Some(&segment.base_offset) == replaced.first());
        let there = first.filter(|first| {
            let bases = sealed[*first..].iter().map(|segment| &segment.base_offset);
            bases.take(replaced.len()).eq(replaced) && cleaned.path().starts_with(&self.dir)
        });
        let Some(first) = there else {
            recovery::remove_files(&cleaned)?;
            return Ok(false);
        };
        let rename = |from: &Path, suffix: &str, to: &str| -> Result<PathBuf, StorageError> {
            let name = from.to_string_lossy();
            let target = PathBuf::from(format!(
                "{}{to}",
                name.strip_suffix(suffix).unwrap_or(&name)
            ));
            match self.disk.rename(from, &target) {
                // A segment without aborted transactions has no file for them.
                Err(error) if error.kind() != ErrorKind::NotFound => Err(error).at("rename", from),
                _ => Ok(target),
            }
        };
        let mut swaps = Vec::new();
        for path in cleaned.files() {
            swaps.push(rename(path, ".cleaned", ".swap")?);
        }
        // What is replaced must not go before what replaces it is there for good.
        let sync = || self.disk.sync_dir(&self.dir).at("sync", &self.dir);
        sync()?;
        let mut doomed = Vec::new();
        let range = first..first + replaced.len();
        for segment in &self.segments.sealed()[range.clone()] {
            for path in segment.files() {
                doomed.push(rename(path, "", ".deleted")?);
            }
        }
        for base in &replaced[1..] {
            doomed.push(rename(&self.snapshot_path(*base), "", ".deleted")?);
        }
        doomed.retain(|path| self.disk.exists(path).unwrap_or_default());
        sync()?;
        for path in &swaps {
            rename(path, ".swap", "")?;
        }
        sync()?;
        let segment = Segment::open(self.place(), cleaned.base_offset, cleaned.size, now);
        self.segments.replace_sealed(range, segment);
        self.doomed.push((now, doomed));
        Ok(true)
    }
}
