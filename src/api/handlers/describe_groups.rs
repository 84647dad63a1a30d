//! DescribeGroups (key 15), v0 to v6. KIP-430 (authorized operations, v3), KIP-345 (static members, v4), KIP-1043 (an
//! unknown group is an error, v6; before, it is a dead one).

use crate::api::answer::distinct;
use crate::api::context::{Reply, RequestContext};
use crate::wire::message::describe_groups::{DescribeGroupsRequest, DescribeGroupsResponse};

/// The first version in which an unknown group is an error.
const UNKNOWN_IS_ERROR: i16 = 6;
/// Everything that there is to a group: read, delete, describe, and both kinds of config.
const GROUP_OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11;

pub fn handle(
    context: RequestContext,
    request: DescribeGroupsRequest,
) -> Reply<DescribeGroupsResponse> {
    Reply::later(async move {
        let unknown_is_error = context.api_version >= UNKNOWN_IS_ERROR;
        let named = distinct(request.groups);
        let mut groups = Vec::with_capacity(named.len());
        for id in named {
            let mut group = context.services.groups.describe(id, unknown_is_error).await;
            if request.include_authorized_operations && group.error_code == 0 {
                group.authorized_operations = GROUP_OPERATIONS;
            }
            groups.push(group);
        }
        DescribeGroupsResponse {
            groups,
            ..Default::default()
        }
    })
}
