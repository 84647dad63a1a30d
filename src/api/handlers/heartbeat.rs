//! Heartbeat (key 12), v0 to v4. KIP-345 (static members, v3).

use crate::api::context::{Reply, RequestContext};
use crate::security::acl::{Operation, ResourceType};
use crate::wire::message::heartbeat::{HeartbeatRequest, HeartbeatResponse};

pub fn handle(context: RequestContext, request: HeartbeatRequest) -> Reply<HeartbeatResponse> {
    let group = &request.group_id;
    let read = (context.rights()).require(Operation::Read, ResourceType::Group, group);
    if let Err(error) = read {
        return HeartbeatResponse {
            error_code: error.code(),
            ..Default::default()
        }
        .into();
    }
    Reply::later(async move { context.services.groups.heartbeat(request).await })
}
