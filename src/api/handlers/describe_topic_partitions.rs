//! DescribeTopicPartitions (key 75), v0. KIP-966: topic metadata in pages.

use crate::api::context::{Reply, RequestContext};
use crate::api::rights::Rights;
use crate::coordinator::topic::INTERNAL_TOPICS;
use crate::metadata::controller::topics::check_name;
use crate::metadata::image::{Image, Partition, Topic};
use crate::security::acl::{Operation, ResourceType};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::describe_topic_partitions::*;

pub fn handle(
    context: RequestContext,
    request: DescribeTopicPartitionsRequest,
) -> Reply<DescribeTopicPartitionsResponse> {
    let image = context.services.image.load();
    let rights = context.rights();
    let limit = context
        .services
        .config
        .settings
        .int("max.request.partition.size.limit")
        .max(1);
    let mut left = request.response_partition_limit.clamp(1, limit) as usize;
    let (from_topic, from_partition) = match &request.cursor {
        Some(cursor) => (
            cursor.topic_name.to_string(),
            cursor.partition_index.max(0) as usize,
        ),
        None => (String::new(), 0),
    };
    let mut names: Vec<String> = if request.topics.is_empty() {
        image
            .topics
            .iter_from(&from_topic)
            .map(|topic| topic.name.to_string())
            .collect()
    } else {
        request
            .topics
            .iter()
            .map(|topic| topic.name.to_string())
            .collect()
    };
    names.sort_unstable();
    names.dedup();
    names.retain(|name| *name >= from_topic);
    let (describe_it, kind) = (Operation::Describe, ResourceType::Topic);
    let mut denied = Vec::new();
    names.retain(|name| {
        if request.topics.is_empty() {
            return rights.has(describe_it, kind, name);
        }
        let Err(error) = rights.require(describe_it, kind, name) else {
            return true;
        };
        denied.push(DescribeTopicPartitionsResponseTopic {
            error_code: error.code(),
            name: Some(name.as_str().into()),
            ..Default::default()
        });
        false
    });

    let mut response = DescribeTopicPartitionsResponse::default();
    if request
        .cursor
        .is_some_and(|cursor| cursor.partition_index < 0)
    {
        response.topics = names
            .iter()
            .map(|name| DescribeTopicPartitionsResponseTopic {
                error_code: ErrorCode::InvalidRequest.code(),
                name: Some(name.as_str().into()),
                ..Default::default()
            })
            .collect();
        return response.into();
    }
    for name in names {
        let Some(topic) = image.topics.by_name(&name) else {
            response.topics.push(unknown(&name, &rights));
            continue;
        };
        let first = if name == from_topic {
            from_partition
        } else {
            0
        };
        if left == 0 {
            response.next_cursor = Some(next_cursor(&name, first));
            break;
        }
        let page = topic.partitions.iter().enumerate().skip(first).take(left);
        let partitions: Vec<_> = page
            .map(|(index, partition)| describe(&image, index, partition))
            .collect();
        left -= partitions.len();
        let end = first + partitions.len();
        response.topics.push(page_of(topic, partitions, &rights));
        if end < topic.partitions.len() {
            response.next_cursor = Some(next_cursor(&name, end));
            break;
        }
    }
    response.topics.extend(denied);
    response.into()
}

fn next_cursor(topic: &str, partition: usize) -> Cursor {
    Cursor {
        topic_name: topic.into(),
        partition_index: partition as i32,
    }
}

fn unknown(name: &str, rights: &Rights<'_>) -> DescribeTopicPartitionsResponseTopic {
    let error = if check_name(name).is_err() {
        ErrorCode::InvalidTopicException
    } else {
        ErrorCode::UnknownTopicOrPartition
    };
    DescribeTopicPartitionsResponseTopic {
        error_code: error.code(),
        name: Some(name.into()),
        topic_authorized_operations: rights.operations(ResourceType::Topic, name),
        ..Default::default()
    }
}

fn page_of(
    topic: &Topic,
    partitions: Vec<DescribeTopicPartitionsResponsePartition>,
    rights: &Rights<'_>,
) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic {
        name: Some((*topic.name).into()),
        topic_id: topic.id,
        is_internal: INTERNAL_TOPICS.contains(&&*topic.name),
        partitions,
        topic_authorized_operations: rights.operations(ResourceType::Topic, &topic.name),
        ..Default::default()
    }
}

fn describe(
    image: &Image,
    index: usize,
    partition: &Partition,
) -> DescribeTopicPartitionsResponsePartition {
    DescribeTopicPartitionsResponsePartition {
        // Unlike in Metadata, a missing leader is not an error here: only `leader_id` shows it.
        error_code: 0,
        partition_index: index as i32,
        leader_id: partition.leader,
        leader_epoch: partition.leader_epoch,
        replica_nodes: partition.replicas.clone(),
        isr_nodes: partition.isr.clone(),
        eligible_leader_replicas: Some(partition.elr.clone()),
        last_known_elr: Some(partition.last_known_elr.clone()),
        offline_replicas: image.offline_replicas(partition),
    }
}
