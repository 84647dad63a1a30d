//! task: writes the markers that end a transaction, partition by partition, until all are written.
//!
//! A marker for a partition of `__consumer_offsets` goes through the group coordinator, which applies the transaction's
//! offsets; all other markers are written to their partitions directly.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::machine::{Outcome, Partitions};
use super::request::{Markers, TxnRequest};
use super::shard::TxnShard;
use crate::base::ids::PartitionIndex;
use crate::coordinator::group::handle::GroupHandle;
use crate::coordinator::runtime::handle::{Coordinator, WeakCoordinator};
use crate::coordinator::runtime::shard::Marker;
use crate::coordinator::topic::GROUP_TOPIC;
use crate::log::append::Origin;
use crate::log::producer_state::MarkerRules;
use crate::replica::leader::Acknowledged;
use crate::replica::manager::ReplicaManager;
use crate::replica::partition::{Acks, Terms, Uncommitted};
use crate::replica::produce::until_committed;
use crate::wire::batch::builder::BatchBuilder;
use crate::wire::batch::compression::Compression;
use crate::wire::error_code::ErrorCode;

/// Delay between two attempts at partitions that refused the marker.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// Time limit for the replication of a marker; then it is written again.
const COMMITTED_WITHIN: Duration = Duration::from_secs(30);

/// Time for which markers are written before the task yields its thread: a transaction may have a hundred thousand partitions.
const SLICE: Duration = Duration::from_millis(1);

/// Writer of transaction markers. It is cheap to clone.
#[derive(Clone, Debug)]
pub struct MarkerWriter {
    replicas: ReplicaManager,
    groups: GroupHandle,
}

impl MarkerWriter {
    pub fn new(replicas: ReplicaManager, groups: GroupHandle) -> Self {
        Self { replicas, groups }
    }

    /// Writes one marker to one partition of this node.
    pub async fn write(
        &self,
        topic: &str,
        partition: PartitionIndex,
        marker: Marker,
        rules: MarkerRules,
    ) -> Result<(), ErrorCode> {
        if topic == GROUP_TOPIC {
            self.replicas.partition(topic, partition)?;
            return self.groups.end_transaction(partition, marker, rules).await;
        }
        let now = self.replicas.clock().now();
        let mut builder = BatchBuilder::new(Compression::None)
            .producer(marker.producer_id, marker.producer_epoch, -1)
            .transactional()
            .control();
        let mut value = [0u8; 6];
        value[2..].copy_from_slice(&marker.coordinator_epoch.to_be_bytes());
        builder.push(now, Some(&[0, 0, 0, u8::from(marker.commit)]), Some(&value));
        let partition = self.replicas.partition(topic, partition)?;
        let terms = Terms {
            epoch: partition.leads_in()?,
            acks: Acks::All,
            origin: Origin::Marker(rules),
        };
        let appended = partition.append(&builder.build(), terms, now);
        let (appended, acknowledged) = appended.map_err(|error| error.code())?;
        if acknowledged == Acknowledged::Yes {
            return Ok(());
        }
        let append = Uncommitted {
            partition,
            epoch: terms.epoch,
            end: appended.last_offset + 1,
        };
        let deadline = Instant::now() + COMMITTED_WITHIN;
        let committed = until_committed(self.replicas.waiters(), &[append], deadline).await;
        committed.into_iter().collect()
    }

    /// Runs the errand of a shard: writes all markers, then tells the shard.
    pub async fn run(
        self,
        coordinator: WeakCoordinator<TxnShard>,
        partition: PartitionIndex,
        errand: Markers,
    ) {
        let marker = Marker {
            producer_id: errand.speaker.producer_id,
            producer_epoch: errand.speaker.epoch,
            coordinator_epoch: errand.coordinator_epoch,
            commit: errand.outcome == Outcome::Commit,
        };
        let rules = MarkerRules::of(errand.transaction_version);
        let mut left: Partitions = errand.partitions;
        loop {
            left = self.attempt(left, marker, rules).await;
            if left.is_empty() {
                break;
            }
            tokio::time::sleep(RETRY_AFTER).await;
            if coordinator.upgrade().is_none() {
                return;
            }
        }
        loop {
            let Some(coordinator) = coordinator.upgrade() else {
                return;
            };
            let written = TxnRequest::MarkersWritten(errand.speaker.clone());
            match Coordinator::ask(&coordinator, partition, written).await {
                // The transaction's new coordinator writes the markers again.
                Ok(_) | Err(ErrorCode::NotCoordinator | ErrorCode::CoordinatorLoadInProgress) => {
                    return;
                }
                Err(error) => {
                    tracing::warn!(transactional_id = %errand.speaker.transactional_id, %error, "a transaction cannot be completed yet");
                }
            }
            tokio::time::sleep(RETRY_AFTER).await;
        }
    }

    /// Tries to write the markers; returns the partitions to try again.
    async fn attempt(
        &self,
        partitions: Partitions,
        marker: Marker,
        rules: MarkerRules,
    ) -> Partitions {
        let mut left = BTreeMap::new();
        let mut began = Instant::now();
        for (topic, indexes) in partitions {
            for index in indexes {
                if began.elapsed() >= SLICE {
                    tokio::task::yield_now().await;
                    began = Instant::now();
                }
                match self.write(&topic, index, marker, rules).await {
                    Ok(())
                    // The partition is deleted or has a later transaction, so there is nothing to end.
                    | Err(
                        ErrorCode::UnknownTopicOrPartition
                        | ErrorCode::InvalidProducerEpoch
                        | ErrorCode::TransactionCoordinatorFenced,
                    ) => {}
                    Err(error) => {
                        tracing::debug!(%topic, partition = index, %error, "a marker was refused");
                        left.entry(topic.clone())
                            .or_insert_with(std::collections::BTreeSet::new)
                            .insert(index);
                    }
                }
            }
        }
        left
    }
}
