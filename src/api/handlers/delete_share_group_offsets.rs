//! DeleteShareGroupOffsets (key 92), v0. KIP-932: deletes the offsets of topics from a share group without members.

use bytestring::ByteString;

use crate::api::answer::distinct;
use crate::api::context::{Reply, RequestContext};
use crate::base::ids::Uuid;
use crate::coordinator::share_state::record::ShareKey;
use crate::security::acl::{Operation, ResourceType};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::delete_share_group_offsets::{
    DeleteShareGroupOffsetsRequest, DeleteShareGroupOffsetsResponse,
    DeleteShareGroupOffsetsResponseTopic,
};

pub fn handle(
    context: RequestContext,
    request: DeleteShareGroupOffsetsRequest,
) -> Reply<DeleteShareGroupOffsetsResponse> {
    Reply::later(async move {
        delete(&context, request)
            .await
            .unwrap_or_else(|error| DeleteShareGroupOffsetsResponse {
                error_code: error.code(),
                error_message: Some(ByteString::from_static(error.name())),
                ..Default::default()
            })
    })
}

async fn delete(
    context: &RequestContext,
    request: DeleteShareGroupOffsetsRequest,
) -> Result<DeleteShareGroupOffsetsResponse, ErrorCode> {
    let services = &context.services;
    let group = request.group_id;
    (context.rights()).require(Operation::Delete, ResourceType::Group, &group)?;
    let known = services.groups.share_topics(&group, true).await?;
    let image = services.image.load();
    let mut responses = Vec::new();
    for name in distinct(request.topics.into_iter().map(|topic| topic.topic_name)) {
        let may = context
            .rights()
            .require(Operation::Read, ResourceType::Topic, &name);
        let topic = image.topics.by_name(&name);
        let topic = may.and_then(|()| topic.ok_or(ErrorCode::UnknownTopicOrPartition));
        let id = topic.map_or(Uuid::ZERO, |topic| topic.id);
        let done = match topic {
            Ok(_) if !known.initialised.contains_key(&id) && !known.deleting.contains(&id) => {
                Err((ErrorCode::UnknownTopicOrPartition, NOTHING))
            }
            Ok(topic) => {
                let partitions = 0..topic.partitions.len() as i32;
                let deleted = forget(context, &group, id, partitions).await;
                deleted.map_err(|error| (error, error.name()))
            }
            Err(error) => Err((error, error.name())),
        };
        let (error, why) = match done {
            Ok(()) => (ErrorCode::None, None),
            Err((error, why)) => (error, Some(ByteString::from_static(why))),
        };
        responses.push(DeleteShareGroupOffsetsResponseTopic {
            topic_name: name,
            topic_id: if error == ErrorCode::UnknownTopicOrPartition {
                Uuid::ZERO
            } else {
                id
            },
            error_code: error.code(),
            error_message: why,
        });
    }
    Ok(DeleteShareGroupOffsetsResponse {
        responses,
        ..Default::default()
    })
}

/// Kafka's error message.
const NOTHING: &str = "There is no offset information to delete.";

/// Deletes states. The group records the deletion first: if the broker stops in between, the next deletion finishes it, or the
/// group initialises the states again for its next member.
async fn forget(
    context: &RequestContext,
    group: &ByteString,
    topic: Uuid,
    partitions: impl Iterator<Item = i32>,
) -> Result<(), ErrorCode> {
    let services = &context.services;
    let marked = services.groups.forget_share(group, vec![topic], false);
    let epoch_max = marked.await?;
    for partition in partitions {
        let key = ShareKey {
            group: group.clone(),
            topic_id: topic,
            partition,
        };
        let deleted = services.share_states.delete(key, epoch_max).await;
        deleted.map_err(|refusal| refusal.error)?;
    }
    services.shares.begin_anew(group).await;
    let forgotten = services.groups.forget_share(group, vec![topic], true);
    forgotten.await.map(|_| ())
}
