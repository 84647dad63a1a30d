//! DeleteGroups (key 42), v0 to v3. KIP-229; error messages (v3).

use crate::api::answer::distinct;
use crate::api::context::{Reply, RequestContext};
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
            let mut result = context.services.groups.delete(group).await;
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

/// Error message for errors that a user can correct. The names of other errors are clear enough.
fn reason(error: ErrorCode) -> Option<&'static str> {
    match error {
        ErrorCode::NonEmptyGroup => Some("The group has members."),
        ErrorCode::GroupIdNotFound => Some("There is no such group."),
        ErrorCode::InvalidGroupId => Some("A group needs a name."),
        _ => None,
    }
}
