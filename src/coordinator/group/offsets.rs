//! pure: committed offsets of groups, and offsets that are pending in transactions.

use std::collections::{BTreeMap, BTreeSet};

use bytestring::ByteString;

use super::record::offset_commit::{OffsetCommitKey, OffsetCommitValue};
use crate::base::ids::{LeaderEpoch, Offset, PartitionIndex, ProducerId, Uuid};
use crate::base::small_map::SmallMap;
use crate::base::time::Timestamp;
use crate::coordinator::runtime::shard::{Origin, total_cost};

/// Committed offset of a group for one partition.
#[derive(Clone, Debug, PartialEq)]
pub struct Committed {
    pub offset: Offset,
    /// -1 if the client did not send it.
    pub leader_epoch: LeaderEpoch,
    pub metadata: ByteString,
    pub committed_at: Timestamp,
    /// Expiry time requested by the client (before KIP-211); -1 for none.
    pub expires_at: Timestamp,
    /// Id of the topic; zero if unknown. The offset does not belong to another topic of the same name.
    pub topic_id: Uuid,
    /// Position among all offset records of the shard. The later record wins, in whatever order transactions end.
    position: u64,
}

/// A small map, because most groups have offsets of few topics, and many of them of a single partition.
type OfPartitions = SmallMap<PartitionIndex, Committed>;
type OfTopics = SmallMap<ByteString, OfPartitions>;
type OfGroups = BTreeMap<ByteString, OfTopics>;

/// All offsets of a shard.
#[derive(Clone, Debug, Default)]
pub struct Offsets {
    committed: OfGroups,
    pending: BTreeMap<ProducerId, OfGroups>,
    /// Keys of `pending`, ordered by group, topic and partition.
    pending_in: BTreeSet<(ByteString, ByteString, PartitionIndex, ProducerId)>,
    applied: u64,
    /// Number of committed offsets.
    count: usize,
}

impl Offsets {
    pub fn apply(
        &mut self,
        origin: Origin,
        key: &OffsetCommitKey,
        value: Option<&OffsetCommitValue>,
    ) {
        self.applied += 1;
        let Some(value) = value else {
            self.remove(key);
            return;
        };
        let committed = Committed {
            offset: value.offset,
            leader_epoch: value.leader_epoch,
            metadata: value.metadata.clone(),
            committed_at: value.commit_timestamp,
            expires_at: value.expire_timestamp,
            topic_id: value.topic_id,
            position: self.applied,
        };
        match origin {
            Origin::Plain => {
                self.count += usize::from(insert(&mut self.committed, key, committed));
            }
            Origin::Transaction(producer) => {
                if insert(self.pending.entry(producer).or_default(), key, committed) {
                    self.pending_in.insert(place(key, producer));
                }
            }
        }
    }

    /// Ends a producer's transaction: its pending offsets are committed or discarded.
    pub fn end_transaction(&mut self, producer: ProducerId, commit: bool) {
        for (group, topics) in self.pending.remove(&producer).unwrap_or_default() {
            for (topic, partitions) in topics {
                for (partition, committed) in partitions {
                    let key = OffsetCommitKey {
                        group: group.clone(),
                        topic: topic.clone(),
                        partition,
                    };
                    self.pending_in.remove(&place(&key, producer));
                    let newer = self
                        .get(&key.group, &key.topic, partition)
                        .is_none_or(|there| there.position < committed.position);
                    if commit && newer {
                        self.count += usize::from(insert(&mut self.committed, &key, committed));
                    }
                }
            }
        }
    }

    pub fn get(&self, group: &str, topic: &str, partition: PartitionIndex) -> Option<&Committed> {
        self.committed.get(group)?.get(topic)?.get(&partition)
    }

    /// Committed offsets of a group by topic.
    pub fn of_group(&self, group: &str) -> impl Iterator<Item = (&ByteString, &OfPartitions)> {
        self.committed.get(group).into_iter().flatten()
    }

    /// Keys of a group's committed offsets.
    pub fn keys(&self, group: &ByteString) -> Vec<OffsetCommitKey> {
        self.of_group(group)
            .flat_map(|(topic, partitions)| {
                partitions.keys().map(|partition| OffsetCommitKey {
                    group: group.clone(),
                    topic: topic.clone(),
                    partition: *partition,
                })
            })
            .collect()
    }

    /// Keys of a group's offsets that are pending in transactions.
    pub fn pending_keys(&self, group: &ByteString) -> Vec<OffsetCommitKey> {
        let mut keys: Vec<_> = self
            .pending_from(group, &ByteString::new(), i32::MIN)
            .take_while(|(of, ..)| of == group)
            .map(|(_, topic, partition, _)| OffsetCommitKey {
                group: group.clone(),
                topic: topic.clone(),
                partition: *partition,
            })
            .collect();
        keys.dedup();
        keys
    }

    /// Number of committed offsets of all groups.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Approximate cost of visiting all offsets of a group.
    pub fn cost_of(&self, group: &ByteString) -> usize {
        let committed = self
            .of_group(group)
            .map(|(_, partitions)| 1 + partitions.len());
        let pending = self
            .pending_from(group, &ByteString::new(), i32::MIN)
            .take_while(|(of, ..)| of == group)
            .map(|_| 1);
        total_cost(committed.chain(pending))
    }

    /// Approximate cost of visiting the offsets of a producer's open transaction.
    pub fn cost_of_transaction(&self, producer: ProducerId) -> usize {
        let groups = self.pending.get(&producer).into_iter().flatten();
        let topics = groups.flat_map(|(_, topics)| topics);
        total_cost(topics.map(|(_, partitions)| 1 + partitions.len()))
    }

    /// Approximate cost of visiting the offsets of a topic.
    pub fn cost_of_topic(&self) -> usize {
        self.committed.len() + self.pending.len()
    }

    pub fn is_empty(&self, group: &str) -> bool {
        !self.committed.contains_key(group)
    }

    /// Whether an offset of this partition is pending in a transaction.
    pub fn is_unstable(&self, group: &ByteString, topic: &ByteString, partition: i32) -> bool {
        self.pending_from(group, topic, partition)
            .next()
            .is_some_and(|(in_group, of_topic, index, _)| {
                (in_group, of_topic, *index) == (group, topic, partition)
            })
    }

    /// Whether any offset of the group is pending in a transaction.
    pub fn has_unstable(&self, group: &ByteString) -> bool {
        self.pending_from(group, &ByteString::new(), i32::MIN)
            .next()
            .is_some_and(|(of, ..)| of == group)
    }

    /// Keys of pending offsets, starting at the given one.
    fn pending_from<'a>(
        &'a self,
        group: &ByteString,
        topic: &ByteString,
        partition: PartitionIndex,
    ) -> impl Iterator<Item = &'a (ByteString, ByteString, PartitionIndex, ProducerId)> + use<'a>
    {
        let first = (group.clone(), topic.clone(), partition, ProducerId::MIN);
        self.pending_in.range(first..)
    }

    /// Keys of all offsets of a topic, committed and pending.
    pub fn keys_of_topic(&self, topic: &str) -> Vec<OffsetCommitKey> {
        let mut keys = Vec::new();
        for groups in std::iter::once(&self.committed).chain(self.pending.values()) {
            for (group, topics) in groups {
                let Some((topic, partitions)) = topics.get_key_value(topic) else {
                    continue;
                };
                keys.extend(partitions.keys().map(|partition| OffsetCommitKey {
                    group: group.clone(),
                    topic: topic.clone(),
                    partition: *partition,
                }));
            }
        }
        keys.sort_by(|a, b| (&a.group, a.partition).cmp(&(&b.group, b.partition)));
        keys.dedup();
        keys
    }

    fn remove(&mut self, key: &OffsetCommitKey) {
        self.count -= usize::from(take(&mut self.committed, key));
        let producers: Vec<ProducerId> = self
            .pending_from(&key.group, &key.topic, key.partition)
            .take_while(|(group, topic, partition, _)| {
                (group, topic, *partition) == (&key.group, &key.topic, key.partition)
            })
            .map(|(.., producer)| *producer)
            .collect();
        for producer in producers {
            self.pending_in.remove(&place(key, producer));
            if let Some(groups) = self.pending.get_mut(&producer) {
                take(groups, key);
                if groups.is_empty() {
                    self.pending.remove(&producer);
                }
            }
        }
    }

    /// State that two shards must have in common after reading the same log.
    #[cfg(test)]
    pub fn facts(&self) -> (&impl std::fmt::Debug, &impl std::fmt::Debug) {
        let topics = self.committed.values().flatten();
        let there: usize = topics.map(|(_, partitions)| partitions.len()).sum();
        assert_eq!(self.count, there);
        (&self.committed, &self.pending)
    }
}

/// Inserts or replaces an offset. Returns whether the key is new.
fn insert(groups: &mut OfGroups, key: &OffsetCommitKey, committed: Committed) -> bool {
    // Most commits replace an offset, so the names are cloned only for new keys.
    if let Some(there) = groups
        .get_mut(&key.group)
        .and_then(|topics| topics.get_mut(&key.topic))
        .and_then(|partitions| partitions.get_mut(&key.partition))
    {
        *there = committed;
        return false;
    }
    let topics = groups.entry(key.group.clone()).or_default();
    if let Some(partitions) = topics.get_or_default(&key.topic) {
        partitions.insert(key.partition, committed);
    }
    true
}

/// Removes an offset. Returns whether it existed.
fn take(groups: &mut OfGroups, key: &OffsetCommitKey) -> bool {
    let Some(topics) = groups.get_mut(&key.group) else {
        return false;
    };
    let Some(partitions) = topics.get_mut(&key.topic) else {
        return false;
    };
    let was = partitions.remove(&key.partition).is_some();
    if partitions.is_empty() {
        topics.remove(&key.topic);
    }
    if topics.is_empty() {
        groups.remove(&key.group);
    }
    was
}

fn place(
    key: &OffsetCommitKey,
    producer: ProducerId,
) -> (ByteString, ByteString, PartitionIndex, ProducerId) {
    let (group, topic) = (key.group.clone(), key.topic.clone());
    (group, topic, key.partition, producer)
}
