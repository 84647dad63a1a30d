//! Changes of ISRs that the controller shall make, as the leaders of partitions ask for them. Nothing sends AlterPartition yet: this node
//! is the only one of its cluster, and no other broker can join an ISR.

use std::sync::Arc;

use indexmap::IndexMap;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::leader::Proposal;
use super::partition::Partition;
use crate::base::ids::{PartitionIndex, Uuid};

/// What the leader of a partition wants.
pub type Change = (Arc<Partition>, Proposal);

/// See the module. One change for each partition, the newest: it cannot have more than the partitions of this node.
#[derive(Debug, Default)]
pub struct IsrChanges {
    pending: Mutex<IndexMap<(Uuid, PartitionIndex), Change>>,
    wake: Notify,
}

impl IsrChanges {
    pub fn put(&self, partition: &Arc<Partition>, proposal: Proposal) {
        let key = (partition.topic_id, partition.index);
        let change = (Arc::clone(partition), proposal);
        self.pending.lock().insert(key, change);
        self.wake.notify_one();
    }

    /// All of them, in the order in which the partitions came.
    pub fn take(&self) -> Vec<Change> {
        let taken = std::mem::take(&mut *self.pending.lock());
        taken.into_values().collect()
    }

    /// Waits until there may be some.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }
}
