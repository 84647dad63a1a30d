//! AddOffsetsToTxn (key 25), v0 to v4. KIP-98, KIP-588 (PRODUCER_FENCED, v2).
//!
//! A group's offsets take part in a transaction as a partition: the partition of `__consumer_offsets` that stores the group.

use bytestring::ByteString;

use crate::api::context::{Reply, RequestContext};
use crate::coordinator::topic::GROUP_TOPIC;
use crate::coordinator::txn::machine::Partitions;
use crate::coordinator::txn::request::Speaker;
use crate::security::acl::{Operation, ResourceType};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::add_offsets_to_txn::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse};

/// First version whose clients know PRODUCER_FENCED.
const FENCED: i16 = 2;

pub fn handle(
    context: RequestContext,
    request: AddOffsetsToTxnRequest,
) -> Reply<AddOffsetsToTxnResponse> {
    let rights = context.rights();
    let (id, group) = (&request.transactional_id, &request.group_id);
    let allowed = rights
        .require(Operation::Write, ResourceType::TransactionalId, id)
        .and_then(|()| rights.require(Operation::Read, ResourceType::Group, group));
    drop(rights);
    if let Err(error) = allowed {
        return AddOffsetsToTxnResponse {
            error_code: error.code(),
            ..Default::default()
        }
        .into();
    }
    Reply::later(async move {
        let speaker = Speaker {
            transactional_id: request.transactional_id,
            producer_id: request.producer_id,
            epoch: request.producer_epoch,
        };
        let partitions = offsets_of(&context, &request.group_id);
        let added = context.services.txns.add(speaker, partitions, 0).await;
        AddOffsetsToTxnResponse {
            error_code: match added.err().unwrap_or(ErrorCode::None) {
                ErrorCode::ProducerFenced if context.api_version < FENCED => {
                    ErrorCode::InvalidProducerEpoch.code()
                }
                error => error.code(),
            },
            ..Default::default()
        }
    })
}

/// The partition that stores a group's offsets.
pub fn offsets_of(context: &RequestContext, group: &str) -> Partitions {
    let partition = context.services.groups.partition_of(group);
    Partitions::from([(ByteString::from_static(GROUP_TOPIC), [partition].into())])
}
