//! AlterClientQuotas (key 49), v0 to v1. KIP-546.
//!
//! Quotas are kept as Apache Kafka keeps them, and nobody is held to them yet: the log says so when the first of a kind is set.

use crate::api::context::{Reply, RequestContext};
use crate::metadata::controller::quotas;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::alter_client_quotas::{
    AlterClientQuotasRequest, AlterClientQuotasResponse, AlterClientQuotasResponseEntryData,
};

pub fn handle(
    context: RequestContext,
    request: AlterClientQuotasRequest,
) -> Reply<AlterClientQuotasResponse> {
    Reply::later(async move {
        let entities: Vec<_> = request
            .entries
            .iter()
            .map(|entry| entry.entity.clone())
            .collect();
        let before = quotas::keys(&context.services.image.load());
        let decided = context.services.controller.ask(request).await;
        let after = quotas::keys(&context.services.image.load());
        for key in after.difference(&before) {
            quotas::warn_of(key);
        }
        decided.unwrap_or_else(|_| AlterClientQuotasResponse {
            entries: entities
                .into_iter()
                .map(|entity| AlterClientQuotasResponseEntryData {
                    error_code: ErrorCode::NotController.code(),
                    error_message: None,
                    entity,
                })
                .collect(),
            ..Default::default()
        })
    })
}
