//! pure: one partition of `__consumer_offsets` with its groups and their offsets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytestring::ByteString;

use super::any::{self, Group};
use super::classic::group::{ClassicGroup, State, owned};
use super::classic::rebalance::{GroupTimer, Scene, refused_join, refused_sync};
use super::consumer::group::{ConsumerGroup, JOIN, State as ConsumerState};
use super::consumer::heartbeat::{Refusal, Scene as ConsumerScene, check};
use super::offsets::Offsets;
use super::record::{GroupRecord, Modern};
use super::request::{ConsumerHeartbeat, GroupAnswer, GroupRequest, Join};
use super::settings::{GroupSettings, Intervals};
use super::share::heartbeat::{Scene as ShareScene, refused as refused_share};
use crate::coordinator::runtime::shard::{
    Condition, Marker, Moment, Origin, Output, RawRecord, RecordError, Shard, Ticket, total_cost,
};
use crate::coordinator::runtime::timer::Timers;
use crate::metadata::image::{Delta, Image};
use crate::wire::codec::EncodeError;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::consumer_group_describe::DescribedGroup as ConsumerDescribed;
use crate::wire::message::consumer_group_heartbeat::ConsumerGroupHeartbeatResponse;
use crate::wire::message::delete_groups::DeletableGroupResult;
use crate::wire::message::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use crate::wire::message::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberResponse};
use crate::wire::message::sync_group::SyncGroupRequest;

/// Feature that must be at least 1 for groups of the consumer protocol (KIP-848).
const GROUP_VERSION: &str = "group.version";

/// Groups and offsets of one partition.
#[derive(Clone, Debug)]
pub struct GroupShard {
    pub(super) settings: GroupSettings,
    /// Newest metadata image.
    pub(super) image: Arc<Image>,
    pub(super) groups: BTreeMap<ByteString, Group>,
    /// Ids of the consumer and share groups, whose members get their assignment from the coordinator. They are marked as stale
    /// when the metadata of a subscribed topic changes.
    told: BTreeSet<ByteString>,
    pub(super) offsets: Offsets,
    pub(super) timers: Timers<GroupTimer>,
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
                // A client that commits without being a member creates a group that has no record of its own.
                if value.is_some() && !self.groups.contains_key(&key.group) {
                    self.groups.insert(key.group.clone(), Group::classic(None));
                }
                self.offsets.apply(origin, key, value.as_ref());
            }
            GroupRecord::Group { group, value } => match value {
                Some(value) => {
                    let found = self.groups.entry(group.clone());
                    let found = found.or_insert_with(|| Group::classic(None));
                    if found.as_classic().is_none() {
                        *found = Group::classic(None);
                        self.told.remove(group);
                    }
                    if let Group::Classic(found) = found {
                        found.apply(value, &self.settings.memory);
                    }
                }
                // A group that has changed to another protocol has its own records, which this tombstone does not concern.
                None if self.classic(group).is_some() => drop(self.groups.remove(group)),
                None => {}
            },
            GroupRecord::Modern(record) => {
                any::apply(&mut self.groups, record, &self.settings.memory);
                match record {
                    Modern::ConsumerEpoch(_)
                    | Modern::ConsumerMember(_)
                    | Modern::ShareEpoch(_)
                    | Modern::ShareMember(_)
                    | Modern::SharePartitions(_) => self.count_told(record.group()),
                    _ => {}
                }
            }
        }
    }

    fn apply_marker(&mut self, marker: Marker) {
        self.offsets
            .end_transaction(marker.producer_id, marker.commit);
    }

    fn on_image(&mut self, image: &Arc<Image>, delta: &Delta) {
        self.image = Arc::clone(image);
        let changed = delta.topics.iter().filter_map(|id| image.topics.by_id(*id));
        let changed: Vec<&str> = changed
            .chain(&delta.removed_topics)
            .map(|topic| &*topic.name)
            .collect();
        if changed.is_empty() {
            return;
        }
        for id in &self.told {
            match self.groups.get_mut(id) {
                Some(Group::Consumer(group)) => {
                    let is_its = changed.iter().any(|topic| group.is_subscribed_to(topic));
                    group.is_stale |= is_its;
                    group.topics_version = image.offset;
                }
                Some(Group::Share(group)) => {
                    group.is_stale |= changed.iter().any(|topic| group.is_subscribed_to(topic));
                }
                _ => {}
            }
        }
    }

    fn image_cost(&self, delta: &Delta) -> usize {
        self.told.len() * (delta.topics.len() + delta.removed_topics.len()) / LOOKED_AT
    }

    fn condition(request: &GroupRequest) -> Option<Condition> {
        match request {
            GroupRequest::Commit(commit) => commit
                .transaction
                .map(|of| Condition::Joins(of.producer_id, of.producer_epoch, of.admission)),
            GroupRequest::EndTransaction(marker, rules) => Some(Condition::Ends(*marker, *rules)),
            _ => None,
        }
    }

    fn loaded(&mut self, now: Moment, out: &mut Output<GroupAnswer>) {
        let ids: Vec<ByteString> = self.groups.keys().cloned().collect();
        for id in ids {
            self.with(&id, now, out, |scene| scene.loaded());
            self.with_consumer(&id, now, out, |scene| scene.loaded());
            self.with_share(&id, now, out, |scene| scene.loaded());
        }
        self.set_expiry_timer(now);
    }

    fn handle(
        &mut self,
        now: Moment,
        ticket: Ticket,
        request: GroupRequest,
        met: Result<(), ErrorCode>,
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
            GroupRequest::ConsumerHeartbeat(beat) => {
                let answer = self.consumer_heartbeat(now, &beat, out);
                let answer = answer.unwrap_or_else(Refusal::answer);
                out.answer(ticket, GroupAnswer::ConsumerHeartbeat(answer));
            }
            GroupRequest::DescribeConsumer(group) => {
                let answer = self.describe_consumer(now, &group, out);
                out.answer(ticket, GroupAnswer::DescribeConsumer(answer));
            }
            GroupRequest::RegexResolved {
                group,
                version,
                found,
            } => {
                self.with_consumer(&group, now, out, |scene| {
                    // If the records do not fit into this batch, the group asks again.
                    let _ = scene.resolved(version, &found);
                });
                out.answer(ticket, GroupAnswer::Done);
            }
            GroupRequest::ShareHeartbeat(beat) => {
                let answer = self.share_heartbeat(now, &beat, out);
                let answer = answer.unwrap_or_else(refused_share);
                out.answer(ticket, GroupAnswer::ShareHeartbeat(answer));
            }
            GroupRequest::DescribeShare(group) => {
                let answer = self.describe_share(&group);
                out.answer(ticket, GroupAnswer::DescribeShare(answer));
            }
            GroupRequest::ShareInitialised { group, done } => {
                self.with_share(&group, now, out, |scene| {
                    // If the records do not fit into this batch, the group asks again.
                    let _ = scene.initialised(&done);
                });
                out.answer(ticket, GroupAnswer::Done);
            }
            GroupRequest::ShareTopics { group, is_empty } => {
                let answer = self.share_topics(&group, is_empty);
                let answer = answer.map_or_else(GroupAnswer::Refused, GroupAnswer::ShareTopics);
                out.answer(ticket, answer);
            }
            GroupRequest::BeginShare { group, starts } => {
                let answer = self.begin_share(now, &group, starts, out);
                let answer = answer.map_or_else(GroupAnswer::Refused, GroupAnswer::InitialiseShare);
                out.answer(ticket, answer);
            }
            GroupRequest::ForgetShare {
                group,
                topics,
                is_done,
            } => {
                let answer = self.forget_share(&group, &topics, is_done, out);
                let answer = answer.map_or_else(GroupAnswer::Refused, GroupAnswer::ShareForgotten);
                out.answer(ticket, answer);
            }
            GroupRequest::Commit(commit) => {
                let answer = self.commit(now, &commit, met, out);
                out.answer(ticket, GroupAnswer::Committed(answer));
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
            GroupRequest::EndTransaction(marker, _) => {
                let answer = match met {
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
            GroupRequest::ConsumerHeartbeat(beat) => self.cost_of_heartbeat(beat),
            GroupRequest::DescribeConsumer(group) => {
                let group = self.groups.get(group).and_then(Group::as_consumer);
                let members = group.into_iter().flat_map(|group| group.members().values());
                total_cost(members.map(|member| 1 + member.current.assigned.each().count() / MOVED))
            }
            GroupRequest::RegexResolved { found, .. } => {
                total_cost(found.values().map(|topics| 1 + topics.len()))
            }
            GroupRequest::ShareHeartbeat(beat) => self.cost_of_share_heartbeat(beat),
            GroupRequest::DescribeShare(group) => {
                2 * self.members_of(group) + self.share_partitions(group) / MOVED
            }
            GroupRequest::ShareInitialised { group, done } => {
                1 + (done.len() + self.share_partitions(group)) / LOOKED_AT
            }
            GroupRequest::ShareTopics { group, .. } | GroupRequest::ForgetShare { group, .. } => {
                self.share_partitions(group) / LOOKED_AT
            }
            GroupRequest::BeginShare { group, starts } => {
                (starts.len() + self.share_partitions(group)) / LOOKED_AT
            }
            GroupRequest::Leave(request) => {
                let members = self.members_of(&request.group_id);
                members + request.members.len() * cost_of_drop(members)
            }
            GroupRequest::Commit(commit) => total_cost(commit.topics.iter().map(|topic| {
                let partitions = topic.partitions.iter();
                1 + total_cost(
                    partitions.map(|one| cost_of_commit(one.committed_metadata.as_deref())),
                )
            })),
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
            // At worst, all members but one are removed.
            GroupTimer::Join(id) | GroupTimer::Sync(id) => {
                let members = self.members_of(id);
                members * cost_of_drop(members)
            }
            GroupTimer::Session(id, member) => match self.groups.get(id) {
                // Timer entry of a session that has been extended: only a new entry is set.
                Some(Group::Classic(group)) if group.is_alive(member, now.steady) => 1,
                Some(Group::Consumer(group)) if group.is_alive(member, now.steady) => 1,
                Some(Group::Share(group)) if group.is_alive(member, now.steady) => 1,
                _ => self.members_of(id) + 1,
            },
            GroupTimer::Rebalance(id, _) | GroupTimer::Rejoin(id, _) => self.members_of(id) + 1,
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
                    self.with_consumer(&id, now, out, |scene| scene.session_is_over(&member));
                    self.with_share(&id, now, out, |scene| scene.session_is_over(&member));
                    self.downgrade_if_classic(now, &id, out);
                }
                GroupTimer::Rebalance(id, member) => {
                    self.with_consumer(&id, now, out, |scene| scene.rebalance_time_is_up(&member));
                    self.downgrade_if_classic(now, &id, out);
                }
                GroupTimer::Rejoin(id, member) => {
                    self.with_consumer(&id, now, out, |scene| scene.rejoin_time_is_up(&member));
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
            image: Arc::new(Image::empty()),
            groups: BTreeMap::new(),
            told: BTreeSet::new(),
            offsets: Offsets::default(),
            timers: Timers::default(),
        }
    }

    fn members_of(&self, group: &ByteString) -> usize {
        self.groups.get(group).map_or(0, Group::members_count)
    }

    pub(super) fn classic(&self, id: &str) -> Option<&ClassicGroup> {
        self.groups.get(id)?.as_classic()
    }

    fn consumer(&self, id: &str) -> Option<&ConsumerGroup> {
        self.groups.get(id)?.as_consumer()
    }

    /// Cancels the session timers of pending member ids.
    pub(super) fn forget_sessions<'a>(
        &mut self,
        group: &ByteString,
        members: impl IntoIterator<Item = &'a ByteString>,
    ) {
        for member in members {
            let timer = GroupTimer::Session(group.clone(), member.clone());
            self.timers.cancel(&timer);
        }
    }

    /// Updates whether the group is in `told`.
    pub(super) fn count_told(&mut self, id: &ByteString) {
        let is_told = |group: &Group| group.as_consumer().is_some() || group.as_share().is_some();
        if self.groups.get(id).is_some_and(is_told) {
            self.told.insert(id.clone());
        } else {
            self.told.remove(id);
        }
    }

    /// Calls `act` with the scene of a classic group. Returns the default if there is no such group.
    pub(super) fn with<T: Default>(
        &mut self,
        id: &ByteString,
        now: Moment,
        out: &mut Output<GroupAnswer>,
        act: impl FnOnce(&mut Scene<'_>) -> T,
    ) -> T {
        let Some(Group::Classic(group)) = self.groups.get_mut(id) else {
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

    /// Calls `act` with the scene of a group of the consumer protocol. Returns the default if there is no such group.
    pub(super) fn with_consumer<T: Default>(
        &mut self,
        id: &ByteString,
        now: Moment,
        out: &mut Output<GroupAnswer>,
        act: impl FnOnce(&mut ConsumerScene<'_>) -> T,
    ) -> T {
        let Some(Group::Consumer(group)) = self.groups.get_mut(id) else {
            return T::default();
        };
        act(&mut ConsumerScene {
            id,
            group,
            image: &self.image,
            settings: &self.settings,
            intervals: intervals(&self.settings, &self.image, id),
            timers: &mut self.timers,
            now,
            out,
        })
    }

    /// Calls `act` with the scene of a share group. Returns the default if there is no such group.
    pub(super) fn with_share<T: Default>(
        &mut self,
        id: &ByteString,
        now: Moment,
        out: &mut Output<GroupAnswer>,
        act: impl FnOnce(&mut ShareScene<'_>) -> T,
    ) -> T {
        let Some(Group::Share(group)) = self.groups.get_mut(id) else {
            return T::default();
        };
        let own = self.image.group_overrides(id);
        act(&mut ShareScene {
            id,
            group,
            image: &self.image,
            settings: &self.settings,
            intervals: (self.settings.share).intervals(own, self.image.cluster_overrides()),
            timers: &mut self.timers,
            now,
            out,
        })
    }

    fn consumer_heartbeat(
        &mut self,
        now: Moment,
        beat: &ConsumerHeartbeat,
        out: &mut Output<GroupAnswer>,
    ) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
        if !self.settings.consumer.is_served || self.image.feature(GROUP_VERSION) < 1 {
            let why = "The cluster does not support the new CONSUMER group protocol.";
            return Err(Refusal::new(ErrorCode::UnsupportedVersion, why));
        }
        check(beat, &self.settings)?;
        let id = &beat.request.group_id;
        let joins = beat.request.member_epoch == JOIN;
        match self.groups.get(id) {
            Some(Group::Consumer(_)) => {}
            None if joins && !self.has_room_for(id) => {
                let why = "This broker has as many groups as it may have.";
                return Err(Refusal::new(ErrorCode::PolicyViolation, why));
            }
            None if joins => return self.first_heartbeat(now, beat, out),
            Some(Group::Classic(group)) if joins && group.state == State::Empty => {
                return self.first_heartbeat(now, beat, out);
            }
            Some(Group::Classic(_)) if joins => {
                let id = owned(id);
                self.upgrade(now, &id, out)?;
            }
            // Kafka differs: it answers GROUP_ID_NOT_FOUND, which is fatal to Java's consumers. Here the members of a lost
            // group join again.
            None if beat.request.member_epoch > JOIN => {
                let member = &beat.request.member_id;
                let why = format!("Member {member} is not a member of group {id}.");
                return Err(Refusal::new(ErrorCode::UnknownMemberId, why));
            }
            None => {
                let why = format!("Group {id} not found.");
                return Err(Refusal::new(ErrorCode::GroupIdNotFound, why));
            }
            Some(_) => {
                let why = format!("Group {id} is not a consumer group.");
                return Err(Refusal::new(ErrorCode::GroupIdNotFound, why));
            }
        }
        let answer = self.with_consumer(id, now, out, |scene| Some(scene.heartbeat(beat)));
        if beat.request.member_epoch < JOIN {
            self.downgrade_if_classic(now, id, out);
        }
        answer.unwrap_or_else(|| Err(Refusal::new(ErrorCode::UnknownServerError, "")))
    }

    /// Handles the first heartbeat of a group: creates the group, or replaces a classic group without members.
    fn first_heartbeat(
        &mut self,
        now: Moment,
        beat: &ConsumerHeartbeat,
        out: &mut Output<GroupAnswer>,
    ) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
        let id = owned(&beat.request.group_id);
        if self.groups.contains_key(&id) {
            let gone = GroupRecord::Group {
                group: id.clone(),
                value: None,
            };
            out.record(gone.encode())
                .map_err(|error| Refusal::new(error, "There is no room for the group's record."))?;
        }
        let before = (self.groups).insert(id.clone(), Group::Consumer(Box::default()));
        let answer = self.with_consumer(&id, now, out, |scene| Some(scene.heartbeat(beat)));
        let answer = answer.unwrap_or_else(|| Err(Refusal::new(ErrorCode::UnknownServerError, "")));
        match before {
            Some(before) if answer.is_err() => {
                // The tombstone of the classic group is the only record so far. Nothing has been recorded of the new group.
                out.records.pop();
                self.groups.insert(id.clone(), before);
            }
            None if answer.is_err() => drop(self.groups.remove(&id)),
            Some(Group::Classic(before)) => {
                let joined = &beat.request.member_id;
                let pending = before.pending_join.iter().filter(|id| *id != joined);
                self.forget_sessions(&id, pending);
            }
            _ => {}
        }
        self.count_told(&id);
        answer
    }

    fn describe_consumer(
        &mut self,
        now: Moment,
        id: &ByteString,
        out: &mut Output<GroupAnswer>,
    ) -> ConsumerDescribed {
        let found = self.with_consumer(id, now, out, |scene| Some(scene.describe()));
        found.unwrap_or_else(|| ConsumerDescribed {
            error_code: ErrorCode::GroupIdNotFound.code(),
            error_message: Some(match self.groups.contains_key(id) {
                true => format!("Group {id} is not a consumer group.").into(),
                false => format!("Group {id} not found.").into(),
            }),
            group_id: id.clone(),
            ..ConsumerDescribed::default()
        })
    }

    /// Cost of a heartbeat: small if nothing changes, otherwise proportional to the number of members, because the group may be
    /// assigned anew.
    fn cost_of_heartbeat(&self, beat: &ConsumerHeartbeat) -> usize {
        let request = &beat.request;
        let said = request.topic_partitions.iter().flatten();
        let said = total_cost(said.map(|topic| 1 + topic.partitions.len() / MOVED))
            + request.subscribed_topic_names.as_ref().map_or(0, Vec::len);
        let group = self
            .groups
            .get(&request.group_id)
            .and_then(Group::as_consumer);
        let meets = group.is_some_and(|group| {
            request.member_epoch <= JOIN
                || request.subscribed_topic_names.is_some()
                || group.epoch > group.assignment_epoch
                || group.is_stale
        });
        match group {
            Some(group) if meets => said + 2 * group.members().len() + group.owned_count() / MOVED,
            _ => said + 1,
        }
    }

    fn join(&mut self, now: Moment, ticket: Ticket, join: &Join, out: &mut Output<GroupAnswer>) {
        let request = &join.request;
        let refused = if !is_valid_group(&request.group_id) {
            Some(ErrorCode::InvalidGroupId)
        } else if request.session_timeout_ms < self.settings.session_timeout_ms_min
            || request.session_timeout_ms > self.settings.session_timeout_ms_max
        {
            Some(ErrorCode::InvalidSessionTimeout)
        } else if self
            .consumer(&request.group_id)
            .is_some_and(|group| group.state() != ConsumerState::Empty)
        {
            return self.join_consumer(now, ticket, join, out);
        } else if let Some(error) = self.leave_protocol(&request.group_id, out) {
            Some(error)
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
                .insert(id.clone(), Group::classic(Some(now.wall)));
        }
        self.with(&id, now, out, |scene| {
            if is_new {
                // Cannot fail: the record holds nothing but the group id, whose length has been checked.
                let _ = scene.record_birth();
            }
            scene.join(ticket, join);
        });
    }

    /// Turns a group without members that used another protocol into a classic one. Returns `InconsistentGroupProtocol` if the
    /// group has members.
    fn leave_protocol(
        &mut self,
        id: &ByteString,
        out: &mut Output<GroupAnswer>,
    ) -> Option<ErrorCode> {
        let group = self
            .groups
            .get(id)
            .filter(|group| group.as_classic().is_none())?;
        let Ok(records) = group.tombstones(id) else {
            return Some(ErrorCode::InconsistentGroupProtocol);
        };
        let records: Vec<GroupRecord> = records.into_iter().map(GroupRecord::Modern).collect();
        let refused = self.records(Origin::Plain, &records, out).err();
        refused.map(|_| ErrorCode::UnknownServerError)
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
        } else if self.consumer(&request.group_id).is_some() {
            let answer = self.sync_consumer(now, request, out);
            return out.answer(ticket, GroupAnswer::Sync(answer));
        } else if self.classic(&request.group_id).is_none() {
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
        if self.consumer(&request.group_id).is_some() {
            return self.heartbeat_consumer(now, request, out);
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
        let members = if self.consumer(&request.group_id).is_some() {
            self.leave_consumer(now, request, out)
        } else if self.classic(&request.group_id).is_some() {
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

    /// Whether the group exists or may be created.
    pub(super) fn has_room_for(&self, group: &ByteString) -> bool {
        self.groups.len() < self.settings.groups_max || self.groups.contains_key(group)
    }

    pub(super) fn record(
        &mut self,
        origin: Origin,
        record: GroupRecord,
        out: &mut Output<GroupAnswer>,
    ) -> Result<(), ErrorCode> {
        out.record(record.encode())?;
        self.apply(origin, &record);
        Ok(())
    }

    /// Writes and applies records that belong together: all of them or none.
    pub(super) fn records(
        &mut self,
        origin: Origin,
        records: &[GroupRecord],
        out: &mut Output<GroupAnswer>,
    ) -> Result<(), ErrorCode> {
        out.records(records.iter().map(GroupRecord::encode))?;
        for record in records {
            self.apply(origin, record);
        }
        Ok(())
    }

    #[cfg(test)]
    pub fn group(&self, id: &str) -> Option<&ClassicGroup> {
        self.classic(id)
    }

    #[cfg(test)]
    pub fn groups(&self) -> &BTreeMap<ByteString, Group> {
        &self.groups
    }

    #[cfg(test)]
    pub fn offsets(&self) -> &Offsets {
        &self.offsets
    }
}

/// Bytes whose copying costs as much as the commit of one offset.
const COPIED: usize = 1 << 10;
/// Number of topic look-ups that cost as much as the commit of one offset.
const LOOKED_AT: usize = 4;
/// Number of members moved up, when another one is removed, that costs as much as the commit of one offset.
const MOVED: usize = 16;

fn cost_of_commit(metadata: Option<&str>) -> usize {
    1 + metadata.map_or(0, str::len) / COPIED
}

/// Cost of removing one member of a group with this number of members.
fn cost_of_drop(members: usize) -> usize {
    1 + members / MOVED
}

/// Settings of the consumer protocol in force for a group.
fn intervals(settings: &GroupSettings, image: &Image, group: &str) -> Intervals {
    let own = image.group_overrides(group);
    (settings.consumer).intervals(own, image.cluster_overrides())
}

/// Whether the id is not empty and short enough for a record's key.
fn is_valid_group(id: &str) -> bool {
    !id.is_empty() && is_valid_group_or_empty(id)
}

/// Whether the id is short enough for a record's key. Early clients, without groups, commit offsets under an empty id.
pub(super) fn is_valid_group_or_empty(id: &str) -> bool {
    id.len() <= i16::MAX as usize
}
