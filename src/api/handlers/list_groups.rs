//! ListGroups (key 16), v0 to v5. KIP-518 (by state, v4), KIP-848 (by type, v5).

use crate::api::context::{Reply, RequestContext};
use crate::wire::message::list_groups::{ListGroupsRequest, ListGroupsResponse};

pub fn handle(context: RequestContext, request: ListGroupsRequest) -> Reply<ListGroupsResponse> {
    Reply::later(async move {
        let groups = &context.services.groups;
        match groups
            .list(&request.states_filter, &request.types_filter)
            .await
        {
            Ok(groups) => ListGroupsResponse {
                groups,
                ..Default::default()
            },
            Err(error) => ListGroupsResponse {
                error_code: error.code(),
                ..Default::default()
            },
        }
    })
}
