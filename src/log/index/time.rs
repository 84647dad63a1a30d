//! `.timeindex`: entries of a timestamp and an offset, relative to the segment's base offset. No record up to the offset is
//! newer than the timestamp.

use super::offset::{be_i64, be_u32};
use super::sparse::{Entry, SparseFile};
use crate::base::time::Timestamp;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeEntry {
    pub timestamp: Timestamp,
    pub relative_offset: u32,
}

pub type TimeIndex = SparseFile<TimeEntry>;

impl Entry for TimeEntry {
    const ENDING: &str = ".timeindex";
    const SIZE: usize = 12;

    fn read(bytes: &[u8]) -> Self {
        Self {
            timestamp: be_i64(bytes, 0),
            relative_offset: be_u32(bytes, 8),
        }
    }

    fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.timestamp.to_be_bytes());
        out.extend_from_slice(&self.relative_offset.to_be_bytes());
    }
}
