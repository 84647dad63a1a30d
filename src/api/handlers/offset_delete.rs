//! OffsetDelete (key 47), v0. KIP-496.
//!
//! Kafka answers GROUP_SUBSCRIBED_TO_TOPIC per partition, not per group; so do we.

use crate::api::context::{Reply, RequestContext};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteResponse, OffsetDeleteResponsePartition,
    OffsetDeleteResponseTopic,
};

pub fn handle(
    context: RequestContext,
    mut request: OffsetDeleteRequest,
) -> Reply<OffsetDeleteResponse> {
    let image = context.services.image.load();
    let (known, unknown): (Vec<_>, Vec<_>) = std::mem::take(&mut request.topics)
        .into_iter()
        .partition(|topic| image.topics.by_name(&topic.name).is_some());
    request.topics = known;
    let mut topics: Vec<OffsetDeleteResponseTopic> = unknown
        .into_iter()
        .map(|topic| OffsetDeleteResponseTopic {
            name: topic.name,
            partitions: topic
                .partitions
                .into_iter()
                .map(|partition| OffsetDeleteResponsePartition {
                    partition_index: partition.partition_index,
                    error_code: ErrorCode::UnknownTopicOrPartition.code(),
                })
                .collect(),
        })
        .collect();
    Reply::later(async move {
        let mut response = context.services.groups.delete_offsets(request).await;
        if response.error_code == 0 {
            topics.append(&mut response.topics);
            response.topics = topics;
        }
        response
    })
}
