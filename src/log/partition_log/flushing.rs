//! How a log becomes durable: now and then while it grows, and when it is closed.
//!
//! Under the lock it is only listed what there is to sync. Who syncs has the log's turn meanwhile, so that nobody cuts, removes or
//! moves what is listed; appends and reads go on.

use super::*;
use crate::log::durability::NamesThen;
use crate::log::index::sparse::sync_index;

impl PartitionLog {
    /// Whether unflushed data is older or more than the settings allow, or a segment was rolled since: then the next start
    /// need not read it again.
    #[cfg(test)]
    pub fn flush_due(&self, now: Timestamp) -> bool {
        self.state.lock().is_flush_due(now)
    }

    /// Flushes the log if that is due. If not, but another leader has begun to write, its epoch is noted at least: after a
    /// crash a start would look for it in every batch of the log.
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

    /// Makes everything appended so far durable and moves the recovery point.
    ///
    /// What a failed sync has not written is lost to every later one, whatever that says: the log directory goes offline,
    /// and the next start reads what is there.
    pub fn flush(&self, now: Timestamp) -> Result<(), StorageError> {
        let _turn = self.turn.lock();
        self.flush_in_turn(now)
    }

    /// The same for who has the log's turn.
    pub(super) fn flush_in_turn(&self, now: Timestamp) -> Result<(), StorageError> {
        let unsynced = self.locked(|state| state.unsynced(now))?;
        self.make_durable(unsynced)
    }

    /// Makes the records of all segments durable that are not written to any more.
    pub(super) fn flush_sealed(&self) -> Result<(), StorageError> {
        let _turn = self.turn.lock();
        let unsynced = self.locked(|state| Ok(state.unsynced_of_sealed()))?;
        self.make_durable(unsynced)
    }

    /// Makes everything below `end` durable before it is acknowledged, as `flush.messages` demands. Of several who wait the next
    /// one syncs for all.
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

    /// Closes the files that stay open between their uses: others need the descriptors.
    pub(in crate::log) fn release_files(&self) {
        self.state.lock().segments.release_files(0);
    }

    /// Closes the log so that it opens without recovery. Nothing is appended any more.
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

    /// Syncs what was listed, in the same turn, and notes it. What must be there first is synced first: records and indexes, the
    /// epochs, and the names of all; only then the recovery point moves.
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
        // One file after the other: thousands may have been rolled since, and each takes a descriptor.
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

/// What there is to sync at a moment: plain data.
pub(super) struct Unsynced {
    disk: Disk,
    /// Offsets in sealed segments.
    sealed: Range<Offset>,
    active: Option<SegmentFiles>,
    /// The file of leader epochs, and what it is to say.
    epochs: Option<(PathBuf, Vec<(LeaderEpoch, Offset)>)>,
    names: Option<NamesToSync>,
    /// Everything below is durable then.
    end: Offset,
    /// When everything appended so far was listed, if it was.
    all_at: Option<Timestamp>,
}

/// Names to sync, as they stood at a moment: plain data.
pub(super) struct NamesToSync {
    dir: PathBuf,
    pub(super) then: NamesThen,
}

impl NamesToSync {
    /// A file whose name is not durable is not there after a power cut, however often it was synced itself.
    pub(super) fn sync(&self, disk: &Disk) -> Result<(), StorageError> {
        if self.then.names.of_files {
            disk.sync_dir(&self.dir).at("sync", &self.dir)?;
        }
        // Where the directory's own name stands.
        match self.dir.parent().filter(|_| self.then.names.of_dir) {
            Some(parent) => disk.sync_dir(parent).at("sync", parent),
            None => Ok(()),
        }
    }
}

/// The files of a segment that are to be synced.
struct SegmentFiles {
    data: Arc<File>,
    path: PathBuf,
    /// Empty for a segment that is still written to: recovery reads it again.
    indexes: Vec<PathBuf>,
}

impl SegmentFiles {
    /// All files of a segment that is not written to any more.
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

    /// Whether more is not on disk than `flush.messages` lets go unflushed.
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

    /// What everything appended so far needs.
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

    /// What everything needs that was appended before the active segment.
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

    /// What a start needs that reads no records again.
    fn unsynced_at_close(&mut self) -> Result<Unsynced, StorageError> {
        let end = self.log_end;
        // Before the names: the file gets another one.
        let writes_epochs = self.durability.lacks_epochs() || self.durability.has_old_epochs();
        let epochs = writes_epochs.then(|| self.epochs_now());
        let active = self.segments.active();
        let is_written = active.size > 0 || active.is_preallocated();
        let mut unsynced = self.nothing_unsynced();
        if self.durability.recovery_point() < end || is_written {
            // Those before it were sealed when it was begun, or by the start that found them.
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

    /// What the file of leader epochs is to say, if it lacks any.
    fn epochs_to_write(&mut self) -> Option<(PathBuf, Vec<(LeaderEpoch, Offset)>)> {
        let lacks = self.durability.lacks_epochs();
        lacks.then(|| self.epochs_now())
    }

    /// What it is to say now, and where it is.
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

    /// The files of the sealed segment in which an offset lies, and where it ends.
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
