//! pure: what of a log a power cut may still take, or bring back: how far its records are on disk for good, and which names
//! and small files are not.
//!
//! Segments from the one before the recovery point on may have records and index entries that are not on disk. The log
//! asks here what a flush has to do, and says here what one has done.

use super::segments::Segments;
use super::settings::LogSettings;
use crate::base::ids::Offset;
use crate::base::time::{Timestamp, has_passed};

/// See the module.
#[derive(Debug)]
pub struct Durability {
    recovery_point: Offset,
    last_flush: Timestamp,
    names: Names,
    /// How often names were made or taken away, or the log moved.
    changes: u64,
    epochs: EpochsFile,
    /// The log knows of a leader that has written nothing yet, and that the file need not have.
    has_noted_epoch: bool,
}

/// Which names may not be on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// That of the log's directory.
    pub of_dir: bool,
    /// Those of files.
    pub of_files: bool,
    /// With those of files the log start may go back: the name of the segment that begins with it, or the removal of those
    /// before.
    of_start: bool,
}

/// Names as they stood at a moment, to be noted as durable once they are synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamesThen {
    pub names: Names,
    changes: u64,
}

/// What the file of leader epochs says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EpochsFile {
    /// What the log knows.
    Current,
    /// Also epochs from before the log start. That is nothing wrong, and a stop mends it.
    TooLong,
    /// Less: it must be replaced before records of the newest epoch count as durable.
    Outdated,
}

impl Durability {
    /// Of a log that was opened: `clean` if the last stop was.
    pub fn found(recovery_point: Offset, epochs: EpochsFile, clean: bool, now: Timestamp) -> Self {
        Self {
            recovery_point,
            last_flush: now,
            names: Names {
                of_dir: !clean,
                of_files: true,
                of_start: !clean,
            },
            changes: 0,
            epochs,
            has_noted_epoch: false,
        }
    }

    /// Everything below is on disk for good.
    pub fn recovery_point(&self) -> Offset {
        self.recovery_point
    }

    /// Whether records that are not on disk are older or more than the settings allow, or a segment was sealed since: then the
    /// next start need not read it again.
    pub fn is_flush_due(
        &self,
        segments: &Segments,
        log_end: Offset,
        settings: &LogSettings,
        now: Timestamp,
    ) -> bool {
        self.recovery_point < log_end
            && (segments.active().base_offset > self.recovery_point
                || has_passed(self.last_flush, settings.flush_ms, now)
                || self.has_unflushed_messages(log_end, settings))
    }

    /// Whether more is not on disk than `flush.messages` lets go unflushed.
    pub fn has_unflushed_messages(&self, log_end: Offset, settings: &LogSettings) -> bool {
        log_end - self.recovery_point >= settings.flush_messages
    }

    /// The first segment of which something may not be on disk.
    pub fn first_unsynced(&self, segments: &Segments) -> usize {
        // One that ends at the recovery point may have got its last index entries since.
        segments.begun_before(self.recovery_point).saturating_sub(1)
    }

    /// Everything below `end` is on disk: records, what the start needs of indexes, epochs, and names. If that was everything,
    /// it was at `all_at`.
    pub fn flushed(&mut self, end: Offset, all_at: Option<Timestamp>) {
        self.recovery_point = self.recovery_point.max(end);
        self.last_flush = all_at.unwrap_or(self.last_flush);
    }

    /// The log was cut off at `end`, on disk too.
    pub fn cut(&mut self, end: Offset) {
        self.recovery_point = self.recovery_point.min(end);
    }

    /// The directory is new.
    pub fn dir_made(&mut self) {
        self.names.of_dir = true;
    }

    /// Files were made or renamed.
    pub fn names_changed(&mut self) {
        self.names.of_files = true;
        self.changes += 1;
    }

    /// Files were made or taken away, and without their names the log would begin elsewhere.
    pub fn start_changed(&mut self) {
        self.names.of_start = true;
        self.names_changed();
    }

    /// What is to be synced of names, where anything is.
    pub fn names(&self) -> Option<NamesThen> {
        let names = self.names;
        let unsynced = names.of_dir || names.of_files;
        unsynced.then_some(NamesThen {
            names,
            changes: self.changes,
        })
    }

    /// These names are on disk. They all are, unless there were others since.
    pub fn names_synced(&mut self, then: NamesThen) {
        if self.changes == then.changes {
            self.names = Names::default();
        }
    }

    /// Whether a power cut could move the log start back.
    pub fn is_start_unsynced(&self) -> bool {
        self.names.of_start
    }

    /// The log knows a leader epoch more, or another one.
    pub fn epochs_changed(&mut self) {
        self.epochs = EpochsFile::Outdated;
        self.has_noted_epoch = false;
    }

    /// The log knows of another leader, which has written nothing yet.
    pub fn epoch_noted(&mut self) {
        self.has_noted_epoch = true;
    }

    pub fn has_noted_epoch(&self) -> bool {
        self.has_noted_epoch
    }

    /// The log knows fewer of the oldest leader epochs.
    pub fn epochs_outlived(&mut self) {
        if self.epochs == EpochsFile::Current {
            self.epochs = EpochsFile::TooLong;
        }
    }

    pub fn lacks_epochs(&self) -> bool {
        self.epochs == EpochsFile::Outdated
    }

    pub fn has_old_epochs(&self) -> bool {
        self.epochs == EpochsFile::TooLong
    }

    /// The file of leader epochs is replaced now by what the log knows: its name is another one then.
    pub fn replacing_epochs(&mut self) {
        self.epochs = EpochsFile::Current;
        self.has_noted_epoch = false;
        self.names_changed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_changed_during_a_sync_are_not_durable() {
        let mut log = Durability::found(0, EpochsFile::Current, true, 0);
        let then = log.names().unwrap();
        log.start_changed();
        log.names_synced(then);
        assert!(log.is_start_unsynced() && log.names().is_some());
        let then = log.names().unwrap();
        log.names_synced(then);
        assert!(!log.is_start_unsynced() && log.names().is_none());
    }

    #[test]
    fn epochs_that_are_lacking_are_no_less_so_because_others_are_too_old() {
        let mut log = Durability::found(0, EpochsFile::Current, true, 0);
        log.epochs_outlived();
        assert!(log.has_old_epochs() && !log.lacks_epochs());
        log.epochs_changed();
        log.epochs_outlived();
        assert!(log.lacks_epochs());
        log.replacing_epochs();
        assert!(!log.lacks_epochs() && !log.has_old_epochs());
    }

    #[test]
    fn the_recovery_point_goes_back_with_the_end_only() {
        let mut log = Durability::found(5, EpochsFile::Current, true, 0);
        log.flushed(3, None);
        assert_eq!(log.recovery_point(), 5);
        log.cut(4);
        assert_eq!(log.recovery_point(), 4);
    }
}
