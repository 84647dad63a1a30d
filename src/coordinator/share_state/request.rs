//! pure: what a shard of share states is asked, and what it answers.

use super::record::{ShareKey, StateBatch};
use crate::base::ids::{LeaderEpoch, Offset, Uuid};
use crate::wire::error_code::ErrorCode;

/// The start offset of a state that nobody has decided yet.
pub const UNDECIDED: Offset = -1;
/// A number in a write that leaves what is known as it is.
pub const UNCHANGED: i32 = -1;

/// What the leader of a partition wants kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    pub state_epoch: i32,
    pub leader_epoch: LeaderEpoch,
    /// [`UNDECIDED`] leaves it.
    pub start_offset: Offset,
    /// How many records from the start on nobody shall get any more; [`UNCHANGED`] leaves it.
    pub complete_count: i32,
    pub batches: Vec<StateBatch>,
}

/// What is known of a group in a partition.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Known {
    pub state_epoch: i32,
    pub start_offset: Offset,
    pub batches: Vec<StateBatch>,
}

/// The same in few words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    pub state_epoch: i32,
    pub leader_epoch: LeaderEpoch,
    pub start_offset: Offset,
    pub complete_count: i32,
}

impl Summary {
    /// Of a state that is not there.
    pub const NOTHING: Self = Self {
        state_epoch: 0,
        leader_epoch: 0,
        start_offset: UNDECIDED,
        complete_count: UNCHANGED,
    };
}

/// Why a request is refused, in words for whoever reads the log of the leader.
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

/// A request to a shard.
#[derive(Clone, Debug)]
pub enum ShareStateRequest {
    /// Whatever was known is forgotten.
    Initialise {
        key: ShareKey,
        state_epoch: i32,
        start_offset: Offset,
    },
    Read {
        key: ShareKey,
        leader_epoch: LeaderEpoch,
    },
    Write {
        key: ShareKey,
        write: Write,
    },
    Delete(ShareKey),
    Summarise(ShareKey),
    /// These topics are gone.
    TopicsDeleted(Vec<Uuid>),
    /// Snapshots of all states behind this one, so that what stands before them in the log can go. At first, only where there is much.
    Snapshot(Option<ShareKey>),
}

/// Answers, by the request that they are to.
#[derive(Clone, Debug, PartialEq)]
pub enum ShareStateAnswer {
    Done,
    Known(Known),
    Summary(Summary),
    Refused(Refusal),
    /// There is more to forget than one batch takes back.
    More,
    /// Snapshots were written up to this state, and there are more.
    MoreBehind(ShareKey),
    /// The log is short as it is.
    Short,
}
