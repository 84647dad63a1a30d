//! TxnOffsetCommit (key 28), v0 to v6. KIP-98, KIP-447 (members and generations, v3), KIP-890 (no AddOffsetsToTxn needed, v5),
//! topic ids (v6).

use super::add_offsets_to_txn::offsets_of;
use super::offset_commit::{known, together};
use super::transaction_admission::verifies;
use crate::api::context::{Reply, RequestContext};
use crate::coordinator::group::request::{Commit, for_all, plain};
use crate::coordinator::topic::GROUP_TOPIC;
use crate::coordinator::txn::request::Speaker;
use crate::log::producer_state::Admission;
use crate::security::acl::{Operation, ResourceType};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::offset_commit::OffsetCommitResponseTopic;
use crate::wire::message::txn_offset_commit::{
    TxnOffsetCommitRequest, TxnOffsetCommitResponse, TxnOffsetCommitResponsePartition,
    TxnOffsetCommitResponseTopic,
};

/// First version that names topics by id.
const TOPIC_IDS: i16 = 6;
/// First version that does not need AddOffsetsToTxn.
const JOINS: i16 = 5;
/// First version whose clients know TRANSACTION_ABORTABLE.
const ABORTABLE: i16 = 4;

pub fn handle(
    context: RequestContext,
    mut request: TxnOffsetCommitRequest,
) -> Reply<TxnOffsetCommitResponse> {
    let image = context.services.image.load();
    let (id, group) = (&request.transactional_id, &request.group_id);
    let rights = context.rights();
    let allowed = rights
        .require(Operation::Write, ResourceType::TransactionalId, id)
        .and_then(|()| rights.require(Operation::Read, ResourceType::Group, group));
    drop(rights);
    let named = std::mem::take(&mut request.topics).into_iter().map(plain);
    let by_id = context.api_version >= TOPIC_IDS;
    let (known, mut refused) = known(&context, &image, named.collect(), by_id, allowed);
    if known.is_empty() {
        return answer(refused).into();
    }
    if request.group_id.is_empty() {
        let error = ErrorCode::InvalidGroupId;
        refused.extend(known.iter().map(|topic| for_all(topic, error)));
        return answer(refused).into();
    }
    Reply::later(async move {
        let answered = match admit(&context, &request).await {
            Err(error) => known.iter().map(|topic| for_all(topic, error)).collect(),
            Ok(admission) => {
                let mut commit = Commit::in_transaction(request, admission);
                commit.topics = known;
                context.services.groups.commit_offsets(commit).await
            }
        };
        answer(together(refused, answered))
    })
}

fn answer(topics: Vec<OffsetCommitResponseTopic>) -> TxnOffsetCommitResponse {
    let of_topic = |topic: OffsetCommitResponseTopic| TxnOffsetCommitResponseTopic {
        name: topic.name,
        topic_id: topic.topic_id,
        partitions: topic
            .partitions
            .into_iter()
            .map(|partition| TxnOffsetCommitResponsePartition {
                partition_index: partition.partition_index,
                error_code: partition.error_code,
            })
            .collect(),
    };
    TxnOffsetCommitResponse {
        topics: topics.into_iter().map(of_topic).collect(),
        ..Default::default()
    }
}

/// Makes the group's offsets partition part of the transaction: the coordinator adds or verifies it. The coordinator's answer
/// may be outdated when the offsets are appended; the log detects that with the returned `Admission`.
async fn admit(
    context: &RequestContext,
    request: &TxnOffsetCommitRequest,
) -> Result<Admission, ErrorCode> {
    let partition = context.services.groups.partition_of(&request.group_id);
    let replicas = &context.services.replicas;
    let partition = replicas.partition(GROUP_TOPIC, partition);
    let admission = Admission {
        last_marker: partition
            .as_ref()
            .ok()
            .and_then(|partition| partition.log().last_marker(request.producer_id)),
        begins_at_zero: false,
        // Since `JOINS` the producer epoch suffices; see `transaction_admission`.
        verified: context.api_version < JOINS && verifies(context),
    };
    if context.api_version >= JOINS || admission.verified {
        ask(context, request).await?;
    }
    partition.map_err(|_| ErrorCode::NotCoordinator)?;
    Ok(admission)
}

async fn ask(context: &RequestContext, request: &TxnOffsetCommitRequest) -> Result<(), ErrorCode> {
    let txns = &context.services.txns;
    let speaker = Speaker {
        transactional_id: request.transactional_id.clone(),
        producer_id: request.producer_id,
        epoch: request.producer_epoch,
    };
    let partitions = offsets_of(context, &request.group_id);
    let adds = context.api_version >= JOINS;
    let refused = txns.admit(speaker, partitions, adds).await;
    let result = refused.and_then(|refused| match refused.first() {
        None => Ok(()),
        Some((_, _, error)) => Err(*error),
    });
    result.map_err(|error| match error {
        ErrorCode::TransactionAbortable if context.api_version < ABORTABLE => {
            ErrorCode::InvalidTxnState
        }
        // Clients of TxnOffsetCommit know only the older error.
        ErrorCode::ProducerFenced => ErrorCode::InvalidProducerEpoch,
        // The error is about the transaction's coordinator, not the group's: the client retries with the same group
        // coordinator.
        ErrorCode::NotCoordinator
        | ErrorCode::CoordinatorNotAvailable
        | ErrorCode::NetworkException
        | ErrorCode::CoordinatorLoadInProgress => ErrorCode::CoordinatorLoadInProgress,
        ErrorCode::ConcurrentTransactions if context.api_version < JOINS => {
            ErrorCode::CoordinatorLoadInProgress
        }
        error => error,
    })
}
