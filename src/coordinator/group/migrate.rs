//! pure: changes of a group's protocol while it has members (KIP-848, online migration).
//!
//! The first member of the consumer protocol that joins a classic group turns it into a consumer group. Its classic members
//! stay. They get the assignments of the coordinator's assignor by JoinGroup and SyncGroup, and are told to rejoin whenever
//! their assignment changes. When the last member of the consumer protocol has left, the group becomes a classic group again.
//! `group.consumer.migration.policy` says which of these changes are allowed.

use std::collections::BTreeMap;

use bytes::Bytes;
use bytestring::ByteString;

use super::any::Group;
use super::classic::group::{CONSUMER, ClassicGroup, owned};
use super::classic::rebalance::{GroupTimer, refused_join, refused_sync};
use super::consumer::assignment::{Assignment, Owned};
use super::consumer::group::{
    ConsumerGroup, Member, Profile, current_record, member_record, target_record,
};
use super::consumer::heartbeat::{Refusal, Scene, answered, epoch_record};
use super::consumer::reconcile::{Current, Standing};
use super::metadata_hash::metadata_hash;
use super::record::consumer_group::{
    ClassicMemberMetadata, ClassicProtocol, ConsumerGroupTargetAssignmentMetadataValue,
};
use super::record::group_metadata::{GroupMetadataValue, MemberMetadata};
use super::record::{Entry, GroupRecord, Modern};
use super::request::{ConsumerHeartbeat, GroupAnswer, Join};
use super::shard::GroupShard;
use crate::base::ids::Uuid;
use crate::coordinator::runtime::shard::{Moment, Origin, Output, Shard, Ticket};
use crate::metadata::image::Image;
use crate::wire::codec::{Reader, Writer};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::Message;
use crate::wire::message::consumer_group_heartbeat::ConsumerGroupHeartbeatRequest;
use crate::wire::message::embedded::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, ConsumerTopicPartition,
};
use crate::wire::message::heartbeat::HeartbeatRequest;
use crate::wire::message::join_group::JoinGroupResponse;
use crate::wire::message::leave_group::{LeaveGroupRequest, MemberResponse};
use crate::wire::message::sync_group::{SyncGroupRequest, SyncGroupResponse};

/// Changes of the protocol that are allowed while a group has members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MigrationPolicy {
    pub may_upgrade: bool,
    pub may_downgrade: bool,
}

impl MigrationPolicy {
    /// Parses `group.consumer.migration.policy`.
    pub fn named(name: &str) -> Self {
        let is = |other: &str| name.trim().eq_ignore_ascii_case(other);
        Self {
            may_upgrade: is("upgrade") || is("bidirectional"),
            may_downgrade: is("downgrade") || is("bidirectional"),
        }
    }
}

/// Version and content of a subscription or assignment of the classic protocol. Later versions only add fields, so the newest
/// known version can read them.
fn opened<M: Message>(blob: &Bytes) -> Option<(i16, M)> {
    let mut reader = Reader::new(blob.clone());
    let version = reader.i16().ok().filter(|version| *version >= 0)?;
    let known = version.min(*M::VERSIONS.end());
    Some((version, M::read(&mut reader, known).ok()?))
}

/// Assignment in the format of the classic protocol.
fn blob(assignment: &Assignment, version: i16, image: &Image) -> Bytes {
    let topics = assignment.iter().filter_map(|(id, partitions)| {
        Some(ConsumerTopicPartition {
            topic: image.topics.by_id(id)?.name.as_ref().into(),
            partitions: partitions.to_vec(),
        })
    });
    let assignment = ConsumerProtocolAssignment {
        assigned_partitions: topics.collect(),
        user_data: None,
    };
    let version = version.clamp(0, *ConsumerProtocolAssignment::VERSIONS.end());
    let mut writer = Writer::default();
    writer.i16(version);
    match assignment.write(&mut writer, version) {
        Ok(()) => writer.into_bytes(),
        Err(_) => Bytes::new(),
    }
}

/// Partitions by topic id. Topics that do not exist are left out.
fn by_id(topics: &[ConsumerTopicPartition], image: &Image) -> Assignment {
    Assignment::new(topics.iter().filter_map(|topic| {
        let id = image.topics.by_name(&topic.topic)?.id;
        Some((id, topic.partitions.clone()))
    }))
}

/// Members of a classic group in the form of the consumer protocol: id, profile and assignment. The error says why the group
/// cannot be converted.
fn members_of(
    group: &ClassicGroup,
    image: &Image,
) -> Result<Vec<(ByteString, Profile, Assignment)>, &'static str> {
    if !group.is_consumer() {
        return Err("its members are no consumers");
    }
    let protocol = group.protocol.as_deref().unwrap_or_default();
    let mut members = Vec::new();
    for (id, member) in group.members() {
        let named = member.protocols.iter().find(|(name, _)| name == protocol);
        let first = named.or_else(|| member.protocols.first());
        let blob = first
            .map(|(_, metadata)| metadata)
            .ok_or("a member has no protocol")?;
        let (_, subscription) = opened::<ConsumerProtocolSubscription>(blob)
            .ok_or("the subscription of a member cannot be read")?;
        let assigned = match member.assignment.is_empty() {
            true => Assignment::default(),
            false => {
                let (_, assignment) = opened::<ConsumerProtocolAssignment>(&member.assignment)
                    .ok_or("the assignment of a member cannot be read")?;
                if assignment.user_data.is_some_and(|data| !data.is_empty()) {
                    return Err("its assignor has data of its own in assignments");
                }
                by_id(&assignment.assigned_partitions, image)
            }
        };
        let protocols = member
            .protocols
            .iter()
            .map(|(name, metadata)| ClassicProtocol {
                name: name.clone(),
                metadata: metadata.clone(),
            });
        let profile = Profile {
            instance_id: member.instance_id.clone(),
            rack_id: subscription.rack_id,
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            topics: sorted(subscription.topics),
            regex: None,
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            assignor: None,
            classic: Some(Box::new(ClassicMemberMetadata {
                session_timeout_ms: member.session_timeout_ms,
                supported_protocols: protocols.collect(),
            })),
        };
        members.push((id.clone(), profile, assigned));
    }
    Ok(members)
}

fn sorted(mut topics: Vec<ByteString>) -> Vec<ByteString> {
    topics.sort();
    topics.dedup();
    topics
}

impl GroupShard {
    /// Turns a classic group with members into a group of the consumer protocol.
    pub(super) fn upgrade(
        &mut self,
        now: Moment,
        id: &ByteString,
        out: &mut Output<GroupAnswer>,
    ) -> Result<(), Refusal> {
        let refused = |why: &str| {
            let why = format!("Group {id} is not a consumer group: {why}.");
            Err(Refusal::new(ErrorCode::GroupIdNotFound, why))
        };
        let Some(group) = self.classic(id) else {
            return refused("it is no classic group either");
        };
        let consumer = &self.settings.consumer;
        if !consumer.policy.may_upgrade {
            return refused("group.consumer.migration.policy does not let it become one");
        }
        if group.members().len() > consumer.members_max {
            return refused("it has more members than such a group may have");
        }
        let members = match members_of(group, &self.image) {
            Ok(members) => members,
            Err(why) => return refused(why),
        };
        let epoch = group.generation;
        let none = ByteString::new();
        let mut records = vec![GroupRecord::Group {
            group: id.clone(),
            value: None,
        }];
        let mut put = |record: Modern| records.push(GroupRecord::Modern(record));
        for (member, profile, _) in &members {
            put(member_record(id, member, profile));
        }
        let topics = members
            .iter()
            .flat_map(|(_, profile, _)| profile.topics.clone());
        let topics = sorted(topics.collect());
        put(epoch_record(id, epoch, metadata_hash(&topics, &self.image)));
        for (member, _, assigned) in &members {
            put(target_record(id, member, assigned));
        }
        let value = ConsumerGroupTargetAssignmentMetadataValue {
            assignment_epoch: epoch,
            assignment_timestamp: 0,
        };
        put(Modern::ConsumerTargetEpoch(Entry::new(id, &none, value)));
        for (member, _, assigned) in &members {
            let partitions = assigned
                .iter()
                .map(|(topic, some)| (topic, some.iter().map(|index| (*index, epoch)).collect()));
            let current = Current {
                epoch,
                previous_epoch: epoch,
                standing: Standing::Stable,
                assigned: Owned::new(partitions),
                pending: Owned::default(),
            };
            put(current_record(id, member, &current));
        }
        if out
            .records(records.iter().map(GroupRecord::encode))
            .is_err()
        {
            return refused("it is too large for what one batch may have");
        }
        // Members with waiting requests are told to rejoin, and then join the consumer group.
        self.with(id, now, out, |scene| scene.dissolve());
        for record in &records {
            self.apply(Origin::Plain, record);
        }
        self.with_consumer(id, now, out, |scene| scene.loaded());
        Ok(())
    }

    /// Turns a group that has only classic members left into a classic group.
    pub(super) fn downgrade_if_classic(
        &mut self,
        now: Moment,
        id: &ByteString,
        out: &mut Output<GroupAnswer>,
    ) {
        let Some(group) = self.groups.get(id).and_then(Group::as_consumer) else {
            return;
        };
        let count = group.members().len();
        let may_be = count > 0
            && group.classic_count() == count
            && count <= self.settings.members_max
            && self.settings.consumer.policy.may_downgrade;
        if !may_be {
            return;
        }
        let Some(value) = classic_of(group, now, &self.image) else {
            return;
        };
        let mut records: Vec<GroupRecord> = group
            .tombstones(id)
            .into_iter()
            .map(GroupRecord::Modern)
            .collect();
        records.push(GroupRecord::Group {
            group: id.clone(),
            value: Some(value),
        });
        // If the records do not fit into this batch, the group stays a consumer group until another member leaves.
        if out
            .records(records.iter().map(GroupRecord::encode))
            .is_err()
        {
            return;
        }
        self.with_consumer(id, now, out, |scene| scene.dissolve());
        for record in &records {
            self.apply(Origin::Plain, record);
        }
        self.with(id, now, out, |scene| scene.meet_again());
    }

    /// Handles a JoinGroup to a group of the consumer protocol.
    pub(super) fn join_consumer(
        &mut self,
        now: Moment,
        ticket: Ticket,
        join: &Join,
        out: &mut Output<GroupAnswer>,
    ) {
        let id = owned(&join.request.group_id);
        let result = match self.settings.consumer.policy.may_upgrade
            || self.settings.consumer.policy.may_downgrade
        {
            true => self
                .with_consumer(&id, now, out, |scene| Some(scene.join(join)))
                .unwrap_or(Err((ErrorCode::UnknownMemberId, ByteString::new()))),
            false => Err((
                ErrorCode::InconsistentGroupProtocol,
                join.request.member_id.clone(),
            )),
        };
        let answer = match result {
            Ok(answer) => answer,
            Err((error, member_id)) => refused_join(error, member_id),
        };
        out.answer(ticket, GroupAnswer::Join(answer));
        self.downgrade_if_classic(now, &id, out);
    }

    pub(super) fn sync_consumer(
        &mut self,
        now: Moment,
        request: &SyncGroupRequest,
        out: &mut Output<GroupAnswer>,
    ) -> SyncGroupResponse {
        let answer = self.with_consumer(&request.group_id, now, out, |scene| {
            Some(scene.sync(request))
        });
        let answer = answer.unwrap_or(Err(ErrorCode::UnknownMemberId));
        answer.unwrap_or_else(refused_sync)
    }

    pub(super) fn heartbeat_consumer(
        &mut self,
        now: Moment,
        request: &HeartbeatRequest,
        out: &mut Output<GroupAnswer>,
    ) -> ErrorCode {
        let result = self.with_consumer(&request.group_id, now, out, |scene| {
            Some(scene.classic_heartbeat(request))
        });
        match result {
            Some(Ok(())) => ErrorCode::None,
            Some(Err(error)) => error,
            None => ErrorCode::UnknownMemberId,
        }
    }

    pub(super) fn leave_consumer(
        &mut self,
        now: Moment,
        request: &LeaveGroupRequest,
        out: &mut Output<GroupAnswer>,
    ) -> Vec<MemberResponse> {
        let answers = self.with_consumer(&request.group_id, now, out, |scene| {
            scene.classic_leave(request)
        });
        self.downgrade_if_classic(now, &request.group_id, out);
        answers
    }
}

/// Record of a classic group with the members of a consumer group. `None` if the members have no protocol in common.
fn classic_of(group: &ConsumerGroup, now: Moment, image: &Image) -> Option<GroupMetadataValue> {
    let classic = |member: &Member| member.profile.classic.clone();
    let first = group
        .members()
        .values()
        .next()
        .and_then(|member| classic(member))?;
    let offers = |member: &Member, name: &ByteString| {
        let of = classic(member);
        of.is_some_and(|of| of.supported_protocols.iter().any(|one| one.name == *name))
    };
    let mut names = first.supported_protocols.iter().map(|one| &one.name);
    let protocol =
        names.find(|name| group.members().values().all(|member| offers(member, name)))?;
    let members = group.members().iter().filter_map(|(id, member)| {
        let of = classic(member)?;
        let chosen = of
            .supported_protocols
            .iter()
            .find(|one| one.name == *protocol)?;
        let version = opened::<ConsumerProtocolSubscription>(&chosen.metadata)
            .map_or(0, |(version, _)| version);
        Some(MemberMetadata {
            member_id: id.clone(),
            group_instance_id: member.profile.instance_id.clone(),
            client_id: member.profile.client_id.clone(),
            client_host: member.profile.client_host.clone(),
            rebalance_timeout: member.profile.rebalance_timeout_ms,
            session_timeout: of.session_timeout_ms,
            subscription: chosen.metadata.clone(),
            assignment: blob(&member.current.assigned.plain(), version, image),
        })
    });
    Some(GroupMetadataValue {
        protocol_type: ByteString::from_static(CONSUMER),
        // Epoch of the members that have reached their target assignment.
        generation: group.assignment_epoch,
        protocol: Some(protocol.clone()),
        leader: group.members().keys().next().cloned(),
        current_state_timestamp: now.wall,
        members: members.collect(),
    })
}

impl Scene<'_> {
    /// Cancels all timers of the group, because it becomes a classic group.
    fn dissolve(&mut self) {
        for id in self.group.members().keys().cloned().collect::<Vec<_>>() {
            if let Some(member) = self.group.member_mut(&id) {
                self.timers.call_off(&mut member.session);
            }
            for timer in [
                GroupTimer::Rebalance(self.id.clone(), id.clone()),
                GroupTimer::Rejoin(self.id.clone(), id.clone()),
            ] {
                self.timers.cancel(&timer);
            }
        }
    }

    fn join(&mut self, join: &Join) -> Result<JoinGroupResponse, (ErrorCode, ByteString)> {
        let request = &join.request;
        let refuse = |error: ErrorCode| (error, request.member_id.clone());
        let inconsistent = || refuse(ErrorCode::InconsistentGroupProtocol);
        if request.protocol_type != CONSUMER || !self.supports(join) {
            return Err(inconsistent());
        }
        let (first, blob) = request
            .protocols
            .first()
            .map(|one| (owned(&one.name), one.metadata.clone()))
            .ok_or_else(inconsistent)?;
        let (_, subscription) =
            opened::<ConsumerProtocolSubscription>(&blob).ok_or_else(inconsistent)?;
        let id = if request.member_id.is_empty() {
            let id = ByteString::from(Uuid(join.fresh).to_string());
            if join.member_id_required {
                return Err((ErrorCode::MemberIdRequired, id));
            }
            id
        } else {
            owned(&request.member_id)
        };
        if let Some(instance) = &request.group_instance_id
            && let Some(current) = self.group.static_member(instance)
            && !request.member_id.is_empty()
            && *current != id
        {
            return Err(refuse(ErrorCode::FencedInstanceId));
        }
        let rebalance_timeout_ms = match request.rebalance_timeout_ms {
            ..0 => request.session_timeout_ms,
            given => given,
        };
        let protocols = request.protocols.iter().map(|one| ClassicProtocol {
            name: owned(&one.name),
            metadata: Bytes::copy_from_slice(&one.metadata),
        });
        let had = by_id(&subscription.owned_partitions, self.image);
        let beat = ConsumerHeartbeat {
            request: ConsumerGroupHeartbeatRequest {
                group_id: self.id.clone(),
                member_id: id.clone(),
                member_epoch: 0,
                instance_id: request.group_instance_id.clone(),
                rack_id: subscription.rack_id,
                rebalance_timeout_ms,
                subscribed_topic_names: Some(subscription.topics),
                subscribed_topic_regex: None,
                server_assignor: None,
                topic_partitions: Some(answered(&had)),
            },
            client_id: join.client_id.clone(),
            client_host: join.client_host.clone(),
            names_itself: true,
            regex_fault: None,
            classic: Some(ClassicMemberMetadata {
                session_timeout_ms: request.session_timeout_ms,
                supported_protocols: protocols.collect(),
            }),
        };
        let answer = self.stay(&beat).map_err(|refusal| {
            (
                match refusal.error {
                    ErrorCode::UnreleasedInstanceId => ErrorCode::FencedInstanceId,
                    error => error,
                },
                request.member_id.clone(),
            )
        })?;
        // From the JoinGroup on the member has its rebalance timeout to ask for its assignment.
        self.timers
            .cancel(&GroupTimer::Rejoin(self.id.clone(), id.clone()));
        self.expect_again(&id);
        Ok(JoinGroupResponse {
            generation_id: answer.member_epoch,
            protocol_type: Some(ByteString::from_static(CONSUMER)),
            protocol_name: Some(first),
            member_id: id,
            ..JoinGroupResponse::default()
        })
    }

    /// Whether the joining member supports a protocol that all classic members support.
    fn supports(&self, join: &Join) -> bool {
        let mut protocols = join.request.protocols.iter();
        protocols.any(|one| {
            let mut classic = self
                .group
                .members()
                .values()
                .filter_map(|member| member.profile.classic.as_ref());
            classic.all(|of| {
                of.supported_protocols
                    .iter()
                    .any(|other| other.name == one.name)
            })
        })
    }

    /// Classic member with this member id and instance id.
    ///
    /// Errors: `UnknownMemberId`, `FencedInstanceId`.
    fn classic_member(&self, id: &str, instance: Option<&str>) -> Result<&Member, ErrorCode> {
        if let Some(instance) = instance {
            match self.group.static_member(instance) {
                None => return Err(ErrorCode::UnknownMemberId),
                Some(current) if current != id => return Err(ErrorCode::FencedInstanceId),
                Some(_) => {}
            }
        }
        let member = self.group.member(id).filter(|member| member.is_classic());
        member.ok_or(ErrorCode::UnknownMemberId)
    }

    fn sync(&mut self, request: &SyncGroupRequest) -> Result<SyncGroupResponse, ErrorCode> {
        let id = &request.member_id;
        let member = self.classic_member(id, request.group_instance_id.as_deref())?;
        let current = &member.current;
        if request.generation_id != current.epoch {
            return Err(ErrorCode::IllegalGeneration);
        }
        let protocols = member
            .profile
            .classic
            .iter()
            .flat_map(|of| &of.supported_protocols);
        let first = protocols.into_iter().next().cloned().unwrap_or_default();
        let differs =
            |said: &Option<ByteString>, is: &str| said.as_ref().is_some_and(|said| said != is);
        if differs(&request.protocol_type, CONSUMER) || differs(&request.protocol_name, &first.name)
        {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        if self.group.assignment_epoch > current.epoch && current.standing != Standing::Unrevoked {
            self.expect_again(id);
            return Err(ErrorCode::RebalanceInProgress);
        }
        let version = opened::<ConsumerProtocolSubscription>(&first.metadata)
            .map_or(0, |(version, _)| version);
        let assignment = blob(&current.assigned.plain(), version, self.image);
        self.restart_session(id);
        self.timers
            .cancel(&GroupTimer::Rejoin(self.id.clone(), owned(id)));
        Ok(SyncGroupResponse {
            protocol_type: Some(ByteString::from_static(CONSUMER)),
            protocol_name: Some(first.name),
            assignment,
            ..SyncGroupResponse::default()
        })
    }

    fn classic_heartbeat(&mut self, request: &HeartbeatRequest) -> Result<(), ErrorCode> {
        let id = &request.member_id;
        let member = self.classic_member(id, request.group_instance_id.as_deref())?;
        let current = &member.current;
        if request.generation_id != current.epoch {
            return Err(ErrorCode::IllegalGeneration);
        }
        let waits_in_vain = match current.standing {
            Standing::Unrevoked => true,
            Standing::Unreleased => {
                let target = self.group.target_of(id);
                let mut missing = target.into_iter().flat_map(Assignment::each);
                // Partitions that other members still own are not available yet.
                !missing.any(|(topic, index)| {
                    !current.assigned.contains(topic, index) && self.group.is_taken(topic, index)
                })
            }
            _ => false,
        };
        let must_join = current.epoch < self.group.assignment_epoch || waits_in_vain;
        self.restart_session(id);
        if must_join {
            self.expect_again(id);
            return Err(ErrorCode::RebalanceInProgress);
        }
        Ok(())
    }

    /// Starts the timer of a member that was told to rejoin: it has its rebalance timeout for that.
    fn expect_again(&mut self, id: &str) {
        let key = GroupTimer::Rejoin(self.id.clone(), owned(id));
        let timeout = self
            .group
            .member(id)
            .map_or(0, |member| member.profile.rebalance_timeout_ms);
        if !self.timers.is_set(&key) {
            self.timers
                .set(key, self.now.after(i64::from(timeout.max(0))));
        }
    }

    /// Removes a classic member that has not rejoined in time.
    pub fn rejoin_time_is_up(&mut self, id: &ByteString) {
        if self.group.member(id).is_some_and(Member::is_classic) {
            // If the records do not fit into this batch, the end of its session removes the member.
            let _ = self.remove(std::slice::from_ref(id));
        }
    }

    fn classic_leave(&mut self, request: &LeaveGroupRequest) -> Vec<MemberResponse> {
        let mut results = Vec::with_capacity(request.members.len());
        let mut leaving: BTreeMap<ByteString, ()> = BTreeMap::new();
        for one in &request.members {
            let instance = one.group_instance_id.as_deref();
            let found = match instance {
                // Administrators remove static members by instance id, without a member id.
                Some(instance) if one.member_id.is_empty() => self
                    .group
                    .static_member(instance)
                    .cloned()
                    .ok_or(ErrorCode::UnknownMemberId),
                instance => self
                    .classic_member(&one.member_id, instance)
                    .map(|_| owned(&one.member_id)),
            };
            if let Ok(id) = &found {
                leaving.insert(id.clone(), ());
            }
            results.push(MemberResponse {
                member_id: one.member_id.clone(),
                group_instance_id: one.group_instance_id.clone(),
                error_code: found.err().unwrap_or(ErrorCode::None).code(),
            });
        }
        let ids: Vec<ByteString> = leaving.into_keys().collect();
        if self.remove(&ids).is_err() {
            for one in results.iter_mut().filter(|one| one.error_code == 0) {
                one.error_code = ErrorCode::UnknownServerError.code();
            }
        }
        for id in &ids {
            self.timers
                .cancel(&GroupTimer::Rejoin(self.id.clone(), id.clone()));
        }
        results
    }
}
