//! ElectLeaders (key 43), v0 to v2. KIP-183, KIP-460.

use crate::api::answer::once;
use crate::api::context::{Reply, RequestContext};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::elect_leaders::{ElectLeadersRequest, ElectLeadersResponse};

pub fn handle(
    context: RequestContext,
    mut request: ElectLeadersRequest,
) -> Reply<ElectLeadersResponse> {
    request.topic_partitions = request.topic_partitions.map(|topics| {
        once(
            topics,
            |topic| topic.topic.clone(),
            |topic| &mut topic.partitions,
            |index| *index,
        )
    });
    Reply::later(async move {
        let decided = context.services.controller.ask(request).await;
        let mut response = decided.unwrap_or_else(|_| ElectLeadersResponse {
            error_code: ErrorCode::NotController.code(),
            ..Default::default()
        });
        if context.api_version == 0 {
            // There was no top-level error yet.
            response.error_code = 0;
        }
        response
    })
}
