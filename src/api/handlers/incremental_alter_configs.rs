//! IncrementalAlterConfigs (key 44), v0 and v1. KIP-339: set, delete, append to and subtract from lists.

use crate::api::context::{Reply, RequestContext};
use crate::metadata::controller::settings;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::incremental_alter_configs::{
    AlterConfigsResourceResponse, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};

pub fn handle(
    context: RequestContext,
    request: IncrementalAlterConfigsRequest,
) -> Reply<IncrementalAlterConfigsResponse> {
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
        let readvertises = request.resources.iter().any(|resource| {
            resource
                .configs
                .iter()
                .any(|config| &*config.name == settings::ADVERTISED_LISTENERS)
        });
        let decided = context
            .services
            .controller
            .decide(0, move |image, context| {
                settings::incremental_alter(image, &request, &context)
            })
            .await;
        if readvertises {
            // Testcontainers' module for Rust waits for these words once it has told the mapped port.
            tracing::info!("Checking need to trigger auto leader balancing: not with one node");
        }
        decided.unwrap_or_else(|_| IncrementalAlterConfigsResponse {
            responses: failed,
            ..Default::default()
        })
    })
}
