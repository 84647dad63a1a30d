//! UnregisterBroker (key 64), v0. KIP-500.

use crate::api::context::{Reply, RequestContext};
use crate::api::rights;
use crate::security::acl::Operation;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::unregister_broker::{UnregisterBrokerRequest, UnregisterBrokerResponse};

pub fn handle(
    context: RequestContext,
    request: UnregisterBrokerRequest,
) -> Reply<UnregisterBrokerResponse> {
    if let Err(error) = context.requires_of_cluster(Operation::Alter) {
        return UnregisterBrokerResponse {
            error_code: error.code(),
            error_message: rights::words(error),
            ..Default::default()
        }
        .into();
    }
    Reply::later(async move {
        let decided = context.services.controller.ask(request).await;
        decided.unwrap_or_else(|_| UnregisterBrokerResponse {
            error_code: ErrorCode::NotController.code(),
            ..Default::default()
        })
    })
}
