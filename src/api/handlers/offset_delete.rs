//! OffsetDelete (key 47), v0. KIP-496.
//!
//! Kafka answers GROUP_SUBSCRIBED_TO_TOPIC per partition, not per group; so do we.

use crate::api::answer::{merged, once};
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
    request.topics = once(
        request.topics,
        |topic| topic.name.clone(),
        |topic| &mut topic.partitions,
        |one| one.partition_index,
    );
    let mut topics = Vec::new();
    for topic in &mut request.topics {
        let count = image
            .topics
            .by_name(&topic.name)
            .map_or(0, |found| found.partitions.len() as i32);
        let (there, missing): (Vec<_>, Vec<_>) = std::mem::take(&mut topic.partitions)
            .into_iter()
            .partition(|partition| (0..count).contains(&partition.partition_index));
        topic.partitions = there;
        if !missing.is_empty() {
            topics.push(OffsetDeleteResponseTopic {
                name: topic.name.clone(),
                partitions: missing
                    .into_iter()
                    .map(|partition| OffsetDeleteResponsePartition {
                        partition_index: partition.partition_index,
                        error_code: ErrorCode::UnknownTopicOrPartition.code(),
                    })
                    .collect(),
            });
        }
    }
    request.topics.retain(|topic| !topic.partitions.is_empty());
    Reply::later(async move {
        let mut response = context.services.groups.delete_offsets(request).await;
        if response.error_code == 0 {
            // One entry per topic, its missing partitions first.
            response.topics = merged(
                topics.into_iter().chain(response.topics),
                |topic| topic.name.clone(),
                |topic| &mut topic.partitions,
            );
        }
        response
    })
}
