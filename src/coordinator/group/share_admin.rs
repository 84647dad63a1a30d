//! pure: requests to a shard that concern a share group as a whole: the creation by a first heartbeat, administration, and
//! costs.

use std::collections::{BTreeMap, BTreeSet};

use bytestring::ByteString;

use super::any::Group;
use super::classic::group::owned;
use super::consumer::group::JOIN;
use super::consumer::heartbeat::Refusal;
use super::record::GroupRecord;
use super::request::{GroupAnswer, InitialiseErrand, ShareHeartbeat, ShareStart, ShareTopics};
use super::shard::GroupShard;
use super::share::group::{ShareGroup, epoch_record, target_epoch_record};
use super::share::heartbeat::{SHARE_VERSION, by_topic, check};
use crate::base::ids::Uuid;
use crate::coordinator::runtime::shard::{Moment, Origin, Output, total_cost};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::share_group_describe::DescribedGroup;
use crate::wire::message::share_group_heartbeat::ShareGroupHeartbeatResponse;

/// Number of topics of a member that cost as much as the commit of one offset.
const TOPICS: usize = 16;

impl GroupShard {
    pub(super) fn share_heartbeat(
        &mut self,
        now: Moment,
        beat: &ShareHeartbeat,
        out: &mut Output<GroupAnswer>,
    ) -> Result<ShareGroupHeartbeatResponse, Refusal> {
        if self.image.feature(SHARE_VERSION) < 1 {
            let why = "The cluster does not support the new SHARE group protocol.";
            return Err(Refusal::new(ErrorCode::UnsupportedVersion, why));
        }
        check(beat)?;
        let id = &beat.request.group_id;
        let joins = beat.request.member_epoch == JOIN;
        let is_new = match self.groups.get(id) {
            Some(Group::Share(_)) => false,
            None if joins && !self.has_room_for(id) => {
                let why = "This broker has as many groups as it may have.";
                return Err(Refusal::new(ErrorCode::PolicyViolation, why));
            }
            None if joins => true,
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
                let why = format!("Group {id} is not a share group.");
                return Err(Refusal::new(ErrorCode::GroupIdNotFound, why));
            }
        };
        let id = owned(id);
        if is_new {
            self.groups.insert(id.clone(), Group::Share(Box::default()));
        }
        let answer = self.with_share(&id, now, out, |scene| Some(scene.heartbeat(beat)));
        let answer = answer.unwrap_or_else(|| Err(Refusal::new(ErrorCode::UnknownServerError, "")));
        if is_new && answer.is_err() {
            // Nothing has been recorded of the new group.
            self.groups.remove(&id);
        }
        if is_new {
            self.count_told(&id);
        }
        answer
    }

    pub(super) fn describe_share(&self, id: &ByteString) -> DescribedGroup {
        if let Some(group) = self.share(id) {
            return group.describe(id, &self.image);
        }
        DescribedGroup {
            error_code: ErrorCode::GroupIdNotFound.code(),
            error_message: Some(match self.groups.contains_key(id) {
                true => format!("Group {id} is not a share group.").into(),
                false => format!("Group {id} not found.").into(),
            }),
            group_id: id.clone(),
            ..DescribedGroup::default()
        }
    }

    fn share(&self, id: &str) -> Option<&ShareGroup> {
        self.groups.get(id)?.as_share()
    }

    /// Number of partitions of a share group whose states are initialised or being initialised.
    pub(super) fn share_partitions(&self, id: &str) -> usize {
        self.share(id).map_or(0, |group| group.states.partitions())
    }

    /// Number of partitions of topics, up to what a request may cost in place.
    fn partitions_of<'a>(&self, names: impl Iterator<Item = &'a ByteString>) -> usize {
        let topics = names.filter_map(|name| self.image.topics.by_name(name));
        total_cost(topics.map(|topic| 1 + topic.partitions.len()))
    }

    /// Cost of a heartbeat: small if nothing changes, otherwise proportional to the numbers of members and partitions, because
    /// the group may be assigned anew.
    pub(super) fn cost_of_share_heartbeat(&self, beat: &ShareHeartbeat) -> usize {
        let request = &beat.request;
        let names = request.subscribed_topic_names.iter().flatten();
        let said = request.subscribed_topic_names.as_ref().map_or(0, Vec::len);
        let named = said + self.partitions_of(names);
        let Some(group) = self.share(&request.group_id) else {
            return named + 1;
        };
        let is_changed = request.member_epoch <= JOIN
            || request.subscribed_topic_names.is_some()
            || group.epoch > group.assignment_epoch
            || group.is_stale
            || !group.states.initialising.is_empty();
        match is_changed {
            true => {
                let members = group.members().len();
                let partitions = self.partitions_of(group.named().keys());
                named + 4 * members + group.named().len() * members / TOPICS + partitions
            }
            false => said + 1,
        }
    }

    /// Partitions of a share group, as an answer to [`super::request::GroupRequest::ShareTopics`].
    ///
    /// Errors: `GroupIdNotFound`, `NonEmptyGroup`.
    pub(super) fn share_topics(
        &self,
        id: &ByteString,
        is_empty: bool,
    ) -> Result<ShareTopics, ErrorCode> {
        let group = self.share(id).ok_or(ErrorCode::GroupIdNotFound)?;
        if is_empty && !group.members().is_empty() {
            return Err(ErrorCode::NonEmptyGroup);
        }
        let states = &group.states;
        let coming = states.initialising.iter();
        let mut others: BTreeMap<Uuid, BTreeSet<i32>> = coming
            .map(|(topic, (_, partitions))| (*topic, partitions.clone()))
            .collect();
        for topic in states.deleting.keys() {
            if let Some(topic) = self.image.topics.by_id(*topic) {
                let all = 0..topic.partitions.len() as i32;
                others.entry(topic.id).or_default().extend(all);
            }
        }
        Ok(ShareTopics {
            initialised: states.initialised.clone(),
            others,
            deleting: states.deleting.keys().copied().collect(),
        })
    }

    /// Sets the start offsets of a share group without members. Creates the group if it does not exist.
    ///
    /// Errors: `NonEmptyGroup`; `GroupIdNotFound` for a group of another type; `PolicyViolation` if there are too many groups;
    /// those of a full batch.
    pub(super) fn begin_share(
        &mut self,
        now: Moment,
        id: &ByteString,
        starts: Vec<ShareStart>,
        out: &mut Output<GroupAnswer>,
    ) -> Result<InitialiseErrand, ErrorCode> {
        let id = owned(id);
        match self.groups.get(&id) {
            Some(Group::Share(group)) if group.members().is_empty() => {}
            Some(Group::Share(_)) => return Err(ErrorCode::NonEmptyGroup),
            Some(_) => return Err(ErrorCode::GroupIdNotFound),
            None if !self.has_room_for(&id) => return Err(ErrorCode::PolicyViolation),
            None => {}
        }
        let group = self.share(&id);
        // Requests with an earlier epoch are refused from now on.
        let epoch = group.map_or(1, |group| group.epoch.saturating_add(1));
        let hash = group.map_or(0, |group| group.metadata_hash);
        let mut states = group.map(|group| group.states.clone()).unwrap_or_default();
        for (id, partitions) in by_topic(&starts) {
            if let Some(topic) = self.image.topics.by_id(id) {
                states.begin(id, &topic.name.as_ref().into(), &partitions);
            }
        }
        let records = [
            epoch_record(&id, epoch, hash),
            target_epoch_record(&id, epoch, 0),
            states.record(&id),
        ];
        self.records(Origin::Plain, &records.map(GroupRecord::Modern), out)?;
        self.with_share(&id, now, out, |scene| {
            scene.group.initialising_since = Some(now.steady);
        });
        Ok(InitialiseErrand {
            group: id,
            epoch,
            starts,
        })
    }

    /// Removes topics from a group without members: first marks their states as being deleted, then (`is_done`) forgets them.
    /// If nobody comes to the second step, the next member has the marked states begun anew. Returns the epoch of the group.
    ///
    /// Errors: `GroupIdNotFound`, `NonEmptyGroup`; `UnknownServerError` if the batch is full.
    pub(super) fn forget_share(
        &mut self,
        id: &ByteString,
        topics: &[Uuid],
        is_done: bool,
        out: &mut Output<GroupAnswer>,
    ) -> Result<i32, ErrorCode> {
        let group = self.share(id).ok_or(ErrorCode::GroupIdNotFound)?;
        let epoch = group.epoch;
        if !is_done && !group.members().is_empty() {
            return Err(ErrorCode::NonEmptyGroup);
        }
        let mut states = group.states.clone();
        for topic in topics {
            if is_done {
                states.deleting.remove(topic);
                continue;
            }
            let known = states.initialised.remove(topic);
            let coming = states.initialising.remove(topic);
            if let Some((name, _)) = known.or(coming) {
                states.deleting.insert(*topic, name);
            }
        }
        if states == group.states {
            return Ok(epoch);
        }
        let record = GroupRecord::Modern(states.record(id));
        let written = self.records(Origin::Plain, &[record], out);
        written.map_err(|_| ErrorCode::UnknownServerError)?;
        Ok(epoch)
    }
}
