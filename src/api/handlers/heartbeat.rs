//! Heartbeat (key 12), v0 to v4. KIP-345 (static members, v3).

use crate::api::context::{Reply, RequestContext};
use crate::wire::message::heartbeat::{HeartbeatRequest, HeartbeatResponse};

pub fn handle(context: RequestContext, request: HeartbeatRequest) -> Reply<HeartbeatResponse> {
    Reply::later(async move { context.services.groups.heartbeat(request).await })
}
