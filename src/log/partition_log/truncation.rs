//! Truncation: removes records at the end of a log that its leader, or the log that it is a copy of, does not have.

use super::*;

impl PartitionLog {
    /// Truncates the log to `offset`, and removes the leader epochs that begin at or after it. A batch that contains the offset
    /// goes as a whole; then the log ends where the batch began. Kafka differs: the log ends at `offset`, and no answer of a
    /// leader continues there. For an offset below the log start the log [begins anew](Self::start_anew_at).
    pub fn truncate_to(&self, offset: Offset) -> Result<(), StorageError> {
        let _turn = self.turn.lock();
        self.locked(|state| state.truncate_to(offset))
    }

    /// Removes all records: the log then begins and ends at `offset`, without leader epochs and producers. Kafka's
    /// `truncateFullyAndStartAt`.
    pub fn start_anew_at(&self, offset: Offset) -> Result<(), StorageError> {
        let _turn = self.turn.lock();
        self.locked(|state| state.start_anew_at(offset))
    }

    /// Truncates this copy of a log like the log, before other records can be appended to the log: `offset` is the log's end
    /// offset now.
    pub(in crate::log) fn truncate_like(
        &self,
        log: &Self,
        offset: Offset,
        anew: bool,
    ) -> Result<(), StorageError> {
        let cuts = log.cuts();
        let _turn = self.turn.lock();
        self.locked(|state| {
            match anew {
                true => state.start_anew_at(offset)?,
                false => state.truncate_to(offset)?,
            }
            // In the same turn of the lock: records that were read from the log before must not be appended in between.
            state.cuts_of_original = cuts;
            Ok(())
        })
    }
}

impl State {
    fn truncate_to(&mut self, offset: Offset) -> Result<(), StorageError> {
        if offset < self.log_start {
            return self.start_anew_at(offset);
        }
        if offset >= self.log_end {
            // An epoch without records in this log may be unknown to the leader (KAFKA-10706).
            return self.forget_epochs_from(self.log_end);
        }
        let keep = self.segments.index_of(offset);
        let segment = &mut self.segments[keep];
        let first = segment.locate(offset, Reach::Disk)?;
        let position = first.as_ref().map_or(segment.size, |span| span.position);
        let offset = match first {
            // A batch behind the offset is one behind a gap that compaction has left.
            Some(span) if span.magic == MAGIC_V2 => offset.min(span.base_offset),
            Some(span) => {
                let message = segment.read(&span, Reach::Disk)?;
                offset.min(recovery::base_for(&span, &message))
            }
            None => offset,
        };
        // The log start offset may lie in the batch too.
        let offset = offset.max(self.log_start);
        self.cuts += 1;
        // Readers do not read what is being removed.
        self.high_watermark.lower_to(offset);
        let mut cutting = Cutting::of(self.place());
        cutting.begin()?;
        // Segments are removed from the end on, so that a crash in between leaves no hole.
        for segment in self.segments.take_behind(keep).iter().rev() {
            recovery::remove_files(segment)?;
        }
        let active = self.segments.active_mut();
        active.truncate(position, offset)?;
        // Without this sync a power loss could leave old batches after new ones, with valid checksums.
        active.sync()?;
        let snapshots = self.remove_snapshots(|at| at > offset)?;
        self.sync_start()?;
        cutting.end()?;
        self.log_end = offset;
        self.durability.cut(offset);
        self.forget_epochs_from(offset)?;
        // The newest snapshot of those that remain is at most one segment away: reading the whole log could take minutes.
        let place = self.disk.dir(&self.dir);
        let mut producers = recovery::load_producers(
            place,
            &mut self.segments,
            &snapshots,
            self.log_start,
            offset,
        )?;
        producers.on_high_watermark(self.high_watermark.get());
        self.producers = producers;
        Ok(())
    }

    /// The steps, and what a crash after each of them leaves:
    ///
    /// 1. segments are removed, from the end on: the log has no hole, and at last no segment;
    /// 2. the file of leader epochs is emptied: the log begins where the checkpoint of log start offsets says;
    /// 3. the new segment is created.
    fn start_anew_at(&mut self, offset: Offset) -> Result<(), StorageError> {
        self.cuts += 1;
        let mut cutting = Cutting::of(self.place());
        cutting.begin()?;
        let created = self.segments.active().created;
        let behind = self.segments.take_behind(0);
        for segment in behind.iter().rev().chain([self.segments.active()]) {
            recovery::remove_files(segment)?;
        }
        self.remove_snapshots(|_| true)?;
        self.forget_epochs_from(Offset::MIN)?;
        let segment = Segment::create(self.place(), offset, &self.settings, created)?;
        self.segments = Segments::new(segment);
        self.sync_start()?;
        cutting.end()?;
        self.producers = ProducerStates::default();
        self.log_start = offset;
        self.log_end = offset;
        self.durability.begun_anew(offset);
        // There are no uncommitted records left (KAFKA-9491).
        self.high_watermark.set(offset);
        Ok(())
    }

    fn forget_epochs_from(&mut self, offset: Offset) -> Result<(), StorageError> {
        if self.epochs.truncate_end(offset) {
            let (path, epochs) = self.epochs_now();
            checkpoint::write_epochs(&self.disk, &path, &epochs, true)?;
        }
        Ok(())
    }

    /// Makes the list of segments durable.
    fn sync_start(&mut self) -> Result<(), StorageError> {
        self.durability.start_changed();
        if let Some(names) = self.names() {
            names.sync(&self.disk)?;
            self.durability.names_synced(names.then);
        }
        Ok(())
    }

    /// Removes producer snapshots whose offsets match. Returns the offsets of the others that can be used, in their order.
    fn remove_snapshots(&self, goes: impl Fn(Offset) -> bool) -> Result<Vec<Offset>, StorageError> {
        let mut left = Vec::new();
        // A snapshot from before the first segment does not know how its transactions ended.
        let first = self.segments.first().base_offset;
        for entry in self.disk.list(&self.dir).at("list", &self.dir)? {
            let name = entry.text();
            let offset = name.and_then(|name| name.strip_suffix(".snapshot")?.parse().ok());
            let Some(offset) = offset else {
                continue;
            };
            if goes(offset) {
                let path = entry.path();
                self.disk.remove_file(&path).at("remove", path)?;
            } else if offset >= first {
                left.push(offset);
            }
        }
        left.sort_unstable();
        Ok(left)
    }
}
