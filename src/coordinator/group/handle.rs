//! What API handlers hold of the group coordinator: the protocol's requests in, its answers out.

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
use crate::coordinator::runtime::handle::{Coordinator, WeakCoordinator};
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

/// The group coordinator of this node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct GroupHandle {
    coordinator: Coordinator<GroupShard>,
    /// Of `__consumer_offsets`, as it is or will be.
    partitions: Arc<AtomicI32>,
    /// Whom states of share groups are kept by.
    states: ShareStateHandle,
}

/// Calls the shard and takes the answer out of its wrapping.
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
    /// `states` keeps those of share groups. `partitions` is `offsets.topic.num.partitions`, until the topic is there. `pool` works
    /// off long rounds, `work` computes the long requests of clients.
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

    /// The partition of `__consumer_offsets` that keeps a group.
    pub fn partition_of(&self, group: &str) -> PartitionIndex {
        partition_of(group, self.partitions.load(Ordering::Relaxed))
    }

    /// The topic was made with another number of partitions than the settings say.
    pub fn set_partitions(&self, partitions: i32) {
        self.partitions.store(partitions, Ordering::Relaxed);
    }

    pub async fn join(&self, join: Join) -> JoinGroupResponse {
        // Copies: the request may wait for the whole of a rebalance, and its bytes must not.
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
                // While it loads, members should go on as if nothing were.
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

    /// The partitions of a share group; with `is_empty`, only of one without members.
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

    /// Has a share group without members begin elsewhere: the result of each partition.
    ///
    /// Errors: of the whole, as of [`GroupRequest::BeginShare`].
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

    /// Marks that the states of topics go from a share group, or that they are gone.
    pub async fn forget_share(
        &self,
        group: &ByteString,
        topics: Vec<Uuid>,
        is_done: bool,
    ) -> Result<(), ErrorCode> {
        let request = GroupRequest::ForgetShare {
            group: group.clone(),
            topics,
            is_done,
        };
        self.ask(group, request).await.map(|_| ())
    }

    async fn ask(&self, group: &str, request: GroupRequest) -> Result<GroupAnswer, ErrorCode> {
        let partition = self.partition_of(group);
        match self.coordinator.ask(partition, request).await? {
            GroupAnswer::Refused(error) => Err(error),
            answer => Ok(answer),
        }
    }

    /// Topics are known and have names.
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

    /// Topics, if any are named, have names. None are named for "all".
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

    /// The groups of all partitions here. An error means that some of them could not say.
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
                // It was given up since we asked who is there.
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
                // The rest of its offsets, of which each request leaves fewer.
                Ok(result) if result.error_code == ErrorCode::RecordListTooLarge.code() => {}
                Ok(result) => return result,
                Err(error) => return refused(error),
            }
        }
    }

    /// Sets what a group committed before the start of a log to that start, and leaves everything else of the group alone.
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
                // The rest of them, with each request fewer.
                GroupAnswer::Refused(ErrorCode::RecordListTooLarge) => {}
                GroupAnswer::Refused(error) => return Err(error),
                _ => return Ok(()),
            }
        }
    }

    /// Forgets the offsets of topics that are gone.
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

/// What groups want done outside: topics found that expressions stand for, in turns with the long requests of clients; and states of
/// share groups initialised.
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

/// How often a state is initialised until the group has to ask again, and how long it takes in between.
const INITIALISE_TRIES: usize = 100;
const INITIALISE_PAUSE: Duration = Duration::from_millis(20);

fn is_passing(error: ErrorCode) -> bool {
    matches!(
        error,
        ErrorCode::NotCoordinator
            | ErrorCode::CoordinatorNotAvailable
            | ErrorCode::CoordinatorLoadInProgress
    )
}

/// Has states of a share group initialised, and tells the group what came of it.
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
            let done = (groups.states).initialise(key.clone(), errand.epoch, start.start);
            match done.await {
                // The topic of states may have been made just now.
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

/// What of `names` a filter lets through, empty for all: it may name anything, and any number of times. `None` where it lets
/// nothing through.
fn reduced(filter: &[ByteString], names: &[&'static str]) -> Option<Vec<ByteString>> {
    let named = |name: &&&str| filter.iter().any(|one| one.eq_ignore_ascii_case(name));
    let known: Vec<_> = names
        .iter()
        .filter(named)
        .map(|name| ByteString::from_static(name))
        .collect();
    (filter.is_empty() || !known.is_empty()).then_some(known)
}
