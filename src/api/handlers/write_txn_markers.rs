//! WriteTxnMarkers (key 27), v0 to v2. KIP-98, KIP-664 (administrators end transactions that hang), KIP-1228
//! (the transaction's version, v2).
//!
//! Our own coordinator does not come this way; other brokers' and Apache's `transactions abort` do.

use crate::api::context::{Reply, RequestContext};
use crate::coordinator::runtime::shard::Marker;
use crate::log::producer_state::MarkerRules;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::write_txn_markers::{
    WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult,
    WriteTxnMarkersRequest, WriteTxnMarkersResponse,
};

pub fn handle(
    context: RequestContext,
    request: WriteTxnMarkersRequest,
) -> Reply<WriteTxnMarkersResponse> {
    Reply::later(async move {
        let writer = context.services.txns.markers();
        let mut markers = Vec::with_capacity(request.markers.len());
        for wanted in request.markers {
            let marker = Marker {
                producer_id: wanted.producer_id,
                producer_epoch: wanted.producer_epoch,
                coordinator_epoch: wanted.coordinator_epoch,
                commit: wanted.transaction_result,
            };
            let rules = MarkerRules::of(wanted.transaction_version.into());
            let mut topics = Vec::with_capacity(wanted.topics.len());
            for topic in wanted.topics {
                let mut partitions = Vec::with_capacity(topic.partition_indexes.len());
                for partition_index in topic.partition_indexes {
                    let written = writer
                        .write(&topic.name, partition_index, marker, rules)
                        .await;
                    partitions.push(WritableTxnMarkerPartitionResult {
                        partition_index,
                        error_code: written.err().unwrap_or(ErrorCode::None).code(),
                    });
                }
                topics.push(WritableTxnMarkerTopicResult {
                    name: topic.name,
                    partitions,
                });
            }
            markers.push(WritableTxnMarkerResult {
                producer_id: wanted.producer_id,
                topics,
            });
        }
        WriteTxnMarkersResponse { markers }
    })
}
