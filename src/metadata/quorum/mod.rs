//! The quorum, through which proposed records become committed. On a single node it is the node's own file: a record is
//! committed once it is written and synced.

pub mod single;
pub mod upkeep;

#[cfg(test)]
pub(crate) mod tests;

use std::fmt::Debug;

use super::batches::Batch;
use super::image::Image;
use super::record::Record;
use crate::base::ids::{BrokerId, LeaderEpoch, Offset};
use crate::base::time::Timestamp;
use crate::log::error::{AppendError, StorageError};

/// Leader of a quorum, as far as this member knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leadership {
    pub epoch: LeaderEpoch,
    /// The leader, or `None` while there is none.
    pub leader: Option<BrokerId>,
}

/// Reason why records were not accepted.
#[derive(Debug, thiserror::Error)]
pub enum ProposeError {
    /// This member is not the leader in the epoch in which the records were decided.
    #[error("this node does not lead the quorum in epoch {0}")]
    NotLeader(LeaderEpoch),
    #[error(transparent)]
    Append(#[from] AppendError),
}

/// A node's membership in the quorum of the metadata log. The controller and the loader use the quorum only through this trait.
pub trait Quorum: Debug + Send {
    /// The leader and its epoch. A member reports itself as leader only after all records from before its epoch have been
    /// returned by `committed`.
    fn leadership(&self) -> Leadership;

    /// Appends records as one batch, which is committed as a whole or not at all; returns the offset of the first record.
    ///
    /// Errors: this member is not the leader in this epoch, or the log cannot be written.
    fn propose(
        &mut self,
        epoch: LeaderEpoch,
        records: Vec<Record>,
        now: Timestamp,
    ) -> Result<Offset, ProposeError>;

    /// Batches committed since the last call, in the order of offsets. They are durable, except for batches of NoOpRecords
    /// only, whose loss has no effect.
    fn committed(&mut self, now: Timestamp) -> Result<Vec<Batch>, StorageError>;

    /// Milliseconds until a snapshot is due; `None` if it only becomes due with more records.
    fn snapshot_wait(&self, now: Timestamp) -> Option<u64>;

    /// Writes a snapshot of the newest committed image, and removes snapshots and segments that it makes obsolete.
    fn snapshot(&mut self, image: &Image, now: Timestamp) -> Result<(), StorageError>;

    /// Closes the log for a clean stop.
    fn close(&mut self) -> Result<(), StorageError>;
}
