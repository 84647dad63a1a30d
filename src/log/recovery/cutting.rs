//! The mark that something of a log is being cut off or removed. It is there before the first step and goes after the last
//! one is on disk: a start that finds it makes sure that the disk has what it sees.
//!
//! A killed process leaves its steps in the system's memory, where the next one finds them done. Without the mark each
//! log would have to be synced after every unclean stop, or what was cut off could come back with a power cut, behind what
//! was appended in its place. Nothing about the mark itself is synced: after a power cut memory and disk agree.

use std::path::PathBuf;

use crate::host::disk::{Dir, Disk};
use crate::log::error::{DiskContext, StorageError};

/// Whoever finds a file with this ending removes it, Apache Kafka too.
pub const NAME: &str = "cutting.deleted";

/// See the module.
#[derive(Debug)]
pub struct Cutting {
    disk: Disk,
    path: PathBuf,
    marked: bool,
}

impl Cutting {
    /// Nothing is cut off yet.
    pub fn of(dir: Dir<'_>) -> Self {
        Self {
            disk: dir.disk.clone(),
            path: dir.join(NAME),
            marked: false,
        }
    }

    /// Comes before every step; the first call sets the mark.
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

    /// Everything that was cut off is so on disk: takes the mark away, where it was set.
    pub fn end(self) -> Result<(), StorageError> {
        if self.marked {
            let removed = self.disk.remove_file(&self.path);
            removed.at("remove", &self.path)?;
        }
        Ok(())
    }
}
