//! `.txnindex`: aborted transactions whose marker is in the segment. The file exists only if there is one.

use super::offset::be_i64;
use super::sparse::{Entry, SparseFile};
use crate::base::ids::{Offset, ProducerId};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    pub producer_id: ProducerId,
    pub first_offset: Offset,
    /// Offset of the abort marker.
    pub last_offset: Offset,
    /// Last stable offset after the abort.
    pub last_stable_offset: Offset,
}

pub type TransactionIndex = SparseFile<AbortedTransaction>;

impl Entry for AbortedTransaction {
    const ENDING: &str = ".txnindex";
    const SIZE: usize = 34;

    fn read(bytes: &[u8]) -> Self {
        Self {
            producer_id: be_i64(bytes, 2),
            first_offset: be_i64(bytes, 10),
            last_offset: be_i64(bytes, 18),
            last_stable_offset: be_i64(bytes, 26),
        }
    }

    fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&0_i16.to_be_bytes());
        out.extend_from_slice(&self.producer_id.to_be_bytes());
        out.extend_from_slice(&self.first_offset.to_be_bytes());
        out.extend_from_slice(&self.last_offset.to_be_bytes());
        out.extend_from_slice(&self.last_stable_offset.to_be_bytes());
    }
}
