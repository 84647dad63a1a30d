//! pure: what a group shard is asked, and what it answers: the protocol's own messages, and what a handler knows besides.

use std::collections::BTreeMap;
use std::fmt::{self, Debug, Formatter};
use std::sync::Arc;

use bytestring::ByteString;

use crate::base::ids::{Offset, PartitionIndex};
use crate::coordinator::runtime::shard::Marker;
use crate::wire::error_code::ErrorCode;

use crate::wire::message::delete_groups::DeletableGroupResult;
use crate::wire::message::describe_groups::DescribedGroup;
use crate::wire::message::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use crate::wire::message::join_group::{JoinGroupRequest, JoinGroupResponse};
use crate::wire::message::leave_group::{LeaveGroupRequest, LeaveGroupResponse};
use crate::wire::message::list_groups::ListedGroup;
use crate::wire::message::offset_commit::{OffsetCommitRequest, OffsetCommitResponse};
use crate::wire::message::offset_delete::{OffsetDeleteRequest, OffsetDeleteResponse};
use crate::wire::message::offset_fetch::{OffsetFetchRequestGroup, OffsetFetchResponseGroup};
use crate::wire::message::sync_group::{SyncGroupRequest, SyncGroupResponse};
use crate::wire::message::txn_offset_commit::{TxnOffsetCommitRequest, TxnOffsetCommitResponse};

/// A JoinGroup and the facts around it.
#[derive(Clone, Debug)]
pub struct Join {
    pub request: JoinGroupRequest,
    pub client_id: ByteString,
    /// As Kafka prints an address: `/127.0.0.1`.
    pub client_host: ByteString,
    /// Whether a member without an id is given one and asked to come again (KIP-394, since v4).
    pub member_id_required: bool,
    /// Whether a leader may be told to skip the assignment (KIP-814, since v9).
    pub may_skip_assignment: bool,
    /// Random, for the id of a new member.
    pub fresh: [u8; 16],
}

/// What the log of the partition has to say about a record of a transaction at the moment at which it is appended. It
/// comes in with the request, as the time does: when a request waited in the queue, a marker may have overtaken it.
#[derive(Clone)]
pub struct Precondition(Arc<dyn Fn() -> Result<(), ErrorCode> + Send + Sync>);

impl Precondition {
    pub fn new(check: impl Fn() -> Result<(), ErrorCode> + Send + Sync + 'static) -> Self {
        Self(Arc::new(check))
    }

    pub fn check(&self) -> Result<(), ErrorCode> {
        (self.0)()
    }
}

impl Debug for Precondition {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("Precondition")
    }
}

/// A request to a group shard.
#[derive(Clone, Debug)]
pub enum GroupRequest {
    Join(Box<Join>),
    Sync(SyncGroupRequest),
    Heartbeat(HeartbeatRequest),
    Leave(LeaveGroupRequest),
    CommitOffsets(OffsetCommitRequest),
    CommitOffsetsInTransaction(TxnOffsetCommitRequest, Precondition),
    /// The answer's error is UNSTABLE_OFFSET_COMMIT for offsets in doubt if `require_stable`.
    FetchOffsets {
        group: OffsetFetchRequestGroup,
        require_stable: bool,
    },
    DeleteOffsets(OffsetDeleteRequest),
    /// `unknown_is_error`: since v6 an unknown group is GROUP_ID_NOT_FOUND, not a dead one.
    Describe {
        group: ByteString,
        unknown_is_error: bool,
    },
    /// States and types are asked for in any case; none means all.
    List {
        states: Vec<ByteString>,
        types: Vec<ByteString>,
    },
    Delete(ByteString),
    /// The records before these offsets are gone: what the group committed before them it committed at them.
    RaiseOffsets {
        group: ByteString,
        starts: Arc<LogStarts>,
    },
    /// These topics are gone.
    TopicsDeleted(Vec<ByteString>),
    /// A producer's transaction with offsets in this partition has ended.
    EndTransaction(Marker, Precondition),
}

/// The offsets at which partitions begin, topic by topic.
pub type LogStarts = BTreeMap<ByteString, BTreeMap<PartitionIndex, Offset>>;

/// Answers, by the request that they are to.
#[derive(Clone, Debug, PartialEq)]
pub enum GroupAnswer {
    Join(JoinGroupResponse),
    Sync(SyncGroupResponse),
    Heartbeat(HeartbeatResponse),
    Leave(LeaveGroupResponse),
    CommitOffsets(OffsetCommitResponse),
    CommitOffsetsInTransaction(TxnOffsetCommitResponse),
    FetchOffsets(OffsetFetchResponseGroup),
    DeleteOffsets(OffsetDeleteResponse),
    Describe(DescribedGroup),
    List(Vec<ListedGroup>),
    Delete(DeletableGroupResult),
    Refused(ErrorCode),
    Done,
}
