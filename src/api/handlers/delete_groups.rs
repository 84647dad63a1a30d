//! DeleteGroups (key 42), v0 to v2. KIP-229.

use crate::api::context::{Reply, RequestContext};
use crate::wire::message::delete_groups::{DeleteGroupsRequest, DeleteGroupsResponse};

pub fn handle(
    context: RequestContext,
    request: DeleteGroupsRequest,
) -> Reply<DeleteGroupsResponse> {
    Reply::later(async move {
        let mut results = Vec::with_capacity(request.groups_names.len());
        for group in request.groups_names {
            results.push(context.services.groups.delete(group).await);
        }
        DeleteGroupsResponse {
            results,
            ..Default::default()
        }
    })
}
