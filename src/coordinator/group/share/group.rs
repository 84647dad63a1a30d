//! pure: one share group: its members with their target and current assignments, and the partitions whose states are
//! initialised (Kafka: `ShareGroup`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytestring::ByteString;

use crate::base::ids::Uuid;
use crate::base::memory::{Held, Memory, Purpose};
use crate::base::time::Timestamp;
use crate::coordinator::group::classic::group::owned;
use crate::coordinator::group::consumer::assignment::Assignment;
use crate::coordinator::group::consumer::group::{FIRST_EPOCH, LEAVE, count};
use crate::coordinator::group::record::share_group::{
    DeletingTopic, ShareGroupCurrentMemberAssignmentValue, ShareGroupMemberMetadataValue,
    ShareGroupMetadataValue, ShareGroupStatePartitionMetadataValue,
    ShareGroupTargetAssignmentMemberValue, ShareGroupTargetAssignmentMetadataValue,
    TopicPartitions, TopicPartitionsInfo,
};
use crate::coordinator::group::record::{Entry, Modern};
use crate::coordinator::group::settings::MEMBER_BYTES;
use crate::coordinator::runtime::timer::PutOff;

/// Subscription and other metadata that a member sends (record type 10).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profile {
    pub rack_id: Option<ByteString>,
    pub client_id: ByteString,
    pub client_host: ByteString,
    /// Subscribed topic names, sorted and without duplicates.
    pub topics: Vec<ByteString>,
}

impl Profile {
    /// Memory of a member with this profile.
    pub fn bytes(&self) -> usize {
        let topics: usize = self.topics.iter().map(|name| name.len()).sum();
        let rack = self.rack_id.as_ref().map_or(0, |rack| rack.len());
        MEMBER_BYTES + topics + rack + self.client_id.len() + self.client_host.len()
    }
}

/// Approximate bytes of memory of a partition in [`States`].
pub const PARTITION_BYTES: usize = 8;

/// Current assignment of a member (record type 14).
#[derive(Clone, Debug, PartialEq)]
pub struct Current {
    pub epoch: i32,
    pub previous_epoch: i32,
    pub assigned: Assignment,
}

impl Default for Current {
    fn default() -> Self {
        Self {
            epoch: LEAVE,
            previous_epoch: LEAVE,
            assigned: Assignment::default(),
        }
    }
}

/// One member.
#[derive(Clone, Debug, Default)]
pub struct Member {
    pub profile: Profile,
    pub current: Current,
    /// Deadline of the member's session.
    pub session: PutOff,
    /// Memory reservation for the profile.
    held: Option<Arc<Held>>,
}

/// Name of a topic, and some of its partitions.
pub type Named = (ByteString, BTreeSet<i32>);

/// Partitions by the progress of their states with the share coordinator (record type 15).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct States {
    pub initialising: BTreeMap<Uuid, Named>,
    pub initialised: BTreeMap<Uuid, Named>,
    /// Topics whose states are being deleted, for all of their partitions.
    pub deleting: BTreeMap<Uuid, ByteString>,
}

impl States {
    /// Marks partitions as being initialised.
    pub fn begin(&mut self, topic: Uuid, name: &ByteString, partitions: &BTreeSet<i32>) {
        put(&mut self.initialising, topic, name, partitions);
        take(&mut self.initialised, topic, partitions);
    }

    /// Marks partitions as initialised, as far as they are still being initialised.
    pub fn finish(&mut self, topic: Uuid, partitions: &BTreeSet<i32>) {
        let Some((name, waiting)) = self.initialising.get(&topic) else {
            return;
        };
        let done: BTreeSet<i32> = waiting.intersection(partitions).copied().collect();
        if !done.is_empty() {
            put(&mut self.initialised, topic, name, &done);
            take(&mut self.initialising, topic, &done);
        }
    }

    /// Number of partitions that are initialised or being initialised.
    pub fn partitions(&self) -> usize {
        let topics = self.initialised.values().chain(self.initialising.values());
        topics.map(|(_, partitions)| partitions.len()).sum()
    }

    /// Highest partition of a topic that is initialised or being initialised.
    pub fn highest(&self, topic: Uuid) -> Option<i32> {
        let of = |all: &BTreeMap<Uuid, Named>| all.get(&topic)?.1.last().copied();
        of(&self.initialised).max(of(&self.initialising))
    }

    /// Whether the partition may be assigned to members.
    pub fn is_initialised(&self, topic: Uuid, partition: i32) -> bool {
        let of_topic = self.initialised.get(&topic);
        of_topic.is_some_and(|(_, partitions)| partitions.contains(&partition))
    }

    pub fn is_initialising(&self, topic: Uuid, partition: i32) -> bool {
        let of_topic = self.initialising.get(&topic);
        of_topic.is_some_and(|(_, partitions)| partitions.contains(&partition))
    }

    pub fn record(&self, group: &ByteString) -> Modern {
        let infos = |all: &BTreeMap<Uuid, Named>| {
            let infos = all.iter();
            infos
                .map(|(topic_id, (name, partitions))| TopicPartitionsInfo {
                    topic_id: *topic_id,
                    topic_name: name.clone(),
                    partitions: partitions.iter().copied().collect(),
                })
                .collect()
        };
        let deleting = self.deleting.iter();
        let value = ShareGroupStatePartitionMetadataValue {
            initializing_topics: infos(&self.initialising),
            initialized_topics: infos(&self.initialised),
            deleting_topics: deleting
                .map(|(topic_id, name)| DeletingTopic {
                    topic_id: *topic_id,
                    topic_name: name.clone(),
                })
                .collect(),
        };
        Modern::SharePartitions(Entry::new(group, &ByteString::new(), value))
    }

    fn of(value: &ShareGroupStatePartitionMetadataValue) -> Self {
        let infos = |all: &[TopicPartitionsInfo]| {
            let named = all.iter().map(|info| {
                let partitions = info.partitions.iter().copied().collect();
                (info.topic_id, (info.topic_name.clone(), partitions))
            });
            named.collect()
        };
        let deleting = value.deleting_topics.iter();
        Self {
            initialising: infos(&value.initializing_topics),
            initialised: infos(&value.initialized_topics),
            deleting: deleting
                .map(|topic| (topic.topic_id, topic.topic_name.clone()))
                .collect(),
        }
    }
}

fn put(
    all: &mut BTreeMap<Uuid, Named>,
    topic: Uuid,
    name: &ByteString,
    partitions: &BTreeSet<i32>,
) {
    let of_topic = all.entry(topic);
    let of_topic = of_topic.or_insert_with(|| (owned(name), BTreeSet::new()));
    of_topic.1.extend(partitions);
}

fn take(all: &mut BTreeMap<Uuid, Named>, topic: Uuid, partitions: &BTreeSet<i32>) {
    if let Some((_, of_topic)) = all.get_mut(&topic) {
        of_topic.retain(|one| !partitions.contains(one));
        if of_topic.is_empty() {
            all.remove(&topic);
        }
    }
}

/// Share group. `apply` accepts records in any order, and some of them may be missing.
#[derive(Clone, Debug)]
pub struct ShareGroup {
    pub epoch: i32,
    /// Hash of the metadata of all subscribed topics.
    pub metadata_hash: i64,
    pub assignment_epoch: i32,
    /// Time at which the target assignment of `assignment_epoch` was made; 0 if unknown, or if there was nothing to assign.
    pub assigned_at: Timestamp,
    members: BTreeMap<ByteString, Box<Member>>,
    targets: BTreeMap<ByteString, Assignment>,
    /// Number of members that subscribe to each topic.
    named: BTreeMap<ByteString, usize>,
    pub states: States,
    /// Memory reservation for the states.
    held: Option<Arc<Held>>,
    /// Whether topics, members or states may have changed since the last check.
    pub is_stale: bool,
    /// Time of the unanswered request to the share coordinator (steady clock, in milliseconds); `None` if there is none.
    pub initialising_since: Option<i64>,
    /// Partitions that are being initialised and were added to a topic which the group reads.
    pub added: BTreeSet<(Uuid, i32)>,
    /// Whether the last initialisation failed, so that the next attempt is not urgent.
    pub has_failed: bool,
}

impl Default for ShareGroup {
    fn default() -> Self {
        Self {
            epoch: FIRST_EPOCH,
            metadata_hash: 0,
            assignment_epoch: FIRST_EPOCH,
            assigned_at: 0,
            members: BTreeMap::new(),
            targets: BTreeMap::new(),
            named: BTreeMap::new(),
            states: States::default(),
            held: None,
            // Metadata may have changed while the group was not loaded.
            is_stale: true,
            initialising_since: None,
            added: BTreeSet::new(),
            has_failed: false,
        }
    }
}

impl ShareGroup {
    pub fn members(&self) -> &BTreeMap<ByteString, Box<Member>> {
        &self.members
    }

    pub fn member(&self, id: &str) -> Option<&Member> {
        self.members.get(id).map(|member| &**member)
    }

    pub fn member_mut(&mut self, id: &str) -> Option<&mut Member> {
        self.members.get_mut(id).map(|member| &mut **member)
    }

    /// Whether the session of the member ends later than `now`.
    pub fn is_alive(&self, id: &str, now: i64) -> bool {
        self.member(id)
            .is_some_and(|member| member.session.is_later(now))
    }

    pub fn target_of(&self, member: &str) -> Option<&Assignment> {
        self.targets.get(member)
    }

    pub fn named(&self) -> &BTreeMap<ByteString, usize> {
        &self.named
    }

    pub fn state_name(&self) -> &'static str {
        match self.members.is_empty() {
            true => "Empty",
            false => "Stable",
        }
    }

    pub fn is_subscribed_to(&self, topic: &str) -> bool {
        self.named.contains_key(topic)
    }

    /// Whether all members have reached their target assignment, and no change is pending.
    pub fn has_settled(&self) -> bool {
        let mut members = self.members.values();
        !self.is_stale
            && self.epoch == self.assignment_epoch
            && self.states.initialising.is_empty()
            && members.all(|member| member.current.epoch == self.assignment_epoch)
    }

    /// Applies a record.
    pub fn apply(&mut self, record: &Modern, memory: &Arc<Memory>) {
        match record {
            Modern::ShareEpoch(Entry {
                value: Some(value), ..
            }) => {
                self.epoch = value.epoch;
                self.metadata_hash = value.metadata_hash;
            }
            Modern::ShareMember(Entry {
                of,
                value: Some(value),
                ..
            }) => {
                self.is_stale = true;
                let profile = profile(value);
                let held = memory.hold(Purpose::Members, profile.bytes());
                for name in &profile.topics {
                    count(&mut self.named, name, true);
                }
                let member = self.members.entry(of.clone()).or_default();
                let before = std::mem::replace(&mut member.profile, profile);
                member.held = Some(Arc::new(held));
                for name in &before.topics {
                    count(&mut self.named, name, false);
                }
            }
            Modern::ShareMember(entry) => {
                self.is_stale = true;
                if let Some(member) = self.members.remove(&entry.of) {
                    for name in &member.profile.topics {
                        count(&mut self.named, name, false);
                    }
                }
            }
            Modern::ShareTargetEpoch(entry) => {
                let value = entry.value.as_ref();
                self.assignment_epoch = value.map_or(FIRST_EPOCH, |value| value.assignment_epoch);
                self.assigned_at = value.map_or(0, |value| value.assignment_timestamp);
            }
            Modern::ShareTarget(Entry {
                of,
                value: Some(value),
                ..
            }) => drop(
                self.targets
                    .insert(of.clone(), said(&value.topic_partitions)),
            ),
            Modern::ShareTarget(entry) => drop(self.targets.remove(&entry.of)),
            Modern::ShareCurrent(Entry {
                of,
                value: Some(value),
                ..
            }) => {
                let member = self.members.entry(of.clone()).or_default();
                member.current = Current {
                    epoch: value.member_epoch,
                    previous_epoch: value.previous_member_epoch,
                    assigned: said(&value.assigned_partitions),
                };
            }
            Modern::ShareCurrent(entry) => {
                if let Some(member) = self.members.get_mut(&entry.of) {
                    member.current = Current::default();
                }
            }
            Modern::SharePartitions(entry) => {
                self.is_stale = true;
                self.states = entry.value.as_ref().map(States::of).unwrap_or_default();
                let bytes = self.states.partitions() * PARTITION_BYTES;
                self.held = Some(Arc::new(memory.hold(Purpose::Members, bytes)));
            }
            _ => {}
        }
    }

    /// Tombstones of all records of the group. The one of the group epoch removes the group, so it comes last.
    pub fn tombstones(&self, id: &ByteString) -> Vec<Modern> {
        let none = ByteString::new();
        let members = self.members.keys().flat_map(|member| gone(id, member));
        let targets = self.targets.keys();
        let targets = targets.filter(|member| !self.members.contains_key(*member));
        let targets = targets.map(|member| Modern::ShareTarget(Entry::gone(id, member)));
        let mut records: Vec<Modern> = members.chain(targets).collect();
        records.push(Modern::ShareTargetEpoch(Entry::gone(id, &none)));
        records.push(Modern::SharePartitions(Entry::gone(id, &none)));
        records.push(Modern::ShareEpoch(Entry::gone(id, &none)));
        records
    }
}

fn profile(value: &ShareGroupMemberMetadataValue) -> Profile {
    let mut topics = value.subscribed_topic_names.clone();
    if !topics.is_sorted_by(|a, b| a < b) {
        topics.sort();
        topics.dedup();
    }
    Profile {
        rack_id: value.rack_id.clone(),
        client_id: value.client_id.clone(),
        client_host: value.client_host.clone(),
        topics,
    }
}

fn said(topics: &[TopicPartitions]) -> Assignment {
    let topics = topics.iter();
    Assignment::new(topics.map(|topic| (topic.topic_id, topic.partitions.clone())))
}

fn partitions(assignment: &Assignment) -> Vec<TopicPartitions> {
    assignment.list(|topic_id, partitions| TopicPartitions {
        topic_id,
        partitions,
    })
}

/// Record of a member's profile. All strings are copied, because the group's state must not keep the request's buffer alive.
pub fn member_record(group: &ByteString, id: &ByteString, profile: &Profile) -> Modern {
    let value = ShareGroupMemberMetadataValue {
        rack_id: profile.rack_id.as_ref().map(|text| owned(text)),
        client_id: owned(&profile.client_id),
        client_host: owned(&profile.client_host),
        subscribed_topic_names: profile.topics.iter().map(|name| owned(name)).collect(),
    };
    Modern::ShareMember(Entry::new(group, id, value))
}

/// Tombstones of all records of a member.
pub fn gone(group: &ByteString, id: &ByteString) -> [Modern; 3] {
    [
        Modern::ShareCurrent(Entry::gone(group, id)),
        Modern::ShareTarget(Entry::gone(group, id)),
        Modern::ShareMember(Entry::gone(group, id)),
    ]
}

pub fn target_record(group: &ByteString, id: &ByteString, target: &Assignment) -> Modern {
    let value = ShareGroupTargetAssignmentMemberValue {
        topic_partitions: partitions(target),
    };
    Modern::ShareTarget(Entry::new(group, id, value))
}

pub fn target_epoch_record(group: &ByteString, epoch: i32, assigned_at: Timestamp) -> Modern {
    let value = ShareGroupTargetAssignmentMetadataValue {
        assignment_epoch: epoch,
        assignment_timestamp: assigned_at,
    };
    Modern::ShareTargetEpoch(Entry::new(group, &ByteString::new(), value))
}

pub fn current_record(group: &ByteString, id: &ByteString, current: &Current) -> Modern {
    let value = ShareGroupCurrentMemberAssignmentValue {
        member_epoch: current.epoch,
        previous_member_epoch: current.previous_epoch,
        state: 0,
        assigned_partitions: partitions(&current.assigned),
    };
    Modern::ShareCurrent(Entry::new(group, id, value))
}

pub fn epoch_record(group: &ByteString, epoch: i32, metadata_hash: i64) -> Modern {
    let value = ShareGroupMetadataValue {
        epoch,
        metadata_hash,
    };
    Modern::ShareEpoch(Entry::new(group, &ByteString::new(), value))
}
