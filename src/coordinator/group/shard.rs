//! pure: one partition of `__consumer_offsets`: its groups and their offsets.

use std::collections::BTreeMap;

use bytestring::ByteString;

use super::classic::group::{ClassicGroup, State, owned};
use super::classic::rebalance::{GroupTimer, Scene, refused_join, refused_sync};
use super::offsets::Offsets;
use super::record::GroupRecord;
use super::record::offset_commit::{OffsetCommitKey, OffsetCommitValue};
use super::request::{GroupAnswer, GroupRequest, Join, LogStarts, Precondition};
use super::settings::GroupSettings;
use crate::base::ids::Uuid;
use crate::coordinator::runtime::shard::{
    Marker, Moment, Origin, Output, RawRecord, RecordError, Shard, Ticket, total_cost,
};
use crate::coordinator::runtime::timer::Timers;
use crate::wire::codec::EncodeError;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::delete_groups::DeletableGroupResult;
use crate::wire::message::describe_groups::{DescribedGroup, DescribedGroupMember};
use crate::wire::message::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use crate::wire::message::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberResponse};
use crate::wire::message::list_groups::ListedGroup;
use crate::wire::message::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitResponse,
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use crate::wire::message::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteResponse, OffsetDeleteResponsePartition,
    OffsetDeleteResponseTopic,
};
use crate::wire::message::offset_fetch::{
    OffsetFetchRequestGroup, OffsetFetchResponseGroup, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopics,
};
use crate::wire::message::sync_group::SyncGroupRequest;
use crate::wire::message::txn_offset_commit::{
    TxnOffsetCommitRequest, TxnOffsetCommitResponse, TxnOffsetCommitResponsePartition,
    TxnOffsetCommitResponseTopic,
};

/// The type of group that this coordinator knows, as ListGroups prints it.
pub(super) const CLASSIC: &str = "classic";

/// Groups and offsets of one partition.
#[derive(Clone, Debug)]
pub struct GroupShard {
    settings: GroupSettings,
    /// Boxed: a leaf of the map has room for eleven of them.
    groups: BTreeMap<ByteString, Box<ClassicGroup>>,
    offsets: Offsets,
    timers: Timers<GroupTimer>,
}

impl Shard for GroupShard {
    type Request = GroupRequest;
    type Answer = GroupAnswer;
    type Record = GroupRecord;

    const BASE_SEQUENCE: i32 = 0;

    fn decode(raw: RawRecord) -> Result<Option<GroupRecord>, RecordError> {
        GroupRecord::decode(raw)
    }

    fn encode(record: &GroupRecord) -> Result<RawRecord, EncodeError> {
        record.encode()
    }

    fn apply(&mut self, origin: Origin, record: &GroupRecord) {
        match record {
            GroupRecord::Offset { key, value } => {
                // Who commits without ever joining has a group without a record of its own.
                if value.is_some() && !self.groups.contains_key(&key.group) {
                    self.groups
                        .insert(key.group.clone(), Box::new(ClassicGroup::new(None)));
                }
                self.offsets.apply(origin, key, value.as_ref());
            }
            GroupRecord::Group { group, value } => match value {
                Some(value) => self
                    .groups
                    .entry(group.clone())
                    .or_insert_with(|| Box::new(ClassicGroup::new(None)))
                    .apply(value, &self.settings.memory),
                None => {
                    self.groups.remove(group);
                }
            },
        }
    }

    fn apply_marker(&mut self, marker: Marker) {
        self.offsets
            .end_transaction(marker.producer_id, marker.commit);
    }

    fn loaded(&mut self, now: Moment, out: &mut Output<GroupAnswer>) {
        let ids: Vec<ByteString> = self.groups.keys().cloned().collect();
        for id in ids {
            self.with(&id, now, out, |scene| scene.loaded());
        }
        self.set_expiry_timer(now);
    }

    fn handle(
        &mut self,
        now: Moment,
        ticket: Ticket,
        request: GroupRequest,
        out: &mut Output<GroupAnswer>,
    ) {
        match request {
            GroupRequest::Join(join) => self.join(now, ticket, &join, out),
            GroupRequest::Sync(request) => self.sync(now, ticket, &request, out),
            GroupRequest::Heartbeat(request) => {
                let error = self.heartbeat(now, &request, out);
                let answer = HeartbeatResponse {
                    error_code: error.code(),
                    ..HeartbeatResponse::default()
                };
                out.answer(ticket, GroupAnswer::Heartbeat(answer));
            }
            GroupRequest::Leave(request) => {
                let answer = self.leave(now, &request, out);
                out.answer(ticket, GroupAnswer::Leave(answer));
            }
            GroupRequest::CommitOffsets(request) => {
                let answer = self.commit(now, &request, out);
                out.answer(ticket, GroupAnswer::CommitOffsets(answer));
            }
            GroupRequest::CommitOffsetsInTransaction(request, precondition) => {
                let answer = self.commit_in_transaction(now, &request, &precondition, out);
                out.answer(ticket, GroupAnswer::CommitOffsetsInTransaction(answer));
            }
            GroupRequest::FetchOffsets {
                group,
                require_stable,
            } => {
                let answer = self.fetch_offsets(&group, require_stable);
                out.answer(ticket, GroupAnswer::FetchOffsets(answer));
            }
            GroupRequest::DeleteOffsets(request) => {
                let answer = self.delete_offsets(&request, out);
                out.answer(ticket, GroupAnswer::DeleteOffsets(answer));
            }
            GroupRequest::Describe {
                group,
                unknown_is_error,
            } => {
                let answer = self.describe(&group, unknown_is_error);
                out.answer(ticket, GroupAnswer::Describe(answer));
            }
            GroupRequest::List { states, types } => {
                let answer = self.list(&states, &types);
                out.answer(ticket, GroupAnswer::List(answer));
            }
            GroupRequest::Delete(group) => {
                let result = self.delete_group(&group, out);
                let answer = DeletableGroupResult {
                    group_id: group,
                    error_code: result.err().unwrap_or(ErrorCode::None).code(),
                    ..DeletableGroupResult::default()
                };
                out.answer(ticket, GroupAnswer::Delete(answer));
            }
            GroupRequest::RaiseOffsets { group, starts } => {
                let answer = match self.raise_offsets(now, &group, &starts, out) {
                    Ok(()) => GroupAnswer::Done,
                    Err(error) => GroupAnswer::Refused(error),
                };
                out.answer(ticket, answer);
            }
            GroupRequest::TopicsDeleted(topics) => {
                let mut keys = Vec::new();
                for topic in &topics {
                    keys.extend(self.offsets.keys_of_topic(topic));
                }
                for key in keys {
                    self.forget_offset(key, out);
                }
                out.answer(ticket, GroupAnswer::Done);
            }
            GroupRequest::EndTransaction(marker, precondition) => {
                let answer = match precondition.check() {
                    Ok(()) => {
                        out.marker = Some(marker);
                        self.apply_marker(marker);
                        GroupAnswer::Done
                    }
                    Err(error) => GroupAnswer::Refused(error),
                };
                out.answer(ticket, answer);
            }
        }
    }

    fn cost(&self, request: &GroupRequest) -> usize {
        let cost = match request {
            GroupRequest::Join(join) => {
                let protocols = join.request.protocols.iter();
                let said = protocols.map(|one| 1 + one.metadata.len() / COPIED);
                total_cost(said) + self.members_of(&join.request.group_id)
            }
            GroupRequest::Sync(request) => {
                let assignments = request.assignments.iter();
                let said = assignments.map(|one| 1 + one.assignment.len() / COPIED);
                total_cost(said) + self.members_of(&request.group_id)
            }
            GroupRequest::Heartbeat(_) => 1,
            GroupRequest::Leave(request) => {
                let members = self.members_of(&request.group_id);
                members + request.members.len() * cost_of_drop(members)
            }
            GroupRequest::CommitOffsets(request) => {
                total_cost(request.topics.iter().map(|topic| {
                    let partitions = topic.partitions.iter();
                    1 + total_cost(
                        partitions.map(|one| cost_of_commit(one.committed_metadata.as_deref())),
                    )
                }))
            }
            GroupRequest::CommitOffsetsInTransaction(request, _) => {
                total_cost(request.topics.iter().map(|topic| {
                    let partitions = topic.partitions.iter();
                    1 + total_cost(
                        partitions.map(|one| cost_of_commit(one.committed_metadata.as_deref())),
                    )
                }))
            }
            GroupRequest::FetchOffsets { group, .. } => match &group.topics {
                Some(topics) => {
                    total_cost(topics.iter().map(|topic| 1 + topic.partition_indexes.len()))
                }
                None => self.offsets.cost_of(&group.group_id),
            },
            GroupRequest::DeleteOffsets(request) => total_cost(
                request
                    .topics
                    .iter()
                    .map(|topic| 1 + topic.partitions.len()),
            ),
            GroupRequest::Describe { group, .. } => self.members_of(group),
            GroupRequest::List { .. } => self.groups.len(),
            GroupRequest::Delete(group) | GroupRequest::RaiseOffsets { group, .. } => {
                self.offsets.cost_of(group)
            }
            GroupRequest::TopicsDeleted(topics) => topics.len() * self.offsets.cost_of_topic(),
            GroupRequest::EndTransaction(marker, _) => {
                self.offsets.cost_of_transaction(marker.producer_id)
            }
        };
        cost.max(1)
    }

    fn wake_cost(&self, now: Moment) -> usize {
        total_cost(self.timers.due(now.steady).map(|timer| match timer {
            // They may have all members but one dropped.
            GroupTimer::Join(id) | GroupTimer::Sync(id) => {
                let members = self.members_of(id);
                members * cost_of_drop(members)
            }
            GroupTimer::Session(id, _) => self.members_of(id) + 1,
            GroupTimer::ExpireOffsets => self.groups.len() + self.offsets.count(),
        }))
    }

    fn wake(&mut self, now: Moment, out: &mut Output<GroupAnswer>) {
        while let Some(timer) = self.timers.pop_due(now.steady) {
            match timer {
                GroupTimer::Join(id) => self.with(&id, now, out, |scene| scene.join_time_is_up()),
                GroupTimer::Sync(id) => self.with(&id, now, out, |scene| scene.sync_time_is_up()),
                GroupTimer::Session(id, member) => {
                    self.with(&id, now, out, |scene| scene.session_is_over(&member));
                }
                GroupTimer::ExpireOffsets => {
                    self.expire_offsets(now, out);
                    self.set_expiry_timer(now);
                }
            }
        }
    }

    fn next_wake(&self) -> Option<i64> {
        self.timers.next()
    }
}

impl GroupShard {
    pub fn new(settings: GroupSettings) -> Self {
        Self {
            settings,
            groups: BTreeMap::new(),
            offsets: Offsets::default(),
            timers: Timers::default(),
        }
    }

    fn members_of(&self, group: &ByteString) -> usize {
        self.groups
            .get(group)
            .map_or(0, |group| group.members().len())
    }

    /// Sets a group on stage, if there is one.
    fn with<T: Default>(
        &mut self,
        id: &ByteString,
        now: Moment,
        out: &mut Output<GroupAnswer>,
        act: impl FnOnce(&mut Scene<'_>) -> T,
    ) -> T {
        let Some(group) = self.groups.get_mut(id) else {
            return T::default();
        };
        act(&mut Scene {
            id,
            group,
            timers: &mut self.timers,
            settings: &self.settings,
            now,
            out,
        })
    }

    fn join(&mut self, now: Moment, ticket: Ticket, join: &Join, out: &mut Output<GroupAnswer>) {
        let request = &join.request;
        let refused = if !is_valid_group(&request.group_id) {
            Some(ErrorCode::InvalidGroupId)
        } else if request.session_timeout_ms < self.settings.session_timeout_ms_min
            || request.session_timeout_ms > self.settings.session_timeout_ms_max
        {
            Some(ErrorCode::InvalidSessionTimeout)
        } else if !self.groups.contains_key(&request.group_id) && !request.member_id.is_empty() {
            Some(ErrorCode::UnknownMemberId)
        } else if !self.has_room_for(&request.group_id) {
            Some(ErrorCode::PolicyViolation)
        } else {
            None
        };
        if let Some(error) = refused {
            let answer = refused_join(error, request.member_id.clone());
            out.answer(ticket, GroupAnswer::Join(answer));
            return;
        }
        let id = owned(&request.group_id);
        let is_new = !self.groups.contains_key(&id);
        if is_new {
            self.groups
                .insert(id.clone(), Box::new(ClassicGroup::new(Some(now.wall))));
        }
        self.with(&id, now, out, |scene| {
            if is_new {
                // Cannot fail: an id that fits is all it holds.
                let _ = scene.record_birth();
            }
            scene.join(ticket, join);
        });
    }

    fn sync(
        &mut self,
        now: Moment,
        ticket: Ticket,
        request: &SyncGroupRequest,
        out: &mut Output<GroupAnswer>,
    ) {
        let refused = if request.group_id.is_empty() {
            Some(ErrorCode::InvalidGroupId)
        } else if !self.groups.contains_key(&request.group_id) {
            Some(ErrorCode::UnknownMemberId)
        } else {
            None
        };
        if let Some(error) = refused {
            out.answer(ticket, GroupAnswer::Sync(refused_sync(error)));
            return;
        }
        self.with(&request.group_id, now, out, |scene| {
            scene.sync(ticket, request);
        });
    }

    fn heartbeat(
        &mut self,
        now: Moment,
        request: &HeartbeatRequest,
        out: &mut Output<GroupAnswer>,
    ) -> ErrorCode {
        if request.group_id.is_empty() {
            return ErrorCode::InvalidGroupId;
        }
        self.with(&request.group_id, now, out, |scene| {
            let instance = request.group_instance_id.as_deref();
            Some(scene.heartbeat(&request.member_id, instance, request.generation_id))
        })
        .unwrap_or(ErrorCode::UnknownMemberId)
    }

    fn leave(
        &mut self,
        now: Moment,
        request: &LeaveGroupRequest,
        out: &mut Output<GroupAnswer>,
    ) -> LeaveGroupResponse {
        if request.group_id.is_empty() {
            return LeaveGroupResponse {
                error_code: ErrorCode::InvalidGroupId.code(),
                ..LeaveGroupResponse::default()
            };
        }
        let members = if self.groups.contains_key(&request.group_id) {
            self.with(&request.group_id, now, out, |scene| scene.leave(request))
        } else {
            request
                .members
                .iter()
                .map(|member| MemberResponse {
                    member_id: member.member_id.clone(),
                    group_instance_id: member.group_instance_id.clone(),
                    error_code: ErrorCode::UnknownMemberId.code(),
                })
                .collect()
        };
        LeaveGroupResponse {
            members,
            ..LeaveGroupResponse::default()
        }
    }

    /// Whether there is such a group, or may be one.
    fn has_room_for(&self, group: &ByteString) -> bool {
        self.groups.len() < self.settings.groups_max || self.groups.contains_key(group)
    }

    /// Whether offsets may be committed under this name and generation. A group that nobody knows may be made by
    /// clients that are in none.
    fn check_commit(
        &self,
        group: &ByteString,
        member_id: &str,
        instance: Option<&str>,
        generation: i32,
        in_transaction: bool,
    ) -> Result<(), ErrorCode> {
        if !is_valid_group_or_empty(group) {
            return Err(ErrorCode::InvalidGroupId);
        }
        let Some(group) = self.groups.get(group) else {
            return match generation {
                ..0 if !self.has_room_for(group) => Err(ErrorCode::PolicyViolation),
                ..0 => Ok(()),
                _ if in_transaction => Err(ErrorCode::IllegalGeneration),
                _ => Err(ErrorCode::GroupIdNotFound),
            };
        };
        if generation < 0 && group.state == State::Empty {
            return Ok(());
        }
        if generation >= 0 || !member_id.is_empty() || instance.is_some() {
            group.check_member(member_id, instance)?;
            if generation != group.generation {
                return Err(ErrorCode::IllegalGeneration);
            }
        } else if !in_transaction && group.state != State::Empty {
            // A bystander must not move the offsets of a group at work. Old transactional producers name nobody.
            return Err(ErrorCode::UnknownMemberId);
        }
        if !in_transaction && group.state == State::CompletingRebalance {
            return Err(ErrorCode::RebalanceInProgress);
        }
        Ok(())
    }

    fn commit(
        &mut self,
        now: Moment,
        request: &OffsetCommitRequest,
        out: &mut Output<GroupAnswer>,
    ) -> OffsetCommitResponse {
        let checked = self.check_commit(
            &request.group_id,
            &request.member_id,
            request.group_instance_id.as_deref(),
            request.generation_id_or_member_epoch,
            false,
        );
        if checked.is_ok() {
            // A commit is a sign of life.
            self.with(&request.group_id, now, out, |scene| {
                if scene.group.state == State::Stable || scene.group.state.is_preparing() {
                    scene.restart_session(&request.member_id);
                }
            });
        }
        let expire_timestamp = if request.retention_time_ms < 0 {
            -1
        } else {
            now.wall.saturating_add(request.retention_time_ms)
        };
        let group = owned(&request.group_id);
        let mut topics = Vec::with_capacity(request.topics.len());
        for topic in &request.topics {
            let name = owned(&topic.name);
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for partition in &topic.partitions {
                let result = checked.and_then(|()| {
                    let key = OffsetCommitKey {
                        group: group.clone(),
                        topic: name.clone(),
                        partition: partition.partition_index,
                    };
                    let value = self.committed(now, topic.topic_id, partition, expire_timestamp)?;
                    self.record(
                        Origin::Plain,
                        GroupRecord::Offset {
                            key,
                            value: Some(value),
                        },
                        out,
                    )
                });
                partitions.push(OffsetCommitResponsePartition {
                    partition_index: partition.partition_index,
                    error_code: result.err().unwrap_or(ErrorCode::None).code(),
                });
            }
            topics.push(OffsetCommitResponseTopic {
                name: topic.name.clone(),
                topic_id: topic.topic_id,
                partitions,
            });
        }
        OffsetCommitResponse {
            topics,
            ..OffsetCommitResponse::default()
        }
    }

    fn commit_in_transaction(
        &mut self,
        now: Moment,
        request: &TxnOffsetCommitRequest,
        precondition: &Precondition,
        out: &mut Output<GroupAnswer>,
    ) -> TxnOffsetCommitResponse {
        let checked = self
            .check_commit(
                &request.group_id,
                &request.member_id,
                request.group_instance_id.as_deref(),
                request.generation_id_or_member_epoch,
                true,
            )
            .and_then(|()| precondition.check());
        out.producer = Some((request.producer_id, request.producer_epoch));
        let group = owned(&request.group_id);
        let mut topics = Vec::with_capacity(request.topics.len());
        for topic in &request.topics {
            let name = owned(&topic.name);
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for partition in &topic.partitions {
                let result = checked.and_then(|()| {
                    let key = OffsetCommitKey {
                        group: group.clone(),
                        topic: name.clone(),
                        partition: partition.partition_index,
                    };
                    let partition = OffsetCommitRequestPartition {
                        partition_index: partition.partition_index,
                        committed_offset: partition.committed_offset,
                        committed_leader_epoch: partition.committed_leader_epoch,
                        commit_timestamp: -1,
                        committed_metadata: partition.committed_metadata.clone(),
                    };
                    let value = self.committed(now, topic.topic_id, &partition, -1)?;
                    self.record(
                        Origin::Transaction(request.producer_id),
                        GroupRecord::Offset {
                            key,
                            value: Some(value),
                        },
                        out,
                    )
                });
                partitions.push(TxnOffsetCommitResponsePartition {
                    partition_index: partition.partition_index,
                    error_code: result.err().unwrap_or(ErrorCode::None).code(),
                });
            }
            topics.push(TxnOffsetCommitResponseTopic {
                name: topic.name.clone(),
                topic_id: topic.topic_id,
                partitions,
            });
        }
        TxnOffsetCommitResponse {
            topics,
            ..TxnOffsetCommitResponse::default()
        }
    }

    fn committed(
        &self,
        now: Moment,
        topic_id: Uuid,
        partition: &OffsetCommitRequestPartition,
        expire_timestamp: i64,
    ) -> Result<OffsetCommitValue, ErrorCode> {
        let metadata = partition.committed_metadata.as_deref().unwrap_or_default();
        // Kafka counts as Java does.
        if metadata.encode_utf16().count() > self.settings.offset_metadata_max {
            return Err(ErrorCode::OffsetMetadataTooLarge);
        }
        Ok(OffsetCommitValue {
            offset: partition.committed_offset,
            leader_epoch: partition.committed_leader_epoch,
            metadata: owned(metadata),
            // Only v1 of the request brings its own.
            commit_timestamp: if partition.commit_timestamp < 0 {
                now.wall
            } else {
                partition.commit_timestamp
            },
            expire_timestamp,
            topic_id,
        })
    }

    fn fetch_offsets(
        &self,
        request: &OffsetFetchRequestGroup,
        require_stable: bool,
    ) -> OffsetFetchResponseGroup {
        let group = &request.group_id;
        let one = |topic: &ByteString, id: Uuid, partition: i32| {
            let mut answer = OffsetFetchResponsePartitions {
                partition_index: partition,
                committed_offset: -1,
                committed_leader_epoch: -1,
                metadata: Some(ByteString::new()),
                error_code: ErrorCode::None.code(),
            };
            if require_stable && self.offsets.is_unstable(group, topic, partition) {
                answer.error_code = ErrorCode::UnstableOffsetCommit.code();
            } else if let Some(committed) = self
                .offsets
                .get(group, topic, partition)
                .filter(|committed| same_topic(committed.topic_id, id))
            {
                answer.committed_offset = committed.offset;
                answer.committed_leader_epoch = committed.leader_epoch;
                answer.metadata = Some(committed.metadata.clone());
            }
            answer
        };
        let topics = match &request.topics {
            Some(topics) => topics
                .iter()
                .map(|topic| OffsetFetchResponseTopics {
                    name: topic.name.clone(),
                    topic_id: topic.topic_id,
                    partitions: topic
                        .partition_indexes
                        .iter()
                        .map(|partition| one(&topic.name, topic.topic_id, *partition))
                        .collect(),
                })
                .collect(),
            None => self
                .offsets
                .of_group(group)
                .map(|(topic, partitions)| OffsetFetchResponseTopics {
                    name: topic.clone(),
                    partitions: partitions
                        .keys()
                        .map(|partition| one(topic, Uuid::ZERO, *partition))
                        .collect(),
                    ..OffsetFetchResponseTopics::default()
                })
                .collect(),
        };
        OffsetFetchResponseGroup {
            group_id: group.clone(),
            topics,
            error_code: ErrorCode::None.code(),
        }
    }

    fn delete_offsets(
        &mut self,
        request: &OffsetDeleteRequest,
        out: &mut Output<GroupAnswer>,
    ) -> OffsetDeleteResponse {
        let refused = match self.groups.get(&request.group_id) {
            _ if request.group_id.is_empty() => Some(ErrorCode::InvalidGroupId),
            None => Some(ErrorCode::GroupIdNotFound),
            Some(group) if group.state != State::Empty && !group.is_consumer() => {
                Some(ErrorCode::NonEmptyGroup)
            }
            Some(_) => None,
        };
        if let Some(error) = refused {
            return OffsetDeleteResponse {
                error_code: error.code(),
                ..OffsetDeleteResponse::default()
            };
        }
        let mut topics = Vec::with_capacity(request.topics.len());
        for topic in &request.topics {
            let subscribed = self
                .groups
                .get(&request.group_id)
                .is_some_and(|group| group.is_subscribed_to(&topic.name));
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for partition in &topic.partitions {
                let index = partition.partition_index;
                let known = self
                    .offsets
                    .get(&request.group_id, &topic.name, index)
                    .is_some();
                if known && !subscribed {
                    let key = OffsetCommitKey {
                        group: owned(&request.group_id),
                        topic: owned(&topic.name),
                        partition: index,
                    };
                    self.forget_offset(key, out);
                }
                partitions.push(OffsetDeleteResponsePartition {
                    partition_index: index,
                    error_code: if subscribed {
                        ErrorCode::GroupSubscribedToTopic.code()
                    } else {
                        ErrorCode::None.code()
                    },
                });
            }
            topics.push(OffsetDeleteResponseTopic {
                name: topic.name.clone(),
                partitions,
            });
        }
        OffsetDeleteResponse {
            topics,
            ..OffsetDeleteResponse::default()
        }
    }

    fn describe(&self, id: &ByteString, unknown_is_error: bool) -> DescribedGroup {
        let mut answer = DescribedGroup {
            group_id: id.clone(),
            ..DescribedGroup::default()
        };
        let Some(group) = self.groups.get(id) else {
            answer.group_state = ByteString::from_static("Dead");
            if unknown_is_error {
                answer.error_code = ErrorCode::GroupIdNotFound.code();
                answer.error_message = Some(format!("Group {id} not found.").into());
            }
            return answer;
        };
        answer.group_state = ByteString::from_static(group.state.name());
        answer.protocol_type = group.protocol_type.clone().unwrap_or_default();
        let stable = group.state == State::Stable;
        let protocol = group.protocol.clone().filter(|_| stable);
        answer.members = group
            .members()
            .iter()
            .map(|(id, member)| DescribedGroupMember {
                member_id: id.clone(),
                group_instance_id: member.instance_id.clone(),
                client_id: member.client_id.clone(),
                client_host: member.client_host.clone(),
                member_metadata: protocol
                    .as_deref()
                    .map(|protocol| member.metadata(protocol))
                    .unwrap_or_default(),
                // While the members agree anew, Kafka shows what they had before.
                member_assignment: member.assignment.clone(),
            })
            .collect();
        answer.protocol_data = protocol.unwrap_or_default();
        answer
    }

    fn list(&self, states: &[ByteString], types: &[ByteString]) -> Vec<ListedGroup> {
        let wanted = |filter: &[ByteString], is: &str| {
            filter.is_empty() || filter.iter().any(|one| one.eq_ignore_ascii_case(is))
        };
        if !wanted(types, CLASSIC) {
            return Vec::new();
        }
        self.groups
            .iter()
            .filter(|(_, group)| wanted(states, group.state.name()))
            .map(|(id, group)| ListedGroup {
                group_id: id.clone(),
                protocol_type: group.protocol_type.clone().unwrap_or_default(),
                group_state: ByteString::from_static(group.state.name()),
                group_type: ByteString::from_static(CLASSIC),
            })
            .collect()
    }

    fn delete_group(
        &mut self,
        id: &ByteString,
        out: &mut Output<GroupAnswer>,
    ) -> Result<(), ErrorCode> {
        match self.groups.get(id) {
            None => return Err(ErrorCode::GroupIdNotFound),
            Some(group) if group.state != State::Empty => return Err(ErrorCode::NonEmptyGroup),
            Some(_) => {}
        }
        let mut keys = self.offsets.keys(id);
        keys.extend(self.offsets.pending_keys(id));
        for key in keys {
            self.forget_offset(key, out);
        }
        self.forget_group(id, out);
        Ok(())
    }

    fn expire_offsets(&mut self, now: Moment, out: &mut Output<GroupAnswer>) {
        let mut expired = Vec::new();
        let mut deserted = Vec::new();
        for (id, group) in &self.groups {
            let mut all_expired = true;
            for (topic, partitions) in self.offsets.of_group(id) {
                let subscribed = group.is_subscribed_to(topic);
                for (partition, committed) in partitions {
                    let old = match group.offsets_age_from(committed.committed_at) {
                        _ if subscribed => false,
                        _ if self.offsets.is_unstable(id, topic, *partition) => false,
                        None => false,
                        Some(_) if committed.expires_at >= 0 => now.wall >= committed.expires_at,
                        Some(since) => {
                            now.wall.saturating_sub(since) >= self.settings.offsets_retention_ms
                        }
                    };
                    all_expired &= old;
                    if old {
                        expired.push(OffsetCommitKey {
                            group: id.clone(),
                            topic: topic.clone(),
                            partition: *partition,
                        });
                    }
                }
            }
            if all_expired && group.state == State::Empty && !self.offsets.has_unstable(id) {
                deserted.push(id.clone());
            }
        }
        for key in expired {
            self.forget_offset(key, out);
        }
        for id in deserted {
            // A group is only gone when its offsets are; some may be left for the next batch.
            if self.offsets.is_empty(&id) {
                self.forget_group(&id, out);
            }
        }
    }

    fn set_expiry_timer(&mut self, now: Moment) {
        let at = now.after(self.settings.offsets_retention_check_ms.max(1));
        self.timers.set(GroupTimer::ExpireOffsets, at);
    }

    fn forget_group(&mut self, id: &ByteString, out: &mut Output<GroupAnswer>) {
        if let Some(group) = self.groups.get(id) {
            for member in &group.pending_join {
                let timer = GroupTimer::Session(id.clone(), member.clone());
                self.timers.cancel(&timer);
            }
        }
        let record = GroupRecord::Group {
            group: id.clone(),
            value: None,
        };
        // Without room for it in this batch the group waits for the next round.
        let _ = self.record(Origin::Plain, record, out);
    }

    /// Errors: `RecordListTooLarge` when there are more of them than fit into a batch. Those that fit are raised.
    fn raise_offsets(
        &mut self,
        now: Moment,
        group: &ByteString,
        starts: &LogStarts,
        out: &mut Output<GroupAnswer>,
    ) -> Result<(), ErrorCode> {
        let mut records = Vec::new();
        for (topic, partitions) in self.offsets.of_group(group) {
            let Some(starts) = starts.get(topic) else {
                continue;
            };
            for (partition, committed) in partitions {
                let Some(start) = starts.get(partition).filter(|at| **at > committed.offset) else {
                    continue;
                };
                records.push(GroupRecord::Offset {
                    key: OffsetCommitKey {
                        group: group.clone(),
                        topic: topic.clone(),
                        partition: *partition,
                    },
                    value: Some(OffsetCommitValue {
                        offset: *start,
                        leader_epoch: -1,
                        metadata: committed.metadata.clone(),
                        commit_timestamp: now.wall,
                        expire_timestamp: committed.expires_at,
                        topic_id: committed.topic_id,
                    }),
                });
            }
        }
        for (index, record) in records.into_iter().enumerate() {
            // Whoever is told that there are more asks again: not for one that has no room alone.
            let refuse = |error| match index {
                0 => ErrorCode::UnknownServerError,
                _ => error,
            };
            self.record(Origin::Plain, record, out).map_err(refuse)?;
        }
        Ok(())
    }

    fn forget_offset(&mut self, key: OffsetCommitKey, out: &mut Output<GroupAnswer>) {
        let record = GroupRecord::Offset { key, value: None };
        let _ = self.record(Origin::Plain, record, out);
    }

    fn record(
        &mut self,
        origin: Origin,
        record: GroupRecord,
        out: &mut Output<GroupAnswer>,
    ) -> Result<(), ErrorCode> {
        out.record(record.encode())?;
        self.apply(origin, &record);
        Ok(())
    }

    #[cfg(test)]
    pub fn group(&self, id: &str) -> Option<&ClassicGroup> {
        self.groups.get(id).map(|group| &**group)
    }

    #[cfg(test)]
    pub fn groups(&self) -> &BTreeMap<ByteString, Box<ClassicGroup>> {
        &self.groups
    }

    #[cfg(test)]
    pub fn offsets(&self) -> &Offsets {
        &self.offsets
    }
}

/// Bytes that cost as much to copy as an offset to commit.
const COPIED: usize = 1 << 10;
/// A member that is dropped has so many others moved up for the same.
const MOVED: usize = 16;

fn cost_of_commit(metadata: Option<&str>) -> usize {
    1 + metadata.map_or(0, str::len) / COPIED
}

/// What it costs to drop one of so many members.
fn cost_of_drop(members: usize) -> usize {
    1 + members / MOVED
}

/// An offset of a topic that was deleted and made again under the same name is none of the new topic's.
fn same_topic(committed: Uuid, asked: Uuid) -> bool {
    committed.is_zero() || asked.is_zero() || committed == asked
}

/// Ids are non-empty, and short enough for a record's key.
fn is_valid_group(id: &str) -> bool {
    !id.is_empty() && is_valid_group_or_empty(id)
}

/// Before groups had to have a name, offsets were committed for the empty one.
fn is_valid_group_or_empty(id: &str) -> bool {
    id.len() <= i16::MAX as usize
}
