//! pure: the partitions of a topic, shared between images: only a partition that changes is copied.

use std::ops::Index;
use std::sync::Arc;

use imbl::Vector;
use imbl::shared_ptr::DefaultSharedPtr;

use super::Partition;

/// Partitions by index, without gaps. Clones share all partitions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partitions(Vector<Arc<Partition>>);

/// Iterator over the partitions in the order of their indexes.
pub type Iter<'a> = std::iter::Map<
    imbl::vector::Iter<'a, Arc<Partition>, DefaultSharedPtr>,
    fn(&'a Arc<Partition>) -> &'a Partition,
>;

impl Partitions {
    pub fn get(&self, index: usize) -> Option<&Partition> {
        self.0.get(index).map(|partition| &**partition)
    }

    pub fn iter<'a>(&'a self) -> Iter<'a> {
        let partition: fn(&'a Arc<Partition>) -> &'a Partition = |shared| shared;
        self.0.iter().map(partition)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Replaces the partition with this index, or adds a partition after the last. Returns false, without a change, if the
    /// index would leave a gap.
    pub(super) fn put(&mut self, index: usize, partition: Partition) -> bool {
        let partition = Arc::new(partition);
        if index == self.0.len() {
            self.0.push_back(partition);
            return true;
        }
        let there = self.0.get_mut(index);
        there.map(|there| *there = partition).is_some()
    }

    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut Partition> {
        self.0.get_mut(index).map(Arc::make_mut)
    }
}

impl Index<usize> for Partitions {
    type Output = Partition;

    fn index(&self, index: usize) -> &Partition {
        &self.0[index]
    }
}

impl<'a> IntoIterator for &'a Partitions {
    type Item = &'a Partition;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn led_by(leader: i32) -> Partition {
        Partition {
            replicas: vec![leader],
            directories: Vec::new(),
            isr: vec![leader],
            removing: Vec::new(),
            adding: Vec::new(),
            elr: Vec::new(),
            last_known_elr: Vec::new(),
            leader,
            leader_recovery_state: 0,
            leader_epoch: 0,
            partition_epoch: 0,
        }
    }

    #[test]
    fn there_are_no_gaps() {
        let mut partitions = Partitions::default();
        assert!(!partitions.put(1, led_by(1)));
        assert!(partitions.put(0, led_by(1)));
        assert!(partitions.put(1, led_by(2)));
        assert!(partitions.put(0, led_by(3)));
        assert!(!partitions.put(usize::MAX, led_by(4)));
        let leaders: Vec<_> = partitions.iter().map(|one| one.leader).collect();
        assert_eq!((leaders, partitions.len()), (vec![3, 2], 2));
    }

    /// A published image does not change, and shares all unchanged partitions with the next one.
    #[test]
    fn a_change_of_one_copies_no_other() {
        let mut before = Partitions::default();
        for index in 0..1_000 {
            before.put(index, led_by(1));
        }
        let mut after = before.clone();
        after.get_mut(700).unwrap().leader = 2;
        assert_eq!((before[700].leader, after[700].leader), (1, 2));
        let is_shared = |index: &usize| std::ptr::eq(&before[*index], &after[*index]);
        let copied: Vec<_> = (0..1_000).filter(|index| !is_shared(index)).collect();
        assert_eq!(copied, [700]);
    }
}
