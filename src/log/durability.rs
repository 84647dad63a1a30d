//! pure: what a power failure may still remove from a log or bring back: how far its records are durable, and which directory
//! entries and small files are not.
//!
//! Segments from the one before the recovery point on may have records and index entries that are not on disk. The log asks here
//! what a flush has to do, and reports here what a flush has done.

use super::segments::Segments;
use super::settings::LogSettings;
use crate::base::ids::Offset;
use crate::base::time::{Timestamp, has_passed};

/// State of the durability of a log.
#[derive(Debug)]
pub struct Durability {
    recovery_point: Offset,
    last_flush: Timestamp,
    names: Names,
    /// Number of changes of directory entries, including moves of the log.
    changes: u64,
    epochs: EpochsFile,
    /// The log has a leader epoch without records, which the file may lack.
    has_noted_epoch: bool,
}

/// Directory entries that may not be durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// The entry of the log's directory.
    pub of_dir: bool,
    /// Entries of files.
    pub of_files: bool,
    /// Without the entries of files, the log start may go back: they include the segment at the log start, or the removal of
    /// segments before it.
    of_start: bool,
}

/// Directory entries at one moment, which are durable after the following sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamesThen {
    pub names: Names,
    changes: u64,
}

/// State of the leader epoch file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EpochsFile {
    /// The file has the epochs of the log.
    Current,
    /// The file also has epochs before the log start. That is not wrong, and a stop corrects it.
    TooLong,
    /// The file lacks epochs, and must be replaced before records of the latest epoch count as durable.
    Outdated,
}

impl Durability {
    /// State after opening a log; `clean` if the last stop was clean.
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

    /// Recovery point: all records below are durable.
    pub fn recovery_point(&self) -> Offset {
        self.recovery_point
    }

    /// Whether unflushed records are older or more than the settings allow, or a segment was sealed since the last flush: after a
    /// flush the next start does not have to read it again.
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

    /// Whether there are more unflushed records than `flush.messages` allows.
    pub fn has_unflushed_messages(&self, log_end: Offset, settings: &LogSettings) -> bool {
        log_end - self.recovery_point >= settings.flush_messages
    }

    /// Index of the first segment that may have data that is not on disk.
    pub fn first_unsynced(&self, segments: &Segments) -> usize {
        // A segment that ends at the recovery point may have got its last index entries since.
        segments.begun_before(self.recovery_point).saturating_sub(1)
    }

    /// All records below `end` are durable, with the index entries that a start needs, leader epochs and directory entries.
    /// `all_at` is set if that includes all records at that time.
    pub fn flushed(&mut self, end: Offset, all_at: Option<Timestamp>) {
        self.recovery_point = self.recovery_point.max(end);
        self.last_flush = all_at.unwrap_or(self.last_flush);
    }

    /// The log was truncated at `end`, also on disk.
    pub fn cut(&mut self, end: Offset) {
        self.recovery_point = self.recovery_point.min(end);
    }

    /// The log is empty, and begins at `start`; that is on disk.
    pub fn begun_anew(&mut self, start: Offset) {
        self.recovery_point = start;
    }

    /// The directory was created.
    pub fn dir_made(&mut self) {
        self.names.of_dir = true;
    }

    /// Files were created or renamed.
    pub fn names_changed(&mut self) {
        self.names.of_files = true;
        self.changes += 1;
    }

    /// Files were created or removed, and without these changes the log would have another start.
    pub fn start_changed(&mut self) {
        self.names.of_start = true;
        self.names_changed();
    }

    /// The directory entries to sync, if there are any.
    pub fn names(&self) -> Option<NamesThen> {
        let names = self.names;
        let unsynced = names.of_dir || names.of_files;
        unsynced.then_some(NamesThen {
            names,
            changes: self.changes,
        })
    }

    /// These directory entries are durable. All are, unless there were other changes since.
    pub fn names_synced(&mut self, then: NamesThen) {
        if self.changes == then.changes {
            self.names = Names::default();
        }
    }

    /// Whether a power failure could move the log start back.
    pub fn is_start_unsynced(&self) -> bool {
        self.names.of_start
    }

    /// A leader epoch was added or replaced.
    pub fn epochs_changed(&mut self) {
        self.epochs = EpochsFile::Outdated;
        self.has_noted_epoch = false;
    }

    /// A leader epoch without records was added.
    pub fn epoch_noted(&mut self) {
        self.has_noted_epoch = true;
    }

    pub fn has_noted_epoch(&self) -> bool {
        self.has_noted_epoch
    }

    /// The oldest leader epochs were removed.
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

    /// The leader epoch file is being replaced by the current epochs, which changes a directory entry.
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
