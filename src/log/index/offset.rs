//! `.index`: maps an offset, relative to the segment's base offset, to the position of the batch whose last offset it is.

use super::sparse::{Entry, SparseFile};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetEntry {
    pub relative_offset: u32,
    pub position: u32,
}

pub type OffsetIndex = SparseFile<OffsetEntry>;

impl Entry for OffsetEntry {
    const ENDING: &str = ".index";
    const SIZE: usize = 8;

    fn read(bytes: &[u8]) -> Self {
        Self {
            relative_offset: be_u32(bytes, 0),
            position: be_u32(bytes, 4),
        }
    }

    fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.relative_offset.to_be_bytes());
        out.extend_from_slice(&self.position.to_be_bytes());
    }
}

pub(super) fn be_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

pub(super) fn be_i64(bytes: &[u8], at: usize) -> i64 {
    (i64::from(be_u32(bytes, at)) << 32) | i64::from(be_u32(bytes, at + 4))
}
