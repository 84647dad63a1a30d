//! EndTxn (key 26), v0 to v5. KIP-98, KIP-588 (PRODUCER_FENCED, v2), KIP-890 (every end bumps the epoch, v5).

use crate::api::context::{Reply, RequestContext};
use crate::coordinator::txn::handle::Granted;
use crate::coordinator::txn::machine::{BUMPING, Outcome};
use crate::coordinator::txn::request::Speaker;
use crate::security::acl::{Operation, ResourceType};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::end_txn::{EndTxnRequest, EndTxnResponse};

/// First version whose clients know PRODUCER_FENCED.
const FENCED: i16 = 2;
/// First version whose clients expect a bumped producer epoch.
const BUMPED: i16 = 5;

pub fn handle(context: RequestContext, request: EndTxnRequest) -> Reply<EndTxnResponse> {
    Reply::later(async move {
        match end(&context, request).await {
            Ok((producer_id, producer_epoch)) => EndTxnResponse {
                producer_id,
                producer_epoch,
                ..Default::default()
            },
            Err(error) => EndTxnResponse {
                error_code: match error {
                    ErrorCode::ProducerFenced if context.api_version < FENCED => {
                        ErrorCode::InvalidProducerEpoch.code()
                    }
                    error => error.code(),
                },
                producer_id: -1,
                producer_epoch: -1,
                ..Default::default()
            },
        }
    })
}

async fn end(context: &RequestContext, request: EndTxnRequest) -> Result<(i64, i16), ErrorCode> {
    let id = &request.transactional_id;
    (context.rights()).require(Operation::Write, ResourceType::TransactionalId, id)?;
    let outcome = if request.committed {
        Outcome::Commit
    } else {
        Outcome::Abort
    };
    let version = if context.api_version >= BUMPED {
        BUMPING
    } else {
        0
    };
    let speaker = Speaker {
        transactional_id: request.transactional_id,
        producer_id: request.producer_id,
        epoch: request.producer_epoch,
    };
    let mut fresh = None;
    loop {
        let txns = &context.services.txns;
        match txns.end(speaker.clone(), outcome, version, fresh).await? {
            Granted::Producer(id, epoch) => return Ok((id, epoch)),
            Granted::NeedsProducerId => {
                fresh = Some(super::init_producer_id::fresh(context).await?);
            }
        }
    }
}
