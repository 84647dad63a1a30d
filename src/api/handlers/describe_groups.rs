//! DescribeGroups (key 15), v0 to v6. KIP-430 (authorized operations, v3), KIP-345 (static members, v4), KIP-1043 (an unknown
//! group is an error since v6; before, its state is Dead).

use crate::api::answer::distinct;
use crate::api::context::{Reply, RequestContext};
use crate::security::acl::{Operation, ResourceType};
use crate::wire::message::describe_groups::{
    DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup,
};

/// First version in which an unknown group is an error.
const UNKNOWN_IS_ERROR: i16 = 6;

pub fn handle(
    context: RequestContext,
    request: DescribeGroupsRequest,
) -> Reply<DescribeGroupsResponse> {
    Reply::later(async move {
        let unknown_is_error = context.api_version >= UNKNOWN_IS_ERROR;
        let named = distinct(request.groups);
        let mut groups = Vec::with_capacity(named.len());
        let rights = context.rights();
        for id in named {
            let described = rights.require(Operation::Describe, ResourceType::Group, &id);
            if let Err(error) = described {
                groups.push(DescribedGroup {
                    error_code: error.code(),
                    group_id: id,
                    ..Default::default()
                });
                continue;
            }
            let mut group = context.services.groups.describe(id, unknown_is_error).await;
            if request.include_authorized_operations && group.error_code == 0 {
                group.authorized_operations =
                    rights.operations(ResourceType::Group, &group.group_id);
            }
            groups.push(group);
        }
        DescribeGroupsResponse {
            groups,
            ..Default::default()
        }
    })
}
