//! How proposed records become committed. A single node writes its own file: written and synced is committed.

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

/// Who leads a quorum, as far as a member knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leadership {
    pub epoch: LeaderEpoch,
    /// `None` while there is none.
    pub leader: Option<BrokerId>,
}

/// Why records were not taken.
#[derive(Debug, thiserror::Error)]
pub enum ProposeError {
    /// This member does not lead in the epoch in which the records were decided.
    #[error("this node does not lead the quorum in epoch {0}")]
    NotLeader(LeaderEpoch),
    #[error(transparent)]
    Append(#[from] AppendError),
}

/// A node's membership in the quorum of the metadata log. The controller and the loader see nothing else of it.
pub trait Quorum: Debug + Send {
    /// A member says that it leads only once everything from before its epoch has been given out as committed.
    fn leadership(&self) -> Leadership;

    /// Appends records as one batch, which is committed as a whole or never; gives the offset of the first.
    ///
    /// Errors: the member does not lead in this epoch; the log cannot be written.
    fn propose(
        &mut self,
        epoch: LeaderEpoch,
        records: Vec<Record>,
        now: Timestamp,
    ) -> Result<Offset, ProposeError>;

    /// What has been committed since the last call, in the order of offsets, and durable as far as anybody can notice.
    fn committed(&mut self, now: Timestamp) -> Result<Vec<Batch>, StorageError>;

    /// Milliseconds until a snapshot is due; `None` when only more records can make it so.
    fn snapshot_wait(&self, now: Timestamp) -> Option<u64>;

    /// Writes a snapshot of the newest committed image, and removes what it makes obsolete.
    fn snapshot(&mut self, image: &Image, now: Timestamp) -> Result<(), StorageError>;

    /// Closes the log for a clean stop.
    fn close(&mut self) -> Result<(), StorageError>;
}
