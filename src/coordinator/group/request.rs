//! pure: what a group shard is asked, and what it answers: the protocol's own messages, and what a handler knows besides.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytestring::ByteString;

use super::record::consumer_group::ClassicMemberMetadata;
use crate::base::ids::{Offset, PartitionIndex, ProducerEpoch, ProducerId, Uuid};
use crate::coordinator::runtime::shard::Marker;
use crate::log::producer_state::{Admission, MarkerRules};
use crate::metadata::image::Image;
use crate::wire::error_code::ErrorCode;

use crate::wire::message::consumer_group_describe::DescribedGroup as ConsumerDescribed;
use crate::wire::message::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
};
use crate::wire::message::delete_groups::DeletableGroupResult;
use crate::wire::message::describe_groups::DescribedGroup;
use crate::wire::message::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use crate::wire::message::join_group::{JoinGroupRequest, JoinGroupResponse};
use crate::wire::message::leave_group::{LeaveGroupRequest, LeaveGroupResponse};
use crate::wire::message::list_groups::ListedGroup;
use crate::wire::message::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use crate::wire::message::offset_delete::{OffsetDeleteRequest, OffsetDeleteResponse};
use crate::wire::message::offset_fetch::{OffsetFetchRequestGroup, OffsetFetchResponseGroup};
use crate::wire::message::share_group_describe::DescribedGroup as ShareDescribed;
use crate::wire::message::share_group_heartbeat::{
    ShareGroupHeartbeatRequest, ShareGroupHeartbeatResponse,
};
use crate::wire::message::sync_group::{SyncGroupRequest, SyncGroupResponse};
use crate::wire::message::txn_offset_commit::{
    TxnOffsetCommitRequest, TxnOffsetCommitRequestTopic,
};

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

/// A heartbeat of the consumer protocol and the facts around it.
#[derive(Clone, Debug)]
pub struct ConsumerHeartbeat {
    pub request: ConsumerGroupHeartbeatRequest,
    pub client_id: ByteString,
    /// As Kafka prints an address: `/127.0.0.1`.
    pub client_host: ByteString,
    /// Whether members name themselves (since v1); before, the broker does.
    pub names_itself: bool,
    /// What is wrong with the request's regular expression.
    pub regex_fault: Option<String>,
    /// What a member of the classic protocol says besides, by its JoinGroup.
    pub classic: Option<ClassicMemberMetadata>,
}

/// A heartbeat of the share protocol and the facts around it.
#[derive(Clone, Debug)]
pub struct ShareHeartbeat {
    pub request: ShareGroupHeartbeatRequest,
    pub client_id: ByteString,
    /// As Kafka prints an address: `/127.0.0.1`.
    pub client_host: ByteString,
}

/// Where a share group begins in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShareStart {
    pub topic_id: Uuid,
    pub partition: PartitionIndex,
    /// -1 where the leader of the partition shall find out.
    pub start: Offset,
}

/// Partitions whose states the share coordinator shall initialise for a group, and in which epoch.
#[derive(Clone, Debug, PartialEq)]
pub struct InitialiseErrand {
    pub group: ByteString,
    pub epoch: i32,
    pub starts: Vec<ShareStart>,
}

/// The partitions of a share group, by topic: those whose states may be with the share coordinator.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ShareTopics {
    pub initialised: BTreeMap<Uuid, (ByteString, BTreeSet<i32>)>,
    /// Besides those: on their way there, or away.
    pub others: BTreeMap<Uuid, BTreeSet<i32>>,
}

/// Expressions of a group, of which somebody shall find out for which topics they stand.
#[derive(Clone, Debug, PartialEq)]
pub struct RegexErrand {
    pub group: ByteString,
    pub patterns: Vec<ByteString>,
    /// The metadata in which topics are looked for.
    pub image: Arc<Image>,
}

/// Offsets that a client commits, in a transaction (TxnOffsetCommit) or not (OffsetCommit). Each partition is named once.
#[derive(Clone, Debug)]
pub struct Commit {
    pub group: ByteString,
    pub member_id: ByteString,
    pub instance_id: Option<ByteString>,
    /// The generation of a classic group, or the epoch of a member; -1 from clients that are in no group.
    pub generation: i32,
    /// Whether clients of the request's version know that members may have epochs of their own (KIP-848).
    pub knows_epochs: bool,
    /// How long the client wishes the offsets to be kept (before KIP-211); -1 for as long as the broker keeps them.
    pub retention_ms: i64,
    pub transaction: Option<InTransaction>,
    pub topics: Vec<OffsetCommitRequestTopic>,
}

/// The transaction that offsets are part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InTransaction {
    pub producer_id: ProducerId,
    pub producer_epoch: ProducerEpoch,
    /// What its coordinator said of it, and what the log knew then.
    pub admission: Admission,
}

impl Commit {
    /// An OffsetCommit.
    pub fn new(request: OffsetCommitRequest, knows_epochs: bool) -> Self {
        Self {
            group: request.group_id,
            member_id: request.member_id,
            instance_id: request.group_instance_id,
            generation: request.generation_id_or_member_epoch,
            knows_epochs,
            retention_ms: request.retention_time_ms,
            transaction: None,
            topics: request.topics,
        }
    }

    /// A TxnOffsetCommit.
    pub fn in_transaction(request: TxnOffsetCommitRequest, admission: Admission) -> Self {
        Self {
            group: request.group_id,
            member_id: request.member_id,
            instance_id: request.group_instance_id,
            generation: request.generation_id_or_member_epoch,
            knows_epochs: true,
            retention_ms: -1,
            transaction: Some(InTransaction {
                producer_id: request.producer_id,
                producer_epoch: request.producer_epoch,
                admission,
            }),
            topics: request.topics.into_iter().map(plain).collect(),
        }
    }
}

/// The answer to a topic of a commit with the same for each partition.
pub fn for_all(topic: &OffsetCommitRequestTopic, error: ErrorCode) -> OffsetCommitResponseTopic {
    let partitions = topic.partitions.iter();
    OffsetCommitResponseTopic {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions: partitions
            .map(|one| OffsetCommitResponsePartition {
                partition_index: one.partition_index,
                error_code: error.code(),
            })
            .collect(),
    }
}

/// A topic of a TxnOffsetCommit as OffsetCommit names it.
pub fn plain(topic: TxnOffsetCommitRequestTopic) -> OffsetCommitRequestTopic {
    let partitions = topic.partitions.into_iter();
    OffsetCommitRequestTopic {
        name: topic.name,
        topic_id: topic.topic_id,
        partitions: partitions
            .map(|one| OffsetCommitRequestPartition {
                partition_index: one.partition_index,
                committed_offset: one.committed_offset,
                committed_leader_epoch: one.committed_leader_epoch,
                committed_metadata: one.committed_metadata,
                ..OffsetCommitRequestPartition::default()
            })
            .collect(),
    }
}

/// A request to a group shard.
#[derive(Clone, Debug)]
pub enum GroupRequest {
    Join(Box<Join>),
    Sync(SyncGroupRequest),
    Heartbeat(HeartbeatRequest),
    Leave(LeaveGroupRequest),
    ConsumerHeartbeat(Box<ConsumerHeartbeat>),
    DescribeConsumer(ByteString),
    /// The topics that expressions stand for, in the metadata of this offset.
    RegexResolved {
        group: ByteString,
        version: Offset,
        found: BTreeMap<ByteString, Vec<ByteString>>,
    },
    ShareHeartbeat(Box<ShareHeartbeat>),
    DescribeShare(ByteString),
    /// What the share coordinator did about partitions: initialised them, or not.
    ShareInitialised {
        group: ByteString,
        done: Vec<(ShareStart, bool)>,
    },
    /// Which partitions a share group has.
    ShareTopics {
        group: ByteString,
        /// Only of a group without members.
        is_empty: bool,
    },
    /// An administrator has a share group without members begin elsewhere; the group is made where there is none.
    BeginShare {
        group: ByteString,
        starts: Vec<ShareStart>,
    },
    /// The states of topics are deleted, or about to be.
    ForgetShare {
        group: ByteString,
        topics: Vec<Uuid>,
        is_done: bool,
    },
    Commit(Commit),
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
    EndTransaction(Marker, MarkerRules),
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
    ConsumerHeartbeat(ConsumerGroupHeartbeatResponse),
    DescribeConsumer(ConsumerDescribed),
    /// An errand: find the topics, then say so.
    ResolveRegex(RegexErrand),
    ShareHeartbeat(ShareGroupHeartbeatResponse),
    DescribeShare(ShareDescribed),
    /// An errand: have the states initialised, then say so. Also the answer to [`GroupRequest::BeginShare`].
    InitialiseShare(InitialiseErrand),
    ShareTopics(ShareTopics),
    Committed(Vec<OffsetCommitResponseTopic>),
    FetchOffsets(OffsetFetchResponseGroup),
    DeleteOffsets(OffsetDeleteResponse),
    Describe(DescribedGroup),
    List(Vec<ListedGroup>),
    Delete(DeletableGroupResult),
    Refused(ErrorCode),
    Done,
}
