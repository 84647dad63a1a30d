//! JoinGroup (key 11), v0 to v9. KIP-394 (member ids required, v4), KIP-345 (static members, v5), KIP-559 (protocol type in the
//! response, v7), KIP-800 (reasons, v8), KIP-814 (skipped assignment, v9).

use bytestring::ByteString;

use crate::api::context::{Reply, RequestContext};
use crate::coordinator::group::request::Join;
use crate::security::acl::{Operation, ResourceType};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::join_group::{JoinGroupRequest, JoinGroupResponse};

/// First version whose clients know MEMBER_ID_REQUIRED.
const MEMBER_ID_REQUIRED: i16 = 4;
/// First version in which the protocol name of an error is null; before, it is empty.
const NULL_PROTOCOL: i16 = 7;
/// First version whose group leaders may skip the assignment.
const SKIP_ASSIGNMENT: i16 = 9;

pub fn handle(context: RequestContext, request: JoinGroupRequest) -> Reply<JoinGroupResponse> {
    let version = context.api_version;
    let failed = |error: ErrorCode| JoinGroupResponse {
        error_code: error.code(),
        protocol_name: (version < NULL_PROTOCOL).then(ByteString::new),
        ..Default::default()
    };
    let group = &request.group_id;
    let read = (context.rights()).require(Operation::Read, ResourceType::Group, group);
    if let Err(error) = read {
        return failed(error).into();
    }
    let Ok(fresh) = context.services.host.chance.bytes() else {
        return failed(ErrorCode::UnknownServerError).into();
    };
    let join = Join {
        client_id: context.client_id.clone().unwrap_or_default(),
        client_host: context.client_host(),
        member_id_required: version >= MEMBER_ID_REQUIRED && request.group_instance_id.is_none(),
        may_skip_assignment: version >= SKIP_ASSIGNMENT,
        fresh,
        request,
    };
    Reply::later(async move {
        let mut response = context.services.groups.join(join).await;
        if version < NULL_PROTOCOL {
            response.protocol_name.get_or_insert_default();
        }
        response
    })
}
