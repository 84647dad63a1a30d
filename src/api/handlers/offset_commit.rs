//! OffsetCommit (key 8), v0 to v10. KIP-211 (retention left out, v5), KIP-320 (leader epochs, v6), KIP-345 (v7), KIP-848
//! (v9), KIP-1251 (topic ids, v10).
//!
//! v0 used to go to ZooKeeper; here it goes where all others go, as an offset of a client in no group.

use std::sync::Arc;

use bytestring::ByteString;

use crate::api::answer::{merged, once};
use crate::api::context::{Reply, RequestContext};
use crate::metadata::image::Image;
use crate::security::acl::{Operation, ResourceType};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestTopic, OffsetCommitResponse,
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};

/// The first version that tells a group that is gone from a generation that is over.
const GROUP_NOT_FOUND: i16 = 9;
/// The first version that names topics by id.
const TOPIC_IDS: i16 = 10;

pub fn handle(
    context: RequestContext,
    mut request: OffsetCommitRequest,
) -> Reply<OffsetCommitResponse> {
    let image = context.services.image.load();
    let rights = context.rights();
    let group = &request.group_id;
    let group_read = rights.require(Operation::Read, ResourceType::Group, group);
    let by_id = context.api_version >= TOPIC_IDS;
    let mut known = Vec::with_capacity(request.topics.len());
    let mut refused = Vec::new();
    let named = once(
        std::mem::take(&mut request.topics),
        |topic| (topic.name.clone(), topic.topic_id),
        |topic| &mut topic.partitions,
        |one| one.partition_index,
    );
    for mut topic in named {
        if let Err(error) = group_read {
            refused.push(refuse(&topic, error));
            continue;
        }
        let found = match by_id {
            true => image.topics.by_id(topic.topic_id).map(|found| &*found.name),
            false => Some(&*topic.name),
        };
        let read = found.map(|name| rights.require(Operation::Read, ResourceType::Topic, name));
        if let Some(Err(error)) = read {
            refused.push(refuse(&topic, error));
            continue;
        }
        match resolve(&image, &mut topic, by_id) {
            Ok(count) => {
                let there = |partition: i32| (0..count).contains(&partition);
                let mut missing = topic.clone();
                missing
                    .partitions
                    .retain(|partition| !there(partition.partition_index));
                topic
                    .partitions
                    .retain(|partition| there(partition.partition_index));
                if !missing.partitions.is_empty() {
                    refused.push(refuse(&missing, ErrorCode::UnknownTopicOrPartition));
                }
                if !topic.partitions.is_empty() {
                    known.push(topic);
                }
            }
            Err(error) => refused.push(refuse(&topic, error)),
        }
    }
    drop(rights);
    request.topics = known;
    if request.topics.is_empty() {
        return OffsetCommitResponse {
            topics: refused,
            ..Default::default()
        }
        .into();
    }
    Reply::later(async move {
        let mut response = context.services.groups.commit_offsets(request).await;
        if context.api_version < GROUP_NOT_FOUND {
            for partition in response
                .topics
                .iter_mut()
                .flat_map(|topic| &mut topic.partitions)
            {
                if partition.error_code == ErrorCode::GroupIdNotFound.code() {
                    partition.error_code = ErrorCode::IllegalGeneration.code();
                }
            }
        }
        // One entry per topic, its missing partitions first.
        response.topics = merged(
            refused.into_iter().chain(response.topics),
            |topic| (topic.name.clone(), topic.topic_id),
            |topic| &mut topic.partitions,
        );
        response
    })
}

/// Gives the topic its name and id, if there is such a topic, and says how many partitions it has.
fn resolve(
    image: &Arc<Image>,
    topic: &mut OffsetCommitRequestTopic,
    by_id: bool,
) -> Result<i32, ErrorCode> {
    let found = if by_id {
        image
            .topics
            .by_id(topic.topic_id)
            .ok_or(ErrorCode::UnknownTopicId)?
    } else {
        image
            .topics
            .by_name(&topic.name)
            .ok_or(ErrorCode::UnknownTopicOrPartition)?
    };
    topic.name = ByteString::from(found.name.as_ref());
    // The record knows which topic of that name was meant.
    topic.topic_id = found.id;
    Ok(found.partitions.len() as i32)
}

fn refuse(topic: &OffsetCommitRequestTopic, error: ErrorCode) -> OffsetCommitResponseTopic {
    OffsetCommitResponseTopic {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions: topic
            .partitions
            .iter()
            .map(|partition| OffsetCommitResponsePartition {
                partition_index: partition.partition_index,
                error_code: error.code(),
            })
            .collect(),
    }
}
