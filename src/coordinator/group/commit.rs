//! pure: OffsetCommit, TxnOffsetCommit, OffsetFetch and OffsetDelete.

use bytestring::ByteString;

use super::any::Group;
use super::classic::group::{State, owned};
use super::consumer::group::Member;
use super::record::GroupRecord;
use super::record::offset_commit::{OffsetCommitKey, OffsetCommitValue};
use super::request::{Commit, GroupAnswer, LogStarts, for_all};
use super::shard::{GroupShard, is_valid_group_or_empty};
use crate::base::ids::Uuid;
use crate::coordinator::runtime::shard::{Moment, Origin, Output};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::offset_commit::{
    OffsetCommitRequestPartition, OffsetCommitResponseTopic,
};
use crate::wire::message::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteResponse, OffsetDeleteResponsePartition,
    OffsetDeleteResponseTopic,
};
use crate::wire::message::offset_fetch::{
    OffsetFetchRequestGroup, OffsetFetchResponseGroup, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopics,
};

impl GroupShard {
    /// Checks the group, member id and generation of a commit. A client without a generation may commit offsets of a group that
    /// does not exist; the commit creates the group.
    fn check_commit(&self, commit: &Commit) -> Result<(), ErrorCode> {
        let in_transaction = commit.transaction.is_some();
        let (group, generation) = (&commit.group, commit.generation);
        let instance = commit.instance_id.as_deref();
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
        let group = match group {
            Group::Classic(group) => group,
            Group::Consumer(group) => {
                let id = &commit.member_id;
                let checked =
                    group.check_commit(id, generation, in_transaction, commit.knows_epochs);
                return checked
                    .map(drop)
                    .map_err(|error| of_producer(error, in_transaction));
            }
            // The members of streams groups are not read, so only commits to an empty group without a generation are allowed.
            Group::Streams(_) if generation < 0 && group.is_empty() => return Ok(()),
            Group::Streams(_) => return Err(ErrorCode::UnknownMemberId),
            Group::Share(_) => return Err(ErrorCode::GroupIdNotFound),
        };
        if generation < 0 && group.state == State::Empty {
            return Ok(());
        }
        if generation >= 0 || !commit.member_id.is_empty() || instance.is_some() {
            group.check_member(&commit.member_id, instance)?;
            if generation != group.generation {
                return Err(ErrorCode::IllegalGeneration);
            }
        } else if !in_transaction && group.state != State::Empty {
            // A client outside of the group must not change the offsets of a group with members. Old transactional producers
            // are exempt, because their requests have no member id.
            return Err(ErrorCode::UnknownMemberId);
        }
        if !in_transaction && group.state == State::CompletingRebalance {
            return Err(ErrorCode::RebalanceInProgress);
        }
        Ok(())
    }

    /// Handles OffsetCommit and TxnOffsetCommit. `met` is the log's decision on whether the offsets may join the transaction.
    /// Either all records of a request are appended or none.
    pub(super) fn commit(
        &mut self,
        now: Moment,
        commit: &Commit,
        met: Result<(), ErrorCode>,
        out: &mut Output<GroupAnswer>,
    ) -> Vec<OffsetCommitResponseTopic> {
        let checked = self.check_commit(commit).and(met);
        if checked.is_ok() && commit.transaction.is_none() {
            // A commit extends the session of the member.
            self.with(&commit.group, now, out, |scene| {
                if scene.group.state == State::Stable || scene.group.state.is_preparing() {
                    scene.restart_session(&commit.member_id);
                }
            });
            self.with_consumer(&commit.group, now, out, |scene| {
                if scene
                    .group
                    .member(&commit.member_id)
                    .is_some_and(Member::is_classic)
                {
                    scene.restart_session(&commit.member_id);
                }
            });
        }
        let origin = match commit.transaction {
            Some(of) => {
                out.producer = Some((of.producer_id, of.producer_epoch));
                Origin::Transaction(of.producer_id)
            }
            None => Origin::Plain,
        };
        if let Err(error) = checked {
            let refused = commit.topics.iter();
            return refused.map(|topic| for_all(topic, error)).collect();
        }
        let group = owned(&commit.group);
        let mut answer = Vec::with_capacity(commit.topics.len());
        let mut records = Vec::new();
        for topic in &commit.topics {
            let name = owned(&topic.name);
            let mut answered = for_all(topic, ErrorCode::None);
            for (one, answered) in topic.partitions.iter().zip(&mut answered.partitions) {
                let checked = self.check_partition(commit, topic.topic_id, one.partition_index);
                let value = checked
                    .and_then(|()| self.committed(now, topic.topic_id, one, commit.retention_ms));
                match value {
                    Ok(value) => records.push(GroupRecord::Offset {
                        key: OffsetCommitKey {
                            group: group.clone(),
                            topic: name.clone(),
                            partition: one.partition_index,
                        },
                        value: Some(value),
                    }),
                    Err(error) => answered.error_code = error.code(),
                }
            }
            answer.push(answered);
        }
        if self.records(origin, &records, out).is_err() {
            let error = ErrorCode::InvalidCommitOffsetSize.code();
            for one in answer.iter_mut().flat_map(|topic| &mut topic.partitions) {
                if one.error_code == ErrorCode::None.code() {
                    one.error_code = error;
                }
            }
        }
        answer
    }

    /// Checks the member epoch of a commit against the epoch at which the partition was assigned to the member.
    fn check_partition(&self, commit: &Commit, topic: Uuid, index: i32) -> Result<(), ErrorCode> {
        let Some(Group::Consumer(group)) = self.groups.get(&commit.group) else {
            return Ok(());
        };
        let checked = match group.member(&commit.member_id) {
            Some(member) if commit.generation >= 0 => {
                member.check_partition(commit.generation, topic, index)
            }
            _ => Ok(()),
        };
        checked.map_err(|error| of_producer(error, commit.transaction.is_some()))
    }

    fn committed(
        &self,
        now: Moment,
        topic_id: Uuid,
        partition: &OffsetCommitRequestPartition,
        retention_ms: i64,
    ) -> Result<OffsetCommitValue, ErrorCode> {
        let metadata = partition.committed_metadata.as_deref().unwrap_or_default();
        // Kafka counts UTF-16 units, as `String.length()` does.
        if metadata.encode_utf16().count() > self.settings.offset_metadata_max {
            return Err(ErrorCode::OffsetMetadataTooLarge);
        }
        Ok(OffsetCommitValue {
            offset: partition.committed_offset,
            leader_epoch: partition.committed_leader_epoch,
            metadata: owned(metadata),
            // Only version 1 of the request has a commit timestamp.
            commit_timestamp: if partition.commit_timestamp < 0 {
                now.wall
            } else {
                partition.commit_timestamp
            },
            expire_timestamp: match retention_ms {
                ..0 => -1,
                retention_ms => now.wall.saturating_add(retention_ms),
            },
            topic_id,
        })
    }

    pub(super) fn fetch_offsets(
        &self,
        request: &OffsetFetchRequestGroup,
        require_stable: bool,
    ) -> OffsetFetchResponseGroup {
        let group = &request.group_id;
        if let Some(Group::Consumer(of)) = self.groups.get(group)
            && let Err(error) = of.check_fetch(request.member_id.as_deref(), request.member_epoch)
        {
            return OffsetFetchResponseGroup {
                group_id: group.clone(),
                error_code: error.code(),
                ..OffsetFetchResponseGroup::default()
            };
        }
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

    pub(super) fn delete_offsets(
        &mut self,
        request: &OffsetDeleteRequest,
        out: &mut Output<GroupAnswer>,
    ) -> OffsetDeleteResponse {
        let refused = match self.groups.get(&request.group_id) {
            _ if request.group_id.is_empty() => Some(ErrorCode::InvalidGroupId),
            None => Some(ErrorCode::GroupIdNotFound),
            Some(Group::Classic(group)) if group.state != State::Empty && !group.is_consumer() => {
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

    /// Raises committed offsets that are below the log start offset to the log start offset.
    ///
    /// Errors: `RecordListTooLarge` when the records do not fit into one batch. Those that fit are written.
    pub(super) fn raise_offsets(
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
            // After `RecordListTooLarge` the caller asks again, so that error is not returned when not even the first record
            // fits.
            let refuse = |error| match index {
                0 => ErrorCode::UnknownServerError,
                _ => error,
            };
            self.record(Origin::Plain, record, out).map_err(refuse)?;
        }
        Ok(())
    }

    pub(super) fn forget_offset(&mut self, key: OffsetCommitKey, out: &mut Output<GroupAnswer>) {
        let record = GroupRecord::Offset { key, value: None };
        let _ = self.record(Origin::Plain, record, out);
    }
}

/// Error codes for TxnOffsetCommit: producers know generations, not member epochs.
fn of_producer(error: ErrorCode, in_transaction: bool) -> ErrorCode {
    match error {
        ErrorCode::StaleMemberEpoch if in_transaction => ErrorCode::IllegalGeneration,
        error => error,
    }
}

/// Whether a committed offset belongs to the requested topic. The offset of a deleted topic does not belong to a new topic of
/// the same name. An unknown topic id (zero) matches every topic.
fn same_topic(committed: Uuid, asked: Uuid) -> bool {
    committed.is_zero() || asked.is_zero() || committed == asked
}
