//! Commits proposed records. A single node commits a record when it is written and synced to its own file. A broker that is not
//! a controller is an observer of the quorum: it proposes nothing, and fetches committed records.

pub mod files;
pub mod observer;
pub mod single;
pub mod state;
pub mod upkeep;
pub mod voters;

#[cfg(test)]
pub(crate) mod tests;

use std::fmt::Debug;
use std::sync::Arc;

use tokio::sync::Notify;

use super::image::Image;
use super::loader::Committed;
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
    fn committed(&mut self, now: Timestamp) -> Result<Committed, StorageError>;

    /// Notified when more may have been committed without a proposal of this member.
    fn arrivals(&self) -> Option<Arc<Notify>> {
        None
    }

    /// Whether all records have been returned that were committed when this member last heard from the quorum.
    fn is_caught_up(&self) -> bool {
        true
    }

    /// Milliseconds until a snapshot is due; `None` if it only becomes due with more records.
    fn snapshot_wait(&self, now: Timestamp) -> Option<u64>;

    /// Writes a snapshot of the newest committed image, and removes snapshots and segments that it makes obsolete.
    fn snapshot(&mut self, image: &Image, now: Timestamp) -> Result<(), StorageError>;

    /// Closes the log for a clean stop.
    fn close(&mut self) -> Result<(), StorageError>;
}
