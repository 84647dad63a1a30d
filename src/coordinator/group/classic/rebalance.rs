//! pure: state changes of a classic group: joins, leaves, expired sessions and assignments (Kafka: `GroupMetadataManager`,
//! classic part).

use std::collections::BTreeMap;

use bytes::Bytes;
use bytestring::ByteString;

use super::group::{ClassicGroup, InitialDelay, State, newcomer, offered_bytes, owned};
use crate::coordinator::group::record::GroupRecord;
use crate::coordinator::group::record::group_metadata::GroupMetadataValue;
use crate::coordinator::group::request::{GroupAnswer, Join};
use crate::coordinator::group::settings::GroupSettings;
use crate::coordinator::runtime::shard::{Moment, Output, Ticket};
use crate::coordinator::runtime::timer::{PutOff, Timers};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::join_group::JoinGroupResponse;
use crate::wire::message::leave_group::{LeaveGroupRequest, MemberIdentity, MemberResponse};
use crate::wire::message::sync_group::{SyncGroupRequest, SyncGroupResponse};

/// Longest time that a new member waits for the rebalance to complete. A new member cannot send heartbeats, and a client that
/// gives up and retries joins under another id, so the abandoned member must expire.
const NEW_MEMBER_JOIN_MS: i64 = 5 * 60_000;

/// Timers of a group shard.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GroupTimer {
    /// End of the time in which members of the group may join.
    Join(ByteString),
    /// End of the time in which members of the current generation must ask for their assignment.
    Sync(ByteString),
    /// End of the session of a member, or of a pending member id.
    Session(ByteString, ByteString),
    /// End of the time in which a member of the consumer protocol must revoke partitions.
    Rebalance(ByteString, ByteString),
    /// End of the time in which a classic member of a consumer group must join again or ask for its assignment.
    Rejoin(ByteString, ByteString),
    ExpireOffsets,
}

/// One classic group with everything that the handling of one event may use.
pub struct Scene<'a> {
    pub id: &'a ByteString,
    pub group: &'a mut ClassicGroup,
    pub timers: &'a mut Timers<GroupTimer>,
    pub settings: &'a GroupSettings,
    pub now: Moment,
    pub out: &'a mut Output<GroupAnswer>,
}

impl Scene<'_> {
    /// Handles a JoinGroup whose group id and session timeout have been checked.
    pub fn join(&mut self, ticket: Ticket, join: &Join) {
        let member_id = join.request.member_id.clone();
        let refused = if !self.has_room(&member_id) {
            self.cancel_session(&member_id);
            self.timers.cancel(&self.session_of(&member_id));
            self.group.remove(&member_id);
            Some((ErrorCode::GroupMaxSizeReached, ByteString::new()))
        } else if !(self.settings.memory)
            .has_room_for_member(offered_bytes(&join.request.protocols))
        {
            // The client retries, with this broker or with a new coordinator.
            Some((ErrorCode::CoordinatorNotAvailable, member_id.clone()))
        } else if !self
            .group
            .accepts(&join.request.protocol_type, &join.request.protocols)
        {
            Some((ErrorCode::InconsistentGroupProtocol, member_id.clone()))
        } else {
            None
        };
        if let Some((error, member_id)) = refused {
            self.refuse_join(ticket, error, member_id);
        } else if member_id.is_empty() {
            self.join_unnamed(ticket, join);
        } else {
            self.join_named(ticket, join, member_id);
        }
    }

    /// Whether the member fits under `members_max`. While a rebalance is in progress only the members that have joined it are
    /// counted, so that the last ones to join are refused.
    fn has_room(&self, member_id: &str) -> bool {
        let max = self.settings.members_max;
        match self.group.state {
            State::Empty => true,
            State::PreparingRebalance { .. } => {
                let waits = |member: &super::group::Member| member.joining().is_some();
                self.group.member(member_id).is_some_and(waits) || self.group.joining_count() < max
            }
            State::CompletingRebalance | State::Stable => {
                self.group.member(member_id).is_some() || self.group.members().len() < max
            }
        }
    }

    fn join_unnamed(&mut self, ticket: Ticket, join: &Join) {
        let request = &join.request;
        let new_id = match &request.group_instance_id {
            Some(instance) => fresh_id(instance, join.fresh),
            None => fresh_id(&join.client_id, join.fresh),
        };
        if let Some(instance) = &request.group_instance_id {
            if let Some(current) = self.group.static_member(instance).cloned() {
                self.replace_static(ticket, join, &current, new_id);
            } else {
                self.add(ticket, join, new_id);
            }
        } else if join.member_id_required {
            let memory = &self.settings.memory;
            self.group.pending_join.insert(new_id.clone(), memory);
            let at = self.now.after(i64::from(request.session_timeout_ms));
            self.timers.set(self.session_of(&new_id), at);
            self.refuse_join(ticket, ErrorCode::MemberIdRequired, new_id);
        } else {
            self.add(ticket, join, new_id);
        }
    }

    fn join_named(&mut self, ticket: Ticket, join: &Join, member_id: ByteString) {
        let request = &join.request;
        let instance = request.group_instance_id.as_deref();
        if instance.is_none() && self.group.pending_join.contains(&member_id) {
            self.add(ticket, join, owned(&member_id));
            return;
        }
        if let Err(error) = self.group.check_member(&member_id, instance) {
            self.refuse_join(ticket, error, member_id);
            return;
        }
        let same = self
            .group
            .member(&member_id)
            .is_some_and(|member| member.offers(&request.protocols));
        match self.group.state {
            // The answer to the member's JoinGroup was lost: send it again.
            State::CompletingRebalance if same => self.answer_join(ticket, &member_id, false),
            // A follower that joins again with the same protocols changes nothing. The leader joins again in order to assign
            // anew.
            State::Stable if same && !self.group.is_leader(&member_id) => {
                self.answer_join(ticket, &member_id, false);
            }
            State::Empty => self.refuse_join(ticket, ErrorCode::UnknownMemberId, member_id),
            State::PreparingRebalance { .. } | State::CompletingRebalance | State::Stable => {
                self.update(ticket, join, &member_id);
                self.rebalance_or_complete();
            }
        }
    }

    fn add(&mut self, ticket: Ticket, join: &Join, id: ByteString) {
        let request = &join.request;
        // The id is a member's now, so its timer as a pending id is removed.
        self.timers.cancel(&self.session_of(&id));
        let member = newcomer(
            request.group_instance_id.as_ref(),
            &join.client_id,
            &join.client_host,
            rebalance_timeout(join),
            request.session_timeout_ms,
            &request.protocols,
            &self.settings.memory,
        );
        if let State::PreparingRebalance {
            initial: Some(delay),
        } = &mut self.group.state
        {
            delay.member_came = true;
        }
        self.group
            .add(id.clone(), member, &request.protocol_type, ticket);
        self.set_session(&id, NEW_MEMBER_JOIN_MS);
        self.rebalance_or_complete();
    }

    fn update(&mut self, ticket: Ticket, join: &Join, id: &str) {
        self.group.update(
            id,
            &join.request.protocols,
            rebalance_timeout(join),
            join.request.session_timeout_ms,
            &self.settings.memory,
        );
        if let Some(older) = self.group.set_joining(id, Some(ticket)) {
            // Kafka forgets the older request of the same member, because its client has given up on it.
            self.refuse_join(older, ErrorCode::UnknownMemberId, owned(id));
        }
    }

    /// Handles a static member that joins again by its instance id: it replaces its former self under a new member id.
    fn replace_static(&mut self, ticket: Ticket, join: &Join, old: &ByteString, new: ByteString) {
        let leader_before = self.group.leader.clone();
        self.fence(old);
        self.cancel_session(old);
        self.group.rename(old, new.clone());
        self.restart_session(&new);
        let before = self.group.member(&new).cloned();
        self.update(ticket, join, &new);
        let unchanged = self.group.protocol == self.group.elect_protocol();
        if self.group.state != State::Stable || !unchanged {
            self.rebalance_or_complete();
            return;
        }
        // The assignment is still valid, so the other members need no rebalance. The new member id must be recorded.
        let assignments = self.current_assignments();
        self.group.set_joining(&new, None);
        match self.record_group(assignments) {
            Err(error) => {
                if let Some(before) = before {
                    self.group.put_back(&new, before);
                }
                self.cancel_session(&new);
                self.group.rename(&new, old.clone());
                self.restart_session(old);
                self.refuse_join(ticket, error, ByteString::new());
            }
            Ok(()) if join.may_skip_assignment => {
                self.answer_join(ticket, &new, self.group.is_leader(&new));
            }
            Ok(()) => {
                // The response names the former member id as the leader, so that the client does not compute an assignment.
                // Clients before KIP-814 know no other way to be kept from it.
                let mut answer = self.join_answer(&new, false);
                answer.leader = leader_before.unwrap_or_default();
                answer.members.clear();
                self.out.answer(ticket, GroupAnswer::Join(answer));
            }
        }
    }

    /// Refuses the requests that wait under a member id which now belongs to another instance.
    fn fence(&mut self, id: &ByteString) {
        if let Some(waiting) = self.group.set_joining(id, None) {
            self.refuse_join(waiting, ErrorCode::FencedInstanceId, id.clone());
        }
        if let Some(waiting) = self.group.member_mut(id).and_then(|m| m.syncing.take()) {
            self.refuse_sync(waiting, ErrorCode::FencedInstanceId);
        }
    }

    /// Starts a rebalance, or completes the one in progress if all members have joined.
    fn rebalance_or_complete(&mut self) {
        if self.group.state.is_preparing() {
            self.complete_if_all_joined();
        } else {
            self.prepare();
        }
    }

    fn prepare(&mut self) {
        if self.group.state == State::CompletingRebalance {
            for id in self.group.members().keys().cloned().collect::<Vec<_>>() {
                let Some(member) = self.group.member_mut(&id) else {
                    continue;
                };
                member.assignment = Bytes::new();
                if let Some(waiting) = member.syncing.take() {
                    self.refuse_sync(waiting, ErrorCode::RebalanceInProgress);
                    self.restart_session(&id);
                }
            }
        }
        self.timers.cancel(&GroupTimer::Sync(self.id.clone()));
        let was_empty = self.group.state == State::Empty;
        let delay_ms = self.settings.initial_rebalance_delay_ms;
        self.group.state_since = Some(self.now.wall);
        self.group.state = State::PreparingRebalance {
            initial: was_empty.then(|| InitialDelay {
                delay_ms,
                remaining_ms: (self.group.rebalance_timeout_ms().saturating_sub(delay_ms)).max(0),
                member_came: false,
            }),
        };
        if was_empty {
            self.set_join_timer(delay_ms);
        } else if self.group.all_joined() {
            self.complete_join();
        } else {
            self.set_join_timer(self.group.rebalance_timeout_ms());
        }
    }

    /// Completes the rebalance if all members have joined. The first rebalance of a group always waits for its whole delay.
    fn complete_if_all_joined(&mut self) {
        let later = State::PreparingRebalance { initial: None };
        if self.group.state == later && self.group.all_joined() {
            self.complete_join();
        }
    }

    /// Ends the time to join. The first rebalance of a group is delayed further if members joined during the last delay.
    pub fn join_time_is_up(&mut self) {
        let State::PreparingRebalance { initial } = self.group.state else {
            return;
        };
        match initial {
            Some(delay) if delay.member_came && delay.remaining_ms > 0 => {
                let next = InitialDelay {
                    delay_ms: self
                        .settings
                        .initial_rebalance_delay_ms
                        .min(delay.remaining_ms),
                    remaining_ms: (delay.remaining_ms - delay.delay_ms).max(0),
                    member_came: false,
                };
                self.group.state = State::PreparingRebalance {
                    initial: Some(next),
                };
                self.set_join_timer(next.delay_ms);
            }
            _ => self.complete_join(),
        }
    }

    fn complete_join(&mut self) {
        self.timers.cancel(&GroupTimer::Join(self.id.clone()));
        let gone: Vec<ByteString> = self
            .group
            .members()
            .iter()
            .filter(|(_, member)| member.joining().is_none() && member.instance_id.is_none())
            .map(|(id, _)| id.clone())
            .collect();
        for id in gone {
            self.drop_member(&id);
        }
        if !self.group.members().is_empty() && !self.group.elect_leader() {
            // Only static members are left and none of them joined. They stay until their sessions end.
            self.set_join_timer(self.group.rebalance_timeout_ms());
            return;
        }
        self.group.next_generation(self.now.wall);
        if self.group.state == State::Empty {
            // If the group cannot be encoded, the log has never held a record of it, so the failure needs no handling.
            let _ = self.record_group(BTreeMap::new());
            return;
        }
        for id in self.group.members().keys().cloned().collect::<Vec<_>>() {
            if let Some(ticket) = self.group.set_joining(&id, None) {
                self.answer_join(ticket, &id, false);
            }
            if let Some(member) = self.group.member_mut(&id) {
                member.is_new = false;
            }
            self.restart_session(&id);
            self.group.pending_sync.insert(id);
        }
        let at = self.now.after(i64::from(self.group.rebalance_timeout_ms()));
        self.timers.set(GroupTimer::Sync(self.id.clone()), at);
    }

    /// Handles a SyncGroup: a member of the current generation gets its assignment, or waits for the leader's; others get an
    /// error.
    pub fn sync(&mut self, ticket: Ticket, request: &SyncGroupRequest) {
        if let Err(error) = self.check_sync(request) {
            self.refuse_sync(ticket, error);
            return;
        }
        let id = &request.member_id;
        match self.group.state {
            State::Empty => self.refuse_sync(ticket, ErrorCode::UnknownMemberId),
            State::PreparingRebalance { .. } => {
                self.refuse_sync(ticket, ErrorCode::RebalanceInProgress);
            }
            State::CompletingRebalance => {
                self.synced(id);
                let older = self
                    .group
                    .member_mut(id)
                    .and_then(|member| member.syncing.replace(ticket));
                if let Some(older) = older {
                    self.refuse_sync(older, ErrorCode::UnknownMemberId);
                }
                if self.group.is_leader(id) {
                    self.assign(request);
                }
            }
            // A SyncGroup does not extend the session of a member in a stable group, as in Kafka since 4.0.
            State::Stable => {
                self.synced(id);
                self.answer_sync(ticket, id);
            }
        }
    }

    fn check_sync(&self, request: &SyncGroupRequest) -> Result<(), ErrorCode> {
        self.group
            .check_member(&request.member_id, request.group_instance_id.as_deref())?;
        if request.generation_id != self.group.generation {
            return Err(ErrorCode::IllegalGeneration);
        }
        let differs = |said: &Option<ByteString>, is: &Option<ByteString>| {
            said.is_some() && is.is_some() && said != is
        };
        if differs(&request.protocol_type, &self.group.protocol_type)
            || differs(&request.protocol_name, &self.group.protocol)
        {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        Ok(())
    }

    /// Records the assignment of the leader and answers all waiting SyncGroups.
    fn assign(&mut self, request: &SyncGroupRequest) {
        let assignments = request
            .assignments
            .iter()
            .map(|one| {
                (
                    owned(&one.member_id),
                    Bytes::copy_from_slice(&one.assignment),
                )
            })
            .collect();
        let recorded = self.record_group(assignments);
        if recorded.is_ok() {
            self.group.state_since = Some(self.now.wall);
        }
        for id in self.group.members().keys().cloned().collect::<Vec<_>>() {
            let Some(ticket) = self.group.member_mut(&id).and_then(|m| m.syncing.take()) else {
                continue;
            };
            match recorded {
                Ok(()) => self.answer_sync(ticket, &id),
                Err(error) => self.refuse_sync(ticket, error),
            }
            self.restart_session(&id);
        }
        if recorded.is_err() {
            self.rebalance_or_complete();
        }
    }

    fn synced(&mut self, id: &str) {
        self.group.pending_sync.remove(id);
        if self.group.pending_sync.is_empty() {
            self.timers.cancel(&GroupTimer::Sync(self.id.clone()));
        }
    }

    /// Removes the members that joined but have not asked for their assignment in time.
    pub fn sync_time_is_up(&mut self) {
        if !matches!(self.group.state, State::CompletingRebalance | State::Stable) {
            return;
        }
        let silent: Vec<ByteString> = self.group.pending_sync.iter().cloned().collect();
        if silent.is_empty() {
            return;
        }
        for id in silent {
            self.drop_member(&id);
        }
        self.prepare();
    }

    pub fn heartbeat(&mut self, id: &str, instance: Option<&str>, generation: i32) -> ErrorCode {
        if let Err(error) = self.group.check_member(id, instance) {
            return error;
        }
        if generation != self.group.generation {
            return ErrorCode::IllegalGeneration;
        }
        match self.group.state {
            State::Empty => ErrorCode::UnknownMemberId,
            State::PreparingRebalance { .. } => {
                self.restart_session(id);
                ErrorCode::RebalanceInProgress
            }
            // Members may send heartbeats as soon as they have joined.
            State::CompletingRebalance | State::Stable => {
                self.restart_session(id);
                ErrorCode::None
            }
        }
    }

    /// Handles the end of the session of a member or of a pending member id.
    pub fn session_is_over(&mut self, id: &ByteString) {
        if self.group.pending_join.remove(id) {
            self.complete_without_the_silent();
            return;
        }
        let key = self.session_of(id);
        let Some(member) = self.group.member_mut(id) else {
            return;
        };
        if !self.timers.has_come(&mut member.session, || key) {
            if member.session == PutOff::default() {
                self.restart_session(id);
            }
            return;
        }
        // A member with a waiting request is alive. A new member is not spared: its waiting JoinGroup is limited by
        // `NEW_MEMBER_JOIN_MS`.
        let waits = member.joining().is_some() || member.syncing.is_some();
        if waits && !member.is_new {
            return;
        }
        self.drop_member(id);
        if self.group.state.is_preparing() {
            self.complete_without_the_silent();
        } else {
            self.prepare();
        }
    }

    /// Completes the rebalance if the removed member or pending id was the last one missing. This holds even for the first
    /// rebalance of a group.
    fn complete_without_the_silent(&mut self) {
        if self.group.state.is_preparing() && self.group.all_joined() {
            self.complete_join();
        }
    }

    /// Removes the named members. The result holds one response per member.
    pub fn leave(&mut self, request: &LeaveGroupRequest) -> Vec<MemberResponse> {
        let mut left = false;
        let mut answers = Vec::with_capacity(request.members.len());
        for member in &request.members {
            let result = self.leave_one(member);
            left |= result.is_ok();
            answers.push(MemberResponse {
                member_id: member.member_id.clone(),
                group_instance_id: member.group_instance_id.clone(),
                error_code: result.err().unwrap_or(ErrorCode::None).code(),
            });
        }
        if left && self.group.state != State::Empty {
            self.rebalance_or_complete();
        }
        answers
    }

    fn leave_one(&mut self, leaver: &MemberIdentity) -> Result<(), ErrorCode> {
        let id = if leaver.member_id.is_empty() {
            // An administrator removes a static member without knowing its id.
            let instance = leaver.group_instance_id.as_deref().unwrap_or_default();
            self.group
                .static_member(instance)
                .cloned()
                .ok_or(ErrorCode::UnknownMemberId)?
        } else if self.group.pending_join.remove(&leaver.member_id) {
            self.timers.cancel(&self.session_of(&leaver.member_id));
            return Ok(());
        } else {
            self.group
                .check_member(&leaver.member_id, leaver.group_instance_id.as_deref())?;
            leaver.member_id.clone()
        };
        self.drop_member(&id);
        Ok(())
    }

    /// Called after loading: restarts all sessions, and starts a rebalance if the group has more members than are allowed.
    pub fn loaded(&mut self) {
        self.restart_sessions();
        if self.group.members().len() > self.settings.members_max {
            self.prepare();
        }
    }

    /// Called when the group changes to the consumer protocol: refuses all waiting requests and cancels all timers of the
    /// group.
    pub fn dissolve(&mut self) {
        for id in self.group.members().keys().cloned().collect::<Vec<_>>() {
            if let Some(waiting) = self.group.set_joining(&id, None) {
                self.refuse_join(waiting, ErrorCode::RebalanceInProgress, id.clone());
            }
            if let Some(waiting) = self.group.member_mut(&id).and_then(|m| m.syncing.take()) {
                self.refuse_sync(waiting, ErrorCode::RebalanceInProgress);
            }
            self.cancel_session(&id);
        }
        for id in self.group.pending_join.iter() {
            self.timers.cancel(&self.session_of(id));
        }
        self.timers.cancel(&GroupTimer::Join(self.id.clone()));
        self.timers.cancel(&GroupTimer::Sync(self.id.clone()));
    }

    /// Called when the group has changed from the consumer protocol: starts a rebalance of its members.
    pub fn meet_again(&mut self) {
        self.restart_sessions();
        self.prepare();
    }

    pub fn restart_session(&mut self, id: &str) {
        if let Some(member) = self.group.member(id) {
            let after = i64::from(member.session_timeout_ms);
            self.set_session(id, after);
        }
    }

    /// Records the group with the given assignments and applies the record at once.
    fn record_group(&mut self, assignments: BTreeMap<ByteString, Bytes>) -> Result<(), ErrorCode> {
        let value = self.group.record(assignments);
        self.record_value(value)
    }

    /// Records a new, empty group, so that it exists after a restart.
    pub fn record_birth(&mut self) -> Result<(), ErrorCode> {
        self.record_value(GroupMetadataValue {
            current_state_timestamp: self.now.wall,
            ..GroupMetadataValue::default()
        })
    }

    fn record_value(&mut self, value: GroupMetadataValue) -> Result<(), ErrorCode> {
        let record = GroupRecord::Group {
            group: self.id.clone(),
            value: Some(value),
        };
        // Kafka differs: it appends the record and learns from the failure. Here the size is checked before.
        self.out
            .record(record.encode())
            .map_err(|_| ErrorCode::UnknownServerError)?;
        if let GroupRecord::Group {
            value: Some(value), ..
        } = &record
        {
            self.group.apply(value, &self.settings.memory);
        }
        Ok(())
    }

    fn current_assignments(&self) -> BTreeMap<ByteString, Bytes> {
        self.group
            .members()
            .iter()
            .map(|(id, member)| (id.clone(), member.assignment.clone()))
            .collect()
    }

    /// Removes a member and refuses its waiting requests.
    fn drop_member(&mut self, id: &ByteString) {
        self.cancel_session(id);
        if let Some(member) = self.group.remove(id) {
            if let Some(ticket) = member.joining() {
                self.refuse_join(ticket, ErrorCode::UnknownMemberId, ByteString::new());
            }
            if let Some(ticket) = member.syncing {
                self.refuse_sync(ticket, ErrorCode::UnknownMemberId);
            }
        }
    }

    fn restart_sessions(&mut self) {
        for id in self.group.members().keys().cloned().collect::<Vec<_>>() {
            self.restart_session(&id);
        }
    }

    /// Sets the session deadline of a member. The ids are copied only when a timer entry is made, not with every heartbeat.
    fn set_session(&mut self, id: &str, after_ms: i64) {
        let at = self.now.after(after_ms);
        if let Some(member) = self.group.member_mut(id) {
            let key = || GroupTimer::Session(self.id.clone(), owned(id));
            self.timers.put_off(&mut member.session, at, key);
        }
    }

    /// Cancels the session deadline of a member.
    fn cancel_session(&mut self, id: &str) {
        if let Some(member) = self.group.member_mut(id) {
            self.timers.call_off(&mut member.session);
        }
    }

    fn session_of(&self, id: &str) -> GroupTimer {
        GroupTimer::Session(self.id.clone(), owned(id))
    }

    fn set_join_timer(&mut self, after_ms: i32) {
        let at = self.now.after(i64::from(after_ms.max(0)));
        self.timers.set(GroupTimer::Join(self.id.clone()), at);
    }

    fn join_answer(&self, id: &str, skip_assignment: bool) -> JoinGroupResponse {
        JoinGroupResponse {
            generation_id: self.group.generation,
            protocol_type: self.group.protocol_type.clone(),
            protocol_name: Some(self.group.protocol.clone().unwrap_or_default()),
            leader: self.group.leader.clone().unwrap_or_default(),
            skip_assignment,
            member_id: owned(id),
            members: if self.group.is_leader(id) {
                self.group.for_leader()
            } else {
                Vec::new()
            },
            ..JoinGroupResponse::default()
        }
    }

    fn answer_join(&mut self, ticket: Ticket, id: &str, skip_assignment: bool) {
        let answer = self.join_answer(id, skip_assignment);
        self.out.answer(ticket, GroupAnswer::Join(answer));
    }

    fn refuse_join(&mut self, ticket: Ticket, error: ErrorCode, member_id: ByteString) {
        self.out
            .answer(ticket, GroupAnswer::Join(refused_join(error, member_id)));
    }

    fn answer_sync(&mut self, ticket: Ticket, id: &str) {
        let assignment = self
            .group
            .member(id)
            .map(|member| member.assignment.clone())
            .unwrap_or_default();
        self.out.answer(
            ticket,
            GroupAnswer::Sync(SyncGroupResponse {
                protocol_type: self.group.protocol_type.clone(),
                protocol_name: self.group.protocol.clone(),
                assignment,
                ..SyncGroupResponse::default()
            }),
        );
    }

    fn refuse_sync(&mut self, ticket: Ticket, error: ErrorCode) {
        self.out
            .answer(ticket, GroupAnswer::Sync(refused_sync(error)));
    }
}

/// JoinGroup response with an error.
pub fn refused_join(error: ErrorCode, member_id: ByteString) -> JoinGroupResponse {
    JoinGroupResponse {
        error_code: error.code(),
        member_id,
        protocol_name: None,
        ..JoinGroupResponse::default()
    }
}

/// SyncGroup response with an error.
pub fn refused_sync(error: ErrorCode) -> SyncGroupResponse {
    SyncGroupResponse {
        error_code: error.code(),
        ..SyncGroupResponse::default()
    }
}

/// Rebalance timeout of a JoinGroup. Version 0 has only the session timeout, which then serves as both.
fn rebalance_timeout(join: &Join) -> i32 {
    if join.request.rebalance_timeout_ms < 0 {
        join.request.session_timeout_ms
    } else {
        join.request.rebalance_timeout_ms
    }
}

/// `prefix`, a hyphen and a random (version 4) UUID in its usual text form.
fn fresh_id(prefix: &str, mut random: [u8; 16]) -> ByteString {
    random[6] = (random[6] & 0x0f) | 0x40;
    random[8] = (random[8] & 0x3f) | 0x80;
    let hex = |range: std::ops::Range<usize>| -> String {
        random[range]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    };
    ByteString::from(format!(
        "{prefix}-{}-{}-{}-{}-{}",
        hex(0..4),
        hex(4..6),
        hex(6..8),
        hex(8..10),
        hex(10..16)
    ))
}
