//! AlterClientQuotas (key 49), v0 to v1. KIP-546.

use crate::api::context::{Reply, RequestContext};
use crate::api::rights;
use crate::security::acl::Operation;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::alter_client_quotas::{
    AlterClientQuotasRequest, AlterClientQuotasResponse, AlterClientQuotasResponseEntryData,
    EntityData,
};

pub fn handle(
    context: RequestContext,
    request: AlterClientQuotasRequest,
) -> Reply<AlterClientQuotasResponse> {
    let entries = request.entries.iter();
    let entities: Vec<_> = entries.map(|entry| entry.entity.clone()).collect();
    let refused = |entities: Vec<Vec<EntityData>>, error: ErrorCode| {
        let refused = |entity| AlterClientQuotasResponseEntryData {
            error_code: error.code(),
            error_message: rights::words(error),
            entity,
        };
        AlterClientQuotasResponse {
            entries: entities.into_iter().map(refused).collect(),
            ..Default::default()
        }
    };
    if let Err(error) = context.requires_of_cluster(Operation::AlterConfigs) {
        return refused(entities, error).into();
    }
    Reply::later(async move {
        let decided = context.services.controller.ask(request).await;
        decided.unwrap_or_else(|_| refused(entities, ErrorCode::NotController))
    })
}
