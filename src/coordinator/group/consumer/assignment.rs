//! pure: sets of partitions, grouped by topic.

use crate::base::ids::Uuid;

/// Partitions grouped by topic. Topics and partitions are sorted, and every topic has at least one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignment {
    topics: Vec<(Uuid, Vec<i32>)>,
}

impl Assignment {
    /// Makes a set from topics and partitions in any order. Duplicates are allowed.
    pub fn new(named: impl IntoIterator<Item = (Uuid, Vec<i32>)>) -> Self {
        let mut topics: Vec<(Uuid, Vec<i32>)> = named.into_iter().collect();
        if !topics.is_sorted_by(|a, b| a.0 < b.0) {
            topics.sort_by_key(|(id, _)| *id);
            topics.dedup_by(|later, first| {
                let same = later.0 == first.0;
                if same {
                    first.1.append(&mut later.1);
                }
                same
            });
        }
        for (_, partitions) in &mut topics {
            if !partitions.is_sorted_by(|a, b| a < b) {
                partitions.sort_unstable();
                partitions.dedup();
            }
        }
        topics.retain(|(_, partitions)| !partitions.is_empty());
        topics.shrink_to_fit();
        Self { topics }
    }

    pub fn iter(&self) -> impl Iterator<Item = (Uuid, &[i32])> {
        self.topics.iter().map(|(id, some)| (*id, &**some))
    }

    /// Iterates over all partitions.
    pub fn each(&self) -> impl Iterator<Item = (Uuid, i32)> {
        let topics = self.topics.iter();
        topics.flat_map(|(id, some)| some.iter().map(|one| (*id, *one)))
    }

    /// List with one entry for each topic, as messages and records have it.
    pub fn list<T>(&self, entry: impl Fn(Uuid, Vec<i32>) -> T) -> Vec<T> {
        self.iter()
            .map(|(id, some)| entry(id, some.to_vec()))
            .collect()
    }

    pub fn of(&self, topic: Uuid) -> &[i32] {
        let place = self.topics.binary_search_by_key(&topic, |(id, _)| *id);
        let found = place.ok().and_then(|place| self.topics.get(place));
        found.map_or(&[], |(_, partitions)| partitions)
    }

    pub fn contains(&self, topic: Uuid, partition: i32) -> bool {
        self.of(topic).binary_search(&partition).is_ok()
    }

    pub fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    pub fn count(&self) -> usize {
        self.topics.iter().map(|(_, some)| some.len()).sum()
    }
}

/// Partitions of a member, each with the epoch in which it was assigned to the member (KIP-1251).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owned {
    topics: Vec<(Uuid, Vec<(i32, i32)>)>,
}

impl Owned {
    /// Like [`Assignment::new`]. If a partition is named twice, its first epoch counts.
    pub fn new(named: impl IntoIterator<Item = (Uuid, Vec<(i32, i32)>)>) -> Self {
        let mut topics: Vec<(Uuid, Vec<(i32, i32)>)> = named.into_iter().collect();
        if !topics.is_sorted_by(|a, b| a.0 < b.0) {
            topics.sort_by_key(|(id, _)| *id);
            topics.dedup_by(|later, first| {
                let same = later.0 == first.0;
                if same {
                    first.1.append(&mut later.1);
                }
                same
            });
        }
        for (_, partitions) in &mut topics {
            if !partitions.is_sorted_by(|a, b| a.0 < b.0) {
                partitions.sort_by_key(|(index, _)| *index);
                partitions.dedup_by_key(|(index, _)| *index);
            }
        }
        topics.retain(|(_, partitions)| !partitions.is_empty());
        topics.shrink_to_fit();
        Self { topics }
    }

    pub fn iter(&self) -> impl Iterator<Item = (Uuid, &[(i32, i32)])> {
        self.topics.iter().map(|(id, some)| (*id, &**some))
    }

    /// Iterates over all partitions.
    pub fn each(&self) -> impl Iterator<Item = (Uuid, i32)> {
        let topics = self.topics.iter();
        topics.flat_map(|(id, some)| some.iter().map(|(index, _)| (*id, *index)))
    }

    pub fn of(&self, topic: Uuid) -> &[(i32, i32)] {
        let place = self.topics.binary_search_by_key(&topic, |(id, _)| *id);
        let found = place.ok().and_then(|place| self.topics.get(place));
        found.map_or(&[], |(_, partitions)| partitions)
    }

    /// Epoch in which the partition was assigned to the member.
    pub fn epoch_of(&self, topic: Uuid, partition: i32) -> Option<i32> {
        let partitions = self.of(topic);
        let place = partitions.binary_search_by_key(&partition, |(index, _)| *index);
        Some(partitions.get(place.ok()?)?.1)
    }

    pub fn contains(&self, topic: Uuid, partition: i32) -> bool {
        self.epoch_of(topic, partition).is_some()
    }

    pub fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// Whether the partitions are the same. Their epochs may differ.
    pub fn has_same_partitions(&self, other: &Self) -> bool {
        self.each().eq(other.each())
    }

    /// Union of both sets.
    pub fn with(&self, other: &Self) -> Self {
        let all = self.topics.iter().chain(&other.topics);
        Self::new(all.cloned())
    }

    pub fn plain(&self) -> Assignment {
        let topics = self.topics.iter();
        Assignment::new(
            topics.map(|(id, some)| (*id, some.iter().map(|(index, _)| *index).collect())),
        )
    }
}
