//! ListGroups (key 16), v0 to v5. KIP-518 (by state, v4), KIP-848 (by type, v5).

use crate::api::context::{Reply, RequestContext};
use crate::security::acl::{Operation, ResourceType};
use crate::wire::message::list_groups::{ListGroupsRequest, ListGroupsResponse};

pub fn handle(context: RequestContext, request: ListGroupsRequest) -> Reply<ListGroupsResponse> {
    Reply::later(async move {
        let groups = &context.services.groups;
        match groups
            .list(&request.states_filter, &request.types_filter)
            .await
        {
            Ok(mut groups) => {
                let rights = context.rights();
                if !rights.has_of_cluster(Operation::Describe) {
                    let group = ResourceType::Group;
                    groups.retain(|one| rights.has(Operation::Describe, group, &one.group_id));
                }
                ListGroupsResponse {
                    groups,
                    ..Default::default()
                }
            }
            Err(error) => ListGroupsResponse {
                error_code: error.code(),
                ..Default::default()
            },
        }
    })
}
