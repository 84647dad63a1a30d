//! The high watermark of one log, as a value that two sides share. Whoever replicates the log moves it; the log asks it
//! wherever records that are not committed yet must be left out: reads, retention, compaction, the log start.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::base::ids::Offset;

/// See the module. Clones share the value.
#[derive(Clone, Debug)]
pub struct HighWatermark(Arc<AtomicI64>);

impl HighWatermark {
    /// A high watermark that nobody moves: whatever is in the log counts as committed.
    pub const EVERYTHING: Offset = Offset::MAX;

    pub fn new(offset: Offset) -> Self {
        Self(Arc::new(AtomicI64::new(offset)))
    }

    pub fn get(&self) -> Offset {
        self.0.load(Ordering::Acquire)
    }

    /// Must not pass the end of the log: moved only after the records below it have been appended.
    pub fn set(&self, offset: Offset) {
        self.0.store(offset, Ordering::Release);
    }

    #[cfg(test)]
    pub fn raise_to(&self, offset: Offset) {
        self.0.fetch_max(offset, Ordering::AcqRel);
    }

    /// What is cut off is not committed any more.
    pub(super) fn lower_to(&self, offset: Offset) {
        self.0.fetch_min(offset, Ordering::AcqRel);
    }
}
