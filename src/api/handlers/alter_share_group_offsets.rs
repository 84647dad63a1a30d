//! AlterShareGroupOffsets (key 91), v0. KIP-932: sets start offsets of a share group without members.

use std::collections::HashMap;

use bytestring::ByteString;

use super::find_coordinator::make_if_missing;
use super::share_state::told;
use crate::api::answer::once;
use crate::api::context::{Reply, RequestContext};
use crate::base::ids::Uuid;
use crate::coordinator::group::request::ShareStart;
use crate::coordinator::topic::SHARE_STATE_TOPIC;
use crate::security::acl::{Operation, ResourceType};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::alter_share_group_offsets::{
    AlterShareGroupOffsetsRequest, AlterShareGroupOffsetsResponse,
    AlterShareGroupOffsetsResponsePartition, AlterShareGroupOffsetsResponseTopic,
};

pub fn handle(
    context: RequestContext,
    request: AlterShareGroupOffsetsRequest,
) -> Reply<AlterShareGroupOffsetsResponse> {
    Reply::later(async move {
        alter(&context, request)
            .await
            .unwrap_or_else(|error| AlterShareGroupOffsetsResponse {
                error_code: error.code(),
                error_message: Some(ByteString::from_static(error.name())),
                ..Default::default()
            })
    })
}

async fn alter(
    context: &RequestContext,
    request: AlterShareGroupOffsetsRequest,
) -> Result<AlterShareGroupOffsetsResponse, ErrorCode> {
    let services = &context.services;
    let group = request.group_id;
    (context.rights()).require(Operation::Read, ResourceType::Group, &group)?;
    if group.trim().is_empty() || group.len() > i16::MAX as usize {
        return Err(ErrorCode::InvalidGroupId);
    }
    let topics = once(
        request.topics,
        |topic| topic.topic_name.clone(),
        |topic| &mut topic.partitions,
        |one| one.partition_index,
    );
    let image = services.image.load();
    let mut starts = Vec::new();
    let mut answers = Vec::with_capacity(topics.len());
    for topic in topics {
        let rights = context.rights();
        let may = rights.require(Operation::Read, ResourceType::Topic, &topic.topic_name);
        let found = image.topics.by_name(&topic.topic_name);
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for one in &topic.partitions {
            let index = one.partition_index;
            let there = may.and_then(|()| {
                let found = found.filter(|found| found.partition(index).is_some());
                found.ok_or(ErrorCode::UnknownTopicOrPartition)
            });
            let there = there.and_then(|found| match one.start_offset {
                0.. => Ok(found),
                _ => Err(ErrorCode::InvalidRequest),
            });
            if let Ok(found) = there {
                starts.push(ShareStart {
                    topic_id: found.id,
                    partition: index,
                    start: one.start_offset,
                    replaces: true,
                });
            }
            let error = there.err();
            partitions.push(AlterShareGroupOffsetsResponsePartition {
                partition_index: index,
                error_code: error.map_or(0, ErrorCode::code),
                error_message: error.map(|error| ByteString::from_static(error.name())),
            });
        }
        answers.push(AlterShareGroupOffsetsResponseTopic {
            topic_name: topic.topic_name,
            topic_id: found
                .filter(|_| may.is_ok())
                .map_or(Uuid::ZERO, |found| found.id),
            partitions,
        });
    }
    if !starts.is_empty() {
        make_if_missing(context, SHARE_STATE_TOPIC).await;
        let done = services.groups.begin_share(group.clone(), starts).await?;
        services.shares.begin_anew(&group).await;
        let done: HashMap<(Uuid, i32), _> = done
            .into_iter()
            .map(|(start, done)| ((start.topic_id, start.partition), done))
            .collect();
        for topic in &mut answers {
            for one in &mut topic.partitions {
                if let Some(Err(refusal)) = done.get(&(topic.topic_id, one.partition_index)) {
                    (one.error_code, one.error_message) = told(Some(*refusal));
                }
            }
        }
    }
    Ok(AlterShareGroupOffsetsResponse {
        responses: answers,
        ..Default::default()
    })
}
