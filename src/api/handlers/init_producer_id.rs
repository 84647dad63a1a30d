//! InitProducerId (key 22), v0 to v5. KIP-98, KIP-360 (recovery of a producer, v3), KIP-588 (PRODUCER_FENCED, v4).
//!
//! Version 6 with two-phase commit (KIP-939) is not served: it is unstable in Apache Kafka 4.3, which does not serve it either.

use crate::api::context::{Reply, RequestContext};
use crate::coordinator::txn::handle::Granted;
use crate::security::acl::{CLUSTER_NAME, Operation, ResourceType};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};

/// First version whose clients know PRODUCER_FENCED.
const FENCED: i16 = 4;

pub fn handle(
    context: RequestContext,
    request: InitProducerIdRequest,
) -> Reply<InitProducerIdResponse> {
    if let Err(error) = allowed(&context, &request) {
        return failed(error).into();
    }
    if (request.producer_id < 0) != (request.producer_epoch < 0) {
        return failed(ErrorCode::InvalidRequest).into();
    }
    Reply::later(async move {
        match init(&context, request).await {
            Ok((producer_id, producer_epoch)) => InitProducerIdResponse {
                producer_id,
                producer_epoch,
                ..Default::default()
            },
            Err(ErrorCode::ProducerFenced) if context.api_version < FENCED => {
                failed(ErrorCode::InvalidProducerEpoch)
            }
            Err(error) => failed(error),
        }
    })
}

/// Checks the client's rights. A producer without a transactional id needs the right to write to at least one topic, or
/// IdempotentWrite on the cluster.
fn allowed(context: &RequestContext, request: &InitProducerIdRequest) -> Result<(), ErrorCode> {
    let rights = context.rights();
    if let Some(id) = &request.transactional_id {
        return rights.require(Operation::Write, ResourceType::TransactionalId, id);
    }
    let (operation, cluster) = (Operation::IdempotentWrite, ResourceType::Cluster);
    match rights.has_of_cluster(operation) || rights.has_any(Operation::Write, ResourceType::Topic)
    {
        true => Ok(()),
        false => rights.require(operation, cluster, CLUSTER_NAME),
    }
}

async fn init(
    context: &RequestContext,
    request: InitProducerIdRequest,
) -> Result<(i64, i16), ErrorCode> {
    let Some(transactional_id) = request.transactional_id else {
        return Ok((fresh(context).await?, 0));
    };
    let expected =
        (request.producer_id >= 0).then_some((request.producer_id, request.producer_epoch));
    let mut id = None;
    loop {
        let granted = context
            .services
            .txns
            .init(
                transactional_id.clone(),
                request.transaction_timeout_ms,
                expected,
                id,
            )
            .await?;
        match granted {
            Granted::Producer(producer_id, epoch) => return Ok((producer_id, epoch)),
            Granted::NeedsProducerId => id = Some(fresh(context).await?),
        }
    }
}

/// A producer id that no producer has.
pub async fn fresh(context: &RequestContext) -> Result<i64, ErrorCode> {
    let id = context.services.next_producer_id().await;
    id.ok_or(ErrorCode::CoordinatorLoadInProgress)
}

fn failed(error: ErrorCode) -> InitProducerIdResponse {
    InitProducerIdResponse {
        error_code: error.code(),
        producer_id: -1,
        producer_epoch: -1,
        ..Default::default()
    }
}
