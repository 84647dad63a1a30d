//! DescribeShareGroupOffsets (key 90), v0 to v1. KIP-932; lag (v1).

use std::collections::BTreeSet;

use bytestring::ByteString;
use indexmap::IndexMap;

use super::share_state::told;
use crate::api::answer::once;
use crate::api::context::{Reply, RequestContext};
use crate::base::ids::Uuid;
use crate::coordinator::share_state::record::ShareKey;
use crate::coordinator::share_state::request::{Summary, UNDECIDED};
use crate::security::acl::{Operation, ResourceType};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::describe_share_group_offsets::{
    DescribeShareGroupOffsetsRequest, DescribeShareGroupOffsetsRequestGroup,
    DescribeShareGroupOffsetsResponse, DescribeShareGroupOffsetsResponseGroup,
    DescribeShareGroupOffsetsResponsePartition, DescribeShareGroupOffsetsResponseTopic,
};

/// Value of an unknown lag.
const UNKNOWN: i64 = -1;

pub fn handle(
    context: RequestContext,
    request: DescribeShareGroupOffsetsRequest,
) -> Reply<DescribeShareGroupOffsetsResponse> {
    Reply::later(async move {
        let groups = request.groups.into_iter();
        let groups: IndexMap<ByteString, _> = groups
            .map(|group| (group.group_id.clone(), group))
            .collect();
        let mut described = Vec::with_capacity(groups.len());
        for (id, group) in groups {
            let answer = of_group(&context, group).await;
            described.push(
                answer.unwrap_or_else(|error| DescribeShareGroupOffsetsResponseGroup {
                    group_id: id,
                    error_code: error.code(),
                    error_message: Some(ByteString::from_static(error.name())),
                    ..Default::default()
                }),
            );
        }
        DescribeShareGroupOffsetsResponse {
            groups: described,
            ..Default::default()
        }
    })
}

async fn of_group(
    context: &RequestContext,
    group: DescribeShareGroupOffsetsRequestGroup,
) -> Result<DescribeShareGroupOffsetsResponseGroup, ErrorCode> {
    let services = &context.services;
    let rights = context.rights();
    rights.require(Operation::Describe, ResourceType::Group, &group.group_id)?;
    let known = match services.groups.share_topics(&group.group_id, false).await {
        // The group has no start offsets yet.
        Err(ErrorCode::GroupIdNotFound) => Default::default(),
        known => known?,
    };
    let may = |topic: &str| rights.require(Operation::Describe, ResourceType::Topic, topic);
    let mut topics = Vec::new();
    match group.topics {
        None => {
            for (topic_id, (name, partitions)) in known.initialised {
                if !rights.has(Operation::Describe, ResourceType::Topic, &name) {
                    continue;
                }
                topics.push(of_topic(context, &group.group_id, name, topic_id, &partitions).await);
            }
        }
        Some(named) => {
            let named = once(
                named,
                |topic| topic.topic_name.clone(),
                |topic| &mut topic.partitions,
                |index| *index,
            );
            for topic in named {
                let name = topic.topic_name;
                let image = services.image.load();
                let found = image.topics.by_name(&name).map(|found| found.id);
                let found = may(&name).map(|()| found);
                let partitions: BTreeSet<i32> = topic.partitions.into_iter().collect();
                topics.push(match found {
                    Ok(Some(id)) => of_topic(context, &group.group_id, name, id, &partitions).await,
                    Ok(None) => refused(name, &partitions, ErrorCode::None),
                    Err(error) => refused(name, &partitions, error),
                });
            }
        }
    }
    Ok(DescribeShareGroupOffsetsResponseGroup {
        group_id: group.group_id,
        topics,
        ..Default::default()
    })
}

fn refused(
    topic_name: ByteString,
    partitions: &BTreeSet<i32>,
    error: ErrorCode,
) -> DescribeShareGroupOffsetsResponseTopic {
    let partitions = partitions.iter();
    DescribeShareGroupOffsetsResponseTopic {
        topic_name,
        topic_id: Uuid::ZERO,
        partitions: partitions
            .map(|index| DescribeShareGroupOffsetsResponsePartition {
                partition_index: *index,
                start_offset: UNDECIDED,
                error_code: error.code(),
                error_message: (error != ErrorCode::None)
                    .then(|| ByteString::from_static(error.name())),
                ..Default::default()
            })
            .collect(),
    }
}

async fn of_topic(
    context: &RequestContext,
    group: &ByteString,
    topic_name: ByteString,
    topic_id: Uuid,
    partitions: &BTreeSet<i32>,
) -> DescribeShareGroupOffsetsResponseTopic {
    let mut described = Vec::with_capacity(partitions.len());
    for index in partitions {
        let key = ShareKey {
            group: group.clone(),
            topic_id,
            partition: *index,
        };
        let found = context.services.share_states.summarise(key).await;
        let (error_code, error_message) = told(found.err());
        let summary = found.unwrap_or(Summary::NOTHING);
        described.push(DescribeShareGroupOffsetsResponsePartition {
            partition_index: *index,
            start_offset: summary.start_offset,
            leader_epoch: summary.leader_epoch,
            lag: lag(context, topic_id, *index, &summary),
            error_code,
            error_message,
        });
    }
    DescribeShareGroupOffsetsResponseTopic {
        topic_name,
        topic_id,
        partitions: described,
    }
}

/// Number of records that the group has not processed.
fn lag(context: &RequestContext, topic: Uuid, index: i32, summary: &Summary) -> i64 {
    let replicas = &context.services.replicas;
    match replicas.partition_by_id(topic, index) {
        Ok(partition) if summary.start_offset != UNDECIDED && summary.complete_count >= 0 => {
            // Another node may have written any numbers.
            let done = i64::from(summary.complete_count);
            let from = summary.start_offset.saturating_add(done);
            partition.high_watermark().saturating_sub(from).max(0)
        }
        _ => UNKNOWN,
    }
}
