//! OffsetFetch (key 9), v0 to v10. KIP-447 (stable offsets, v7), KIP-709 (several groups, v8), KIP-848 (member epochs, v9;
//! topic ids, v10).
//!
//! Before v2 the response has no error for the group: each partition has the group's error. v0 stands for offsets in ZooKeeper,
//! where a partition without a committed offset is UNKNOWN_TOPIC_OR_PARTITION.

use bytestring::ByteString;
use indexmap::IndexMap;
use indexmap::map::Entry;

use crate::api::answer::once;
use crate::api::context::{Reply, RequestContext};
use crate::base::ids::Uuid;
use crate::metadata::image::Image;
use crate::security::acl::{Operation, ResourceType};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponse,
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};

/// First version with several groups.
const MANY: i16 = 8;
/// First version with an error for the group.
const GROUP_ERROR: i16 = 2;
/// First version that names topics by id.
const TOPIC_IDS: i16 = 10;

pub fn handle(context: RequestContext, request: OffsetFetchRequest) -> Reply<OffsetFetchResponse> {
    Reply::later(async move {
        if context.api_version < MANY {
            return single(&context, request).await;
        }
        let named = once_each(request.groups);
        let mut groups = Vec::with_capacity(named.len());
        for group in named {
            groups.push(fetch(&context, group, request.require_stable).await);
        }
        OffsetFetchResponse {
            groups,
            ..Default::default()
        }
    })
}

/// The distinct groups, in the order of first occurrence. The topics asked for at several places are joined.
fn once_each(named: Vec<OffsetFetchRequestGroup>) -> Vec<OffsetFetchRequestGroup> {
    let mut groups: IndexMap<ByteString, OffsetFetchRequestGroup> = IndexMap::new();
    for mut group in named {
        match groups.entry(group.group_id.clone()) {
            Entry::Vacant(place) => drop(place.insert(group)),
            Entry::Occupied(mut there) => {
                let there = there.get_mut();
                // A null list means all topics.
                group.topics = match (there.topics.take(), group.topics) {
                    (Some(mut topics), Some(mut more)) => {
                        topics.append(&mut more);
                        Some(topics)
                    }
                    _ => None,
                };
                *there = group;
            }
        }
    }
    groups.into_values().collect()
}

fn each_once(topics: Vec<OffsetFetchRequestTopics>) -> Vec<OffsetFetchRequestTopics> {
    once(
        topics,
        |topic| (topic.name.clone(), topic.topic_id),
        |topic| &mut topic.partition_indexes,
        |index| *index,
    )
}

async fn fetch(
    context: &RequestContext,
    mut group: OffsetFetchRequestGroup,
    require_stable: bool,
) -> OffsetFetchResponseGroup {
    group.topics = group.topics.map(each_once);
    let image = context.services.image.load();
    let rights = context.rights();
    let described = rights.require(Operation::Describe, ResourceType::Group, &group.group_id);
    if let Err(error) = described {
        return OffsetFetchResponseGroup {
            group_id: group.group_id,
            error_code: error.code(),
            ..Default::default()
        };
    }
    let by_id = context.api_version >= TOPIC_IDS;
    let asks_for_all = group.topics.is_none();
    let mut denied = Vec::new();
    if let Some(topics) = &mut group.topics {
        topics.retain(|topic| {
            let name = match by_id {
                true => image.topics.by_id(topic.topic_id).map(|found| &*found.name),
                false => Some(&*topic.name),
            };
            let (describe, kind) = (Operation::Describe, ResourceType::Topic);
            let Some(Err(error)) = name.map(|name| rights.require(describe, kind, name)) else {
                return true;
            };
            denied.push(refuse(topic, error));
            false
        });
    }
    let mut answer = fetch_allowed(context, &image, group, require_stable).await;
    if asks_for_all {
        let topic = ResourceType::Topic;
        (answer.topics).retain(|one| rights.has(Operation::Describe, topic, &one.name));
    }
    if answer.error_code == 0 {
        answer.topics.append(&mut denied);
    }
    answer
}

async fn fetch_allowed(
    context: &RequestContext,
    image: &Image,
    mut group: OffsetFetchRequestGroup,
    require_stable: bool,
) -> OffsetFetchResponseGroup {
    if context.api_version < TOPIC_IDS {
        for topic in group.topics.iter_mut().flatten() {
            // With the topic's id, offsets of a deleted topic are not returned for a new topic of the same name.
            topic.topic_id = image
                .topics
                .by_name(&topic.name)
                .map_or(Uuid::ZERO, |found| found.id);
        }
        return context
            .services
            .groups
            .fetch_offsets(group, require_stable)
            .await;
    }
    let mut unknown = Vec::new();
    if let Some(topics) = &mut group.topics {
        topics.retain_mut(|topic| match image.topics.by_id(topic.topic_id) {
            Some(found) => {
                topic.name = ByteString::from(found.name.as_ref());
                true
            }
            None => {
                unknown.push(refuse(topic, ErrorCode::UnknownTopicId));
                false
            }
        });
    }
    let mut answer = context
        .services
        .groups
        .fetch_offsets(group, require_stable)
        .await;
    // Offsets of deleted topics are left out, because there is no id for them.
    answer.topics.retain_mut(|topic| {
        if topic.topic_id == Uuid::ZERO
            && let Some(found) = image.topics.by_name(&topic.name)
        {
            topic.topic_id = found.id;
        }
        topic.topic_id != Uuid::ZERO
    });
    if answer.error_code == 0 {
        unknown.append(&mut answer.topics);
        answer.topics = unknown;
    }
    answer
}

fn refuse(topic: &OffsetFetchRequestTopics, error: ErrorCode) -> OffsetFetchResponseTopics {
    OffsetFetchResponseTopics {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions: topic
            .partition_indexes
            .iter()
            .map(|partition_index| OffsetFetchResponsePartitions {
                partition_index: *partition_index,
                committed_offset: -1,
                committed_leader_epoch: -1,
                metadata: Some(ByteString::new()),
                error_code: error.code(),
            })
            .collect(),
    }
}

/// Response for one group, in the form of the versions before v8.
async fn single(context: &RequestContext, request: OffsetFetchRequest) -> OffsetFetchResponse {
    let version = context.api_version;
    let topics: Option<Vec<OffsetFetchRequestTopics>> = request.topics.map(|topics| {
        topics
            .into_iter()
            .map(|topic| OffsetFetchRequestTopics {
                name: topic.name,
                partition_indexes: topic.partition_indexes,
                ..Default::default()
            })
            .collect()
    });
    let topics = topics.map(each_once);
    let group = OffsetFetchRequestGroup {
        group_id: request.group_id,
        topics: topics.clone(),
        ..Default::default()
    };
    let answer = fetch(context, group, request.require_stable).await;
    let error = ErrorCode::from_code(answer.error_code).unwrap_or(ErrorCode::UnknownServerError);
    let answered = if error.is_error() && version < GROUP_ERROR {
        topics
            .iter()
            .flatten()
            .map(|topic| refuse(topic, error))
            .collect()
    } else {
        answer.topics
    };
    OffsetFetchResponse {
        topics: answered
            .into_iter()
            .map(|topic| OffsetFetchResponseTopic {
                name: topic.name,
                partitions: topic
                    .partitions
                    .into_iter()
                    .map(|partition| old(partition, version))
                    .collect(),
            })
            .collect(),
        error_code: error.code(),
        ..Default::default()
    }
}

fn old(partition: OffsetFetchResponsePartitions, version: i16) -> OffsetFetchResponsePartition {
    let missing = partition.committed_offset < 0 && partition.error_code == 0;
    OffsetFetchResponsePartition {
        partition_index: partition.partition_index,
        committed_offset: partition.committed_offset,
        committed_leader_epoch: partition.committed_leader_epoch,
        metadata: partition.metadata,
        error_code: if missing && version == 0 {
            ErrorCode::UnknownTopicOrPartition.code()
        } else {
            partition.error_code
        },
    }
}
