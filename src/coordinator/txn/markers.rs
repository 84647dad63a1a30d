//! task: writes the markers that end a transaction, until all are written.
//!
//! A marker for a partition of `__consumer_offsets` goes through the group coordinator, which applies the transaction's
//! offsets; all other markers are written to their partitions directly. Partitions that another broker leads get their markers
//! from that broker (WriteTxnMarkers, one request for each broker).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytestring::ByteString;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::machine::{Outcome, Partitions};
use super::request::{Markers, TxnRequest};
use super::shard::TxnShard;
use crate::base::ids::{BrokerId, PartitionIndex};
use crate::coordinator::elsewhere::Elsewhere;
use crate::coordinator::group::handle::GroupHandle;
use crate::coordinator::runtime::handle::{Coordinator, WeakCoordinator};
use crate::coordinator::runtime::shard::Marker;
use crate::coordinator::topic::GROUP_TOPIC;
use crate::host::task::joined;
use crate::log::append::Origin;
use crate::log::producer_state::MarkerRules;
use crate::replica::leader::Acknowledged;
use crate::replica::manager::ReplicaManager;
use crate::replica::partition::{Acks, Terms, Uncommitted};
use crate::replica::produce::until_committed;
use crate::wire::batch::builder::BatchBuilder;
use crate::wire::batch::compression::Compression;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::write_txn_markers::{
    WritableTxnMarker, WritableTxnMarkerTopic, WriteTxnMarkersRequest,
};

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
    /// The brokers that lead other partitions; `None` if there are none.
    elsewhere: Option<Elsewhere>,
}

/// A partition of a topic.
type Place = (ByteString, PartitionIndex);

impl MarkerWriter {
    pub fn new(
        replicas: ReplicaManager,
        groups: GroupHandle,
        elsewhere: Option<Elsewhere>,
    ) -> Self {
        Self {
            replicas,
            groups,
            elsewhere,
        }
    }

    /// Writes one marker to partitions that this node leads. Returns the results in order.
    pub async fn write(
        &self,
        places: &[Place],
        marker: Marker,
        rules: MarkerRules,
    ) -> Vec<Result<(), ErrorCode>> {
        let mut results = Vec::with_capacity(places.len());
        let (mut appends, mut waiting) = (Vec::new(), Vec::new());
        let mut began = Instant::now();
        for (at, (topic, partition)) in places.iter().enumerate() {
            if began.elapsed() >= SLICE {
                tokio::task::yield_now().await;
                began = Instant::now();
            }
            let result = if topic == GROUP_TOPIC {
                self.end_offsets(*partition, marker, rules).await
            } else {
                let appended = self.append(topic, *partition, marker, rules);
                appended.map(|append| {
                    if let Some(append) = append {
                        appends.push(append);
                        waiting.push(at);
                    }
                })
            };
            results.push(result);
        }
        if !appends.is_empty() {
            let deadline = Instant::now() + COMMITTED_WITHIN;
            let committed = until_committed(self.replicas.waiters(), &appends, deadline).await;
            for (at, result) in waiting.into_iter().zip(committed) {
                results[at] = result;
            }
        }
        results
    }

    async fn end_offsets(
        &self,
        partition: PartitionIndex,
        marker: Marker,
        rules: MarkerRules,
    ) -> Result<(), ErrorCode> {
        self.replicas.partition(GROUP_TOPIC, partition)?;
        self.groups.end_transaction(partition, marker, rules).await
    }

    /// Appends a marker. Returns what is left to be replicated.
    fn append(
        &self,
        topic: &str,
        partition: PartitionIndex,
        marker: Marker,
        rules: MarkerRules,
    ) -> Result<Option<Uncommitted>, ErrorCode> {
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
        let append = Uncommitted {
            partition,
            epoch: terms.epoch,
            end: appended.last_offset + 1,
        };
        Ok((acknowledged != Acknowledged::Yes).then_some(append))
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
        let version = errand.transaction_version;
        let mut left: Partitions = errand.partitions;
        loop {
            left = self.attempt(left, marker, version).await;
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
        transaction_version: i16,
    ) -> Partitions {
        let mut own: Vec<Place> = Vec::new();
        let mut theirs: BTreeMap<BrokerId, Vec<Place>> = BTreeMap::new();
        for (topic, indexes) in partitions {
            for index in indexes {
                let leader = self.elsewhere.as_ref();
                let leader = leader.and_then(|others| others.leader(&topic, index));
                let places = match leader {
                    Some(broker) => theirs.entry(broker).or_default(),
                    None => &mut own,
                };
                places.push((topic.clone(), index));
            }
        }
        // All brokers at once: one that does not answer holds up none of the others.
        let mut asked = JoinSet::new();
        if let Some(elsewhere) = &self.elsewhere {
            let threads = &self.replicas.logs().host().threads;
            for (broker, places) in theirs {
                let sending = send(
                    elsewhere.clone(),
                    broker,
                    places,
                    marker,
                    transaction_version,
                );
                threads.spawn_among(&mut asked, sending);
            }
        }
        let rules = MarkerRules::of(transaction_version);
        let written = self.write(&own, marker, rules).await;
        let mut left = Partitions::new();
        for ((topic, index), result) in own.into_iter().zip(written) {
            match result {
                Ok(())
                // The partition is deleted or has a later transaction, so there is nothing to end.
                | Err(
                    ErrorCode::UnknownTopicOrPartition
                    | ErrorCode::InvalidProducerEpoch
                    | ErrorCode::TransactionCoordinatorFenced,
                ) => {}
                Err(error) => {
                    tracing::debug!(%topic, partition = index, %error, "a marker was refused");
                    left.entry(topic).or_default().insert(index);
                }
            }
        }
        while let Some(refused) = asked.join_next().await {
            for (topic, index) in joined(refused).await {
                left.entry(topic).or_default().insert(index);
            }
        }
        left
    }
}

/// Has another broker write a marker to partitions that it leads. Returns the partitions to try again.
async fn send(
    elsewhere: Elsewhere,
    broker: BrokerId,
    places: Vec<Place>,
    marker: Marker,
    transaction_version: i16,
) -> Vec<Place> {
    let mut topics: Vec<WritableTxnMarkerTopic> = Vec::new();
    for (topic, index) in &places {
        match topics.last_mut() {
            Some(last) if last.name == *topic => last.partition_indexes.push(*index),
            _ => topics.push(WritableTxnMarkerTopic {
                name: topic.clone(),
                partition_indexes: vec![*index],
            }),
        }
    }
    let request = WriteTxnMarkersRequest {
        markers: vec![WritableTxnMarker {
            producer_id: marker.producer_id,
            producer_epoch: marker.producer_epoch,
            transaction_result: marker.commit,
            topics,
            coordinator_epoch: marker.coordinator_epoch,
            transaction_version: i8::try_from(transaction_version).unwrap_or(i8::MAX),
        }],
    };
    let answer = match elsewhere.ask(broker, &request).await {
        Ok(answer) => answer,
        Err(error) => {
            tracing::debug!(broker, %error, "a broker writes no markers yet");
            return places;
        }
    };
    let mut written = BTreeSet::new();
    for topic in answer.markers.into_iter().flat_map(|one| one.topics) {
        for one in topic.partitions {
            match ErrorCode::from_code(one.error_code) {
                // The partition has a later transaction, or a later coordinator of this one has written to it.
                Some(
                    ErrorCode::None
                    | ErrorCode::InvalidProducerEpoch
                    | ErrorCode::TransactionCoordinatorFenced
                    | ErrorCode::UnsupportedForMessageFormat,
                ) => {
                    written.insert((topic.name.clone(), one.partition_index));
                }
                // The broker may not know a new partition yet. A deleted one has no leader in the next attempt.
                code => {
                    tracing::debug!(broker, topic = %topic.name, partition = one.partition_index, ?code, "a marker was refused");
                }
            }
        }
    }
    let mut left = places;
    left.retain(|place| !written.contains(place));
    left
}
