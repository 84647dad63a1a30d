//! UnregisterBroker (key 64), v0. KIP-500.

use crate::api::context::{Reply, RequestContext};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::unregister_broker::{UnregisterBrokerRequest, UnregisterBrokerResponse};

pub fn handle(
    context: RequestContext,
    request: UnregisterBrokerRequest,
) -> Reply<UnregisterBrokerResponse> {
    Reply::later(async move {
        let decided = context.services.controller.ask(request).await;
        decided.unwrap_or_else(|_| UnregisterBrokerResponse {
            error_code: ErrorCode::NotController.code(),
            ..Default::default()
        })
    })
}
