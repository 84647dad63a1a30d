//! pure: DescribeGroups, ListGroups and DeleteGroups, and the expiry of offsets and of unused groups.

use bytestring::ByteString;

use super::any::Group;
use super::classic::group::State;
use super::classic::rebalance::GroupTimer;
use super::record::GroupRecord;
use super::record::offset_commit::OffsetCommitKey;
use super::request::GroupAnswer;
use super::shard::GroupShard;
use crate::coordinator::runtime::shard::{Moment, Origin, Output};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::describe_groups::{DescribedGroup, DescribedGroupMember};
use crate::wire::message::list_groups::ListedGroup;

impl GroupShard {
    pub(super) fn describe(&self, id: &ByteString, unknown_is_error: bool) -> DescribedGroup {
        let mut answer = DescribedGroup {
            group_id: id.clone(),
            ..DescribedGroup::default()
        };
        let Some(group) = self.classic(id) else {
            answer.group_state = ByteString::from_static("Dead");
            if unknown_is_error {
                answer.error_code = ErrorCode::GroupIdNotFound.code();
                let why = match self.groups.contains_key(id) {
                    true => format!("Group {id} is not a classic group."),
                    false => format!("Group {id} not found."),
                };
                answer.error_message = Some(why.into());
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
                // During a rebalance Kafka shows the members' former assignments.
                member_assignment: member.assignment.clone(),
            })
            .collect();
        answer.protocol_data = protocol.unwrap_or_default();
        answer
    }

    pub(super) fn list(&self, states: &[ByteString], types: &[ByteString]) -> Vec<ListedGroup> {
        let wanted = |filter: &[ByteString], is: &str| {
            filter.is_empty() || filter.iter().any(|one| one.eq_ignore_ascii_case(is))
        };
        self.groups
            .iter()
            .filter(|(_, group)| wanted(types, group.type_name()))
            .filter(|(_, group)| wanted(states, group.state_name()))
            .map(|(id, group)| ListedGroup {
                group_id: id.clone(),
                protocol_type: group.protocol_type(),
                group_state: ByteString::from_static(group.state_name()),
                group_type: ByteString::from_static(group.type_name()),
            })
            .collect()
    }

    /// Deletes a group with its offsets.
    ///
    /// Errors: `RecordListTooLarge` when the tombstones do not fit into one batch. Those that fit are written.
    pub(super) fn delete_group(
        &mut self,
        id: &ByteString,
        out: &mut Output<GroupAnswer>,
    ) -> Result<(), ErrorCode> {
        let group = self.groups.get(id).ok_or(ErrorCode::GroupIdNotFound)?;
        let mut last = records_of(id, group)?;
        let mut keys = self.offsets.keys(id);
        keys.extend(self.offsets.pending_keys(id));
        let gone = |key| GroupRecord::Offset { key, value: None };
        let mut records: Vec<GroupRecord> = keys.into_iter().map(gone).collect();
        records.append(&mut last);
        for (index, record) in records.into_iter().enumerate() {
            // The tombstone of the group itself comes last. After `RecordListTooLarge` the caller asks again, so that error is
            // not returned when not even the first record fits.
            let refuse = |error| match index {
                0 => ErrorCode::UnknownServerError,
                _ => error,
            };
            self.record(Origin::Plain, record, out).map_err(refuse)?;
        }
        Ok(())
    }

    pub(super) fn expire_offsets(&mut self, now: Moment, out: &mut Output<GroupAnswer>) {
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
            if all_expired && group.may_expire() && !self.offsets.has_unstable(id) {
                deserted.push(id.clone());
            }
        }
        for key in expired {
            self.forget_offset(key, out);
        }
        for id in deserted {
            // A group is removed only after all of its offsets. Tombstones that did not fit into this batch are written in the
            // next round.
            if self.offsets.is_empty(&id) {
                self.forget_group(&id, out);
            }
        }
    }

    pub(super) fn set_expiry_timer(&mut self, now: Moment) {
        let at = now.after(self.settings.offsets_retention_check_ms.max(1));
        self.timers.set(GroupTimer::ExpireOffsets, at);
    }

    fn forget_group(&mut self, id: &ByteString, out: &mut Output<GroupAnswer>) {
        let Some(group) = self.groups.get(id) else {
            return;
        };
        let Ok(records) = records_of(id, group) else {
            return;
        };
        let classic = group.as_classic().into_iter();
        let pending: Vec<ByteString> = classic
            .flat_map(|group| group.pending_join.iter())
            .cloned()
            .collect();
        // If the records do not fit into this batch, the group is removed in the next round.
        if self.records(Origin::Plain, &records, out).is_ok() {
            self.forget_sessions(id, &pending);
        }
    }
}

/// Tombstones that remove a group. Its offsets are not included.
fn records_of(id: &ByteString, group: &Group) -> Result<Vec<GroupRecord>, ErrorCode> {
    let records = group.tombstones(id)?;
    Ok(match group {
        Group::Classic(_) => vec![GroupRecord::Group {
            group: id.clone(),
            value: None,
        }],
        _ => records.into_iter().map(GroupRecord::Modern).collect(),
    })
}
