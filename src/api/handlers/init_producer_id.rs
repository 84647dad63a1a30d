//! InitProducerId (key 22), v0 to v5, for producers without transactions. KIP-98, KIP-360.

use crate::api::context::{Reply, RequestContext};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};

pub fn handle(
    context: RequestContext,
    request: InitProducerIdRequest,
) -> Reply<InitProducerIdResponse> {
    let is_empty = |id: &bytestring::ByteString| id.is_empty();
    let half_given = (request.producer_id == -1) != (request.producer_epoch == -1);
    if request.transactional_id.as_ref().is_some_and(is_empty) || half_given {
        return failed(ErrorCode::InvalidRequest).into();
    }
    if request.transactional_id.is_some() {
        // Without a transaction coordinator nobody may believe that there is a transaction.
        return failed(ErrorCode::CoordinatorNotAvailable).into();
    }
    Reply::later(async move {
        let services = &context.services;
        match services.producer_ids.next(&services.controller).await {
            Some(producer_id) => InitProducerIdResponse {
                producer_id,
                producer_epoch: 0,
                ..Default::default()
            },
            None => failed(ErrorCode::CoordinatorNotAvailable),
        }
    })
}

fn failed(error: ErrorCode) -> InitProducerIdResponse {
    InitProducerIdResponse {
        error_code: error.code(),
        producer_id: -1,
        producer_epoch: -1,
        ..Default::default()
    }
}
