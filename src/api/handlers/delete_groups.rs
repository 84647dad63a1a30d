//! DeleteGroups (key 42), v0 to v3. KIP-229; error messages (v3).
//!
//! The states of a share group are deleted before the group: a deleted group could not be deleted again after an error.

use bytestring::ByteString;

use crate::api::answer::distinct;
use crate::api::context::{Reply, RequestContext};
use crate::coordinator::share_state::record::ShareKey;
use crate::security::acl::{Operation, ResourceType};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::delete_groups::{
    DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse,
};

pub fn handle(
    context: RequestContext,
    request: DeleteGroupsRequest,
) -> Reply<DeleteGroupsResponse> {
    Reply::later(async move {
        let named = distinct(request.groups_names);
        let mut results = Vec::with_capacity(named.len());
        let rights = context.rights();
        for group in named {
            let deletes = rights.require(Operation::Delete, ResourceType::Group, &group);
            if let Err(error) = deletes {
                results.push(DeletableGroupResult {
                    group_id: group,
                    error_code: error.code(),
                    ..Default::default()
                });
                continue;
            }
            let mut result = match forget_states(&context, &group).await {
                Ok(()) => context.services.groups.delete(group).await,
                Err(error) => DeletableGroupResult {
                    group_id: group,
                    error_code: error.code(),
                    ..Default::default()
                },
            };
            let error = ErrorCode::from_code(result.error_code);
            result.error_message = error.and_then(reason).map(Into::into);
            results.push(result);
        }
        DeleteGroupsResponse {
            results,
            ..Default::default()
        }
    })
}

/// Deletes the states of a share group. Other groups have none.
async fn forget_states(context: &RequestContext, group: &ByteString) -> Result<(), ErrorCode> {
    let services = &context.services;
    let known = match services.groups.share_topics(group, true).await {
        Ok(known) => known,
        // It may be a group of another type.
        Err(ErrorCode::GroupIdNotFound) => return Ok(()),
        Err(error) => return Err(error),
    };
    // The group records the deletion first. If only some states are deleted, the group then initialises all of them again for its
    // next member. Otherwise the group would take deleted states for initialised ones, and deliver nothing.
    let topics = known.initialised.keys().chain(known.others.keys());
    let marked = services
        .groups
        .forget_share(group, topics.copied().collect(), false);
    let epoch_max = marked.await?;
    let initialised = known.initialised.into_iter();
    let all = initialised.map(|(topic, (_, partitions))| (topic, partitions));
    for (topic_id, partitions) in all.chain(known.others) {
        for partition in partitions {
            let key = ShareKey {
                group: group.clone(),
                topic_id,
                partition,
            };
            match services.share_states.delete(key, epoch_max).await {
                // The states of a deleted topic are deleted already.
                Ok(()) => {}
                Err(refusal) if refusal.error == ErrorCode::UnknownTopicOrPartition => {}
                Err(refusal) => return Err(refusal.error),
            }
        }
    }
    services.shares.begin_anew(group).await;
    Ok(())
}

/// Error message for errors that a user can correct. The names of other errors are clear enough.
fn reason(error: ErrorCode) -> Option<&'static str> {
    match error {
        ErrorCode::NonEmptyGroup => Some("The group has members."),
        ErrorCode::GroupIdNotFound => Some("There is no such group."),
        ErrorCode::InvalidGroupId => Some("A group needs a name."),
        _ => None,
    }
}
