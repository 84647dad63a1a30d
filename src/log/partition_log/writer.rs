//! Appending to a log.

use std::ops::RangeInclusive;

use super::*;

/// Write access to a log: the lock of its state. Only one writer exists at a time. It should be held briefly, because readers
/// need the lock too; slow work is done before, such as [checking](PartitionLog::validate) a batch.
#[derive(Debug)]
pub struct LogWriter<'a> {
    state: Guard<'a>,
}

impl PartitionLog {
    /// Write access to the log; `None` while the log moves to another log directory. The caller then [waits](Self::wait_for_move)
    /// without holding locks of its own.
    ///
    /// Errors: the log was deleted; its log directory is offline.
    pub fn writer(&self) -> Result<Option<LogWriter<'_>>, AppendError> {
        let state = self.state.lock();
        state.check_there()?;
        Ok((!state.is_moving).then_some(LogWriter { state }))
    }

    /// Write access to the log, after waiting for a move to end. The caller must not hold a lock.
    fn wait_for_writer(&self) -> Result<LogWriter<'_>, AppendError> {
        loop {
            if let Some(writer) = self.writer()? {
                return Ok(writer);
            }
            self.wait_for_move();
        }
    }

    /// Waits until the log has moved to another log directory.
    pub fn wait_for_move(&self) {
        aside(|| drop(self.turn.lock()));
    }

    /// Appends the records of a Produce request or of a coordinator, with offsets and the leader epoch assigned here.
    ///
    /// Errors: as of [`Self::validate`] and [`LogWriter::append_as_leader`].
    pub fn append_as_leader(
        &self,
        records: &Bytes,
        leader_epoch: LeaderEpoch,
        origin: Origin,
        now: Timestamp,
    ) -> Result<Appended, AppendError> {
        let mut valid = self.validate(records, origin, now)?;
        let mut writer = self.wait_for_writer()?;
        writer.append_as_leader(&mut valid, leader_epoch, origin, now)
    }

    /// Checks records before they are appended, and decompresses them if necessary. Must not be called with a lock held.
    ///
    /// Errors: those of [`append`].
    pub fn validate(
        &self,
        records: &Bytes,
        origin: Origin,
        now: Timestamp,
    ) -> Result<Valid, AppendError> {
        match origin {
            Origin::Client | Origin::Admitted(_) => {
                append::validate_client(records, &self.settings_for_check(), now)
            }
            Origin::OldClient => {
                append::validate_old_client(records, &self.settings_for_check(), now)
            }
            Origin::Internal | Origin::Marker(_) => append::validate_internal(records),
        }
    }

    /// Settings for checking records without the lock. Data of batches from before the log was opened is loaded here too, so that
    /// no append has to read it.
    pub(super) fn settings_for_check(&self) -> Arc<LogSettings> {
        for _ in 0..LOOKS_MAX {
            let mut state = self.state.lock();
            let recalled = match state.check_health() {
                Ok(()) => state.segments.active_mut().recall(Reach::Cache),
                Err(error) => Err(error),
            };
            match recalled.as_ref().err().and_then(StorageError::cold) {
                Some(cold) => {
                    drop(state);
                    aside(|| cold.warm());
                }
                // If this is an error, the append meets it too.
                None => return Arc::clone(&state.settings),
            }
        }
        self.reader().settings()
    }

    /// Remembers in memory that `epoch` leads from the end of the log on. A question about an epoch without records is answered
    /// with the previous epoch. The epoch is written to the file with its first batch.
    pub fn note_epoch(&self, epoch: LeaderEpoch) {
        let mut state = self.state.lock();
        let end = state.log_end;
        if state.epochs.assign(epoch, end) {
            state.durability.epoch_noted();
        }
    }

    /// Adds `epoch`, which leads from the end of the log on.
    #[cfg(test)]
    pub fn begin_epoch(&self, epoch: LeaderEpoch) -> Result<(), StorageError> {
        self.locked(|state| {
            let end = state.log_end;
            state.assign_epoch(epoch, end);
            Ok(())
        })
    }
}

impl LogWriter<'_> {
    /// Assigns offsets and the leader epoch to a batch, and appends it. Its records must not be visible before the high watermark
    /// has passed them. A duplicate batch is a success, and nothing is written.
    ///
    /// Errors: the state of the producer forbids the batch; the batch does not fit in a segment; the disk.
    pub fn append_as_leader(
        &mut self,
        valid: &mut Valid,
        leader_epoch: LeaderEpoch,
        origin: Origin,
        now: Timestamp,
    ) -> Result<Appended, AppendError> {
        let state = &mut *self.state;
        if let Some(duplicate) = state.check_producer(valid, origin)? {
            return Ok(duplicate);
        }
        valid.header.base_offset = state.log_end;
        valid.header.leader_epoch = leader_epoch;
        let appended = state.append(valid, now);
        state.watch(appended)?;
        Ok(Appended {
            first_offset: valid.header.base_offset,
            last_offset: valid.header.last_offset(),
            log_append_time: valid.log_append_time,
            log_start: state.log_start,
            log_end: state.log_end,
            duplicate: false,
            must_flush: state.has_unflushed_messages(),
        })
    }
}

impl State {
    fn check_producer(
        &self,
        valid: &Valid,
        origin: Origin,
    ) -> Result<Option<Appended>, AppendError> {
        if let Some(marker) = valid.marker {
            let header = &valid.header;
            let rules = match origin {
                Origin::Marker(rules) => rules,
                _ => MarkerRules::Old,
            };
            self.producers.check_marker(
                header.producer_id,
                header.producer_epoch,
                marker,
                rules,
            )?;
            return Ok(None);
        }
        if origin == Origin::Internal || !valid.header.has_producer_id() {
            return Ok(None);
        }
        Ok(match self.producers.check(&valid.header)? {
            Checked::New => {
                let admission = match origin {
                    Origin::Admitted(admission) => Some(admission),
                    _ => None,
                };
                self.producers.check_opening(&valid.header, admission)?;
                None
            }
            Checked::Duplicate(seen) => Some(Appended {
                first_offset: seen.first_offset(),
                last_offset: seen.last_offset,
                // Independent of `message.timestamp.type`, Kafka returns the time of the first attempt here.
                log_append_time: Some(seen.timestamp),
                log_start: self.log_start,
                log_end: self.log_end,
                duplicate: true,
                must_flush: self.has_unflushed_messages(),
            }),
        })
    }

    /// Appends a batch whose header carries its final offsets and epoch.
    pub(super) fn append(&mut self, valid: &Valid, now: Timestamp) -> Result<(), AppendError> {
        let header = &valid.header;
        if valid.bytes.len() as u64 > u64::from(self.settings.segment_bytes) {
            return Err(AppendError::refused(
                ErrorCode::RecordListTooLarge,
                format!(
                    "a batch of {} bytes does not fit in a segment of {}",
                    valid.bytes.len(),
                    self.settings.segment_bytes
                ),
            ));
        }
        if header.last_offset() == Offset::MAX {
            return Err(AppendError::refused(
                ErrorCode::InvalidRecord,
                "there are no offsets left",
            ));
        }
        self.roll_if_due(
            valid.bytes.len(),
            header.max_timestamp,
            header.base_offset..=header.last_offset(),
            now,
        )?;
        self.assign_epoch(header.leader_epoch, header.base_offset);
        let interval = u64::from(self.settings.index_interval_bytes);
        let active = self.segments.active_mut();
        active.append(&valid.bytes, header, interval)?;
        self.log_end = header.next_offset();
        self.producers.on_high_watermark(self.high_watermark.get());
        if let Some(aborted) = self.producers.take_in(header, valid.marker) {
            active.aborted.push(aborted)?;
        }
        Ok(())
    }

    /// Adds a leader epoch in memory only. Replacing the file requires a sync, and until the next flush recovery finds the epoch
    /// in the batches.
    pub(super) fn assign_epoch(&mut self, epoch: LeaderEpoch, start: Offset) {
        if self.epochs.assign(epoch, start) || self.durability.has_noted_epoch() {
            self.durability.epochs_changed();
        }
    }

    /// Rolls a new segment if the active one is full or old enough, before a batch or old messages with these `offsets` are
    /// appended.
    pub(super) fn roll_if_due(
        &mut self,
        size: usize,
        max_timestamp: Timestamp,
        offsets: RangeInclusive<Offset>,
        now: Timestamp,
    ) -> Result<(), StorageError> {
        let age_limit = self.age_limit();
        let settings = &self.settings;
        let active = self.segments.active_mut();
        let aged = match active.first_timestamp(Reach::Disk)? {
            Some(first) => max_timestamp.saturating_sub(first) > age_limit,
            None => now.saturating_sub(active.created) > age_limit,
        };
        let due = active.size + size as u64 > u64::from(settings.segment_bytes)
            || aged
            || active.index_room(settings.segment_index_bytes) == 0;
        let too_far = offsets.end() - active.base_offset > i64::from(i32::MAX);
        if due && active.size > 0 || too_far {
            // A copy has gaps where the original was compacted. With the end of the log as base offset, the new batch could be
            // too far away for the new segment too.
            self.roll((*offsets.start()).max(self.log_end), now)
        } else {
            Ok(())
        }
    }

    /// Maximum time in milliseconds between the first record of a segment and the others.
    pub(super) fn age_limit(&self) -> i64 {
        self.settings.roll_ms().saturating_sub(self.jitter_ms)
    }

    /// Rolls a new segment for records from `base` on: the end of the log, or a later offset.
    pub(super) fn roll(&mut self, base: Offset, now: Timestamp) -> Result<(), StorageError> {
        let active = self.segments.active_mut();
        active.seal()?;
        active.aborted.write_pending()?;
        // The snapshot is written even without producers: otherwise a start would look for producers in every batch of the log.
        self.write_producer_snapshot(base)?;
        let segment = Segment::create(self.place(), base, &self.settings, now)?;
        self.durability.names_changed();
        self.segments.roll(segment);
        // One file is closed at a time: a log with a hundred thousand segments must not visit all of them for each new one.
        let oldest = self.segments.count().checked_sub(OPEN_OLD_SEGMENTS + 2);
        if let Some(segment) = oldest.and_then(|index| self.segments.get_mut(index)) {
            segment.release_file();
        }
        Ok(())
    }

    pub(super) fn snapshot_path(&self, offset: Offset) -> PathBuf {
        self.dir.join(file_name(offset, ".snapshot"))
    }

    fn write_producer_snapshot(&self, offset: Offset) -> Result<(), StorageError> {
        let path = self.snapshot_path(offset);
        self.disk
            .write(&path, &self.producers.to_snapshot())
            .map(drop)
            .at("write", path)
    }
}
