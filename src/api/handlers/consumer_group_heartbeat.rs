//! ConsumerGroupHeartbeat (key 68), v0 to v1. KIP-848.
//!
//! The consumer protocol is not served yet. The answer is that of Apache Kafka where
//! `group.coordinator.rebalance.protocols` is `classic`, and the API is offered for its sake: without it librdkafka waits
//! for a broker that has it, without a word to its user.

use crate::api::context::{Reply, RequestContext};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
};

pub fn handle(
    _: RequestContext,
    _: ConsumerGroupHeartbeatRequest,
) -> Reply<ConsumerGroupHeartbeatResponse> {
    ConsumerGroupHeartbeatResponse {
        error_code: ErrorCode::UnsupportedVersion.code(),
        error_message: Some(
            "The consumer protocol is not supported yet: set group.protocol=classic.".into(),
        ),
        ..Default::default()
    }
    .into()
}
