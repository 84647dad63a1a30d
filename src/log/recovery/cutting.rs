//! Mark file that a part of a log is being cut off or removed. It is created before the first step, and removed after the last
//! step is synced to disk. A start that finds the mark syncs the log as it sees it.
//!
//! The steps of a killed process are in the page cache, where the next process finds them done. Without the mark each log would
//! have to be synced after every unclean stop: otherwise a power loss could restore bytes that were cut off, after records that
//! were appended in their place. The mark itself is not synced: after a power loss page cache and disk agree.

use std::path::PathBuf;

use crate::host::disk::{Dir, Disk};
use crate::log::error::{DiskContext, StorageError};

/// Name of the mark. Recovery removes files with this suffix, in Apache Kafka too.
pub const NAME: &str = "cutting.deleted";

/// The mark of one partition's directory.
#[derive(Debug)]
pub struct Cutting {
    disk: Disk,
    path: PathBuf,
    marked: bool,
}

impl Cutting {
    /// A mark that is not set yet.
    pub fn of(dir: Dir<'_>) -> Self {
        Self {
            disk: dir.disk.clone(),
            path: dir.join(NAME),
            marked: false,
        }
    }

    /// Sets the mark, if it is not set. Must be called before each step.
    pub fn begin(&mut self) -> Result<(), StorageError> {
        if !self.marked {
            let made = self.disk.open_or_create(&self.path);
            made.at("create", &self.path)?;
            self.marked = true;
        }
        Ok(())
    }

    pub fn has_begun(&self) -> bool {
        self.marked
    }

    /// Removes the mark, if it was set. Must be called once all steps are synced to disk.
    pub fn end(self) -> Result<(), StorageError> {
        if self.marked {
            let removed = self.disk.remove_file(&self.path);
            removed.at("remove", &self.path)?;
        }
        Ok(())
    }
}
