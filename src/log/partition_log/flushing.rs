//! How a log becomes durable: now and then while it grows, and when it is closed.

use super::*;

impl PartitionLog {
    /// Whether unflushed data is older or more than the settings allow, or a segment was rolled since: then the next start
    /// need not read it again.
    pub fn flush_due(&self, now: Timestamp) -> bool {
        let state = self.state.lock();
        let rolled = state.segments.active().base_offset > state.recovery_point;
        state.recovery_point < state.log_end
            && (rolled
                || has_passed(state.last_flush, state.settings.flush_ms, now)
                || state.has_unflushed_messages())
    }

    /// Makes everything appended so far durable and moves the recovery point.
    ///
    /// What a failed sync has not written is lost to every later one, whatever that says: the log directory goes offline,
    /// and the next start reads what is there.
    pub fn flush(&self, now: Timestamp) -> Result<(), StorageError> {
        let place = self.place()?;
        // Most of it is written while others append; the lock is held for what comes meanwhile.
        if let Err(error) = self.sync_sealed() {
            self.blame(&place, error)?;
        }
        let mut state = self.state.lock();
        state.check_health()?;
        let flushed = state.flush(now);
        state.watch(flushed)
    }

    /// Makes everything below `end` durable before it is acknowledged, as `flush.messages` demands. Readers and whoever
    /// appends meanwhile need not wait for the disk, and of several who wait the next one syncs for all.
    pub fn flush_up_to(&self, end: Offset, now: Timestamp) -> Result<(), AppendError> {
        let _turn = self.flushing.lock();
        loop {
            let mut state = self.state.lock();
            state.check_there()?;
            if state.recovery_point >= end {
                return Ok(());
            }
            let (dir, reached) = (state.dir.clone(), state.log_end);
            let disk = state.disk.clone();
            let Some((file, path)) = state.lone_unsynced_file()? else {
                let flushed = state.flush(now);
                return Ok(state.watch(flushed)?);
            };
            drop(state);
            self.watch(disk.sync(&file, &path).at("sync", path))?;
            let mut state = self.state.lock();
            // It may have moved to another disk.
            if state.dir == dir {
                state.recovery_point = state.recovery_point.max(reached);
                state.last_flush = now;
            }
        }
    }

    /// Closes the files that stay open between their uses: others need the descriptors.
    pub fn release_files(&self) {
        self.state.lock().segments.release_files(0);
    }

    /// Closes the log so that it opens without recovery.
    pub fn close(&self) -> Result<(), StorageError> {
        let mut state = self.state.lock();
        state.check_health()?;
        let closed = state.close();
        state.watch(closed)
    }

    /// Makes the records of all segments durable that are not written to any more, without holding up who appends.
    pub(super) fn sync_sealed(&self) -> Result<(), StorageError> {
        let (disk, dir, mut next, end) = {
            let state = self.state.lock();
            let end = state.segments.active().base_offset;
            let (disk, dir) = (state.disk.clone(), state.dir.clone());
            (disk, dir, state.recovery_point, end)
        };
        if next >= end {
            return Ok(());
        }
        // One file after the other: thousands may have been rolled since, and each takes a descriptor.
        while next < end {
            let Some(sealed) = self.state.lock().sealed_at(next)? else {
                break;
            };
            disk.sync(&sealed.file, &sealed.path)
                .at("sync", sealed.path)?;
            next = sealed.end;
        }
        // Whoever relies on names syncs them again with the lock in hand, and has less to wait for then.
        disk.sync_dir(&dir).at("sync", dir)
    }
}

/// Names that are to be made durable, as they stood at a moment: plain data.
pub(super) struct Names {
    disk: Disk,
    dir: PathBuf,
    /// Where the directory's own name stands.
    parent: Option<PathBuf>,
    dir_unsynced: bool,
    names_unsynced: bool,
    pub(super) changes: u64,
}

impl Names {
    pub(super) fn sync(&self) -> Result<(), StorageError> {
        if self.names_unsynced {
            self.disk.sync_dir(&self.dir).at("sync", &self.dir)?;
        }
        match self.parent.as_deref().filter(|_| self.dir_unsynced) {
            Some(parent) => self.disk.sync_dir(parent).at("sync", parent),
            None => Ok(()),
        }
    }
}

/// A segment that is not written to any more.
struct SealedFile {
    file: Arc<File>,
    path: PathBuf,
    /// Where the next segment begins.
    end: Offset,
}

impl State {
    /// Whether more is not on disk than `flush.messages` lets go unflushed.
    pub(super) fn has_unflushed_messages(&self) -> bool {
        self.log_end - self.recovery_point >= self.settings.flush_messages
    }

    /// The data file of the active segment, if a flush would have nothing else to sync.
    fn lone_unsynced_file(&mut self) -> Result<Option<(Arc<File>, PathBuf)>, StorageError> {
        let more = self.names_unsynced
            || self.dir_unsynced
            || self.epochs_unsynced
            || self.first_unsynced() + 1 < self.segments.count();
        if more {
            return Ok(None);
        }
        let active = self.segments.active_mut();
        Ok(Some((active.file()?, active.path().to_owned())))
    }

    /// The first segment of which something may not be on disk.
    fn first_unsynced(&self) -> usize {
        // One that ends at the recovery point may have got its last index entries since.
        let begun = self.segments.begun_before(self.recovery_point);
        begun.saturating_sub(1)
    }

    /// The sealed segment in which `offset` lies.
    fn sealed_at(&mut self, offset: Offset) -> Result<Option<SealedFile>, StorageError> {
        let index = self.segments.index_of(offset);
        let Some(end) = self.segments.base_behind(index) else {
            return Ok(None);
        };
        let segment = &mut self.segments[index];
        let sealed = SealedFile {
            file: segment.file()?,
            path: segment.path().to_owned(),
            end,
        };
        if index + 1 + OPEN_OLD_SEGMENTS < self.segments.count() {
            self.segments[index].release_file();
        }
        Ok(Some(sealed))
    }

    pub(super) fn flush(&mut self, now: Timestamp) -> Result<(), StorageError> {
        self.sync()?;
        self.last_flush = now;
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StorageError> {
        let end = self.log_end;
        let first = self.first_unsynced();
        let sealed = self.segments.sealed().len();
        for (index, segment) in self.segments.iter_mut().enumerate().skip(first) {
            segment.sync()?;
            // Recovery reads the active segment again, but not those before it.
            if index < sealed {
                segment.sync_indexes()?;
            }
            if index + OPEN_OLD_SEGMENTS < sealed {
                segment.release_file();
            }
        }
        if self.epochs_unsynced {
            // What recovery does not read again cannot tell it the epochs.
            let path = self.dir.join(checkpoint::LEADER_EPOCHS);
            checkpoint::write_epochs(&self.disk, &path, self.epochs.entries(), true)?;
            self.epochs_unsynced = false;
            self.epochs_too_long = false;
            self.names_unsynced = false;
        }
        self.sync_names()?;
        self.recovery_point = self.recovery_point.max(end);
        Ok(())
    }

    pub(super) fn names_changed(&mut self) {
        self.names_unsynced = true;
        self.names_changes += 1;
    }

    pub(super) fn names(&self) -> Names {
        Names {
            disk: self.disk.clone(),
            dir: self.dir.clone(),
            parent: self.dir.parent().map(Path::to_owned),
            dir_unsynced: self.dir_unsynced,
            names_unsynced: self.names_unsynced,
            changes: self.names_changes,
        }
    }

    /// Notes that these names are durable; false if there are others since.
    pub(super) fn note_synced(&mut self, names: &Names) -> bool {
        let unchanged = self.names_changes == names.changes && self.dir == names.dir;
        if unchanged {
            (self.names_unsynced, self.start_unsynced) = (false, false);
            self.dir_unsynced &= !names.dir_unsynced;
        }
        unchanged
    }

    /// A file whose name is not durable is not there after a power cut, however often it was synced itself.
    pub(super) fn sync_names(&mut self) -> Result<(), StorageError> {
        let names = self.names();
        names.sync()?;
        self.note_synced(&names);
        Ok(())
    }

    fn close(&mut self) -> Result<(), StorageError> {
        let end = self.log_end;
        let written = |active: &Segment| active.size > 0 || active.is_preallocated();
        if self.recovery_point < end || written(self.segments.active()) {
            for segment in self.segments.iter_mut() {
                if end - segment.base_offset <= i64::from(i32::MAX) || segment.size > 0 {
                    segment.seal()?;
                }
            }
            self.segments.active_mut().close()?;
            self.sync()?;
        }
        if self.start_unsynced {
            self.sync_names()?;
        }
        self.recovery_point = end;
        if self.epochs_too_long {
            let path = self.dir.join(checkpoint::LEADER_EPOCHS);
            checkpoint::write_epochs(&self.disk, &path, self.epochs.entries(), false)?;
            self.epochs_too_long = false;
        }
        let holds_records = self.segments.first().base_offset < end;
        let has_snapshot = self.disk.exists(&self.snapshot_path(end));
        if (holds_records || !self.producers.is_empty()) && !has_snapshot.unwrap_or_default() {
            self.write_producer_snapshot(end)?;
        }
        for (_, paths) in std::mem::take(&mut self.doomed) {
            for path in paths {
                drop(self.disk.remove_file(&path));
            }
        }
        Ok(())
    }
}
