//! pure: handling of ConsumerGroupHeartbeat (Kafka: `GroupMetadataManager.consumerGroupHeartbeat`).
//!
//! A heartbeat is first evaluated without changing the group: its changes are collected as records. The batch takes all of
//! these records or none, and only then they are applied. A heartbeat whose records do not fit into the batch changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytestring::ByteString;

use super::assignment::Assignment;
use super::group::{
    ConsumerGroup, JOIN, LEAVE, LEAVE_FOR_NOW, Member, Profile, current_record, gone,
    member_record, target_record,
};
use super::reconcile::{Circumstances, Current, Standing};
use crate::base::ids::Uuid;
use crate::coordinator::group::assignor::{Assignor, MemberSpec, Spec, TopicSpec};
use crate::coordinator::group::classic::group::owned;
use crate::coordinator::group::classic::rebalance::GroupTimer;
use crate::coordinator::group::metadata_hash::metadata_hash;
use crate::coordinator::group::record::consumer_group::{
    ConsumerGroupMetadataValue, ConsumerGroupRegularExpressionValue,
    ConsumerGroupTargetAssignmentMetadataValue,
};
use crate::coordinator::group::record::{Entry, GroupRecord, Modern};
use crate::coordinator::group::request::{ConsumerHeartbeat, GroupAnswer, RegexErrand};
use crate::coordinator::group::settings::{GroupSettings, Intervals, MEMBER_BYTES};
use crate::coordinator::runtime::shard::{Moment, Output, Ticket};
use crate::coordinator::runtime::timer::{PutOff, Timers};
use crate::metadata::image::Image;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::consumer_group_heartbeat::{
    Assignment as AnsweredAssignment, ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse, TopicPartitions,
};

/// Error of a refused heartbeat, with a message for the client's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub error: ErrorCode,
    pub message: String,
}

impl Refusal {
    pub fn new(error: ErrorCode, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { error, message }
    }

    pub fn answer(self) -> ConsumerGroupHeartbeatResponse {
        ConsumerGroupHeartbeatResponse {
            error_code: self.error.code(),
            error_message: Some(self.message.into()),
            ..ConsumerGroupHeartbeatResponse::default()
        }
    }
}

/// Checks of a heartbeat that do not depend on the state of the group.
pub fn check(beat: &ConsumerHeartbeat, settings: &GroupSettings) -> Result<(), Refusal> {
    let request = &beat.request;
    let invalid = |why: &str| Err(Refusal::new(ErrorCode::InvalidRequest, why));
    let blank = |text: &str| text.trim().is_empty();
    let epoch = request.member_epoch;
    if (beat.names_itself || epoch > JOIN || epoch == LEAVE) && blank(&request.member_id) {
        return invalid("MemberId can't be empty.");
    }
    if blank(&request.group_id) {
        return invalid("GroupId can't be empty.");
    }
    if request.instance_id.as_deref().is_some_and(blank) {
        return invalid("InstanceId can't be empty.");
    }
    if request.rack_id.as_deref().is_some_and(blank) {
        return invalid("RackId can't be empty.");
    }
    match epoch {
        JOIN => {
            if request.rebalance_timeout_ms == -1 {
                return invalid("RebalanceTimeoutMs must be provided in first request.");
            }
            if request
                .topic_partitions
                .as_ref()
                .is_none_or(|some| !some.is_empty())
            {
                return invalid("TopicPartitions must be empty when (re-)joining.");
            }
            if request.subscribed_topic_names.is_none() && request.subscribed_topic_regex.is_none()
            {
                return invalid(
                    "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.",
                );
            }
        }
        LEAVE_FOR_NOW if request.instance_id.is_none() => {
            return invalid("InstanceId can't be null.");
        }
        ..LEAVE_FOR_NOW => return invalid("MemberEpoch is invalid."),
        _ => {}
    }
    // Ids become part of a record's key, whose strings hold at most 32767 bytes.
    let too_long = |text: &str| text.len() > i16::MAX as usize;
    if too_long(&request.group_id) || too_long(&request.member_id) {
        return invalid("GroupId and MemberId can't be longer than 32767 bytes.");
    }
    if let Some(named) = &request.server_assignor {
        let mut served = settings.consumer.assignors.iter();
        if !served.any(|one| named == one.name()) {
            let names: Vec<_> = settings
                .consumer
                .assignors
                .iter()
                .map(|one| one.name())
                .collect();
            let why = format!(
                "ServerAssignor {named} is not supported. Supported assignors: {}.",
                names.join(", ")
            );
            return Err(Refusal::new(ErrorCode::UnsupportedAssignor, why));
        }
    }
    Ok(())
}

/// One consumer group with everything that the handling of one event may use.
pub struct Scene<'a> {
    pub id: &'a ByteString,
    pub group: &'a mut ConsumerGroup,
    pub image: &'a Arc<Image>,
    pub settings: &'a GroupSettings,
    /// Settings in force for the group.
    pub intervals: Intervals,
    pub timers: &'a mut Timers<GroupTimer>,
    pub now: Moment,
    pub out: &'a mut Output<GroupAnswer>,
}

/// Member that sends a heartbeat.
struct Sender {
    /// Member before the heartbeat; the default for a new member.
    before: Member,
    is_new: bool,
    /// Former member id of a static member that has returned.
    replaces: Option<ByteString>,
}

/// State of the group and of the sender as changed by a heartbeat.
struct Draft {
    profile: Profile,
    epoch: i32,
    hash: i64,
    assignment_epoch: i32,
    assigned_at: i64,
    target: Assignment,
}

impl Scene<'_> {
    /// Handles a heartbeat that has passed [`check`].
    pub fn heartbeat(
        &mut self,
        beat: &ConsumerHeartbeat,
    ) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
        match beat.request.member_epoch {
            LEAVE | LEAVE_FOR_NOW => self.leave(&beat.request),
            _ if self.is_steady(beat) => {
                self.restart_session(&beat.request.member_id);
                Ok(self.answer(&beat.request.member_id, beat.request.member_epoch))
            }
            _ => self.stay(beat),
        }
    }

    /// Whether the heartbeat changes nothing but the session, and its response carries no news.
    fn is_steady(&self, beat: &ConsumerHeartbeat) -> bool {
        let request = &beat.request;
        let Some(member) = self.group.member(&request.member_id) else {
            return false;
        };
        let profile = &member.profile;
        let same =
            |said: &Option<ByteString>, known: &Option<ByteString>| said.is_none() || said == known;
        request.member_epoch == member.current.epoch
            && member.current.epoch == self.group.assignment_epoch
            && member.current.standing == Standing::Stable
            && self.group.epoch == self.group.assignment_epoch
            && !self.group.is_stale
            && self.group.patterns().is_empty()
            && request.subscribed_topic_names.is_none()
            && request.subscribed_topic_regex.is_none()
            && request.server_assignor.is_none()
            && request.rebalance_timeout_ms == -1
            && request.instance_id == profile.instance_id
            && same(&request.rack_id, &profile.rack_id)
            && beat.client_id == profile.client_id
            && beat.client_host == profile.client_host
            && !member.is_classic()
    }

    /// Handles a heartbeat of a member that joins or stays, or a JoinGroup converted to one.
    pub fn stay(
        &mut self,
        beat: &ConsumerHeartbeat,
    ) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
        let request = &beat.request;
        let sender = self.sender(request, beat.classic.is_some())?;
        let id = owned(&request.member_id);
        let mut records = Vec::new();
        if let Some(former) = &sender.replaces {
            records.extend(gone(self.id, former));
        }

        let before = &sender.before;
        let profile = updated(&before.profile, beat);
        let names_changed = profile.topics != before.profile.topics;
        let regex_changed = profile.regex() != before.profile.regex();
        let bytes: usize = profile.topics.iter().map(|name| name.len()).sum();
        if sender.is_new && !(self.settings.memory).has_room_for_member(MEMBER_BYTES + bytes) {
            // The client retries.
            let why = "The members of all groups take all the memory that they may.";
            return Err(Refusal::new(ErrorCode::CoordinatorNotAvailable, why));
        }
        if regex_changed {
            self.check_regex(&profile, beat)?;
        }
        let target = self.target_before(&id, &sender);
        if sender.replaces.is_some() {
            records.push(member_record(self.id, &id, &before.profile));
            records.push(target_record(self.id, &id, &target));
            records.push(current_record(self.id, &id, &before.current));
        }
        if sender.is_new || profile != before.profile {
            records.push(member_record(self.id, &id, &profile));
        }
        let mut draft = Draft {
            epoch: self.group.epoch,
            hash: self.group.metadata_hash,
            assignment_epoch: self.group.assignment_epoch,
            assigned_at: self.group.assigned_at,
            target,
            profile,
        };
        if regex_changed {
            records.extend(self.regex_without_members(&before.profile, Some(&draft.profile)));
        }
        self.look_at_topics(
            &mut draft,
            &sender,
            names_changed,
            regex_changed,
            &mut records,
        );
        self.assign(&mut draft, &id, &sender, &mut records);

        let said = request.topic_partitions.as_deref().map(said);
        let is_resubscribed = names_changed || regex_changed;
        let next = self.reconcile(&draft, before, is_resubscribed, said.as_ref())?;
        let was_given_something_else = !next.assigned.has_same_partitions(&before.current.assigned);
        let is_changed = next != before.current;
        if sender.is_new || is_changed {
            records.push(current_record(self.id, &id, &next));
        }
        self.write(records)?;

        self.group.is_stale = false;
        if let Some(former) = &sender.replaces {
            self.timers
                .cancel(&GroupTimer::Rebalance(self.id.clone(), former.clone()));
            let mut session = before.session;
            self.timers.call_off(&mut session);
        }
        if is_changed {
            self.set_rebalance_timer(&id);
        }
        self.restart_session(&id);
        self.look_for_expressions();

        let is_full = request.rebalance_timeout_ms != -1
            && (request.subscribed_topic_names.is_some()
                || request.subscribed_topic_regex.is_some())
            && request.topic_partitions.is_some();
        let mut answer = self.answer(&id, next.epoch);
        if request.member_epoch == JOIN || is_full || was_given_something_else {
            answer.assignment = Some(AnsweredAssignment {
                topic_partitions: answered(&next.assigned.plain()),
            });
        }
        Ok(answer)
    }

    /// Finds the sender of a heartbeat and checks whether it may send it.
    fn sender(
        &self,
        request: &ConsumerGroupHeartbeatRequest,
        is_classic: bool,
    ) -> Result<Sender, Refusal> {
        let id = &request.member_id;
        let joins = request.member_epoch == JOIN;
        let known = self.group.member(id);
        if let Some(instance) = &request.instance_id {
            match self.group.static_member(instance) {
                None if joins => {}
                None => {
                    let why = format!("Instance id {instance} is unknown.");
                    return Err(Refusal::new(ErrorCode::UnknownMemberId, why));
                }
                // A classic member sends a JoinGroup in every rebalance, so a join by the current member is no replacement.
                Some(current) if joins && !(is_classic && current == id) => {
                    let member = self.group.member(current).cloned().unwrap_or_default();
                    let is_held = member.current.epoch != LEAVE_FOR_NOW;
                    if is_held && !member.is_classic() && !is_classic {
                        let why = format!(
                            "Static member {id} with instance id {instance} cannot join the group because the instance id is owned by member {current}."
                        );
                        return Err(Refusal::new(ErrorCode::UnreleasedInstanceId, why));
                    }
                    let mut before = member;
                    before.current.epoch = match is_classic {
                        true => self.group.assignment_epoch,
                        false => JOIN,
                    };
                    before.current.previous_epoch = JOIN;
                    return Ok(Sender {
                        before,
                        is_new: false,
                        replaces: Some(current.clone()),
                    });
                }
                Some(current) if current != id => {
                    let why = format!(
                        "Static member {id} with instance id {instance} was fenced by member {current}."
                    );
                    return Err(Refusal::new(ErrorCode::FencedInstanceId, why));
                }
                Some(_) => {}
            }
        }
        match known {
            Some(member) => {
                check_epoch(member, request)?;
                Ok(Sender {
                    before: member.clone(),
                    is_new: false,
                    replaces: None,
                })
            }
            None if !joins => {
                let why = format!("Member {id} is not a member of group {}.", self.id);
                Err(Refusal::new(ErrorCode::UnknownMemberId, why))
            }
            None if self.group.members().len() >= self.settings.consumer.members_max => {
                let max = self.settings.consumer.members_max;
                let why = format!(
                    "The consumer group has reached its maximum capacity of {max} members."
                );
                Err(Refusal::new(ErrorCode::GroupMaxSizeReached, why))
            }
            None => {
                let mut before = Member::default();
                // A new member starts with an empty assignment in epoch 0. The default of `Member` stands for a missing record.
                before.current = Current::default();
                Ok(Sender {
                    before,
                    is_new: true,
                    replaces: None,
                })
            }
        }
    }

    /// Checks the regular expression of a member. An expression that another member of the group has already is accepted.
    fn check_regex(&self, profile: &Profile, beat: &ConsumerHeartbeat) -> Result<(), Refusal> {
        let Some(pattern) = profile.regex() else {
            return Ok(());
        };
        match &beat.regex_fault {
            Some(fault) if !self.group.patterns().contains_key(pattern) => {
                let why = format!(
                    "SubscribedTopicRegex `{pattern}` is not a valid regular expression: {fault}."
                );
                Err(Refusal::new(ErrorCode::InvalidRegularExpression, why))
            }
            _ => Ok(()),
        }
    }

    fn target_before(&self, id: &ByteString, sender: &Sender) -> Assignment {
        let of = sender.replaces.as_ref().unwrap_or(id);
        self.group.target_of(of).cloned().unwrap_or_default()
    }

    /// Tombstone of a member's former regular expression, if no member has it any more.
    fn regex_without_members(&self, before: &Profile, after: Option<&Profile>) -> Option<Modern> {
        let pattern = before.regex()?;
        let stays = after.and_then(Profile::regex) == Some(pattern);
        let others = self.group.patterns().get(pattern).copied().unwrap_or(0) > 1;
        let is_known = self.group.resolved(pattern).is_some();
        (!stays && !others && is_known)
            .then(|| Modern::ConsumerRegex(Entry::gone(self.id, pattern)))
    }

    /// Topics of all members, with the profile `before` of one member replaced by `after`.
    fn topics<'a>(
        &'a self,
        before: Option<&'a Profile>,
        after: Option<&'a Profile>,
    ) -> BTreeSet<&'a ByteString> {
        let gone = |counts: &BTreeMap<ByteString, usize>, name: &ByteString, had: bool| {
            had && counts.get(name) == Some(&1)
        };
        let named = self.group.named().keys().filter(|name| {
            let had = before.is_some_and(|of| of.topics.binary_search(name).is_ok());
            !gone(self.group.named(), name, had)
        });
        let patterns = self.group.patterns().keys().filter(|pattern| {
            let had = before.and_then(Profile::regex) == Some(pattern);
            !gone(self.group.patterns(), pattern, had)
        });
        let mut topics: BTreeSet<&ByteString> = named.collect();
        for resolved in patterns.filter_map(|pattern| self.group.resolved(pattern)) {
            topics.extend(&resolved.topics);
        }
        topics.extend(after.into_iter().flat_map(|of| self.group.topics_of(of)));
        topics
    }

    /// Increases the group epoch if subscriptions have changed, or the metadata of subscribed topics.
    fn look_at_topics(
        &self,
        draft: &mut Draft,
        sender: &Sender,
        names_changed: bool,
        regex_changed: bool,
        records: &mut Vec<Modern>,
    ) {
        // The topics of a new regular expression are not known yet. The epoch increases when they are.
        let is_known = |pattern: &ByteString| self.group.resolved(pattern).is_some();
        let must_bump =
            names_changed || regex_changed && draft.profile.regex().is_none_or(is_known);
        if !must_bump && !self.group.is_stale {
            return;
        }
        let before = (!sender.is_new).then_some(&sender.before.profile);
        let topics = self.topics(before, Some(&draft.profile));
        let hash = metadata_hash(topics, self.image);
        if must_bump || hash != self.group.metadata_hash {
            draft.hash = hash;
            draft.epoch = self.group.epoch.saturating_add(1);
            records.push(epoch_record(self.id, draft.epoch, hash));
        }
        if self.group.has_partitions_record {
            records.push(Modern::ConsumerPartitions(Entry::gone(
                self.id,
                &ByteString::new(),
            )));
        }
    }

    /// Computes a new target assignment if the group epoch has increased and the minimum interval between two assignments has
    /// passed.
    fn assign(
        &self,
        draft: &mut Draft,
        id: &ByteString,
        sender: &Sender,
        records: &mut Vec<Modern>,
    ) {
        let since = self.now.wall.saturating_sub(draft.assigned_at);
        let may_be = draft.assigned_at == 0
            || !(0..i64::from(self.intervals.assignment_ms)).contains(&since);
        if draft.epoch <= draft.assignment_epoch || !may_be {
            return;
        }
        let mut members: Vec<(&ByteString, &Profile, Option<&Assignment>)> = self
            .group
            .members()
            .iter()
            .filter(|(of, _)| *of != id && Some(*of) != sender.replaces.as_ref())
            .map(|(of, member)| (of, &member.profile, self.group.target_of(of)))
            .collect();
        let target = draft.target.clone();
        members.push((id, &draft.profile, Some(&target)));
        members.sort_by_key(|(of, ..)| *of);
        let assigned = self
            .assignor(members.iter().map(|(_, profile, _)| *profile))
            .assign(&self.spec(&members));
        for ((of, _, before), now) in members.iter().zip(assigned) {
            let known =
                *of != id || sender.replaces.is_some() || self.group.target_of(id).is_some();
            if before.is_none_or(|before| *before != now) || !known {
                records.push(target_record(self.id, of, &now));
            }
            if *of == id {
                draft.target = now;
            }
        }
        draft.assignment_epoch = draft.epoch;
        draft.assigned_at = self.now.wall;
        let value = ConsumerGroupTargetAssignmentMetadataValue {
            assignment_epoch: draft.epoch,
            assignment_timestamp: self.now.wall,
        };
        let entry = Entry::new(self.id, &ByteString::new(), value);
        records.push(Modern::ConsumerTargetEpoch(entry));
    }

    fn spec<'a>(
        &'a self,
        members: &[(&'a ByteString, &'a Profile, Option<&'a Assignment>)],
    ) -> Spec<'a> {
        let mut names: BTreeMap<&ByteString, Option<Uuid>> = BTreeMap::new();
        let mut topics: BTreeMap<Uuid, TopicSpec> = BTreeMap::new();
        for (_, profile, _) in members {
            for name in self.group.topics_of(profile) {
                names.entry(name).or_insert_with(|| {
                    let topic = self.image.topics.by_name(name)?;
                    let partitions = topic.partitions.len() as i32;
                    topics.insert(
                        topic.id,
                        TopicSpec {
                            id: topic.id,
                            partitions,
                        },
                    );
                    Some(topic.id)
                });
            }
        }
        let topics: Vec<TopicSpec> = topics.into_values().collect();
        let place = |id: Uuid| topics.binary_search_by_key(&id, |topic| topic.id).ok();
        let places: BTreeMap<&ByteString, u32> = names
            .into_iter()
            .filter_map(|(name, id)| Some((name, place(id?)? as u32)))
            .collect();
        let members = members.iter().map(|(id, profile, target)| {
            let named = self
                .group
                .topics_of(profile)
                .filter_map(|name| places.get(name));
            let mut topics: Vec<u32> = named.copied().collect();
            topics.sort_unstable();
            topics.dedup();
            MemberSpec {
                id,
                instance_id: profile.instance_id.as_deref(),
                topics,
                target: *target,
            }
        });
        Spec {
            members: members.collect(),
            topics,
        }
    }

    /// Assignor that most members name. In case of a tie, or if no member names one, the first one in the settings.
    fn assignor<'a>(&self, profiles: impl Iterator<Item = &'a Profile>) -> Assignor {
        let served = &self.settings.consumer.assignors;
        let mut votes = vec![0usize; served.len()];
        for named in profiles.filter_map(|profile| profile.assignor.as_deref()) {
            let place = served.iter().position(|one| one.name() == named);
            if let Some(count) = place.and_then(|place| votes.get_mut(place)) {
                *count += 1;
            }
        }
        let most = votes.iter().copied().max().unwrap_or(0);
        let first = votes.iter().position(|count| *count == most);
        let chosen = first.and_then(|place| served.get(place));
        chosen.copied().unwrap_or(Assignor::Uniform)
    }

    /// Name of the assignor in use.
    pub fn assignor_name(&self) -> &'static str {
        let members = self.group.members().values();
        self.assignor(members.map(|member| &member.profile)).name()
    }

    fn reconcile(
        &self,
        draft: &Draft,
        before: &Member,
        is_resubscribed: bool,
        owned: Option<&Assignment>,
    ) -> Result<Current, Refusal> {
        let topics = self.group.topics_of(&draft.profile);
        let topics: BTreeSet<&str> = topics.map(|name| &**name).collect();
        let subscribes = |id: Uuid| {
            let topic = self.image.topics.by_id(id);
            topic.is_some_and(|topic| topics.contains(&*topic.name))
        };
        let around = Circumstances {
            target_epoch: draft.assignment_epoch,
            target: &draft.target,
            is_resubscribed,
            subscribes: &subscribes,
            owned,
            is_taken: &|topic, index| self.group.is_taken(topic, index),
        };
        before.current.next(&around).map_err(|_| {
            let why = "The consumer group member is in a unknown state. The member must abandon all its partitions and rejoin.";
            Refusal::new(ErrorCode::FencedMemberEpoch, why)
        })
    }

    fn leave(
        &mut self,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
        let id = &request.member_id;
        let unknown = |why: String| Refusal::new(ErrorCode::UnknownMemberId, why);
        if let Some(instance) = &request.instance_id {
            match self.group.static_member(instance) {
                None => return Err(unknown(format!("Instance id {instance} is unknown."))),
                Some(current) if current != id => {
                    let why = format!(
                        "Static member {id} with instance id {instance} was fenced by member {current}."
                    );
                    return Err(Refusal::new(ErrorCode::FencedInstanceId, why));
                }
                Some(_) => {}
            }
        }
        let Some(member) = self.group.member(id) else {
            let why = format!("Member {id} is not a member of group {}.", self.id);
            return Err(unknown(why));
        };
        if request.member_epoch == LEAVE_FOR_NOW {
            // The member keeps its partitions until its session ends. The epochs in which they were assigned do not apply to
            // its next incarnation, so they are set to 0.
            let again = |of: &super::assignment::Owned| {
                super::assignment::Owned::new(of.iter().map(|(topic, some)| {
                    (topic, some.iter().map(|(index, _)| (*index, 0)).collect())
                }))
            };
            let current = Current {
                epoch: LEAVE_FOR_NOW,
                assigned: again(&member.current.assigned),
                pending: again(&member.current.pending),
                ..member.current.clone()
            };
            let record = current_record(self.id, &owned(id), &current);
            self.write(vec![record])?;
        } else {
            self.remove(&[owned(id)])?;
        }
        Ok(ConsumerGroupHeartbeatResponse {
            member_id: Some(id.clone()),
            member_epoch: request.member_epoch,
            ..ConsumerGroupHeartbeatResponse::default()
        })
    }

    /// Removes members. The others learn of it by their heartbeats.
    pub fn remove(&mut self, ids: &[ByteString]) -> Result<(), Refusal> {
        let mut records = Vec::new();
        let mut sessions: Vec<PutOff> = Vec::new();
        // Several members may share a topic or an expression, so the counts are reduced member by member.
        let mut rest = self.group.clone_counts();
        for id in ids {
            let Some(member) = self.group.member(id) else {
                continue;
            };
            records.extend(gone(self.id, id));
            sessions.push(member.session);
            rest.take_out(&member.profile);
        }
        if sessions.is_empty() {
            return Ok(());
        }
        for pattern in self.group.patterns().keys() {
            if !rest.patterns.contains_key(pattern) && self.group.resolved(pattern).is_some() {
                records.push(Modern::ConsumerRegex(Entry::gone(self.id, pattern)));
            }
        }
        let mut topics: BTreeSet<&ByteString> = rest.named.keys().collect();
        for resolved in rest
            .patterns
            .keys()
            .filter_map(|one| self.group.resolved(one))
        {
            topics.extend(&resolved.topics);
        }
        let hash = metadata_hash(topics, self.image);
        let epoch = self.group.epoch.saturating_add(1);
        records.push(epoch_record(self.id, epoch, hash));
        if sessions.len() == self.group.members().len() {
            // No member is left, so the new epoch needs no assignment.
            let value = ConsumerGroupTargetAssignmentMetadataValue {
                assignment_epoch: epoch,
                assignment_timestamp: 0,
            };
            let entry = Entry::new(self.id, &ByteString::new(), value);
            records.push(Modern::ConsumerTargetEpoch(entry));
        }
        self.write(records)?;
        for mut session in sessions {
            self.timers.call_off(&mut session);
        }
        for id in ids {
            self.timers
                .cancel(&GroupTimer::Rebalance(self.id.clone(), id.clone()));
        }
        Ok(())
    }

    /// Handles the session timer of a member. The session may have been extended after the timer was set.
    pub fn session_is_over(&mut self, id: &ByteString) {
        let key = || GroupTimer::Session(self.id.clone(), id.clone());
        let Some(member) = self.group.member_mut(id) else {
            return;
        };
        if self.timers.has_come(&mut member.session, key)
            && self.remove(std::slice::from_ref(id)).is_err()
        {
            // The records do not fit into this batch.
            self.restart_session(id);
        }
    }

    /// Removes a member that has not revoked its partitions within its rebalance timeout.
    pub fn rebalance_time_is_up(&mut self, id: &ByteString) {
        let is_late = |member: &Member| member.current.standing == Standing::Unrevoked;
        if self.group.member(id).is_some_and(is_late)
            && self.remove(std::slice::from_ref(id)).is_err()
        {
            self.set_rebalance_timer(id);
        }
    }

    /// Called after loading: restarts all sessions and rebalance timers.
    pub fn loaded(&mut self) {
        for id in self.group.members().keys().cloned().collect::<Vec<_>>() {
            self.restart_session(&id);
            self.set_rebalance_timer(&id);
        }
    }

    /// Records the topics that match the group's regular expressions.
    pub fn resolved(
        &mut self,
        version: i64,
        found: &BTreeMap<ByteString, Vec<ByteString>>,
    ) -> Result<(), Refusal> {
        self.group.resolving_since = None;
        let mut records = Vec::new();
        let mut is_news = false;
        for (pattern, topics) in found {
            // The members with this expression may have left meanwhile.
            if !self.group.patterns().contains_key(pattern) {
                continue;
            }
            // An expression without a previous result counts as having had no topics.
            let before = self.group.resolved(pattern);
            is_news |= before.map_or(!topics.is_empty(), |before| before.topics != *topics);
            let value = ConsumerGroupRegularExpressionValue {
                topics: topics.clone(),
                version,
                timestamp: self.now.wall,
            };
            records.push(Modern::ConsumerRegex(Entry::new(self.id, pattern, value)));
        }
        if is_news {
            let mut topics: BTreeSet<&ByteString> = self.group.named().keys().collect();
            for pattern in self.group.patterns().keys() {
                match found.get(pattern) {
                    Some(now) => topics.extend(now),
                    None => topics.extend(
                        self.group
                            .resolved(pattern)
                            .into_iter()
                            .flat_map(|of| &of.topics),
                    ),
                }
            }
            let hash = metadata_hash(topics, self.image);
            records.push(epoch_record(
                self.id,
                self.group.epoch.saturating_add(1),
                hash,
            ));
        }
        self.write(records)
    }

    /// Requests a search for the topics that match the group's regular expressions, if an expression is new, topics were added
    /// or the last search was long ago.
    fn look_for_expressions(&mut self) {
        if self.group.patterns().is_empty() {
            return;
        }
        let consumer = &self.settings.consumer;
        let patterns = self.group.patterns().keys();
        let (mut is_missing, mut newest, mut version) = (false, 0, i64::MAX);
        for pattern in patterns {
            match self.group.resolved(pattern) {
                Some(resolved) => {
                    newest = newest.max(resolved.timestamp);
                    version = version.min(resolved.version);
                }
                None => is_missing = true,
            }
        }
        let age = self.now.wall.saturating_sub(newest);
        let is_due = is_missing
            || version < self.group.topics_version
            || age >= i64::from(consumer.regex_refresh_ms);
        let asked_lately = newest > 0 && (0..REGEX_REFRESH_MIN_MS).contains(&age);
        let is_asked = self
            .group
            .resolving_since
            .is_some_and(|since| self.now.steady < since + REGEX_LOST_MS);
        if !is_due || is_asked || asked_lately && !is_missing {
            return;
        }
        self.group.resolving_since = Some(self.now.steady);
        let errand = RegexErrand {
            group: self.id.clone(),
            patterns: self.group.patterns().keys().cloned().collect(),
            image: Arc::clone(self.image),
        };
        self.out
            .answer(Ticket::ERRAND, GroupAnswer::ResolveRegex(errand));
    }

    /// Writes and applies all records, or none of them.
    fn write(&mut self, records: Vec<Modern>) -> Result<(), Refusal> {
        let records: Vec<GroupRecord> = records.into_iter().map(GroupRecord::Modern).collect();
        let taken = self.out.records(records.iter().map(GroupRecord::encode));
        taken.map_err(|_| {
            // Kafka differs: it gives the same answer, but only after the append has failed.
            let why = "The group is too large for what one batch of its partition may have.";
            Refusal::new(ErrorCode::UnknownServerError, why)
        })?;
        for record in &records {
            if let GroupRecord::Modern(record) = record {
                self.group.apply(record, &self.settings.memory);
            }
        }
        Ok(())
    }

    fn answer(&self, id: &ByteString, epoch: i32) -> ConsumerGroupHeartbeatResponse {
        ConsumerGroupHeartbeatResponse {
            member_id: Some(id.clone()),
            member_epoch: epoch,
            heartbeat_interval_ms: self.interval_ms(),
            ..ConsumerGroupHeartbeatResponse::default()
        }
    }

    /// Heartbeat interval for the members. It is shorter while members have not reached their target or have joined recently,
    /// because each phase of a rebalance waits for a heartbeat.
    fn interval_ms(&self) -> i32 {
        let usual = self.intervals.heartbeat_ms;
        let lately = self.now.wall.saturating_sub(self.group.assigned_at);
        let is_settled = self.group.has_settled()
            && self.group.resolving_since.is_none()
            && !(0..SETTLING_MS).contains(&lately);
        let unsettled = self.settings.consumer.unsettled_heartbeat_ms;
        interval_ms(usual, unsettled, self.group.members().len(), is_settled)
    }

    /// Extends the session of a member.
    pub fn restart_session(&mut self, id: &str) {
        let group = self.id;
        let Some(member) = self.group.member_mut(id) else {
            return;
        };
        let classic = member.profile.classic.as_ref();
        let after = classic.map_or(self.intervals.session_ms, |of| of.session_timeout_ms);
        let at = self.now.after(i64::from(after));
        let key = || GroupTimer::Session(group.clone(), owned(id));
        self.timers.put_off(&mut member.session, at, key);
    }

    fn set_rebalance_timer(&mut self, id: &ByteString) {
        let Some(member) = self.group.member(id) else {
            return;
        };
        let key = GroupTimer::Rebalance(self.id.clone(), id.clone());
        if member.current.standing == Standing::Unrevoked && !member.is_classic() {
            let after = i64::from(member.profile.rebalance_timeout_ms.max(0));
            self.timers.set(key, self.now.after(after));
        } else {
            self.timers.cancel(&key);
        }
    }
}

/// Minimum interval between two searches for topics of regular expressions, the same as in Kafka.
const REGEX_REFRESH_MIN_MS: i64 = 10_000;
/// Time after which a search without a result counts as lost.
const REGEX_LOST_MS: i64 = 60_000;
/// Time after an assignment during which heartbeats are more frequent. A joining member makes others revoke partitions, and
/// often further members join soon after.
pub const SETTLING_MS: i64 = 2_500;
/// Approximate limit of heartbeats per second of a large group that has not settled.
const UNSETTLED_BEATS_A_SECOND: i32 = 1_000;

/// Heartbeat interval of a group, in milliseconds: `usual` if it has settled, otherwise `unsettled`, or more if it has many
/// members.
pub fn interval_ms(usual: i32, unsettled: i32, members: usize, is_settled: bool) -> i32 {
    if is_settled {
        return usual;
    }
    // All members together send about `UNSETTLED_BEATS_A_SECOND` heartbeats per second at most.
    let members = i32::try_from(members).unwrap_or(i32::MAX);
    let share = members.saturating_mul(1_000 / UNSETTLED_BEATS_A_SECOND);
    usual.min(unsettled.max(share))
}

fn check_epoch(member: &Member, request: &ConsumerGroupHeartbeatRequest) -> Result<(), Refusal> {
    let (said, known) = (request.member_epoch, member.current.epoch);
    // A member that joins again has given up all of its partitions. The response holds its whole assignment.
    if said == JOIN || said == known {
        return Ok(());
    }
    let fenced = |how: &str| {
        let why = format!(
            "The consumer group member has a {how} member epoch ({said}) than the one known by the group coordinator ({known}). The member must abandon all its partitions and rejoin."
        );
        Err(Refusal::new(ErrorCode::FencedMemberEpoch, why))
    };
    if said > known {
        return fenced("greater");
    }
    // The response to the member's last heartbeat may have been lost.
    let owned = request.topic_partitions.as_deref().map(self::said);
    let knows_no_more = owned.is_some_and(|owned| {
        let mut each = owned.each();
        each.all(|(topic, index)| member.current.assigned.contains(topic, index))
    });
    if said == member.current.previous_epoch && knows_no_more {
        return Ok(());
    }
    fenced("smaller")
}

fn said(topics: &[TopicPartitions]) -> Assignment {
    Assignment::new(
        topics
            .iter()
            .map(|topic| (topic.topic_id, topic.partitions.clone())),
    )
}

/// Assignment in the form of requests and responses.
pub fn answered(assignment: &Assignment) -> Vec<TopicPartitions> {
    assignment.list(|topic_id, partitions| TopicPartitions {
        topic_id,
        partitions,
    })
}

/// Profile after a heartbeat. Fields that the heartbeat leaves out keep their value.
fn updated(before: &Profile, beat: &ConsumerHeartbeat) -> Profile {
    let request = &beat.request;
    let mut profile = before.clone();
    let or = |said: &Option<ByteString>, known: Option<ByteString>| said.clone().or(known);
    profile.instance_id = or(&request.instance_id, profile.instance_id);
    profile.rack_id = or(&request.rack_id, profile.rack_id);
    profile.assignor = or(&request.server_assignor, profile.assignor);
    profile.regex = or(&request.subscribed_topic_regex, profile.regex);
    if request.rebalance_timeout_ms != -1 {
        profile.rebalance_timeout_ms = request.rebalance_timeout_ms;
    }
    if let Some(names) = &request.subscribed_topic_names {
        profile.topics.clone_from(names);
        profile.topics.sort();
        profile.topics.dedup();
    }
    profile.client_id = beat.client_id.clone();
    profile.client_host = beat.client_host.clone();
    profile.classic = beat.classic.clone().map(Box::new);
    profile
}

pub fn epoch_record(group: &ByteString, epoch: i32, metadata_hash: i64) -> Modern {
    let value = ConsumerGroupMetadataValue {
        epoch,
        metadata_hash,
    };
    Modern::ConsumerEpoch(Entry::new(group, &ByteString::new(), value))
}
