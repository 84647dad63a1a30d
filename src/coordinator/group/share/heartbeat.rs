//! pure: handling of ShareGroupHeartbeat (Kafka: `GroupMetadataManager.shareGroupHeartbeat`).
//!
//! As in consumer groups, a heartbeat is first evaluated, with its changes collected as records. The batch takes all of these
//! records or none, and only then they are applied.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytestring::ByteString;

use super::group::{
    Current, Member, PARTITION_BYTES, Profile, ShareGroup, States, current_record, epoch_record,
    gone, member_record, target_epoch_record, target_record,
};
use crate::base::ids::{Offset, Uuid};
use crate::coordinator::group::assignor::MemberSpec;
use crate::coordinator::group::assignor::simple::{self, SharedTopic};
use crate::coordinator::group::classic::group::owned;
use crate::coordinator::group::classic::rebalance::GroupTimer;
use crate::coordinator::group::consumer::assignment::Assignment;
use crate::coordinator::group::consumer::group::{JOIN, LEAVE};
use crate::coordinator::group::consumer::heartbeat::{Refusal, SETTLING_MS, interval_ms};
use crate::coordinator::group::metadata_hash::metadata_hash;
use crate::coordinator::group::record::{GroupRecord, Modern};
use crate::coordinator::group::request::{
    GroupAnswer, InitialiseErrand, ShareHeartbeat, ShareStart,
};
use crate::coordinator::group::settings::{GroupSettings, Intervals};
use crate::coordinator::runtime::shard::{Moment, Output, Ticket};
use crate::coordinator::runtime::timer::Timers;
use crate::coordinator::share_state::request::UNDECIDED;
use crate::metadata::image::Image;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::share_group_heartbeat::{
    Assignment as AnsweredAssignment, ShareGroupHeartbeatResponse, TopicPartitions,
};

/// Feature that must be at least 1 for share groups (KIP-932).
pub const SHARE_VERSION: &str = "share.version";
/// Length limit of a member id, in UTF-16 units.
pub const MEMBER_ID_MAX: usize = 36;

/// Response with an error.
pub fn refused(refusal: Refusal) -> ShareGroupHeartbeatResponse {
    ShareGroupHeartbeatResponse {
        error_code: refusal.error.code(),
        error_message: Some(refusal.message.into()),
        ..ShareGroupHeartbeatResponse::default()
    }
}

/// Checks of a heartbeat that do not depend on the state of the group.
pub fn check(beat: &ShareHeartbeat) -> Result<(), Refusal> {
    let request = &beat.request;
    let invalid = |why: &str| Err(Refusal::new(ErrorCode::InvalidRequest, why));
    let blank = |text: &str| text.trim().is_empty();
    if blank(&request.member_id) {
        return invalid("MemberId can't be empty.");
    }
    if request.member_id.encode_utf16().count() > MEMBER_ID_MAX {
        return invalid("MemberId can't have more than 36 characters.");
    }
    if blank(&request.group_id) {
        return invalid("GroupId can't be empty.");
    }
    if request.group_id.len() > i16::MAX as usize {
        return invalid("GroupId can't be longer than 32767 bytes.");
    }
    if request.rack_id.as_deref().is_some_and(blank) {
        return invalid("RackId can't be empty.");
    }
    let names_none = request
        .subscribed_topic_names
        .as_ref()
        .is_none_or(Vec::is_empty);
    match request.member_epoch {
        JOIN if names_none => invalid("SubscribedTopicNames must be set in first request."),
        epoch if epoch < LEAVE => invalid("MemberEpoch is invalid."),
        _ => Ok(()),
    }
}

/// One share group with everything that the handling of one event may use.
pub struct Scene<'a> {
    pub id: &'a ByteString,
    pub group: &'a mut ShareGroup,
    pub image: &'a Arc<Image>,
    pub settings: &'a GroupSettings,
    /// Settings in force for the group.
    pub intervals: Intervals,
    pub timers: &'a mut Timers<GroupTimer>,
    pub now: Moment,
    pub out: &'a mut Output<GroupAnswer>,
}

/// State of the group and of the sender as changed by a heartbeat.
struct Draft {
    profile: Profile,
    epoch: i32,
    assignment_epoch: i32,
    target: Assignment,
    /// States of partitions, without those of topics that no longer exist.
    states: States,
}

impl Scene<'_> {
    /// Handles a heartbeat that has passed [`check`].
    pub fn heartbeat(
        &mut self,
        beat: &ShareHeartbeat,
    ) -> Result<ShareGroupHeartbeatResponse, Refusal> {
        let request = &beat.request;
        if request.member_epoch == LEAVE {
            return self.leave(&request.member_id);
        }
        if self.is_steady(beat) {
            self.restart_session(&request.member_id);
            return Ok(self.answer(&request.member_id, request.member_epoch));
        }
        self.stay(beat)
    }

    /// Whether the heartbeat changes nothing but the session, and its response carries no news.
    fn is_steady(&self, beat: &ShareHeartbeat) -> bool {
        let request = &beat.request;
        let Some(member) = self.group.member(&request.member_id) else {
            return false;
        };
        let profile = &member.profile;
        request.member_epoch == member.current.epoch
            && member.current.epoch == self.group.assignment_epoch
            && self.group.epoch == self.group.assignment_epoch
            && !self.group.is_stale
            && self.group.states.initialising.is_empty()
            && request.subscribed_topic_names.is_none()
            && (request.rack_id.is_none() || request.rack_id == profile.rack_id)
            && beat.client_id == profile.client_id
            && beat.client_host == profile.client_host
    }

    fn stay(&mut self, beat: &ShareHeartbeat) -> Result<ShareGroupHeartbeatResponse, Refusal> {
        let request = &beat.request;
        let known = self
            .sender(&request.member_id, request.member_epoch)?
            .cloned();
        let is_new = known.is_none();
        let before = known.unwrap_or_default();
        let id = owned(&request.member_id);
        let profile = updated(&before.profile, beat);
        let names_changed = profile.topics != before.profile.topics;
        let held = if is_new { 0 } else { before.profile.bytes() };
        self.has_room_for(profile.bytes().saturating_sub(held))?;
        let mut records = Vec::new();
        if is_new || profile != before.profile {
            records.push(member_record(self.id, &id, &profile));
        }
        let mut draft = Draft {
            profile,
            epoch: self.group.epoch,
            assignment_epoch: self.group.assignment_epoch,
            target: self.group.target_of(&id).cloned().unwrap_or_default(),
            states: self.group.states.clone(),
        };
        let topics = self.topics(&before.profile, &draft.profile);
        self.look_at_topics(&topics, is_new || names_changed, &mut draft, &mut records);
        let states = draft.states.clone();
        let mut errand = self.initialise(&topics, &mut draft);
        let more = (draft.states.partitions()).saturating_sub(self.group.states.partitions());
        if self.has_room_for(more * PARTITION_BYTES).is_err() {
            // The members keep what they have; a later heartbeat tries again.
            (draft.states, errand) = (states, None);
        }
        self.assign(&mut draft, &id, &mut records);
        let next = next(&before.current, &draft);
        let is_changed = next != before.current;
        if is_new || is_changed {
            records.push(current_record(self.id, &id, &next));
        }
        if draft.states != self.group.states {
            records.push(draft.states.record(self.id));
        }
        self.write(records)?;

        self.group.is_stale = false;
        if let Some(errand) = errand {
            self.group.initialising_since = Some(self.now.steady);
            let added = errand.starts.iter().filter(|one| one.start != UNDECIDED);
            let added = added.map(|one| (one.topic_id, one.partition));
            self.group.added.extend(added);
            let answer = GroupAnswer::InitialiseShare(errand);
            self.out.answer(Ticket::ERRAND, answer);
        }
        self.restart_session(&id);
        let mut answer = self.answer(&id, next.epoch);
        if request.member_epoch == JOIN
            || request.subscribed_topic_names.is_some()
            || next.assigned != before.current.assigned
        {
            answer.assignment = Some(AnsweredAssignment {
                topic_partitions: answered(&next.assigned),
            });
        }
        Ok(answer)
    }

    /// Checks that there is memory for what the heartbeat adds. The client retries.
    fn has_room_for(&self, bytes: usize) -> Result<(), Refusal> {
        if bytes == 0 || self.settings.memory.has_room_for_member(bytes) {
            return Ok(());
        }
        let why = "The members of all groups take all the memory that they may.";
        Err(Refusal::new(ErrorCode::CoordinatorNotAvailable, why))
    }

    /// Member that sends the heartbeat; `None` for a new member. An error if the member may not send it.
    fn sender(&self, id: &str, said: i32) -> Result<Option<&Member>, Refusal> {
        let Some(member) = self.group.member(id) else {
            let max = self.settings.share.members_max;
            return if said != JOIN {
                let why = format!("Member {id} is not a member of group {}.", self.id);
                Err(Refusal::new(ErrorCode::UnknownMemberId, why))
            } else if self.group.members().len() >= max {
                let why =
                    format!("The share group has reached its maximum capacity of {max} members.");
                Err(Refusal::new(ErrorCode::GroupMaxSizeReached, why))
            } else {
                Ok(None)
            };
        };
        let current = &member.current;
        // The response to the member's last heartbeat may have been lost.
        if said == JOIN || said == current.epoch || said == current.previous_epoch {
            return Ok(Some(member));
        }
        let how = if said > current.epoch {
            "greater"
        } else {
            "smaller"
        };
        let why = format!(
            "The share group member has a {how} member epoch ({said}) than the one known by the group coordinator ({}). The member must abandon all its partitions and rejoin.",
            current.epoch
        );
        Err(Refusal::new(ErrorCode::FencedMemberEpoch, why))
    }

    /// Topics of all members, with the profile `before` of one member replaced by `after`.
    fn topics(&self, before: &Profile, after: &Profile) -> BTreeSet<ByteString> {
        let named = self.group.named().iter();
        let others =
            named.filter(|(name, count)| **count > 1 || before.topics.binary_search(name).is_err());
        let others = others.map(|(name, _)| name.clone());
        others.chain(after.topics.iter().cloned()).collect()
    }

    /// Increases the group epoch if subscriptions or the metadata of subscribed topics have changed, or if the assigned
    /// partitions are not exactly those that may be assigned.
    fn look_at_topics(
        &self,
        topics: &BTreeSet<ByteString>,
        must_bump: bool,
        draft: &mut Draft,
        records: &mut Vec<Modern>,
    ) {
        if !must_bump && !self.group.is_stale {
            return;
        }
        let is_there = |id: &Uuid| self.image.topics.by_id(*id).is_some();
        draft.states.initialised.retain(|id, _| is_there(id));
        draft.states.initialising.retain(|id, _| is_there(id));
        let hash = metadata_hash(topics, self.image);
        let has_assigned = self.group.epoch == self.group.assignment_epoch;
        let must_bump = must_bump || hash != self.group.metadata_hash;
        if must_bump || has_assigned && self.lacks(topics, draft) {
            draft.epoch = self.group.epoch.saturating_add(1);
            records.push(epoch_record(self.id, draft.epoch, hash));
        }
    }

    /// Whether the assigned partitions differ from those that may be assigned.
    fn lacks(&self, topics: &BTreeSet<ByteString>, draft: &Draft) -> bool {
        let mut assigned = BTreeSet::new();
        for member in self.group.members().keys() {
            let target = self.group.target_of(member);
            assigned.extend(target.into_iter().flat_map(Assignment::each));
        }
        let may_be: BTreeSet<(Uuid, i32)> = self
            .assignable(topics, draft)
            .iter()
            .flat_map(|topic| topic.partitions.iter().map(|index| (topic.id, *index)))
            .collect();
        assigned != may_be
    }

    /// Existing topics, sorted by id, with their partitions that may be assigned.
    fn assignable(&self, topics: &BTreeSet<ByteString>, draft: &Draft) -> Vec<SharedTopic> {
        let topics = topics
            .iter()
            .filter_map(|name| self.image.topics.by_name(name));
        let shared = topics.filter_map(|topic| {
            let all = 0..topic.partitions.len() as i32;
            let partitions: Vec<i32> = all
                .filter(|index| draft.states.is_initialised(topic.id, *index))
                .collect();
            let id = topic.id;
            (!partitions.is_empty()).then_some(SharedTopic { id, partitions })
        });
        let mut shared: Vec<SharedTopic> = shared.collect();
        shared.sort_by_key(|topic| topic.id);
        shared
    }

    /// Marks missing partitions as being initialised and returns the task for the share coordinator.
    fn initialise(
        &self,
        topics: &BTreeSet<ByteString>,
        draft: &mut Draft,
    ) -> Option<InitialiseErrand> {
        let again_ms = i64::from(self.settings.share.initialise_again_ms);
        let is_lost = self
            .group
            .initialising_since
            .is_none_or(|since| self.now.steady >= since.saturating_add(again_ms));
        let mut starts = Vec::new();
        let found = topics
            .iter()
            .filter_map(|name| self.image.topics.by_name(name));
        for topic in found {
            let missing: BTreeSet<i32> = (0..topic.partitions.len() as i32)
                .filter(|index| !draft.states.is_initialised(topic.id, *index))
                .filter(|index| is_lost || !draft.states.is_initialising(topic.id, *index))
                .collect();
            if missing.is_empty() {
                continue;
            }
            // The deletion of the states did not come to its end, or has not yet: what was not deleted is replaced.
            let replaces = draft.states.deleting.remove(&topic.id).is_some();
            let highest = draft.states.highest(topic.id);
            draft
                .states
                .begin(topic.id, &topic.name.as_ref().into(), &missing);
            let each = missing.into_iter();
            starts.extend(each.map(|partition| ShareStart {
                topic_id: topic.id,
                partition,
                start: self.start_of(topic.id, partition, highest),
                replaces,
            }));
        }
        (!starts.is_empty()).then(|| InitialiseErrand {
            group: self.id.clone(),
            epoch: draft.epoch,
            starts,
        })
    }

    /// Start offset of the group in a partition. Partitions that were added to a topic which the group already reads hold nothing
    /// from before that time, so the group starts with their first record (KAFKA-20742). Others may be missing because an earlier
    /// initialisation failed. `highest` is the highest partition of the topic that the group knows.
    fn start_of(&self, topic: Uuid, partition: i32, highest: Option<i32>) -> Offset {
        let is_behind = highest.is_some_and(|highest| partition > highest);
        match is_behind || self.group.added.contains(&(topic, partition)) {
            true => 0,
            false => UNDECIDED,
        }
    }

    /// Computes a new target assignment if the group epoch has increased and the minimum interval between two assignments has
    /// passed.
    fn assign(&self, draft: &mut Draft, id: &ByteString, records: &mut Vec<Modern>) {
        let since = self.now.wall.saturating_sub(self.group.assigned_at);
        let may_be = self.group.assigned_at == 0
            || !(0..i64::from(self.intervals.assignment_ms)).contains(&since);
        if draft.epoch <= draft.assignment_epoch || !may_be {
            return;
        }
        let mut members: BTreeMap<&ByteString, &Profile> = self
            .group
            .members()
            .iter()
            .map(|(of, member)| (of, &member.profile))
            .collect();
        let profile = draft.profile.clone();
        members.insert(id, &profile);
        let topics: BTreeSet<ByteString> = members
            .values()
            .flat_map(|profile| profile.topics.iter().cloned())
            .collect();
        let topics = self.assignable(&topics, draft);
        let place = |name: &ByteString| {
            let topic = self.image.topics.by_name(name)?;
            let place = topics.binary_search_by_key(&topic.id, |topic| topic.id);
            place.ok().map(|place| place as u32)
        };
        let specs: Vec<MemberSpec<'_>> = members
            .iter()
            .map(|(of, profile)| {
                let mut places: Vec<u32> = profile.topics.iter().filter_map(place).collect();
                places.sort_unstable();
                MemberSpec {
                    id: of,
                    instance_id: None,
                    topics: places,
                    target: self.group.target_of(of),
                }
            })
            .collect();
        let assigned = simple::assign(&specs, &topics);
        for ((of, _), now) in members.iter().zip(assigned) {
            if self.group.target_of(of) != Some(&now) {
                records.push(target_record(self.id, of, &now));
            }
            if *of == id {
                draft.target = now;
            }
        }
        draft.assignment_epoch = draft.epoch;
        // If there was nothing to assign, the next assignment need not wait for the interval.
        let assigned_at = if topics.is_empty() { 0 } else { self.now.wall };
        records.push(target_epoch_record(self.id, draft.epoch, assigned_at));
    }

    fn leave(&mut self, id: &ByteString) -> Result<ShareGroupHeartbeatResponse, Refusal> {
        if self.group.member(id).is_none() {
            let why = format!("Member {id} is not a member of group {}.", self.id);
            return Err(Refusal::new(ErrorCode::UnknownMemberId, why));
        }
        self.remove(id)?;
        Ok(ShareGroupHeartbeatResponse {
            member_id: Some(id.clone()),
            member_epoch: LEAVE,
            ..ShareGroupHeartbeatResponse::default()
        })
    }

    /// Removes a member. The others learn of it by their heartbeats.
    fn remove(&mut self, id: &ByteString) -> Result<(), Refusal> {
        let Some(member) = self.group.member(id) else {
            return Ok(());
        };
        let mut session = member.session;
        let topics = self.topics(&member.profile, &Profile::default());
        let hash = metadata_hash(&topics, self.image);
        let epoch = self.group.epoch.saturating_add(1);
        let mut records: Vec<Modern> = gone(self.id, id).into();
        records.push(epoch_record(self.id, epoch, hash));
        if self.group.members().len() == 1 {
            // No member is left, so the new epoch needs no assignment.
            records.push(target_epoch_record(self.id, epoch, 0));
        }
        self.write(records)?;
        self.timers.call_off(&mut session);
        Ok(())
    }

    /// Handles the session timer of a member. The session may have been extended after the timer was set.
    pub fn session_is_over(&mut self, id: &ByteString) {
        let key = || GroupTimer::Session(self.id.clone(), id.clone());
        let Some(member) = self.group.member_mut(id) else {
            return;
        };
        if self.timers.has_come(&mut member.session, key) && self.remove(id).is_err() {
            // The records do not fit into this batch.
            self.restart_session(id);
        }
    }

    /// Called after loading: restarts all sessions.
    pub fn loaded(&mut self) {
        for id in self.group.members().keys().cloned().collect::<Vec<_>>() {
            self.restart_session(&id);
        }
    }

    /// Records the results of initialisations by the share coordinator.
    pub fn initialised(&mut self, done: &[(ShareStart, bool)]) -> Result<(), Refusal> {
        // Partitions whose initialisation failed stay among those that are being initialised: the next heartbeat tries again,
        // and they do not count as partitions that were added later.
        let finished = done.iter().filter(|(_, is_done)| *is_done);
        let mut states = self.group.states.clone();
        for (topic, partitions) in by_topic(finished.map(|(start, _)| start)) {
            states.finish(topic, &partitions);
        }
        let is_coming =
            |(topic, partition): &(Uuid, i32)| states.is_initialising(*topic, *partition);
        self.group.added.retain(is_coming);
        self.group.initialising_since = None;
        self.group.has_failed = done.iter().any(|(_, is_done)| !is_done);
        if states == self.group.states {
            return Ok(());
        }
        let record = states.record(self.id);
        self.write(vec![record])
    }

    /// Writes and applies all records, or none of them.
    pub fn write(&mut self, records: Vec<Modern>) -> Result<(), Refusal> {
        let records: Vec<GroupRecord> = records.into_iter().map(GroupRecord::Modern).collect();
        let taken = self.out.records(records.iter().map(GroupRecord::encode));
        taken.map_err(|_| {
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

    fn answer(&self, id: &ByteString, epoch: i32) -> ShareGroupHeartbeatResponse {
        let lately = self.now.wall.saturating_sub(self.group.assigned_at);
        let has_settled = self.group.has_settled() || self.group.has_failed;
        let is_settled = has_settled && !(0..SETTLING_MS).contains(&lately);
        ShareGroupHeartbeatResponse {
            member_id: Some(id.clone()),
            member_epoch: epoch,
            heartbeat_interval_ms: interval_ms(
                self.intervals.heartbeat_ms,
                self.settings.share.unsettled_heartbeat_ms,
                self.group.members().len(),
                is_settled,
            ),
            ..ShareGroupHeartbeatResponse::default()
        }
    }

    fn restart_session(&mut self, id: &str) {
        let group = self.id;
        let Some(member) = self.group.member_mut(id) else {
            return;
        };
        let at = self.now.after(i64::from(self.intervals.session_ms));
        let key = || GroupTimer::Session(group.clone(), owned(id));
        self.timers.put_off(&mut member.session, at, key);
    }
}

/// Partitions by topic. Each change of [`States`] goes over all partitions of a topic, so it is made once for each topic.
pub fn by_topic<'a>(
    starts: impl IntoIterator<Item = &'a ShareStart>,
) -> BTreeMap<Uuid, BTreeSet<i32>> {
    let mut topics: BTreeMap<Uuid, BTreeSet<i32>> = BTreeMap::new();
    for start in starts {
        let partitions = topics.entry(start.topic_id).or_default();
        partitions.insert(start.partition);
    }
    topics
}

/// Current assignment after a heartbeat: a member reaches its target in one step.
fn next(before: &Current, draft: &Draft) -> Current {
    if before.epoch == draft.assignment_epoch {
        return before.clone();
    }
    Current {
        epoch: draft.assignment_epoch,
        previous_epoch: before.epoch.max(JOIN),
        assigned: draft.target.clone(),
    }
}

/// Profile after a heartbeat. Fields that the heartbeat leaves out keep their value.
fn updated(before: &Profile, beat: &ShareHeartbeat) -> Profile {
    let request = &beat.request;
    let mut profile = before.clone();
    if request.rack_id.is_some() {
        profile.rack_id.clone_from(&request.rack_id);
    }
    if let Some(names) = &request.subscribed_topic_names {
        profile.topics.clone_from(names);
        profile.topics.sort();
        profile.topics.dedup();
    }
    profile.client_id = beat.client_id.clone();
    profile.client_host = beat.client_host.clone();
    profile
}

fn answered(assignment: &Assignment) -> Vec<TopicPartitions> {
    assignment.list(|topic_id, partitions| TopicPartitions {
        topic_id,
        partitions,
    })
}
