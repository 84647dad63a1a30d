//! Handle of the group coordinator for API handlers.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use bytestring::ByteString;

use super::any::{STATES, TYPES};
use super::classic::group::owned;
use super::classic::rebalance::{refused_join, refused_sync};
use super::expression;
use super::request::{
    Commit, ConsumerHeartbeat, GroupAnswer, GroupRequest, InitialiseErrand, Join, LogStarts,
    RegexErrand, ShareHeartbeat, ShareStart, ShareTopics, for_all,
};
use super::settings::GroupSettings;
use super::shard::GroupShard;
use crate::base::ids::{PartitionIndex, Uuid};
use crate::base::work_pool::WorkPool;
use crate::coordinator::hash::partition_of;
use crate::coordinator::runtime::handle::{Coordinator, WeakCoordinator, is_passing};
use crate::coordinator::runtime::log::RecordLog;
use crate::coordinator::runtime::shard::Marker;
use crate::coordinator::runtime::task::{Errands, Task};
use crate::coordinator::share_state::handle::ShareStateHandle;
use crate::coordinator::share_state::record::ShareKey;
use crate::coordinator::share_state::request::Refusal;
use crate::host::Host;
use crate::log::producer_state::MarkerRules;
use crate::wire::batch::compression::Compression;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::consumer_group_describe::DescribedGroup as ConsumerDescribed;
use crate::wire::message::consumer_group_heartbeat::ConsumerGroupHeartbeatResponse;
use crate::wire::message::delete_groups::DeletableGroupResult;
use crate::wire::message::describe_groups::DescribedGroup;
use crate::wire::message::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use crate::wire::message::join_group::JoinGroupResponse;
use crate::wire::message::leave_group::{LeaveGroupRequest, LeaveGroupResponse};
use crate::wire::message::list_groups::ListedGroup;
use crate::wire::message::offset_commit::OffsetCommitResponseTopic;
use crate::wire::message::offset_delete::{OffsetDeleteRequest, OffsetDeleteResponse};
use crate::wire::message::offset_fetch::{OffsetFetchRequestGroup, OffsetFetchResponseGroup};
use crate::wire::message::share_group_describe::DescribedGroup as ShareDescribed;
use crate::wire::message::share_group_heartbeat::ShareGroupHeartbeatResponse;
use crate::wire::message::sync_group::{SyncGroupRequest, SyncGroupResponse};

/// Group coordinator of this node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct GroupHandle {
    coordinator: Coordinator<GroupShard>,
    /// Number of partitions of `__consumer_offsets`, from the setting until the topic exists.
    partitions: Arc<AtomicI32>,
    /// Share coordinator, which keeps the states of share groups.
    states: ShareStateHandle,
}

/// Sends a request to the shard and unwraps the expected kind of answer.
macro_rules! ask {
    ($self:ident, $group:expr, $request:expr, $kind:ident) => {
        match $self
            .coordinator
            .ask($self.partition_of($group), $request)
            .await
        {
            Ok(GroupAnswer::$kind(answer)) => Ok(answer),
            Ok(_) => Err(ErrorCode::UnknownServerError),
            Err(error) => Err(error),
        }
    };
}

impl GroupHandle {
    /// `states` is the share coordinator. `partitions` is `offsets.topic.num.partitions`, which counts until the topic exists.
    /// `pool` runs long rounds of the shards, `work` runs long requests of clients.
    pub fn new(
        host: &Host,
        (log, states): (Arc<dyn RecordLog>, ShareStateHandle),
        settings: GroupSettings,
        partitions: i32,
        commit_timeout: Duration,
        compression: Compression,
        (pool, work): (WorkPool, WorkPool),
    ) -> (Self, Task<GroupShard>) {
        let make = Arc::new(move |_, _| GroupShard::new(settings.clone()));
        let (coordinator, task) =
            Coordinator::new("groups", host, log, make, commit_timeout, compression, pool);
        let partitions = Arc::new(AtomicI32::new(partitions));
        let errands = errands(&coordinator, &partitions, &states, host, work);
        let handle = Self {
            coordinator,
            partitions,
            states,
        };
        (handle, task.on_errand(errands))
    }

    pub fn coordinator(&self) -> &Coordinator<GroupShard> {
        &self.coordinator
    }

    /// Partition of `__consumer_offsets` that a group belongs to.
    pub fn partition_of(&self, group: &str) -> PartitionIndex {
        partition_of(group, self.partitions.load(Ordering::Relaxed))
    }

    /// Sets the number of partitions that the existing topic has, which may differ from the setting.
    pub fn set_partitions(&self, partitions: i32) {
        self.partitions.store(partitions, Ordering::Relaxed);
    }

    pub async fn join(&self, join: Join) -> JoinGroupResponse {
        // Copies, because the request may wait for a whole rebalance and must not keep its buffer alive that long.
        let member_id = owned(&join.request.member_id);
        let group = owned(&join.request.group_id);
        ask!(self, &group, GroupRequest::Join(Box::new(join)), Join)
            .unwrap_or_else(|error| refused_join(error, member_id))
    }

    pub async fn sync(&self, request: SyncGroupRequest) -> SyncGroupResponse {
        let group = owned(&request.group_id);
        ask!(self, &group, GroupRequest::Sync(request), Sync).unwrap_or_else(refused_sync)
    }

    pub async fn heartbeat(&self, request: HeartbeatRequest) -> HeartbeatResponse {
        let group = owned(&request.group_id);
        ask!(self, &group, GroupRequest::Heartbeat(request), Heartbeat).unwrap_or_else(|error| {
            HeartbeatResponse {
                // While the shard is loading, heartbeats succeed, so that members continue without a rebalance.
                error_code: match error {
                    ErrorCode::CoordinatorLoadInProgress => ErrorCode::None.code(),
                    error => error.code(),
                },
                ..HeartbeatResponse::default()
            }
        })
    }

    pub async fn leave(&self, request: LeaveGroupRequest) -> LeaveGroupResponse {
        let group = owned(&request.group_id);
        ask!(self, &group, GroupRequest::Leave(request), Leave).unwrap_or_else(|error| {
            LeaveGroupResponse {
                error_code: error.code(),
                ..LeaveGroupResponse::default()
            }
        })
    }

    pub async fn consumer_heartbeat(
        &self,
        beat: ConsumerHeartbeat,
    ) -> ConsumerGroupHeartbeatResponse {
        let group = owned(&beat.request.group_id);
        let request = GroupRequest::ConsumerHeartbeat(Box::new(beat));
        ask!(self, &group, request, ConsumerHeartbeat).unwrap_or_else(|error| {
            ConsumerGroupHeartbeatResponse {
                error_code: error.code(),
                ..ConsumerGroupHeartbeatResponse::default()
            }
        })
    }

    pub async fn describe_consumer(&self, group: ByteString) -> ConsumerDescribed {
        let request = GroupRequest::DescribeConsumer(group.clone());
        ask!(self, &group, request, DescribeConsumer).unwrap_or_else(|error| ConsumerDescribed {
            error_code: error.code(),
            group_id: group.clone(),
            ..ConsumerDescribed::default()
        })
    }

    pub async fn share_heartbeat(&self, beat: ShareHeartbeat) -> ShareGroupHeartbeatResponse {
        let group = owned(&beat.request.group_id);
        let request = GroupRequest::ShareHeartbeat(Box::new(beat));
        ask!(self, &group, request, ShareHeartbeat).unwrap_or_else(|error| {
            ShareGroupHeartbeatResponse {
                error_code: error.code(),
                ..ShareGroupHeartbeatResponse::default()
            }
        })
    }

    pub async fn describe_share(&self, group: ByteString) -> ShareDescribed {
        let request = GroupRequest::DescribeShare(group.clone());
        ask!(self, &group, request, DescribeShare).unwrap_or_else(|error| ShareDescribed {
            error_code: error.code(),
            group_id: group.clone(),
            ..ShareDescribed::default()
        })
    }

    /// Partitions of a share group. With `is_empty`, a group with members is refused.
    ///
    /// Errors: also `GroupIdNotFound`, `NonEmptyGroup`.
    pub async fn share_topics(
        &self,
        group: &ByteString,
        is_empty: bool,
    ) -> Result<ShareTopics, ErrorCode> {
        let request = GroupRequest::ShareTopics {
            group: group.clone(),
            is_empty,
        };
        match self.ask(group, request).await? {
            GroupAnswer::ShareTopics(topics) => Ok(topics),
            _ => Err(ErrorCode::UnknownServerError),
        }
    }

    /// Sets the start offsets of a share group without members. The result holds one entry per partition.
    ///
    /// Errors: those of [`GroupRequest::BeginShare`], for the request as a whole.
    pub async fn begin_share(
        &self,
        group: ByteString,
        starts: Vec<ShareStart>,
    ) -> Result<Vec<(ShareStart, Result<(), Refusal>)>, ErrorCode> {
        let request = GroupRequest::BeginShare {
            group: group.clone(),
            starts,
        };
        match self.ask(&group, request).await? {
            GroupAnswer::InitialiseShare(errand) => Ok(initialise(self, errand).await),
            _ => Err(ErrorCode::UnknownServerError),
        }
    }

    /// Marks the states of topics of a share group as being deleted, or forgets them once they are deleted (`is_done`). States
    /// up to the epoch that is returned are to be deleted; those behind it were begun anew for a member that has come since.
    pub async fn forget_share(
        &self,
        group: &ByteString,
        topics: Vec<Uuid>,
        is_done: bool,
    ) -> Result<i32, ErrorCode> {
        let request = GroupRequest::ForgetShare {
            group: group.clone(),
            topics,
            is_done,
        };
        match self.ask(group, request).await? {
            GroupAnswer::ShareForgotten(epoch) => Ok(epoch),
            _ => Err(ErrorCode::UnknownServerError),
        }
    }

    async fn ask(&self, group: &str, request: GroupRequest) -> Result<GroupAnswer, ErrorCode> {
        let partition = self.partition_of(group);
        match self.coordinator.ask(partition, request).await? {
            GroupAnswer::Refused(error) => Err(error),
            answer => Ok(answer),
        }
    }

    /// Commits offsets. The topics must exist and have names.
    pub async fn commit_offsets(&self, commit: Commit) -> Vec<OffsetCommitResponseTopic> {
        let group = owned(&commit.group);
        let topics = commit.topics.iter();
        let asked: Vec<_> = topics
            .map(|topic| for_all(topic, ErrorCode::None))
            .collect();
        ask!(self, &group, GroupRequest::Commit(commit), Committed).unwrap_or_else(|error| {
            let mut topics = asked;
            for one in topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
                one.error_code = error.code();
            }
            topics
        })
    }

    /// Reads committed offsets. The named topics must have names; without a list of topics all offsets are read.
    pub async fn fetch_offsets(
        &self,
        group: OffsetFetchRequestGroup,
        require_stable: bool,
    ) -> OffsetFetchResponseGroup {
        let id = owned(&group.group_id);
        let request = GroupRequest::FetchOffsets {
            group,
            require_stable,
        };
        ask!(self, &id, request, FetchOffsets).unwrap_or_else(|error| OffsetFetchResponseGroup {
            group_id: id.clone(),
            error_code: error.code(),
            ..OffsetFetchResponseGroup::default()
        })
    }

    pub async fn delete_offsets(&self, request: OffsetDeleteRequest) -> OffsetDeleteResponse {
        let group = owned(&request.group_id);
        ask!(
            self,
            &group,
            GroupRequest::DeleteOffsets(request),
            DeleteOffsets
        )
        .unwrap_or_else(|error| OffsetDeleteResponse {
            error_code: error.code(),
            ..OffsetDeleteResponse::default()
        })
    }

    pub async fn describe(&self, group: ByteString, unknown_is_error: bool) -> DescribedGroup {
        let request = GroupRequest::Describe {
            group: group.clone(),
            unknown_is_error,
        };
        ask!(self, &group, request, Describe).unwrap_or_else(|error| DescribedGroup {
            error_code: error.code(),
            group_id: group.clone(),
            ..DescribedGroup::default()
        })
    }

    /// Groups of all partitions that this broker leads. An error means that the list would be incomplete.
    pub async fn list(
        &self,
        states: &[ByteString],
        types: &[ByteString],
    ) -> Result<Vec<ListedGroup>, ErrorCode> {
        let mut groups = Vec::new();
        let active = self.coordinator.all_active().await?;
        let (Some(states), Some(types)) = (reduced(states, &STATES), reduced(types, &TYPES)) else {
            return Ok(groups);
        };
        for partition in active {
            let request = GroupRequest::List {
                states: states.clone(),
                types: types.clone(),
            };
            match self.coordinator.ask(partition, request).await {
                Ok(GroupAnswer::List(some)) => groups.extend(some),
                // The partition moved to another leader after the list of partitions was made.
                Err(ErrorCode::NotCoordinator) => {}
                Err(error) => return Err(error),
                Ok(_) => return Err(ErrorCode::UnknownServerError),
            }
        }
        Ok(groups)
    }

    pub async fn delete(&self, group: ByteString) -> DeletableGroupResult {
        let refused = |error: ErrorCode| DeletableGroupResult {
            group_id: group.clone(),
            error_code: error.code(),
            ..DeletableGroupResult::default()
        };
        loop {
            match ask!(self, &group, GroupRequest::Delete(group.clone()), Delete) {
                // The group had more offsets than fit into one batch. Each request deletes some of them.
                Ok(result) if result.error_code == ErrorCode::RecordListTooLarge.code() => {}
                Ok(result) => return result,
                Err(error) => return refused(error),
            }
        }
    }

    /// Raises committed offsets below the log start offset to the log start offset. Nothing else of the group changes.
    pub async fn raise_offsets(
        &self,
        group: &ByteString,
        starts: &Arc<LogStarts>,
    ) -> Result<(), ErrorCode> {
        loop {
            let request = GroupRequest::RaiseOffsets {
                group: group.clone(),
                starts: Arc::clone(starts),
            };
            let partition = self.partition_of(group);
            match self.coordinator.ask(partition, request).await? {
                // There were more offsets than fit into one batch. Each request raises some of them.
                GroupAnswer::Refused(ErrorCode::RecordListTooLarge) => {}
                GroupAnswer::Refused(error) => return Err(error),
                _ => return Ok(()),
            }
        }
    }

    /// Deletes the committed offsets of deleted topics.
    pub async fn topics_deleted(&self, topics: Vec<ByteString>) {
        for partition in self.coordinator.active().await {
            let request = GroupRequest::TopicsDeleted(topics.clone());
            if let Err(error) = self.coordinator.ask(partition, request).await {
                tracing::warn!(partition, %error, "offsets of deleted topics stay until they expire");
            }
        }
    }

    /// Writes the marker that ends a producer's transaction into one partition.
    pub async fn end_transaction(
        &self,
        partition: PartitionIndex,
        marker: Marker,
        rules: MarkerRules,
    ) -> Result<(), ErrorCode> {
        let request = GroupRequest::EndTransaction(marker, rules);
        match self.coordinator.ask(partition, request).await? {
            GroupAnswer::Refused(error) => Err(error),
            _ => Ok(()),
        }
    }
}

/// Runs tasks that groups request: finding the topics that match regular expressions (in the work pool, in turns with long
/// requests of clients), and initialising states of share groups.
fn errands(
    coordinator: &Coordinator<GroupShard>,
    partitions: &Arc<AtomicI32>,
    states: &ShareStateHandle,
    host: &Host,
    work: WorkPool,
) -> Errands<GroupShard> {
    let weak = Arc::new(coordinator.downgrade());
    let threads = host.threads.clone();
    let (partitions, states) = (Arc::clone(partitions), states.clone());
    Arc::new(move |partition, answer, halt| match answer {
        GroupAnswer::ResolveRegex(errand) => {
            let find = find_topics(Arc::clone(&weak), partition, errand, work.clone());
            threads.spawn(halt.guard("topics of regular expressions", find));
        }
        GroupAnswer::InitialiseShare(errand) => {
            let (weak, partitions) = (Arc::clone(&weak), Arc::clone(&partitions));
            let states = states.clone();
            let initialise = async move {
                if let Some(coordinator) = weak.upgrade() {
                    let groups = GroupHandle {
                        coordinator,
                        partitions,
                        states,
                    };
                    initialise(&groups, errand).await;
                }
            };
            threads.spawn(halt.guard("initialising of share states", initialise));
        }
        _ => {}
    })
}

async fn find_topics(
    weak: Arc<WeakCoordinator<GroupShard>>,
    partition: PartitionIndex,
    errand: RegexErrand,
    work: WorkPool,
) {
    let group = errand.group.clone();
    let version = errand.image.offset;
    let found = work.drive(async move {
        let names = |pattern: &ByteString| {
            let topics = errand.image.topics.iter().map(|topic| &*topic.name);
            (pattern.clone(), expression::matching(pattern, topics))
        };
        errand.patterns.iter().map(names).collect()
    });
    // Without an answer the group asks again.
    if let (Some(found), Some(coordinator)) = (found.await, weak.upgrade()) {
        let request = GroupRequest::RegexResolved {
            group,
            version,
            found,
        };
        let _ = coordinator.ask(partition, request).await;
    }
}

/// Number of attempts to initialise a state before the group has to ask again, and the pause between two attempts.
const INITIALISE_TRIES: usize = 100;
const INITIALISE_PAUSE: Duration = Duration::from_millis(20);

/// Initialises states of a share group with the share coordinator and reports the results to the group.
async fn initialise(
    groups: &GroupHandle,
    errand: InitialiseErrand,
) -> Vec<(ShareStart, Result<(), Refusal>)> {
    let mut results = Vec::with_capacity(errand.starts.len());
    for start in errand.starts {
        let key = ShareKey {
            group: errand.group.clone(),
            topic_id: start.topic_id,
            partition: start.partition,
        };
        let mut tries = 0;
        let done = loop {
            let (key, epoch) = (key.clone(), errand.epoch);
            let done = (groups.states).initialise(key, epoch, start.start, start.replaces);
            match done.await {
                // The internal topic of share states may have been created just now.
                Err(refusal) if is_passing(refusal.error) && tries < INITIALISE_TRIES => {
                    tries += 1;
                    tokio::time::sleep(INITIALISE_PAUSE).await;
                }
                done => break done,
            }
        };
        if let Err(refusal) = &done {
            tracing::info!(
                group = %errand.group, topic = %start.topic_id, partition = start.partition, error = %refusal.error,
                "the state of a share group was not initialised"
            );
        }
        results.push((start, done));
    }
    let request = GroupRequest::ShareInitialised {
        group: errand.group.clone(),
        done: results
            .iter()
            .map(|(start, done)| (*start, done.is_ok()))
            .collect(),
    };
    // Without an answer the group asks again.
    let _ = groups.ask(&errand.group, request).await;
    results
}

/// Known names that a filter contains; empty if the filter is empty, which means all. Unknown names and duplicates are dropped,
/// since clients may send any number of them. `None` if no known name is left.
fn reduced(filter: &[ByteString], names: &[&'static str]) -> Option<Vec<ByteString>> {
    let named = |name: &&&str| filter.iter().any(|one| one.eq_ignore_ascii_case(name));
    let known: Vec<_> = names
        .iter()
        .filter(named)
        .map(|name| ByteString::from_static(name))
        .collect();
    (filter.is_empty() || !known.is_empty()).then_some(known)
}
