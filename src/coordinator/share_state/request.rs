//! pure: requests to a shard of share states, and its answers.

use super::record::{ShareKey, StateBatch};
use crate::base::ids::{LeaderEpoch, Offset};
use crate::wire::error_code::ErrorCode;

/// Start offset of a state if none has been decided yet.
pub const UNDECIDED: Offset = -1;
/// Value in a write that leaves the known value as it is.
pub const UNCHANGED: i32 = -1;

/// Change of a state, sent by the leader of the partition.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    pub state_epoch: i32,
    pub leader_epoch: LeaderEpoch,
    /// New start offset; [`UNDECIDED`] keeps the known one.
    pub start_offset: Offset,
    /// Number of records from the start offset on whose delivery is complete; [`UNCHANGED`] keeps the known number.
    pub complete_count: i32,
    pub batches: Vec<StateBatch>,
}

/// State of a group in a partition.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Known {
    pub state_epoch: i32,
    pub start_offset: Offset,
    pub batches: Vec<StateBatch>,
}

/// State without its batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    pub state_epoch: i32,
    pub leader_epoch: LeaderEpoch,
    pub start_offset: Offset,
    pub complete_count: i32,
}

impl Summary {
    /// Summary of a state that does not exist.
    pub const NOTHING: Self = Self {
        state_epoch: 0,
        leader_epoch: 0,
        start_offset: UNDECIDED,
        complete_count: UNCHANGED,
    };
}

/// Error of a refused request, with a message for the leader's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub error: ErrorCode,
    pub why: &'static str,
}

impl From<ErrorCode> for Refusal {
    fn from(error: ErrorCode) -> Self {
        Self { error, why: "" }
    }
}

/// Request to a shard of share states.
#[derive(Clone, Debug)]
pub enum ShareStateRequest {
    /// Creates the state of a partition. An existing state stays as it is, or is replaced if `replaces` is set.
    Initialise {
        key: ShareKey,
        state_epoch: i32,
        start_offset: Offset,
        replaces: bool,
    },
    Read {
        key: ShareKey,
        leader_epoch: LeaderEpoch,
    },
    Write {
        key: ShareKey,
        write: Write,
    },
    /// Deletes a state, unless it was initialised in an epoch behind `epoch_max`: the group has begun anew meanwhile.
    Delete {
        key: ShareKey,
        epoch_max: i32,
    },
    Summarise(ShareKey),
    /// Deletes the states of deleted topics, after this key.
    ForgetDeleted(Option<ShareKey>),
    /// Requests snapshots of all states after this key, so that older records can be deleted. With `None`, the first request of
    /// a series, snapshots are written only if the log holds many records.
    Snapshot(Option<ShareKey>),
}

/// Answers of a shard, by kind of request.
#[derive(Clone, Debug, PartialEq)]
pub enum ShareStateAnswer {
    Done,
    Known(Known),
    Summary(Summary),
    Refused(Refusal),
    /// Records were written up to this state, and further ones did not fit into the batch. Ask again for the rest.
    MoreBehind(ShareKey),
    /// The log holds too few records for snapshots.
    Short,
}
