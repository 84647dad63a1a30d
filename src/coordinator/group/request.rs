//! pure: requests to a group shard and its answers: messages of the protocol, with the facts that the handler adds.

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

/// JoinGroup request with the facts that the handler adds.
#[derive(Clone, Debug)]
pub struct Join {
    pub request: JoinGroupRequest,
    pub client_id: ByteString,
    /// Address of the client in Kafka's form: `/127.0.0.1`.
    pub client_host: ByteString,
    /// Whether a member without an id is told an id and must join again with it (KIP-394, since version 4).
    pub member_id_required: bool,
    /// Whether the leader may be told to skip the assignment (KIP-814, since version 9).
    pub may_skip_assignment: bool,
    /// Random bytes for the id of a new member.
    pub fresh: [u8; 16],
}

/// ConsumerGroupHeartbeat request with the facts that the handler adds.
#[derive(Clone, Debug)]
pub struct ConsumerHeartbeat {
    pub request: ConsumerGroupHeartbeatRequest,
    pub client_id: ByteString,
    /// Address of the client in Kafka's form: `/127.0.0.1`.
    pub client_host: ByteString,
    /// Whether the client chooses the member id (since version 1). Before, the broker does.
    pub names_itself: bool,
    /// Error of the request's regular expression, if it is invalid.
    pub regex_fault: Option<String>,
    /// Metadata of a classic member, taken from its JoinGroup. `None` for members of the consumer protocol.
    pub classic: Option<ClassicMemberMetadata>,
}

/// ShareGroupHeartbeat request with the facts that the handler adds.
#[derive(Clone, Debug)]
pub struct ShareHeartbeat {
    pub request: ShareGroupHeartbeatRequest,
    pub client_id: ByteString,
    /// Address of the client in Kafka's form: `/127.0.0.1`.
    pub client_host: ByteString,
}

/// Start offset of a share group in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShareStart {
    pub topic_id: Uuid,
    pub partition: PartitionIndex,
    /// -1 if the leader of the partition determines it.
    pub start: Offset,
    /// Whether a state that exists is replaced. Otherwise it stays as it is: two heartbeats may have the same state
    /// initialised, and the second initialisation must not undo acknowledgements that came after the first.
    pub replaces: bool,
}

/// Task of initialising the states of partitions with the share coordinator, in the given state epoch.
#[derive(Clone, Debug, PartialEq)]
pub struct InitialiseErrand {
    pub group: ByteString,
    pub epoch: i32,
    pub starts: Vec<ShareStart>,
}

/// Partitions of a share group by topic, as far as the share coordinator may hold their states.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ShareTopics {
    pub initialised: BTreeMap<Uuid, (ByteString, BTreeSet<i32>)>,
    /// Partitions that are being initialised or deleted.
    pub others: BTreeMap<Uuid, BTreeSet<i32>>,
    /// Topics whose states are being deleted.
    pub deleting: BTreeSet<Uuid>,
}

/// Task of finding the topics that match the regular expressions of a group.
#[derive(Clone, Debug, PartialEq)]
pub struct RegexErrand {
    pub group: ByteString,
    pub patterns: Vec<ByteString>,
    /// Metadata image whose topics are matched.
    pub image: Arc<Image>,
}

/// Offsets that a client commits, in a transaction (TxnOffsetCommit) or without one (OffsetCommit). No partition is named
/// twice.
#[derive(Clone, Debug)]
pub struct Commit {
    pub group: ByteString,
    pub member_id: ByteString,
    pub instance_id: Option<ByteString>,
    /// Generation of a classic group, or epoch of a member; -1 from clients that are not members.
    pub generation: i32,
    /// Whether the request's version knows the errors of member epochs (KIP-848).
    pub knows_epochs: bool,
    /// Time for which the client wants the offsets to be kept (before KIP-211), in milliseconds; -1 for the broker's setting.
    pub retention_ms: i64,
    pub transaction: Option<InTransaction>,
    pub topics: Vec<OffsetCommitRequestTopic>,
}

/// Transaction that the committed offsets belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InTransaction {
    pub producer_id: ProducerId,
    pub producer_epoch: ProducerEpoch,
    /// Verification by the transaction coordinator, and the state of the log at that time.
    pub admission: Admission,
}

impl Commit {
    /// Commit of an OffsetCommit request.
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

    /// Commit of a TxnOffsetCommit request.
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

/// Response for one topic of a commit with the same error code for each partition.
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

/// Converts a topic of a TxnOffsetCommit to the form of OffsetCommit.
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

/// Request to a group shard.
#[derive(Clone, Debug)]
pub enum GroupRequest {
    Join(Box<Join>),
    Sync(SyncGroupRequest),
    Heartbeat(HeartbeatRequest),
    Leave(LeaveGroupRequest),
    ConsumerHeartbeat(Box<ConsumerHeartbeat>),
    DescribeConsumer(ByteString),
    /// Topics found for regular expressions, in the metadata image at offset `version`.
    RegexResolved {
        group: ByteString,
        version: Offset,
        found: BTreeMap<ByteString, Vec<ByteString>>,
    },
    ShareHeartbeat(Box<ShareHeartbeat>),
    DescribeShare(ByteString),
    /// Result of initialising partitions with the share coordinator: whether each succeeded.
    ShareInitialised {
        group: ByteString,
        done: Vec<(ShareStart, bool)>,
    },
    /// Asks for the partitions of a share group.
    ShareTopics {
        group: ByteString,
        /// Whether to refuse a group with members.
        is_empty: bool,
    },
    /// Sets other start offsets for a share group without members (AlterShareGroupOffsets). Creates the group if it does not
    /// exist.
    BeginShare {
        group: ByteString,
        starts: Vec<ShareStart>,
    },
    /// Marks the topics' states as being deleted, or forgets them once they are deleted (`is_done`).
    ForgetShare {
        group: ByteString,
        topics: Vec<Uuid>,
        is_done: bool,
    },
    Commit(Commit),
    /// With `require_stable`, an offset that is pending in a transaction gets the error UNSTABLE_OFFSET_COMMIT.
    FetchOffsets {
        group: OffsetFetchRequestGroup,
        require_stable: bool,
    },
    DeleteOffsets(OffsetDeleteRequest),
    /// `unknown_is_error`: since version 6 an unknown group gets GROUP_ID_NOT_FOUND; before, it is described as dead.
    Describe {
        group: ByteString,
        unknown_is_error: bool,
    },
    /// Filters of ListGroups, compared case-insensitively. An empty filter means all.
    List {
        states: Vec<ByteString>,
        types: Vec<ByteString>,
    },
    Delete(ByteString),
    /// Raises committed offsets that are below these log start offsets (DeleteRecords) to the log start offsets.
    RaiseOffsets {
        group: ByteString,
        starts: Arc<LogStarts>,
    },
    /// Deletes the committed offsets of deleted topics.
    TopicsDeleted(Vec<ByteString>),
    /// End of a producer's transaction that has offsets in this partition.
    EndTransaction(Marker, MarkerRules),
}

/// Log start offsets by topic and partition.
pub type LogStarts = BTreeMap<ByteString, BTreeMap<PartitionIndex, Offset>>;

/// Answers of a group shard, by kind of request.
#[derive(Clone, Debug, PartialEq)]
pub enum GroupAnswer {
    Join(JoinGroupResponse),
    Sync(SyncGroupResponse),
    Heartbeat(HeartbeatResponse),
    Leave(LeaveGroupResponse),
    ConsumerHeartbeat(ConsumerGroupHeartbeatResponse),
    DescribeConsumer(ConsumerDescribed),
    /// Task for the caller: find the topics and send [`GroupRequest::RegexResolved`].
    ResolveRegex(RegexErrand),
    ShareHeartbeat(ShareGroupHeartbeatResponse),
    DescribeShare(ShareDescribed),
    /// Task for the caller: initialise the states and send [`GroupRequest::ShareInitialised`]. Also the answer to
    /// [`GroupRequest::BeginShare`].
    InitialiseShare(InitialiseErrand),
    ShareTopics(ShareTopics),
    /// The topics are marked or forgotten. States that the group initialises later have a higher epoch than this one.
    ShareForgotten(i32),
    Committed(Vec<OffsetCommitResponseTopic>),
    FetchOffsets(OffsetFetchResponseGroup),
    DeleteOffsets(OffsetDeleteResponse),
    Describe(DescribedGroup),
    List(Vec<ListedGroup>),
    Delete(DeletableGroupResult),
    Refused(ErrorCode),
    Done,
}
