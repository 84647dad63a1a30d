//! UpdateFeatures (key 57), v0 to v2. KIP-584.

use crate::api::answer::latest;
use crate::api::context::{Reply, RequestContext};
use crate::api::rights;
use crate::security::acl::Operation;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::update_features::{UpdateFeaturesRequest, UpdateFeaturesResponse};

const NO_RESULTS_SINCE: i16 = 2;

pub fn handle(
    context: RequestContext,
    mut request: UpdateFeaturesRequest,
) -> Reply<UpdateFeaturesResponse> {
    request.feature_updates = latest(request.feature_updates, |one| one.feature.clone());
    if let Err(error) = context.requires_of_cluster(Operation::Alter) {
        return UpdateFeaturesResponse {
            error_code: error.code(),
            error_message: rights::words(error),
            ..Default::default()
        }
        .into();
    }
    Reply::later(async move {
        let decided = context.services.controller.ask(request).await;
        let mut response = decided.unwrap_or_else(|_| UpdateFeaturesResponse {
            error_code: ErrorCode::NotController.code(),
            ..Default::default()
        });
        if context.api_version >= NO_RESULTS_SINCE {
            response.results = Vec::new();
        }
        response
    })
}
