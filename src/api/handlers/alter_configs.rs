//! AlterConfigs (key 33), v0 to v2. KIP-133. What a request does not name goes back to its default.

use crate::api::context::{Reply, RequestContext};
use crate::metadata::controller::settings;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::alter_configs::{
    AlterConfigsRequest, AlterConfigsResourceResponse, AlterConfigsResponse,
};

pub fn handle(
    context: RequestContext,
    request: AlterConfigsRequest,
) -> Reply<AlterConfigsResponse> {
    Reply::later(async move {
        let failed: Vec<_> = request
            .resources
            .iter()
            .map(|resource| AlterConfigsResourceResponse {
                error_code: ErrorCode::NotController.code(),
                error_message: None,
                resource_type: resource.resource_type,
                resource_name: resource.resource_name.clone(),
            })
            .collect();
        let decided = context
            .services
            .controller
            .decide(0, move |image, context| {
                settings::alter(image, &request, &context)
            })
            .await;
        decided.unwrap_or_else(|_| AlterConfigsResponse {
            responses: failed,
            ..Default::default()
        })
    })
}
