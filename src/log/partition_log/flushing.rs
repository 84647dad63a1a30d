//! Flushing a log: regularly while it grows, and when it is closed.
//!
//! With the state locked, the files to sync are only listed. They are synced in the log's turn, so that nobody cuts, removes or
//! moves them meanwhile; appends and reads continue.

use super::*;
use crate::log::durability::NamesThen;
use crate::log::index::sparse::sync_index;

impl PartitionLog {
    /// Whether unflushed data is older or larger than the settings allow, or a segment was rolled since the last flush: after a
    /// flush the next start does not have to read it again.
    #[cfg(test)]
    pub fn flush_due(&self, now: Timestamp) -> bool {
        self.state.lock().is_flush_due(now)
    }

    /// Flushes the log if that is due. Otherwise only new leader epochs are written to their file: after a crash, a start would
    /// look for them in every batch of the log.
    pub(in crate::log) fn flush_if_due(&self, now: Timestamp) -> Result<(), StorageError> {
        let (due, lacks_epochs) = {
            let state = self.state.lock();
            (state.is_flush_due(now), state.durability.lacks_epochs())
        };
        if due {
            self.flush(now)
        } else if lacks_epochs {
            let _turn = self.turn.lock();
            let unsynced = self.locked(|state| Ok(state.unwritten_epochs()))?;
            self.make_durable(unsynced)
        } else {
            Ok(())
        }
    }

    /// Makes all appended records durable and advances the recovery point.
    ///
    /// Data that a failed sync did not write is lost for every later sync too, whatever its result: the log directory goes
    /// offline, and the next start reads what is on disk.
    pub fn flush(&self, now: Timestamp) -> Result<(), StorageError> {
        let _turn = self.turn.lock();
        self.flush_in_turn(now)
    }

    /// Flushes the log, for a caller that has the log's turn.
    pub(super) fn flush_in_turn(&self, now: Timestamp) -> Result<(), StorageError> {
        let unsynced = self.locked(|state| state.unsynced(now))?;
        self.make_durable(unsynced)
    }

    /// Makes the records of all sealed segments durable.
    pub(super) fn flush_sealed(&self) -> Result<(), StorageError> {
        let _turn = self.turn.lock();
        let unsynced = self.locked(|state| Ok(state.unsynced_of_sealed()))?;
        self.make_durable(unsynced)
    }

    /// Makes all records below `end` durable before they are acknowledged, as `flush.messages` requires. If several callers wait,
    /// the next one syncs for all of them.
    pub fn flush_up_to(&self, end: Offset, now: Timestamp) -> Result<(), AppendError> {
        let _turn = self.turn.lock();
        let unsynced = {
            let mut state = self.state.lock();
            state.check_there()?;
            if state.durability.recovery_point() >= end {
                return Ok(());
            }
            let planned = state.unsynced(now);
            state.watch(planned)?
        };
        Ok(self.make_durable(unsynced)?)
    }

    /// Closes files that stay open between uses, because others need the descriptors.
    pub(in crate::log) fn release_files(&self) {
        self.state.lock().segments.release_files(0);
    }

    /// Closes the log so that it opens without recovery. Nothing may be appended afterwards.
    pub fn close(&self) -> Result<(), StorageError> {
        let _turn = self.turn.lock();
        self.warmly(|state, reach| state.segments.active_mut().newest_timestamp_within(reach))?;
        let unsynced = self.locked(State::unsynced_at_close)?;
        let end = unsynced.end;
        self.make_durable(unsynced)?;
        let (disk, snapshot, doomed) = {
            let mut state = self.state.lock();
            let holds_records = state.segments.first().base_offset < end;
            let wanted = holds_records || !state.producers.is_empty();
            let snapshot = wanted.then(|| state.snapshot_path(end));
            let doomed = std::mem::take(&mut state.doomed);
            (state.disk.clone(), snapshot, doomed)
        };
        if let Some(path) = snapshot
            && !disk.exists(&path).unwrap_or_default()
        {
            let content = self.state.lock().producers.to_snapshot();
            let written = disk.write(&path, &content).map(drop);
            self.watch(written.at("write", path))?;
        }
        for (_, paths) in doomed {
            for path in paths {
                drop(disk.remove_file(&path));
            }
        }
        Ok(())
    }

    /// Syncs the listed files, in the same turn, and records that. The recovery point moves last, after records, indexes, leader
    /// epochs and names.
    pub(super) fn make_durable(&self, unsynced: Unsynced) -> Result<(), StorageError> {
        let synced = self.sync(&unsynced);
        self.watch(synced)?;
        let mut state = self.state.lock();
        if let Some(names) = &unsynced.names {
            state.durability.names_synced(names.then);
        }
        state.durability.flushed(unsynced.end, unsynced.all_at);
        Ok(())
    }

    fn sync(&self, unsynced: &Unsynced) -> Result<(), StorageError> {
        let disk = &unsynced.disk;
        // One file at a time is opened: thousands of segments may have been rolled since, and each needs a descriptor.
        let mut next = unsynced.sealed.start;
        while next < unsynced.sealed.end {
            let Some((files, end)) = self.state.lock().sealed_at(next)? else {
                break;
            };
            files.sync(disk)?;
            next = end;
        }
        if let Some(files) = &unsynced.active {
            files.sync(disk)?;
        }
        if let Some((path, epochs)) = &unsynced.epochs {
            checkpoint::write_epochs(disk, path, epochs, false)?;
        }
        match &unsynced.names {
            Some(names) => names.sync(disk),
            None => Ok(()),
        }
    }
}

/// Files to sync, as plain data.
pub(super) struct Unsynced {
    disk: Disk,
    /// Range of offsets in sealed segments.
    sealed: Range<Offset>,
    active: Option<SegmentFiles>,
    /// Path and content of the leader epoch file.
    epochs: Option<(PathBuf, Vec<(LeaderEpoch, Offset)>)>,
    names: Option<NamesToSync>,
    /// All records below this offset are durable after the sync.
    end: Offset,
    /// Time of the listing, if it included all appended records.
    all_at: Option<Timestamp>,
}

/// Directory entries to sync, as plain data.
pub(super) struct NamesToSync {
    dir: PathBuf,
    pub(super) then: NamesThen,
}

impl NamesToSync {
    /// A file without a durable directory entry is lost in a power failure, even if the file itself was synced.
    pub(super) fn sync(&self, disk: &Disk) -> Result<(), StorageError> {
        if self.then.names.of_files {
            disk.sync_dir(&self.dir).at("sync", &self.dir)?;
        }
        // The parent directory contains the directory's own entry.
        match self.dir.parent().filter(|_| self.then.names.of_dir) {
            Some(parent) => disk.sync_dir(parent).at("sync", parent),
            None => Ok(()),
        }
    }
}

/// Files of a segment to sync.
struct SegmentFiles {
    data: Arc<File>,
    path: PathBuf,
    /// Empty for the active segment: recovery reads that again.
    indexes: Vec<PathBuf>,
}

impl SegmentFiles {
    /// All files of a sealed segment.
    fn of(segment: &mut Segment) -> Result<Self, StorageError> {
        segment.write_indexes()?;
        Ok(Self {
            data: segment.file()?,
            path: segment.path().to_owned(),
            indexes: segment.indexes().into(),
        })
    }

    fn sync(&self, disk: &Disk) -> Result<(), StorageError> {
        disk.sync(&self.data, &self.path).at("sync", &self.path)?;
        for path in &self.indexes {
            sync_index(disk, path)?;
        }
        Ok(())
    }
}

impl State {
    fn is_flush_due(&self, now: Timestamp) -> bool {
        let (segments, settings) = (&self.segments, &self.settings);
        self.durability
            .is_flush_due(segments, self.log_end, settings, now)
    }

    /// Whether there are more unflushed records than `flush.messages` allows.
    pub(super) fn has_unflushed_messages(&self) -> bool {
        self.durability
            .has_unflushed_messages(self.log_end, &self.settings)
    }

    fn nothing_unsynced(&self) -> Unsynced {
        let end = self.durability.recovery_point();
        Unsynced {
            disk: self.disk.clone(),
            sealed: end..end,
            active: None,
            epochs: None,
            names: None,
            end,
            all_at: None,
        }
    }

    fn unwritten_epochs(&mut self) -> Unsynced {
        Unsynced {
            epochs: self.epochs_to_write(),
            ..self.nothing_unsynced()
        }
    }

    /// Lists what must be synced for all appended records.
    fn unsynced(&mut self, now: Timestamp) -> Result<Unsynced, StorageError> {
        let active = self.segments.active_mut();
        active.write_pending()?;
        let files = SegmentFiles {
            data: active.file()?,
            path: active.path().to_owned(),
            indexes: Vec::new(),
        };
        Ok(Unsynced {
            active: Some(files),
            end: self.log_end,
            all_at: Some(now),
            ..self.unsynced_of_sealed()
        })
    }

    /// Lists what must be synced for the records before the active segment.
    fn unsynced_of_sealed(&mut self) -> Unsynced {
        let first = self.durability.first_unsynced(&self.segments);
        let sealed = self.segments[first].base_offset..self.segments.active().base_offset;
        let epochs = self.epochs_to_write();
        Unsynced {
            epochs,
            names: self.names(),
            end: sealed.end.min(self.log_end),
            sealed,
            ..self.nothing_unsynced()
        }
    }

    /// Lists what must be synced so that the next start reads no records.
    fn unsynced_at_close(&mut self) -> Result<Unsynced, StorageError> {
        let end = self.log_end;
        // Before the names are listed, because the file is replaced.
        let writes_epochs = self.durability.lacks_epochs() || self.durability.has_old_epochs();
        let epochs = writes_epochs.then(|| self.epochs_now());
        let active = self.segments.active();
        let is_written = active.size > 0 || active.is_preallocated();
        let mut unsynced = self.nothing_unsynced();
        if self.durability.recovery_point() < end || is_written {
            // Earlier segments were sealed when the active one was created, or by the start that found them.
            let active = self.segments.active_mut();
            if end - active.base_offset <= i64::from(i32::MAX) || active.size > 0 {
                active.seal()?;
            }
            unsynced = Unsynced {
                active: Some(SegmentFiles::of(self.segments.active_mut())?),
                ..self.unsynced_of_sealed()
            };
        } else if self.durability.is_start_unsynced() {
            unsynced.names = self.names();
        }
        unsynced.epochs = epochs;
        unsynced.end = end;
        Ok(unsynced)
    }

    /// New content of the leader epoch file, if it lacks epochs.
    fn epochs_to_write(&mut self) -> Option<(PathBuf, Vec<(LeaderEpoch, Offset)>)> {
        let lacks = self.durability.lacks_epochs();
        lacks.then(|| self.epochs_now())
    }

    /// Current content of the leader epoch file, and its path.
    pub(super) fn epochs_now(&mut self) -> (PathBuf, Vec<(LeaderEpoch, Offset)>) {
        self.durability.replacing_epochs();
        let path = self.dir.join(checkpoint::LEADER_EPOCHS);
        (path, self.epochs.entries().to_vec())
    }

    pub(super) fn names(&self) -> Option<NamesToSync> {
        let then = self.durability.names()?;
        let dir = self.dir.clone();
        Some(NamesToSync { dir, then })
    }

    /// Files and end offset of the sealed segment that contains an offset.
    fn sealed_at(
        &mut self,
        offset: Offset,
    ) -> Result<Option<(SegmentFiles, Offset)>, StorageError> {
        let index = self.segments.index_of(offset);
        let Some(end) = self.segments.base_behind(index) else {
            return Ok(None);
        };
        let keep = index + 1 + OPEN_OLD_SEGMENTS >= self.segments.count();
        let segment = &mut self.segments[index];
        let files = SegmentFiles::of(segment)?;
        if !keep {
            segment.release_file();
        }
        Ok(Some((files, end)))
    }
}
