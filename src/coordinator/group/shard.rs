//! pure: one partition of `__consumer_offsets`: its groups and their offsets.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytestring::ByteString;

use super::classic::group::{ClassicGroup, State, owned};
use super::classic::rebalance::{GroupTimer, Scene, refused_join, refused_sync};
use super::offsets::Offsets;
use super::record::GroupRecord;
use super::request::{GroupAnswer, GroupRequest, Join};
use super::settings::GroupSettings;
use crate::coordinator::runtime::shard::{
    Condition, Marker, Moment, Origin, Output, RawRecord, RecordError, Shard, Ticket, total_cost,
};
use crate::coordinator::runtime::timer::Timers;
use crate::metadata::image::{Delta, Image};
use crate::wire::codec::EncodeError;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::delete_groups::DeletableGroupResult;
use crate::wire::message::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use crate::wire::message::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberResponse};
use crate::wire::message::sync_group::SyncGroupRequest;

/// The type of group that this coordinator knows, as ListGroups prints it.
pub(super) const CLASSIC: &str = "classic";

/// Groups and offsets of one partition.
#[derive(Clone, Debug)]
pub struct GroupShard {
    pub(super) settings: GroupSettings,
    /// Boxed: a leaf of the map has room for eleven of them.
    pub(super) groups: BTreeMap<ByteString, Box<ClassicGroup>>,
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

    fn on_image(&mut self, _: &Arc<Image>, _: &Delta) {}

    fn condition(request: &GroupRequest) -> Option<Condition> {
        match request {
            GroupRequest::Commit(commit) => commit.transaction.map(|of| {
                Condition::Joins(of.producer_id, of.producer_epoch, of.admission)
            }),
            GroupRequest::EndTransaction(marker, rules) => Some(Condition::Ends(*marker, *rules)),
            _ => None,
        }
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
    pub(super) fn with<T: Default>(
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

/// Ids are non-empty, and short enough for a record's key.
fn is_valid_group(id: &str) -> bool {
    !id.is_empty() && is_valid_group_or_empty(id)
}

/// Before groups had to have a name, offsets were committed for the empty one.
pub(super) fn is_valid_group_or_empty(id: &str) -> bool {
    id.len() <= i16::MAX as usize
}
