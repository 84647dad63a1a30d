//! What goes from the end of a log: what its leader, or the log that it is a copy of, has not.

use super::*;

impl PartitionLog {
    /// Cuts the log at `offset`.
    pub fn truncate_to(&self, offset: Offset) -> Result<(), StorageError> {
        let _turn = self.turn.lock();
        self.locked(|state| state.truncate_to(offset))
    }
}

impl State {
    fn truncate_to(&mut self, offset: Offset) -> Result<(), StorageError> {
        if offset >= self.log_end {
            return Ok(());
        }
        let keep = self.segments.index_of(offset);
        // Nobody reads what goes.
        self.high_watermark.lower_to(offset);
        let mut cutting = Cutting::of(self.place());
        cutting.begin()?;
        // From the end on: a crash in between leaves no hole.
        for segment in self.segments.take_behind(keep).iter().rev() {
            recovery::remove_files(segment)?;
        }
        let active = self.segments.active_mut();
        let position = active
            .locate(offset, Reach::Disk)?
            .map_or(active.size, |span| span.position);
        active.truncate(position, offset)?;
        // Or a power cut could put the old batches behind new ones, with checksums that hold.
        active.sync()?;
        self.remove_snapshots_above(offset)?;
        self.durability.start_changed();
        if let Some(names) = self.names() {
            names.sync(&self.disk)?;
            self.durability.names_synced(names.then);
        }
        cutting.end()?;
        self.log_end = offset;
        self.durability.cut(offset);
        if self.epochs.truncate_end(offset) {
            let (path, epochs) = self.epochs_now();
            checkpoint::write_epochs(&self.disk, &path, &epochs, true)?;
        }
        let mut producers = ProducerStates::default();
        let start = self.log_start;
        recovery::replay_producers(&mut producers, &mut self.segments, start, start, None)?;
        producers.on_high_watermark(self.high_watermark.get());
        self.producers = producers;
        Ok(())
    }

    /// What producers had done when the log was longer.
    fn remove_snapshots_above(&self, end: Offset) -> Result<(), StorageError> {
        for entry in self.disk.list(&self.dir).at("list", &self.dir)? {
            let name = entry.text();
            let offset = name.and_then(|name| name.strip_suffix(".snapshot")?.parse().ok());
            if offset.is_some_and(|offset: Offset| offset > end) {
                let path = entry.path();
                self.disk.remove_file(&path).at("remove", path)?;
            }
        }
        Ok(())
    }
}
