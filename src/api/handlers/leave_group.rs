//! LeaveGroup (key 13), v0 to v5. KIP-345 (several members, by instance id, v3), KIP-800 (reasons, v5).

use crate::api::answer::latest;
use crate::api::context::{Reply, RequestContext};
use crate::security::acl::{Operation, ResourceType};
use crate::wire::message::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberIdentity};

/// First version with a list of members, and a result for each of them.
const MANY: i16 = 3;

pub fn handle(
    context: RequestContext,
    mut request: LeaveGroupRequest,
) -> Reply<LeaveGroupResponse> {
    let group = &request.group_id;
    let read = (context.rights()).require(Operation::Read, ResourceType::Group, group);
    if let Err(error) = read {
        return LeaveGroupResponse {
            error_code: error.code(),
            ..Default::default()
        }
        .into();
    }
    let single = context.api_version < MANY;
    if single {
        request.members = vec![MemberIdentity {
            member_id: request.member_id.clone(),
            ..Default::default()
        }];
    }
    request.members = latest(request.members, |member| {
        (member.member_id.clone(), member.group_instance_id.clone())
    });
    Reply::later(async move {
        let mut response = context.services.groups.leave(request).await;
        if single {
            let only = std::mem::take(&mut response.members).into_iter().next();
            if response.error_code == 0 {
                response.error_code = only.map_or(0, |member| member.error_code);
            }
        } else if response.error_code != 0 {
            response.members.clear();
        }
        response
    })
}
