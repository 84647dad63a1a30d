//! SyncGroup (key 14), v0 to v5. KIP-345 (static members, v3), KIP-559 (protocol type and name, v5).

use crate::api::context::{Reply, RequestContext};
use crate::security::acl::{Operation, ResourceType};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::sync_group::{SyncGroupRequest, SyncGroupResponse};

/// First version whose requests name the protocol type and protocol.
const PROTOCOL_NAMED: i16 = 5;

pub fn handle(context: RequestContext, request: SyncGroupRequest) -> Reply<SyncGroupResponse> {
    let group = &request.group_id;
    let read = (context.rights()).require(Operation::Read, ResourceType::Group, group);
    let refused = |error: ErrorCode| SyncGroupResponse {
        error_code: error.code(),
        ..Default::default()
    };
    if let Err(error) = read {
        return refused(error).into();
    }
    let unnamed = request.protocol_type.is_none() || request.protocol_name.is_none();
    if context.api_version >= PROTOCOL_NAMED && unnamed {
        return refused(ErrorCode::InconsistentGroupProtocol).into();
    }
    Reply::later(async move { context.services.groups.sync(request).await })
}
