//! A stretch of a file that somebody else will send: how record bytes travel from the log to a socket without being read.

use std::fs::File;
use std::sync::Arc;

/// `len` bytes of `file` from `position`. Holds the file open, so a segment that is deleted meanwhile stays readable.
#[derive(Clone, Debug)]
pub struct FileRange {
    pub file: Arc<File>,
    pub position: u64,
    pub len: usize,
}

impl PartialEq for FileRange {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.file, &other.file)
            && self.position == other.position
            && self.len == other.len
    }
}
