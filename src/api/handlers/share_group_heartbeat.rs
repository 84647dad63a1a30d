//! ShareGroupHeartbeat (key 76), v1. KIP-932.
//!
//! The internal topic of share states is created when the first member joins.

use bytestring::ByteString;

use super::find_coordinator::make_if_missing;
use crate::api::context::{Reply, RequestContext};
use crate::coordinator::group::consumer::group::JOIN;
use crate::coordinator::group::request::ShareHeartbeat;
use crate::coordinator::topic::SHARE_STATE_TOPIC;
use crate::security::acl::{Operation, ResourceType};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::share_group_heartbeat::{
    ShareGroupHeartbeatRequest, ShareGroupHeartbeatResponse,
};

pub fn handle(
    context: RequestContext,
    request: ShareGroupHeartbeatRequest,
) -> Reply<ShareGroupHeartbeatResponse> {
    if let Err(error) = allowed(&context, &request) {
        return ShareGroupHeartbeatResponse {
            error_code: error.code(),
            error_message: Some(ByteString::from_static(error.name())),
            ..Default::default()
        }
        .into();
    }
    let beat = ShareHeartbeat {
        client_id: context.client_id.clone().unwrap_or_default(),
        client_host: context.client_host(),
        request,
    };
    Reply::later(async move {
        if beat.request.member_epoch == JOIN {
            make_if_missing(&context, SHARE_STATE_TOPIC).await;
        }
        context.services.groups.share_heartbeat(beat).await
    })
}

/// Checks that the client may join the group and describe the topics.
fn allowed(
    context: &RequestContext,
    request: &ShareGroupHeartbeatRequest,
) -> Result<(), ErrorCode> {
    let rights = context.rights();
    rights.require(Operation::Read, ResourceType::Group, &request.group_id)?;
    let mut named = request.subscribed_topic_names.iter().flatten();
    named.try_for_each(|topic| rights.require(Operation::Describe, ResourceType::Topic, topic))
}
