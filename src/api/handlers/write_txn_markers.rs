//! WriteTxnMarkers (key 27), v0 to v2. KIP-98, KIP-664 (aborts of hanging transactions by administrators), KIP-1228 (the
//! transaction's version, v2).
//!
//! This broker's own coordinator writes markers directly. The requests come from other brokers and from Kafka's tool
//! `kafka-transactions.sh abort`.

use std::collections::HashSet;

use bytestring::ByteString;
use indexmap::IndexMap;

use crate::api::context::{Reply, RequestContext};
use crate::coordinator::runtime::shard::Marker;
use crate::log::producer_state::MarkerRules;
use crate::security::acl::Operation;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::write_txn_markers::{
    WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult,
    WriteTxnMarkersRequest, WriteTxnMarkersResponse,
};

pub fn handle(
    context: RequestContext,
    request: WriteTxnMarkersRequest,
) -> Reply<WriteTxnMarkersResponse> {
    let altered = context.rights().has_of_cluster(Operation::Alter);
    let allowed = match altered {
        true => Ok(()),
        false => context.requires_of_cluster(Operation::ClusterAction),
    };
    Reply::later(async move {
        let writer = context.services.txns.markers();
        // By producer, topic and partition. Kafka differs: it never answers a request that names a partition twice for one
        // producer.
        let mut results: IndexMap<_, IndexMap<_, IndexMap<_, ErrorCode>>> = IndexMap::new();
        let mut written = HashSet::new();
        for wanted in request.markers {
            let marker = Marker {
                producer_id: wanted.producer_id,
                producer_epoch: wanted.producer_epoch,
                coordinator_epoch: wanted.coordinator_epoch,
                commit: wanted.transaction_result,
            };
            let rules = MarkerRules::of(wanted.transaction_version.into());
            let topics = results.entry(wanted.producer_id).or_default();
            let mut places = Vec::new();
            for topic in wanted.topics {
                topics.entry(topic.name.clone()).or_default();
                let indexes = topic.partition_indexes.into_iter();
                let named = indexes.map(|index| (topic.name.clone(), index));
                places.extend(named.filter(|place| written.insert((place.clone(), marker))));
            }
            let outcomes = match allowed {
                Ok(()) => writer.write(&places, marker, rules).await,
                Err(error) => vec![Err(error); places.len()],
            };
            for ((topic, partition), outcome) in places.into_iter().zip(outcomes) {
                let error = outcome.err().unwrap_or(ErrorCode::None);
                topics.entry(topic).or_default().insert(partition, error);
            }
        }
        let markers = results
            .into_iter()
            .map(|(producer_id, topics)| WritableTxnMarkerResult {
                producer_id,
                topics: topics.into_iter().map(of_topic).collect(),
            })
            .collect();
        WriteTxnMarkersResponse { markers }
    })
}

fn of_topic(
    (name, partitions): (ByteString, IndexMap<i32, ErrorCode>),
) -> WritableTxnMarkerTopicResult {
    let of_partition =
        |(partition_index, error): (i32, ErrorCode)| WritableTxnMarkerPartitionResult {
            partition_index,
            error_code: error.code(),
        };
    WritableTxnMarkerTopicResult {
        name,
        partitions: partitions.into_iter().map(of_partition).collect(),
    }
}
