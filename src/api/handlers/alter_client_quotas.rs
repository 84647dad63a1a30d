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
        let decided = context
            .services
            .controller
            .decide(0, move |image, _| quotas::alter(image, &request))
            .await;
        match decided {
            Ok((response, new_keys)) => {
                for key in new_keys {
                    quotas::warn_of(&key);
                }
                response
            }
            Err(_) => AlterClientQuotasResponse {
                entries: entities
                    .into_iter()
                    .map(|entity| AlterClientQuotasResponseEntryData {
                        error_code: ErrorCode::NotController.code(),
                        error_message: None,
                        entity,
                    })
                    .collect(),
                ..Default::default()
            },
        }
    })
}
