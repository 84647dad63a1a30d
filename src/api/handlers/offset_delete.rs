//! OffsetDelete (key 47), v0. KIP-496.
//!
//! As in Kafka, GROUP_SUBSCRIBED_TO_TOPIC is an error of partitions, not of the group.

use crate::api::answer::{merged, once};
use crate::api::context::{Reply, RequestContext};
use crate::security::acl::{Operation, ResourceType};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestTopic, OffsetDeleteResponse,
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};

pub fn handle(
    context: RequestContext,
    mut request: OffsetDeleteRequest,
) -> Reply<OffsetDeleteResponse> {
    let rights = context.rights();
    let deletes = rights.require(Operation::Delete, ResourceType::Group, &request.group_id);
    if let Err(error) = deletes {
        return OffsetDeleteResponse {
            error_code: error.code(),
            ..Default::default()
        }
        .into();
    }
    let image = context.services.image.load();
    request.topics = once(
        request.topics,
        |topic| topic.name.clone(),
        |topic| &mut topic.partitions,
        |one| one.partition_index,
    );
    let mut topics = Vec::new();
    for topic in &mut request.topics {
        let read = rights.require(Operation::Read, ResourceType::Topic, &topic.name);
        if let Err(error) = read {
            topics.push(refuse(topic, error));
            topic.partitions.clear();
            continue;
        }
        let count = image
            .topics
            .by_name(&topic.name)
            .map_or(0, |found| found.partitions.len() as i32);
        let (there, missing): (Vec<_>, Vec<_>) = std::mem::take(&mut topic.partitions)
            .into_iter()
            .partition(|partition| (0..count).contains(&partition.partition_index));
        if !missing.is_empty() {
            topic.partitions = missing;
            topics.push(refuse(topic, ErrorCode::UnknownTopicOrPartition));
        }
        topic.partitions = there;
    }
    request.topics.retain(|topic| !topic.partitions.is_empty());
    drop(rights);
    Reply::later(async move {
        let mut response = context.services.groups.delete_offsets(request).await;
        if response.error_code == 0 {
            // One entry per topic, with its refused partitions first.
            response.topics = merged(
                topics.into_iter().chain(response.topics),
                |topic| topic.name.clone(),
                |topic| &mut topic.partitions,
            );
        }
        response
    })
}

fn refuse(topic: &OffsetDeleteRequestTopic, error: ErrorCode) -> OffsetDeleteResponseTopic {
    let partitions = topic.partitions.iter();
    OffsetDeleteResponseTopic {
        name: topic.name.clone(),
        partitions: partitions
            .map(|partition| OffsetDeleteResponsePartition {
                partition_index: partition.partition_index,
                error_code: error.code(),
            })
            .collect(),
    }
}
