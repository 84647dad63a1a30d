//! OffsetCommit (key 8), v0 to v10. KIP-211 (no retention time, v5), KIP-320 (leader epochs, v6), KIP-345 (static members, v7),
//! KIP-848 (member epochs, v9; topic ids, v10).
//!
//! Kafka once stored offsets of v0 in ZooKeeper. Here they are stored like all others, as offsets of a simple consumer without
//! a group membership.

use std::sync::Arc;

use bytestring::ByteString;

use crate::api::answer::{merged, once};
use crate::api::context::{Reply, RequestContext};
use crate::coordinator::group::request::{Commit, for_all};
use crate::metadata::image::Image;
use crate::security::acl::{Operation, ResourceType};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestTopic, OffsetCommitResponse, OffsetCommitResponseTopic,
};

/// First version whose clients know member epochs, and tell an unknown group from an illegal generation.
const EPOCHS: i16 = 9;
/// First version that names topics by id.
const TOPIC_IDS: i16 = 10;

pub fn handle(
    context: RequestContext,
    mut request: OffsetCommitRequest,
) -> Reply<OffsetCommitResponse> {
    let image = context.services.image.load();
    let topics = std::mem::take(&mut request.topics);
    let group = &request.group_id;
    let allowed = context
        .rights()
        .require(Operation::Read, ResourceType::Group, group);
    let by_id = context.api_version >= TOPIC_IDS;
    let (known, refused) = known(&context, &image, topics, by_id, allowed);
    request.topics = known;
    if request.topics.is_empty() {
        return OffsetCommitResponse {
            topics: refused,
            ..Default::default()
        }
        .into();
    }
    Reply::later(async move {
        let commit = Commit::new(request, context.api_version >= EPOCHS);
        let mut answered = context.services.groups.commit_offsets(commit).await;
        if context.api_version < EPOCHS {
            let partitions = answered.iter_mut().flat_map(|topic| &mut topic.partitions);
            for partition in partitions {
                if partition.error_code == ErrorCode::GroupIdNotFound.code() {
                    partition.error_code = ErrorCode::IllegalGeneration.code();
                }
            }
        }
        OffsetCommitResponse {
            topics: together(refused, answered),
            ..Default::default()
        }
    })
}

/// One entry per topic, with its refused partitions first.
pub(super) fn together(
    refused: Vec<OffsetCommitResponseTopic>,
    answered: Vec<OffsetCommitResponseTopic>,
) -> Vec<OffsetCommitResponseTopic> {
    merged(
        refused.into_iter().chain(answered),
        |topic| (topic.name.clone(), topic.topic_id),
        |topic| &mut topic.partitions,
    )
}

/// The existing partitions of a request without duplicates, with names and ids of their topics, and the results of all others.
/// `allowed` is the result of the group's authorization, which applies to all partitions.
pub(super) fn known(
    context: &RequestContext,
    image: &Arc<Image>,
    topics: Vec<OffsetCommitRequestTopic>,
    by_id: bool,
    allowed: Result<(), ErrorCode>,
) -> (
    Vec<OffsetCommitRequestTopic>,
    Vec<OffsetCommitResponseTopic>,
) {
    let rights = context.rights();
    let mut known = Vec::with_capacity(topics.len());
    let mut refused = Vec::new();
    let named = once(
        topics,
        |topic| (topic.name.clone(), topic.topic_id),
        |topic| &mut topic.partitions,
        |one| one.partition_index,
    );
    for mut topic in named {
        if let Err(error) = allowed {
            refused.push(for_all(&topic, error));
            continue;
        }
        let found = match by_id {
            true => image.topics.by_id(topic.topic_id).map(|found| &*found.name),
            false => Some(&*topic.name),
        };
        let read = found.map(|name| rights.require(Operation::Read, ResourceType::Topic, name));
        if let Some(Err(error)) = read {
            refused.push(for_all(&topic, error));
            continue;
        }
        match resolve(image, &mut topic, by_id) {
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
                    refused.push(for_all(&missing, ErrorCode::UnknownTopicOrPartition));
                }
                if !topic.partitions.is_empty() {
                    known.push(topic);
                }
            }
            Err(error) => refused.push(for_all(&topic, error)),
        }
    }
    (known, refused)
}

/// Sets the topic's name and id, if the topic exists, and returns its number of partitions.
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
    // The id is stored in the offset's record, so that the offset does not apply to a later topic of the same name.
    topic.topic_id = found.id;
    Ok(found.partitions.len() as i32)
}
