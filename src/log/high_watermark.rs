//! High watermark of one log, shared by two sides. The code that replicates the log moves it; the log reads it wherever
//! uncommitted records must be excluded: in reads, retention, compaction and for the log start.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::base::ids::Offset;

/// A high watermark. Clones share the value.
#[derive(Clone, Debug)]
pub struct HighWatermark(Arc<AtomicI64>);

impl HighWatermark {
    /// High watermark that is never moved: all records of the log count as committed.
    pub const EVERYTHING: Offset = Offset::MAX;

    pub fn new(offset: Offset) -> Self {
        Self(Arc::new(AtomicI64::new(offset)))
    }

    pub fn get(&self) -> Offset {
        self.0.load(Ordering::Acquire)
    }

    /// Sets the high watermark, which must not pass the end of the log: it is moved only after the records below it were
    /// appended.
    pub fn set(&self, offset: Offset) {
        self.0.store(offset, Ordering::Release);
    }

    #[cfg(test)]
    pub fn raise_to(&self, offset: Offset) {
        self.0.fetch_max(offset, Ordering::AcqRel);
    }

    /// Lowers the high watermark: records that were cut off are not committed any more.
    pub(super) fn lower_to(&self, offset: Offset) {
        self.0.fetch_min(offset, Ordering::AcqRel);
    }
}
